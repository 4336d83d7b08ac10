"""ROUGE-L, and a filter by it: keep a text only if it is unlike all that were kept.

    LCS: length of the longest common subsequence of two lists; what stands between does not matter

    P = LCS / |c|        R = LCS / |r|        F = 2 LCS / (|c| + |r|)

Write three pieces. `lcs_with(a)` returns a function from a list b to the LCS of a and b. (Ours does
it in the bits of integers; a table of (|a| + 1) x (|b| + 1) numbers does as well.) `rouge_l`
returns (P, R, F) of two texts, all 0 if one has no token; `tokens` makes the tokens.
`Pool.is_new(text)` says whether F is at most the threshold with every text that the pool has kept;
it adds nothing. `self.kept` has the tokens of each; `self._f_with(tokens)` is a function from an
index to the F with that text. A threshold that is not from 0 to 1 is refused with ValueError.
"""

from itertools import combinations

from lessons.checking.exercise import Exercise, Mistake, Variant

LCS, ROUGE, IS_NEW = (f"minisft.instruct.rouge:{name}"
                      for name in ("lcs_with", "rouge_l", "Pool.is_new"))
WORDS = ("Name", "sort", "the", "list", "of", "words", "by", "length", "cat")


def cases(rng):
    """Unequal lengths, repeated words, gaps, other cases of letters, no token; near copies."""
    def words(n):
        return [rng.choice(WORDS) for _ in range(n)]

    def near(text):
        """A text with one word more, one less, and two in another order."""
        changed = text.copy()
        changed.insert(rng.randrange(len(text)), rng.choice(WORDS))
        del changed[rng.randrange(len(changed))]
        i = rng.randrange(len(changed) - 1)
        changed[i:i + 2] = changed[i:i + 2][::-1]
        return changed

    def case(c, r, texts=(), threshold=0.7):
        return {"candidate": " ".join(c), "reference": " ".join(r),
                "texts": [" ".join(text) for text in texts], "threshold": threshold}

    gap = ["name", *words(1), "list", *words(1), "words"]
    pool = [list("abcdefghij"), [*"abcdefg", "x", "y", "z"], [*"abcdefgh", "x", "y"],
            [*"ijxy"], [*"xyz"], [*"yxz"], []]
    chain = [list("abcd"), list("abce"), list("abef"), list("aefg"), list("abcd"), list("efgh")]
    long = words(6)
    return [case(["The"], ["the", "cat"]), case(gap, ["Name", "list", "words"]),
            case(words(3), []), case(["cat", "of"], ["cat", "of", "cat", "of"]),
            case(words(5), words(3)), case(long, near(long)),
            case(long, near(near(long) + words(1))),
            case(["by", "cat", "of"], ["of", "cat", "by", "cat"], pool),
            case(["by", "cat", "of", "cat"], ["of", "cat", "by", "cat"]),
            case(words(2), words(4), chain, rng.choice([0.5, 0.6])),
            case(["cat"], ["cat"], pool[:2], rng.choice([-0.1, 1.5]))]


def run(code, candidate, reference, texts, threshold):
    pool, decisions = code.Pool(), []
    values = {"rouge_l(candidate, reference)": list(code.rouge_l(candidate, reference)),
              "lcs_with(candidate)(reference)": code.lcs_with(list(candidate))(list(reference))}
    try:
        for text in texts:
            decisions.append(bool(pool.is_new(text, threshold)))
            if decisions[-1]:
                pool.add(text)
    except ValueError:
        decisions = "ValueError"
    return values | {"pool.is_new(text, threshold) of one text after the other; the new ones are "
                     "added": decisions}


def lcs(a, b):
    """By recursion over the last tokens, with a table of what is known."""
    known = {}

    def of(i, j):
        if not i or not j:
            return 0
        if (i, j) not in known:
            known[i, j] = max(of(i - 1, j), of(i, j - 1), of(i - 1, j - 1) + (a[i - 1] == b[j - 1]))
        return known[i, j]

    return of(len(a), len(b))


def brute_force(a, b):
    """The longest of all subsequences of a that is one of b; for short lists."""
    def is_in(part):
        rest = iter(b)
        return all(token in rest for token in part)

    return max(n for n in range(len(a) + 1) if any(map(is_in, combinations(a, n))))


