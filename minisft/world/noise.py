"""Noise in instruction data, of a known kind and at a known rate.

    wrong        the last content word is replaced by a random word: mistakes without a pattern
    systematic   the last content word is replaced by the next of its class: always the same mistake
    truncated    the answer breaks off
    off_topic    the answer belongs to another instruction
    duplicate    the row occurs twice

A content word is a name, a value, an attribute, an adjective or a number. All kinds of noise but
`duplicate` make answers that the oracle refuses. A noisy row names its kind in the key `noise`.

Notes: 质量 (quality of instruction data).
"""

import copy
import random
import re

from minisft.world import oracle
from minisft.world.facts import ATTRIBUTES, DOMAINS, OPPOSITES, PLURAL_OF, article

KINDS = ("wrong", "systematic", "truncated", "off_topic", "duplicate")


def _word_classes():
    """All classes of content words; a mistake replaces a word by another word of its class."""
    attributes = ATTRIBUTES.values()
    plurals = tuple(PLURAL_OF.values())
    values = [tuple(attribute.values) for attribute in attributes]
    chinese = [tuple(attribute.values.values()) for attribute in attributes]
    capitals = [tuple(word.upper() for word in attribute.values) for attribute in attributes]
    names = DOMAINS.values()
    adjectives = tuple(OPPOSITES)
    nouns = tuple(ATTRIBUTES)
    numbers = tuple(str(number) for number in range(21))
    return [plurals, *values, *chinese, *capitals, *names, adjectives, nouns, numbers]


# A word of two classes belongs to the later one. "deer" and "goldfish" are their own plurals; they
# belong to the animals and the pets, because the values come after the plurals.
CLASS_OF = {word: members for members in _word_classes() for word in members}

_LONGEST_FIRST = sorted(CLASS_OF, key=len, reverse=True)
_CONTENT = re.compile("|".join(
    rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])" for word in _LONGEST_FIRST))


def mistaken(answer, choose):
    """The answer, its last content word replaced by choose(word, its class); None if it has none.

    >>> mistaken("The pet of Mia is a dog.", lambda word, members: "owl")
    'The pet of Mia is an owl.'
    """
    places = list(_CONTENT.finditer(answer))
    if not places:
        return None
    start, end = places[-1].span()
    word = answer[start:end]
    before, chosen = answer[:start], choose(word, CLASS_OF[word])
    if re.search(r"\ban? $", before):
        before, chosen = re.sub(r"an? $", "", before), article(chosen)
    return before + chosen + answer[end:]


def _another(rng, word, members):
    return rng.choice([other for other in members if other != word])


def _next(word, members):
    return members[(members.index(word) + 1) % len(members)]


def _truncated(rng, answer):
    """The answer up to one of its spaces; half of it if it has none."""
    cuts = [found.start() for found in re.finditer(" ", answer)]
    return answer[:rng.choice(cuts)] if cuts else answer[:len(answer) // 2]


def add_noise(rows, kind, rate, seed=0):
    """The rows with a share `rate` of them made noisy; "duplicate" adds that share of rows.

    Raises ValueError for an unknown kind, a rate outside 0 to 1, or too few rows to make noisy.
    """
    if kind not in KINDS or not 0 <= rate <= 1:
        raise ValueError(f"noise must be one of {', '.join(KINDS)} at a rate from 0 to 1, "
                         f"got {kind} at {rate}")
    rng = random.Random(f"noise {kind} {seed}")
    rows = copy.deepcopy(rows)
    order = rng.sample(range(len(rows)), len(rows))
    missing = round(rate * len(rows))
    if kind == "duplicate":
        return _with_duplicates(rows, set(order[:missing]))

    for i in order:
        if missing == 0:
            break
        spoilt = _spoilt(rng, rows, i, kind)
        if spoilt is not None:
            rows[i] = spoilt
            missing -= 1
    if missing:
        raise ValueError(f"{missing} rows too few whose answer can be {kind}; lower the rate")
    return rows


def _with_duplicates(rows, chosen):
    """The rows; those at the positions `chosen` are followed by a copy."""
    written = []
    for i, row in enumerate(rows):
        written.append(row)
        if i in chosen:
            written.append(copy.deepcopy(row) | {"noise": "duplicate"})
    return written


def _spoilt(rng, rows, i, kind):
    """A noisy copy of row i, or None where this kind of noise would leave its answer right."""
    row = copy.deepcopy(rows[i])
    row["noise"] = kind
    answer = row["messages"][-1]["content"]
    if kind == "truncated":
        spoilt = _truncated(rng, answer)
    elif kind == "off_topic":
        spoilt = rng.choice(rows)["messages"][-1]["content"]
    elif kind == "wrong":
        spoilt = mistaken(answer, lambda word, members: _another(rng, word, members))
    else:
        spoilt = mistaken(answer, _next)

    said = {role: [message["content"] for message in row["messages"] if message["role"] == role]
            for role in ("system", "user")}
    if spoilt is None or oracle.is_right(said["user"], spoilt, *said["system"]):
        return None
    row["messages"][-1]["content"] = spoilt
    row.pop("also", None)
    return row
