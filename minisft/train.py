"""Instruction tuning: a base model, conversations, one loop; before and after, measured and shown.

    record -> Conversation -> (ids, loss mask) -> batch -> loop -> checkpoint -> answer

    python -m minisft.train                                  the shipped base on the shipped data
    python -m minisft.train --data mine.jsonl --epochs 3     your own data

Notes: 指令微调的训练策略 (training strategies of instruction tuning).
"""

from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from math import ceil, inf
from shlex import quote

import torch

from minisft.batching import prepare, step_batches
from minisft.config import at_least, from_assignments, option, parse
from minisft.device import describe_machine, device_option, pick_device
from minisft.loop import NonFiniteLoss
from minisft.models import open_model, save_tuned
from minisft.optim import AdamW, parameter_groups, warmup_cosine
from minisft.peft import METHODS, add_peft, describe_parameters, has_peft
from minisft.peft.files import base_fingerprint
from minisft.records import describe, hold_out, read_records
from minisft.report import assess, write_report
from minisft.run import (
    RUNS,
    Training,
    begin_or_continue,
    check_same_data,
    command_of,
    fingerprint,
    is_whole,
    open_folder,
    train_in,
)
from minisft.shipped import BASE, TEST_FILES, TRAIN_FILES, are_of_town
from minisft.still import unseen

FULL_LR = 1e-3
EPOCHS = 3  # over your own data; the shipped data are many, so one pass teaches more
RATES = ", ".join([f"{FULL_LR:g}", *(f"{name} {method.lr:g}" for name, method in METHODS.items())])


@dataclass(frozen=True)
class TrainConfig:
    data: tuple = option(TRAIN_FILES, "training files: Alpaca, ShareGPT, messages, "
                                      "prompt/completion or text rows")
    eval: tuple = option((), "files to evaluate on before and after; by default the shipped test "
                             "files for the shipped data, and for your own every 20th row, which "
                             "is then held out from training")
    eval_all: bool = option(False, "evaluate on all rows, not only on an eighth as many "
                                   "as training sees examples")
    base: str = option(BASE, "base model: a file, a run folder, or a GPT-2 folder")
    method: str = option("full", "what is trained: all weights, or what a method adds to them",
                         choices=("full", *METHODS))
    settings: tuple = option((), "settings of the method; a wrong one is answered with a list of "
                                 "all settings", metavar="NAME=VALUE")
    out: str = option("", "run folder; by default checkpoints/run-1, run-2, ...")
    steps: int | None = option(None, "optimizer steps, instead of --epochs; by default what "
                                     "--epochs take")
    epochs: float | None = option(None, f"passes over the data; by default 1 over the shipped "
                                        f"data and {EPOCHS} over yours, unless --steps is given")
    batch_size: int = option(32, "conversations in an optimizer step")
    accumulate: int = option(1, "micro-batches that a step is cut into, to save memory (gradient "
                                "accumulation); the result is the same")
    lr: float | None = option(None, "highest learning rate; warm-up over the first 5% of steps, "
                                    f"then cosine to 0 (default: {RATES})")
    weight_decay: float = option(0.01, "decay of matrices per step, times the learning rate; none "
                                       "for an embedding in which rows keep still")
    train_unseen: bool = option(False, "also change the embedding rows of tokens that the data "
                                       "never hold; by default they keep still")
    seed: int = option(0, "random seed of data order, dropout, and what a method adds")
    pack: bool = option(False, "put several conversations into one row, isolated from each other, "
                               "instead of padding each one")
    resume: bool = option(False, "begin or continue the run in --out; without --out, continue "
                                  "the newest unfinished one")
    save_every: int = option(100, "steps between saved states")
    skip_bad: bool = option(False, "count and skip rows that cannot be used, instead of stopping")
    use_mine: str = option("", "exercises whose code of yours trains in the place of the "
                               "project's, such as lora,adamw,mask; see lessons/check.py")
    device: str = device_option()
    dtype: str = option("float32", "number format of the forward pass",
                        choices=("float32", "bfloat16"))

    def __post_init__(self):
        at_least(self, steps=1, batch_size=1, accumulate=1, save_every=1, lr=0, weight_decay=0)
        if self.epochs is not None and not 0 < self.epochs < inf:
            raise ValueError(f"--epochs must be above 0, got {self.epochs}")
        if self.steps and self.epochs:
            raise ValueError("--steps and --epochs both say how long to train; give one of them")
        if self.train_unseen and self.method in METHODS:
            raise ValueError(f"--train-unseen goes with full tuning; --method {self.method} never "
                             "changes the embedding, so leave it out")
        self.peft()

    def peft(self):
        """The config of the method, or None; ValueError for a setting that it does not have."""
        if self.method in METHODS:
            return from_assignments(METHODS[self.method], self.settings)
        if self.settings and not self.resume:
            raise ValueError("--settings are those of a method; name one with --method "
                             f"({', '.join(METHODS)})")

    def highest_lr(self):
        if self.lr is not None:
            return self.lr
        return METHODS[self.method].lr if self.method in METHODS else FULL_LR


