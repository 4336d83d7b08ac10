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
from itertools import chain

from minisft.world.dialogue import DIALOGUES
from minisft.world.language import read_question, read_statement, sentences
from minisft.world.skills import ONE_STEP
from minisft.world.steps import SEVERAL_STEPS
from minisft.world.users import corrected, without_courtesies

SKILLS = {skill.name: skill for skill in ONE_STEP + SEVERAL_STEPS}


@dataclass(frozen=True)
class Judgement:
    """What the oracle says of an instruction.

    skill: name of the skill
    difficulty: number of steps, hops, operations, facts, words in a list, or turns
    answers: all right answers, the usual one first
    meaning: equal for two instructions that ask the same about the same facts in other words
    """

    skill: str
    difficulty: int
    answers: tuple
    meaning: tuple


def judge(turns):
    """The Judgement of the last user turn, or None if the oracle cannot tell.

    turns: list of str, all user turns so far, oldest first.
    """
    bare = [without_courtesies(turn) for turn in turns]
    return _judge(turns) or _judge(bare) or _judge([corrected(turn) for turn in bare])


def _judge(turns):
    if not turns:
        return None
    if len(turns) == 1:
        judged = _judge_instruction(turns[0])
        if judged:
            return judged
    return _judge_conversation(turns)


def _judge_instruction(text):
    for skill in SKILLS.values():
        for wording in chain(*skill.wordings.values()):
            slots = wording.match(text)
            usual = skill.answer(slots) if slots else None
            if usual:
                answers = tuple(dict.fromkeys((usual, *skill.others(slots))))  # each once
                return Judgement(
                    skill.name, skill.difficulty(slots), answers, _meaning(skill, slots))
    return None


def _judge_conversation(turns):
    for name, (_, solve) in DIALOGUES.items():
        solved = solve(turns)
        if solved:
            answer, meaning = solved
            return Judgement(name, len(turns), (answer,), (name, *meaning))
    return None


def _meaning(skill, slots):
    """Skill and slots; sentences, summands and numbers to sort in a fixed order."""
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


def answer(turns):
    """The usual right answer to the last user turn, or None if the oracle cannot tell.

    >>> answer(["What is the opposite of hot?"]), answer(["Why?"])
    ('The opposite of hot is cold.', None)
    """
    judged = judge(turns)
    return judged.answers[0] if judged else None


def is_right(turns, given):
    """Whether `given`, without white space around it, is right; False if the oracle cannot tell."""
    judged = judge(turns)
    return judged is not None and given.strip() in judged.answers
