"""Settings as frozen dataclasses, and command-line flags made from them.

A field becomes a flag: `batch_size: int = option(32, "conversations in a step")` is `--batch-size N`, with that help
and default. A tuple takes several values, a bool takes none. What a field's type cannot say, `__post_init__` checks.
"""

import argparse
import dataclasses
import difflib
import os
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def shipped(name):
    """Path of a file that ships with the project, as seen from the current folder."""
    return os.path.relpath(ROOT / name)


def option(default, help, choices=None, metavar="FILE"):
    """A field with a help line; the help line says the unit. metavar: what stands for the values of a tuple."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "metavar": metavar})


class _Parser(argparse.ArgumentParser):
    """argparse, but a wrong flag is answered with the nearest right one."""

    def parse_args(self, args=None, namespace=None):
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            near = difflib.get_close_matches(unknown[0].split("=")[0], flags, n=1)
            hint = f"did you mean {near[0]}?" if near else "see --help for the flags there are"
            self.error(f"unknown argument {unknown[0]}: {hint}")
        return known


def _flag(field):
    """Keyword arguments of add_argument for a dataclass field."""
    help, choices = field.metadata["help"], field.metadata["choices"]
    if field.type is bool:
        return {"action": "store_true", "help": help}
    kind, several = field.type, False
    if isinstance(kind, types.UnionType):  # int | None
        kind = kind.__args__[0]
    elif kind is tuple:
        kind, several = str, True
    shown = " ".join(field.default) if several else field.default
    default = f" (default: {shown})" if shown not in ("", None) else ""
    metavar = None if choices else field.metadata["metavar"] if several else {str: "TEXT", int: "N", float: "X"}[kind]
    taken = {"action": "extend", "nargs": "+", "default": None} if several else {"default": field.default}
    return {"type": kind, "choices": choices, "metavar": metavar, "help": (help + default).replace("%", "%%"), **taken}


def parse(cls, argv, prog, description, positional=()):
    """A `cls` from command-line arguments; a wrong one ends the program with what to do instead.

    positional: names of the fields that stand without a flag.
    """
    parser = _Parser(prog=f"python -m minisft.{prog}", description=description, allow_abbrev=False)
    for field in dataclasses.fields(cls):
        if field.name in positional:
            parser.add_argument(field.name, help=field.metadata["help"])
        else:
            parser.add_argument("--" + field.name.replace("_", "-"), **_flag(field))
    values = vars(parser.parse_args(argv))
    try:
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
                      if value is not None})
    except ValueError as error:
        parser.error(str(error))


def at_least(settings, **least):
    """ValueError if a field is below its least value; None passes."""
    for name, value in least.items():
        if getattr(settings, name) is not None and not getattr(settings, name) >= value:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {value}, got {getattr(settings, name)}")


def from_assignments(cls, words):
    """A `cls` from words such as "r=4" or "targets=attn.c_attn,mlp.c_fc"; ValueError says which settings there are.

    >>> from_assignments(dataclasses.make_dataclass("Example", [("r", int, 8), ("deep", bool, False)]), ["deep=yes"])
    Example(r=8, deep=True)
    """
    fields, values = {field.name: field for field in dataclasses.fields(cls)}, {}
    readers = {bool: {"yes": True, "no": False}.__getitem__, tuple: lambda text: tuple(text.split(","))}
    known = ", ".join(f"{name}={_plain(field.default)}" for name, field in fields.items())
    for word in words:
        name, equals, text = word.partition("=")
        if name not in fields or not equals:
            meaning = cls.__doc__.splitlines()[0]
            raise ValueError(f"{word!r} is none of the settings there are: {known} ({meaning})")
        if name in values:
            raise ValueError(f"{name} is set twice, to {_plain(values[name])} and to {text}; leave one out")
        try:
            values[name] = readers.get(fields[name].type, fields[name].type)(text)
        except (KeyError, ValueError):
            raise ValueError(f"{name} cannot be {text!r}; a setting looks like {name}={_plain(fields[name].default)}"
                             ) from None
    return cls(**values)


def _plain(value):
    """A setting as it is written after the equals sign."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else (
        ",".join(value) if isinstance(value, tuple) else str(value))
