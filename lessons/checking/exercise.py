"""An exercise: functions of the reference that a learner writes again, and how they are tried.

    lessons/exercises/defs/lora.py       the definition: targets, cases, oracle, known mistakes
    lessons/exercises/13_lora.py         the stub that a learner starts from, made from the two
    lessons/mine/13_lora.py              the learner's own copy

A definition names its targets ("minisft.peft.lora:LoRALinear.forward"), and the stub is cut out of
the reference's source: imports, signatures, docstrings and whole-line comments stay, bodies go. So
there is one source, and the reference needs no marks. With its bodies the same text is the
solution. A known mistake is a patch of the solution's text.
"""

import ast
import importlib
import importlib.util
import re
import sys
import textwrap
import threading
import types
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
STUBS, MINE = ROOT / "lessons" / "exercises", ROOT / "lessons" / "mine"
ONE_AT_A_TIME = threading.RLock()
ORDER = ("borders", "mask", "attention", "loss", "clip", "adamw", "schedule", "accumulate",
         "packing", "cache", "sampling", "still", "lora", "adapter", "prefix", "prompt", "rouge")


class Mistake:
    """name: its id; hint: the likely cause, one sentence; patches: (old, new) texts, old once.

    of: the variant that is patched, by its name; by default the solution.
    """

    def __init__(self, name, hint, *patches, of=""):
        self.name, self.hint, self.patches, self.of = name, hint, patches, of


@dataclass(frozen=True)
class Variant:
    """Another correct way. cost: what it costs; bodies: {target: body}, the others as in ours."""

    name: str
    cost: str
    bodies: dict


@dataclass(frozen=True)
class Exercise:
    """What is to be written, and how it is tried.

    doc: the definition's docstring, the text of the task; its title ends at the first colon.
    targets: "module:function" or "module:Class.method", what the learner writes.
    cases(rng): a list of dicts of inputs. oracle(**case): {name of a value: what it must be},
    computed in another way than the reference does. run(code, **case): the same, by the code of a
    module, the learner's among others; in the meantime its targets stand in the reference's place.
    call: what a learner can type to see the same; the names of the inputs are those of a case.
    imports: offered in the stub beside those that the solution needs. after: names of exercises
    that are better done before.
    """

    name: str
    doc: str
    targets: tuple
    minutes: int
    read: str
    call: str
    cases: Callable
    run: Callable
    oracle: Callable
    question: str
    pseudocode: str
    mistakes: tuple
    variants: tuple
    imports: tuple = ()
    after: tuple = ()

    @property
    def number(self):
        return ORDER.index(self.name) + 1

    @property
    def title(self):
        return self.doc.strip().splitlines()[0].split(":")[0].rstrip(".")

    @property
    def file(self):
        return f"{self.number:02}_{self.name}.py"

    @property
    def where_to_read(self):
        """What helps to begin with and, last, the file that gives the answer away."""
        modules = dict.fromkeys(split_target(target)[0] for target in self.targets)
        ours = " and ".join(f"{module.replace('.', '/')}.py" for module in modules)
        return f"{self.read or 'the text above the code'}; afterwards: {ours}"

    def text_in(self, folder):
        """What a learner has written; ValueError if it is not there, or not in UTF-8."""
        path = Path(folder) / self.file
        try:
            return path.read_text(encoding="utf-8-sig")  # some editors put a mark in front
        except FileNotFoundError:
            raise ValueError(f"{path} is not there; start it with: python lessons/check.py "
                             f"{self.number}") from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise ValueError(f"{path}, line {line}: this is not UTF-8; save the file in "
                             "UTF-8") from None

    @cached_property
    def solution(self):
        return written(self, {})

    @property
    def stub(self):
        return written(self, dict.fromkeys(self.targets))

    def variant(self, name):
        """The text of a correct variant."""
        bodies = next(variant.bodies for variant in self.variants if variant.name == name)
        return written(self, bodies)

    def mistaken(self, mistake):
        """The text with a known mistake in it; ValueError if a patch does not fit any more."""
        text = self.variant(mistake.of) if mistake.of else self.solution
        for old, new in mistake.patches:
            if text.count(old) != 1:
                raise ValueError(f"{self.name}, {mistake.name}: the patched text {old!r} stands "
                                 f"{text.count(old)} times in the source, expected once")
            text = text.replace(old, new)
        return text


