"""The oracle: what is the right answer to an instruction, worked out from its text alone.

It reads the slots back out of the instruction with the templates that may have written it, and solves them. What it
cannot read it does not guess: the answer is then None, "I cannot tell", which never counts as right.
"""

from minisft.world.dialogue import DIALOGUES
from minisft.world.skills import SKILLS


def answer(turns):
    """The right answer to the last of the user turns, or None if the oracle cannot tell.

    turns: list of str, all that the user said so far, oldest first.

    >>> answer(["What is the opposite of hot?"]), answer(["Why?"])
    ('The opposite of hot is cold.', None)
    """
    if len(turns) == 1:
        for skill in SKILLS:
            for wording in skill.tuned + skill.new:
                slots = wording.match(turns[0])
                solved = slots and skill.solve(slots)
                if solved:
                    return solved
    for _, solve in DIALOGUES.values():
        solved = turns and solve(turns)
        if solved:
            return solved
    return None


def is_right(turns, given):
    """Whether `given`, white space around it aside, is the right answer; False where the oracle cannot tell."""
    return given.strip() == answer(turns)
