"""How fast a pool of 50,000 kept instructions answers, beside the package rouge-score.

    python -m tests.benchmarks.rouge_speed

    sentences   8 to 30 words out of 4,000 with Zipf's frequencies: word n is 1/n as frequent
    templates   near-duplicates: one of 50 such sentences with three of its words replaced, and then
                six words out of twelve as a list to work on. Texts of one template share nearly all
                of their words, and lists the same words in other orders.
    orders      20 words, in each text in another order: the worst case, in which the words that two
                texts share tell nothing, and all texts have to be compared

    add           one text of the 50,000, on average
    most_similar  the most similar kept text, for each of 20 texts that are not kept
    is_new        Self-Instruct's filter, for the same texts

The peer compares a text with all kept ones. It is timed on 500 of these pairs, 25 for each text,
and its time for 50,000 is extrapolated. Each pair is a call of `score`, as in the released code of
Self-Instruct, which tokenizes both texts each time; at its best, it gets lists of tokens that were
made before. Before anything is timed, both sides must agree on the scores of these pairs, and no
pair may score above the answer of the pool.
"""

import platform
import random
import statistics
import time
from functools import partial
from itertools import accumulate

import numpy as np
from rouge_score import rouge_scorer

from minisft.instruct.rouge import Pool, rouge_l, words
from tests.benchmarks.speed import reached

KEPT, TEXTS, PAIRS = 50_000, 20, 500
SECONDS, RATIO = 0.5, 20  # targets: most for one text, times as fast as the peer
VOCABULARY = [f"word{n}" for n in range(1, 4001)]
FREQUENCIES = list(accumulate(1 / n for n in range(1, 4001)))  # cumulative
SCORER = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)


def draw_words(rng, number):
    return rng.choices(VOCABULARY, cum_weights=FREQUENCIES, k=number)


def sentences(rng, number):
    return [" ".join(draw_words(rng, rng.randint(8, 30))) for _ in range(number)]


def templates(rng, number):
    """Near-duplicates, as this file's docstring says."""
    patterns = [draw_words(rng, rng.randint(8, 24)) for _ in range(50)]
    items, texts = VOCABULARY[100:112], []
    for _ in range(number):
        pattern = list(rng.choice(patterns))
        for place, word in zip(rng.sample(range(len(pattern)), 3), draw_words(rng, 3)):
            pattern[place] = word
        texts.append(" ".join(pattern) + ": " + ", ".join(rng.sample(items, 6)))
    return texts


def orders(rng, number):
    return [" ".join(rng.sample(VOCABULARY[:20], 20)) for _ in range(number)]


def seconds_of(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def peer_score(text, kept):
    return SCORER.score(target=kept, prediction=text)["rougeL"].fmeasure


def check_same_work(pool, pairs):
    """ValueError unless both sides give the same scores, none of them above the pool's answer."""
    highest = {text: pool.most_similar(text)[0] for text in dict(pairs)}
    for text, kept in pairs:
        ours, peer = rouge_l(text, kept)[2], peer_score(text, kept)
        if abs(ours - peer) > 1e-12 or ours > highest[text]:
            raise ValueError(f"the two sides disagree on {text!r} and {kept!r}: {ours} and {peer}, "
                             f"and {highest[text]} with the most similar text")


def peer_seconds(pairs):
    """Seconds that the peer needs for one text against all kept ones: (as it is, at its best)."""
    tokens = [(words(kept), words(text)) for text, kept in pairs]
    calls = (lambda: [peer_score(*pair) for pair in pairs],
             lambda: [rouge_scorer._score_lcs(*pair) for pair in tokens])
    return [seconds_of(call) / len(pairs) * KEPT for call in calls]


def measure(name, make):
    """Print the rows of one kind of texts."""
    rng = random.Random(0)
    made = make(rng, KEPT + TEXTS)
    kept, texts = made[:KEPT], made[KEPT:]
    pool = Pool()
    adding = seconds_of(lambda: [pool.add(text) for text in kept])
    print(f"{f'{name}, add (mean)':30s} {1000 * adding / KEPT:10.2f}", flush=True)

    pairs = [(text, rng.choice(kept)) for text in texts for _ in range(PAIRS // TEXTS)]
    check_same_work(pool, pairs)
    slow, best = peer_seconds(pairs)
    for what in (pool.most_similar, pool.is_new):
        seconds = [seconds_of(partial(what, text)) for text in texts]
        median, worst = statistics.median(seconds), max(seconds)
        is_reached = worst < SECONDS and min(slow, best) >= RATIO * median
        print(f"{f'{name}, {what.__name__}':30s} {1000 * median:10.2f} {1000 * worst:10.2f} "
              f"{1000 * slow:12.0f} {slow / median:8.0f}x {1000 * best:12.0f} {best / median:8.0f}x"
              f"  {reached(is_reached)}", flush=True)


def main():
    print(f"numpy {np.__version__}, Python {platform.python_version()}, {KEPT:,} kept texts, "
          f"{TEXTS} to compare with them")
    print(f"{'milliseconds for one text':30s} {'median':>10s} {'worst':>10s} {'rouge-score':>12s} "
          f"{'ratio':>9s} {'at its best':>12s} {'ratio':>9s}  target: worst below "
          f"{1000 * SECONDS:.0f}, both ratios {RATIO}x")
    for make in (sentences, templates, orders):
        measure(make.__name__, make)


if __name__ == "__main__":
    main()
