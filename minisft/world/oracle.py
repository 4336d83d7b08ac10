"""The oracle: from the text of an instruction alone, it tells what the instruction asks for, how
hard it is, and which answers are right.

    judge(["What is 7 plus 5?"])  ->  skill arithmetic, difficulty 1,
                                      answers ("We know that 7 plus 5 is 12.",)

It matches the instruction with all templates that may have written it, and solves the slots it
finds. So it can read any instruction of a known form, also one that a model made up. It ignores
courtesies and undoes typing mistakes. It never guesses: for an instruction that it cannot read, the
judgement is None, which means "I cannot tell" and never counts as right.

A right answer has the town's own form, which the prose shows: "The pet of Mia is a dog.", not "A
dog." Where several answers in that form are right (which question to ask, the order of a summary),
all count.
"""

from dataclasses import dataclass
from functools import cache

from minisft.world.dialogue import MANNERS, Talk, in_manner
from minisft.world.language import read_passage, read_question, read_statement, sentences
from minisft.world.skills import ONE_STEP
from minisft.world.steps import SEVERAL_STEPS
from minisft.world.users import as_meant
from minisft.world.wordings import readings

SKILLS = {skill.name: skill for skill in ONE_STEP + SEVERAL_STEPS}


@dataclass(frozen=True)
class Judgement:
    """What the oracle says of an instruction.

    skill: name of the skill
    difficulty: number of steps, hops, operations, facts, words in a list, or turns
    answers: all right answers, the usual one first
    meaning: equal for two instructions that ask the same about the same facts in other words
    text: if the instruction asks for (name, noun), what its text tells, {(name, noun): value}, or
        None for no text, and the (name, noun); else None
    """

    skill: str
    difficulty: int
    answers: tuple
    meaning: tuple
    text: tuple | None = None


def judge(turns, system=None):
    """The Judgement of the last user turn, or None if the oracle cannot tell.

    turns: list of str, all user turns so far, oldest first. system: the system message, if any.
    """
    judged = judge_all(turns, system)
    return judged[-1] if judged else None


def judge_all(turns, system=None):
    """The Judgement of each user turn, or [] if the oracle cannot tell one of them."""
    manner = MANNERS.get(system)
    if system is not None and manner is None:
        return []
    talk, judged = Talk(_judge_alone), []
    for turn in turns:
        answers = next(filter(None, map(talk.read, as_meant(turn))), ())
        if system:
            answers = tuple(filter(None, (in_manner(answer, manner) for answer in answers)))
        if not answers:
            return []
        if talk.kinds == ["alone"] and not system:
            judged.append(talk.judged)
        else:
            judged.append(Judgement(_kind(talk, system), len(talk.kinds), answers,
                                    (manner, *talk.meaning)))
    return judged


def _kind(talk, system):
    """Which kind of conversation it is."""
    first, *others = talk.kinds
    if system:
        return "system"
    if first == "alone" and talk.known and set(others) == {"text"}:
        return "follow_up"
    return "small_talk" if set(talk.kinds) <= {"greeting", "courtesy", "about me"} else "topics"


@cache
def _judge_alone(text):
    """The Judgement of one instruction as it is written, or None."""
    for name, slots in readings(text):
        skill = SKILLS[name]
        if usual := skill.answer(slots):
            return _judgement(skill, slots, usual)
    return None


def _judgement(skill, slots, usual):
    answers = tuple(dict.fromkeys((usual, *skill.others(slots))))  # each once
    text = None
    asked = read_question(slots.get("question", ""))
    if asked:
        text = read_passage(slots["passage"]) if "passage" in slots else None, asked
    return Judgement(skill.name, skill.difficulty(slots), answers, meaning(skill, slots), text)


def meaning(skill, slots):
    """Skill and slots, with sentences, numbers and summands in a fixed order."""
    if {"a", "b"} <= slots.keys():
        a, b = sorted((slots["a"], slots["b"]))
        slots = slots | {"a": a, "b": b}
    return skill.name, *sorted((slot, _content(slot, text)) for slot, text in slots.items())


def _content(slot, text):
    """What the text of a slot says, equal for two texts that say the same."""
    if slot in ("passage", "calls"):
        said = {str(read_statement(sentence) or sentence) for sentence in sentences(text)}
        return tuple(sorted(said))
    if slot == "sentence":
        return read_statement(text) or text
    if slot == "question":
        return read_question(text) or text
    if slot == "numbers":
        return tuple(sorted(text.split(", ")))
    return text


def answer(turns, system=None):
    """The usual right answer to the last user turn, or None if the oracle cannot tell.

    >>> answer(["What is the opposite of hot?"]), answer(["Why?"])
    ('The opposite of hot is cold.', None)
    """
    judged = judge(turns, system)
    return judged.answers[0] if judged else None


def is_right(turns, given, system=None):
    """Whether `given`, without white space around it, is right; False if the oracle cannot tell."""
    judged = judge(turns, system)
    return judged is not None and given.strip() in judged.answers
