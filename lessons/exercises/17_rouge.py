"""ROUGE-L, and a filter by it: keep a text only if it is unlike all that were kept.

    LCS: length of the longest common subsequence of two lists; what stands between does not matter

    P = LCS / |c|        R = LCS / |r|        F = 2 LCS / (|c| + |r|)

Write three pieces. `lcs_with(a)` returns a function from a list b to the LCS of a and b. (Ours does
it in the bits of integers; a table of (|a| + 1) x (|b| + 1) numbers does as well.) `rouge_l`
returns (P, R, F) of two texts, all 0 if one has no token; `tokens` makes the tokens.
`Pool.is_new(text)` says whether F is at most the threshold with every text that the pool has kept;
it adds nothing. `self.kept` has the tokens of each; `self._f_with(tokens)` is a function from an
index to the F with that text. A threshold that is not from 0 to 1 is refused with ValueError.

Check it: python lessons/check.py 17
"""

import bisect
import functools
from array import array
from collections import defaultdict

import numpy as np

from minisft.instruct.rouge import numbered, words


def lcs_with(a):
    """A function from a list of tokens to the length of its longest common subsequence with a.

    Let L(i) be the LCS of a[:i] and of the tokens read so far. From i to i + 1 it rises by 1 or
    stays flat. Bit i of `flat` is 1 where it stays flat; the LCS is the number of 0 bits. When a
    token is read, each rise moves down to the lowest place of that token between it and the rise
    below; a place above the last rise makes a new one. The addition does so for all rises at once:
    its carry starts at that place, which becomes 0, runs through the 1 bits and ends at the old
    rise, which becomes 1. The `|` gives back the 1 bits that the carry ran through.

    >>> lcs_with("abcbdab")("bdcaba")
    4
    """
    raise NotImplementedError


def rouge_l(candidate, reference, tokens=words):
    """ROUGE-L of two texts: (P, R, F), all 0 if one of them has no token.

    tokens: a function from a text to its list of tokens.

    >>> rouge_l("the cat sat", "the old cat sat down")
    (1.0, 0.6, 0.75)
    """
    raise NotImplementedError


class Pool:
    """Instructions kept so far, and how similar a text is to them.

    Not all of them are compared word by word. A common subsequence uses a word at most as often as
    each of the two texts has it, so the words that two texts share, in any order, bound it:

        LCS  <=  overlap = sum over words w of min(count of w in c, count of w in r)
        F    <=  bound   = 2 overlap / (|c| + |r|)

    An index from numbered words to the texts that have them gives all overlaps at once. Texts are
    then compared from the highest bound down, until no bound is high enough to change the answer.
    So the answer is always that of comparing all of them. It holds with rounding too: both
    quotients have the same divisor, so the greater dividend never has the lesser quotient.

    >>> pool = Pool()
    >>> pool.add("Name the capital of France."); pool.add("Sort these words.")
    >>> pool.most_similar("Sort the words."), pool.is_new("Sort the words.")
    ((0.6666666666666666, 1), True)
    """

    def __init__(self, tokens=words):
        """tokens: a function from a text to its list of tokens."""
        self.tokens = tokens
        self.kept = []  # the tokens of each text, in the order of `add`
        self.lengths = array("q")  # int64
        self.holders = defaultdict(lambda: array("q"))  # {numbered token: indices of texts}

    def __len__(self):
        return len(self.kept)

    def add(self, text):
        """Keep a text. Its index is the number of texts that were added before it."""
        tokens = self.tokens(text)
        for pair in numbered(tokens):
            self.holders[pair].append(len(self.kept))
        self.lengths.append(len(tokens))
        self.kept.append(tokens)

    def most_similar(self, text):
        """(highest F with a kept text, index of that text); of equal ones the first.

        (0.0, 0) if no kept text shares a token with this one, (0.0, None) if none is kept.
        """
        if not self.kept:
            return 0.0, None
        tokens, best = self.tokens(text), (0.0, 0)  # (F, -index): of equal F, the first is greatest
        f_with = self._f_with(tokens)
        for bound, i in self._from_highest_bound(tokens):
            if (bound, -i) <= best:  # nor can one of those that follow be greater
                break
            best = max(best, (f_with(i), -i))
        return best[0], -best[1]

    def is_new(self, text, threshold=0.7):
        """Self-Instruct's rule: is F at most the threshold with every kept text?

        A text without a token is always new. ValueError unless the threshold is from 0 to 1.
        """
        raise NotImplementedError

    def _f_with(self, tokens):
        """A function from the index of a kept text to its F with these tokens."""
        lcs = lcs_with(tokens)
        return lambda i: 2 * lcs(self.kept[i]) / (len(tokens) + self.lengths[i])

    def _from_highest_bound(self, tokens, above=0):
        """(bound of F, index) of kept texts, highest bound first, of equal ones lowest index first.

        Texts whose bound is not greater than `above` are left out.
        """
        holders = [self.holders[pair] for pair in numbered(tokens) if pair in self.holders]
        if not holders:
            return []
        overlaps = np.bincount(np.concatenate(holders), minlength=len(self.kept))
        bounds = 2 * overlaps / (len(tokens) + np.array(self.lengths))
        chosen = np.flatnonzero(bounds > above)
        order = chosen[np.argsort(-bounds[chosen], kind="stable")]
        return zip(bounds[order].tolist(), order.tolist())
