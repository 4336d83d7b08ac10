"""Training and encoding against slow, simple code, and on text that tries to break them."""

import json
import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisft.tokenizer import (
    PATTERN,
    SPECIAL_TOKENS,
    Tokenizer,
    check_text,
    encode_piece,
    merge_pair,
    train_bpe,
)

BYTES = [bytes([byte]) for byte in range(256)]
CORPUS = [
    "The cat sat on the mat. The cats sat on the mats, and 1 of 12 cats had 2024 hats!\n\n"
    "The end.    \n\n\t",
    "Zürich, Århus, čeština, déjà vu: naïve café    crème brûlée. Ça va? ÀÉÎÕÜ àéîõü àéîõü",
    "你好，世界。你好世界！指令微调指令微调，大语言模型。法国的首都是巴黎。",
    "😀😀😀 👩‍👩‍👧 e\u0301e\u0301 привет привет \x85\x85\u2028\u2028\x1c\x1c "
    "<|end|> <|user|> <|end|>",
] * 2
ALPHABETS = [
    "abcdefgh THE cat sat.,!?'\"-",
    "0123456789 ab",
    "你好世界指令微调大语言模型，。！ a1",
    "áàâãäåçéèêëñöüßøœžčšÀÉ÷×ɏɐ ",
    "😀👩\u200d👧🇫🇷✋🏽 a",
    "e\u0301\u0308\u0323a\u20dd ",
    "".join(map(chr, [*range(32), *range(127, 160)])),
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2003\u2028\u2029\u202f\u205f\u3000"
    "\ufeffa1你",
    "\u0378\u0530\uffff\U000e0080\U0003fffe\U0010ffff\ue000 a",
    "<|end>userassistant</s> ",
]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_bpe(CORPUS, 400))


def random_character(rng):
    """Any code point but a surrogate."""
    return chr(rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, 0x110000))))


def random_text(rng, length=40):
    """Text of one alphabet, any code points, or the corpus; some with names of special tokens."""
    kind = rng.randrange(len(ALPHABETS) + 3)
    alphabet = ALPHABETS[kind] if kind < len(ALPHABETS) else "".join(ALPHABETS)
    letters = [rng.choice(alphabet) for _ in range(rng.randrange(length))]
    if kind == len(ALPHABETS) + 1:
        letters = [random_character(rng) for _ in letters]
    if kind == len(ALPHABETS) + 2:
        letters = list(rng.choice(CORPUS)[rng.randrange(80):][:len(letters)])
    while rng.random() < 0.2:
        letters.insert(rng.randrange(len(letters) + 1), rng.choice(SPECIAL_TOKENS))
    if rng.random() < 0.1:
        letters.insert(rng.randrange(len(letters) + 1), rng.choice(" \n\t") * rng.randrange(200))
    return "".join(letters)


def train_by_recounting(texts, vocab_size):
    """The docstring's algorithm word for word: all pairs are counted again before each merge."""
    ranked = list(BYTES)
    pieces = []
    for text in texts:
        for piece in re.findall(PATTERN, text):
            pieces.append([bytes([byte]) for byte in piece.encode()])
    while len(ranked) < vocab_size:
        pairs = Counter(pair for piece in pieces for pair in zip(piece, piece[1:]))
        if not pairs:
            break
        most = max(pairs.values())
        best = sorted(pair for pair, number in pairs.items() if number == most)[0]
        if best[0] + best[1] not in ranked:
            ranked.append(best[0] + best[1])
        pieces = [merge_pair(piece, best, best[0] + best[1]) for piece in pieces]
    return ranked


def test_training_gives_the_merges_worked_by_hand():
    # Pieces: "hug", " hug", " pug", " hugs", " bun". Counts: ug 4, hu 3, " h" 2, all others 1.
    # ug 4. Then h+ug 3. Then " "+hug 2. The other pairs occur once, so the left bytes decide, then
    # the right bytes: (" ", "b") before (" ", "p"); " b" before " bu" before " hug" before " p".
    learnt = train_bpe(["hug hug pug hugs bun"], 1000)[256:]
    assert learnt == [b"ug", b"hug", b" hug", b" b", b" p", b" bu", b" bun", b" hugs", b" pug"]


def test_of_equally_frequent_pairs_the_first_in_byte_order_is_merged_wherever_it_stands():
    assert train_bpe(["zy c"], 257)[256] == b" c"
    assert train_bpe(["zy", "ab"], 257)[256] == b"ab"
    assert train_bpe(["az", "ab"], 257)[256] == b"ab"


def test_the_more_frequent_pair_wins_over_the_first_in_order():
    assert train_bpe(["ab", "zy", "zy"], 257)[256] == b"zy"


