"""Experiments: side by side without changing a number; a pilot that never sees the report."""

import math
import operator
import os
import sys
from multiprocessing import get_context
from types import SimpleNamespace

import pytest
import torch

from minisft import experiment
from minisft.checkpoint import save_model
from minisft.experiment import (
    Arm,
    Trial,
    fine_tune,
    measure,
    pilot,
    process_context,
    side_by_side,
)
from minisft.model import GPT, GPTConfig
from minisft.peft import LoRAConfig
from minisft.tokenizer import Tokenizer


def draw(seed):
    """Numbers that depend on the seed, the number of threads and nothing else."""
    torch.manual_seed(seed)
    return torch.randn(3).tolist(), torch.get_num_threads(), os.getpid()


@pytest.mark.parametrize("processes", [1, 2, 3, 9])
def test_results_do_not_depend_on_how_many_run_at_once(processes):
    expected = [draw(seed)[0] for seed in range(5)]
    done = side_by_side(lambda seed: draw(seed), [(seed,) for seed in range(5)], processes)
    assert [numbers for numbers, _, _ in done] == expected
    assert {threads for _, threads, _ in done} == {1}
    pids = {pid for _, _, pid in done}
    assert pids == {os.getpid()} if processes == 1 else os.getpid() not in pids


@pytest.mark.parametrize("processes", [1, 2])
def test_threads_and_random_state_stay_as_they_were(processes):
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state()
        side_by_side(draw, [(1,), (2,)], processes)
        assert torch.get_num_threads() == 2 and torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_num_threads(1)


def test_training_works_after_this_process_has_trained():
    def train(seed):
        torch.manual_seed(seed)
        w = torch.randn(40, 40, requires_grad=True)
        (w @ w).square().sum().backward()
        return w.grad.sum().item()

    expected = [train(seed) for seed in range(3)]
    assert side_by_side(train, [(seed,) for seed in range(3)], 2) == expected


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_a_run_is_raised(processes):
    with pytest.raises(ZeroDivisionError):
        side_by_side(operator.truediv, [(1, 1), (1, 0), (1, 2)], processes)


def test_processes_that_begin_empty_give_the_same(monkeypatch):
    monkeypatch.setattr(experiment, "process_context", lambda *_: get_context("spawn"))
    script = sys.modules["__main__"].__spec__
    assert side_by_side(math.hypot, [(3, 4), (6, 8), (5, 12)], 2) == [5, 10, 13]
    assert sys.modules["__main__"].__spec__ is script


