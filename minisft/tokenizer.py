"""Byte-level BPE: learn merges from text, and encode with them.

    start    every byte is a token
    repeat   the most frequent pair of neighbouring tokens in the corpus becomes a new token
    ties     among equally frequent pairs, the one whose (left bytes, right bytes) sorts first wins

Text is first cut into pieces: words with the space before them, numbers of one or two digits,
single Chinese characters, runs of other characters, and white space. No merge crosses a cut.

The id of a token is its *rank*, its place in the order of learning. To encode a piece, merge the
neighbouring pair whose joined bytes have the lowest rank, again and again. tiktoken does the same
with our ranks, but faster.

Special tokens (end of document, roles, end of turn) have the ids after the ranks. `encode` never
produces them, whatever the text contains; only `special` does.

Source: Sennrich et al. 2016, section 3.2; Radford et al. 2019, section 2.2 (bytes). Simplified:
letters are given as ranges of characters, so that Python's `re` and tiktoken cut every string in
the same way.
"""

import base64
import json
import math
import re
from collections import Counter, defaultdict
from pathlib import Path

import tiktoken

END_OF_TEXT, END_OF_TURN = "<|endoftext|>", "<|end|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIAL_TOKENS = (END_OF_TEXT, *ROLES.values(), END_OF_TURN)

BYTES = [bytes([byte]) for byte in range(256)]  # the tokens before any merge

_SPACE = r" \t\n\r"
_LETTER = r"A-Za-z\u00c0-\u024f"
_HAN = r"\u4e00-\u9fff"
# A piece holds at most 64 spaces: tiktoken tests the lookahead by backtracking, and a megabyte of
# spaces would overflow its stack.
PATTERN = "|".join((
    rf" ?[{_LETTER}]+",
    r"[0-9]{1,2}",
    rf"[{_HAN}]",
    rf" ?[^{_SPACE}{_LETTER}0-9{_HAN}]+",
    rf"[{_SPACE}]{{1,64}}(?![^{_SPACE}])",
    rf"[{_SPACE}]{{1,64}}",
))


def merge_pair(tokens, pair, joined):
    """Replace every occurrence of `pair` in a list of tokens by `joined`, from left to right.

    >>> merge_pair([b"a", b"a", b"a", b"b"], (b"a", b"a"), b"aa")
    [b'aa', b'a', b'b']
    """
    merged = []
    i = 0
    while i < len(tokens):
        if tuple(tokens[i:i + 2]) == pair:
            merged.append(joined)
            i += 2
        else:
            merged.append(tokens[i])
            i += 1
    return merged


def train_bpe(texts, vocab_size, pattern=PATTERN):
    """Learn tokens from an iterable of str, until there are `vocab_size` or no pair is left.

    Returns the list of tokens (bytes) in the order of their ranks; the first 256 are the single
    bytes. Raises ValueError if vocab_size < 256.
    """
    if vocab_size < 256:
        raise ValueError(
            f"vocab_size must be at least 256, one token for each byte; got {vocab_size}")

    # Each different piece is kept once, as a list of tokens, with the number of times it occurs.
    occurrences = Counter(piece for text in texts for piece in re.findall(pattern, text))
    pieces = [[BYTES[byte] for byte in piece.encode()] for piece in occurrences]
    weights = list(occurrences.values())

    pair_counts = Counter()
    pieces_with = defaultdict(set)  # pair -> indices of the pieces in which it occurs, or once did

    def count_pairs(index, sign):
        """Add the pairs of one piece to the counts (sign +1), or take them away (sign -1)."""
        tokens = pieces[index]
        for pair in zip(tokens, tokens[1:]):
            pair_counts[pair] += sign * weights[index]
            pieces_with[pair].add(index)

    for index in range(len(pieces)):
        count_pairs(index, +1)

    ranked = list(BYTES)
    while len(ranked) < vocab_size and pair_counts:
        best = min(pair_counts, key=lambda pair: (-pair_counts[pair], pair))
        if pair_counts[best] <= 0:
            break
        joined = b"".join(best)
        if joined not in ranked:  # another pair may have given the same bytes before
            ranked.append(joined)
        for index in pieces_with.pop(best):
            count_pairs(index, -1)
            pieces[index] = merge_pair(pieces[index], best, joined)
            count_pairs(index, +1)
        del pair_counts[best]
    return ranked