def test_pairs_may_overlap_when_counted_but_not_when_merged():
    # a a a a a holds the pair four times and becomes aa aa a; then (aa, a) sorts before (aa, aa).
    assert merge_pair([b"a"] * 5, (b"a", b"a"), b"aa") == [b"aa", b"aa", b"a"]
    assert train_bpe(["ab", "ab", "ab", "aaaaa"], 257)[256] == b"aa"
    assert train_bpe(["aaaaa"], 300)[256:] == [b"aa", b"aaa", b"aaaaa"]


def test_training_stops_at_the_size_asked_for_or_when_no_pair_is_left():
    assert len(train_bpe(CORPUS, 300)) == 300
    assert train_bpe([], 300) == train_bpe(["a b 1"], 256) == BYTES
    assert train_bpe(["ab"], 300) == [*BYTES, b"ab"]


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(st.text(alphabet="ab c1é你好\n!", max_size=40), max_size=5), st.integers(256, 300))
def test_training_equals_recounting_all_pairs_before_each_merge(texts, vocab_size):
    assert train_bpe(texts, vocab_size) == train_by_recounting(texts, vocab_size)


def test_training_on_many_languages_equals_recounting():
    learnt = train_bpe(CORPUS, 500)
    assert learnt == train_by_recounting(CORPUS, 500)
    assert len(set(learnt)) == len(learnt) > 400


def test_no_learnt_token_crosses_a_cut():
    for token in train_bpe(["no cat, no 123 你好 hat\n\nno cat, no 123 你好 hat"] * 3, 1000)[256:]:
        if not token.decode("utf-8", "ignore").encode() == token:
            continue  # a part of a character
        assert len(re.findall(PATTERN, token.decode())) == 1, token


def test_encoding_a_piece_joins_the_lowest_rank_first():
    ranks = {token: rank for rank, token in enumerate([*BYTES, b"bc", b"ab", b"abc", b"cd"])}
    # a+bc, because bc has a lower rank than ab and cd
    assert encode_piece(b"abcd", ranks) == [258, ord("d")]
    assert encode_piece(b"abab", ranks) == [257, 257]
    assert encode_piece(b"dcba", ranks) == list(b"dcba")


def test_the_pattern_cuts_words_numbers_chinese_and_white_space():
    assert re.findall(PATTERN, "Zoë's 12345 cats,  你好world \n") == [
        "Zoë", "'", "s", " ", "12", "34", "5", " cats", ",", " ", " ", "你", "好", "world", " \n"]
    assert re.findall(PATTERN, "x\u0663\u0664\u0665 \u2028\x85y") == [
        "x", "\u0663\u0664\u0665", " \u2028\x85", "y"]
    assert [len(piece) for piece in re.findall(PATTERN, " " * 100 + "a")] == [64, 35, 2]


def test_tiktoken_and_our_own_encoding_agree_on_ten_thousand_random_texts(tokenizer):
    rng = random.Random(0)
    seen = set()
    for _ in range(10_000):
        text = random_text(rng)
        ids = tokenizer.encode(text)
        assert ids == tokenizer.encode_slowly(text), repr(text)
        assert tokenizer.decode(ids) == text
        seen.update(ids)
    # Of 400 tokens: some bytes occur in no text, and some tokens always grow into longer ones.
    assert len(seen) > 300


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(st.text())
def test_decoding_gives_back_any_text(text):
    tokenizer = Tokenizer(BYTES)
    assert tokenizer.encode(text) == list(text.encode())
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("letter", SPECIAL_TOKENS)
def test_the_name_of_a_special_token_is_ordinary_text(tokenizer, letter):
    ids = tokenizer.encode(letter)
    assert len(ids) > 1
    assert not any(tokenizer.is_special(token) for token in ids)
    assert tokenizer.decode(ids) == letter
    assert tokenizer.decode([tokenizer.special(letter)]) == letter


def test_special_ids_never_arise_from_text(tokenizer):
    rng = random.Random(1)
    for _ in range(2000):
        parts = (*SPECIAL_TOKENS, " ", "a", "<|", "|>", "<", "\n", "你")
        text = "".join(rng.choice(parts) for _ in range(12))
        assert max(tokenizer.encode(text)) < 400


def test_special_tokens_have_the_ids_after_the_ranks(tokenizer):
    assert [tokenizer.special(name) for name in SPECIAL_TOKENS] == [400, 401, 402, 403, 404]
    assert tokenizer.vocab_size == 405
    assert tokenizer.is_special(400) and not tokenizer.is_special(399)