def test_where_processes_begin_empty_what_a_script_defines_runs_one_after_the_other(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    of_script = type("OfScript", (), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "OfScript", of_script, raising=False)
    of_script.__qualname__ = "OfScript"
    assert process_context(math.hypot, [(3, 4)]).get_start_method() == "spawn"
    assert process_context(lambda x: x, [(3,)]) is None
    assert process_context(math.hypot, [(of_script(),)]) is None
    assert side_by_side(lambda x: 2 * x, [(1,), (2,)], 2) == [2, 4]


def test_a_run_has_the_rate_the_seed_the_steps_and_the_batches_that_it_is_given(
        tmp_path, monkeypatch):
    calls, tokenizer = [], Tokenizer([bytes([byte]) for byte in range(256)])
    monkeypatch.setattr(
        experiment, "tune", lambda model, *given, **settings: calls.append((given, settings)))
    save_model(tmp_path / "base.pt", GPT(GPTConfig(tokenizer.vocab_size, 8, 1, 1, 4)), tokenizer)
    trial = Trial(["example"], [], [], steps=80, batch_size=3)
    arm = Arm(str(tmp_path / "base.pt"), LoRAConfig(r=2), trial, (0.5,))

    def start_of(seed, steps=None):
        model, _, _ = fine_tune(arm, 0.5, seed, steps)
        return model.h[0].mlp.c_fc.A.detach()

    first, other = start_of(7), start_of(8, steps=20)
    assert torch.equal(first, start_of(7)) and not torch.equal(first, other)
    assert calls[0] == ((["example"], 80), {"batch_size": 3, "lr": 0.5, "seed": 7})
    assert calls[1] == ((["example"], 20), {"batch_size": 3, "lr": 0.5, "seed": 8})


# A pilot and a report, of runs that are made up: a run scores what SCORE says of its rate.

SCORE = {1.0: 0.2, 2.0: 0.9, 3.0: 0.4}


@pytest.fixture
def seen(monkeypatch):
    """Runs are made up; the returned list has (records, rate, seed, steps) of each."""
    calls = []

    def fine_tune(arm, rate, seed, steps=None):
        log = [SimpleNamespace(tokens=10, seconds=0.5)] * (steps or arm.trial_of(seed).steps)
        return (rate, seed, steps), None, log

    def exact_matches(model, tokenizer, records):
        rate, seed, steps = model
        calls.append((records, rate, seed, steps))
        share = SCORE[rate] * min(1, (steps or 80) / 100) + 0.01 * (seed % 10)
        return [float(i < round(share * 100)) for i in range(100)]

    monkeypatch.setattr(experiment, "fine_tune", fine_tune)
    monkeypatch.setattr(experiment, "exact_matches", exact_matches)
    return calls


TRIAL = Trial([], validation="held out", test="test", steps=80, batch_size=4)


def test_the_rate_is_chosen_on_held_out_questions_and_reported_on_others(seen):
    arms = {"a": Arm("base", None, TRIAL, (1.0, 2.0, 3.0)), "b": Arm("base", None, TRIAL, (3.0,))}
    measured = measure(arms, seeds={"a": 3, "b": 2}, steps=50, processes=1)
    held_out = [call for call in seen if call[0] == "held out"]
    report = [call for call in seen if call[0] == "test"]
    assert [call[1:] for call in held_out] == [(rate, 100, 50) for rate in (1.0, 2.0, 3.0)]
    assert [call[1:] for call in report] == [(2.0, seed, 50) for seed in range(3)] + [
        (3.0, seed, 50) for seed in range(2)]
    a, b = measured["a"], measured["b"]
    assert a["rate"] == 2.0 and not a["edge"] and not b["edge"]
    assert a["grid"] == pytest.approx({1.0: 0.1, 2.0: 0.45, 3.0: 0.2})
    assert a["by_seed"] == pytest.approx([0.45, 0.46, 0.47]) and a["mean"] == pytest.approx(0.46)
    assert b["grid"] == {3.0: None}, "one rate leaves nothing to choose"
    assert len(b["scores"]) == 2 and len(b["scores"][0]) == 100
    assert a["cost"] == {"steps": 50, "tokens": 500, "seconds": 25.0}


def test_a_best_rate_at_the_edge_of_its_grid_is_said(seen):
    measured = measure({"a": Arm("base", None, TRIAL, (1.0, 3.0))}, 1, processes=1)
    assert measured["a"]["rate"] == 3.0 and measured["a"]["edge"]


def test_models_are_kept_as_the_report_wants_them(seen):
    arms = {"a": Arm("base", None, TRIAL, (2.0,))}
    assert measure(arms, 2, keep=lambda model: model[1], processes=1)["a"]["kept"] == [0, 1]


def test_the_pilot_takes_the_steps_that_come_closest_to_80_percent(seen):
    plan = pilot(Arm("base", None, TRIAL, (1.0, 2.0)), (20, 60, 90, 100), effect=0.05, processes=1)
    assert plan["steps"] == 90 and plan["rate"] == 2.0 and plan["in_range"]
    assert plan["shares"] == pytest.approx({20: 0.18, 60: 0.54, 90: 0.81, 100: 0.9})
    assert {call[0] for call in seen} == {"held out"} and min(call[2] for call in seen) == 100
    # shares of the seeds 100, 101, 102 are 81, 82 and 83%: a standard deviation of one point
    assert plan["spread"] == pytest.approx(2 ** 0.5 * 0.01)
    assert plan["needed"] == 3 and plan["seeds"] == 5  # 4.303 sqrt(2) / sqrt(3) = 3.5 points


def test_a_pilot_that_lies_at_the_floor_says_so_and_asks_for_many_seeds(seen):
    plan = pilot(Arm("base", None, TRIAL, (1.0,)), (20, 50), effect=0.001, processes=1)
    assert not plan["in_range"] and plan["needed"] is None and plan["seeds"] == 12
