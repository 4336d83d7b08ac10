"""Deltas on disk: what a method has added to a base, and which base that was.

    delta.pt    method, its settings, the trained tensors, path and fingerprint of the base

A delta takes kilobytes. It means something only on the base it was trained on, so another base is
refused. Several deltas can take turns on one base, which is read only once:

    for path in ("run-1/delta.pt", "run-2/delta.pt"):
        model = load_delta(path, model)      takes the delta before it off
"""

from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import torch

from minisft.checkpoint import read_file, write_file
from minisft.peft.inject import METHODS, delta, export_state, is_merged, put_peft
from minisft.shipped import ROOT

DELTA = "minisft delta 1"


def base_fingerprint(model):
    """A short name of exactly these sizes and weights, those of the base if a method was added."""
    digest, added = sha256(), delta(model)
    base = model.base if hasattr(model, "base") else model
    digest.update(repr(base.config).encode())
    for name, parameter in model.named_parameters():
        if name not in added:
            if parameter is model.wte.weight:
                parameter = parameter[:getattr(base, "rows_in_file", None)]
            numbers = parameter.detach().cpu().contiguous().flatten()
            digest.update(numbers.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def save_delta(path, model, base_path):
    """Write what was added to the model of `base_path`.

    ValueError if nothing was added, or if it is merged.
    """
    config, weights = export_state(model)
    base_path = Path(base_path).resolve()
    if base_path.is_relative_to(ROOT):  # so that it is found when the project's folder moves
        base_path = base_path.relative_to(ROOT)
    method = next(name for name, kind in METHODS.items() if isinstance(config, kind))
    write_file(path, DELTA, {
        "method": method, "config": asdict(config), "base": base_path.as_posix(),
        "fingerprint": base_fingerprint(model),
        "weights": {name: weight.cpu().clone() for name, weight in weights.items()}})


def base_of(content):
    """Path of the base that a delta was trained on."""
    return ROOT / str(content.get("base"))


def load_delta(path, model):
    """A model with the delta of a file instead of any that `model` has, which stays as it is.

    Both share the base's weights in memory (see put_peft). ValueError if the delta belongs to
    another base, or is damaged.
    """
    return put_delta(read_file(path, DELTA), path, model)


def put_delta(content, path, model):
    """As `load_delta`, of a file's content; path: for messages."""
    if is_merged(model):
        raise ValueError("what was added to this model is merged into its weights; unmerge(model) "
                         f"before it gets another delta, {path}")
    try:
        config, weights = METHODS[content["method"]](**content["config"]), content["weights"]
        base, fingerprint = content["base"], content["fingerprint"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is a damaged delta: {error}") from None
    if base_fingerprint(model) != fingerprint:
        raise ValueError(f"{path} was trained on another base, {base} as it was then; its "
                         f"fingerprint is {fingerprint}, this model's {base_fingerprint(model)}")
    return put_peft(model, config, weights, path)