@pytest.mark.parametrize("run, end", [
    ("a", ""), ("é", ""), ("你", ""), ("你好世界", ""), ("!", ""), ("7", ""), ("😀", ""),
    ("the cat ", ""), (" ", ""), (" ", "x"), ("\n", ""), ("\r\n", "x"), (" \t", "!"),
])
def test_a_megabyte_of_one_thing_is_encoded_without_loss(tokenizer, run, end):
    text = run * (1_000_000 // len(run.encode())) + end
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    shorter = run * (1000 // len(run.encode())) + end
    assert tokenizer.encode(shorter) == tokenizer.encode_slowly(shorter)


def test_a_megabyte_of_random_letters_is_encoded_without_loss(tokenizer):
    text = "".join(random.Random(2).choices("theacsmn", k=1_000_000))
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text, place", [("\ud800", 0), ("ab\udfff", 2), ("\ude00\ud83d", 0)])
def test_a_lone_surrogate_is_refused_with_its_place(tokenizer, text, place):
    for refuse in (tokenizer.encode, check_text):
        message = f"lone surrogate .* at character {place}: .*remove it"
        with pytest.raises(ValueError, match=message):
            refuse(text)


def test_bytes_that_are_no_character_decode_to_the_replacement_character():
    tokenizer = Tokenizer(BYTES)
    assert tokenizer.decode([0xE4, 0x61]) == "\ufffda"
    assert tokenizer.decode_bytes([0xE4, 0x61]) == b"\xe4a"


def test_a_saved_tokenizer_encodes_alike_when_loaded(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    loaded = Tokenizer.load(path)
    assert loaded.to_dict() == tokenizer.to_dict()
    rng = random.Random(3)
    for text in [random_text(rng) for _ in range(200)]:
        assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.special("<|end|>") == tokenizer.special("<|end|>")
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_a_pattern_and_special_tokens_of_ones_own_are_kept(tmp_path):
    names = ("<s>", *SPECIAL_TOKENS)
    Tokenizer(BYTES, pattern=".", special_tokens=names).save(tmp_path / "own.json")
    loaded = Tokenizer.load(tmp_path / "own.json")
    assert (loaded.pattern, loaded.special_tokens, loaded.special("<s>")) == (".", names, 256)


@pytest.mark.parametrize("left_out", [SPECIAL_TOKENS, SPECIAL_TOKENS[1:2], SPECIAL_TOKENS[-1:]])
def test_a_tokenizer_without_a_special_token_of_the_chat_is_refused_with_its_name(
        left_out, tmp_path):
    kept = [name for name in SPECIAL_TOKENS if name not in left_out]
    Tokenizer(BYTES, special_tokens=kept).save(tmp_path / "own.json")
    message = f"its special_tokens lack {', '.join(sorted(left_out))}"
    with pytest.raises(ValueError, match=re.escape(message)):
        Tokenizer.load(tmp_path / "own.json")


def test_added_tokens_are_found_in_text_longest_first_and_saved(tmp_path):
    added = {"foo": 256, "foo bar": 257, "ab": 98}
    names = ("foo", "foo bar", *SPECIAL_TOKENS)
    Tokenizer(BYTES, special_tokens=names, added_tokens=added).save(tmp_path / "own.json")
    tokenizer = Tokenizer.load(tmp_path / "own.json")
    assert tokenizer.encode("foo barfoofo cab") == [257, 256, *b"fo c", 98]
    assert tokenizer.decode([257, 256]) == "foo barfoo"
    assert not tokenizer.is_special(256) and tokenizer.is_special(258)
    assert "added_tokens" not in Tokenizer(BYTES).to_dict()


GOOD = Tokenizer(BYTES).to_dict()


@pytest.mark.parametrize("content", [
    "", "not JSON", "[]", "null", "3", "{}", '{"tokens": []}',
    json.dumps({**GOOD, "tokens": None}),
    json.dumps({**GOOD, "tokens": [1, 2]}),
    json.dumps({**GOOD, "tokens": GOOD["tokens"][1:]}),
    json.dumps({**GOOD, "tokens": GOOD["tokens"] + GOOD["tokens"][:1]}),
    json.dumps({**GOOD, "tokens": ["é"] * 256}),
    json.dumps({**GOOD, "pattern": 3}),
    json.dumps({**GOOD, "pattern": "("}),
    json.dumps({**GOOD, "special_tokens": 3}),
    b"\xff\xfe\x00",
    "[" * 100_000,
])
def test_a_file_that_is_no_tokenizer_is_refused_by_name(tmp_path, content):
    path = tmp_path / "wrong.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"wrong\.json is not a tokenizer .*make one with"):
        Tokenizer.load(path)


def test_a_tokenizer_without_all_bytes_is_refused():
    with pytest.raises(ValueError, match="each of the 256 bytes"):
        Tokenizer(BYTES[:-1])


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(ValueError, match="at least 256.*got 255"):
        train_bpe(["abc"], 255)
