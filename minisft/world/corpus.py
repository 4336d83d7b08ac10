"""Splits, and the files in data/: everything here follows from a seed.

    train            tuned attributes, tuned wordings, items of knowledge that are not held out
    new_passage      the same tasks and wordings; texts, lists and questions never tuned on, in whatever words
    new_item         words, opposites and sums whose translation, kind or result no training row asks for
    new_wording      wordings never tuned on
    user_wording     as users type: clipped, in two languages, with courtesies, with typing mistakes
    new_attribute    attributes never tuned on (known from the pre-training prose alone)
    new_composition  two operations on a list, of which each was tuned with others but never with this one
    new_skill        skills that the prose shows and no training question asked for
    control          a question that nothing in the world can answer: which of two words is lucky. A model must choose,
                     and is right half the time; one far from that has seen the test

Each row is a conversation in the `messages` format with two keys more, `task` and `split`; `also` where more than one
answer is right; and `choices` where one of several answers is to be chosen.
"""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

from minisft.tokenizer import SPECIAL_TOKENS, Tokenizer, train_bpe
from minisft.world import oracle
from minisft.world.dialogue import DIALOGUES
from minisft.world.facts import ATTRIBUTES_OF, NEW_ATTRIBUTES
from minisft.world.noise import add_noise
from minisft.world.oracle import SKILLS
from minisft.world.prose import document
from minisft.world.skills import Scope
from minisft.world.users import corrected, mistyped, polite, without_courtesies

NEW_SKILLS, CONTROL = ("plural", "capitals"), ("lucky",)
TUNED_TASKS = tuple(name for name in SKILLS if name not in NEW_SKILLS + CONTROL) + tuple(DIALOGUES)
_KNOWLEDGE = tuple(name for name in TUNED_TASKS if name in SKILLS and SKILLS[name].asks_knowledge)
_TEXTS = tuple(name for name in TUNED_TASKS if name in DIALOGUES or SKILLS[name].has_text)
_ATTRIBUTES = tuple(name for name in TUNED_TASKS if name in DIALOGUES or SKILLS[name].uses_attributes)
_OF_PEOPLE = ("two_hop", "chain", "running_sum", "story", "small_talk")  # tasks that make no sense in the harbor


@dataclass(frozen=True)
class Split:
    """tasks; styles of wording; and what may be drawn: new attributes or tuned ones, and, as in Scope, which items of
    knowledge and which pairs of operations."""

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
TEST_SPLITS = tuple(SPLITS)[1:]
CHANCE = {"control": 0.5}  # of two choices
# Rows of each task; a task that has fewer different instructions gives what it has.
TRAIN_ROWS = dict.fromkeys(TUNED_TASKS, 400) | {
    "reading": 1500, "follow_up": 800, "small_talk": 500, "story": 500, "reverse": 600, "two_hop": 600, "chain": 600,
    "running_sum": 600, "compose": 800, "opposite": 150}  # of about 200 about opposites, so that some are left to test
SIZES = {"small": 0.25, "middle": 1, "large": 4}
TEST_ROWS = 560  # of a split, shared among its tasks, of which one or two have not so many; at least 40 of each


def scope_of(split, domain="town", difficulty=None):
    """The Scope of a split in a domain."""
    made = SPLITS[split]
    nouns = tuple(noun for noun in ATTRIBUTES_OF[domain] if (noun in NEW_ATTRIBUTES) == made.new_attributes)
    return Scope(nouns, made.held_out, difficulty, made.new_pairs)


def tasks_of(split, domain="town"):
    """The tasks of a split that make sense in a domain."""
    return tuple(task for task in SPLITS[split].tasks if domain == "town" or task not in _OF_PEOPLE)


def prose(seed, count, stream="train"):
    """`count` documents; the stream's name ("train", "valid") keeps two streams of one seed apart."""
    rng = random.Random(f"prose {stream} {seed}")
    return [document(rng) for _ in range(count)]


def draw_turns(rng, task, scope, style="tuned"):
    """The user turns of one conversation of a task, in one of the styles."""
    change = {"polite": polite, "mistyped": mistyped}.get(style)
    if change:
        turns = draw_turns(rng, task, scope)
        changed = [change(rng, turn) for turn in turns]
        return changed if changed != turns else draw_turns(rng, task, scope, style)
    if task in DIALOGUES:
        turns = DIALOGUES[task][0](rng, scope, style)
    else:
        slots = SKILLS[task].draw(rng, scope)
        fitting = [template for template in SKILLS[task].wordings[style] if set(template.slots) == set(slots)]
        turns = [rng.choice(fitting).fill(**slots)]
    return turns