def oracle(candidate, reference, texts, threshold):
    def f(c, r):
        return 2 * lcs(c, r) / (len(c) + len(r)) if c and r else 0.0

    c, r = candidate.lower().split(), reference.lower().split()
    length = brute_force(c, r)
    rouge = [length / len(c), length / len(r), f(c, r)] if c and r else [0.0, 0.0, 0.0]
    kept, decisions = [], []
    for text in texts:
        tokens = text.split()
        decisions.append(all(f(tokens, other) <= threshold for other in kept))
        if decisions[-1]:
            kept.append(tokens)
    if texts and not 0 <= threshold <= 1:
        decisions = "ValueError"
    return {"rouge_l(candidate, reference)": rouge,
            "lcs_with(candidate)(reference)": lcs(candidate, reference),
            "pool.is_new(text, threshold) of one text after the other; the new ones are added":
                decisions}


TABLE = "a table"
BEST = "row.append(max(row[j], before[j + 1], before[j] + (token == other)))"
RETURN = "return lcs / len(c), lcs / len(r), 2 * lcs / (len(c) + len(r))"
LENGTH = "lcs = lcs_with(c)(r)"
TOKENS = "c, r = tokens(candidate), tokens(reference)"
NEW = """return not any(f_with(i) > threshold
                       for _, i in self._from_highest_bound(tokens, above=threshold))"""

