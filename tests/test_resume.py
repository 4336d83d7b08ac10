"""Runs that are stopped, killed or spoilt: what they save, and that they continue correctly."""

import itertools
import json
import math
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from kill_and_resume import (
    CONTEXT,
    STEPS,
    VARIANTS,
    WAYS,
    Reference,
    die_in_evaluation,
    finish,
    kill_once,
    logged,
    make_base,
    make_files,
    outcome,
    points,
    reference,
    start,
    wait_for,
)

from minisft import loop, pretrain, train
from minisft.batching import prepare
from minisft.checkpoint import load_model, read_state, save_state
from minisft.lock import LOCK_FILE, locked
from minisft.model import GPT, GPTConfig
from minisft.optim import AdamW
from minisft.records import read_records
from minisft.run import (
    MODEL_FILES,
    Training,
    check_unused,
    hold_interrupts,
    new_folder,
    newest_folder,
    read_log,
    train_in,
)
from minisft.shipped import ROOT
from minisft.still import unseen

OTHER_DATA = "base, tokenizer or data differ from those that the run in"


class Killed(BaseException):
    """Raised where a process would be killed, in tests that run in one process."""


def killed_here(*arguments):
    raise Killed


@dataclass(frozen=True)
class Prepared:
    """Files to train on, the flags that name them, and the training that was never killed."""

    folder: Path
    flags: list
    never_killed: Reference


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    flags = make_files(folder)
    return Prepared(folder, flags, reference(folder / "reference", flags))


@pytest.fixture
def run(prepared, tmp_path):
    """A function that trains in tmp_path/run: flags, a fault -> (exit status, printed text)."""
    def run(*more, fault=None):
        argv = [*prepared.flags, "--out", str(tmp_path / "run"), *more]
        printed = tmp_path / "printed.txt"
        return finish(argv, printed, fault), printed.read_text(encoding="utf-8")

    return run


def at_loss(number, act):
    """A fault: act(loss) replaces the loss of the `number`-th micro-batch."""
    sft_loss, calls = loop.sft_loss, itertools.count(1)

    def faulty(model, batch):
        loss, targets = sft_loss(model, batch)
        if next(calls) == number:
            loss = act(loss)
        return loss, targets

    loop.sft_loss = faulty


def poison(loss):
    return loss * math.nan


def press_once(loss):
    os.kill(os.getpid(), signal.SIGINT)
    return loss


def press_twice(loss):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    return loss


def test_trainings_killed_at_any_moment_and_resumed_end_with_the_same_bits(tmp_path):
    different = [(variant, kills)
                 for _, variant, kills, same in points(tmp_path, len(WAYS), seed=1) if not same]
    assert not different


def test_another_seed_gives_other_bits_so_that_equal_bits_mean_something(prepared, tmp_path):
    argv = [*prepared.flags, "--out", str(tmp_path / "other"), "--seed", "1"]
    finish(argv, tmp_path / "printed.txt")
    model = outcome(tmp_path / "other")["model.pt"]
    assert model != prepared.never_killed.outcome["model.pt"]
    assert set(VARIANTS) == {"padded", "packed", "accumulated", "lora", "bfloat16"}


def test_ctrl_c_saves_and_the_printed_command_continues_to_the_same_bits(prepared, tmp_path, run):
    folder = tmp_path / "run"
    status, printed = run(fault=partial(at_loss, 8, press_once))
    assert status == 0 and not (folder / "model.pt").exists()
    assert read_state(folder / "state.pt")["step"] == logged(folder) == 8  # no multiple of 3

    command = re.search("continue with: (.*)", printed)[1]
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "minisft.train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *words[1:]], cwd=ROOT, env=environment, check=True,
                   capture_output=True)
    assert outcome(folder) == prepared.never_killed.outcome


def test_a_second_ctrl_c_stops_at_once_and_the_run_continues_from_its_last_save(
        prepared, tmp_path, run):
    status, printed = run(fault=partial(at_loss, 8, press_twice))
    assert status == 1 and "stopped; a run that had begun continues with --resume" in printed
    assert "Traceback" not in printed
    assert read_state(tmp_path / "run/state.pt")["step"] == 6
    assert run("--resume")[0] == 0
    assert outcome(tmp_path / "run") == prepared.never_killed.outcome


