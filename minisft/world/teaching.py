"""What makes a tuned model a teacher: rows that show how to write tasks, and how to evolve them.

    1. Say it backwards: red, owl          ->   5. How much is 3 plus 4?
    ...                                         6. What is the opposite of hot?
    4. What is 5 plus 2?                        ...
    Write new tasks.

    Rewrite this task (more reasoning): What is 3 plus 4?
        ->   Begin with 3, then plus 4, minus 2. What is the result?

    Begin with 3, then plus 4, minus 2. What is the result?
        ->   3 plus 4 is 7. 7 minus 2 is 5. The result is 5.

The questions are those of Self-Instruct and Evol-Instruct in their short form. New tasks are easy
ones, of other kinds than the drawn examples; hard ones (two hops, chains of calls, changes of a
sum, two operations) come from evolving. Taught to write those as well, the teacher named people and
calls that led nowhere: most of them made no sense. Summaries are left to evolving as well: half of
those it wrote said one thing twice, or gave one person two jobs. Half of the examples are drawn
like the new tasks, half are seed tasks, most of which cannot be asked in the town. Where an
operation does not fit, the teacher repeats the task, which Evol-Instruct takes for a failure. The
third kind of rows is there because evolved tasks are harder than those of the training split.

    python -m minisft.world --teacher teacher.jsonl
    python -m minisft.train --data data/train.jsonl data/prose.jsonl teacher.jsonl

All is drawn as for the training split, and nothing that a test asks is among the tasks. The teacher
reads tasks in all wordings and writes each kind in at most six, on one line. Taught to write all of
them by the same number of steps, it mixes the words of different tasks.

Notes: 合成数据 (synthetic data).
"""

import random
from functools import cache, partial

from minisft.instruct.evol_instruct import BREADTH, ask_shortly
from minisft.instruct.prompts import SHORT_FORM, Task
from minisft.instruct.self_instruct import SEED_TASKS, read_seeds
from minisft.world import oracle
from minisft.world.corpus import LONGEST, as_typed, is_long, scope_of, worded
from minisft.world.evolving import CHANGES, EASY, TASKS, evolved
from minisft.world.oracle import SKILLS
from minisft.world.wordings import TUNED_STYLES, wordings

LISTS, FAMILIES = 8000, 2500  # questions for new tasks; tasks that are evolved
STYLES = ("plain", "tuned")  # in which tasks are written
KINDS = tuple(name for name in EASY if name != "summary")  # that are written
MOST_WORDINGS = 6  # in which a task with the same slots is written
MOST_NEW = 5
ATTEMPTS = 8  # to evolve a task
BROAD, REPEATED = 0.15, 0.2  # shares: of attempts in breadth, and of failures that are taught
LONGEST_ENTRY = 180  # characters of a task in a list, which stands on one line
SCOPE = scope_of("train")


def teaching(seed, asked):
    """The rows, as those of the training split; asked: an Asked, what tests ask."""
    rng = random.Random(f"teaching {seed}")
    seeds = read_seeds(SEED_TASKS)
    rows = [list_row(rng, seeds, asked) for _ in range(LISTS)]
    for _ in range(FAMILIES):
        rows += family(rng, asked)
    rng.shuffle(rows)
    return [row for row in rows if row["messages"][1]["content"] and not is_long(row)]


def list_row(rng, seeds, asked):
    """Examples, and new tasks of other kinds than the drawn ones, which continue their list."""
    kinds = rng.sample(KINDS, len(KINDS))
    examples = [rng.choice(seeds) if rng.random() < 0.5
                else Task("", entry(rng, kinds.pop(), asked), (), False)
                for _ in range(SHORT_FORM.examples)]
    question = SHORT_FORM.new_instructions(examples)

    answer, room = "", LONGEST - len(question)
    for number in range(SHORT_FORM.examples + 1, SHORT_FORM.examples + MOST_NEW + 1):
        line = f"{number}. {entry(rng, kinds.pop(), asked)}\n"
        if len(answer + line) > room:
            break
        answer += line
    return row("new_tasks", question, answer.rstrip("\n"))


def entry(rng, name, asked):
    """The text of a task of a kind, short enough for a list."""
    while True:
        found = drawn(rng, partial(draw, rng, name), asked)
        if found and len(found[1]) <= LONGEST_ENTRY:
            return found[1]


def family(rng, asked):
    """Rows of a task that is evolved several times: how, and what the right answers are."""
    name, rows, found = rng.choice(TASKS), [], None
    while not found:
        found = drawn(rng, partial(draw, rng, name), asked, rng.choice(TUNED_STYLES))
    task, text = found
    for _ in range(ATTEMPTS):
        operation = BREADTH if rng.random() < BROAD else rng.choice(tuple(CHANGES))
        question = ask_shortly(operation, text)
        new = drawn(rng, partial(evolved, rng, operation, task, SCOPE), asked)
        if new:
            task, text = new
            rows += [row("evolve", question, text), row("evolved", text, answer_to(task))]
        elif rng.random() < REPEATED:
            rows.append(row("evolve", question, text))
    return rows


def draw(rng, name):
    """A task, a pair (name, slots)."""
    return name, SKILLS[name].draw(rng, SCOPE)


def drawn(rng, draw, asked, style=None):
    """(task, its text) of the first task that draw() gives and no test asks; None after 20.

    style: in which it is worded; None words it as the teacher does.
    """
    for _ in range(20):
        task = draw()
        if task:
            text = worded(rng, *task, style) if style else written(rng, *task)
            if is_free(task, text, asked):
                return task, text
    return None


def written(rng, name, slots):
    """The text of a task in one of the wordings that the teacher writes."""
    return rng.choice(wordings_to_write(name, frozenset(slots))).fill(**slots)


@cache
def wordings_to_write(name, slots):
    """Wordings on one line of a task with these slots, the plainest first."""
    plain, tuned = ([wording for wording in wordings(name, style)
                     if set(wording.slots) == slots and "\n" not in wording.text]
                    for style in STYLES)
    random.Random(f"wordings to write {name}").shuffle(tuned)
    return [*plain, *tuned][:MOST_WORDINGS]


def is_free(task, text, asked):
    """Whether no test asks this, in these words or in others."""
    name, slots = task
    skill = SKILLS[name]
    if (as_typed([text]), None) in asked.texts:
        return False
    return skill.asks_knowledge or oracle.meaning(skill, slots) not in asked.meanings


def answer_to(task):
    name, slots = task
    return SKILLS[name].answer(slots)


def row(task, question, answer):
    return {"task": task, "split": "train", "messages": [
        {"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
