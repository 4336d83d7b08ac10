"""What a corpus holds: counts, lengths, examples, a figure; and which test questions leaked."""

from collections import Counter
from pathlib import Path
from statistics import mean

from minisft import plots
from minisft.checkpoint import write_atomically
from minisft.conversation import Conversation, render
from minisft.shipped import TEST_SPLITS
from minisft.world import oracle
from minisft.world.corpus import find_leaks, judge_row, read_rows, user_turns
from minisft.world.dialogue import DIALOGUES

EXAMPLES = 10


def count_tasks(made):
    """{(split, task): number of rows}."""
    return dict(Counter((split, row["task"]) for split, rows in made.items() for row in rows))


def describe(folder, made, tokenizer):
    """Write about.md and about.png into the folder; returns the lines of the table in about.md.

    made: {split: rows}. Lengths are the tokens of whole conversations; difficulty is the oracle's.
    """
    counts = count_tasks(made)
    rows_of = _rows_by_task(made)
    lengths = {task: [_length(row, tokenizer) for row in rows] for task, rows in rows_of.items()}

    header = ["task", *made, "tokens (mean, most)", "difficulty"]
    table = [header, ["---"] * len(header)]
    for task, rows in rows_of.items():
        in_splits = [str(counts.get((split, task), "")) for split in made]
        hard = [judge_row(row).difficulty for row in rows]
        table.append([
            task, *in_splits,
            f"{mean(lengths[task]):.0f}, {max(lengths[task])}", f"{min(hard)} to {max(hard)}"])
    table.append(["all", *(str(len(rows)) for rows in made.values()), "", ""])
    lines = ["| " + " | ".join(cells) + " |" for cells in table]

    parts = ["# What these files hold", "\n".join(lines), "![rows and lengths](about.png)"]
    for task, rows in rows_of.items():
        parts += [f"## {task}", *map(_quoted, rows[:EXAMPLES])]
    write_atomically(f"{folder}/about.md", ("\n\n".join(parts) + "\n").encode())
    plots.corpus(f"{folder}/about.png", counts, tuple(made), lengths)
    return lines


def _rows_by_task(made):
    """{task: rows of all splits}, without tasks that have no row."""
    rows_of = {task: [] for task in (*oracle.SKILLS, *DIALOGUES)}
    for rows in made.values():
        for row in rows:
            rows_of[row["task"]].append(row)
    return {task: rows for task, rows in rows_of.items() if rows}


def _length(row, tokenizer):
    return len(render(Conversation.from_messages(row["messages"]), tokenizer).ids)


def _quoted(row):
    """The messages of a row as an indented block of Markdown."""
    text = "\n".join(f"{message['role']}: {message['content']}" for message in row["messages"])
    return "\n".join("    " + line for line in text.splitlines())


def check(folder):
    """(lines, total): how many rows of each test split of a folder were tuned on.

    lines: one for each split, and up to five of its leaked rows. total: leaked rows of all splits.
    """
    if not Path(folder, "train.jsonl").is_file():
        raise ValueError(f"{folder} holds no train.jsonl; "
                         "name a folder that `python -m minisft.world --out` wrote")
    train = read_rows(f"{folder}/train.jsonl")
    lines, total = [], 0
    for split in TEST_SPLITS:
        rows = read_rows(f"{folder}/{split}.jsonl")
        leaks = find_leaks(train, rows)
        total += len(leaks)

        line = f"{split:16} {len(rows):6,} rows, {len(leaks)} of them tuned on"
        unread = sum(judge_row(row) is None for row in rows)
        if unread:
            line += f", {unread} that the oracle cannot read"
        lines.append(line)
        lines += [f"    {reason}: {user_turns(row)[-1]!r}" for row, reason in leaks[:5]]
    return lines, total