def exercise(name):
    """The exercise of a name or number, "lora" or "13"; ValueError lists them."""
    given = str(name)
    if given.isdecimal() and 1 <= int(given) <= len(ORDER):
        given = ORDER[int(given) - 1]
    if given not in ORDER:
        known = ", ".join(f"{number} {each}" for number, each in enumerate(ORDER, 1))
        raise ValueError(f"there is no exercise {name!r}; there are {known}")
    return importlib.import_module(f"lessons.exercises.defs.{given}").EXERCISE


def split_target(target):
    """("minisft.peft.lora", ["LoRALinear", "forward"]) of a target."""
    module, path = target.split(":")
    return module, path.split(".")


# Cutting stubs out of the reference


def written(exercise, bodies):
    """A file in which each target of `bodies` has that body, and the others the reference's.

    A body of None is blank: the comments that stand on lines of their own, and NotImplementedError.
    The imports are those that the solution needs too, so a stub has what one can use.
    """
    tops = {}  # (module, top-level name) -> the targets in it
    for target in exercise.targets:
        module, path = split_target(target)
        tops.setdefault((module, path[0]), []).append(target)

    blocks, solution, resolve = [], [], {}
    for (module, top), targets in tops.items():
        source, tree = source_of(module)
        resolve = importable(module, tree) | resolve
        chosen = {target: bodies[target] for target in targets if target in bodies}
        blocks.append(cut(source, tree, top, chosen))
        solution.append(cut(source, tree, top, {}))

    own = {top for _, top in tops}
    head = imports_for("\n".join(blocks + solution), resolve, own, exercise.imports)
    doc = exercise.doc.strip() + f"\n\nCheck it: python lessons/check.py {exercise.number}\n"
    return "\n\n\n".join([f'"""{doc}"""\n\n{head}', *blocks]) + "\n"


@cache
def source_of(module):
    """(text, tree) of a module's file, wherever it lies."""
    text = Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")
    return text, ast.parse(text)


def cut(source, tree, top, bodies):
    """The source of one top-level function or class, with other bodies for some of its functions"""
    lines = source.splitlines()
    node = find(tree, [top])
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    functions = [(find(tree, split_target(target)[1]), body) for target, body in bodies.items()]
    end = node.end_lineno
    for function, body in sorted(functions, key=lambda pair: -pair[0].lineno):
        start = body_start(function)
        indent = " " * (function.col_offset + 4)
        old = lines[start - 1:function.end_lineno]
        if body is None:
            new = [indent + line.strip() for line in old if line.strip().startswith("#")]
            new.append(f"{indent}raise NotImplementedError")
        else:
            new = textwrap.indent(textwrap.dedent(body).strip("\n"), indent).splitlines()
        lines[start - 1:function.end_lineno] = new
        end += len(new) - len(old)
    return "\n".join(lines[first - 1:end])


def find(tree, path):
    """The node of a function or class, by its names from the outermost on."""
    for name in path:
        tree = next(node for node in tree.body if getattr(node, "name", None) == name)
    return tree


def body_start(function):
    """The line on which a function's body starts, after its docstring."""
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        return first.end_lineno + 1
    return first.lineno


def importable(module, tree):
    """{name: the import that brings it} of all that stands at the top of a module."""
    found = {}
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= imports_in(node)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = (module, node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id: (module, target.id) for target in node.targets}
    return found


def imports_in(node):
    """{name: (module, what is taken from it)}; the latter is None for `import x as name`."""
    if isinstance(node, ast.Import):
        return {alias.asname or alias.name: (alias.name, None) for alias in node.names}
    return {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}


