"""Kill a training at random moments, finish it, and compare it with one that was never killed.

    python -m tests.kill_and_resume --points 200

A point is one training, with one of the sets of flags below. It is killed in one of six ways, and
half of the trainings are killed twice. The signal is always SIGKILL, to which no program can react.

    clock     at a random moment of its whole duration
    before    in the evaluation before the first step
    log       once a random number of steps is logged
    save      while a file is being written: half written, not yet renamed, just renamed
    after     in the evaluation after the last step
    end       after the last step, while the model is written, evaluated and reported

After each kill the same command line is given again, until it ends by itself. Model, report and
results must have the same bytes, and the log the same steps with the same figures, times excepted.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from tqdm import tqdm

from minisft import train
from minisft.checkpoint import save_model
from minisft.model import GPT, GPTConfig
from minisft.tokenizer import Tokenizer

STEPS, SAVE_EVERY = 40, 3
ATTEMPTS = 20  # to kill a training before it is done
VARIANTS = {"padded": (), "packed": ("--pack",), "accumulated": ("--accumulate", "3"),
            "lora": ("--method", "lora"), "bfloat16": ("--dtype", "bfloat16")}
WAYS = ("clock", "before", "log", "save", "after", "end")
LAYER_CALLS = 200  # an evaluation has more of them
TORN = ("half written", "not renamed", "renamed")

# One process imports torch, and each training is a fork of it, so that it starts in milliseconds.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "matplotlib.pyplot", "minisft.train"])


def make_base(folder, n_embd=16):
    """A very small base model in folder/base.pt, with dropout, so that the random state matters."""
    tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    torch.manual_seed(0)
    model = GPT(GPTConfig(
        tokenizer.vocab_size, 64, n_layer=2, n_head=2, n_embd=n_embd, dropout=0.2))
    save_model(folder / "base.pt", model, tokenizer)


def make_files(folder):
    """Write a base model and rows to train and to evaluate on; returns the flags of a training."""
    folder.mkdir(parents=True, exist_ok=True)
    make_base(folder)
    for name, numbers in (("data", range(30)), ("eval", range(30, 33))):
        lines = [json.dumps(make_row(n)) + "\n" for n in numbers]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return ["--base", str(folder / "base.pt"), "--data", str(folder / "data.jsonl"),
            "--eval", str(folder / "eval.jsonl"), "--steps", str(STEPS),
            "--save-every", str(SAVE_EVERY), "--batch-size", "4", "--lr", "0.01",
            "--device", "cpu"]


def make_row(n):
    return {"prompt": f"Count to {n}." + " Go." * (n % 5), "completion": f"{n} is reached"}


def start(argv, printed, fault=None):
    """Start `python -m minisft.train` with these flags; returns the process.

    printed: file for all that it prints. fault: called first in the process, to break something.
    """
    process = CONTEXT.Process(target=_run, args=(argv, printed, fault))
    process.start()
    return process


def _run(argv, printed, fault):
    descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    # tqdm's own lock would outlive a killed process, and Python would warn of it
    tqdm.set_lock(threading.RLock())
    if fault:
        fault()
    train.main(argv)


def finish(argv, printed, fault=None):
    """Run a training until it ends, in success or failure; returns its exit status."""
    process = start(argv, printed, fault)
    process.join()
    return process.exitcode


def die_in_save(number, how):
    """A fault: the process is killed in its `number`-th save, counted from 1. how: one of TORN."""
    replace, saves = os.replace, []

    def replace_or_die(temporary, path):
        saves.append(path)
        if len(saves) < number:
            return replace(temporary, path)
        if how == "half written":
            os.truncate(temporary, os.path.getsize(temporary) // 2)
        if how == "renamed":
            replace(temporary, path)
        os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace_or_die


def die_in_evaluation(folder, when, number):
    """A fault: the process is killed in the evaluation "before" all steps, or "after" them.

    number: of the call of a layer in which it is killed, counted from 1.
    """
    assess, calls = train.assess, itertools.count(1)

    def call_or_die(*_):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def assess_or_die(*arguments, **named):
        if (folder / "state.pt").exists() == (when == "after"):
            register_module_forward_pre_hook(call_or_die)
        return assess(*arguments, **named)

    train.assess = assess_or_die


def outcome(folder):
    """What must be the same: {file: its bytes, or its rows or text without folder and times}."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    for row in rows:
        del row["seconds"], row["waited"]
    report = (folder / "report.md").read_text(encoding="utf-8").replace(str(folder), "FOLDER")
    return {"log.jsonl": rows, "report.md": re.sub(r"in \d+ s of training", "", report),
            **{name: (folder / name).read_bytes()
               for name in ("model.pt", "delta.pt", "results.json") if (folder / name).exists()}}