def conversation(turns):
    """Messages: each user turn with the oracle's answer to it; and further right answers to the last turn."""
    messages = []
    for k, turn in enumerate(turns, 1):
        judged = oracle.judge(turns[:k])
        assert judged is not None, f"the oracle cannot read what the world wrote: {turns[:k]}"
        messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": judged.answers[0]}]
    return messages, list(judged.answers[1:])


def make_row(task, split, turns):
    messages, also = conversation(turns)
    row = {"task": task, "split": split, "messages": messages} | ({"also": also} if also else {})
    if task in CONTROL:
        row["choices"] = [f"The lucky word is {word}." for _, word in oracle.judge(turns).meaning[1:]]
    return row


def instructions(seed, split, rows, exclude=(), domain="town", difficulty=None):
    """Rows of a split: at most `rows[task]` of each task, no two that ask the same in the same words.

    exclude: rows whose user turns must not come again, nor, but for new wordings of knowledge, what they ask for.
    """
    scope, styles = scope_of(split, domain, difficulty), SPLITS[split].styles
    asked = {as_typed(user_turns(row)) for row in exclude}
    meant = {oracle.judge(user_turns(row)).meaning for row in exclude}
    written = []
    for task, count in rows.items():
        rng = random.Random(f"instructions {split} {task} {seed}")
        seen, made = set(asked), 0
        for _ in range(20 * count):
            turns = tuple(draw_turns(rng, task, scope, rng.choice(styles)))
            text = as_typed(turns)
            if text not in seen and (_may_ask_again(split, task) or oracle.judge(turns).meaning not in meant):
                seen.add(text)
                written.append(make_row(task, split, turns))
                made += 1
            if made == count:
                break
    random.Random(f"order {split} {seed}").shuffle(written)
    return written


def _may_ask_again(split, task):
    """In new words a question of knowledge may ask for what was tuned on: only the wording is new there."""
    return split in ("train", "new_wording", "user_wording") and task in _KNOWLEDGE


def as_typed(turns):
    """User turns without what does not matter: courtesies, typing mistakes, capitals, punctuation and spaces."""
    return tuple(re.sub(r"\W+", " ", corrected(without_courtesies(turn)).lower()).strip() for turn in turns)


def user_turns(row):
    return tuple(message["content"] for message in row["messages"] if message["role"] == "user")


def find_leaks(train, test):
    """What of the test rows was tuned on: a list of (row, "the same text" | "the same question in other words").

    The same text counts whatever courtesies, typing mistakes, capitals and punctuation; the same question is the
    oracle's `meaning`.
    """
    def meaning(row):
        judged = oracle.judge(user_turns(row))
        return judged and judged.meaning

    texts, meant = {as_typed(user_turns(row)) for row in train}, {meaning(row) for row in train} - {None}
    found = []
    for row in test:
        turns = user_turns(row)
        if as_typed(turns) in texts:
            found.append((row, "the same text"))
        elif meaning(row) in meant and not _may_ask_again(row["split"], row["task"]):
            found.append((row, "the same question in other words"))
    return found


def read_rows(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def write_rows(path, rows):
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    Path(path).write_text("".join(lines), encoding="utf-8", newline="\n")


def train_rows(size="middle", domain="town"):
    """{task: rows to tune on} as they are asked for."""
    return {task: max(1, round(TRAIN_ROWS[task] * SIZES[size])) for task in tasks_of("train", domain)}


def make(seed=0, size="middle", domain="town", difficulty=None, noise="", noise_rate=0.0):
    """{split: rows} of the whole corpus; the knobs are those of the command, noise is in the training split alone."""
    train = instructions(seed, "train", train_rows(size, domain), domain=domain, difficulty=difficulty)
    made = {"train": add_noise(train, noise, noise_rate, seed) if noise else train}
    for split in TEST_SPLITS:
        tasks = tasks_of(split, domain)
        rows = dict.fromkeys(tasks, max(40, -(-TEST_ROWS // len(tasks))))
        made[split] = instructions(seed, split, rows, train, domain, difficulty)
    return made


def write(folder, seed=0, vocab_size=2048, **knobs):
    """Write the files of data/ into a folder; returns {split: rows}. knobs: as for `make`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = make(seed, **knobs)
    for split, rows in made.items():
        write_rows(folder / f"{split}.jsonl", rows)
    write_rows(folder / "prose_valid.jsonl", [{"text": text} for text in prose(seed, 500, "valid")])
    texts = prose(seed, 20_000) + [message["content"] for row in made["train"] for message in row["messages"]]
    Tokenizer(train_bpe(texts, vocab_size - len(SPECIAL_TOKENS))).save(folder / "tokenizer.json")
    return made
