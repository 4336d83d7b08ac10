"""A run folder: a training that can be stopped at any moment and then continued to the same bits.

    state.pt     the last saved step: weights, optimizer, random state, settings
    log.jsonl    one line for each step
    model.pt     the model, once training is done; or delta.pt, what a method has added to its base
    report.md    what the model can do, written last; figures.json for a base

With `--resume` and `--out`, one command line serves for all: it begins the run, continues it after
a kill at any moment, and changes nothing once the run is whole. Only one process at a time is let
into a run folder.

The data of a step depend on its number alone, so a resumed run sees what the first would have seen.
Steps that were done after the last save are done again. Base and data are read again from the paths
that were given, so resume in the folder in which the run began. The same bits come out on the same
machine, with the same number of threads, on the CPU.
"""

import json
import os
import shlex
import signal
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import count, islice
from pathlib import Path

import torch
from tqdm import tqdm

from minisft.checkpoint import (
    read_state,
    remove_leftovers,
    restore,
    save_state,
    write_atomically,
)
from minisft.lock import LOCK_FILE, locked
from minisft.loop import train_steps
from minisft.optim import AdamW
from minisft.shipped import ROOT
from minisft.still import keep_still

RUNS = ROOT / "checkpoints"
MODEL_FILES = ("model.pt", "delta.pt")  # a training that is done leaves one of them
NOT_IN_COMMAND = ("resume", "out", "device", "save_every")  # they do not change the model
LAST_FILES = {"run": ("report.md", "results.json"), "base": ("figures.json",)}  # after the model
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Training:
    """What a training is made of, whoever runs it.

    lr_at: step (from 0) -> learning rate. batches_from: first step wanted -> iterable of lists of
    micro-batches, one list for each step. steps: how many in all. dtype: of the forward pass.
    still: ids of tokens whose embedding rows do not change; see minisft/still.py.
    """

    model: torch.nn.Module
    optimizer: AdamW
    lr_at: Callable
    batches_from: Callable
    steps: int
    dtype: str = "float32"
    still: tuple = ()

    def records(self, done=0):
        """Do the steps that are left after `done` of them; yields a StepRecord after each."""
        batches = islice(self.batches_from(done), self.steps - done)
        with keep_still(self.model.wte.weight, self.still) if self.still else nullcontext():
            yield from train_steps(self.model, batches, self.optimizer, self.lr_at, start=done,
                                   dtype=DTYPES[self.dtype])


@contextmanager
def hold_interrupts():
    """Ctrl-C lets the current step finish: the yielded list is then no longer empty.

    A second Ctrl-C stops at once.
    """
    pressed = []

    def remember(signum, frame):
        if pressed:
            raise KeyboardInterrupt
        pressed.append(signum)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def new_folder(parent, name):
    """Make the first of parent/name-1, parent/name-2, ... that does not exist.

    Creating the folder reserves it, so no other run can take it.
    """
    for number in count(1):
        folder = Path(parent) / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue


def newest_folder(parent, name):
    """The run among parent/name-1, parent/name-2, ... that is not whole and was saved last.

    A run that was killed before its first save counts from its start: it has left its lock file.
    ValueError if there is none.
    """
    found = [path for file in ("state.pt", LOCK_FILE)
             for path in Path(parent).glob(f"{name}-*/{file}") if not is_whole(path.parent, name)]
    if not found:
        raise ValueError(f"no unfinished run in {parent}; name one with --out, or start one "
                         "without --resume")
    return max(found, key=lambda path: path.stat().st_mtime).parent


def is_whole(folder, name):
    """Whether a run has its model and all that is written after it; name: "run" or "base"."""
    def has(file):
        return (Path(folder) / file).exists()

    return any(map(has, MODEL_FILES)) and all(map(has, LAST_FILES[name]))


def newest_model(parent, name):
    """The model file of the run parent/name-* that was done last, or None if there is none."""
    models = [path for file in MODEL_FILES for path in Path(parent).glob(f"{name}-*/{file}")]
    return max(models, key=lambda path: path.stat().st_mtime, default=None)


def run_of(path):
    """The folder of the whole run that made the model of a path, or None.

    path: the folder itself, or the model file in it.
    """
    path = Path(path)
    folder = path.parent if path.name in MODEL_FILES else path
    return folder if is_whole(folder, "run") else None


def command_of(name, config):
    """The command `python -m minisft.<name>` with all settings that change the model."""
    words = [f"python -m minisft.{name}"]
    for setting, value in asdict(config).items():
        flag = "--" + setting.replace("_", "-")
        if setting in NOT_IN_COMMAND or value is False or value in ((), "", None):
            continue
        values = value if isinstance(value, tuple) else (value,)
        words.append(flag if value is True else f"{flag} {shlex.join(map(str, values))}")
    return " ".join(words)


def fingerprint(things):
    """A short name of exactly these data, so that a run is not resumed with others."""
    digest = sha256()
    for thing in things:
        digest.update(repr(thing).encode())
    return digest.hexdigest()[:16]


