"""What a corpus holds: counts, lengths, ten examples of each task, a figure; and whether test questions leaked."""

from collections import defaultdict
from pathlib import Path
from statistics import mean

from minisft import plots
from minisft.checkpoint import write_atomically
from minisft.conversation import Conversation, render
from minisft.world import oracle
from minisft.world.corpus import TEST_SPLITS, find_leaks, read_rows, user_turns
from minisft.world.dialogue import DIALOGUES

EXAMPLES = 10


def count_tasks(made):
    """{(split, task): rows}."""
    counts = defaultdict(int)
    for split, rows in made.items():
        for row in rows:
            counts[split, row["task"]] += 1
    return dict(counts)


def describe(folder, made, tokenizer):
    """Write about.md and about.png into the folder; returns the lines of the table of counts and lengths.

    made: {split: rows}. Lengths are in tokens of the whole conversation; difficulty is the oracle's.
    """
    counts, by_task = count_tasks(made), {task: [] for task in (*oracle.SKILLS, *DIALOGUES)}
    for rows in made.values():
        for row in rows:
            by_task[row["task"]].append(row)
    by_task = {task: rows for task, rows in by_task.items() if rows}
    header = ["task", *made, "tokens (mean, most)", "difficulty"]
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join(["---"] * len(header)) + " |"]
    lengths = {}
    for task, rows in by_task.items():
        lengths[task] = [len(render(Conversation.from_messages(row["messages"]), tokenizer).ids) for row in rows]
        hard = [oracle.judge(user_turns(row)).difficulty for row in rows]
        cells = [task, *(str(counts.get((split, task), "")) for split in made),
                 f"{mean(lengths[task]):.0f}, {max(lengths[task])}", f"{min(hard)} to {max(hard)}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("| " + " | ".join(["all", *(str(len(rows)) for rows in made.values()), "", ""]) + " |")
    examples = [f"## {task}\n\n" + "\n\n".join(map(_quoted, rows[:EXAMPLES])) for task, rows in by_task.items()]
    text = "\n".join(["# What these files hold", "", *lines, "", "![rows and lengths](about.png)", "",
                      "\n\n".join(examples), ""])
    write_atomically(f"{folder}/about.md", text.encode())
    plots.corpus(f"{folder}/about.png", counts, tuple(made), lengths)
    return lines


def _quoted(row):
    lines = [f"{message['role']}: {message['content']}" for message in row["messages"]]
    return "\n".join("    " + line for line in "\n".join(lines).splitlines())


def check(folder):
    """Lines that say, for each test split of a folder, what of it was tuned on; and the number of such rows."""
    if not Path(folder, "train.jsonl").is_file():
        raise ValueError(f"{folder} holds no train.jsonl; name a folder that `python -m minisft.world --out` wrote")
    train, lines, total = read_rows(f"{folder}/train.jsonl"), [], 0
    for split in TEST_SPLITS:
        rows = read_rows(f"{folder}/{split}.jsonl")
        leaks = find_leaks(train, rows)
        total += len(leaks)
        unread = sum(oracle.judge(user_turns(row)) is None for row in rows)
        lines.append(f"{split:16} {len(rows):6,} rows, {len(leaks)} of them tuned on"
                     + (f", {unread} that the oracle cannot read" if unread else ""))
        lines += [f"    {reason}: {user_turns(row)[-1]!r}" for row, reason in leaks[:5]]
    return lines, total
