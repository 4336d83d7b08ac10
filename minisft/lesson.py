"""What every lesson needs beside its experiment: a fast mode, a place for its figure and numbers, and fair arms.

    python lessons/03_first_sft.py           the published experiment; writes lessons/results/03_first_sft.{png,json}
    python lessons/03_first_sft.py --fast    the same code on a small scale, to see it run; writes to a temporary folder

An arm is fair if it has a learning rate of its own: `measure` chooses it from a grid on questions held back from the
training rows, and reports other questions, with other seeds.
"""

import json
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch

from minisft.checkpoint import load_model, write_atomically
from minisft.config import ROOT, shipped
from minisft.conversation import Conversation
from minisft.evaluate import answer_all, paired_bootstrap
from minisft.peft import add_peft
from minisft.records import Record, read_records, render_record
from minisft.train import TRAIN_FILES, tune
from minisft.world.facts import RESIDENTS

SHORT = ("arithmetic", "classification", "count", "first", "last", "opposite", "to_chinese", "to_english")
T_975 = {2: 12.706, 5: 2.776, 8: 2.365, 12: 2.201}  # of n values: where Student's t with n - 1 degrees passes 97.5%

if Path(sys.argv[0]).resolve().parent == ROOT / "lessons" and sys.argv[1:] not in ([], ["--fast"]):
    raise SystemExit(f"{sys.argv[0]}: unknown argument {' '.join(sys.argv[1:])}; a lesson takes --fast, or nothing")
FAST = "--fast" in sys.argv
SEEDS = 1 if FAST else 5
FOLDER = Path(tempfile.mkdtemp(prefix="minisft-fast-")) if FAST else ROOT / "lessons" / "results"


def result_path(name):
    """Path of a result file: in lessons/results, or in a temporary folder in fast mode."""
    return FOLDER / name


