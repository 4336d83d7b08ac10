import itertools
import json
import math
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from kill_and_resume import (
    STEPS,
    VARIANTS,
    finish,
    kill_once,
    logged,
    make_base,
    make_files,
    outcome,
    points,
    reference,
)

from minisft import pretrain, train
from minisft.checkpoint import load_model, read_state, save_state
from minisft.model import GPT, GPTConfig
from minisft.optim import AdamW
from minisft.run import (
    Training,
    check_unused,
    hold_interrupts,
    new_folder,
    newest_folder,
    read_log,
    train_in,
)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(folder, flags of a training, the training that was never killed)."""
    folder = tmp_path_factory.mktemp("resume")
    flags = make_files(folder)
    return folder, flags, reference(folder / "reference", flags)


@pytest.fixture
def run(world, tmp_path):
    """A function: flags more than the usual ones, a fault -> (exit status, what was printed); all in tmp_path/run."""
    _, flags, _ = world

    def run(*more, fault=None):
        status = finish([*flags, "--out", str(tmp_path / "run"), *more], tmp_path / "printed.txt", fault)
        return status, (tmp_path / "printed.txt").read_text(encoding="utf-8")

    return run


def at_loss(number, act):
    """A fault: act(loss) stands for the loss of the `number`-th piece that is trained on."""
    from minisft import loop

    right, calls = loop.sft_loss, itertools.count(1)

    def faulty(model, batch):
        loss, targets = right(model, batch)
        return (act(loss) if next(calls) == number else loss), targets

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
    different = [(variant, kills) for _, variant, kills, same in points(tmp_path, 4, seed=1) if not same]
    assert not different


def test_the_variants_train_differently_so_that_equal_bits_mean_something(world, tmp_path):
    folder, flags, never_killed = world
    finish([*flags, "--out", str(tmp_path / "other"), "--seed", "1"], tmp_path / "printed.txt")
    assert outcome(tmp_path / "other")[0] != never_killed.outcome[0]
    assert set(VARIANTS) == {"padded", "packed", "accumulated"}


def test_ctrl_c_saves_and_the_printed_command_ends_with_the_same_bits(world, tmp_path, run):
    status, printed = run(fault=partial(at_loss, 8, press_once))
    assert status == 0 and not (tmp_path / "run/model.pt").exists()
    assert read_state(tmp_path / "run/state.pt")["step"] == logged(tmp_path / "run") == 8  # not a multiple of 3

    command = next(line for line in printed.splitlines() if "continue with: " in line).split("continue with: ")[1]
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "minisft.train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *words[1:]], cwd=ROOT, env=environment, check=True, capture_output=True)
    assert outcome(tmp_path / "run") == world[2].outcome


def test_a_second_ctrl_c_breaks_off_at_once_and_the_last_save_goes_on(world, tmp_path, run):
    status, printed = run(fault=partial(at_loss, 8, press_twice))
    assert status == 1 and "stopped; a run that had begun continues with --resume" in printed
    assert "Traceback" not in printed
    assert read_state(tmp_path / "run/state.pt")["step"] == 6
    assert run("--resume")[0] == 0
    assert outcome(tmp_path / "run") == world[2].outcome


def test_ctrl_c_works_again_once_training_is_over():
    before = signal.getsignal(signal.SIGINT)
    with hold_interrupts() as pressed:
        os.kill(os.getpid(), signal.SIGINT)
        assert pressed == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_nan_loss_stops_with_the_last_good_state_kept(world, tmp_path, run):
    status, printed = run(fault=partial(at_loss, 11, poison))
    assert status == 1 and "step 11: the loss is nan" in printed and "Traceback" not in printed
    assert not (tmp_path / "run/model.pt").exists()
    state = read_state(tmp_path / "run/state.pt")
    assert state["step"] == 9 and all(weight.isfinite().all() for weight in state["weights"].values())
    assert run("--resume")[0] == 0  # without the fault
    assert outcome(tmp_path / "run") == world[2].outcome


def test_a_far_too_high_learning_rate_stops_with_advice_and_the_base_unspoilt(world, tmp_path, run):
    status, printed = run("--lr", "1e30")
    assert status == 1 and "the loss is nan" in printed and "with a smaller --lr" in printed
    state, base = read_state(tmp_path / "run/state.pt"), load_model(world[0] / "base.pt")[0]
    assert state["step"] == 0
    assert all(torch.equal(state["weights"][name], weight) for name, weight in base.state_dict().items())


@pytest.fixture
def killed(world, run, tmp_path):
    """A run that was killed after some steps."""
    way = kill_once("log", [*world[1], "--out", str(tmp_path / "run")], tmp_path / "run", tmp_path / "killed.txt",
                    world[2], random.Random(4))
    assert way and (tmp_path / "run/state.pt").exists()
    return tmp_path / "run"


def test_going_on_with_other_data_is_refused(killed, world, run):
    data = Path(world[0]) / "data.jsonl"
    content = data.read_text(encoding="utf-8")
    try:
        data.write_text(content.replace("3 is reached", "3 was reached"), encoding="utf-8")
        status, printed = run("--resume")
    finally:
        data.write_text(content, encoding="utf-8")
    assert status == 1 and "base, tokenizer or data differ from those that the run in" in printed and "Traceback" not in printed


@pytest.mark.parametrize("flag, value", [("--lr", "0.02"), ("--accumulate", "2"), ("--pack", None), ("--seed", "3"),
                                         ("--batch-size", "5"), ("--save-every", "4")])
def test_going_on_with_another_flag_is_refused_by_its_name(killed, run, flag, value):
    status, printed = run("--resume", *[word for word in (flag, value) if word])
    message = printed.splitlines()[-1]
    assert status == 1 and message.startswith(f"minisft.train: {flag} ") and "differs from" in message


def test_going_on_needs_no_flag_but_the_folder(killed, world, tmp_path):
    assert finish(["--resume", "--out", str(killed), "--device", "cpu"], tmp_path / "printed.txt") == 0
    assert outcome(killed) == world[2].outcome


def test_going_on_with_a_base_of_other_sizes_is_refused(killed, world, run, tmp_path):
    base = Path(world[0]) / "base.pt"
    content = base.read_bytes()
    try:
        make_base(Path(world[0]), n_embd=32)
        status, printed = run("--resume")
    finally:
        base.write_bytes(content)
    assert status == 1 and "base, tokenizer or data differ from those that the run in" in printed and "Traceback" not in printed


def test_a_run_of_another_command_is_refused(killed):
    with pytest.raises(ValueError, match="another command"):
        pretrain.pretrain(pretrain.PretrainConfig(out=str(killed), resume=True))


def test_going_on_where_nothing_began_is_refused(tmp_path):
    with pytest.raises(ValueError, match="state.pt does not exist"):
        train.train(train.TrainConfig(out=str(tmp_path / "nothing"), resume=True))


@pytest.mark.parametrize("name", ["state.pt", "model.pt", "log.jsonl"])
def test_a_folder_that_holds_a_run_is_not_started_in(tmp_path, run, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_bytes(b"precious")
    status, printed = run()
    assert status == 1 and "already holds a run; continue it with --resume" in printed
    assert (tmp_path / "run" / name).read_bytes() == b"precious"


def test_a_finished_run_goes_on_to_the_same_bits_without_a_step_more(world, tmp_path, run):
    shutil.copytree(world[0] / "reference", tmp_path / "run")
    (tmp_path / "run/model.pt").unlink()
    assert run("--resume")[0] == 0
    assert outcome(tmp_path / "run") == world[2].outcome


def test_the_log_has_each_step_once_although_its_last_line_was_torn(killed, world, run):
    step = read_state(killed / "state.pt")["step"]
    with open(killed / "log.jsonl", "a", encoding="utf-8") as log:
        log.write(json.dumps({"step": 99, "loss": 1.0}) + '\n{"step": 100, "lo')
    assert logged(killed) > step
    assert run("--resume")[0] == 0
    assert [row["step"] for row in read_log(killed)] == list(range(1, STEPS + 1))
    assert outcome(killed) == world[2].outcome


class Killed(BaseException):
    """Stands for a kill where a process of its own would be too much."""


def plain_run(folder, state=None):
    """Two steps of train_in on a model without data worth the name."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=8, block_size=4, n_layer=1, n_head=1, n_embd=4))
    training = Training(model, AdamW(model.parameters()), lambda step: 0.1, lambda step: iter(()), steps=2)
    return train_in(folder, training, {"a": 1}, state)