def test_ctrl_c_stops_a_program_again_once_training_is_over():
    before = signal.getsignal(signal.SIGINT)
    with hold_interrupts() as pressed:
        os.kill(os.getpid(), signal.SIGINT)
        assert pressed == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_nan_loss_stops_the_run_and_the_last_saved_state_is_kept(prepared, tmp_path, run):
    status, printed = run(fault=partial(at_loss, 11, poison))
    assert status == 1 and "step 11: the loss is nan" in printed and "Traceback" not in printed
    assert not (tmp_path / "run/model.pt").exists()
    state = read_state(tmp_path / "run/state.pt")
    assert state["step"] == 9
    assert all(weight.isfinite().all() for weight in state["weights"].values())
    assert run("--resume")[0] == 0  # without the fault
    assert outcome(tmp_path / "run") == prepared.never_killed.outcome


def test_a_far_too_high_learning_rate_stops_with_advice_and_keeps_good_weights(
        prepared, tmp_path, run):
    status, printed = run("--lr", "1e30")
    assert status == 1 and "the loss is nan" in printed and "with a smaller --lr" in printed
    state = read_state(tmp_path / "run/state.pt")
    base, _ = load_model(prepared.folder / "base.pt")
    assert state["step"] == 0
    assert all(torch.equal(state["weights"][name], weight)
               for name, weight in base.state_dict().items())


@pytest.fixture
def killed(prepared, run, tmp_path):
    """Folder of a run that was killed after some steps."""
    folder = tmp_path / "run"
    when = kill_once("log", [*prepared.flags, "--out", str(folder)], folder,
                     tmp_path / "killed.txt", prepared.never_killed, random.Random(4))
    assert when and (folder / "state.pt").exists()
    return folder


def test_a_run_whose_data_have_changed_is_not_resumed(killed, prepared, run):
    data = prepared.folder / "data.jsonl"
    content = data.read_text(encoding="utf-8")
    try:
        data.write_text(content.replace("3 is reached", "3 was reached"), encoding="utf-8")
        status, printed = run("--resume")
    finally:
        data.write_text(content, encoding="utf-8")
    assert status == 1 and OTHER_DATA in printed and "Traceback" not in printed


def test_a_run_whose_base_has_other_sizes_now_is_not_resumed(killed, prepared, run):
    base = prepared.folder / "base.pt"
    content = base.read_bytes()
    try:
        make_base(prepared.folder, n_embd=32)
        status, printed = run("--resume")
    finally:
        base.write_bytes(content)
    assert status == 1 and OTHER_DATA in printed and "Traceback" not in printed


@pytest.mark.parametrize("flags", [
    ["--lr", "0.02"], ["--accumulate", "2"], ["--pack"], ["--seed", "3"], ["--batch-size", "5"],
    ["--save-every", "4"]])
def test_a_resumed_run_refuses_another_value_of_a_flag_by_the_flags_name(killed, run, flags):
    status, printed = run("--resume", *flags)
    message = printed.splitlines()[-1]
    assert status == 1
    assert message.startswith(f"minisft.train: {flags[0]} ") and "differs from" in message


def test_a_resumed_run_needs_no_flag_but_its_folder(killed, prepared, tmp_path):
    argv = ["--resume", "--out", str(killed), "--device", "cpu"]
    assert finish(argv, tmp_path / "printed.txt") == 0
    assert outcome(killed) == prepared.never_killed.outcome


def test_rows_that_keep_still_do_so_in_a_run_that_is_killed_and_resumed(killed, prepared, run):
    assert run("--resume")[0] == 0
    assert outcome(killed) == prepared.never_killed.outcome
    base, tokenizer = load_model(prepared.folder / "base.pt")
    examples, _ = prepare(read_records([prepared.folder / "data.jsonl"])[0], tokenizer, 64)
    still = list(unseen(tokenizer.vocab_size, examples))
    same = (load_model(killed)[0].wte.weight == base.wte.weight).all(dim=1)
    assert len(still) > 200 and same[still].all() and same.sum() == len(still)


