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


def option(default, help, choices=None):
    """A field with a help line; the help line says the unit."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


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
    metavar = None if choices else "FILE" if several else {str: "TEXT", int: "N", float: "X"}[kind]
    return {"type": kind, "default": field.default, "choices": choices, "nargs": "+" if several else None,
            "metavar": metavar, "help": (help + default).replace("%", "%%")}


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
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    except ValueError as error:
        parser.error(str(error))


def at_least(settings, **least):
    """ValueError if a field is below its least value; None passes."""
    for name, value in least.items():
        if getattr(settings, name) is not None and not getattr(settings, name) >= value:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {value}, got {getattr(settings, name)}")