@contextmanager
def open_folder(config, parent, name):
    """Take the folder of a run for oneself; yields its path as text.

    It is --out; without one, the newest unfinished run parent/name-* for --resume, or else a new
    folder. ValueError if another process holds it.
    """
    if config.out:
        folder = config.out
    else:
        folder = newest_folder(parent, name) if config.resume else new_folder(parent, name)
    with locked(folder):
        yield str(folder)


def check_unused(folder):
    """ValueError if the folder already holds a run, or parts of one."""
    if (Path(folder) / "state.pt").exists():
        raise ValueError(f"{folder} already holds a run; continue it with --resume, or choose "
                         "another --out")
    for name in ("log.jsonl", *MODEL_FILES):
        if (Path(folder) / name).exists():
            raise ValueError(f"{folder} holds the {name} of a run, but no state.pt to continue it "
                             "from; choose another --out")


def begin_or_continue(folder, config):
    """The settings and the last saved state of a run; the state of a new run is None.

    config: the settings given now. ValueError if a run is there and --resume is not given, or if a
    flag contradicts the settings with which the run began.
    """
    if config.resume and (Path(folder) / "state.pt").exists():
        state = resumed_settings(folder, config)
        saved = state["settings"]["config"]
        device = saved["device"] if config.device == "auto" else config.device
        config = type(config)(**saved | {"out": config.out, "device": device})
    else:
        check_unused(folder)
        if config.resume:
            print(f"nothing of a run is saved in {folder}, so it begins now, with the settings "
                  "of this command")
        config, state = replace(config, resume=False), None  # checks the settings of a new run
    remove_leftovers(folder)  # of a killed run; nobody else writes here
    return config, state


def resumed_settings(folder, config, free=("resume", "out", "device")):
    """The saved state of a run, after checking that no flag contradicts its settings.

    config: the settings given now; those left at their defaults and those in `free` may differ.
    """
    state = read_state(Path(folder) / "state.pt")
    saved = state["settings"]["config"]
    if saved.keys() != asdict(config).keys():
        raise ValueError(f"{folder} holds a run of another command; resume it by the command that "
                         "began it")
    for name, value in asdict(config).items():
        default = type(config).__dataclass_fields__[name].default
        if name not in free and value != default and value != saved[name]:
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"{flag} {_as_typed(value)} differs from the {_as_typed(saved[name])} that the run "
                f"in {folder} began with; leave {flag} away to continue it, or start a new run")
    return state


def _as_typed(value):
    """A setting as one types it after its flag."""
    return " ".join(value) or "nothing" if isinstance(value, tuple) else value


def check_same_data(state, settings, folder):
    """ValueError unless a resumed run has the base and data with which it began."""
    if state and state["settings"]["data"] != settings["data"]:
        raise ValueError("base, tokenizer or data differ from those that the run in "
                         f"{folder} began with; start a new run with --out")


def _trim_log(path, step):
    """Drop what was logged after `step`, and a last line that is incomplete."""
    kept, lines = [], path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            break
    write_atomically(path, "".join(kept).encode())


def train_in(folder, training, settings, state=None, save_every=100, after_step=None):
    """Do a Training in a run folder: progress bar, log, and a saved state every `save_every` steps.

    settings: plain values to store with each state. state: a read state to continue from.
    after_step: called with each StepRecord before the state of that step is saved; a resumed run
    calls it again for the steps that it does again.
    Returns True when all steps are done, False after Ctrl-C. Raises NonFiniteLoss; state.pt then
    holds the last step that was saved.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / "log.jsonl"
    done = restore(state, training.model, training.optimizer) if state else 0

    def save(step):
        save_state(folder / "state.pt", training.model, training.optimizer, step, settings)

    if not state:
        save(0)
    _trim_log(log_path, done)  # after saving: a folder with only a log could not be resumed
    if done >= training.steps:
        return True
    with open(log_path, "a", encoding="utf-8") as log, hold_interrupts() as pressed, \
            tqdm(total=training.steps, initial=done, unit="step", dynamic_ncols=True) as bar:
        for record in training.records(done):
            log.write(json.dumps(asdict(record)) + "\n")
            log.flush()
            _advance(bar, record)
            if after_step:
                after_step(record)
            last = record.step == training.steps
            if last or pressed or record.step % save_every == 0:
                os.fsync(log.fileno())  # the log must not fall behind the state if the power goes
                save(record.step)
            if last:
                return True
            if pressed:
                return False
    raise ValueError(f"the data ended before step {training.steps}")


def _advance(bar, record):
    """Move a progress bar by one step and show its loss and speed."""
    speed = record.targets / record.seconds
    bar.set_postfix_str(f"loss {record.loss:.3f}, {speed:,.0f} supervised tokens/s", refresh=False)
    bar.update()


def read_log(folder):
    """The rows of a run's log, as dictionaries; ValueError if it holds none."""
    path = Path(folder) / "log.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not rows:
        raise ValueError(f"{path} holds no step; the run's log is lost, start a new one")
    return rows


def read_results(folder):
    """What a whole run has noted in results.json: settings, before, after."""
    return json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
