"""ROUGE-L against rouge-score and against subsequences written out; the pool against all pairs."""

import random
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from minisft.instruct.rouge import (
    Pool,
    lcs_with,
    numbered,
    rouge_l,
    words,
    words_and_characters,
)

SCORER = RougeScorer(["rougeL"], use_stemmer=False)
PIECES = ["the", "The", "THE", "a", "b", "c", "word", "3x", "don't", "1,000", "-", "?", "", "naïve",
          "İ", "ＡＢ", "把热翻译", "a\nb", "\t", "_", "x_y", "²", "日本",
          "\N{KELVIN SIGN}"]  # the last one becomes a k in lower case
TEXTS = st.lists(st.sampled_from("abcde"), max_size=9).map(" ".join)
POOLS = st.lists(TEXTS, max_size=12)


def theirs(candidate, reference):
    """rouge-score's (P, R, F)."""
    return tuple(SCORER.score(target=reference, prediction=candidate)["rougeL"])


def random_text(rng):
    return rng.choice([" ", "  ", ", "]).join(rng.choices(PIECES, k=rng.randrange(20)))


def exact_f(a, b):
    """F of two texts as a fraction, their longest common subsequence found by trying them all."""
    a, b = a.split(), b.split()
    found = {tuple(chosen) for size in range(len(a) + 1) for chosen in combinations(a, size)}
    found &= {tuple(chosen) for size in range(len(b) + 1) for chosen in combinations(b, size)}
    return Fraction(2 * max(map(len, found)), max(1, len(a) + len(b)))


def table_lcs(a, b):
    """The longest common subsequence by the textbook's table, one row after the other."""
    row = [0] * (len(b) + 1)
    for x in a:
        above = row
        row = [0]
        for j, y in enumerate(b):
            row.append(above[j] + 1 if x == y else max(above[j + 1], row[j]))
    return row[-1]


def pool_of(texts, **options):
    pool = Pool(**options)
    for text in texts:
        pool.add(text)
    return pool


def test_rouge_l_is_worked_by_hand():
    # common subsequence: red owl bell; 3 of 4 tokens, 3 of 5
    P, R, F = rouge_l("Red owl, saw bell.", "the red owl's bell")
    assert (P, R) == (3 / 4, 3 / 5)
    assert F == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))


def test_precision_is_of_the_candidate_and_recall_of_the_reference():
    assert rouge_l("a b", "a b c d") == (1.0, 0.5, 2 / 3)
    assert rouge_l("a b c d", "a b") == (0.5, 1.0, 2 / 3)


def test_rouge_l_equals_rouge_score_on_10000_random_pairs():
    rng, positive = random.Random(0), 0
    for _ in range(10000):
        candidate, reference = random_text(rng), random_text(rng)
        ours = rouge_l(candidate, reference)
        assert ours == pytest.approx(theirs(candidate, reference), rel=0, abs=1e-12)
        positive += 0 < ours[2] < 1
    assert positive > 5000


@pytest.mark.parametrize("candidate, reference", [("", ""), ("", "a"), ("a", ""), ("?!", "?!"),
                                                  ("把热翻译成英文", "把热翻译成英文")])
def test_a_text_without_tokens_scores_zero_as_in_rouge_score(candidate, reference):
    assert rouge_l(candidate, reference) == theirs(candidate, reference) == (0, 0, 0)


def test_words_are_runs_of_letters_and_digits_in_lower_case():
    assert words("Don't, Émile: x_y 3x\n2.5 ＡＢ") == ["don", "t", "mile", "x", "y", "3x", "2", "5"]
    assert words("把热翻译成英文") == []


def test_chinese_characters_are_tokens_of_their_own_where_asked_for():
    assert words_and_characters("把hot翻译成中文：“Hot dog”。") == [
        "把", "hot", "翻", "译", "成", "中", "文", "hot", "dog"]
    assert words_and_characters("㐀〇豈𠀀") == ["㐀", "〇", "豈", "𠀀"]  # rarer blocks
    assert words_and_characters("，。！ かな 한국") == []
    # common subsequence: 把 翻译成英文; 6 of 7 characters each
    assert rouge_l("把热翻译成英文", "把冷翻译成英文", words_and_characters) == (6 / 7,) * 3


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_tokens_for_chinese_characters_change_no_other_token(text):
    kept = [token for token in words_and_characters(text) if token.isascii()]
    assert kept == words(text)


@given(st.lists(st.sampled_from("abc"), max_size=200), st.lists(st.sampled_from("abcd"),
                                                                max_size=200))
def test_the_bits_of_an_integer_count_what_the_table_counts(a, b):
    assert lcs_with(a)(b) == lcs_with(b)(a) == table_lcs(a, b)


