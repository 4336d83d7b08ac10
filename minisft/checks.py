"""Checks of what comes out of files: settings of the right type, tensors that fit a model.

A file can be damaged, or made by another program. All that it holds is checked before a model is
built: a small file may claim a size that no memory can hold.
"""

import dataclasses
import sys

import torch


def check_types(settings):
    """ValueError unless each field of a dataclass holds a value of the field's type.

    A float may be a whole number, but not NaN or infinite; a tuple must hold texts.
    """
    for field in dataclasses.fields(settings):
        value, kind = getattr(settings, field.name), field.type
        if isinstance(value, bool):
            fits = kind is bool
        elif kind is float:
            fits = isinstance(value, int | float) and abs(value) <= sys.float_info.max
        elif kind is tuple:
            fits = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        else:
            fits = isinstance(value, kind)
        if not fits:
            expected = {float: "a finite number", int: "a whole number", str: "a text",
                        bool: "True or False", tuple: "a tuple of texts"}[kind]
            raise ValueError(f"{field.name} must be {expected}, got {value!r}")


def check_tensors(found):
    """ValueError unless what a file holds as its weights is {name: tensor}."""
    if not isinstance(found, dict):
        raise ValueError(f"the weights are a {type(found).__name__}, expected a dict of tensors")
    if not found:
        raise ValueError("there are no tensors in it; it was saved empty, so save it again")
    for name, weight in found.items():
        if not isinstance(name, str) or not isinstance(weight, torch.Tensor):
            raise ValueError(f"the weights hold {name!r}, a {type(weight).__name__}; expected "
                             "tensors with names")


def check_weights(expected, found):
    """ValueError unless `found` holds finite numbers under the names and shapes of `expected`.

    expected: {name: tensor}, whose numbers do not matter; found: the weights in a file.
    """
    check_tensors(found)
    for name in sorted(expected.keys() | found.keys()):
        theirs, ours = (tuple(each[name].shape) if name in each else None
                        for each in (found, expected))
        if theirs != ours:
            raise ValueError(f"{name} is {'missing' if theirs is None else theirs}, "
                             f"expected {'nothing of this name' if ours is None else ours}")
    for name, weight in found.items():
        if not weight.is_floating_point() or weight.layout != torch.strided or weight.is_meta:
            raise ValueError(f"{name} holds {weight.dtype}, expected floating-point numbers")
        if not weight.float().isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite numbers; its training diverged or the "
                             "file is damaged")
