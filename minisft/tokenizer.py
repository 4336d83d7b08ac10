"""Byte-level BPE: learn merges from text, encode with them, and hand them to tiktoken, which encodes faster.

    start: every byte is a token.
    repeat: find the most frequent pair of neighbouring tokens in the corpus and make it a new token.
    ties: of equally frequent pairs, the one whose (left bytes, right bytes) sorts first.

Text is first cut into pieces (words with their leading space, numbers of up to two digits, single Chinese
characters, runs of anything else, white space), and no merge crosses a cut. A token's id is its *rank*: encoding
merges, again and again, the neighbouring pair whose joined bytes have the lowest rank.

Special tokens (document end, roles, end of turn) have ids of their own after the ranks. `encode` never produces them,
whatever the text says: only `special` does.

Source: Sennrich et al. 2016, section 3.2; Radford et al. 2019, section 2.2 (bytes). Simplified: the pieces name
letters by ranges, so that Python's `re` and tiktoken's engine cut every string alike.
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

_SPACE, _LETTER, _HAN = r" \t\n\r", r"A-Za-z\u00c0-\u024f", r"\u4e00-\u9fff"
# At most 64 spaces in a piece: tiktoken's engine finds the lookahead by going back, and a megabyte of spaces would
# exhaust its stack.
PATTERN = "|".join((
    rf" ?[{_LETTER}]+",
    r"[0-9]{1,2}",
    rf"[{_HAN}]",
    rf" ?[^{_SPACE}{_LETTER}0-9{_HAN}]+",
    rf"[{_SPACE}]{{1,64}}(?![^{_SPACE}])",
    rf"[{_SPACE}]{{1,64}}",
))


def merge_pair(tokens, pair, joined):
    """Replace every occurrence of `pair` in a list of tokens, from the left.

    >>> merge_pair([b"a", b"a", b"a", b"b"], (b"a", b"a"), b"aa")
    [b'aa', b'a', b'b']
    """
    merged, i = [], 0
    while i < len(tokens):
        if tuple(tokens[i:i + 2]) == pair:
            merged.append(joined)
            i += 2
        else:
            merged.append(tokens[i])
            i += 1
    return merged


def train_bpe(texts, vocab_size, pattern=PATTERN):
    """Learn tokens from an iterable of str until there are `vocab_size` of them, or no pair is left.

    Returns the list of tokens (bytes) in the order of their ranks; the first 256 are the single bytes.
    Raises ValueError if vocab_size < 256.
    """
    if vocab_size < 256:
        raise ValueError(f"vocab_size must be at least 256, one token for each byte; got {vocab_size}")
    ranked = [bytes([byte]) for byte in range(256)]
    counts = Counter(piece for text in texts for piece in re.findall(pattern, text))
    pieces = [[bytes([byte]) for byte in piece.encode()] for piece in counts]
    weights = list(counts.values())
    pair_counts, where = Counter(), defaultdict(set)

    def count(index, sign):
        for pair in zip(pieces[index], pieces[index][1:]):
            pair_counts[pair] += sign * weights[index]
            where[pair].add(index)

    for index in range(len(pieces)):
        count(index, +1)
    while len(ranked) < vocab_size and pair_counts:
        best = min(pair_counts, key=lambda pair: (-pair_counts[pair], pair))
        if pair_counts[best] <= 0:
            break
        joined = b"".join(best)
        if joined not in ranked:  # two pairs may join to the same bytes; the token then exists already
            ranked.append(joined)
        for index in where.pop(best):
            count(index, -1)
            pieces[index] = merge_pair(pieces[index], best, joined)
            count(index, +1)
        del pair_counts[best]
    return ranked


def encode_piece(piece, ranks, below=math.inf):
    """Ids of one piece (bytes): join the pair of lowest rank until no neighbours join to a token of a rank `below`.

    >>> encode_piece(b"aab", {b"a": 0, b"b": 1, b"ab": 2})
    [0, 2]
    """
    def rank(pair):
        found = ranks.get(pair[0] + pair[1], math.inf)
        return found if found < below else math.inf

    tokens = [bytes([byte]) for byte in piece]
    while len(tokens) > 1:
        pairs = list(zip(tokens, tokens[1:]))
        best = min(pairs, key=rank)
        if rank(best) == math.inf:
            break
        at = pairs.index(best)
        tokens[at:at + 2] = [best[0] + best[1]]
    return [ranks[token] for token in tokens]


class Tokenizer:
    """Text <-> ids, by tiktoken over our own ranks.

    >>> tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    >>> tokenizer.encode("Hi"), tokenizer.decode([72, 105]), tokenizer.vocab_size
    ([72, 105], 'Hi', 261)
    """

    def __init__(self, ranked, pattern=PATTERN, special_tokens=SPECIAL_TOKENS):
        self.ranked, self.pattern, self.special_tokens = list(ranked), pattern, tuple(special_tokens)
        self.ranks = {token: rank for rank, token in enumerate(self.ranked)}
        if len(self.ranks) < len(self.ranked) or not {bytes([byte]) for byte in range(256)} <= self.ranks.keys():
            raise ValueError("the tokens must all differ, and each of the 256 bytes must be one of them")
        self._special = {name: len(self.ranked) + i for i, name in enumerate(self.special_tokens)}
        self._encoding = tiktoken.Encoding(
            "minisft", pat_str=pattern, mergeable_ranks=self.ranks, special_tokens=self._special)

    @property
    def vocab_size(self):
        return len(self.ranked) + len(self._special)

    def special(self, name):
        """The id of a special token, such as "<|end|>"."""
        return self._special[name]

    def is_special(self, token):
        return token >= len(self.ranked)

    def encode(self, text):
        """Ids of ordinary text; "<|end|>" in it stays plain characters.

        ValueError for a lone surrogate, and for a text at which the pattern makes tiktoken give up.
        """
        check_text(text)
        try:
            return self._encoding.encode_ordinary(text)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # how tiktoken fails; it cannot be imported
                raise
            raise ValueError("tiktoken cannot cut this text with the tokenizer's pattern; the known cause is a run of "
                             "white space of about a million characters, so shorten it") from None

    def encode_slowly(self, text):
        """The same ids by our own code, to read and to test against; for patterns that Python's `re` knows."""
        pieces = re.findall(self.pattern, text)
        return [token for piece in pieces for token in encode_piece(piece.encode(), self.ranks)]

    def decode(self, ids):
        """Text of ids; bytes that are not UTF-8 become U+FFFD."""
        return self._encoding.decode(ids)

    def decode_bytes(self, ids):
        return self._encoding.decode_bytes(ids)

    def to_dict(self):
        """What `from_dict` needs, as JSON can hold it."""
        tokens = [base64.b64encode(token).decode("ascii") for token in self.ranked]
        return {"pattern": self.pattern, "special_tokens": list(self.special_tokens), "tokens": tokens}

    @classmethod
    def from_dict(cls, saved):
        return cls([base64.b64decode(token) for token in saved["tokens"]], saved["pattern"], saved["special_tokens"])

    def save(self, path):
        Path(path).write_text(json.dumps(self.to_dict(), indent=0) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path):
        """Read a file that `save` wrote; ValueError if it is something else."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not a tokenizer that Tokenizer.save wrote ({error}); make one with "
                             "`python -m minisft.world`") from error


def check_text(text):
    """ValueError if text holds a lone surrogate, which no UTF-8 file can hold and no tokenizer can encode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"lone surrogate {text[error.start]!r} at character {error.start}: it is half of a "
                         "character; remove it or write the whole character") from None