def test_a_run_of_another_command_is_not_resumed(killed):
    with pytest.raises(ValueError, match="another command"):
        pretrain.pretrain(pretrain.PretrainConfig(out=str(killed), resume=True))


@pytest.mark.parametrize("name, flags, message", [
    ("state.pt", [], "already holds a run; continue it with --resume"),
    ("model.pt", [], "holds the model.pt of a run, but no state.pt"),
    ("delta.pt", [], "holds the delta.pt of a run, but no state.pt"),
    ("log.jsonl", [], "holds the log.jsonl of a run, but no state.pt"),
    ("log.jsonl", ["--resume"], "holds the log.jsonl of a run, but no state.pt"),
])
def test_no_new_run_starts_in_a_folder_that_holds_one(tmp_path, run, name, flags, message):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_bytes(b"precious")
    status, printed = run(*flags)
    assert status == 1 and message in printed
    assert content_of(tmp_path / "run") == {name: b"precious"}


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# One command line, given again and again


def test_resume_begins_a_run_where_none_has_begun(prepared, tmp_path, run):
    status, printed = run("--resume")
    assert status == 0
    assert f"nothing of a run is saved in {tmp_path / 'run'}, so it begins now" in printed
    assert outcome(tmp_path / "run") == prepared.never_killed.outcome


def test_a_run_that_begins_with_resume_checks_its_settings_as_any_other(tmp_path, run):
    status, printed = run("--resume", "--settings", "r=4")
    assert status == 1 and "--settings are those of a method" in printed
    assert not (tmp_path / "run").exists()


def test_a_run_killed_in_its_first_evaluation_begins_again(prepared, tmp_path, run):
    folder = tmp_path / "run"
    assert run(fault=partial(die_in_evaluation, folder, "before", 20))[0] == -signal.SIGKILL
    assert not (folder / "state.pt").exists()
    assert run("--resume")[0] == 0
    assert outcome(folder) == prepared.never_killed.outcome


def numbered_in(parent, fault=lambda: None):
    """A fault: runs without --out are parent/run-1, run-2, ...; and another fault."""
    train.RUNS = parent
    fault()


def test_resume_without_out_begins_again_in_the_run_killed_in_its_first_evaluation(
        prepared, tmp_path):
    folder, printed = tmp_path / "run-1", tmp_path / "printed.txt"
    kill = partial(numbered_in, tmp_path, partial(die_in_evaluation, folder, "before", 20))
    assert finish(prepared.flags, printed, kill) == -signal.SIGKILL
    assert finish([*prepared.flags, "--resume"], printed, partial(numbered_in, tmp_path)) == 0
    assert outcome(folder)["model.pt"] == prepared.never_killed.outcome["model.pt"]
    assert not (tmp_path / "run-2").exists()


def test_a_run_killed_in_its_last_evaluation_is_evaluated_and_nothing_else(
        prepared, tmp_path, run):
    folder = tmp_path / "run"
    assert run(fault=partial(die_in_evaluation, folder, "after", 20))[0] == -signal.SIGKILL
    assert (folder / "model.pt").exists() and not (folder / "report.md").exists()
    log = (folder / "log.jsonl").read_bytes()
    assert run("--resume")[0] == 0
    assert outcome(folder) == prepared.never_killed.outcome
    assert (folder / "log.jsonl").read_bytes() == log


@pytest.mark.parametrize("missing", ["report.md", "results.json", "model.pt"])
def test_a_run_that_lacks_one_of_its_last_files_writes_it(prepared, tmp_path, run, missing):
    shutil.copytree(prepared.folder / "reference", tmp_path / "run")
    (tmp_path / "run" / missing).unlink()
    assert run("--resume")[0] == 0
    assert outcome(tmp_path / "run") == prepared.never_killed.outcome


