"""Code tried on cases: plain values go in, plain values come out, and two answers are compared.

    |got - expected| <= 1e-6 |expected| + 1e-9 max |expected|        for numbers that are not whole

All is computed in float64, where right answers differ by 1e-12 or less, so an answer that is wrong
by one part in ten thousand is wrong. Whole numbers, texts and shapes must be equal.

A process hands another one nothing but JSON: a tensor is written as its type, shape and numbers.
"""

import math
import traceback
from contextlib import ExitStack

import torch

from lessons.checking.exercise import installed, load, steady

RTOL, ATOL = 1e-6, 1e-9
MOST_NUMBERS = 100_000  # in one value; no exercise needs a hundredth of it


def pack(value):
    """A value as JSON can hold it; what cannot be held is named by its type.

    ValueError if it is larger than any answer can be.
    """
    if isinstance(value, torch.Tensor):
        if value.numel() > MOST_NUMBERS:
            raise ValueError(f"a tensor of shape {tuple(value.shape)} is far larger than any "
                             "answer here")
        value = value.detach()
        return {"tensor": str(value.dtype).removeprefix("torch."), "shape": list(value.shape),
                "numbers": value.flatten().tolist()}
    if isinstance(value, (list, tuple)):
        if len(value) > MOST_NUMBERS:
            raise ValueError(f"a list of {len(value):,} elements is far longer than any answer")
        return [pack(each) for each in value]
    if isinstance(value, dict):
        return {str(key): pack(each) for key, each in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return {"other": type(value).__name__}


def unpack(value):
    """What `pack` was given."""
    if isinstance(value, dict) and "tensor" in value:
        numbers = torch.tensor(value["numbers"], dtype=getattr(torch, value["tensor"]))
        return numbers.view(value["shape"])
    if isinstance(value, dict):
        return {key: unpack(each) for key, each in value.items()}
    return [unpack(each) for each in value] if isinstance(value, list) else value


def outcomes(exercise, text, path, cases):
    """What code does with each packed case: an iterator of outcomes, all of them plain.

    {"values": {name: packed}, "changed": [inputs that it has changed]}, or {"error": its type,
    "message": ..., "line": of the code's own file, or None}. Code that cannot be loaded has that
    outcome in every case.
    """
    with ExitStack() as stack:
        stack.enter_context(steady())
        try:
            code = load(text, path)
            stack.enter_context(installed(code, exercise))
        except (Exception, SystemExit) as error:
            yield from [failure(error, path)] * len(cases)
            return
        for case in cases:
            yield outcome_of(exercise, code, path, case)


def outcome_of(exercise, code, path, case):
    """The outcome in one case."""
    given = unpack(case)
    torch.default_generator.manual_seed(0)
    try:
        values = {name: pack(value) for name, value in exercise.run(code, **given).items()}
    except (Exception, SystemExit) as error:
        return failure(error, path)
    return {"values": values, "changed": [name for name in case
                                          if not same(case[name], pack(given[name]))]}


def failure(error, path):
    """The outcome of an exception: where it was in the code's own file, and in no other file."""
    line = None
    if isinstance(error, SyntaxError):
        line = error.lineno
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path):
            line = frame.lineno
    return {"error": type(error).__name__, "message": str(error)[:500], "line": line}


def expected_outcomes(exercise, cases):
    """The outcomes that right code has, by the oracle."""
    with steady():
        return [{"values": {name: pack(value)
                            for name, value in exercise.oracle(**unpack(case)).items()},
                 "changed": []} for case in cases]


def same(a, b):
    """Whether two packed values are equal, up to rounding."""
    return difference(a, b) is None


def difference(expected, got, where=""):
    """The first place at which two packed values differ, or None.

    (where, expected, got), such as ("[0, 2]", 0.5, 0.25); where is "shape" for other shapes and
    "type" for other kinds.
    """
    if is_tensor(expected) and is_tensor(got):
        return tensor_difference(expected, got, where)
    if isinstance(expected, list) and isinstance(got, list):
        if len(expected) != len(got):
            return where + " length", len(expected), len(got)
        scale = largest(expected)
        for i, (a, b) in enumerate(zip(expected, got)):
            if is_number(a) and is_number(b):
                if not close(a, b, scale):
                    return f"{where}[{i}]", a, b
            elif found := difference(a, b, f"{where}[{i}]"):
                return found
        return None
    if isinstance(expected, dict) and isinstance(got, dict) and expected.keys() == got.keys():
        found = (difference(expected[key], got[key], f"{where}[{key!r}]") for key in expected)
        return next(filter(None, found), None)
    if is_number(expected) and is_number(got):
        return None if close(expected, got, abs(expected)) else (where, expected, got)
    if type(expected) is not type(got):
        return where + " type", kind(expected), kind(got)
    return None if expected == got else (where, expected, got)


def tensor_difference(expected, got, where):
    if expected["shape"] != got["shape"]:
        return where + " shape", tuple(expected["shape"]), tuple(got["shape"])
    if ("float" in expected["tensor"]) != ("float" in got["tensor"]):
        return where + " type", expected["tensor"], got["tensor"]
    scale = largest(expected["numbers"])
    for i, (a, b) in enumerate(zip(expected["numbers"], got["numbers"])):
        if not close(a, b, scale):
            return f"{where}{index(i, expected['shape'])}", a, b
    return None


def close(a, b, scale):
    if a == b or (a != a and b != b):
        return True
    if isinstance(a, int) and isinstance(b, int):
        return False
    if not (math.isfinite(a) and math.isfinite(b)):
        return False
    return abs(a - b) <= RTOL * abs(a) + ATOL * scale


def largest(numbers):
    return max((abs(a) for a in numbers if is_number(a) and math.isfinite(a)), default=0.0)


def index(i, shape):
    """The place of the i-th number in a tensor of a shape, as one writes it.

    >>> index(5, [2, 3])
    '[1, 2]'
    """
    places = []
    for size in reversed(shape):
        places.insert(0, i % size)
        i //= size
    return f"[{', '.join(map(str, places))}]"


def is_tensor(value):
    return isinstance(value, dict) and "tensor" in value


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def kind(value):
    if is_tensor(value):
        return f"a tensor of shape {tuple(value['shape'])}"
    if isinstance(value, dict) and "other" in value:
        return value["other"]
    return {type(None): "None", dict: "a dict", list: "a list or tuple", str: "text", bool: "bool",
            int: "a number", float: "a number"}[type(value)]


def size(case):
    """How many numbers and characters a packed case holds."""
    if is_tensor(case):
        return len(case["numbers"])
    if isinstance(case, dict):
        return sum(map(size, case.values()))
    if isinstance(case, list):
        return 1 + sum(map(size, case))
    return len(case) if isinstance(case, str) else 1
