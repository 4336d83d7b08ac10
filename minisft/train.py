"""Instruction tuning: a base model, conversations, one loop; before and after, measured and shown.

    record -> Conversation -> (ids, loss mask) -> batch -> loop -> checkpoint -> answer

    python -m minisft.train                                  the shipped base on the shipped data
    python -m minisft.train --data mine.jsonl --epochs 3     your own data

Notes: 指令微调的训练策略 (training strategies of instruction tuning).
"""

import json
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import islice
from math import ceil

import torch

from minisft import plots
from minisft.batching import cut_text, fit, step_batches
from minisft.checkpoint import load_model, save_model, write_atomically
from minisft.config import ROOT, at_least, option, parse, shipped
from minisft.conversation import Conversation
from minisft.evaluate import TEST_FILES, answer_all, exact_match, mean_loss, pick_device, table
from minisft.loop import NonFiniteLoss, train_steps
from minisft.optim import AdamW, parameter_groups, warmup_cosine
from minisft.records import read_records, render_record
from minisft.run import check_unused, new_folder, newest_folder, read_log, resumed_settings, train_in

TRAIN_FILES = (shipped("data/train.jsonl"),)


@dataclass(frozen=True)
class TrainConfig:
    data: tuple = option(TRAIN_FILES, "training files: Alpaca, ShareGPT, messages, prompt/completion or text rows")
    eval: tuple = option((), "files to evaluate on before and after; by default the shipped test files for the shipped "
                             "data, and for your own every 20th row, which is then not trained on")
    base: str = option(shipped("checkpoints/base.pt"), "base model: a file, or a run folder")
    out: str = option("", "run folder; by default checkpoints/run-1, run-2, ...")
    steps: int | None = option(None, "optimizer steps; instead of --epochs")
    epochs: float | None = option(None, "passes over the data; 2 if neither --epochs nor --steps is given")
    batch_size: int = option(32, "conversations in an optimizer step")
    accumulate: int = option(1, "pieces that a step is cut into to save memory; the result is the same")
    lr: float = option(1e-3, "highest learning rate; warm-up over the first 5% of steps, then cosine to 0")
    weight_decay: float = option(0.01, "decay of matrices per step, times the learning rate")
    seed: int = option(0, "random seed of data order and dropout")
    pack: bool = option(False, "pack conversations into shared rows instead of padding them")
    resume: bool = option(False, "go on with the run in --out, or with the newest one")
    save_every: int = option(100, "steps between saved states")
    skip_bad: bool = option(False, "count and skip rows that cannot be used, instead of stopping")
    device: str = option("auto", "auto, cpu, cuda, mps, ...: where to compute; auto takes a GPU if there is one")
    dtype: str = option("float32", "number format of the forward pass", choices=("float32", "bfloat16"))

    def __post_init__(self):
        at_least(self, steps=1, epochs=0, batch_size=1, accumulate=1, save_every=1, lr=0, weight_decay=0)
        if self.steps and self.epochs:
            raise ValueError("--steps and --epochs both say how long to train; give one of them")


def load_data(config):
    """(training records, evaluation records), with a line printed for whatever was left out."""
    records, bad = read_records(config.data, config.skip_bad)
    if bad:
        print(f"skipped {len(bad)} bad rows, the first: {bad[0]}")
    if config.eval:
        return records, read_records(config.eval, config.skip_bad)[0]
    if config.data == TRAIN_FILES:
        return records, read_records(TEST_FILES)[0]
    if len(records) < 20:
        print(f"only {len(records)} rows, so none is kept back to evaluate on; name some with --eval")
        return records, []
    held_out = [replace(record, split="held_out") for record in records[19::20]]
    print(f"kept {len(held_out)} of {len(records)} rows back to evaluate on (every 20th); name others with --eval")
    return [record for i, record in enumerate(records, 1) if i % 20], held_out


def prepare(records, tokenizer, block_size):
    """Rendered examples that fit the context, and a line for each way in which something was left out."""
    examples, cut, left_out = [], [], []
    for record in records:
        rendered = render_record(record, tokenizer)
        if isinstance(record.item, str):
            examples += cut_text(rendered, block_size)
            continue
        fitted = fit(rendered, block_size)
        if fitted is None:
            left_out.append(record.source)
            continue
        examples.append(fitted)
        if len(fitted.ids) < len(rendered.ids):
            cut.append(record.source)
    notes = []
    if cut:
        notes.append(f"{len(cut)} conversations are longer than the context of {block_size} tokens and keep only the "
                     f"first turns that fit, the first: {cut[0]}")
    if left_out:
        notes.append(f"{len(left_out)} conversations are left out: their first answer does not end within "
                     f"{block_size} tokens, the first: {left_out[0]}")
    if not examples:
        raise ValueError(f"nothing is left to train on: {' '.join(notes)}")
    return examples, notes


def fingerprint(examples):
    """A short name of the exact training data, so that a run does not go on with other data."""
    digest = sha256()
    for example in examples:
        digest.update(json.dumps([example.ids, example.loss_mask]).encode())
    return digest.hexdigest()[:16]


def assess(model, tokenizer, records):
    """What a model can do: {"counts": [[split, task, right, n]], "loss": {split: x}, "answers": five examples}."""
    if not records:
        return {"counts": [], "loss": {}, "answers": []}
    answers = answer_all(model, tokenizer, records)
    by_split = {}
    for record in records:
        rendered = fit(render_record(record, tokenizer), model.config.block_size)
        if rendered:
            by_split.setdefault(record.split, []).append(rendered)
    shown = {}
    for record, answer in zip(records, answers):
        if isinstance(record.item, Conversation):
            question = "\n".join(message.content for message in record.item.messages[:-1])
            key = answer.task if answer.task != "all" else answer.question
            shown.setdefault(key, [question, answer.expected, answer.given])
    return {
        "counts": [[*key, *count] for key, count in exact_match(answers).items()],
        "loss": {split: mean_loss(model, examples) for split, examples in by_split.items()},
        "answers": list(shown.values())[:5],
    }