def test_a_run_that_is_done_is_left_as_it_is_and_says_so_in_one_line(prepared, tmp_path, run):
    folder = tmp_path / "run"
    shutil.copytree(prepared.folder / "reference", folder)
    before = content_of(folder)
    status, printed = run("--resume")
    assert (status, printed) == (0, f"the run in {folder} is done already; nothing was changed\n")
    assert content_of(folder) == before
    status, printed = run("--resume", "--lr", "0.02")
    assert status == 1 and "--lr 0.02 differs from the 0.01" in printed


def pretrain_flags(tmp_path):
    """Flags of a pre-training of three steps on text of one's own, in tmp_path/base."""
    rows = [json.dumps({"text": f"The number after {n} is {n + 1}. "}) + "\n" for n in range(20)]
    (tmp_path / "text.jsonl").write_text("".join(rows), encoding="utf-8")
    return ["--data", str(tmp_path / "text.jsonl"), "--steps", "3", "--batch-size", "4",
            "--n-layer", "1", "--n-head", "1", "--n-embd", "16", "--block-size", "32",
            "--out", str(tmp_path / "base"), "--device", "cpu", "--resume"]


@pytest.mark.parametrize("step", ["before the first step", "after the last"])
def test_a_pre_training_that_is_killed_is_finished_by_the_same_command(
        tmp_path, monkeypatch, capsys, step):
    flags, folder = pretrain_flags(tmp_path), tmp_path / "base"
    pretrain.main(flags)
    model = (folder / "model.pt").read_bytes()
    shutil.rmtree(folder)

    killed_in = "fingerprint" if step == "before the first step" else "base_figures"
    monkeypatch.setattr(pretrain, killed_in, killed_here)
    with pytest.raises(Killed):
        pretrain.main(flags)
    monkeypatch.undo()
    assert (folder / "model.pt").exists() == (step == "after the last")
    pretrain.main(flags)
    assert (folder / "model.pt").read_bytes() == model
    assert json.loads((folder / "figures.json").read_text(encoding="utf-8"))["steps"] == 3

    before, _ = content_of(folder), capsys.readouterr()
    pretrain.main(flags)
    assert capsys.readouterr().out == f"the run in {folder} is done already; nothing was changed\n"
    assert content_of(folder) == before


# Two processes


def pause_once(loss):
    os.kill(os.getpid(), signal.SIGSTOP)
    return loss


@pytest.mark.parametrize("flags", [[], ["--resume"]])
def test_a_second_process_is_kept_out_of_a_run_that_is_not_over(
        prepared, tmp_path, run, flags):
    folder, printed = tmp_path / "run", tmp_path / "first.txt"
    argv = [*prepared.flags, "--out", str(folder)]
    first = start(argv, printed, partial(at_loss, 8, pause_once))
    wait_for(first, lambda: logged(folder) == 7)
    try:
        before = content_of(folder)
        status, message = run(*flags)
        assert status == 1 and message == (
            f"minisft.train: {folder} is in use by a run that is not over; wait for its end, stop "
            "it, or name another folder with --out\n")
        assert content_of(folder) == before
    finally:
        while first.is_alive():
            os.kill(first.pid, signal.SIGCONT)
            first.join(0.1)
    assert first.exitcode == 0 and outcome(folder) == prepared.never_killed.outcome


def test_a_lock_leaves_nothing_and_removes_only_an_empty_folder(tmp_path):
    with locked(tmp_path / "a/b"), pytest.raises(ValueError, match="in use by a run"):
        with locked(tmp_path / "a/b"):
            pass
    assert not (tmp_path / "a/b").exists()
    with locked(tmp_path / "a"):
        (tmp_path / "a/file").touch()
    assert os.listdir(tmp_path / "a") == ["file"]
    with locked(tmp_path / "a"):  # again, after the first is over
        pass


def take_turns(folder, alone, turns):
    """Take a lock so many times; the exit status is 1 if another process was inside too."""
    while turns:
        try:
            with locked(folder):
                os.close(os.open(alone, os.O_CREAT | os.O_EXCL))
                os.unlink(alone)
                turns -= 1
        except ValueError:
            pass