def logged(folder):
    """The number of complete lines in the log so far."""
    path = folder / "log.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(process, reached):
    """Wait until reached() or the process has ended."""
    while process.is_alive() and not reached():
        time.sleep(0.0005)


@dataclass(frozen=True)
class Reference:
    """A training that was never killed. seconds: in all; ending: of them, after the last step."""

    outcome: dict
    seconds: float
    ending: float


def reference(folder, flags):
    """Train without a kill; ValueError if the training fails."""
    finish(["--no-such-flag"], os.devnull)  # so that torch is imported before the clock runs
    printed, began = folder.with_suffix(".txt"), time.perf_counter()
    process = start([*flags, "--out", str(folder)], printed)
    wait_for(process, lambda: logged(folder) >= STEPS)
    last_step = time.perf_counter()
    process.join()
    if process.exitcode != 0:
        raise ValueError(f"the training fails without being killed:\n{printed.read_text()}")
    ended = time.perf_counter()
    return Reference(outcome(folder), ended - began, ended - last_step)


def kill_once(way, argv, folder, printed, never_killed, rng):
    """Give a command line and kill its process; returns when, as text, or None if it was done."""
    if way in ("before", "after"):
        number = rng.randint(1, LAYER_CALLS)
        process = start(argv, printed, partial(die_in_evaluation, folder, way, number))
        when = f"in the evaluation {way}, layer call {number}"
    elif way == "save":
        number = rng.randint(1, (STEPS - logged(folder)) // SAVE_EVERY + 4)
        how = rng.choice(TORN)
        process = start(argv, printed, partial(die_in_save, number, how))
        when = f"in save {number}, {how}"
    else:
        process = start(argv, printed)
        when = wait_for_moment(way, process, folder, never_killed, rng)
        process.kill()
    process.join()
    if process.exitcode == 0:
        return None
    return when if process.exitcode == -signal.SIGKILL else "never: it failed by itself"


def wait_for_moment(way, process, folder, never_killed, rng):
    """Wait until a training is to be killed by "clock", "log" or "end"; returns when, as text."""
    if way == "clock":
        moment = rng.uniform(0, never_killed.seconds)
        process.join(moment)
        return f"after {moment:.2f} s"
    if way == "end":
        steps, longest = STEPS, never_killed.ending
    else:
        steps, longest = rng.randrange(STEPS), 0.02
    wait_for(process, lambda: logged(folder) >= steps)
    time.sleep(rng.uniform(0, longest))
    return f"after step {logged(folder)}"


def killed_run(folder, flags, ways, never_killed, rng):
    """Kill a training once in each of these ways, let it end by itself, and compare.

    Returns (whether all bits are the same, when it was killed each time).
    """
    argv, printed = [*flags, "--out", str(folder), "--resume"], folder.with_suffix(".txt")
    for _ in range(ATTEMPTS):  # a training that is done before it is killed proves nothing
        shutil.rmtree(folder, ignore_errors=True)
        kills = [kill_once(way, argv, folder, printed, never_killed, rng) for way in ways]
        if all(kills):
            break
    else:
        return False, [f"never: it was done before, {ATTEMPTS} times"]
    same = finish(argv, printed) == 0 and outcome(folder) == never_killed.outcome
    return same and not list(folder.glob(".*")), kills


def points(parent, number, seed):
    """Yield (point, variant, kills, same) for each of `number` points; files go below `parent`."""
    flags, references = make_files(parent), {}
    for point in range(number):
        rng = random.Random(f"{seed} {point}")
        variant = rng.choice(list(VARIANTS))
        ways = [WAYS[point % len(WAYS)]]
        if (point + point // len(WAYS)) % 2:  # of each way, half are killed a second time
            ways.append(rng.choice([way for way in WAYS if way != "before" or ways[0] == way]))
        own_flags = [*flags, *VARIANTS[variant]]
        if variant not in references:
            references[variant] = reference(parent / variant, own_flags)
        folder = parent / f"point-{point}"
        same, kills = killed_run(folder, own_flags, ways, references[variant], rng)
        yield point, variant, kills, same


def main(argv=None):
    parser = argparse.ArgumentParser(
        description="Kill trainings, finish them, compare them with one never killed.")
    parser.add_argument("--points", type=int, default=20, metavar="N",
                        help="trainings to kill (default: 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N",
                        help="seed of the moments (default: 0)")
    asked = parser.parse_args(argv)
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        for point, variant, kills, same in points(Path(folder), asked.points, asked.seed):
            different += not same
            print(f"{point + 1:4d}  {variant:11}  {'same bits' if same else 'DIFFERENT'}  "
                  f"killed {', then '.join(kills)}", flush=True)
    print(f"{asked.points - different} of {asked.points} killed and resumed trainings equal the "
          "one never killed")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