EXERCISE = Exercise(
    name="rouge", doc=__doc__, targets=(LCS, ROUGE, IS_NEW), minutes=30,
    read="Lin 2004, section 3; Wang et al. 2022, section 2.2",
    call="rouge_l(candidate, reference), lcs_with(list(candidate))(list(reference)); pool = Pool() "
         "and pool.is_new(text, threshold) for each of texts, and pool.add(text) if it is",
    cases=cases, run=run, oracle=oracle,
    question="What is the longest common subsequence of \"a b c d\" and \"b d a c\"? Is it a "
             "substring of both?",
    pseudocode="""
        lcs_with: L[0][j] = L[i][0] = 0
                  L[i][j] = the largest of L[i-1][j], L[i][j-1],
                            and L[i-1][j-1] + 1 if a[i-1] and b[j-1] are equal
        rouge_l:  tokens of both; 0, 0, 0 if one has none; P, R, F from the LCS
        is_new:   refuse a threshold outside 0 to 1
                  false if F with any kept text is above the threshold
    """,
    mistakes=(
        Mistake("substring", "The longest common substring is taken; other words may stand in "
                "between.",
                (BEST, "row.append((before[j] + 1) * (token == other))\n"
                       "                best = max(best, row[-1])"),
                ("before = [0] * (len(b) + 1)", "best, before = 0, [0] * (len(b) + 1)"),
                ("return before[-1]", "return best"), of=TABLE),
        Mistake("any order", "Words that both have are counted in any order; a subsequence keeps "
                "the order.", (LENGTH, "lcs = sum(min(c.count(word), r.count(word)) for word in "
                                       "set(c))")),
        Mistake("different words", "Different words are counted once, in any order.",
                (LENGTH, "lcs = len(set(c) & set(r))")),
        Mistake("greedy", "Each word is matched with the next equal one, come what may; a better "
                "match may need to leave it out.",
                (BEST, "row.append(0)"),
                ("return before[-1]", """place, number = 0, 0
        for token in a:
            if token in b[place:]:
                place, number = b.index(token, place) + 1, number + 1
        return number"""), of=TABLE),
        Mistake("equal tokens counted twice", "A token of one list is matched with two of the "
                "other: with L[i-1][j] + 1 or L[i][j-1] + 1 instead of L[i-1][j-1] + 1.",
                (BEST, "row.append(max(row[j], before[j + 1] + (token == other)))"), of=TABLE),
        Mistake("same places", "Only tokens at the same place are compared.",
                (LENGTH, "lcs = sum(x == y for x, y in zip(c, r))")),
        Mistake("characters", "Characters are compared, not words.",
                (TOKENS, "c, r = list(candidate.lower()), list(reference.lower())")),
        Mistake("capitals differ", "\"The\" and \"the\" count as different; the tokens come from "
                "`tokens`.", (TOKENS, "c, r = candidate.split(), reference.split()")),
        Mistake("P and R swapped", "P and R have changed places: P divides by the candidate.",
                (RETURN, "return lcs / len(r), lcs / len(c), 2 * lcs / (len(c) + len(r))")),
        Mistake("F is the recall", "F is R; it is the harmonic mean of P and R.",
                (RETURN, "return lcs / len(c), lcs / len(r), lcs / len(r)")),
        Mistake("F is the plain mean", "F is the arithmetic mean of P and R; it is the harmonic "
                "one.", (RETURN, "return lcs / len(c), lcs / len(r), "
                                 "(lcs / len(c) + lcs / len(r)) / 2")),
        Mistake("F over the longer", "F divides by the longer text; it divides twice the LCS by "
                "the sum of both lengths.",
                (RETURN, "return lcs / len(c), lcs / len(r), lcs / max(len(c), len(r))")),
        Mistake("F without the 2", "F lacks its factor 2.",
                (RETURN, RETURN.replace("2 * lcs", "lcs"))),
        Mistake("nothing to divide by", "A text without a token is divided by; all three are 0 "
                "then.", ("    if not c or not r:\n        return 0.0, 0.0, 0.0\n", "")),
        Mistake("compared with the raw pool", "A text is compared with all that came before, also "
                "with those that were dropped; is_new must not add it.",
                (NEW, "new = " + NEW.removeprefix("return ") + "\n"
                      "        if not new:\n            self.add(text)\n        return new")),
        Mistake("threshold itself is too much", "An F of exactly the threshold is dropped; it is "
                "still new.", (NEW, "return not any(f_with(i) >= threshold for i in "
                                    "range(len(self.kept)))")),
        Mistake("the last one only", "A text is compared with the last kept one only.",
                (NEW, "return not any(f_with(i) > threshold for i in range(len(self.kept))[-1:])")),
        Mistake("the first one only", "A text is compared with the first kept one only.",
                (NEW, "return not any(f_with(i) > threshold for i in range(len(self.kept))[:1])")),
        Mistake("like all", "A text is dropped only if it is like all kept ones; one is enough.",
                (NEW, "return not self.kept or not all(f_with(i) > threshold for i in "
                      "range(len(self.kept)))")),
        Mistake("exact copies only", "Only exact copies are dropped.",
                (NEW, "return tokens not in self.kept")),
        Mistake("turned round", "Texts that are like a kept one are called new, and others not.",
                (NEW, NEW.replace("return not any", "return any"))),
        Mistake("threshold not checked", "A threshold outside 0 to 1 is accepted; raise "
                "ValueError.", ("if not 0 <= threshold <= 1:", "if False:")),
    ),
    variants=(
        Variant(TABLE, "The textbook's table, one row at a time: |a| x |b| steps in Python, about "
                "30 times as slow as the bits of integers.", {LCS: """
            def lcs(b):
                before = [0] * (len(b) + 1)
                for token in a:
                    row = [0]
                    for j, other in enumerate(b):
                        row.append(max(row[j], before[j + 1], before[j] + (token == other)))
                    before = row
                return before[-1]

            return lcs
            """}),
        Variant("recursion with a memory", "Reads like the definition; Python's recursion ends at "
                "about a thousand tokens.", {LCS: """
            def lcs(b):
                @functools.cache
                def of(i, j):
                    if i == len(a) or j == len(b):
                        return 0
                    if a[i] == b[j]:
                        return 1 + of(i + 1, j + 1)
                    return max(of(i + 1, j), of(i, j + 1))

                return of(0, 0)

            return lcs
            """}),
        Variant("the longest chain", "A common subsequence is a rising chain of matching places; "
                "found by bisection, fast where few tokens match.", {LCS: """
            places = {}
            for i, token in enumerate(a):
                places.setdefault(token, []).insert(0, i)

            def lcs(b):
                ends = []
                for token in b:
                    for i in places.get(token, ()):
                        at = bisect.bisect_left(ends, i)
                        ends[at:at + 1] = [i]
                return len(ends)

            return lcs
            """, IS_NEW: """
            if threshold < 0 or threshold > 1:
                raise ValueError(f"the threshold is an F, from 0 to 1; got {threshold}")
            similarity = self._f_with(self.tokens(text))
            for i in range(len(self.kept)):
                if similarity(i) > threshold:
                    return False
            return True
            """}),
    ),
    imports=("import bisect", "import functools"),
)
