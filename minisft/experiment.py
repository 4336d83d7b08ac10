"""Experiments: arms and seeds side by side, each arm with a learning rate of its own.

    pilot     on questions held out from the training rows: how many steps and seeds, and the
              learning rate of each arm
    report    other questions, other seeds: the scores of every arm

The pilot fixes what the report must not choose. It takes the number of steps for which the
reference arm answers about 80% correctly, because an effect cannot be seen at the floor or at the
ceiling; about as many seeds as it takes to see the smallest effect that matters, between 5 and 12;
and for each arm the learning rate that did best.

Every run has a process of one thread. Two trainings of a small model side by side on one thread
each get more done than one after the other on two threads, and the numbers do not depend on how
many run at once.
"""

import os
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import mean, stdev

import torch
from tqdm import tqdm

from minisft.evaluate import answer_all
from minisft.intervals import seeds_needed
from minisft.models import open_model
from minisft.peft import add_peft
from minisft.train import tune

PILOT_SEED = 100  # the report uses seeds 0, 1, 2, ...
TARGET, FLOOR, CEILING = 0.8, 0.6, 0.95  # of the reference arm's share of correct answers
LEAST_SEEDS, MOST_SEEDS = 5, 12
MOST_PROCESSES = 61  # more than Windows can wait for


# Side by side


@contextmanager
def one_thread():
    """Compute on one thread, and leave torch's number of threads and random state as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def hidden_main():
    """Keep new processes from running the main script again, as `spawn` otherwise does."""
    main = sys.modules["__main__"]
    hidden = {name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)


def process_context(function, arguments):
    """How to start processes that can call this function, or None where that cannot be done.

    On Linux a process begins as a copy of this one, so it has everything; not so with CUDA, which
    no copy can use. Elsewhere a process begins empty: what it needs must be importable, which
    nothing in a script or notebook is.
    """
    if sys.platform == "linux" and not torch.cuda.is_available():
        return get_context("fork")
    try:
        pickled = pickle.dumps((function, arguments))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return None if b"__main__" in pickled else get_context("spawn")


def cores():
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _begin(function, arguments):
    """What a new process does first."""
    global _calls
    torch.set_num_threads(1)
    _calls = function, arguments


def _call(number):
    function, arguments = _calls
    return function(*arguments[number])


def side_by_side(function, arguments, processes=None, label="runs"):
    """[function(*given) for given in arguments], several at once, with a progress bar.

    processes: how many at once, by default as many as there are cores. Where processes cannot be
    started (see `process_context`) the calls are made one after the other, with the same results.
    """
    arguments = [tuple(given) for given in arguments]
    processes = min(processes or cores(), len(arguments), MOST_PROCESSES)
    context = process_context(function, arguments) if processes > 1 else None
    if processes > 1 and context is None:
        print(f"{label}: one after the other, as what they need stands in a script or notebook")
    with tqdm(total=len(arguments), desc=label, unit="run", dynamic_ncols=True) as bar:
        if context is None:
            results = []
            for given in arguments:
                with one_thread():
                    results.append(function(*given))
                bar.update()
            return results
        with hidden_main(), ProcessPoolExecutor(
                processes, context, initializer=_begin, initargs=(function, arguments)) as pool:
            futures = [pool.submit(_call, number) for number in range(len(arguments))]
            try:
                for future in as_completed(futures):
                    future.result()
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            return [future.result() for future in futures]


# Arms


@dataclass(frozen=True)
class Trial:
    """What is learnt and asked. examples: Rendered; validation, test: records to ask."""

    examples: list
    validation: list
    test: list
    steps: int
    batch_size: int


@dataclass(frozen=True, eq=False)
class Arm:
    """One variant of an experiment.

    base: path of a model. config: of a tuning method, or None for full tuning. trial: a Trial, or a
    function that makes the Trial of a seed. rates: the grid of learning rates.
    """

    base: str
    config: object
    trial: object
    rates: tuple

    def trial_of(self, seed):
        return self.trial(seed) if callable(self.trial) else self.trial


def fine_tune(arm, rate, seed, steps=None):
    """(model, tokenizer, StepRecords): the arm's base, tuned at a rate with a seed."""
    model, tokenizer = open_model(arm.base)
    trial = arm.trial_of(seed)
    torch.manual_seed(seed)
    if arm.config:
        model = add_peft(model, arm.config, tokenizer)
    log = tune(model, trial.examples, steps or trial.steps, batch_size=trial.batch_size, lr=rate,
               seed=seed)
    return model, tokenizer, log


def exact_matches(model, tokenizer, records):
    """1.0 for each question that a model answers correctly, 0.0 for each other."""
    return [float(answer.right) for answer in answer_all(model, tokenizer, records)]


def validate(arm, rate, seed, steps):
    """Share of the held-out questions that one run of the pilot answers correctly."""
    model, tokenizer, _ = fine_tune(arm, rate, seed, steps)
    return mean(exact_matches(model, tokenizer, arm.trial_of(seed).validation))