def imports_for(text, resolve, own, also):
    """The import lines that a text needs, in the order that linters like.

    resolve: see `importable`; own: names that the text defines; also: more import statements.
    """
    names = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
    stored = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    needed = {node.id for node in names} - stored - own
    wanted = {name: resolve[name] for name in needed & resolve.keys()}
    for statement in also:
        wanted |= imports_in(ast.parse(statement).body[0])

    groups, taken = {0: [], 1: [], 2: []}, {}
    for name, (module, what) in sorted(wanted.items(), key=lambda pair: pair[1][0]):
        if what is None:
            line = f"import {module}" + (f" as {name}" if name != module else "")
            groups[rank(module)].append(line)
        else:
            taken.setdefault(module, []).append(what)
    for module, whats in sorted(taken.items()):
        whats.sort(key=lambda what: (not what.isupper(), what[0].islower(), what))
        groups[rank(module)].append(f"from {module} import {', '.join(whats)}")
    return "\n\n".join("\n".join(group) for group in groups.values() if group)


def rank(module):
    """0 for the standard library, 1 for packages, 2 for the project."""
    first = module.split(".")[0]
    return 0 if first in sys.stdlib_module_names else 2 if first == "minisft" else 1


# Code at work


def load(text, path):
    """A module of this text; path: named in tracebacks. Raises whatever the text raises."""
    module = types.ModuleType(re.sub(r"\W", "_", Path(path).stem))
    module.__file__ = str(path)
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module


@contextmanager
def installed(code, exercise):
    """Within this block the reference uses the targets of `code` in place of its own.

    Every name in minisft that stands for the original is changed, and what inherits from it does
    so from the new one. ValueError if the code lacks a target.
    """
    undo = []
    try:
        for module, top in dict.fromkeys((module, path[0]) for module, path in
                                         map(split_target, exercise.targets)):
            if not hasattr(code, top):
                raise ValueError(f"{Path(code.__file__).name} has no {top}; --reset starts the "
                                 "file again")
            original, new = getattr(importlib.import_module(module), top), getattr(code, top)
            undo += replace_everywhere(original, new)
        yield
    finally:
        for call, *arguments in reversed(undo):
            call(*arguments)


def replace_everywhere(original, new):
    """Put one object in another's place in all of minisft; returns the calls that undo it."""
    undo = []
    for name, module in list(sys.modules.items()):
        if name.startswith("minisft.") or name == "__main__":  # python -m minisft.train
            for key, value in list(vars(module).items()):
                if value is original:
                    setattr(module, key, new)
                    undo.append((setattr, module, key, original))
    for heir in original.__subclasses__() if isinstance(original, type) else ():
        undo.append((setattr, heir, "__bases__", heir.__bases__))
        heir.__bases__ = tuple(new if base is original else base for base in heir.__bases__)
    return undo


@contextmanager
def use_mine(names, folder=None):
    """Within this block minisft uses the learner's own code for these exercises.

    names: "lora,adamw"; folder: lessons/mine, or another one. ValueError for a file that is not
    there or cannot be loaded.
    """
    with ExitStack() as stack:
        for name in filter(None, names.split(",")):
            chosen = exercise(name.strip())
            path = Path(folder or MINE) / chosen.file
            text = chosen.text_in(path.parent)
            try:
                code = load(text, path)
            except (Exception, SystemExit) as error:
                raise ValueError(f"{path} cannot be loaded ({type(error).__name__}: {error}); mend "
                                 f"it with: python lessons/check.py {chosen.number}") from error
            stack.enter_context(installed(code, chosen))
        yield


@contextmanager
def steady():
    """One thread and float64, whoever computes; torch's own random numbers are left as they were.

    All of these belong to the process, so other threads wait until the block has ended.

    torch.manual_seed is not called here and elsewhere in the check: its first call loads torch's
    compiler, which takes seconds.
    """
    with ONE_AT_A_TIME:
        threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
        random_state = torch.default_generator.get_state()
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)
            torch.default_generator.set_state(random_state)
