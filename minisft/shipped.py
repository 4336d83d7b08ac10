"""What ships with the project: where it lies, and the names of its files and splits.

The splits are test sets. README and data/README.md say what each one asks.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEST_SPLITS = ("new_passage", "new_item", "new_wording", "user_wording", "new_attribute",
               "new_composition", "new_skill", "conversation", "unanswerable", "control")


def shipped(name):
    """Path of a file that ships with the project, as seen from the current folder."""
    path = ROOT / name
    try:
        return os.path.relpath(path)
    except ValueError:  # on Windows there is no way from one drive to another
        return str(path)


BASE = shipped("checkpoints/base.pt")
TUNED = shipped("checkpoints/tuned.pt")  # what minisft.train --epochs 4 makes of BASE
TEACHER = shipped("checkpoints/teacher.pt")  # asked by Self-Instruct and Evol-Instruct, in short
TOKENIZER = shipped("data/tokenizer.json")
CONVERSATIONS = shipped("data/train.jsonl")
TRAIN_FILES = (CONVERSATIONS, shipped("data/prose.jsonl"))
TEST_FILES = tuple(shipped(f"data/{split}.jsonl") for split in TEST_SPLITS)


def are_of_town(files):
    """Whether training files are the shipped ones, the conversations among them."""
    return CONVERSATIONS in files and set(files) <= set(TRAIN_FILES)
