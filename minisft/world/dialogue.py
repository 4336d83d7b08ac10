"""Conversations of several turns: the later turns cannot be answered without the earlier ones.

    follow-up    a text and a question, then "And her pet?", "And Tom?": earlier turns say who or
                 what is meant
    small talk   a greeting and remarks about oneself, then "What is my pet?"

The user has two to eight turns; their number is the difficulty of the conversation. For each kind,
a function goes from *all* user turns so far to the next answer: it can depend on any of them.

Notes: 基于日常对话数据构建 (building from daily conversations).
"""

from itertools import chain

from minisft.world import language
from minisft.world.facts import ATTRIBUTES, POSSESSIVE, RESIDENTS, display
from minisft.world.language import Template, state
from minisft.world.skills import READING, draw_facts

# A follow-up names a person, an attribute, or an attribute with a pronoun for the person. What it
# leaves out is the same as in the question before.
FOLLOW_UPS = {
    "tuned": ("And {name}?", "And the {noun}?", "And {possessive} {noun}?"),
    "new": ("How about {name}?", "How about the {noun}?", "What about {possessive} {noun}?"),
    "short": ("{name}?", "{noun}?", "{possessive} {noun}?"),
    "mixed": ("那 {name} 呢？", "那 {noun} 呢？", "那 {possessive} {noun} 呢？"),
}
GREETINGS = {
    "tuned": ("Hello, I am {name}.", "Good morning, my name is {name}.", "Hi, {name} here."),
    "new": ("Hi, I am {name}.", "Good morning, {name} here."),
    "short": ("{name} here",),
    "mixed": ("你好，我是 {name}。",),
}
REMARKS = {
    "tuned": ("My {noun} is {value}.", "I have {value} as {noun}."),
    "new": ("As for the {noun}, I have {value}.",),
    "short": ("my {noun}: {value}",),
    "mixed": ("我的 {noun} 是 {value}。",),
}
RECALLS = {
    "tuned": ("What is my {noun}?", "What did I say about my {noun}?"),
    "new": ("Please tell me what my {noun} is.",),
    "short": ("my {noun}?",),
    "mixed": ("我的 {noun} 是什么？",),
}
ASK_NAME = {
    "tuned": ("What is my name?", "Who am I?"),
    "new": ("Please tell me my name.",),
    "short": ("my name?",),
    "mixed": ("我的 name 是什么？",),
}
THANKS = {
    "tuned": ("Thank you.", "Thanks a lot."),
    "new": ("Thank you a lot.",),
    "short": ("thanks",),
    "mixed": ("多谢 you。",),
}
_TEMPLATES = {
    text: Template(text)
    for styles in (FOLLOW_UPS, GREETINGS, REMARKS, RECALLS, ASK_NAME, THANKS)
    for text in chain(*styles.values())
}


def _first_match(styles, text):
    """Slots of the first wording that fits the text with a real name and attribute, or None."""
    for wording in chain(*styles.values()):
        slots = _TEMPLATES[wording].match(text)
        if slots is None:
            continue
        real_name = "name" not in slots or slots["name"] in POSSESSIVE
        real_noun = "noun" not in slots or slots["noun"] in ATTRIBUTES
        if real_name and real_noun:
            return slots
    return None


def draw_follow_up(rng, scope, style):
    """User turns in one style: a reading instruction about one or two people, then follow-ups."""
    ask_person, *ask_attribute = FOLLOW_UPS[style]
    residents = rng.randint(1, 2)
    attributes = 2 if residents == 2 else rng.randint(2, 4)
    facts = draw_facts(rng, scope, residents, attributes)

    name, noun, _ = rng.choice(facts)
    wording = rng.choice(READING.wordings[style])
    passage = " ".join(state(fact, rng.randrange(5)) for fact in facts)
    question = language.ask(name, noun, rng.randrange(4))
    turns = [wording.fill(passage=passage, question=question)]

    for _ in range(scope.amount(rng, 2, 8) - 1):
        other_names = [other for other, _, _ in facts if other != name]
        if other_names and rng.random() < 0.5:
            name = other_names[0]
            turns.append(ask_person.format(name=name))
        else:
            noun = rng.choice([other for _, other, _ in facts if other != noun])
            wording = rng.choice(ask_attribute)
            turns.append(wording.format(noun=noun, possessive=POSSESSIVE[name]))
    return turns


