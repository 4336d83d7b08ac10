"""The flags of the commands: defaults, types, help and refusals; and imports without effects."""

import dataclasses
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import minisft
from minisft import chat, evaluate, pretrain, show, train
from minisft.chat import ChatConfig
from minisft.config import at_least, option, parse
from minisft.evaluate import EvaluateConfig
from minisft.pretrain import PretrainConfig
from minisft.shipped import ROOT, shipped
from minisft.show import ShowConfig
from minisft.tokenizer import Tokenizer
from minisft.train import TrainConfig

COMMANDS = {  # the settings of each command, and which of them stand without a flag
    train: (TrainConfig, ()),
    pretrain: (PretrainConfig, ()),
    evaluate: (EvaluateConfig, ()),
    chat: (ChatConfig, ()),
    show: (ShowConfig, ("file",)),
}
FIELDS = [(command, field) for command, (config, positional) in COMMANDS.items()
          for field in dataclasses.fields(config) if field.name not in positional]
each_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)


@dataclass(frozen=True)
class Settings:
    """One field of every kind."""

    file: str = option("", "what to read")
    data: tuple = option(("a.jsonl", "b.jsonl"), "files")
    more: tuple = option((), "more files")
    name: str = option("x", "a name")
    note: str = option("", "a note, by default none")
    steps: int = option(3, "steps, 50% of them warm")
    limit: int | None = option(None, "most steps")
    learning_rate: float = option(1e-3, "rate")
    epochs: float | None = option(None, "passes")
    pack: bool = option(False, "pack rows")
    dtype: str = option("float32", "number format", choices=("float32", "bfloat16"))

    def __post_init__(self):
        at_least(self, steps=1, limit=2)
        if self.name == self.note:
            raise ValueError("--name and --note must differ")


def settings(*argv, positional=()):
    return parse(Settings, list(argv), "python -m minisft.trial", "Try it.", positional)


def words(capsys, call, status):
    """All that a command prints before it ends with this exit status, in one line."""
    with pytest.raises(SystemExit) as end:
        call()
    assert end.value.code == status
    printed = capsys.readouterr()
    assert (printed.err == "") == (status == 0)
    return " ".join((printed.out + printed.err).split())


def test_without_flags_every_field_has_its_default():
    assert settings() == Settings()
    for config, positional in COMMANDS.values():
        given = ["file.jsonl"] if positional else []
        values = {name: "file.jsonl" for name in positional}
        assert parse(config, given, "trial", "Try it.", positional) == config(**values)


def test_each_kind_of_field_is_read_as_what_it_is():
    found = settings(
        "--data", "one", "two", "three", "--more", "four", "--name", "y", "--note", "z",
        "--steps", "7", "--limit", "9", "--learning-rate", "2.5e-4", "--epochs", "1.5", "--pack",
        "--dtype", "bfloat16")
    assert found == Settings(
        data=("one", "two", "three"), more=("four",), name="y", note="z", steps=7, limit=9,
        learning_rate=2.5e-4, epochs=1.5, pack=True, dtype="bfloat16")
    assert type(found.limit) is int and type(found.epochs) is float and type(found.data) is tuple


def test_a_positional_field_stands_without_a_flag():
    found = settings("rows.jsonl", "--steps", "2", positional=("file",))
    assert found == Settings(file="rows.jsonl", steps=2)


def test_a_missing_positional_is_asked_for_by_its_name(capsys):
    printed = words(capsys, lambda: settings(positional=("file",)), 2)
    assert "the following arguments are required: file" in printed


def test_a_flag_of_several_files_takes_them_all_and_needs_one(capsys):
    def data(*argv):
        return parse(TrainConfig, list(argv), "train", "").data

    assert data("--data", "a.jsonl", "b.json") == ("a.jsonl", "b.json")
    assert data("--data", "a.jsonl", "--data", "b.json") == ("a.jsonl", "b.json")
    assert parse(EvaluateConfig, ["--data", "a.jsonl"], "evaluate", "").data == ("a.jsonl",)
    printed = words(capsys, lambda: train.main(["--data"]), 2)
    assert "--data: expected at least one argument" in printed


@pytest.mark.parametrize("command, field", FIELDS, ids=lambda value: getattr(value, "name", None))
def test_every_field_has_a_flag_with_its_help_and_default(capsys, monkeypatch, command, field):
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit):
        command.main(["--help"])
    flags = capsys.readouterr().out.split("\n  --")
    name = field.name.replace("_", "-")
    own = next(text for text in flags if re.match(rf"{name}\s", text))
    line = " ".join(own.split())
    assert field.metadata["help"] in line
    if field.default not in ("", (), None) and field.type is not bool:
        shown = " ".join(field.default) if field.type is tuple else str(field.default)
        assert line.endswith(f"(default: {shown})")


@each_command
def test_help_names_the_command_and_ends_with_status_0(capsys, command):
    printed = words(capsys, lambda: command.main(["--help"]), 0)
    assert printed.startswith(f"usage: python -m {command.__name__} ")


def test_a_percent_sign_in_a_help_line_is_printed_as_it_is(capsys):
    assert "steps, 50% of them warm (default: 3)" in words(capsys, lambda: settings("--help"), 0)


@pytest.mark.parametrize("given, near", [
    ("--learning_rate", "--learning-rate"), ("--step", "--steps"), ("--epoch=3", "--epochs"),
    ("--date", "--data"), ("-pack", "--pack"),
])
def test_an_unknown_flag_is_answered_with_the_nearest(capsys, given, near):
    printed = words(capsys, lambda: settings(given, "1"), 2)
    assert f"unknown argument {given}: did you mean {near}?" in printed


