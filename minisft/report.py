"""What a run did to a model: assessed before and after, told in a table, a figure and a page."""

import json
from shlex import quote

from minisft import plots
from minisft.batching import prepare
from minisft.checkpoint import write_atomically
from minisft.evaluate import answer_all, conversations, exact_match, mean_loss, table
from minisft.run import read_log
from minisft.world.corpus import CHANCE


def assess(model, tokenizer, records):
    """What a model can do: {"counts": [[split, task, right, n]], "loss": {split: x}, "answers": five examples}.

    A split of plain text has a loss but nothing to count; one of which nothing fits the model has no loss.
    """
    answers = answer_all(model, tokenizer, records)
    by_split, shown, losses = {}, {}, {}
    for record in records:
        by_split.setdefault(record.split, []).append(record)
    for split, members in by_split.items():
        examples, notes = prepare(members, tokenizer, model.config.block_size)
        for note in notes:
            print(f"evaluation, {split}: {note}")
        if examples:
            losses[split] = mean_loss(model, examples)
    for record, answer in zip(conversations(records), answers):
        question = "\n".join(message.content for message in record.item.messages[:-1])
        key = answer.task if answer.task != "all" else answer.question
        shown.setdefault(key, [question, answer.expected, answer.given])
    return {
        "counts": [[*key, *count] for key, count in exact_match(answers).items()],
        "loss": losses,
        "answers": list(shown.values())[:5],
    }


def _counts(assessed):
    return {(split, task): (right, n) for split, task, right, n in assessed["counts"]}


def write_report(folder, settings, before, after):
    """Print the outcome and write report.md, results.json and training.png into the run folder.

    settings: what the run was asked for, as plain values; before, after: from `assess`.
    """
    log = read_log(folder)
    shares = {split: [_share(assessed, split) for assessed in (before, after)]
              for split, task in _counts(after) if task == "all"}
    plots.training(f"{folder}/training.png", log, shares)
    summary = [f"{split}: exact match {old:.1%} -> {new:.1%}{_guessing(split)}"
               for split, (old, new) in shares.items()]
    summary += [f"{split}: loss {before['loss'][split]:.3f} -> {loss:.3f}" for split, loss in after["loss"].items()]
    tables = table(_counts(after)) if shares else ["no question was evaluated"]
    examples = [(question, expected, old, new) for (question, expected, old), (_, _, new)
                in zip(before["answers"], after["answers"])]
    print("\n" + "\n".join(tables + [""] + summary))
    for question, expected, old, new in examples:
        print(f"\n> {question}")
        for name, answer in (("expected", expected), ("before", old), ("after", new)):
            print(f"  {name:8}  {_one_line(answer)}")
    print(f"\nmodel, log, figure and report are in {folder}; talk to it: "
          f"python -m minisft.chat --model {quote(str(folder))}")

    seconds = sum(row["seconds"] for row in log)
    quoted = "\n".join(f"| {_one_line(question)} | {_one_line(expected)} | {_one_line(old)} | {_one_line(new)} |"
                       for question, expected, old, new in examples)
    text = f"""# Run {folder}

{len(log)} steps in {seconds:.0f} s of training, {sum(row['targets'] for row in log):,} supervised tokens;
last loss {log[-1]['loss']:.3f}.

![loss and exact match](training.png)

{chr(10).join('- ' + line for line in summary)}

## Exact match after tuning

```
{chr(10).join(tables)}
```

## Answers

| question | expected | before | after |
| --- | --- | --- | --- |
{quoted}

## Settings

```json
{json.dumps(settings, indent=2, ensure_ascii=False)}
```
"""
    write_atomically(f"{folder}/report.md", text.encode())
    results = {"before": before, "after": after}
    write_atomically(f"{folder}/results.json", json.dumps(results, ensure_ascii=False, indent=1).encode())


def _guessing(split):
    return f" (by guessing: {CHANCE[split]:.0%})" if split in CHANCE else ""


def _share(assessed, split):
    right, n = _counts(assessed)[split, "all"]
    return right / n


def _one_line(text):
    return text.replace("\n", " / ").replace("|", "\\|").strip() or "(nothing)"