def recipe(model, examples, steps, config):
    """What the loop needs beside the model: (optimizer, lr_at, windows_from)."""
    optimizer = AdamW(parameter_groups(model, config.weight_decay))
    lr_at = warmup_cosine(config.lr, steps, warmup=ceil(steps / 20))

    def windows_from(start):
        return step_batches(examples, config.batch_size, config.seed, accumulate=config.accumulate,
                            block_size=model.config.block_size if config.pack else None, start=start)

    return optimizer, lr_at, windows_from


def tune(model, examples, steps, **settings):
    """Tune a model in place for some steps, with the recipe of the command but nothing written; returns StepRecords.

    examples: list of Rendered; settings: fields of TrainConfig, such as seed=1 or lr=3e-4.
    """
    optimizer, lr_at, windows_from = recipe(model, examples, steps, TrainConfig(steps=steps, **settings))
    return list(islice(train_steps(model, windows_from(0), optimizer, lr_at), steps))


def train(config):
    """Tune a model as the settings say; returns its run folder."""
    state = None
    if config.resume:
        folder = config.out or newest_folder(ROOT / "checkpoints", "run")
        state = resumed_settings(folder, config)
        saved = {name: tuple(value) if isinstance(value, list) else value
                 for name, value in state["settings"]["config"].items()}
        config = TrainConfig(**saved | {"out": str(folder), "resume": True, "device": config.device})
    else:
        folder = config.out or str(new_folder(ROOT / "checkpoints", "run"))
        check_unused(folder)
    torch.manual_seed(config.seed)
    model, tokenizer = load_model(config.base)
    model.to(pick_device(config.device))
    train_records, eval_records = load_data(config)
    examples, notes = prepare(train_records, tokenizer, model.config.block_size)
    print("\n".join(notes)) if notes else None
    steps = config.steps or max(1, ceil(len(examples) * (config.epochs or 2) / config.batch_size))
    print(f"{len(examples):,} conversations, {steps} steps; run folder {folder}")

    data = fingerprint(examples)
    if state and state["settings"]["data"] != data:
        raise ValueError(f"the data are not those that the run in {folder} began with; start a new run with --out")
    before = state["settings"]["before"] if state else assess(model, tokenizer, eval_records)
    settings = {"config": asdict(config), "data": data, "before": before}
    optimizer, lr_at, windows_from = recipe(model, examples, steps, config)
    if not train_in(folder, model, optimizer, windows_from, lr_at, steps, settings, state, config.save_every,
                    dtype=config.dtype):
        print(f"stopped and saved; go on with: python -m minisft.train --resume --out {folder}")
        return folder
    save_model(f"{folder}/model.pt", model, tokenizer)
    after = assess(model, tokenizer, eval_records)
    report(folder, config, before, after)
    return folder


def _counts(assessed):
    return {(split, task): (right, n) for split, task, right, n in assessed["counts"]}


def report(folder, config, before, after):
    """Print the outcome and write report.md, results.json and training.png into the run folder."""
    log = read_log(folder)
    splits = list(after["loss"])
    shares = {split: [_share(assessed, split) for assessed in (before, after)] for split in splits}
    plots.training(f"{folder}/training.png", log, shares)
    summary = [f"{split}: exact match {old:.1%} -> {new:.1%}, loss {before['loss'][split]:.3f} -> "
               f"{after['loss'][split]:.3f}" for split, (old, new) in shares.items()]
    tables = table(_counts(after)) if splits else ["nothing was evaluated"]
    examples = [(question, expected, old, new) for (question, expected, old), (_, _, new)
                in zip(before["answers"], after["answers"])]
    print("\n" + "\n".join(tables + [""] + summary))
    for question, expected, old, new in examples:
        print(f"\n> {question}\n  expected  {expected}\n  before    {_one_line(old)}\n  after     {_one_line(new)}")
    print(f"\nmodel, log, figure and report are in {folder}; talk to it: python -m minisft.chat --model {folder}")

    seconds = sum(row["seconds"] for row in log)
    quoted = "\n".join(f"| {_one_line(question)} | {expected} | {_one_line(old)} | {_one_line(new)} |"
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
{json.dumps(asdict(config), indent=2, ensure_ascii=False)}
```
"""
    write_atomically(f"{folder}/report.md", text.encode())
    results = {"before": before, "after": after}
    write_atomically(f"{folder}/results.json", json.dumps(results, ensure_ascii=False, indent=1).encode())


def _share(assessed, split):
    right, n = _counts(assessed)[split, "all"]
    return right / n


def _one_line(text):
    return text.replace("\n", " / ").replace("|", "\\|").strip() or "(nothing)"


def main(argv=None):
    config = parse(TrainConfig, argv, "train", "Tune a base model on instructions.")
    try:
        train(config)
    except (ValueError, NonFiniteLoss) as error:
        hint = "; state.pt keeps the last good step: try a smaller --lr" if isinstance(error, NonFiniteLoss) else ""
        raise SystemExit(f"minisft.train: {error}{hint}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nminisft.train: broken off; go on from the last saved step with --resume") from None


if __name__ == "__main__":
    main()
