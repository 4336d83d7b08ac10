"""Splits, and the files in data/: everything here follows from a seed.

    train           tuned attributes, tuned wordings, items of knowledge that are not held out
    new_passage     the same kinds of task and wordings; passages, lists and questions never tuned on
    new_item        words, opposites and sums that no training question asked for (known from the prose alone)
    new_wording     wordings never tuned on
    new_attribute   attributes never tuned on (known from the pre-training prose alone)

Each row is a conversation in the `messages` format with two keys more, `task` and `split`.
"""

import json
import random
from pathlib import Path

from minisft.tokenizer import SPECIAL_TOKENS, Tokenizer, train_bpe
from minisft.world import oracle
from minisft.world.dialogue import DIALOGUES
from minisft.world.facts import NEW_ATTRIBUTES, TUNED_ATTRIBUTES
from minisft.world.prose import document
from minisft.world.skills import SKILLS, Scope

SPLITS = {  # split: (scope, wordings)
    "train": (Scope(TUNED_ATTRIBUTES), "tuned"),
    "new_passage": (Scope(TUNED_ATTRIBUTES), "tuned"),
    "new_item": (Scope(TUNED_ATTRIBUTES, held_out=True), "tuned"),
    "new_wording": (Scope(TUNED_ATTRIBUTES), "new"),
    "new_attribute": (Scope(NEW_ATTRIBUTES, held_out=True), "tuned"),
}
TEST_SPLITS = tuple(SPLITS)[1:]
# Rows of each task; a task that has fewer different instructions gives what it has.
TRAIN_ROWS = {"reading": 2000, "follow_up": 1000, "small_talk": 500, "story": 500} | {
    skill.name: 400 for skill in SKILLS if skill.name not in ("reading", "story")}
TRAIN_ROWS["reverse"] = 600
TRAIN_ROWS["opposite"] = 150  # of about 200 questions, so that some are left for the test
TEST_ROWS = {"new_passage": 60, "new_item": 100, "new_wording": 60, "new_attribute": 60}


def prose(seed, count, stream="train"):
    """`count` documents; the stream's name ("train", "valid") keeps two streams of one seed apart."""
    rng = random.Random(f"prose {stream} {seed}")
    return [document(rng) for _ in range(count)]


def draw_turns(rng, task, scope, wordings):
    """The user turns of one conversation of a task."""
    if task in DIALOGUES:
        return DIALOGUES[task][0](rng, scope, wordings)
    skill = next(skill for skill in SKILLS if skill.name == task)
    slots = skill.draw(rng, scope)
    fitting = [wording for wording in getattr(skill, wordings) if set(wording.slots) == set(slots)]
    return [rng.choice(fitting).fill(**slots)]


def conversation(turns):
    """Messages: each user turn with the oracle's answer to it."""
    messages = []
    for k, turn in enumerate(turns, 1):
        answer = oracle.answer(turns[:k])
        assert answer is not None, f"the oracle cannot read what the world wrote: {turns[:k]}"
        messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": answer}]
    return messages


def instructions(seed, split, rows, exclude=()):
    """Rows of a split: at most `rows[task]` of each task, no two alike and none whose user turns are in `exclude`."""
    scope, wordings = SPLITS[split]
    written = []
    for task, count in rows.items():
        rng = random.Random(f"instructions {split} {task} {seed}")
        seen = set(exclude)
        for _ in range(20 * count):
            turns = tuple(draw_turns(rng, task, scope, wordings))
            if turns not in seen:
                seen.add(turns)
                written.append({"task": task, "split": split, "messages": conversation(turns)})
            if len(seen) - len(set(exclude)) == count:
                break
    random.Random(f"order {split} {seed}").shuffle(written)
    return written


def user_turns(row):
    return tuple(message["content"] for message in row["messages"] if message["role"] == "user")


def tasks_of(split):
    """Tasks that a split can hold: new items are items of knowledge, new attributes need attributes."""
    if split == "new_item":
        return [skill.name for skill in SKILLS if skill.asks_knowledge]
    return [skill.name for skill in SKILLS if skill.uses_attributes or split != "new_attribute"] + list(DIALOGUES)


def write_rows(path, rows):
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    Path(path).write_text("".join(lines), encoding="utf-8", newline="\n")


def write(folder, seed=0, vocab_size=2048):
    """Write train, test, prose and tokenizer files into `folder`; returns {file name: number of rows}."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    train = instructions(seed, "train", TRAIN_ROWS)
    tuned_on = {user_turns(row) for row in train}
    files = {"train.jsonl": train}
    for split in TEST_SPLITS:
        rows = dict.fromkeys(tasks_of(split), TEST_ROWS[split])
        files[f"{split}.jsonl"] = instructions(seed, split, rows, exclude=tuned_on)
    files["prose_valid.jsonl"] = [{"text": text} for text in prose(seed, 500, "valid")]
    for name, rows in files.items():
        write_rows(folder / name, rows)
    texts = prose(seed, 20_000) + [message["content"] for row in train for message in row["messages"]]
    tokenizer = Tokenizer(train_bpe(texts, vocab_size - len(SPECIAL_TOKENS)))
    tokenizer.save(folder / "tokenizer.json")
    return {name: len(rows) for name, rows in files.items()} | {"tokenizer.json": tokenizer.vocab_size}
