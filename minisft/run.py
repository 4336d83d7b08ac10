"""A run folder: a training that can be stopped at any moment, by any means, and go on to the very same bits.

    state.pt     the last saved step: weights, optimizer, random state, settings
    log.jsonl    one line for each step
    model.pt     the model, once training is done; or delta.pt, what a method has added to its base

The data of a step depend on its number alone, so a resumed run sees what the first would have seen; what the first run
did after its last save is done again. Base and data are read again from the paths that were given, so resume in the
folder in which the run began. Same bits means: same machine, same number of threads, on the CPU.
"""

import json
import os
import signal
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from itertools import count
from pathlib import Path

import torch
from tqdm import tqdm

from minisft.checkpoint import read_state, restore, save_state, write_atomically
from minisft.loop import train_steps

TUNED = ("model.pt", "delta.pt")  # what a finished run leaves, one or the other
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@contextmanager
def hold_interrupts():
    """Ctrl-C lets the current step finish: the yielded list is no longer empty. A second Ctrl-C breaks off at once."""
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
    """Make the first of parent/name-1, parent/name-2, ... that does not exist, so that no other run takes it."""
    for number in count(1):
        folder = Path(parent) / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue


def newest_folder(parent, name):
    """The unfinished run among parent/name-1, parent/name-2, ... that was saved last; ValueError if there is none."""
    found = [path.parent for path in Path(parent).glob(f"{name}-*/state.pt")
             if not any((path.parent / name).exists() for name in TUNED)]
    if not found:
        raise ValueError(f"no unfinished run in {parent}; name one with --out, or start one without --resume")
    return max(found, key=lambda folder: (folder / "state.pt").stat().st_mtime)


def newest_model(parent, name):
    """The model of the run parent/name-* that was finished last; ValueError if there is none."""
    models = [path for file in TUNED for path in Path(parent).glob(f"{name}-*/{file}")]
    if not models:
        raise ValueError(f"no tuned model in {parent} yet; make one with `python -m minisft.train`, or name one with "
                         "--model")
    return max(models, key=lambda path: path.stat().st_mtime)


def fingerprint(things):
    """A short name of exactly these data, so that a run does not go on with others."""
    digest = sha256()
    for thing in things:
        digest.update(repr(thing).encode())
    return digest.hexdigest()[:16]


def check_unused(folder):
    """ValueError if the folder already holds a run, or is none."""
    if Path(folder).is_file():
        raise ValueError(f"--out {folder} is a file; name a folder")
    for name in ("state.pt", "log.jsonl", *TUNED):
        if (Path(folder) / name).exists():
            raise ValueError(f"{folder} already holds a run; go on with it by --resume, or choose another --out")


def resumed_settings(folder, config, free=("resume", "out", "device")):
    """The saved settings of a run and its state, after checking that no flag says otherwise.

    config: the settings given now; those left at their defaults and those in `free` may differ.
    """
    state = read_state(Path(folder) / "state.pt")
    saved = state["settings"]["config"]
    if saved.keys() != asdict(config).keys():
        raise ValueError(f"{folder} holds a run of another command; go on with it by the command that began it")
    for name, value in asdict(config).items():
        default = type(config).__dataclass_fields__[name].default
        if name not in free and value != default and value != saved[name]:
            flag = "--" + name.replace("_", "-")
            given, begun = (" ".join(each) or "nothing" if isinstance(each, tuple) else each
                            for each in (value, saved[name]))
            raise ValueError(f"{flag} {given} differs from the {begun} that the run in {folder} began with; "
                             f"leave {flag} away to go on, or start a new run")
    return state


def _trim_log(path, step):
    """Drop what was logged after `step`, a torn last line too."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            break
    write_atomically(path, "".join(kept).encode())


def train_in(folder, model, optimizer, windows_from, lr_at, steps, settings, state=None, save_every=100, max_norm=1.0,
             dtype="float32", after_step=None):
    """Train to `steps`, with a progress bar, a log, and a state saved every `save_every` steps and at the end.

    windows_from: first step (from 0) -> iterable of windows. settings: what to store with each state.
    state: a read state to go on from. after_step: called with each StepRecord, before the state of that step is saved;
    a resumed run calls it again for steps it does again. Returns True when all steps are done, False after Ctrl-C.
    Raises NonFiniteLoss; state.pt then holds the last step saved before.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    done = restore(state, model, optimizer) if state else 0
    if not state:
        save_state(folder / "state.pt", model, optimizer, 0, settings)
    log_path = folder / "log.jsonl"
    _trim_log(log_path, done)  # after the state: a folder with a log alone could neither go on nor start anew
    if done >= steps:
        return True
    records = train_steps(model, windows_from(done), optimizer, lr_at, start=done, max_norm=max_norm,
                          dtype=DTYPES[dtype])
    with open(log_path, "a", encoding="utf-8") as log, hold_interrupts() as pressed, \
            tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True) as bar:
        for record in records:
            log.write(json.dumps(asdict(record)) + "\n")
            log.flush()
            bar.set_postfix_str(f"loss {record.loss:.3f}, {record.targets / record.seconds:,.0f} supervised tokens/s",
                                refresh=False)
            bar.update()
            if after_step:
                after_step(record)
            last = record.step >= steps
            if last or pressed or record.step % save_every == 0:
                os.fsync(log.fileno())  # the log must not fall behind the state, even if the power goes
                save_state(folder / "state.pt", model, optimizer, record.step, settings)
            if last:
                return True
            if pressed:
                return False
    raise ValueError(f"the data ended before step {steps}")


def read_log(folder):
    """The rows of a run's log, as dictionaries; ValueError if it holds none."""
    path = Path(folder) / "log.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not rows:
        raise ValueError(f"{path} holds no step; the run's log is lost, start a new one")
    return rows
