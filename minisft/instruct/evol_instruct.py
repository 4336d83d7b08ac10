"""Evol-Instruct: round by round, a teacher makes instructions harder, or makes rarer ones of them.

    pool <- the given instructions
    in each round, for each instruction of the pool:
        operation <- drawn at random: one of five in depth, or breadth
        evolved   <- teacher(prompt of the operation, with the instruction)
        answer    <- teacher(evolved)
        if no rule eliminates them: they are a row, and evolved replaces the instruction in the pool
        else: the instruction stays in the pool and is tried again in the next round

So N instructions become at most (1 + rounds) N rows: the given ones and all that were kept. A
family, what has come of one given instruction, is a line with dead branches. An id such as 7.2 says
family 7, round 2. A rule eliminates what

    gains no information    the teacher, asked to compare, finds both equal; or their words are
    copies the prompt       words with which the prompt speaks of the instruction are in it
    cannot be answered      the answer has "sorry" in it and is shorter than 80 words
    has an empty answer     nothing but punctuation and stop words

The paper has these six operations and four rules, and goes four rounds. The released code goes one
round; it lacks the operation that complicates the input, and it has no rules.

Different here: the texts of the prompts, without examples; instructions of the same words are found
without the teacher; an operation that has failed on an instruction is drawn for it again only after
all others, as a teacher may always answer the same; what is longer than the teacher can read is
eliminated. Simplified: "sorry" is English, so a teacher that refuses in Chinese is not noticed.

Notes: 合成数据 (synthetic data). Source: Xu et al. 2023 (WizardLM), section 3; code:
github.com/nlpxucan/WizardLM.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

from tqdm import tqdm

from minisft import plots
from minisft.config import at_least, option
from minisft.conversation import Conversation, Message
from minisft.generate import NoRoom
from minisft.instruct.dialogue import query_key
from minisft.instruct.tally import Tally
from minisft.instruct.teacher import TeacherFlags, chosen
from minisft.records import read_records
from minisft.screen import one_line

BREADTH = "breadth"
OPERATIONS = {  # {name: what the teacher is told to do}
    "add constraints": "Add one condition or requirement that a good answer has to meet.",
    "deepen": "Let it ask about its subject more deeply, or about more sides of it.",
    "concretise": "Replace its general notions with more specific ones.",
    "more reasoning": "If a few steps of thought are enough to answer it, change it so that the "
                      "answer clearly takes more steps.",
    "complicate the input": "Give it data to work on, for example a table, a formula, a piece of "
                            "code or JSON, so that the answer depends on them.",
    BREADTH: "Invent another instruction of the same domain, about as long and as hard, but of a "
             "rarer kind.",
}
IN_DEPTH = """\
Make the instruction at the end somewhat harder, so that strong assistants have to think. {how}
People must still understand it and be able to answer it. Keep what belongs to it, such as tables \
and code. Add 10 to 20 words, not more. Reply with the new instruction alone: no heading, no \
answer, and no mention of a given or a rewritten instruction.

#Given instruction#
{instruction}

#Rewritten instruction#
"""
IN_BREADTH = """\
Take the instruction at the end as inspiration. {how}
People must understand it and be able to answer it. Reply with the new instruction alone: no \
heading, no answer, and no mention of a given or a created instruction.

#Given instruction#
{instruction}

#Created instruction#
"""
COMPARE = """\
Are the two instructions below equal? They are if they set the same conditions, and if they ask as \
deeply and as broadly. Reply with one of: Equal, Not equal.

#First instruction#
{instruction}

