"""What a run did to a model: assessed before and after, told in a table, a figure and a page."""

import json
from shlex import quote
from statistics import mean

from minisft import plots
from minisft.batching import prepare
from minisft.checkpoint import write_atomically
from minisft.evaluate import answer_all, conversations, exact_match, mean_loss, table
from minisft.run import read_log
from minisft.screen import one_line, table_cell, visible

WEAKEST = 5  # tasks that the table on the screen names


def assess(model, tokenizer, records, label=None):
    """What a model can do, as plain values (label: of a progress bar):

        {"counts": [[split, task, right, n]], "loss": {split: x}, "guessing": {split: share},
         "answers": [[question, expected, given]]}

    A split of plain text has a loss but no counts; one whose rows are all too long has no loss.
    `guessing`: for splits whose questions all have choices, the share that guessing gets right.
    """
    answers = answer_all(model, tokenizer, records, label=label)
    by_split = {}
    for record in records:
        by_split.setdefault(record.split, []).append(record)
    losses = {}
    for split, members in by_split.items():
        examples, notes = prepare(members, tokenizer, model.config.block_size)
        for note in notes:
            print(f"evaluation, {split}: {note}")
        if examples:
            losses[split] = mean_loss(model, examples)
    return {
        "counts": [[*key, *count] for key, count in exact_match(answers).items()],
        "loss": losses,
        "guessing": {split: mean(1 / len(record.choices) for record in members)
                     for split, members in by_split.items()
                     if all(record.choices for record in members)},
        "answers": examples_of(conversations(records), answers),
    }


def examples_of(records, answers, most=5):
    """[question, expected, given] of at most so many answers, each of another task.

    Rows with `every_turn` are left out: before and after may differ in the turn that went wrong.
    """
    shown = {}
    for record, answer in zip(records, answers):
        if record.every_turn:
            continue
        question = "\n".join(message.content for message in record.item.messages[:-1])
        key = answer.task if answer.task != "all" else answer.question
        shown.setdefault(key, [question, answer.expected, answer.given])
    return list(shown.values())[:most]


def counts_of(assessed):
    """{(split, task): (right, n)}."""
    return {(split, task): (right, n) for split, task, right, n in assessed["counts"]}


def split_table(before, after):
    """Lines of a table with a row for each split: exact match and loss, before and after."""
    if not after["counts"] and not after["loss"]:
        return ["no question was evaluated"]
    old, new = counts_of(before), counts_of(after)
    splits = list(dict.fromkeys([split for split, _ in new] + list(after["loss"])))
    columns = [("split", splits)]
    if new:
        matches = {split: f"{old[split, 'all'][0] / n:.1%} -> {right / n:6.1%}"
                   for (split, task), (right, n) in new.items() if task == "all"}
        questions = {split: f"{n:,}" for (split, task), (_, n) in new.items() if task == "all"}
        columns += [("exact match", matches), ("questions", questions)]
    losses = {split: f"{before['loss'][split]:.3f} -> {loss:.3f}"
              for split, loss in after["loss"].items()}
    guessing = {split: f"{share:.0%}" for split, share in after["guessing"].items()}
    columns += [("loss", losses)] + ([("by guessing", guessing)] if guessing else [])

    lines = [""] * (1 + len(splits))
    for title, cells in columns:
        texts = [title, *(split if cells is splits else cells.get(split, "-") for split in splits)]
        width = max(map(len, texts))
        texts = [text.ljust(width) if cells is splits else text.rjust(width + 3) for text in texts]
        lines = [line + text for line, text in zip(lines, texts)]
    return lines


def weakest_tasks(after, most=WEAKEST):
    """Lines that name the tasks with the lowest exact match, over all splits together."""
    totals = {}
    for (_, task), (right, n) in counts_of(after).items():
        if task != "all":
            total = totals.setdefault(task, [0, 0])
            total[0] += right
            total[1] += n
    weakest = sorted(totals, key=lambda task: totals[task][0] / totals[task][1])[:most]
    if not weakest:
        return []
    width = max(map(len, weakest))
    lines = [f"The {len(weakest)} weakest of {len(totals)} tasks, over all splits:"]
    for task in weakest:
        right, n = totals[task]
        lines.append(f"  {task:{width}}  {right / n:6.1%} of {n:,}")
    return lines


def write_report(folder, settings, before, after):
    """Print the outcome and write report.md, results.json and training.png into the run folder.

    settings: what the run was asked for, and what came of it, as plain values; before, after: from
    `assess`.
    """
    log = read_log(folder)
    summary = split_table(before, after)
    answers = [(question, expected, old, new) for (question, expected, old), (_, _, new)
               in zip(before["answers"], after["answers"])]
    plots.training(f"{folder}/training.png", log, shares_of(before, after))
    tasks = table(counts_of(after)) if after["counts"] else ["no question was evaluated"]
    page = report_page(folder, log, settings, summary, tasks, answers)
    write_atomically(f"{folder}/report.md", page.encode())
    kept = {name: value for name, value in settings.items() if name != "out"}  # it may be moved
    results = json.dumps({"settings": kept, "before": before, "after": after}, ensure_ascii=False,
                         indent=1)
    write_atomically(f"{folder}/results.json", results.encode())

    print("\n" + "\n".join([*summary, "", *weakest_tasks(after)]))
    for question, expected, old, new in answers:
        print(f"\n> {visible(question)}")
        for name, answer in (("expected", expected), ("before", old), ("after", new)):
            print(f"  {name:8}  {one_line(answer)}")
    print(f"\nmodel, log, figure and the full report are in {folder}; talk to the model:\n"
          f"python -m minisft.chat --model {quote(str(folder))}")


def shares_of(before, after):
    """{split: [exact match before, after]}."""
    old, new = counts_of(before), counts_of(after)
    return {split: [each[split, "all"][0] / each[split, "all"][1] for each in (old, new)]
            for split, task in new if task == "all"}


def report_page(folder, log, settings, summary, tasks, answers):
    """The text of report.md. summary, tasks: lines of tables."""
    seconds, targets = (sum(row[name] for row in log) for name in ("seconds", "targets"))
    quoted = [f"| {' | '.join(map(table_cell, answer))} |" for answer in answers]
    lines = [
        f"# Run {folder}", "",
        f"{len(log)} steps in {seconds:.0f} s of training, {targets:,} supervised tokens;",
        f"last loss {log[-1]['loss']:.3f}.", "",
        "![loss and exact match](training.png)", "",
        "## Before and after", "", "```", *summary, "```", "",
        "## Exact match after tuning, by task", "", "```", *tasks, "```", "",
        "## Answers", "", "| question | expected | before | after |", "| --- | --- | --- | --- |",
        *quoted, "",
        "## Settings", "", "```json", json.dumps(settings, indent=2, ensure_ascii=False), "```"]
    return "\n".join(lines) + "\n"
