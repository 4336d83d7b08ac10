"""Settings as frozen dataclasses, and command-line flags made from them.

A field becomes a flag: `batch_size: int = option(32, "conversations in a step")` is
`--batch-size N`, with that help and default. A tuple takes several values, a bool takes none. What
a field's type cannot say, `__post_init__` checks.
"""

import argparse
import dataclasses
import difflib
import sys
import types


def option(default, help, choices=None, metavar="FILE"):
    """A field with a help line, which says the unit. metavar: stands for the values of a tuple."""
    metadata = {"help": help, "choices": choices, "metavar": metavar}
    return dataclasses.field(default=default, metadata=metadata)


class _Parser(argparse.ArgumentParser):
    """argparse, but a wrong flag is answered with the nearest correct one."""

    def parse_args(self, args=None, namespace=None):
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            near = difflib.get_close_matches(unknown[0].split("=")[0], flags, n=1)
            hint = f"did you mean {near[0]}?" if near else "--help lists all flags"
            self.error(f"unknown argument {unknown[0]}: {hint}")
        return known


def _flag(field):
    """Keyword arguments of add_argument for a dataclass field."""
    help, choices = field.metadata["help"], field.metadata["choices"]
    if field.type is bool:
        return {"action": "store_true", "help": help}
    several = field.type is tuple
    if several:
        kind, shown, metavar = str, " ".join(field.default), field.metadata["metavar"]
    else:
        is_optional = isinstance(field.type, types.UnionType)  # int | None
        kind = field.type.__args__[0] if is_optional else field.type
        shown, metavar = field.default, {str: "TEXT", int: "N", float: "X"}[kind]
    if shown not in ("", None):
        help += f" (default: {shown})"
    arguments = {"type": kind, "choices": choices, "metavar": None if choices else metavar,
                 "help": help.replace("%", "%%")}
    if several:
        return arguments | {"action": "extend", "nargs": "+", "default": None}
    return arguments | {"default": field.default}


def parse(cls, argv, prog, description, positional=()):
    """A `cls` from command-line arguments; a wrong one ends the program and says what to do.

    prog: the command as one types it. positional: names of the fields that stand without a flag.
    """
    for stream in (sys.stdout, sys.stderr):  # no console ends a command with what it cannot show
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = _Parser(prog=prog, description=description, allow_abbrev=False)
    for field in dataclasses.fields(cls):
        if field.name in positional:
            several = {"nargs": "*"} if field.type is tuple else {}
            parser.add_argument(field.name, help=field.metadata["help"], **several)
        else:
            parser.add_argument("--" + field.name.replace("_", "-"), **_flag(field))
    values = vars(parser.parse_args(argv))
    try:
        return cls(**{name: tuple(value) if isinstance(value, list) else value
                      for name, value in values.items() if value is not None})
    except ValueError as error:
        parser.error(str(error))


def at_least(settings, **least):
    """ValueError if a field is below its least value; None passes."""
    for name, value in least.items():
        given = getattr(settings, name)
        if given is not None and not given >= value:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {value}, got {given}")


def from_assignments(cls, words):
    """A `cls` from words such as "r=4" or "targets=attn.c_attn,mlp.c_fc".

    ValueError for a wrong one lists all settings.

    >>> Example = dataclasses.make_dataclass("Example", [("r", int, 8), ("deep", bool, False)])
    >>> from_assignments(Example, ["deep=yes"])
    Example(r=8, deep=True)
    """
    fields, values = {field.name: field for field in dataclasses.fields(cls)}, {}
    for word in words:
        name, equals, text = word.partition("=")
        if name not in fields or not equals:
            known = ", ".join(f"{name}={_written(field.default)}" for name, field in fields.items())
            meaning = cls.__doc__.splitlines()[0]
            raise ValueError(f"{word!r} is none of the settings: {known} ({meaning})")
        if name in values:
            raise ValueError(f"{name} is set twice, to {_written(values[name])} and to {text}; "
                             "leave one out")
        try:
            values[name] = _read(fields[name].type, text)
        except (KeyError, ValueError):
            example = f"{name}={_written(fields[name].default)}"
            raise ValueError(f"{name} cannot be {text!r}; a setting looks like {example}") from None
    return cls(**values)


def _read(kind, text):
    """The value of a setting that is written like this."""
    if kind is bool:
        return {"yes": True, "no": False}[text]
    return tuple(text.split(",")) if kind is tuple else kind(text)


def _written(value):
    """A setting as one writes it after the equals sign."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, tuple) else str(value)
