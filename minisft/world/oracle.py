"""The oracle: what an instruction asks for, how hard it is, and which answers are right, from its text alone.

    judge(["What is 7 plus 5?"])  ->  skill arithmetic, difficulty 1, answers ("We know that 7 plus 5 is 12.",)

It reads the slots back out of an instruction with the templates that may have written it, and solves them; so it reads
any instruction of a known form, one that a model made up included. Courtesies and typing mistakes do not disturb it.
What it cannot read it does not guess: the judgement is then None, "I cannot tell", which never counts as right.

Right is an answer in the town's own form, which the prose shows: "The pet of Mia is a dog.", not "A dog." Where several
are right in that form (a question to ask, the order of a summary), all of them are.
"""

from dataclasses import dataclass

from minisft.world.dialogue import DIALOGUES
from minisft.world.language import read_question, read_statement, sentences
from minisft.world.skills import ONE_STEP
from minisft.world.steps import SEVERAL_STEPS
from minisft.world.users import corrected, without_courtesies

SKILLS = {skill.name: skill for skill in ONE_STEP + SEVERAL_STEPS}


@dataclass(frozen=True)
class Judgement:
    """skill: its name; difficulty: steps, hops, operations, facts, words of a list, or turns; answers: all right ones,
    the usual one first; meaning: equal for two instructions that ask the same thing of the same facts in other words.
    """

    skill: str
    difficulty: int
    answers: tuple
    meaning: tuple


def judge(turns):
    """The Judgement of the last of the user turns, or None if the oracle cannot tell.

    turns: list of str, all that the user said so far, oldest first.
    """
    bare = [without_courtesies(turn) for turn in turns]
    return _judge(turns) or _judge(bare) or _judge([corrected(turn) for turn in bare])


def _judge(turns):
    if len(turns) == 1:
        for skill in SKILLS.values():
            for wordings in skill.wordings.values():
                for wording in wordings:
                    slots = wording.match(turns[0])
                    solved = slots and skill.answer(slots)
                    if solved:
                        answers = tuple(dict.fromkeys((solved, *skill.others(slots))))
                        return Judgement(skill.name, skill.difficulty(slots), answers, _meaning(skill, slots))
    for name, (_, solve) in DIALOGUES.items():
        solved = turns and solve(turns)
        if solved:
            answer, meaning = solved
            return Judgement(name, len(turns), (answer,), (name, *meaning))
    return None


def _meaning(skill, slots):
    """Skill and slots, whatever the wording and the order of sentences and of summands."""
    if {"a", "b"} <= slots.keys():
        slots = slots | dict(zip("ab", sorted((slots["a"], slots["b"]))))
    return skill.name, *sorted((slot, _content(slot, text)) for slot, text in slots.items())


def _content(slot, text):
    if slot in ("passage", "calls"):
        return tuple(sorted({str(read_statement(sentence) or sentence) for sentence in sentences(text)}))
    if slot == "sentence":
        return read_statement(text) or text
    return read_question(text) or text if slot == "question" else text


def answer(turns):
    """The usual right answer to the last of the user turns, or None if the oracle cannot tell.

    >>> answer(["What is the opposite of hot?"]), answer(["Why?"])
    ('The opposite of hot is cold.', None)
    """
    judged = judge(turns)
    return judged and judged.answers[0]


def is_right(turns, given):
    """Whether `given`, white space around it aside, is a right answer; False where the oracle cannot tell."""
    judged = judge(turns)
    return judged is not None and given.strip() in judged.answers
