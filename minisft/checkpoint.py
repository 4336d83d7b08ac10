"""Files that hold a model or a training: written whole or not at all, and unable to run code.

    model.pt    a model to use: config, weights, and the tokenizer it was trained with
    state.pt    a training to continue: weights, optimizer, step, random state, settings

A file is written beside its place, forced to the disk, and renamed over the old one. A reader finds
the old file or the new one, never half of either, also when several processes write it.
Reading uses torch's `weights_only=True`, so a file cannot run code.
"""

import glob
import io
import os
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import torch

from minisft.checks import check_tensors, check_weights
from minisft.model import GPT, GPTConfig
from minisft.tokenizer import Tokenizer

MODEL, STATE = "minisft model 1", "minisft training state 1"
ABANDONED = 3600  # seconds after which a file that is not yet in its place has lost its writer


def write_atomically(path, content):
    """Write bytes so that `path` holds all of the old or all of the new content at any moment."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name, ABANDONED)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.writing")  # no other writer has it
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if os.name == "posix":  # the new name is safe only once the folder is on the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _replace(temporary, path, seconds=2):
    """Rename over the old file; Windows refuses that while a reader has it open, so try again."""
    until = time.monotonic() + seconds
    while True:
        try:
            return os.replace(temporary, path)
        except PermissionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def remove_leftovers(folder, name=None, seconds=0):
    """Remove what killed writers of a folder have left behind.

    name: of the file that they wrote, or None for any; seconds: remove only what is so old.
    """
    name = "*" if name is None else glob.escape(name)
    for path in Path(folder).glob(f".{name}.{'[0-9a-f]' * 32}.writing"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


def write_file(path, kind, content):
    """Write tensors and plain values as a file of some kind."""
    buffer = io.BytesIO()  # not the file itself: torch would write the file's name into the bytes
    torch.save({"kind": kind, **content}, buffer)
    write_atomically(path, buffer.getvalue())


def read_file(path, *kinds):
    """The content of a file whose "kind" is one of these.

    ValueError if it is missing, damaged, or of another kind.
    """
    path, expected = Path(path), " or ".join(map(repr, kinds))
    if not path.is_file():
        raise ValueError(f"{path} does not exist; expected a file of kind {expected}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch answers damage with almost any
        what = type(error).__name__
        raise ValueError(f"{path} is not a file that minisft wrote, or it is damaged "
                         f"({what})") from None
    if isinstance(content, dict):
        found = content.get("kind", "another program's file")
    else:
        found = type(content).__name__
    if found not in kinds:
        raise ValueError(f"{path} holds {found!r}, expected {expected}")
    return content


def save_model(path, model, tokenizer, dtype=None):
    """Write a model with its config and tokenizer into one file.

    dtype: of the weights on disk, by default their own; loading makes them float32 in any case.
    ValueError for a model to which a method was added.
    """
    if getattr(model, "peft_config", None) is not None:
        raise ValueError("a method was added to this model: save_delta keeps it, remove_peft takes "
                         "it off")
    weights = {name: weight.to(dtype or weight.dtype)
               for name, weight in _on_cpu(model.state_dict()).items()}
    write_file(path, MODEL, {"config": asdict(model.config), "weights": weights,
                             "tokenizer": tokenizer.to_dict()})


def load_model(path):
    """(model in evaluation mode, tokenizer) of a file that `save_model` wrote.

    path: the file, or the folder of a model.pt. ValueError if the file is missing, damaged, or
    something else.
    """
    path = Path(path)
    path = path / "model.pt" if path.is_dir() else path
    return model_in(read_file(path, MODEL), path)


def model_in(content, path):
    """(model in evaluation mode, tokenizer) of a model file's content; path: for messages."""
    try:
        model = model_with(GPTConfig(**content["config"]), content["weights"])
        return model, Tokenizer.from_dict(content["tokenizer"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{path} is a damaged model file: {error}") from None


def model_with(config, weights):
    """A GPT with these weights, in evaluation mode; ValueError if they do not fit the config."""
    check_tensors(weights)
    held = sum(weight.numel() for weight in weights.values())
    if config.parameters > 2 * held:  # before memory is taken; what differs less is named below
        raise ValueError(f"the config is that of a model of {config.parameters:,} numbers, the "
                         f"weights are only {held:,}")
    model = GPT(config)
    check_weights(expected=model.state_dict(), found=weights)
    model.load_state_dict(weights)
    return model.eval()


def save_state(path, model, optimizer, step, settings):
    """Write all that `restore` needs; settings: plain values that say which training this is."""
    write_file(path, STATE, {
        "weights": _on_cpu(model.state_dict()), "optimizer": optimizer.state_dict(), "step": step,
        "settings": settings, "cpu_random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    })


def read_state(path):
    """The content of a file that `save_state` wrote; ValueError if it is missing or damaged."""
    return read_file(path, STATE)


def restore(state, model, optimizer):
    """Restore weights, optimizer and random generators. Returns the number of steps done.

    ValueError if the state belongs to a model of other shapes.
    """
    try:
        model.load_state_dict(state["weights"])
    except RuntimeError as error:
        raise ValueError(f"the saved training belongs to another model: {error}") from None
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["cpu_random"])
    same_gpus = len(state["cuda_random"]) == torch.cuda.device_count()
    if torch.cuda.is_available() and same_gpus:
        torch.cuda.set_rng_state_all(state["cuda_random"])
    return state["step"]


def _on_cpu(weights):
    return {name: weight.detach().cpu() for name, weight in weights.items()}
