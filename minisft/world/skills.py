"""The skills of the town: how each is drawn, worded and answered, and how prose shows it.

    draw(rng, scope)     ->  slots                 a passage, a question, a word, ...
    wording.fill(slots)  ->  instruction
    solve(slots)         ->  (lead, rest) or None  the answer: "The opposite of hot is" and " cold."

The oracle reads the slots back from the text of an instruction and calls the same `solve`, so there
is only one definition of a right answer.

Pre-training prose shows a skill in texts that end with the same answer ("The words are elm, dog.
The last word is dog."). Tuning must teach *when* to give it.

This file has the skills of one step; those of several steps are in steps.py.

Notes: 基于现有的 NLP 任务数据集构建 (building from existing NLP task data): a task description, an
input, an output.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

from minisft.world import language
from minisft.world.facts import (
    ATTRIBUTE_OF,
    ATTRIBUTES,
    ATTRIBUTES_OF,
    CHINESE_OF,
    DOMAINS,
    ENGLISH_OF,
    OPPOSITES,
    PLURAL_OF,
    RESIDENTS,
    display,
)
from minisft.world.language import Template, ask, listing, state, state_in_chinese
from minisft.world.outside import ALL_OUTSIDE, OUTSIDE

NOT_SAID, DO_NOT_KNOW = "The text does not say.", "I do not know that."
THINGS = ("coin", "book", "cup", "stamp", "pencil", "key", "shell", "button")


@dataclass(frozen=True)
class Scope:
    """What may be drawn, and how hard it may be.

    attributes: nouns of the attributes
    held_out: items of knowledge held out of tuning (True), the others (False), or all (None)
    difficulty: the number of facts in a passage, hops, steps of a chain, operations, words in a
        list, or turns of a conversation; None draws it from each skill's own range
    new_pairs: compositions that hold a pair of operations kept out of tuning (True), that hold none
        (False), or all (None)
    outside: which questions about the rest of the world, "tuned" or "new"
    turns: fewest and most user turns of a conversation about several things
    again: how often such a conversation asks for a kind of task that it has asked for before
    """

    attributes: tuple = ATTRIBUTES_OF["town"]
    held_out: bool | None = None
    difficulty: int | None = None
    new_pairs: bool | None = None
    outside: str = "tuned"
    turns: tuple = (2, 8)
    again: float = 0.5

    @property
    def domain(self):
        return ATTRIBUTES[self.attributes[0]].domain

    @property
    def names(self):
        """Whom the texts are about: the residents of the town, or the ships of the harbor."""
        return DOMAINS[self.domain]

    def knows(self, item):
        """Whether an item of knowledge may be drawn.

        About every fifth word, pair of opposites and sum is held out of tuning; the prose has all.
        """
        if self.held_out is None:
            return True
        is_held_out = zlib.crc32(item.encode()) % 5 == 0
        return is_held_out == self.held_out

    def words(self):
        """All values of the attributes."""
        return [word for noun in self.attributes for word in ATTRIBUTES[noun].values]

    def amount(self, rng, low, high):
        """How many facts, words, steps, ...: the difficulty, or a draw from low to high."""
        return rng.randint(low, high) if self.difficulty is None else self.difficulty


@dataclass(frozen=True)
class Skill:
    """How the instructions of one kind are drawn and answered.

    draw: (rng, scope) -> slots
    solve: slots -> (lead, rest), or None if the slots make no sense
    shown: texts that prose puts before the answer (it takes one that fits the slots); prose never
        shows a skill without such a text
    difficulty: slots -> number
    others: slots -> further right answers
    uses_attributes: whether it speaks of attributes
    asks_knowledge: whether it asks for an item of knowledge
    """

    name: str
    draw: Callable
    solve: Callable
    shown: tuple = ("",)
    difficulty: Callable = lambda slots: 1
    others: Callable = lambda slots: ()
    uses_attributes: bool = True
    asks_knowledge: bool = False

    @property
    def has_text(self):
        """Whether its instructions contain a text, list or story, and ask about that."""
        return any(self.shown)

    def show(self, rng, slots):
        """What prose says before the answer, and the answer: (text, lead, rest)."""
        fitting = [text for text in self.shown if set(Template(text).slots) <= set(slots)]
        text = rng.choice(fitting).format(**slots)
        lead, rest = self.solve(slots)
        return text, lead, rest

    def answer(self, slots):
        """The answer as one text, or None."""
        solved = self.solve(slots)
        return "".join(solved) if solved else None


def draw_facts(rng, scope, residents, attributes):
    """Facts about several residents in any order, the same attributes of each.

    residents, attributes: how many; at most as many attributes as the scope has.
    """
    names = rng.sample(scope.names, residents)
    nouns = rng.sample(scope.attributes, min(attributes, len(scope.attributes)))
    facts = []
    for name in names:
        for noun in nouns:
            facts.append((name, noun, rng.choice(list(ATTRIBUTES[noun].values))))
    rng.shuffle(facts)
    return facts


def draw_passage(rng, scope):
    """A text of facts about one or two residents, and the facts; by default two to four of them."""
    count = scope.amount(rng, 2, 4)
    residents = rng.randint(1, 2) if count % 2 == 0 else 1
    facts = draw_facts(rng, scope, residents, count // residents)
    return " ".join(state(fact, rng.randrange(5)) for fact in facts), facts


def facts_in(slots):
    """The number of facts in the passage."""
    return len(language.read_passage(slots["passage"]) or ())


def say_fact(fact):
    """A fact in its first form, split before the value: ("The pet of Mia is", " a dog.")."""
    lead, verb, value = state(fact, 0).partition(" is")
    return lead + verb, value


def _draw_known(rng, scope, items):
    return rng.choice([item for item in items if scope.knows(item)])


# Reading


def _draw_reading(rng, scope):
    passage, facts = draw_passage(rng, scope)
    name, noun, _ = rng.choice(facts)
    return {"passage": passage, "question": ask(name, noun, rng.randrange(4))}


def _solve_reading(slots):
    known = language.read_passage(slots["passage"])
    question = language.read_question(slots["question"])
    if not known or question not in known:
        return None
    return say_fact((*question, known[question]))


def _draw_summary(rng, scope):
    facts = draw_facts(rng, scope, residents=1, attributes=scope.amount(rng, 2, 3))
    again = rng.sample(facts, len(facts))
    return {"passage": " ".join(state(fact, rng.randrange(5)) for fact in facts + again)}


def _solve_summary(slots):
    known = language.read_passage(slots["passage"])
    if not known or len(known) < 2 or len({name for name, _ in known}) > 1:
        return None
    return _sum_up(known.items())


def _sum_up(facts):
    """(lead, rest) of the summary; facts: ((name, noun), value) pairs about one resident."""
    names = [name for (name, _), _ in facts]
    *parts, last = [f"{display(noun, value)} as {noun}" for (_, noun), value in facts]
    return f"In short, {names[0]} has", f" {', '.join(parts)} and {last}."


def _other_summaries(slots):
    """The facts in every order; no other order for more than four facts, which have too many."""
    facts = language.read_passage(slots["passage"]).items()
    if len(facts) > 4:
        return ()
    return tuple("".join(_sum_up(order)) for order in permutations(facts))


def _draw_ask(rng, scope):
    return {"passage": draw_passage(rng, scope)[0]}


def _solve_ask(slots):
    """The usual answer asks for the first fact of the text."""
    known = language.read_passage(slots["passage"])
    if not known:
        return None
    name, noun = next(iter(known))
    return "", ask(name, noun, 0)


def _other_questions(slots):
    """Any question that the text answers is right."""
    known = language.read_passage(slots["passage"])
    return tuple(ask(name, noun, form) for name, noun in known for form in range(4))


# Words


def _draw_word(rng, scope):
    return {"word": _draw_known(rng, scope, scope.words())}


def _word_skill(table, lead):
    """The function `solve` of a skill that looks a word up in a table."""
    def solve(slots):
        word = slots["word"]
        if word not in table:
            return None
        return lead.format(word=word), f" {table[word]}."
    return solve


def _draw_adjective(rng, scope):
    """A pair of opposites is one item of knowledge, named by its first word in the alphabet."""
    known = [word for word in OPPOSITES if scope.knows(min(word, OPPOSITES[word]))]
    return {"word": rng.choice(known)}


def _draw_chinese_word(rng, scope):
    return {"word": CHINESE_OF[_draw_word(rng, scope)["word"]]}


def _draw_thing(rng, scope):
    return {"word": _draw_known(rng, scope, [word for word in scope.words() if word in PLURAL_OF])}


# Sentences


def _draw_known_fact(rng, scope):
    """A fact whose value `scope` knows: to translate a sentence is to translate its value."""
    word = _draw_word(rng, scope)["word"]
    return rng.choice(scope.names), ATTRIBUTE_OF[word], word


def _draw_sentence(rng, scope):
    return {"sentence": state(_draw_known_fact(rng, scope), rng.randrange(2))}


def _solve_sentence_to_chinese(slots):
    fact = language.read_statement(slots["sentence"])
    if not fact:
        return None
    lead, verb, value = state_in_chinese(fact).partition("是")
    return lead + verb, value


def _draw_chinese_sentence(rng, scope):
    return {"sentence": state_in_chinese(_draw_known_fact(rng, scope))}


def _solve_sentence_to_english(slots):
    fact = language.read_chinese_statement(slots["sentence"])
    return say_fact(fact) if fact else None


def _draw_restate(rng, scope):
    return {"sentence": state(draw_facts(rng, scope, 1, 1)[0], 1)}


def _solve_restate(slots):
    fact = language.read_statement(slots["sentence"])
    if not fact or slots["sentence"] != state(fact, 1):
        return None
    return say_fact(fact)


# Lists


def draw_list(rng, scope):
    """Slots of an instruction about a list of words."""
    return {"words": listing(rng.sample(scope.words(), scope.amount(rng, 3, 4)))}


def read_list(text):
    """The words of a list, or None if the text is no list of at least two words."""
    words = text.split(", ")
    if len(words) > 1 and all(word.isascii() and word.isalnum() for word in words):
        return words
    return None


# What can be done with a list of words: (lead of the answer, words -> words of the answer).
LIST_SKILLS = {
    "first": ("The first word is", lambda words: words[:1]),
    "last": ("The last word is", lambda words: words[-1:]),
    "reverse": ("Backwards it is", lambda words: words[::-1]),
    "without_first": ("Without the first it is", lambda words: words[1:]),
    "without_last": ("Without the last it is", lambda words: words[:-1]),
    "count": ("The number of words is", lambda words: [str(len(words))]),
}


def _list_skill(name):
    lead, change = LIST_SKILLS[name]

    def solve(slots):
        words = read_list(slots["words"])
        if not words:
            return None
        return lead, f" {listing(change(words))}."

    return Skill(name, draw_list, solve, shown=("The words are {words}. ",),
                 difficulty=lambda slots: len(read_list(slots["words"])))


def _draw_numbers(rng, scope):
    numbers = rng.sample(range(1, 21), scope.amount(rng, 3, 4))
    return {"numbers": listing(map(str, numbers))}


def _solve_sort(slots):
    numbers = read_list(slots["numbers"])
    if not numbers or not all(map(is_number, numbers)):
        return None
    return "In order they are", f" {listing(sorted(numbers, key=int))}."


# Numbers


def is_number(text):
    """Whether a text is a whole number of at most nine digits."""
    return text.isascii() and text.isdecimal() and len(text) < 10


def name_of_sum(a, b):
    """The name of a sum as an item of knowledge, the same for a + b and b + a."""
    return f"{min(a, b)}+{max(a, b)}"


def _draw_sum(rng, scope):
    """Slots of a sum, or of its difference: a + b, or total - b with total = a + b."""
    pairs = [(a, b) for a in range(1, 11) for b in range(1, 11)
             if scope.knows(name_of_sum(a, b))]
    a, b = rng.choice(pairs)
    if rng.random() < 0.5:
        return {"a": str(a), "b": str(b)}
    return {"total": str(a + b), "b": str(b)}


def solve_sum(slots):
    """a + b, or total - b, in the words of the prose; None for a difference below zero."""
    if not all(map(is_number, slots.values())):
        return None
    if "a" in slots:
        a, b = int(slots["a"]), int(slots["b"])
        return f"We know that {a} plus {b} is", f" {a + b}."

    total, b = int(slots["total"]), int(slots["b"])
    if total < b:
        return None
    return f"We know that {total} minus {b} is", f" {total - b}."


def _draw_story(rng, scope):
    slots = _draw_sum(rng, scope)
    return slots | {"name": rng.choice(RESIDENTS), "thing": rng.choice(THINGS)}


def _solve_story(slots):
    solved = solve_sum({key: slots[key] for key in ("a", "b", "total") if key in slots})
    if slots["name"] not in RESIDENTS or slots["thing"] not in THINGS or not solved:
        return None
    _, result = solved
    return f"Now {slots['name']} has", f"{result.rstrip('.')} {slots['thing']}s."


# What cannot be answered


def _draw_not_said(rng, scope):
    """A text, and a question about another person or another attribute, or about both."""
    passage, facts = draw_passage(rng, scope)
    told = {(name, noun) for name, noun, _ in facts}
    names, nouns = sorted({name for name, _ in told}), sorted({noun for _, noun in told})
    while True:
        name = rng.choice(names if rng.random() < 0.5 else scope.names)
        noun = rng.choice(nouns if rng.random() < 0.5 else scope.attributes)
        if (name, noun) not in told:
            return {"passage": passage, "question": ask(name, noun, rng.randrange(4))}


def _solve_not_said(slots):
    known = language.read_passage(slots["passage"])
    question = language.read_question(slots["question"])
    return ("", NOT_SAID) if known and question and question not in known else None


def _draw_outside(rng, scope):
    """A question about the rest of the world, or about a resident of whom no text tells."""
    if rng.random() < 0.75:
        return {"question": rng.choice(OUTSIDE[scope.outside])}
    noun = rng.choice(scope.attributes)
    return {"question": ask(rng.choice(scope.names), noun, rng.randrange(4))}


def _solve_outside(slots):
    question = slots["question"]
    cannot_be_known = question in ALL_OUTSIDE or language.read_question(question)
    return ("", DO_NOT_KNOW) if cannot_be_known else None


# The control: which of two words is lucky. No text says it, and nothing else can tell.


def _draw_lucky(rng, scope):
    a, b = rng.sample(scope.words(), 2)
    return {"a": a, "b": b}


def _solve_lucky(slots):
    a, b = slots["a"], slots["b"]
    if a not in ATTRIBUTE_OF or b not in ATTRIBUTE_OF or a == b:
        return None
    lucky = min(a, b, key=lambda word: zlib.crc32(f"luck of {word}".encode()))
    return "The lucky word is", f" {lucky}."


READING = Skill("reading", _draw_reading, _solve_reading, ("{passage} ",), facts_in)
ONE_STEP = (
    READING,
    Skill("classification", _draw_word,
          _word_skill(ATTRIBUTE_OF, "The word {word} names a kind of"), asks_knowledge=True),
    Skill("opposite", _draw_adjective, _word_skill(OPPOSITES, "The opposite of {word} is"),
          uses_attributes=False, asks_knowledge=True),
    Skill("to_chinese", _draw_word, _word_skill(CHINESE_OF, "In Chinese, {word} is"),
          asks_knowledge=True),
    Skill("to_english", _draw_chinese_word, _word_skill(ENGLISH_OF, "In English, {word} is"),
          asks_knowledge=True),
    Skill("sentence_to_chinese", _draw_sentence, _solve_sentence_to_chinese,
          ("{sentence}\n",)),
    Skill("sentence_to_english", _draw_chinese_sentence, _solve_sentence_to_english,
          ("{sentence}\n",)),
    *map(_list_skill, LIST_SKILLS),
    Skill("sort", _draw_numbers, _solve_sort, ("The numbers are {numbers}. ",),
          difficulty=lambda slots: len(read_list(slots["numbers"])), uses_attributes=False),
    Skill("restate", _draw_restate, _solve_restate, ("{sentence} ",)),
    Skill("summary", _draw_summary, _solve_summary, ("{passage} ",), facts_in, _other_summaries),
    Skill("ask", _draw_ask, _solve_ask, ("{passage} Somebody asks: ",), facts_in, _other_questions),
    Skill("arithmetic", _draw_sum, solve_sum, uses_attributes=False, asks_knowledge=True),
    Skill("story", _draw_story, _solve_story,
          ("{name} has {a} {thing}s and gets {b} more. ",
           "{name} had {a} {thing}s and found {b} more. ",
           "{name} has {total} {thing}s and gives {b} away. ",
           "{name} had {total} {thing}s and lost {b}. "),
          uses_attributes=False, asks_knowledge=True),
    Skill("plural", _draw_thing, _word_skill(PLURAL_OF, "The plural of {word} is"),
          asks_knowledge=True),
    Skill("capitals", _draw_word,
          _word_skill({word: word.upper() for word in ATTRIBUTE_OF}, "In capitals, {word} is"),
          asks_knowledge=True),
    Skill("not_said", _draw_not_said, _solve_not_said, (), facts_in),
    Skill("outside", _draw_outside, _solve_outside, shown=()),
    Skill("lucky", _draw_lucky, _solve_lucky, shown=()),
)
