"""Instruction tuning: a base model, conversations, one loop; before and after, measured and shown.

    record -> Conversation -> (ids, loss mask) -> batch -> loop -> checkpoint -> answer

    python -m minisft.train                                  the shipped base on the shipped data
    python -m minisft.train --data mine.jsonl --epochs 3     your own data

Notes: 指令微调的训练策略 (training strategies of instruction tuning).
"""

from dataclasses import asdict, dataclass, replace
from itertools import islice
from math import ceil, inf
from shlex import quote

import torch

from minisft.batching import prepare, step_batches
from minisft.config import ROOT, at_least, from_assignments, option, parse, shipped
from minisft.evaluate import TEST_FILES, pick_device
from minisft.loop import NonFiniteLoss, train_steps
from minisft.models import open_model, save_tuned
from minisft.optim import AdamW, parameter_groups, warmup_cosine
from minisft.peft import METHODS, add_peft, describe_parameters, has_peft
from minisft.peft.files import base_fingerprint
from minisft.records import read_records
from minisft.report import assess, write_report
from minisft.run import (
    DTYPES,
    check_unused,
    fingerprint,
    new_folder,
    newest_folder,
    resumed_settings,
    train_in,
)

TRAIN_FILES = (shipped("data/train.jsonl"),)
FULL_LR = 5e-4
RATES = ", ".join([f"{FULL_LR:g}", *(f"{name} {config.lr:g}" for name, config in METHODS.items())])


@dataclass(frozen=True)
class TrainConfig:
    data: tuple = option(TRAIN_FILES, "training files: Alpaca, ShareGPT, messages, prompt/completion or text rows")
    eval: tuple = option((), "files to evaluate on before and after; by default the shipped test files for the shipped "
                             "data, and for your own every 20th row, which is then not trained on")
    base: str = option(shipped("checkpoints/base.pt"), "base model: a file, a run folder, or a GPT-2 folder")
    method: str = option("full", "what is trained: all weights, or what a method adds to them",
                         choices=("full", *METHODS))
    settings: tuple = option((), "settings of the method; a wrong one is answered with all there are",
                             metavar="NAME=VALUE")
    out: str = option("", "run folder; by default checkpoints/run-1, run-2, ...")
    steps: int | None = option(None, "optimizer steps, instead of --epochs; by default what 2 epochs take")
    epochs: float | None = option(None, "passes over the data; by default 2, unless --steps is given")
    batch_size: int = option(32, "conversations in an optimizer step")
    accumulate: int = option(1, "compute a step in this many parts, to save memory; the result is the same")
    lr: float | None = option(None, "highest learning rate; warm-up over the first 5% of steps, then cosine to 0 "
                                    f"(default: {RATES})")
    weight_decay: float = option(0.01, "decay of matrices per step, times the learning rate")
    seed: int = option(0, "random seed of data order, dropout, and what a method adds")
    pack: bool = option(False, "put several conversations into one row, kept apart, instead of padding each one")
    resume: bool = option(False, "go on with the run in --out, or with the newest one")
    save_every: int = option(100, "steps between saved states")
    skip_bad: bool = option(False, "count and skip rows that cannot be used, instead of stopping")
    device: str = option("auto", "auto, cpu, cuda, mps, ...: where to compute; auto takes a GPU if there is one")
    dtype: str = option("float32", "number format of the forward pass", choices=("float32", "bfloat16"))

    def __post_init__(self):
        at_least(self, steps=1, batch_size=1, accumulate=1, save_every=1, lr=0, weight_decay=0)
        if self.epochs is not None and not 0 < self.epochs < inf:
            raise ValueError(f"--epochs must be above 0, got {self.epochs}")
        if self.steps and self.epochs:
            raise ValueError("--steps and --epochs both say how long to train; give one of them")
        self.peft()

    def peft(self):
        """The config of the method, or None; ValueError for a setting that it does not have."""
        if self.method in METHODS:
            return from_assignments(METHODS[self.method], self.settings)
        if self.settings and not self.resume:
            raise ValueError(f"--settings are those of a method; name one with --method ({', '.join(METHODS)})")

    def highest_lr(self):
        return self.lr if self.lr is not None else METHODS[self.method].lr if self.method in METHODS else FULL_LR