@pytest.mark.parametrize("number", range(3))
def test_a_start_that_is_killed_can_be_gone_on_with_or_started_anew(tmp_path, monkeypatch, number):
    replace, calls = os.replace, itertools.count()

    def dying(temporary, path):
        if next(calls) == number:
            raise Killed
        replace(temporary, path)

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises((Killed, ValueError)):  # the ValueError: there are no data for a first step
        plain_run(tmp_path)
    if (tmp_path / "state.pt").exists():
        assert read_state(tmp_path / "state.pt")["step"] == 0
    else:
        check_unused(tmp_path)


def test_data_that_end_too_early_are_said(tmp_path):
    with pytest.raises(ValueError, match="the data ended before step 2"):
        plain_run(tmp_path)


def test_a_log_that_is_lost_is_said(tmp_path):
    (tmp_path / "log.jsonl").touch()
    with pytest.raises(ValueError, match="log.jsonl holds no step; the run's log is lost"):
        read_log(tmp_path)


def test_new_folders_are_counted_and_the_newest_is_found(tmp_path):
    assert new_folder(tmp_path, "run") == tmp_path / "run-1"
    with pytest.raises(ValueError, match="no unfinished run"):
        newest_folder(tmp_path, "run")
    model = GPT(GPTConfig(vocab_size=8, block_size=4, n_layer=1, n_head=1, n_embd=4))
    for number, moment in ((1, 100), (2, 300), (3, 200)):
        folder = tmp_path / "run-1" if number == 1 else new_folder(tmp_path, "run")
        assert folder == tmp_path / f"run-{number}" and folder.is_dir(), "made at once, so that no other run takes it"
        save_state(folder / "state.pt", model, AdamW(model.parameters()), 0, {})
        os.utime(folder / "state.pt", (moment, moment))
    assert newest_folder(tmp_path, "run") == tmp_path / "run-2"
    (tmp_path / "run-2" / "model.pt").touch()  # that one is finished
    assert newest_folder(tmp_path, "run") == tmp_path / "run-3"
