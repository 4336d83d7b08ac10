"""ROUGE-L, and a pool of instructions that finds the most similar one it has kept.

    LCS: length of the longest common subsequence of a candidate c and a reference r, two lists of
    tokens; what stands between two tokens of a subsequence does not matter

    P = LCS / |c|        R = LCS / |r|        F = 2 P R / (P + R) = 2 LCS / (|c| + |r|)

Self-Instruct keeps a new instruction only if it is unlike all that it has kept so far. The paper
asks for an F of less than 0.7, the released code rejects one of more than 0.7. Here the rule is
that of the code, so a text with exactly 0.7 is new. F is computed in the second form, which is
rounded once: then equal quotients are equal numbers, and 7/10 is 0.7. rouge-score computes the
first form, in which 7/10 comes out above 0.7 for many lengths; the two differ by less than 1e-12.

Tokens are those of the package rouge-score without its stemmer: the text in lower case, and of that
the runs of a-z and 0-9. Nothing is left of a Chinese text, so its F with any text is 0, itself
included, and Self-Instruct's filter would let all Chinese instructions in. `words_and_characters`
makes a token of each Chinese character too.

Notes: 合成数据 (synthetic data). Source: Lin 2004 (ROUGE), section 3; Wang et al. 2022
(Self-Instruct), section 2.2; Hyyrö 2004 (the longest common subsequence in the bits of integers).
"""

import re
from array import array
from collections import Counter, defaultdict

import numpy as np

WORD = re.compile(r"[a-z0-9]+")
WORD_OR_CHARACTER = re.compile(
    "[a-z0-9]+|[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")


def words(text):
    """The tokens of rouge-score without its stemmer.

    >>> words("Don't repeat it 3x! 不要重复")
    ['don', 't', 'repeat', 'it', '3x']
    """
    return WORD.findall(text.lower())


def words_and_characters(text):
    """The same, and each Chinese character as a token of its own.

    >>> words_and_characters("把 Hot 翻译成中文。")
    ['把', 'hot', '翻', '译', '成', '中', '文']
    """
    return WORD_OR_CHARACTER.findall(text.lower())


def rouge_l(candidate, reference, tokens=words):
    """ROUGE-L of two texts: (P, R, F), all 0 if one of them has no token.

    tokens: a function from a text to its list of tokens.

    >>> rouge_l("the cat sat", "the old cat sat down")
    (1.0, 0.6, 0.75)
    """
    c, r = tokens(candidate), tokens(reference)
    if not c or not r:
        return 0.0, 0.0, 0.0
    lcs = lcs_with(c)(r)
    return lcs / len(c), lcs / len(r), 2 * lcs / (len(c) + len(r))


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
    places, everywhere = {}, (1 << len(a)) - 1  # places: {token: a bit for each of its positions}
    for i, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << i

    def lcs(b):
        flat = everywhere
        for token in b:
            if token in places:
                hits = flat & places[token]
                flat = (flat + hits) | (flat - hits)
        return len(a) - (flat & everywhere).bit_count()  # the carry has left bits above a's

    return lcs


def numbered(tokens):
    """Each token with the number of times it has come before; no pair comes twice.

    Two lists share as many pairs as their bags share tokens:

    >>> list(numbered(["a", "b", "a"]))
    [('a', 0), ('b', 0), ('a', 1)]
    """
    before = Counter()
    for token in tokens:
        yield token, before[token]
        before[token] += 1


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
        if not 0 <= threshold <= 1:
            raise ValueError(f"the threshold is an F, from 0 to 1; got {threshold}")
        tokens = self.tokens(text)
        f_with = self._f_with(tokens)
        return not any(f_with(i) > threshold
                       for _, i in self._from_highest_bound(tokens, above=threshold))

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