def load_data(config):
    """(training records, evaluation records), with a line printed for whatever was left out."""
    records, bad = read_records(config.data, config.skip_bad)
    evaluated, bad_too = read_records(config.eval, config.skip_bad) if config.eval else ([], [])
    if bad or bad_too:
        print(f"skipped {len(bad + bad_too)} bad rows, the first: {(bad + bad_too)[0]}")
    if evaluated:
        return records, evaluated
    if config.data == TRAIN_FILES:
        return records, read_records(TEST_FILES)[0]
    if len(records) < 20:
        print(f"only {len(records)} rows, so none is kept back to evaluate on; name some with --eval")
        return records, []
    held_out = [replace(record, split="held_out") for record in records[19::20]]
    print(f"kept {len(held_out)} of {len(records)} rows back to evaluate on (every 20th); name others with --eval")
    return [record for i, record in enumerate(records, 1) if i % 20], held_out


def recipe(model, examples, steps, config):
    """What the loop needs beside the model: (optimizer, lr_at, windows_from)."""
    optimizer = AdamW(parameter_groups(model, config.weight_decay))
    lr_at = warmup_cosine(config.highest_lr(), steps, warmup=ceil(steps / 20))

    def windows_from(start):
        return step_batches(examples, config.batch_size, config.seed, accumulate=config.accumulate,
                            block_size=model.config.block_size if config.pack else None, start=start)

    return optimizer, lr_at, windows_from


def tune(model, examples, steps, **settings):
    """Tune a model in place for some steps, with the recipe of the command but nothing written; returns StepRecords.

    examples: list of Rendered; settings: fields of TrainConfig, such as seed=1 or lr=3e-4.
    """
    config = TrainConfig(steps=steps, **settings)
    optimizer, lr_at, windows_from = recipe(model, examples, steps, config)
    return list(islice(train_steps(model, windows_from(0), optimizer, lr_at, dtype=DTYPES[config.dtype]), steps))


def train(config):
    """Tune a model as the settings say; returns its run folder."""
    state = None
    if config.resume:
        folder = config.out or newest_folder(ROOT / "checkpoints", "run")
        state = resumed_settings(folder, config)
        config = TrainConfig(**state["settings"]["config"] | {"out": str(folder), "resume": True,
                                                              "device": config.device})
    elif config.out:
        check_unused(config.out)
    torch.manual_seed(config.seed)
    model, tokenizer = open_model(config.base)
    if has_peft(model):
        raise ValueError(f"{config.base} is a base with what a method added, which cannot be tuned on as it is; of "
                         "LoRA one model can be made: python -m minisft.export --merge --out NEW --model "
                         f"{quote(config.base)}")
    model.to(pick_device(config.device))
    train_records, eval_records = load_data(config)
    if not state:
        print(f"before training: {config.base} on {len(eval_records):,} rows kept for evaluation")
    before = state["settings"]["before"] if state else assess(model, tokenizer, eval_records)
    if method := config.peft():
        model = add_peft(model, method, tokenizer)
        print(describe_parameters(model))
    examples, notes = prepare(train_records, tokenizer, model.config.block_size)
    if not examples:
        raise ValueError(f"nothing is left to train on: {' '.join(notes)}")
    for note in notes:
        print(note)
    data = fingerprint([base_fingerprint(model), *examples,
                        *((record.item, record.task, record.split) for record in eval_records)])
    if state and state["settings"]["data"] != data:
        raise ValueError(f"base or data are not those that the run in {folder} began with; start a new run with --out")
    if not state:
        folder = config.out or str(new_folder(ROOT / "checkpoints", "run"))
    steps = config.steps or max(1, ceil(ceil(len(examples) / config.batch_size) * (config.epochs or 2)))
    print(f"{len(examples):,} conversations, {steps} steps; run folder {folder}")

    settings = {"config": asdict(config), "data": data, "before": before}
    optimizer, lr_at, windows_from = recipe(model, examples, steps, config)
    if not train_in(folder, model, optimizer, windows_from, lr_at, steps, settings, state, config.save_every,
                    dtype=config.dtype):
        print(f"stopped and saved; go on with: python -m minisft.train --resume --out {quote(str(folder))}")
        return folder
    save_tuned(folder, model, tokenizer, config.base)
    after = assess(model, tokenizer, eval_records)
    write_report(folder, asdict(config), before, after)
    return folder


def main(argv=None):
    config = parse(TrainConfig, argv, "train", "Tune a base model on instructions.")
    try:
        train(config)
    except (ValueError, OSError, NonFiniteLoss) as error:
        spoilt = isinstance(error, NonFiniteLoss)
        hint = "; state.pt keeps the last saved step; start a new run with a smaller --lr" if spoilt else ""
        raise SystemExit(f"minisft.train: {error}{hint}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nminisft.train: broken off; a run that had begun goes on with --resume") from None


if __name__ == "__main__":
    main()