def test_one_function_compares_with_many_texts():
    lcs = lcs_with("abab")
    assert [lcs("ba"), lcs("aabb"), lcs(""), lcs("xyz"), lcs("abab")] == [2, 3, 0, 0, 4]


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_the_overlap_of_numbered_tokens_is_the_sum_of_smaller_counts(a, b):
    overlap = len(set(numbered(a)) & set(numbered(b)))
    assert overlap == sum(min(a.count(token), b.count(token)) for token in "abc")
    assert overlap >= table_lcs(a, b)


@given(POOLS, TEXTS)
def test_the_most_similar_text_is_that_of_comparing_all(kept, text):
    scores = [exact_f(text, other) for other in kept]
    expected = (float(max(scores)), scores.index(max(scores))) if kept else (0.0, None)
    assert pool_of(kept).most_similar(text) == expected


@given(POOLS, TEXTS, st.sampled_from([0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0]))
def test_a_text_is_new_if_no_comparison_is_above_the_threshold(kept, text, threshold):
    limit = Fraction(str(threshold))
    expected = all(exact_f(text, other) <= limit for other in kept)
    assert pool_of(kept).is_new(text, threshold) == expected


@pytest.mark.parametrize("seed", range(3))
def test_a_pool_of_sentences_answers_as_rouge_score_does(seed):
    rng = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(60)]
    frequencies = [1 / (i + 1) for i in range(60)]

    def sentence():
        return " ".join(rng.choices(vocabulary, frequencies, k=rng.randint(8, 30)))

    kept = [sentence() for _ in range(150)]
    pool = pool_of(kept)
    for text in [sentence() for _ in range(4)] + [kept[77] + " w3"]:
        scores = [theirs(text, other)[2] for other in kept]
        F, index = pool.most_similar(text)
        assert F == pytest.approx(max(scores), abs=1e-12)
        assert index == next(i for i, score in enumerate(scores) if score > max(scores) - 1e-12)
        assert pool.is_new(text, 0.4) == (max(scores) <= 0.4)


def test_of_equally_similar_texts_the_first_is_named():
    pool = pool_of(["x y", "a b c", "a b c", "c a b"])
    assert pool.most_similar("a b c") == (1.0, 1)
    assert pool.most_similar("z") == (0.0, 0)
    # F is 1/2 with both, though the second shares more words with the text, in another order
    assert pool_of(["a b x x", "b a d c"]).most_similar("a b c d") == (0.5, 0)


def test_an_empty_pool_holds_nothing_similar():
    assert len(Pool()) == 0
    assert Pool().most_similar("a b") == (0.0, None)
    assert Pool().is_new("a b", 0.0)


def test_texts_without_tokens_are_new_and_similar_to_nothing():
    pool = pool_of(["", "?", "a b"])
    assert len(pool) == 3
    assert pool.most_similar("") == (0.0, 0) and pool.is_new("", 0.0)
    assert pool.most_similar("把") == (0.0, 0) and pool.is_new("把")
    assert pool.most_similar("b") == (2 / 3, 2)


def test_a_text_at_exactly_the_threshold_is_new_whatever_the_lengths():
    def is_new(shared, ours, kept):
        """Of these lengths, with this LCS: the other words are the same, but at the other end."""
        pool = pool_of(["c " * (kept - shared) + "a " * shared])
        return pool.is_new("a " * shared + "c " * (ours - shared))

    checked = 0
    for ours, kept in combinations(range(1, 40), 2):
        shared, rest = divmod(7 * (ours + kept), 20)
        if not rest and shared < ours:  # F = 2 shared / (ours + kept) = 7/10
            assert is_new(shared, ours, kept) and not is_new(shared + 1, ours, kept)
            checked += 1
    assert checked > 10


def test_a_pool_compares_chinese_instructions_only_by_their_characters():
    kept, text = ["把热翻译成英文。"], "把冷翻译成英文。"
    assert pool_of(kept).is_new(text)
    pool = pool_of(kept, tokens=words_and_characters)
    assert pool.most_similar(text) == (6 / 7, 0)
    assert not pool.is_new(text)


def test_a_pool_grows_between_questions():
    pool = pool_of(["a b c"])
    assert pool.is_new("d e f")
    pool.add("d e f")
    assert not pool.is_new("d e f")
    assert pool.most_similar("d e f") == (1.0, 1)
    assert len(pool) == 2


@pytest.mark.parametrize("threshold", [-0.1, 1.1, 70, float("nan")])
def test_a_threshold_that_is_no_score_is_refused(threshold):
    with pytest.raises(ValueError, match="from 0 to 1; got"):
        Pool().is_new("a", threshold)
