"""Conversations of several turns, whose later turns cannot be answered without the earlier ones.

    follow-up    a text and a question, then "And her pet?", "And Tom?": who or what is meant was said before
    small talk   a greeting and remarks about oneself, then "What is my pet?"

A conversation has two to eight turns of the user's; their number is its difficulty.

Both are functions from *all* user turns so far to the next answer, so that an answer can depend on any of them.

Notes: 基于日常对话数据构建 (building from daily conversations).
"""

from itertools import chain

from minisft.world import language
from minisft.world.facts import ATTRIBUTES, POSSESSIVE, RESIDENTS, display
from minisft.world.language import Template, state
from minisft.world.skills import READING, draw_facts

# A follow-up names a person, an attribute, or both by a pronoun; what it leaves out is what was asked before.
FOLLOW_UPS = {
    "tuned": ("And {name}?", "And the {noun}?", "And {possessive} {noun}?"),
    "new": ("How about {name}?", "How about the {noun}?", "What about {possessive} {noun}?"),
    "short": ("{name}?", "{noun}?", "{possessive} {noun}?"),
    "mixed": ("那 {name} 呢？", "那 {noun} 呢？", "那 {possessive} {noun} 呢？"),
}
GREETINGS = {
    "tuned": ("Hello, I am {name}.", "Good morning, my name is {name}.", "Hi, {name} here."),
    "new": ("Hi, I am {name}.", "Good morning, {name} here."), "short": ("{name} here",),
    "mixed": ("你好，我是 {name}。",),
}
REMARKS = {
    "tuned": ("My {noun} is {value}.", "I have {value} as {noun}."), "new": ("As for the {noun}, I have {value}.",),
    "short": ("my {noun}: {value}",), "mixed": ("我的 {noun} 是 {value}。",),
}
RECALLS = {
    "tuned": ("What is my {noun}?", "What did I say about my {noun}?"), "new": ("Please tell me what my {noun} is.",),
    "short": ("my {noun}?",), "mixed": ("我的 {noun} 是什么？",),
}
ASK_NAME = {"tuned": ("What is my name?", "Who am I?"), "new": ("Please tell me my name.",), "short": ("my name?",),
            "mixed": ("我的 name 是什么？",)}
THANKS = {"tuned": ("Thank you.", "Thanks a lot."), "new": ("Thank you a lot.",), "short": ("thanks",),
          "mixed": ("多谢 you。",)}
_TEMPLATES = {text: Template(text) for styles in (FOLLOW_UPS, GREETINGS, REMARKS, RECALLS, ASK_NAME, THANKS)
              for text in chain(*styles.values())}


def _first_match(styles, text):
    """Slots of the first wording that may have written the text, with a real name and attribute in them."""
    for wording in chain(*styles.values()):
        slots = _TEMPLATES[wording].match(text)
        if slots is not None and slots.get("name", "Mia") in POSSESSIVE and slots.get("noun", "pet") in ATTRIBUTES:
            return slots
    return None


def draw_follow_up(rng, scope, style):
    """User turns: a reading instruction about one or two people, then follow-ups, all worded in one style."""
    whom, what, whose = FOLLOW_UPS[style]
    residents = rng.randint(1, 2)
    facts = draw_facts(rng, scope, residents, 2 if residents == 2 else rng.randint(2, 4))
    name, noun, _ = rng.choice(facts)
    turns = [rng.choice(READING.wordings[style]).fill(
        passage=" ".join(state(fact, rng.randrange(5)) for fact in facts),
        question=language.ask(name, noun, rng.randrange(4)))]
    for _ in range(scope.amount(rng, 2, 8) - 1):
        others = [other for other, _, _ in facts if other != name]
        if others and rng.random() < 0.5:
            name = others[0]
            turns.append(whom.format(name=name))
        else:
            noun = rng.choice([other for _, other, _ in facts if other != noun])
            turns.append(rng.choice((what, whose)).format(noun=noun, possessive=POSSESSIVE[name]))
    return turns


def solve_follow_up(turns):
    """(answer to the last of the user turns, what the turns mean), or None if they are not such a conversation."""
    for wording in chain(*READING.wordings.values()):
        slots = wording.match(turns[0])
        if slots and READING.solve(slots):
            break
    else:
        return None
    known = language.read_passage(slots["passage"])
    asked = [language.read_question(slots["question"])]
    for turn in turns[1:]:
        meant = _first_match(FOLLOW_UPS, turn)
        if meant is None:
            return None
        name, noun = asked[-1]
        name, noun = meant.get("name", name), meant.get("noun", noun)
        if (name, noun) not in known or meant.get("possessive", POSSESSIVE[name]) != POSSESSIVE[name]:
            return None
        asked.append((name, noun))
    return state((*asked[-1], known[asked[-1]]), 0), (*sorted(known.items()), *asked)


def draw_small_talk(rng, scope, style):
    """User turns: a greeting, then remarks, questions about them, for the name, and thanks, worded in one style."""
    turns = [rng.choice(GREETINGS[style]).format(name=rng.choice(RESIDENTS))]
    nouns = rng.sample(scope.attributes, min(4, len(scope.attributes)))
    left, said = list(nouns), []
    for following in reversed(range(scope.amount(rng, 2, 8) - 1)):  # how many turns will follow this one
        choices = ["name"] + ["thanks"] * (following == 0) + ["recall"] * 3 * bool(said)
        choices += ["remark"] * 4 * bool(left and following)
        plan = rng.choice(choices)
        if plan == "remark":
            said.append(left.pop())
            value = display(said[-1], rng.choice(list(ATTRIBUTES[said[-1]].values)))
            turns.append(rng.choice(REMARKS[style]).format(noun=said[-1], value=value))
        elif plan == "recall":
            turns.append(rng.choice(RECALLS[style]).format(noun=rng.choice(said)))
        else:
            turns.append(rng.choice((ASK_NAME if plan == "name" else THANKS)[style]))
    return turns


def solve_small_talk(turns):
    """(answer to the last of the user turns, what the turns mean), or None if they are not such a conversation."""
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
        elif (asked := _first_match(RECALLS, turn)) and asked["noun"] in said:
            answer, meant = f"Your {asked['noun']} is {said[asked['noun']]}.", asked["noun"]
        elif (remark := _first_match(REMARKS, turn)) and _is_fact(name, remark):
            said[remark["noun"]] = remark["value"]
            answer, meant = "That is good to know.", (remark["noun"], remark["value"])
        else:
            return None
        meaning.append(meant)
    return answer, tuple(meaning)


def _is_fact(name, remark):
    noun = remark["noun"]
    values = [display(noun, value) for value in ATTRIBUTES[noun].values]
    return language.speaks_of(name, noun) and remark["value"] in values


# name: (draw(rng, scope, style) -> user turns, solve(user turns) -> (answer, meaning) or None)
DIALOGUES = {"follow_up": (draw_follow_up, solve_follow_up), "small_talk": (draw_small_talk, solve_small_talk)}