def report(arm, rate, seed, steps, keep):
    """One run of the report: scores on the test questions, what `keep` returns, and the cost."""
    model, tokenizer, log = fine_tune(arm, rate, seed, steps)
    return {
        "scores": exact_matches(model, tokenizer, arm.trial_of(seed).test),
        "kept": keep(model) if keep else None,
        "cost": {"steps": len(log), "tokens": sum(record.tokens for record in log),
                 "seconds": sum(record.seconds for record in log)}}


def pilot(arm, candidates, effect, processes=None):
    """What the reference arm of an experiment says before the report, from held-out questions.

    candidates: numbers of steps to try, at each rate of the arm. effect: the smallest difference of
    two arms that matters, in shares. Returns
        "steps"     the candidate that brings the arm closest to 80%; "rate": its best rate there
        "shares"    {steps: share at the best rate}; "in_range": whether it lies in 60% to 95%
        "spread"    standard deviation of a difference of two arms, from that of three seeds: two
                    arms that have only the data in common differ by sqrt(2) times one arm's spread
        "needed"    about how many seeds it takes to see the effect, None for more than 30
        "seeds"     seeds to run: as many, but at least 5 and at most 12
    and prints the main ones. The spread is that of three seeds, and how much the result depends on
    the questions is not in it: "needed" is a guide, not a promise.
    """
    runs = [(arm, rate, PILOT_SEED, steps) for steps in candidates for rate in arm.rates]
    found = dict(zip(runs, side_by_side(validate, runs, processes, "pilot: steps")))
    best = {steps: max((run for run in runs if run[3] == steps), key=found.get)
            for steps in candidates}
    shares = {steps: found[run] for steps, run in best.items()}
    steps = min(shares, key=lambda steps: abs(shares[steps] - TARGET))
    rate = best[steps][1]

    runs = [(arm, rate, PILOT_SEED + seed, steps) for seed in range(3)]
    spread = 2 ** 0.5 * stdev(side_by_side(validate, runs, processes, "pilot: seeds"))
    needed = seeds_needed(spread, effect)
    seeds = min(max(needed or MOST_SEEDS, LEAST_SEEDS), MOST_SEEDS)
    in_range = FLOOR <= shares[steps] <= CEILING
    print(f"pilot: {steps} steps, where the reference arm answers {shares[steps]:.0%}"
          f"{'' if in_range else f' (NOT between {FLOOR:.0%} and {CEILING:.0%})'}; "
          f"{seeds} seeds ({needed or 'more than 30'} to see {100 * effect:g} points)")
    return {"steps": steps, "rate": rate, "shares": shares, "in_range": in_range,
            "spread": spread, "effect": effect, "needed": needed, "seeds": seeds}


def choose_rates(arms, steps=None, processes=None):
    """{arm: {rate: share of the held-out questions}}, one run for each rate. arms: {name: Arm}.

    An arm with one rate has nothing to choose: its share is None.
    """
    grids = {name: dict.fromkeys(arm.rates) for name, arm in arms.items()}
    runs = [(name, rate) for name, arm in arms.items() for rate in arm.rates if len(arm.rates) > 1]
    found = side_by_side(
        validate, [(arms[name], rate, PILOT_SEED, steps) for name, rate in runs], processes,
        "pilot: rates") if runs else []
    for (name, rate), share in zip(runs, found):
        grids[name][rate] = share
    return grids


def measure(arms, seeds, steps=None, keep=None, processes=None):
    """Pilot the rates of all arms, then report them: {name: measured}. arms: {name: Arm}.

    seeds: how many, or {name: how many}. steps: instead of the trials' own. keep: called with each
    model that is reported. Of each arm: "grid" of the pilot, "rate" and whether it lies at the
    "edge" of the grid, "scores" (a list for each seed), "by_seed" and "mean" (shares), "kept", and
    the mean "cost" of a run.
    """
    grids = choose_rates(arms, steps, processes)
    rates = {name: max(grid, key=grid.get) for name, grid in grids.items()}
    runs = [(name, seed) for name in arms
            for seed in range(seeds[name] if isinstance(seeds, dict) else seeds)]
    done = side_by_side(
        report, [(arms[name], rates[name], seed, steps, keep) for name, seed in runs], processes,
        "report")
    measured = {}
    for name, arm in arms.items():
        own = [result for (owner, _), result in zip(runs, done) if owner == name]
        by_seed = [mean(result["scores"]) for result in own]
        measured[name] = {
            "grid": grids[name], "rate": rates[name],
            "edge": len(arm.rates) > 1 and rates[name] in (min(arm.rates), max(arm.rates)),
            "scores": [result["scores"] for result in own], "by_seed": by_seed,
            "mean": mean(by_seed), "kept": [result["kept"] for result in own],
            "cost": {key: mean(result["cost"][key] for result in own) for key in own[0]["cost"]}}
    return measured


def for_results(measured):
    """What of some measured arms goes into a results file: all but single scores and "kept"."""
    kept = ("grid", "rate", "edge", "mean", "by_seed", "cost")
    return {name: {key: arm[key] for key in kept} for name, arm in measured.items()}