def encode_piece(piece, ranks, below=math.inf):
    """Ids of one piece (bytes): merge the pair of lowest rank until none has a rank < `below`.

    >>> encode_piece(b"aab", {b"a": 0, b"b": 1, b"ab": 2})
    [0, 2]
    """
    def rank(pair):
        found = ranks.get(pair[0] + pair[1], math.inf)
        return found if found < below else math.inf

    tokens = [BYTES[byte] for byte in piece]
    while len(tokens) > 1:
        pairs = list(zip(tokens, tokens[1:]))
        best = min(pairs, key=rank)
        if rank(best) == math.inf:
            break
        at = pairs.index(best)
        tokens[at:at + 2] = [best[0] + best[1]]
    return [ranks[token] for token in tokens]


class Tokenizer:
    """Text <-> ids, by tiktoken with our own ranks.

    added_tokens: {text: id} of words that somebody added to a finished vocabulary. Wherever such a
    text occurs it becomes its one token, whatever stands beside it.

    >>> tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    >>> tokenizer.encode("Hi"), tokenizer.decode([72, 105]), tokenizer.vocab_size
    ([72, 105], 'Hi', 261)
    """

    def __init__(self, ranked, pattern=PATTERN, special_tokens=SPECIAL_TOKENS, added_tokens=()):
        self.ranked = list(ranked)
        self.pattern = pattern
        self.special_tokens = tuple(special_tokens)
        self.added_tokens = dict(added_tokens)
        self.ranks = {token: rank for rank, token in enumerate(self.ranked)}
        if len(self.ranks) < len(self.ranked) or not set(BYTES) <= self.ranks.keys():
            raise ValueError(
                "the tokens must all differ, and each of the 256 bytes must be one of them")

        first = len(self.ranked)
        self._special = {name: first + i for i, name in enumerate(self.special_tokens)}
        self._encoding = tiktoken.Encoding(
            "minisft",
            pat_str=pattern,
            mergeable_ranks=self.ranks,
            special_tokens=self._special,
        )
        longest_first = sorted(self.added_tokens, key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    @property
    def vocab_size(self):
        return len(self.ranked) + len(self._special)

    def special(self, name):
        """The id of a special token, such as "<|end|>"."""
        return self._special[name]

    def is_special(self, token):
        return token >= len(self.ranked) and token not in self.added_tokens.values()

    def encode(self, text):
        """Ids of ordinary text; "<|end|>" in the text is encoded as plain characters.

        ValueError if the text holds a lone surrogate, or if tiktoken fails on it.
        """
        check_text(text)
        if not self.added_tokens:
            return self._encode_ordinary(text)
        ids = []
        for part in self._cut.split(text):
            added = self.added_tokens.get(part)
            ids += self._encode_ordinary(part) if added is None else [added]
        return ids

    def _encode_ordinary(self, text):
        try:
            return self._encoding.encode_ordinary(text)
        except BaseException as error:
            # tiktoken fails with a PanicException, which cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            raise ValueError(
                "tiktoken cannot cut this text with the tokenizer's pattern; the known cause is a "
                "run of white space of about a million characters, so shorten it") from None

    def encode_slowly(self, text):
        """The same ids by our own code, to read and to test against.

        The pattern must be one that Python's `re` understands; added tokens are not looked for.
        """
        ids = []
        for piece in re.findall(self.pattern, text):
            ids += encode_piece(piece.encode(), self.ranks)
        return ids

    def decode(self, ids):
        """Text of ids; bytes that are not UTF-8 become U+FFFD."""
        return self._encoding.decode(ids)

    def decode_bytes(self, ids):
        return self._encoding.decode_bytes(ids)

    def to_dict(self):
        """What `from_dict` needs, in a form that JSON can hold."""
        saved = {
            "pattern": self.pattern,
            "special_tokens": list(self.special_tokens),
            "tokens": [base64.b64encode(token).decode("ascii") for token in self.ranked],
        }
        return saved | ({"added_tokens": self.added_tokens} if self.added_tokens else {})

    @classmethod
    def from_dict(cls, saved):
        missing = set(SPECIAL_TOKENS) - set(saved["special_tokens"])
        if missing:
            raise ValueError(f"its special_tokens lack {', '.join(sorted(missing))}")
        ranked = [base64.b64decode(token) for token in saved["tokens"]]
        return cls(
            ranked, saved["pattern"], saved["special_tokens"], saved.get("added_tokens", ()))

    def save(self, path):
        Path(path).write_text(json.dumps(self.to_dict(), indent=0) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path):
        """Read a file that `save` wrote; ValueError if it is something else."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"{path} is not a tokenizer that Tokenizer.save wrote ({error}); make one with "
                "`python -m minisft.world`") from error


def check_text(text):
    """ValueError if text holds a lone surrogate, half of a character: UTF-8 cannot encode it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"lone surrogate {text[error.start]!r} at character {error.start}: it is half of a "
            "character; remove it or write the whole character") from None
