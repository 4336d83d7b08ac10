"""What the project says of itself is true: worked examples run, the README's map leads somewhere."""

import ast
import doctest
import importlib
import re
import sys

import pytest

from minisft.shipped import ROOT

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "minisft").rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MODULES)
def test_worked_examples_in_docstrings_give_what_they_say(name):
    module = importlib.import_module(name)
    globs = {**vars(module), "torch": sys.modules["torch"]}
    assert doctest.testmod(module, extraglobs=globs).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_in_the_readme_and_says_what_it_is(name):
    assert importlib.import_module(name).__doc__
    assert name.removeprefix("minisft.").replace(".", "/") + ".py" in README


def test_every_file_that_the_readme_names_is_there():
    named = re.findall(r"`((?:minisft|lessons|tests|data|checkpoints)/[\w./-]+\.\w+)`", README)
    named += re.findall(r"\]\(([\w./-]+)\)", README)
    assert len(named) > 20
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


def test_only_the_five_packages_are_imported():
    allowed = set(sys.stdlib_module_names) | {"torch", "numpy", "tiktoken", "tqdm", "matplotlib", "minisft"}
    for path in [*(ROOT / "minisft").rglob("*.py"), *(ROOT / "lessons").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            else:
                continue
            found = {name.split(".")[0] for name in names}
            if path.name == "gpt2.py":  # read where it is installed, and asked for where it is not
                found.discard("safetensors")
            assert found <= allowed, path


def test_modules_import_each_other_without_circles():
    arrows = {}
    for name in MODULES:
        source = (ROOT / (name.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        found = set(re.findall(r"^\s*from (minisft[\w.]*) import", source, re.MULTILINE))
        found |= {f"minisft.{names}" for names in re.findall(r"^\s*from minisft import (\w+)", source, re.MULTILINE)}
        arrows[name] = {target for target in found if target in MODULES}
    while arrows:
        leaves = [name for name, targets in arrows.items() if not targets & arrows.keys()]
        assert leaves, f"a circle among {sorted(arrows)}"
        for name in leaves:
            del arrows[name]
