"""Conversations of several turns, whose later turns cannot be answered without the earlier ones.

    follow-up    a text and a question, then "And her pet?", "And Tom?": who or what is meant was said before
    small talk   a greeting and remarks about oneself, then "What is my pet?"

A conversation has two to eight turns of the user's; their number is its difficulty.

Both are functions from *all* user turns so far to the next answer, so that an answer can depend on any of them.

Notes: 基于日常对话数据构建 (building from daily conversations).
"""

from dataclasses import replace
from itertools import chain

from minisft.world import language
from minisft.world.facts import ATTRIBUTES, POSSESSIVE, RESIDENTS, display
from minisft.world.language import Template, state
from minisft.world.skills import READING, draw_passage

# A follow-up names a person, an attribute, or both by a pronoun; what it leaves out is what was asked before.
FOLLOW_UPS = {
    "tuned": tuple(map(Template, ("And {name}?", "And the {noun}?", "And {possessive} {noun}?"))),
    "new": tuple(map(Template, ("How about {name}?", "How about the {noun}?", "What about {possessive} {noun}?"))),
}
GREETINGS = {
    "tuned": tuple(map(Template, ("Hello, I am {name}.", "Good morning, my name is {name}.", "Hi, {name} here."))),
    "new": tuple(map(Template, ("Hi, I am {name}.", "Good morning, {name} here."))),
}
REMARKS = {
    "tuned": tuple(map(Template, ("My {noun} is {value}.", "I have {value} as {noun}."))),
    "new": tuple(map(Template, ("As for the {noun}, I have {value}.",))),
}
RECALLS = {
    "tuned": tuple(map(Template, ("What is my {noun}?", "What did I say about my {noun}?"))),
    "new": tuple(map(Template, ("Please tell me what my {noun} is.",))),
}
ASK_NAME = {"tuned": ("What is my name?", "Who am I?"), "new": ("Please tell me my name.",)}
THANKS = {"tuned": ("Thank you.", "Thanks a lot."), "new": ("Thank you a lot.",)}


def _first_match(templates, text):
    """Slots of the first template that may have written the text, with a real name and attribute in them."""
    for template in templates["tuned"] + templates["new"]:
        slots = template.match(text)
        if slots and slots.get("name", "Mia") in RESIDENTS and slots.get("noun", "pet") in ATTRIBUTES:
            return slots
    return None


def draw_follow_up(rng, scope, style):
    """User turns: a reading instruction, then follow-ups. style: "new" or, for any other, as in tuning."""
    wordings = FOLLOW_UPS["new" if style == "new" else "tuned"]
    passage, facts = draw_passage(rng, replace(scope, difficulty=None))
    name, noun, _ = rng.choice(facts)
    slots = {"passage": passage, "question": language.ask(name, noun, rng.randrange(4))}
    turns = [rng.choice(READING.wordings["tuned"]).fill(**slots)]
    for _ in range(scope.amount(rng, 2, 8) - 1):
        noun = rng.choice([other for _, other, _ in facts if other != noun])
        turns.append(rng.choice(wordings[1:]).fill(noun=noun, possessive=POSSESSIVE[name]))
    return turns


def solve_follow_up(turns):
    """The answer to the last of the user turns, or None if they are not such a conversation."""
    for wording in chain(*READING.wordings.values()):
        slots = wording.match(turns[0])
        if slots and READING.solve(slots):
            break
    else:
        return None
    known = language.read_passage(slots["passage"])
    name, noun = language.read_question(slots["question"])
    for turn in turns[1:]:
        meant = _first_match(FOLLOW_UPS, turn)
        if meant is None:
            return None
        name, noun = meant.get("name", name), meant.get("noun", noun)
        if (name, noun) not in known or meant.get("possessive", POSSESSIVE[name]) != POSSESSIVE[name]:
            return None
    return state((name, noun, known[name, noun]), 0)


def draw_small_talk(rng, scope, style):
    """User turns: a greeting, then remarks, questions about them, for the name, and thanks. style: as above."""
    style = "new" if style == "new" else "tuned"
    turns = [rng.choice(GREETINGS[style]).fill(name=rng.choice(RESIDENTS))]
    nouns = rng.sample(scope.attributes, min(4, len(scope.attributes)))
    left, said = list(nouns), []
    for following in reversed(range(scope.amount(rng, 2, 8) - 1)):  # how many turns will follow this one
        choices = ["name"] + ["thanks"] * (following == 0) + ["recall"] * 3 * bool(said)
        choices += ["remark"] * 4 * bool(left and following)
        plan = rng.choice(choices)
        if plan == "remark":
            said.append(left.pop())
            value = display(said[-1], rng.choice(list(ATTRIBUTES[said[-1]].values)))
            turns.append(rng.choice(REMARKS[style]).fill(noun=said[-1], value=value))
        elif plan == "recall":
            turns.append(rng.choice(RECALLS[style]).fill(noun=rng.choice(said)))
        else:
            turns.append(rng.choice((ASK_NAME if plan == "name" else THANKS)[style]))
    return turns


def solve_small_talk(turns):
    """The answer to the last of the user turns, or None if they are not such a conversation."""
    greeting = _first_match(GREETINGS, turns[0])
    if not greeting:
        return None
    said, answer = {}, f"Hello, {greeting['name']}. How can I help?"
    for turn in turns[1:]:
        if turn in THANKS["tuned"] + THANKS["new"]:
            answer = f"You are welcome, {greeting['name']}."
        elif turn in ASK_NAME["tuned"] + ASK_NAME["new"]:
            answer = f"Your name is {greeting['name']}."
        elif (asked := _first_match(RECALLS, turn)) and asked["noun"] in said:
            answer = f"Your {asked['noun']} is {said[asked['noun']]}."
        elif (remark := _first_match(REMARKS, turn)) and _is_fact(remark):
            said[remark["noun"]] = remark["value"]
            answer = "That is good to know."
        else:
            return None
    return answer


def _is_fact(remark):
    noun = remark["noun"]
    return remark["value"] in [display(noun, value) for value in ATTRIBUTES[noun].values]


# name: (draw(rng, scope, style) -> user turns, solve(user turns) -> answer or None)
DIALOGUES = {"follow_up": (draw_follow_up, solve_follow_up), "small_talk": (draw_small_talk, solve_small_talk)}
