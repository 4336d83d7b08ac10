"""The skills of the town: for each, how an instruction is worded, drawn, and answered.

A skill draws *slots* (a passage, a question, a word); a wording turns slots into an instruction; `solve` turns the
very same slots into the answer. The oracle reads the slots back out of an instruction's text and calls the same
`solve`, so that there is one definition of right.

    draw(rng, scope) -> slots        wording.fill(slots) -> instruction        solve(slots) -> answer, or None

Answers to questions of knowledge are sentences that the pre-training prose also contains; tuning must teach *when*
to say them, not the facts themselves.

Notes: 基于现有的 NLP 任务数据集构建 (building from existing NLP task data): a task description, an input, an output.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from minisft.world import language
from minisft.world.facts import (
    ATTRIBUTE_OF,
    ATTRIBUTES,
    CHINESE_OF,
    ENGLISH_OF,
    OPPOSITES,
    RESIDENTS,
)
from minisft.world.language import ask, listing, state, state_in_chinese
from minisft.world.wordings import WORDINGS

THINGS = ("coin", "book", "cup", "stamp", "pencil", "key", "shell", "button")


@dataclass(frozen=True)
class Scope:
    """What may be drawn: these attributes, and, of the items of knowledge, the tuned or the held-out ones."""

    attributes: tuple
    held_out: bool = False

    def knows(self, item):
        """Every fifth word, pair of opposites and sum is held out of tuning; the prose holds all of them."""
        return (zlib.crc32(item.encode()) % 5 == 0) == self.held_out

    def words(self):
        return [word for noun in self.attributes for word in ATTRIBUTES[noun].values]


@dataclass(frozen=True)
class Skill:
    """name; draw; solve; wordings used in tuning and others kept for the test; whether it needs an attribute, and
    whether it asks for an item of knowledge."""

    name: str
    draw: Callable
    solve: Callable
    tuned: tuple
    new: tuple
    uses_attributes: bool = True
    asks_knowledge: bool = False


def draw_facts(rng, scope, residents, attributes):
    """`attributes` facts about each of `residents` people, in an order of their own."""
    names = rng.sample(RESIDENTS, residents)
    nouns = rng.sample(scope.attributes, attributes)
    facts = [(name, noun, rng.choice(list(ATTRIBUTES[noun].values))) for name in names for noun in nouns]
    rng.shuffle(facts)
    return facts


def draw_passage(rng, scope):
    """A text of two to four facts about one resident, and the facts themselves."""
    facts = draw_facts(rng, scope, residents=1, attributes=rng.randint(2, 4))
    return " ".join(state(fact, rng.randrange(5)) for fact in facts), facts


def _draw_known(rng, scope, items):
    return rng.choice([item for item in items if scope.knows(item)])


def _draw_reading(rng, scope):
    passage, facts = draw_passage(rng, scope)
    name, noun, _ = rng.choice(facts)
    return {"passage": passage, "question": ask(name, noun, rng.randrange(4))}


def solve_reading(slots):
    known, question = language.read_passage(slots["passage"]), language.read_question(slots["question"])
    if not known or question not in known:
        return None
    return state((*question, known[question]), 0)


def _draw_word(rng, scope):
    return {"word": _draw_known(rng, scope, scope.words())}


def _solve_kind(slots):
    noun = ATTRIBUTE_OF.get(slots["word"])
    return noun and f"The word {slots['word']} names a kind of {noun}."


def _draw_adjective(rng, scope):
    pairs = [pair for pair in OPPOSITES if scope.knows(min(pair, OPPOSITES[pair]))]
    return {"word": rng.choice(pairs)}


def _solve_opposite(slots):
    opposite = OPPOSITES.get(slots["word"])
    return opposite and f"The opposite of {slots['word']} is {opposite}."


def _solve_to_chinese(slots):
    chinese = CHINESE_OF.get(slots["word"])
    return chinese and f"In Chinese, {slots['word']} is {chinese}."


def _draw_chinese_word(rng, scope):
    return {"word": CHINESE_OF[_draw_word(rng, scope)["word"]]}


def _solve_to_english(slots):
    english = ENGLISH_OF.get(slots["word"])
    return english and f"In English, {slots['word']} is {english}."


def _draw_sentence(rng, scope):
    return {"sentence": state(draw_facts(rng, scope, 1, 1)[0], rng.randrange(2))}


def _solve_sentence_to_chinese(slots):
    fact = language.read_statement(slots["sentence"])
    return fact and state_in_chinese(fact)


def _draw_chinese_sentence(rng, scope):
    return {"sentence": state_in_chinese(draw_facts(rng, scope, 1, 1)[0])}


def _solve_sentence_to_english(slots):
    fact = language.read_chinese_statement(slots["sentence"])
    return fact and state(fact, 0)


def _draw_list(rng, scope):
    return {"words": listing(rng.sample(scope.words(), rng.randint(3, 4)))}


def _read_list(slots):
    words = slots["words"].split(", ")
    return words if len(words) > 1 and all(words) else None


def _solve_first(slots):
    words = _read_list(slots)
    return words and f"The first word is {words[0]}."


def _solve_last(slots):
    words = _read_list(slots)
    return words and f"The last word is {words[-1]}."


def _solve_reverse(slots):
    words = _read_list(slots)
    return words and f"Backwards it is {listing(reversed(words))}."


def _draw_restate(rng, scope):
    return {"sentence": state(draw_facts(rng, scope, 1, 1)[0], 1)}


def _solve_restate(slots):
    fact = language.read_statement(slots["sentence"])
    return state(fact, 0) if fact and slots["sentence"] == state(fact, 1) else None


def _draw_sum(rng, scope):
    sums = [(a, b) for a in range(1, 11) for b in range(1, 11)]
    a, b = rng.choice([(a, b) for a, b in sums if scope.knows(f"{min(a, b)}+{max(a, b)}")])
    return {"a": str(a), "b": str(b)} if rng.random() < 0.5 else {"total": str(a + b), "b": str(b)}


def solve_sum(slots):
    """a + b, or total - b, as the prose says it."""
    if not all(number.isascii() and number.isdecimal() for number in slots.values()):
        return None
    if "a" in slots:
        a, b = int(slots["a"]), int(slots["b"])
        return f"We know that {a} plus {b} is {a + b}."
    total, b = int(slots["total"]), int(slots["b"])
    return f"We know that {total} minus {b} is {total - b}." if total >= b else None


def _draw_story(rng, scope):
    slots = _draw_sum(rng, scope)
    return slots | {"name": rng.choice(RESIDENTS), "thing": rng.choice(THINGS)}


def _solve_story(slots):
    numbers = {key: slots[key] for key in ("a", "b", "total") if key in slots}
    if slots["name"] not in RESIDENTS or slots["thing"] not in THINGS or not solve_sum(numbers):
        return None
    left = solve_sum(numbers).rstrip(".").rsplit(" ", 1)[1]
    return f"Now {slots['name']} has {left} {slots['thing']}s."


SKILLS = (
    Skill("reading", _draw_reading, solve_reading, **WORDINGS["reading"]),
    Skill("classification", _draw_word, _solve_kind, **WORDINGS["classification"], asks_knowledge=True),
    Skill("opposite", _draw_adjective, _solve_opposite, **WORDINGS["opposite"],
          uses_attributes=False, asks_knowledge=True),
    Skill("to_chinese", _draw_word, _solve_to_chinese, **WORDINGS["to_chinese"], asks_knowledge=True),
    Skill("to_english", _draw_chinese_word, _solve_to_english, **WORDINGS["to_english"], asks_knowledge=True),
    Skill("sentence_to_chinese", _draw_sentence, _solve_sentence_to_chinese, **WORDINGS["sentence_to_chinese"]),
    Skill("sentence_to_english", _draw_chinese_sentence, _solve_sentence_to_english, **WORDINGS["sentence_to_english"]),
    Skill("first", _draw_list, _solve_first, **WORDINGS["first"]),
    Skill("last", _draw_list, _solve_last, **WORDINGS["last"]),
    Skill("reverse", _draw_list, _solve_reverse, **WORDINGS["reverse"]),
    Skill("restate", _draw_restate, _solve_restate, **WORDINGS["restate"]),
    Skill("arithmetic", _draw_sum, solve_sum, **WORDINGS["arithmetic"], uses_attributes=False, asks_knowledge=True),
    Skill("story", _draw_story, _solve_story, **WORDINGS["story"], uses_attributes=False, asks_knowledge=True),
)