def load_data(config):
    """(training records, evaluation records), with a line printed for whatever was left out."""
    records, bad = read_records(config.data, config.skip_bad)
    evaluated, bad_too = read_records(config.eval, config.skip_bad) if config.eval else ([], [])
    for line in describe(records, bad) + describe(evaluated, bad_too):
        print(line)
    if evaluated:
        return records, evaluated
    if are_of_town(config.data):
        return records, read_records(TEST_FILES)[0]
    train_records, held_out = hold_out(records)
    if not held_out:
        print(f"only {len(records)} rows, so none is held out to evaluate on; name some with "
              "--eval")
    else:
        print(f"held {len(held_out)} of {len(records)} rows out to evaluate on (every 20th "
              "question); name others with --eval")
    return train_records, [replace(record, split="held_out") for record in held_out]


def bounded(records, train_records, config):
    """At most an eighth as many of the rows to evaluate on as training sees rows, but 20.

    So evaluation takes a fraction of the training's time. The rows are taken evenly from all.
    """
    seen = steps_for(config, train_records) * config.batch_size
    most = max(20, seen // 8)
    if config.eval_all or len(records) <= most:
        return records
    print(f"evaluating on {most:,} of {len(records):,} rows; --eval-all takes all of them")
    return [records[i * len(records) // most] for i in range(most)]


def training_of(model, examples, steps, config):
    """The Training that the settings ask for, of a model on rendered examples."""
    def batches_from(start):
        return step_batches(examples, config.batch_size, config.seed, start=start,
                            accumulate=config.accumulate,
                            block_size=model.config.block_size if config.pack else None)

    still = () if config.train_unseen else rows_that_keep_still(model, examples)
    embedding = model.wte.weight if still else None
    optimizer = AdamW(parameter_groups(model, config.weight_decay, undecayed=embedding))
    lr_at = warmup_cosine(config.highest_lr(), steps, warmup=ceil(steps / 20))
    return Training(model, optimizer, lr_at, batches_from, steps, config.dtype, still)


def rows_that_keep_still(model, examples):
    """Ids whose embedding rows full tuning leaves alone; none where the embedding is frozen."""
    embedding = model.wte.weight
    return unseen(len(embedding), examples) if embedding.requires_grad else ()


def tune(model, examples, steps, **settings):
    """Tune a model in place as the command does, but write nothing; returns StepRecords.

    examples: list of Rendered; settings: fields of TrainConfig, such as seed=1 or lr=3e-4.
    """
    config = TrainConfig(steps=steps, **settings)
    return list(training_of(model, examples, steps, config).records())


def open_base(config):
    """(model on its device, tokenizer) of --base; ValueError if a method was added to it."""
    model, tokenizer = open_model(config.base)
    if has_peft(model):
        raise ValueError(
            f"{config.base} is a base with a delta of a tuning method, which cannot be tuned as it "
            "is. A LoRA delta can be merged into one model first: python -m minisft.export --merge "
            f"--out NEW --model {quote(config.base)}")
    return model.to(pick_device(config.device)), tokenizer


def render_all(records, tokenizer, model):
    """Rendered examples that fit the model, a line printed for each way in which some were cut."""
    examples, notes = prepare(records, tokenizer, model.config.block_size)
    if not examples:
        raise ValueError(f"nothing is left to train on: {' '.join(notes)}")
    for note in notes:
        print(note)
    return examples


def steps_for(config, examples):
    """Optimizer steps: --steps, or what the epochs take."""
    steps_of_an_epoch = ceil(len(examples) / config.batch_size)
    epochs = config.epochs or (1 if are_of_town(config.data) else EPOCHS)
    return config.steps or max(1, ceil(steps_of_an_epoch * epochs))


def assess_base(model, tokenizer, records, config):
    """What the base can do before it is tuned, after a line that says so."""
    print(f"before training: {config.base} on {len(records):,} rows held out for evaluation")
    return assess(model, tokenizer, records, label="before")


def train(config):
    """Tune a model as the settings say; returns its run folder."""
    with open_folder(config, RUNS, "run") as folder:
        config, state = begin_or_continue(folder, config)
        if is_whole(folder, "run"):
            print(f"the run in {folder} is done already; nothing was changed")
        else:
            with own_code(config.use_mine):
                train_in_folder(folder, config, state)
    return folder


def own_code(exercises):
    """Within this block the learner's solutions of these exercises work in the project's place."""
    if not exercises:
        return nullcontext()
    from lessons.checking.exercise import use_mine  # the core needs no lessons but for this

    print(f"your own code is in use: {exercises}")
    return use_mine(exercises)


def train_in_folder(folder, config, state):
    """Tune a model and write it, with its report, into a run folder; state: or None."""
    torch.manual_seed(config.seed)
    model, tokenizer = open_base(config)
    train_records, eval_records = load_data(config)
    eval_records = bounded(eval_records, train_records, config)
    before = (state["settings"]["before"] if state
              else assess_base(model, tokenizer, eval_records, config))
    if method := config.peft():
        model = add_peft(model, method, tokenizer)
        print(describe_parameters(model))
    examples = render_all(train_records, tokenizer, model)
    evaluated = [replace(record, source="", ignored=()) for record in eval_records]
    data = fingerprint([base_fingerprint(model), *examples, *evaluated])
    settings = {"config": asdict(config), "data": data, "before": before}
    check_same_data(state, settings, folder)

    training = training_of(model, examples, steps_for(config, examples), config)
    print(f"{len(examples):,} examples, {training.steps} steps; run folder {folder}")
    about = asdict(config) | {"command": command_of("train", config),
                              "machine": describe_machine(model.device)}
    if training.still:
        about["still"] = (f"{len(training.still):,} of {len(model.wte.weight):,} rows of the "
                          "embedding keep still: the data hold none of their tokens; "
                          "--train-unseen trains them too")
        print(about["still"])
    if not train_in(folder, training, settings, state, config.save_every):
        print("stopped and saved; continue with: "
              f"python -m minisft.train --resume --out {quote(folder)}")
        return
    save_tuned(folder, model, tokenizer, config.base)
    after = assess(model, tokenizer, eval_records, label="after")
    write_report(folder, about, before, after)


def main(argv=None):
    config = parse(TrainConfig, argv, "python -m minisft.train",
                   "Tune a base model on instructions.")
    try:
        train(config)
    except (ValueError, OSError, NonFiniteLoss) as error:
        hint = ""
        if isinstance(error, NonFiniteLoss):
            hint = "; state.pt keeps the last saved step; start a new run with a smaller --lr"
        raise SystemExit(f"minisft.train: {error}{hint}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nminisft.train: stopped; a run that had begun continues with "
                         "--resume") from None


if __name__ == "__main__":
    main()
