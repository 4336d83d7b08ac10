"""Splits, and the files in data/: everything here follows from a seed.

    train            tuned attributes, tuned wordings, items of knowledge that are not held out
    new_passage      the same tasks and wordings; the texts, lists and questions were not tuned on
                     in any wording
    new_item         words, opposites and sums; no training row asks for their translation, kind or
                     result
    new_wording      wordings that were not tuned on
    user_wording     as users type: short, in two languages, with courtesies, with typing mistakes
    new_attribute    attributes that were not tuned on (only the pre-training prose mentions them)
    new_composition  two operations on a list; each was tuned with others, but not with this one
    new_skill        skills that the prose shows and no training question asks for
    control          a question that nothing in the world can answer: which of two words is lucky.
                     A model must choose, and is right half the time; a model that is far from half
                     has seen the test

Each row is a conversation in the `messages` format with two more keys, `task` and `split`. It has a
key `also` where more than one answer is right, and a key `choices` where the model must choose one
of several answers.
"""

import json
import math
import random
import re
from dataclasses import dataclass
from pathlib import Path

from minisft.shipped import TEST_SPLITS
from minisft.tokenizer import SPECIAL_TOKENS, Tokenizer, train_bpe
from minisft.world import oracle
from minisft.world.dialogue import DIALOGUES
from minisft.world.facts import ATTRIBUTES_OF, NEW_ATTRIBUTES
from minisft.world.noise import add_noise
from minisft.world.oracle import SKILLS
from minisft.world.prose import document
from minisft.world.skills import Scope
from minisft.world.users import corrected, mistyped, polite, without_courtesies

NEW_SKILLS = ("plural", "capitals")
CONTROL = ("lucky",)
TUNED_TASKS = (*(name for name in SKILLS if name not in NEW_SKILLS + CONTROL), *DIALOGUES)
_KNOWLEDGE = tuple(
    name for name in TUNED_TASKS if name in SKILLS and SKILLS[name].asks_knowledge)
_TEXTS = tuple(
    name for name in TUNED_TASKS if name in DIALOGUES or SKILLS[name].has_text)
_ATTRIBUTES = tuple(
    name for name in TUNED_TASKS if name in DIALOGUES or SKILLS[name].uses_attributes)
# Tasks that make no sense in the harbor.
_OF_PEOPLE = ("two_hop", "chain", "running_sum", "story", "small_talk")


@dataclass(frozen=True)
class Split:
    """What a split draws from: its tasks, and the styles in which they are worded.

    new_attributes: whether it uses the new attributes or the tuned ones
    held_out, new_pairs: which items of knowledge and which pairs of operations, as in Scope
    """

    tasks: tuple
    styles: tuple = ("tuned",)
    new_attributes: bool = False
    held_out: bool | None = False
    new_pairs: bool = False


SPLITS = {
    "train": Split(TUNED_TASKS),
    "new_passage": Split(_TEXTS),
    "new_item": Split(_KNOWLEDGE, held_out=True),
    "new_wording": Split(TUNED_TASKS, styles=("new",)),
    "user_wording": Split(TUNED_TASKS, styles=("short", "mixed", "polite", "mistyped")),
    "new_attribute": Split(_ATTRIBUTES, new_attributes=True, held_out=True),
    "new_composition": Split(("compose",), new_pairs=True),
    "new_skill": Split(NEW_SKILLS, held_out=None),
    "control": Split(CONTROL, held_out=None),
}

# Rows of each task. A task that has fewer different instructions gives all it has. Of the about 200
# instructions about opposites, 150 are used here, so that some are left for the tests.
TRAIN_ROWS = dict.fromkeys(TUNED_TASKS, 400) | {
    "reading": 1500, "follow_up": 800, "small_talk": 500, "story": 500, "reverse": 600,
    "two_hop": 600, "chain": 600, "running_sum": 600, "compose": 800, "opposite": 150,
}
SIZES = {"small": 0.25, "middle": 1, "large": 4}
# Rows of a test split, shared equally among its tasks, but at least 40 of each. One or two tasks
# have fewer different instructions than that.
TEST_ROWS = 560


def scope_of(split, domain="town", difficulty=None):
    """The Scope of a split in a domain."""
    rules = SPLITS[split]
    nouns = tuple(noun for noun in ATTRIBUTES_OF[domain]
                  if (noun in NEW_ATTRIBUTES) == rules.new_attributes)
    return Scope(nouns, rules.held_out, difficulty, rules.new_pairs)


def tasks_of(split, domain="town"):
    """The tasks of a split that make sense in a domain."""
    tasks = SPLITS[split].tasks
    return tasks if domain == "town" else tuple(task for task in tasks if task not in _OF_PEOPLE)


def prose(seed, count, stream="train"):
    """`count` documents of a stream; "train" and "valid" give different documents for one seed."""
    rng = random.Random(f"prose {stream} {seed}")
    return [document(rng) for _ in range(count)]


def draw_turns(rng, task, scope, style="tuned"):
    """The user turns of one conversation of a task, in one of the styles."""
    if style == "polite":
        return _changed_turns(rng, task, scope, polite)
    if style == "mistyped":
        return _changed_turns(rng, task, scope, mistyped)
    if task in DIALOGUES:
        draw, _ = DIALOGUES[task]
        return draw(rng, scope, style)

    skill = SKILLS[task]
    slots = skill.draw(rng, scope)
    fitting = [template for template in skill.wordings[style]
               if set(template.slots) == set(slots)]
    return [rng.choice(fitting).fill(**slots)]