@each_command
def test_every_command_answers_a_wrong_flag(capsys, command):
    config, positional = COMMANDS[command]
    given = ["file.jsonl"] if positional else []
    last = "--" + dataclasses.fields(config)[-1].name.replace("_", "-")
    printed = words(capsys, lambda: command.main([*given, last + "s"]), 2)
    assert f"did you mean {last}?" in printed
    printed = words(capsys, lambda: command.main([*given, "--qqqqqq"]), 2)
    assert "--help lists all flags" in printed


def test_a_flag_is_not_guessed_from_its_beginning(capsys):
    assert "did you mean --learning-rate?" in words(capsys, lambda: settings("--learning", "1"), 2)


@pytest.mark.parametrize("argv, message", [
    (["--steps", "many"], "argument --steps: invalid int value: 'many'"),
    (["--steps", "1.5"], "argument --steps: invalid int value: '1.5'"),
    (["--limit", "x"], "argument --limit: invalid int value: 'x'"),
    (["--learning-rate", "fast"], "argument --learning-rate: invalid float value: 'fast'"),
    (["--steps"], "argument --steps: expected one argument"),
    (["--dtype", "float64"], "invalid choice: 'float64' (choose from"),
    (["--pack=yes"], "argument --pack: ignored explicit argument 'yes'"),
    (["--steps", "0"], "--steps must be at least 1, got 0"),
    (["--limit", "1"], "--limit must be at least 2, got 1"),
    (["--name", ""], "--name and --note must differ"),
    (["stray"], "unknown argument stray: --help"),
])
def test_a_wrong_value_ends_with_status_2_and_what_is_expected(capsys, argv, message):
    printed = words(capsys, lambda: settings(*argv), 2)
    assert printed.startswith("usage: python -m minisft.trial ") and message in printed


@pytest.mark.parametrize("command, argv, message", [
    (train, ["--steps", "0"], "--steps must be at least 1, got 0"),
    (train, ["--lr", "nan"], "--lr must be at least 0, got nan"),
    (train, ["--lr", "-1"], "--lr must be at least 0, got -1.0"),
    (train, ["--steps", "3", "--epochs", "1"], "give one of them"),
    (train, ["--dtype", "float16"], "choose from"),
    (train, ["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
    (pretrain, ["--n-layer", "0"], "--n-layer must be at least 1, got 0"),
    (pretrain, ["--block-size", "7"], "--block-size must be at least 8, got 7"),
    (chat, ["--max-new-tokens", "0"], "--max-new-tokens must be at least 1, got 0"),
    (chat, ["--temperature", "-0.5"], "temperature must not be negative, got -0.5"),
    (chat, ["--top-p", "0"], "top_p must be above 0 and at most 1, got 0.0"),
    (chat, ["--top-k", "-1"], "top_k must be 0 (all tokens) or a number of tokens, got -1"),
    (show, ["file.jsonl", "--row", "0"], "--row must be at least 1, got 0"),
])
def test_each_command_refuses_values_out_of_range_before_it_does_anything(
        capsys, command, argv, message):
    assert message in words(capsys, lambda: command.main(argv), 2)


def test_the_least_value_is_allowed_and_nan_is_not():
    at_least(Settings(steps=1, limit=None), steps=1, limit=5)
    with pytest.raises(ValueError, match="--learning-rate must be at least 0, got nan"):
        at_least(Settings(learning_rate=float("nan")), learning_rate=0)


def test_settings_cannot_be_changed_afterwards():
    for config in (Settings, *(config for config, _ in COMMANDS.values())):
        with pytest.raises(dataclasses.FrozenInstanceError):
            config().data = 1


def test_shipped_files_are_named_as_seen_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert shipped("data/train.jsonl") == os.path.join("data", "train.jsonl")
    monkeypatch.chdir(ROOT / "tests")
    assert shipped("data/train.jsonl") == os.path.join("..", "data", "train.jsonl")
    monkeypatch.chdir(tmp_path)
    assert Path(shipped("minisft/config.py")).resolve() == ROOT / "minisft/config.py"


@each_command
def test_a_missing_file_ends_with_a_sentence_not_a_traceback(tmp_path, command):
    missing, out, tokenizer = (
        str(tmp_path / name) for name in ("missing", "run", "tokenizer.json"))
    Tokenizer([bytes([byte]) for byte in range(256)]).save(tokenizer)
    argv = {
        train: ["--base", missing, "--out", out],
        pretrain: ["--data", missing, "--tokenizer", tokenizer, "--out", out],
        evaluate: ["--model", missing],
        chat: ["--model", missing],
        show: [missing, "--tokenizer", tokenizer],
    }
    with pytest.raises(SystemExit) as end:
        command.main(argv[command])
    assert str(end.value.code).startswith(f"{command.__name__}: ") and missing in end.value.code


def modules():
    """The names of all modules of the package."""
    found = pkgutil.walk_packages(minisft.__path__, "minisft.")
    return sorted(module.name for module in found)


def test_importing_any_module_prints_parses_seeds_and_writes_nothing(tmp_path):
    program = """if True:
        import importlib, random, sys
        import torch
        sys.argv = ["program", "--no-such-flag"]
        random.seed(1), torch.manual_seed(1)
        before = random.getstate(), torch.get_rng_state()
        for name in sys.stdin.read().split():
            importlib.import_module(name)
        assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], input="\n".join(modules()), cwd=tmp_path,
        env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert os.listdir(tmp_path) == []


def test_every_command_can_be_called_with_arguments():
    assert {"minisft.train", "minisft.world.__main__"} <= set(modules())
    for command in COMMANDS:
        assert callable(importlib.import_module(command.__name__).main)
