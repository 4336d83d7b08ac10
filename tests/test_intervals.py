"""Intervals of differences: by hand, and against what they promise."""

import math
import random
from statistics import mean, stdev, variance

import pytest

from minisft.intervals import (
    T_975,
    half_width,
    over_seeds,
    paired_interval,
    seeds_needed,
    t_975,
)


def test_the_table_of_students_t_is_the_published_one():
    assert (T_975[0], T_975[3], T_975[8], T_975[28]) == (12.706, 2.776, 2.262, 2.045)
    assert all(a > b for a, b in zip(T_975, T_975[1:])) and T_975[-1] > 1.96


@pytest.mark.parametrize("n, t", [(2, 12.706), (5, 2.776), (8, 2.365), (12, 2.201), (30, 2.045),
                                  (40, 1.96 + 2.45 / 39)])
def test_an_interval_over_seeds_is_students(n, t):
    values = [math.sin(seed) for seed in range(n)]
    center, low, high = over_seeds(values)
    assert center == pytest.approx(sum(values) / n)
    assert high - center == pytest.approx(center - low)
    assert high - center == pytest.approx(t * stdev(values) / math.sqrt(n))


def test_one_seed_has_no_interval():
    assert over_seeds([0.4]) == (0.4, 0.4, 0.4)


def test_the_seeds_needed_are_the_fewest_that_do():
    n = seeds_needed(spread=0.03, effect=0.02)
    assert half_width(0.03, n) <= 0.02 < half_width(0.03, n - 1)
    assert seeds_needed(0.0, 0.02) == 2
    assert seeds_needed(1.0, 0.02) is None


def test_the_paired_interval_is_worked_by_hand():
    before, after = [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    # differences: 1 0 0 and 1 1 1; by seed 1/3 and 1; by question 1, 1/2, 1/2
    difference, low, high = paired_interval(before, after)
    A, B = variance([1 / 3, 1]) / 2, variance([1, 0.5, 0.5]) / 3
    freedom = (A + B) ** 2 / (A ** 2 / 1 + B ** 2 / 2)
    assert difference == pytest.approx(2 / 3) and int(freedom) == 1
    assert high - difference == pytest.approx(12.706 * math.sqrt(A + B))
    assert difference - low == pytest.approx(high - difference)


def test_one_seed_speaks_of_other_questions_and_one_question_of_other_seeds():
    scores = [0.0, 1.0, 1.0, 0.0, 1.0]
    half = 2.776 * math.sqrt(variance(scores) / 5)
    expected = pytest.approx((0.6, 0.6 - half, 0.6 + half))
    assert paired_interval([[0.0] * 5], [scores]) == expected
    assert paired_interval([[0.0]] * 5, [[score] for score in scores]) == expected


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.03, 0.1])
def test_the_paired_interval_covers_the_truth_however_much_seeds_differ(spread):
    rng, covered, trials = random.Random(0), 0, 300
    for _ in range(trials):
        items = [rng.gauss(0, 0.15) for _ in range(60)]
        shifts = [rng.gauss(0.03, spread) for _ in range(5)]
        after = [[shift + item + rng.gauss(0, 0.3) for item in items] for shift in shifts]
        _, low, high = paired_interval([[0.0] * 60] * 5, after)
        covered += low <= 0.03 <= high
    assert covered / trials >= 0.93


def test_students_t_beyond_the_table_comes_close_to_the_truth():
    assert t_975(30) == pytest.approx(2.042, abs=0.002)
    assert t_975(120) == pytest.approx(1.980, abs=0.002)
    assert t_975(0.4) == t_975(1) == 12.706 and mean([t_975(2.9), t_975(2)]) == 4.303