def _changed_turns(rng, task, scope, change):
    """User turns in a tuned wording, at least one of them changed by change(rng, turn)."""
    while True:
        turns = draw_turns(rng, task, scope)
        changed = [change(rng, turn) for turn in turns]
        if changed != turns:
            return changed


def conversation(turns):
    """(messages, also): the user turns with the oracle's answers, and other right last answers."""
    messages = []
    for k, turn in enumerate(turns, 1):
        judged = oracle.judge(turns[:k])
        assert judged is not None, f"the oracle cannot read what the world wrote: {turns[:k]}"
        messages.append({"role": "user", "content": turn})
        messages.append({"role": "assistant", "content": judged.answers[0]})
    return messages, list(judged.answers[1:])


def make_row(task, split, turns):
    """The row of a conversation, ready to be written."""
    messages, also = conversation(turns)
    row = {"task": task, "split": split, "messages": messages}
    if also:
        row["also"] = also
    if task in CONTROL:
        _, *slots = oracle.judge(turns).meaning
        row["choices"] = [f"The lucky word is {word}." for _, word in slots]
    return row


def instructions(seed, split, rows, exclude=(), domain="town", difficulty=None):
    """Rows of a split: at most `rows[task]` of each task, no two alike in what `as_typed` keeps.

    exclude: rows whose texts must not come again. Their questions must not come again in other
    words either, except for questions of knowledge in a split of new wordings.
    """
    scope, styles = scope_of(split, domain, difficulty), SPLITS[split].styles
    old_texts = {as_typed(user_turns(row)) for row in exclude}
    old_meanings = {oracle.judge(user_turns(row)).meaning for row in exclude}
    written = []
    for task, count in rows.items():
        rng = random.Random(f"instructions {split} {task} {seed}")
        texts, found = set(old_texts), []
        for _ in range(20 * count):
            turns = tuple(draw_turns(rng, task, scope, rng.choice(styles)))
            text = as_typed(turns)
            if text in texts:
                continue
            if not _may_ask_again(split, task) and oracle.judge(turns).meaning in old_meanings:
                continue
            texts.add(text)
            found.append(make_row(task, split, turns))
            if len(found) == count:
                break
        written += found

    random.Random(f"order {split} {seed}").shuffle(written)
    return written


def _may_ask_again(split, task):
    """Whether a question may come again in other words: one of knowledge, if the wording is new."""
    return split in ("train", "new_wording", "user_wording") and task in _KNOWLEDGE


def as_typed(turns):
    """User turns without courtesies, typing mistakes, capitals, punctuation and extra spaces."""
    bare = [corrected(without_courtesies(turn)).lower() for turn in turns]
    return tuple(re.sub(r"\W+", " ", turn).strip() for turn in bare)


def user_turns(row):
    return tuple(message["content"] for message in row["messages"] if message["role"] == "user")


def find_leaks(train, test):
    """The test rows that were tuned on, a list of (row, reason).

    The reason is "the same text" if at most courtesies, typing mistakes, capitals and punctuation
    differ, and "the same question in other words" if the oracle gives both the same `meaning`.
    """
    def meaning(row):
        judged = oracle.judge(user_turns(row))
        return judged.meaning if judged else None

    texts = {as_typed(user_turns(row)) for row in train}
    meanings = {meaning(row) for row in train} - {None}
    leaks = []
    for row in test:
        if as_typed(user_turns(row)) in texts:
            leaks.append((row, "the same text"))
        elif meaning(row) in meanings and not _may_ask_again(row["split"], row["task"]):
            leaks.append((row, "the same question in other words"))
    return leaks


def read_rows(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def write_rows(path, rows):
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    Path(path).write_text("".join(lines), encoding="utf-8", newline="\n")


def train_rows(size="middle", domain="town"):
    """{task: number of rows to tune on that `make` asks for}."""
    return {task: max(1, round(TRAIN_ROWS[task] * SIZES[size]))
            for task in tasks_of("train", domain)}


def make(seed=0, size="middle", domain="town", difficulty=None, noise="", noise_rate=0.0):
    """{split: rows} of the whole corpus; the arguments are the flags of the command.

    Only the training split gets noise.
    """
    train = instructions(seed, "train", train_rows(size, domain),
                         domain=domain, difficulty=difficulty)
    made = {"train": add_noise(train, noise, noise_rate, seed) if noise else train}
    for split in TEST_SPLITS:
        tasks = tasks_of(split, domain)
        share = max(40, math.ceil(TEST_ROWS / len(tasks)))
        made[split] = instructions(
            seed, split, dict.fromkeys(tasks, share), train, domain, difficulty)
    return made


def write(folder, seed=0, vocab_size=2048, **knobs):
    """Write the files of data/ into a folder; returns {split: rows}. knobs: arguments of `make`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = make(seed, **knobs)
    for split, rows in made.items():
        write_rows(folder / f"{split}.jsonl", rows)
    write_rows(folder / "prose_valid.jsonl", [{"text": text} for text in prose(seed, 500, "valid")])

    texts = prose(seed, 20_000)
    texts += [message["content"] for row in made["train"] for message in row["messages"]]
    Tokenizer(train_bpe(texts, vocab_size - len(SPECIAL_TOKENS))).save(folder / "tokenizer.json")
    return made