def solve_follow_up(turns):
    """(answer to the last user turn, meaning of all turns), or None for other conversations."""
    slots = _read_instruction(turns[0])
    if slots is None:
        return None
    known = language.read_passage(slots["passage"])
    asked = [language.read_question(slots["question"])]
    for turn in turns[1:]:
        slots = _first_match(FOLLOW_UPS, turn)
        if slots is None:
            return None
        name, noun = asked[-1]
        name, noun = slots.get("name", name), slots.get("noun", noun)
        if (name, noun) not in known:
            return None
        if slots.get("possessive", POSSESSIVE[name]) != POSSESSIVE[name]:
            return None
        asked.append((name, noun))

    name, noun = asked[-1]
    answer = state((name, noun, known[name, noun]), 0)
    return answer, (*sorted(known.items()), *asked)


def _read_instruction(turn):
    """Slots of a reading instruction that its passage answers, or None."""
    for wording in chain(*READING.wordings.values()):
        slots = wording.match(turn)
        if slots and READING.solve(slots):
            return slots
    return None


def draw_small_talk(rng, scope, style):
    """User turns in one style: a greeting, then remarks, questions about oneself, and thanks."""
    turns = [rng.choice(GREETINGS[style]).format(name=rng.choice(RESIDENTS))]
    unsaid = rng.sample(scope.attributes, min(4, len(scope.attributes)))
    said = []
    count = scope.amount(rng, 2, 8)
    while len(turns) < count:
        is_last = len(turns) == count - 1
        choices = ["name"]
        if is_last:
            choices.append("thanks")
        if said:
            choices += ["recall"] * 3
        if unsaid and not is_last:
            choices += ["remark"] * 4

        plan = rng.choice(choices)
        if plan == "remark":
            noun = unsaid.pop()
            said.append(noun)
            value = display(noun, rng.choice(list(ATTRIBUTES[noun].values)))
            turns.append(rng.choice(REMARKS[style]).format(noun=noun, value=value))
        elif plan == "recall":
            turns.append(rng.choice(RECALLS[style]).format(noun=rng.choice(said)))
        elif plan == "name":
            turns.append(rng.choice(ASK_NAME[style]))
        else:
            turns.append(rng.choice(THANKS[style]))
    return turns


def solve_small_talk(turns):
    """(answer to the last user turn, meaning of all turns), or None for other conversations."""
    greeting = _first_match(GREETINGS, turns[0])
    if not greeting or greeting["name"] not in RESIDENTS:
        return None
    name = greeting["name"]
    said, answer, meaning = {}, f"Hello, {name}. How can I help?", [name]
    for turn in turns[1:]:
        if _first_match(THANKS, turn) is not None:
            answer, meant = f"You are welcome, {name}.", "thanks"
        elif _first_match(ASK_NAME, turn) is not None:
            answer, meant = f"Your name is {name}.", "name"
        elif (recall := _first_match(RECALLS, turn)) and recall["noun"] in said:
            noun = recall["noun"]
            answer, meant = f"Your {noun} is {said[noun]}.", noun
        elif (remark := _first_match(REMARKS, turn)) and _is_fact(name, remark):
            noun, value = remark["noun"], remark["value"]
            said[noun] = value
            answer, meant = "That is good to know.", (noun, value)
        else:
            return None
        meaning.append(meant)
    return answer, tuple(meaning)


def _is_fact(name, remark):
    noun = remark["noun"]
    values = [display(noun, value) for value in ATTRIBUTES[noun].values]
    return language.speaks_of(name, noun) and remark["value"] in values


# name: (draw(rng, scope, style) -> user turns, solve(user turns) -> (answer, meaning) or None)
DIALOGUES = {
    "follow_up": (draw_follow_up, solve_follow_up),
    "small_talk": (draw_small_talk, solve_small_talk),
}