#Second instruction#
{evolved}
"""

# Words with which prompts speak of an instruction: those above, and those of the paper's prompts.
LEAKED = re.compile(r"\b(?:given|rewritten|created) (?:prompt|instruction)\b|#\w[\w ]*\w#", re.I)
SHORT = 80  # words; a longer answer with "sorry" in it may still be one

# "no", "not", "I" and "a" are left out: alone they can be right answers, "a" to a choice.
STOP_WORDS = frozenset(
    "an the this that these those it its of to in on at by for from with as and or but if so than "
    "then there here is are was were be been being am do does did has have had will would can "
    "could may might shall should must we you they he she him them our your their his her my me us "
    "的 了 是 在 和 与 也 就 都 而 及 着 把 被 呢 吗 吧 啊".split())

SAME_WORDS = "no information gained, the same words"
EQUAL = "no information gained, the teacher finds both equal"
LEAK = "words of the prompt in the instruction"
REFUSAL = f'"sorry" in an answer of less than {SHORT} words'
EMPTY = "an answer of punctuation and stop words"
NO_ROOM = "longer than the teacher can read"
RULES = (SAME_WORDS, EQUAL, LEAK, REFUSAL, EMPTY, NO_ROOM)

NOT_ONE = "left out: not one question with one answer to learn"
REPEATED = "left out: the question of an earlier row"
UNCLEAR = "verdicts neither Equal nor Not equal, taken as Not equal"
ELSEWHERE = "kept, and the words of another row"
DRAWN = 4  # families in the figure


@dataclass(frozen=True)
class EvolConfig(TeacherFlags):
    files: tuple = option((), "rows to start from, those with one question and one answer, in any "
                              "format of file that training takes")
    rounds: int = option(4, "how often each instruction is evolved")
    seed: int = option(0, "random seed: which operation is drawn")
    out: str = option("", "file to write, OUT.jsonl; OUT.json, OUT.eliminated.jsonl, OUT.trees.txt "
                          "and OUT.trees.png stand beside it, and the teacher's answers so far in "
                          "OUT.answers")

    def __post_init__(self):
        super().__post_init__()
        at_least(self, rounds=1)
        if not self.files:
            raise ValueError("no instruction is given; name at least one file of rows")


def build(config):
    """(rows, Tally, {file beside: rows or bytes}) of an EvolConfig.

    The same command continues after any stop: the teacher's answers are kept, so it goes the same
    way again, and nothing is asked twice.
    """
    tally = Tally("rows read", NOT_ONE, REPEATED, *(f"kept: {name}" for name in OPERATIONS),
                  *(f"eliminated: {rule}" for rule in RULES), UNCLEAR, ELSEWHERE)
    roots = read_roots(config.files, tally)
    if not roots:
        return [], tally, {}
    with chosen(config.teacher, config.teacher_url, config.teacher_model, config.budget_requests,
                config.budget_tokens, Path(config.out).with_suffix(".answers")) as teacher:
        steps = list(tqdm(evolve(roots, teacher, Random(config.seed), config.rounds,
                                 FORMS[config.prompts]),
                          total=config.rounds * len(roots), desc="evolving", unit="instruction",
                          dynamic_ncols=True))
        made_by = {"teacher": teacher.name, "seed": config.seed}

    count(roots, steps, tally)
    steps = [step | made_by for step in steps]
    kept, eliminated = ([step for step in steps if ("reason" in step) == gone]
                        for gone in (False, True))
    rows = [*roots, *kept]
    return rows, tally, {"eliminated.jsonl": eliminated,
                         "trees.txt": trees(rows, eliminated).encode(),
                         "trees.png": figure(roots, steps)}


def read_roots(files, tally):
    """The rows that can be evolved, in the order of the files; the others are counted."""
    roots, seen = [], set()
    for record in read_records(files)[0]:
        tally.add("rows read", record.source)
        messages = record.item.messages if isinstance(record.item, Conversation) else ()
        if [message.role for message in messages] != ["user", "assistant"] or not messages[1].learn:
            tally.add(NOT_ONE, record.source)
        elif messages[0].content in seen:
            tally.add(REPEATED, record.source)
        else:
            seen.add(messages[0].content)
            roots.append({"id": str(len(roots) + 1), "parent": None, "operation": None, "round": 0,
                          "source": record.source, "messages": record.item.to_messages(),
                          "teacher": None, "seed": None})
    return roots


# The prompts


def ask_to_evolve(operation, instruction):
    """The prompt of one of the OPERATIONS."""
    form = IN_BREADTH if operation == BREADTH else IN_DEPTH
    return form.format(how=OPERATIONS[operation], instruction=instruction)


def ask_to_compare(instruction, evolved):
    """The prompt that is answered with Equal or Not equal."""
    return COMPARE.format(instruction=instruction, evolved=evolved)


def ask_to_answer(instruction):
    """An instruction is its own prompt."""
    return instruction


@dataclass(frozen=True)
class Prompts:
    """How a teacher is asked: functions that give a prompt.

    evolve: of an operation and an instruction; compare: of an instruction and what has come of it,
    None where the teacher cannot judge; answer: of an instruction; operations: names to draw from.
    """

    evolve: Callable = ask_to_evolve
    compare: Callable | None = ask_to_compare
    answer: Callable = ask_to_answer
    operations: tuple = tuple(OPERATIONS)


def ask_shortly(operation, instruction):
    """As `ask_to_evolve`, for a small teacher that was tuned on this form.

    >>> ask_shortly("deepen", "Name a river.")
    'Rewrite this task (deepen): Name a river.'
    """
    return f"Rewrite this task ({operation}): {instruction}"


PROMPTS = Prompts()
SHORT_FORM = Prompts(evolve=ask_shortly, compare=None)
FORMS = {"paper": PROMPTS, "short": SHORT_FORM}


# The rules


def has_same_words(instruction, evolved):
    """Nothing new was added: equal but for capitals, spaces and marks around words, or blank.

    >>> has_same_words("Name a colour.", " name a  colour!")
    True
    """
    return not evolved.strip() or query_key(evolved) == query_key(instruction)


def says_equal(verdict):
    """Whether the teacher finds both equal; None if it says something else.

    >>> [says_equal(verdict) for verdict in ("Equal.", "Not equal", "Well, equally hard")]
    [True, False, None]
    """
    found = re.match(r"\W*(not )?equal\b", verdict, re.I)
    return not found[1] if found else None


def copies_prompt(instruction, evolved):
    """The teacher has repeated its task: words of the prompt that the instruction did not have.

    >>> copies_prompt("Sum it.", "#Rewritten instruction#: Sum it, then square it.")
    True
    """
    before, after = (Counter(found.lower() for found in LEAKED.findall(text))
                     for text in (instruction, evolved))
    return bool(after - before)


def is_refusal(answer):
    """The instruction was too hard or makes no sense: a short answer with "sorry" in it.

    >>> is_refusal("I am sorry, but I cannot know that.")
    True
    """
    return "sorry" in answer.lower() and len(answer.split()) < SHORT


def is_empty(answer):
    """There is nothing to learn: no letter or digit, but for those of stop words.

    >>> [is_empty(answer) for answer in ("... and the ?", "的。", "No.", "7")]
    [True, True, False, False]
    """
    words = re.findall(r"[a-z]+|\S", answer.lower())
    return not any(word not in STOP_WORDS and any(map(str.isalnum, word)) for word in words)


# Evolving


class Attempt(NamedTuple):
    """What the teacher said, each None if it was not asked, and why it is eliminated, or None."""

    instruction: str | None
    verdict: str | None
    answer: str | None
    reason: str | None


def evolve(roots, teacher, rng, rounds=4, prompts=PROMPTS):
    """Yield a row for each instruction of the pool in each round, kept or, with a reason, not.

    roots: rows such as those of `read_roots`; rng: a random.Random, it draws the operations. What
    is drawn and asked depends on rng and on the teacher's answers alone.
    """
    pool = list(roots)
    tried = [set() for _ in pool]  # operations that have failed on the instruction in the pool
    for round in range(1, rounds + 1):
        for i, parent in enumerate(pool):
            left = [name for name in prompts.operations if name not in tried[i]]
            operation = rng.choice(left or prompts.operations)
            found = attempt(parent["messages"][0]["content"], operation, teacher, prompts)
            row = {"id": f"{roots[i]['id']}.{round}", "parent": parent["id"],
                   "operation": operation, "round": round, "source": roots[i]["source"]}
            if found.reason:
                tried[i].add(operation)
                yield row | found._asdict()
                continue
            turns = (Message("user", found.instruction), Message("assistant", found.answer))
            pool[i], tried[i] = row | {"messages": Conversation(turns).to_messages()}, set()
            yield pool[i] | ({"verdict": found.verdict} if found.verdict is not None else {})


def attempt(instruction, operation, teacher, prompts=PROMPTS):
    """The Attempt to evolve an instruction; the teacher is asked no more once it has failed."""
    evolved = verdict = answer = reason = None
    try:
        evolved = teacher(prompts.evolve(operation, instruction)).strip()
        if has_same_words(instruction, evolved):
            reason = SAME_WORDS
        elif copies_prompt(instruction, evolved):
            reason = LEAK
        elif prompts.compare:
            verdict = teacher(prompts.compare(instruction, evolved))
            reason = EQUAL if says_equal(verdict) else None
        if not reason:
            answer = teacher(prompts.answer(evolved)).strip()
            reason = REFUSAL if is_refusal(answer) else EMPTY if is_empty(answer) else None
    except NoRoom:
        reason = NO_ROOM
    return Attempt(evolved, verdict, answer, reason)


# What is reported


def count(roots, steps, tally):
    """Add what became of each step, as `evolve` yields them, to a Tally."""
    seen = {query_key(root["messages"][0]["content"]) for root in roots}
    for step in steps:
        if step.get("verdict") is not None and says_equal(step["verdict"]) is None:
            tally.add(UNCLEAR, step["id"])
        if "reason" in step:
            tally.add(f"eliminated: {step['reason']}", step["id"])
            continue
        tally.add(f"kept: {step['operation']}", step["id"])
        key = query_key(step["messages"][0]["content"])
        if key in seen:
            tally.add(ELSEWHERE, step["id"])
        seen.add(key)


def trees(rows, eliminated):
    """Every family as text: what has come of an instruction stands below it, further right."""
    children = {}
    for row in sorted([*rows, *eliminated], key=lambda row: row["round"]):
        children.setdefault(row["parent"], []).append(row)

    def lines(row, depth):
        what = f"{row['id']}  {row['operation'] or row['source']}"
        if "reason" in row:
            text = row["instruction"] or ""
            what = f"x {what} (eliminated: {row['reason']})"
        else:
            text = row["messages"][0]["content"]
        yield f"{'    ' * depth}{what}: {one_line(text)}\n"
        for child in children.get(row["id"], []):
            yield from lines(child, depth + 1)

    return "\n".join("".join(lines(root, 0)) for root in children[None])


def figure(roots, steps):
    """The bytes of a PNG: the first families as trees, and what became of each operation."""
    rounds = {row["id"]: row["round"] for row in [*roots, *steps]}
    families = {}
    for root in roots[:DRAWN]:
        text = one_line(root["messages"][0]["content"])
        title = f"{root['id']}: {text[:70]}" if text.isascii() else root["source"]
        families[title] = [(step["round"], rounds[step["parent"]], step["operation"],
                            step.get("reason", "kept"))
                           for step in steps if step["source"] == root["source"]]
    names = dict.fromkeys([*OPERATIONS, *(step["operation"] for step in steps)])
    fates = {name: Counter(step.get("reason", "kept") for step in steps
                           if step["operation"] == name) for name in names}
    return plots.png(plots.trees, families, {name: each for name, each in fates.items() if each},
                     ("kept", *RULES))
