"""Noise in instruction data, of a kind and at a rate that are known.

    wrong        the last word that matters is another one, drawn anew for each row: mistakes that agree on nothing
    systematic   the last word that matters is always the next one of its kind: the same mistake every time
    truncated    the answer breaks off
    off_topic    the answer to some other instruction
    duplicate    the row stands twice

Every kind but `duplicate` makes answers that the oracle refuses. Noisy rows say so in their key `noise`.

Notes: 质量 (quality of instruction data).
"""

import copy
import random
import re

from minisft.world import oracle
from minisft.world.facts import ATTRIBUTES, CHINESE_OF, DOMAINS, OPPOSITES, PLURAL_OF, article

KINDS = ("wrong", "systematic", "truncated", "off_topic", "duplicate")
_VALUES = [tuple(attribute.values) for attribute in ATTRIBUTES.values()]
_CLASSES = [  # a word of several classes, as deer is one and its own plural, belongs to the last of them
    tuple(PLURAL_OF.values()), *_VALUES, *(tuple(CHINESE_OF[word] for word in values) for values in _VALUES),
    *(tuple(word.upper() for word in values) for values in _VALUES), *DOMAINS.values(), tuple(OPPOSITES),
    tuple(ATTRIBUTES), tuple(map(str, range(21)))]
CLASS_OF = {word: members for members in _CLASSES for word in members}
_CONTENT = re.compile("|".join(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])"
                               for word in sorted(CLASS_OF, key=len, reverse=True)))


def mistaken(answer, choose):
    """The answer with its last word that matters changed by choose(word, all words of its kind); None if it has none.

    >>> mistaken("The pet of Mia is a dog.", lambda word, kind: "owl")
    'The pet of Mia is an owl.'
    """
    places = list(_CONTENT.finditer(answer))
    if not places:
        return None
    start, end = places[-1].span()
    chosen, before = choose(places[-1][0], CLASS_OF[places[-1][0]]), answer[:start]
    if re.search(r"\ban? $", before):
        before, chosen = re.sub(r"an? $", "", before), article(chosen)
    return before + chosen + answer[end:]


def _another(rng):
    return lambda word, kind: rng.choice([other for other in kind if other != word])


def _next(word, kind):
    return kind[(kind.index(word) + 1) % len(kind)]


def _truncated(rng, answer):
    cuts = [found.start() for found in re.finditer(" ", answer)]
    return answer[:rng.choice(cuts)] if cuts else answer[:len(answer) // 2]


def add_noise(rows, kind, rate, seed=0):
    """The rows, a share `rate` of them noisy (as many more for duplicates); ValueError for an unknown kind or rate."""
    if kind not in KINDS or not 0 <= rate <= 1:
        raise ValueError(f"noise must be one of {', '.join(KINDS)} at a rate from 0 to 1, got {kind} at {rate}")
    rng = random.Random(f"noise {kind} {seed}")
    rows, chosen = copy.deepcopy(rows), rng.sample(range(len(rows)), len(rows))
    missing = round(rate * len(rows))
    for i in chosen:
        if not missing:
            break
        spoilt = _spoilt(rng, rows, i, kind)
        if spoilt is not None:
            rows[i] = spoilt
            missing -= 1
    if missing:
        raise ValueError(f"{missing} rows too few whose answer can be {kind}; lower the rate")
    return [row for item in rows for row in (item if isinstance(item, list) else [item])]


def _spoilt(rng, rows, i, kind):
    """Row i made noisy, or None where this kind of noise would leave its answer right."""
    row = copy.deepcopy(rows[i])
    row["noise"] = kind
    if kind == "duplicate":
        return [rows[i], row]
    answer = row["messages"][-1]["content"]
    if kind == "truncated":
        spoilt = _truncated(rng, answer)
    elif kind == "off_topic":
        spoilt = rng.choice(rows)["messages"][-1]["content"]
    else:
        spoilt = mistaken(answer, _another(rng) if kind == "wrong" else _next)
    turns = [message["content"] for message in row["messages"] if message["role"] == "user"]
    if spoilt is None or oracle.is_right(turns, spoilt):
        return None
    row["messages"][-1]["content"] = spoilt
    row.pop("also", None)
    return row