def test_processes_that_come_and_go_are_never_in_a_folder_together(tmp_path):
    arguments = (tmp_path / "run", tmp_path / "alone", 1000)
    processes = [CONTEXT.Process(target=take_turns, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_a_run_that_is_continued_removes_what_a_killed_writer_left(killed, run):
    left = killed / f".state.pt.{'a' * 32}.writing"
    left.write_bytes(b"half")
    assert (killed / ".lock").exists()  # of the killed process; it locks nothing
    assert run("--resume")[0] == 0
    assert not left.exists() and not (killed / ".lock").exists()


def test_the_log_has_each_step_once_although_its_last_line_was_incomplete(killed, prepared, run):
    step = read_state(killed / "state.pt")["step"]
    with open(killed / "log.jsonl", "a", encoding="utf-8") as log:
        log.write(json.dumps({"step": 99, "loss": 1.0}) + '\n{"step": 100, "lo')
    assert logged(killed) > step
    assert run("--resume")[0] == 0
    assert [row["step"] for row in read_log(killed)] == list(range(1, STEPS + 1))
    assert outcome(killed) == prepared.never_killed.outcome


def very_small_model():
    return GPT(GPTConfig(vocab_size=8, block_size=4, n_layer=1, n_head=1, n_embd=4))


def run_without_data(folder):
    """Start a training of two steps whose data end before the first."""
    model = very_small_model()
    training = Training(model, AdamW(model.parameters()), lr_at=lambda step: 0.1,
                        batches_from=lambda step: iter(()), steps=2)
    return train_in(folder, training, {"a": 1})


@pytest.mark.parametrize("number", range(3))
def test_a_run_that_is_killed_while_it_starts_can_be_resumed_or_started_again(
        tmp_path, monkeypatch, number):
    replace, calls = os.replace, itertools.count()

    def killed_replace(temporary, path):
        if next(calls) == number:
            raise Killed
        replace(temporary, path)

    monkeypatch.setattr(os, "replace", killed_replace)
    with pytest.raises((Killed, ValueError)):  # the ValueError: there are no data for a first step
        run_without_data(tmp_path)
    if (tmp_path / "state.pt").exists():
        assert read_state(tmp_path / "state.pt")["step"] == 0
    else:
        check_unused(tmp_path)


def test_data_that_end_too_early_raise_an_error(tmp_path):
    with pytest.raises(ValueError, match="the data ended before step 2"):
        run_without_data(tmp_path)


def test_an_empty_log_raises_an_error(tmp_path):
    (tmp_path / "log.jsonl").touch()
    with pytest.raises(ValueError, match="log.jsonl holds no step; the run's log is lost"):
        read_log(tmp_path)


def test_new_folders_are_numbered_and_made_at_once(tmp_path):
    for number in (1, 2, 3):
        folder = new_folder(tmp_path, "run")
        assert folder == tmp_path / f"run-{number}"
        assert folder.is_dir(), "made at once, so that no other run takes it"


@pytest.mark.parametrize("model_file", MODEL_FILES)
def test_the_newest_folder_is_that_of_the_unfinished_run_saved_last(tmp_path, model_file):
    new_folder(tmp_path, "run")
    with pytest.raises(ValueError, match="no unfinished run"):
        newest_folder(tmp_path, "run")
    model = very_small_model()
    for number, moment in ((1, 100), (2, 300), (3, 200)):
        path = tmp_path / f"run-{number}" / "state.pt"
        save_state(path, model, AdamW(model.parameters()), 0, {})
        os.utime(path, (moment, moment))
    assert newest_folder(tmp_path, "run") == tmp_path / "run-2"
    for name in (model_file, "results.json"):
        (tmp_path / "run-2" / name).touch()
        assert newest_folder(tmp_path, "run") == tmp_path / "run-2"
    (tmp_path / "run-2/report.md").touch()  # now that one is whole
    assert newest_folder(tmp_path, "run") == tmp_path / "run-3"
    for moment, newest in ((150, "run-3"), (250, "run-5")):  # killed before they were ever saved
        path = new_folder(tmp_path, "run") / LOCK_FILE
        path.touch()
        os.utime(path, (moment, moment))
        assert newest_folder(tmp_path, "run") == tmp_path / newest
