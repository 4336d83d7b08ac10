"""Deltas on disk: what a method has added to a base, and which base that was.

    delta.pt    method, its settings, the trained tensors, path and fingerprint of the base: kilobytes

A delta only means something on the very base it was trained on, so another one is refused. Several of them fit on one
base, which need not be read again:

    for path in ("run-1/delta.pt", "run-2/delta.pt"):
        model = load_delta(path, model, tokenizer)      takes the one before off
"""

from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import torch

from minisft.checkpoint import read_file, write_file
from minisft.config import ROOT
from minisft.peft.inject import METHODS, add_peft, delta, finished, has_peft, remove_peft

DELTA = "minisft delta 1"


def base_fingerprint(model):
    """A short name of exactly these sizes and weights, of the base if a method has been added."""
    digest = sha256()
    added = has_peft(model)
    base = model.base if hasattr(model, "base") else model
    digest.update(repr(base.config).encode())
    for parameter in model.parameters():
        if not (added and parameter.requires_grad):
            digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def save_delta(path, model, base_path):
    """Write what was added to the model of `base_path`. ValueError if nothing was, or if it is merged."""
    config, weights = finished(model)
    base_path = Path(base_path).resolve()
    if base_path.is_relative_to(ROOT):  # found again wherever the project's folder goes
        base_path = base_path.relative_to(ROOT)
    method = next(name for name, kind in METHODS.items() if isinstance(config, kind))
    write_file(path, DELTA, {
        "method": method, "config": asdict(config), "base": base_path.as_posix(),
        "fingerprint": base_fingerprint(model),
        "weights": {name: weight.cpu().clone() for name, weight in weights.items()}})


def base_of(content):
    """Path of the base that a delta was trained on."""
    return ROOT / content["base"]


def load_delta(path, model, tokenizer=None):
    """The model with the delta of a file instead of any that it has. ValueError if it belongs to another base."""
    return put_delta(read_file(path, DELTA), path, model, tokenizer)


def put_delta(content, path, model, tokenizer=None):
    """As `load_delta`, of a file's content; path: for messages."""
    if base_fingerprint(model) != content["fingerprint"]:
        raise ValueError(f"{path} was trained on another base, {content['base']} as it was then; its fingerprint is "
                         f"{content['fingerprint']}, this model's {base_fingerprint(model)}")
    try:
        config, weights = METHODS[content["method"]](**content["config"]), content["weights"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is a damaged delta: {error}") from None
    return put_weights(add_peft(remove_peft(model) if has_peft(model) else model, config, tokenizer), weights, path)


@torch.no_grad()
def put_weights(model, weights, path):
    """Give what a method has added these tensors, all of them and no other; ValueError for another name or shape."""
    own = delta(model)
    shapes, found = ({name: tuple(weight.shape) for name, weight in each.items()} for each in (own, weights))
    if shapes != found:
        wrong = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
        raise ValueError(f"{path} does not fit its settings: {wrong[0]} is {found.get(wrong[0], 'missing')}, expected "
                         f"{shapes.get(wrong[0], 'nothing of this name')}")
    for name, weight in own.items():
        weight.copy_(weights[name])
    return model.eval()
