"""What the project says of itself is true: examples run, and the README's map leads somewhere."""

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


def test_the_readmes_examples_of_building_data_work_as_they_are_written(tmp_path, monkeypatch):
    from minisft import build
    from minisft.config import parse
    from minisft.records import read_records
    from minisft.train import TrainConfig

    monkeypatch.chdir(tmp_path)
    section = README[README.index("## Build instruction data"):].split("\n## ")[0]
    files = re.findall(r"```(?:csv|json)\n(.*?)```", section, re.DOTALL)
    for name, text in zip(("opposites.csv", "template.json", "chats.jsonl"), files, strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    commands = [line.split() for line in re.findall("^python -m minisft.(.*)$", section, re.M)]
    assert [command[:2] for command in commands] == [
        ["build", "tasks"], ["build", "dialogue"], ["train", "--data"],
        ["build", "self-instruct"], ["build", "evol-instruct"]]
    for name, *argv in commands:
        if name == "train":
            config = parse(TrainConfig, argv, "", "")
            assert len(read_records(config.data)[0]) == len(read_records(config.eval)[0]) + 2 == 3
        elif argv[0] in ("tasks", "dialogue"):
            build.main(argv)
        else:  # a server is asked, so the flags alone are tried
            builder = build.BUILDERS[argv[0]]
            assert parse(builder.settings, argv[1:], "", "", builder.positional).teacher_url
    beside = {f"OUT.{name}" for builder in build.BUILDERS.values() for name in builder.beside
              if name.endswith(".jsonl")}
    assert beside <= set(re.findall(r"`(OUT[\w.]+)`", section))


def test_only_the_five_packages_are_imported():
    packages = {"torch", "numpy", "tiktoken", "tqdm", "matplotlib"}
    allowed = set(sys.stdlib_module_names) | packages | {"minisft", "lessons"}
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


def imports_of(path):
    """Names of the modules that a file imports, those inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_the_core_does_not_know_the_town():
    knows = [path for path in (ROOT / "minisft").rglob("*.py")
             if any(name.startswith("minisft.world") for name in imports_of(path))]
    rooms = {path.relative_to(ROOT / "minisft").parts[0] for path in knows}
    assert rooms == {"world", "pretrain.py"}


def test_the_splits_that_ship_are_those_of_the_world():
    from minisft.shipped import TEST_SPLITS
    from minisft.world import corpus

    assert TEST_SPLITS == tuple(corpus.SPLITS)[1:]


def test_a_row_goes_one_way_through_the_core_and_never_back():
    way = ["tokenizer", "conversation", "records", "batching", "loss", "loop", "run"]
    for i, name in enumerate(way):
        later = {f"minisft.{each}" for each in way[i:]}
        assert not imports_of(ROOT / "minisft" / f"{name}.py") & later, name


def test_modules_import_each_other_without_circles():
    arrows = {}
    for name in MODULES:
        source = (ROOT / (name.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        found = set(re.findall(r"^\s*from (minisft[\w.]*) import", source, re.M))
        found |= {f"minisft.{name}"
                  for name in re.findall(r"^\s*from minisft import (\w+)", source, re.M)}
        arrows[name] = {target for target in found if target in MODULES}
    while arrows:
        leaves = [name for name, targets in arrows.items() if not targets & arrows.keys()]
        assert leaves, f"a circle among {sorted(arrows)}"
        for name in leaves:
            del arrows[name]