def write_results(name, results):
    """Write a lesson's numbers as JSON and say where."""
    path = result_path(name)
    write_atomically(path, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
    print(f"numbers: {path}, figures beside it")
    if FAST:
        print("fast mode: a few steps of each experiment, so numbers and verdicts mean nothing")


def verdict(claim, difference, low, high, holds, form="+.1%"):
    """Print and return one outcome: the claim, the effect with its 95% interval, and whether it holds."""
    print(f"{'HOLDS' if holds else 'FAILS'}: {claim}: {difference:{form}} [{low:{form}}, {high:{form}}]")
    return {"claim": claim, "difference": difference, "low": low, "high": high, "holds": bool(holds)}


@dataclass(frozen=True)
class Trial:
    """examples: Rendered, to tune on for so many steps of batch_size; validation and test: records, to choose a rate by
    and to report."""

    examples: list
    validation: list
    test: list
    steps: int
    batch_size: int


def format_shift(tokenizer):
    """A trial of what the prose has taught and only the form is new: tasks whose answer is one short sentence."""
    def chosen(files):
        return [record for record in read_records(files)[0] if record.task in SHORT]

    rows, test = chosen(TRAIN_FILES), chosen([shipped(f"data/{split}.jsonl") for split in ("new_passage", "new_item")])
    random.Random(0).shuffle(test)
    examples = [render_record(row, tokenizer) for i, row in enumerate(rows) if i % 20]
    return Trial(examples, rows[::20][:20 if FAST else None], test[:20 if FAST else 510], 3 if FAST else 80, 16)


def made_up_facts(tokenizer, seed):
    """A trial of what no text holds: "What is the code of Mia?", 64 times, learnt by heart and asked for again.

    Each seed has codes of its own, and the rate is chosen on those of one that is not reported.
    """
    rng, records = random.Random(seed), []
    for name in RESIDENTS[:8] if FAST else RESIDENTS:
        messages = [{"role": "user", "content": f"What is the code of {name}?"},
                    {"role": "assistant", "content": f"The code of {name} is {rng.randrange(100, 1000)}."}]
        records.append(Record(Conversation.from_messages(messages), "made up", "code"))
    examples = [render_record(record, tokenizer) for record in records]
    return Trial(examples, records, records, 3 if FAST else 80, 16)


def tuned(base, config, trial, rate, seed):
    """(model, tokenizer, StepRecords): the base of a path, tuned with a method, or in full if `config` is None."""
    model, tokenizer = load_model(base)
    torch.manual_seed(seed)
    model = add_peft(model, config, tokenizer) if config else model
    log = tune(model, trial.examples, trial.steps, batch_size=trial.batch_size, lr=rate, seed=seed)
    return model, tokenizer, log


def right(model, tokenizer, records):
    """1.0 for each question that a model answers rightly, 0.0 for each other."""
    return [float(answer.right) for answer in answer_all(model, tokenizer, records)]


def measure(name, base, config, trial_of, rates, seeds=SEEDS, keep=None):
    """One arm: {"grid": {rate: share on validation}, "rate", "scores": [a list per seed], "mean": their mean, ...}.

    trial_of: a Trial, or a function that makes the one of a seed. The grid is run with seed 100, the report with seeds
    0, 1, ... keep: called with each model that is reported; "kept" has what it returns. "cost" has steps, tokens
    (without padding) and seconds of a run, on average.
    """
    rates, kept, logs = rates[:1] if FAST else rates, [], []

    def tried(rate, seed, report):
        trial = trial_of(seed) if callable(trial_of) else trial_of
        model, tokenizer, log = tuned(base, config, trial, rate, seed)
        logs.append(log)
        if report and keep:
            kept.append(keep(model))
        return right(model, tokenizer, trial.test if report else trial.validation)

    grid = {rate: mean(tried(rate, 100, report=False)) for rate in rates}
    rate = max(grid, key=grid.get)
    scores = [tried(rate, seed, report=True) for seed in range(seeds)]
    arm = {"grid": grid, "rate": rate, "scores": scores, "mean": mean(map(mean, scores)), "kept": kept,
           "cost": {"steps": mean(map(len, logs)), "tokens": mean(sum(step.tokens for step in log) for log in logs),
                    "seconds": mean(sum(step.seconds for step in log) for log in logs)}}
    edge = ", at the edge of the grid" if rate in (min(rates), max(rates)) and len(rates) > 1 else ""
    print(f"{name:24} rate {rate:g}{edge}   {' '.join(f'{mean(each):.1%}' for each in scores)}   "
          f"mean {arm['mean']:.1%}", flush=True)
    return arm


def tested(claim, outcome, rule, form="+.1%"):
    """The verdict on a claim that holds only if it does at both ends of the interval of (difference, low, high)."""
    return verdict(claim, *outcome, holds=all(map(rule, outcome)), form=form)


def share(arm):
    """Share of right answers of an arm, with its 95% interval."""
    return paired_bootstrap([[0.0] * len(scores) for scores in arm["scores"]], arm["scores"])


def gap(one, other):
    """Share of right answers of the other arm - that of one, with its 95% interval."""
    return paired_bootstrap(one["scores"], other["scores"])


def over_seeds(values):
    """Mean and 95% interval of one value for each seed, by Student's t: (mean, low, high)."""
    n, center = len(values), mean(values)
    if n == 1:  # fast mode
        return center, center, center
    half = T_975[n] * stdev(values) / n ** 0.5
    return center, center - half, center + half


def peak_bytes(call):
    """Most bytes that torch has allocated at once during a call, beyond what was allocated before."""
    call()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def summary(arms):
    """What of some arms goes into the results file: {name: grid, rate, mean, share of each seed, cost}."""
    return {name: {"grid": arm["grid"], "rate": arm["rate"], "mean": arm["mean"],
                   "by_seed": [mean(scores) for scores in arm["scores"]], "cost": arm["cost"]}
            for name, arm in arms.items()}
