"""GPT-2's vocabulary files as a Tokenizer, and a Tokenizer as a tokenizer.json.

GPT-2's files write a token as text, with one printable character for each byte. The vocabulary is a
dict {token: id} that ends with <|endoftext|>, our first special token. The list of merges is not
read: the merges follow the order of the ids.

Source: Radford et al. 2019, and the files published with it.
"""

from minisft.tokenizer import END_OF_TEXT, SPECIAL_TOKENS, Tokenizer, encode_piece

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def byte_characters():
    """{character: byte}: the characters that GPT-2's files use for bytes.

    A printable byte keeps its own character; the others get U+0100, U+0101, ...
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable}
    byte_of |= {chr(256 + i): byte for i, byte in enumerate(others)}
    return byte_of


def from_vocabulary(vocabulary, vocab_size, pattern=PATTERN, added=()):
    """The tokenizer of a vocabulary {token: id} whose model has `vocab_size` rows in its embedding.

    added: further tokens, each as a tokenizer.json lists it, {id, content, special, ...}.

    <|endoftext|> and the tokens after it become special tokens with the same ids. A row without a
    token gets one, such as "<|unused 50257|>". Last come those of the chat's tokens that are not
    there yet. ValueError for a vocabulary of another kind.
    """
    vocabulary = vocabulary | {token["content"]: token["id"] for token in added}
    names = sorted(vocabulary, key=vocabulary.get)
    if END_OF_TEXT not in names:
        raise ValueError(f"{END_OF_TEXT} is not among its tokens")
    ids = [vocabulary[name] for name in names]
    if ids != list(range(len(ids))) or len(ids) > vocab_size:
        raise ValueError(
            f"{len(ids)} tokens, up to id {ids[-1]}, do not fit the model's {vocab_size}")

    first_special = names.index(END_OF_TEXT)
    ordinary, special = names[:first_special], names[first_special:]
    if not ordinary:
        raise ValueError(
            f"{END_OF_TEXT} has id 0, expected it after all ordinary tokens, as in GPT-2's own "
            "files")
    special += [f"<|unused {i}|>" for i in range(len(ids), vocab_size)]
    special += [token for token in SPECIAL_TOKENS if token not in special]

    byte_of = byte_characters()
    ranked = [bytes(byte_of[character] for character in name) for name in ordinary]
    return Tokenizer(ranked, pattern, special, in_text(added))


def in_text(added):
    """{text: id} of the added tokens that transformers finds in ordinary text.

    The chat's own are never among them: no text may forge a role. ValueError for a token that takes
    white space with it, or that is found between words only.
    """
    found = {}
    for token in added:
        text = token["content"]
        if token.get("special") or text in SPECIAL_TOKENS:
            continue
        for option in ("lstrip", "rstrip", "single_word"):
            if token.get(option):
                raise ValueError(
                    f"its added token {text!r} has {option} set, which minisft cannot do")
        found[text] = token["id"]
    return found


def from_tokenizer_json(content, vocab_size):
    """The tokenizer of the content of a tokenizer.json; see `from_vocabulary`."""
    vocabulary, pattern = content["model"]["vocab"], pattern_in(content)
    return from_vocabulary(vocabulary, vocab_size, pattern, content["added_tokens"])


def pattern_in(content):
    """The pattern by which a tokenizer.json cuts text into pieces; GPT-2's own if it names none."""
    step = content["pre_tokenizer"]
    steps = step.get("pretokenizers", [step])
    if content.get("normalizer") or any(each.get("add_prefix_space") for each in steps):
        raise ValueError(
            "it changes text before cutting it into pieces (normalizer, add_prefix_space), which "
            "minisft cannot do")
    for each in steps:
        if each["type"] == "Split":
            return each["pattern"]["Regex"]
    return PATTERN


def merges_of(tokenizer):
    """The pair of tokens (bytes) that joins to each longer token, in the order of ranks."""
    merges = []
    for rank, token in enumerate(tokenizer.ranked):
        if len(token) < 2:
            continue
        parts = encode_piece(token, tokenizer.ranks, below=rank)
        if len(parts) != 2:
            raise ValueError(
                f"the token {token!r} does not come from joining two earlier tokens, so it cannot "
                "be exported")
        left, right = parts
        merges.append((tokenizer.ranked[left], tokenizer.ranked[right]))
    return merges


def tokenizer_json(tokenizer):
    """The tokenizer in the format of the library tokenizers, as a dict to write as JSON."""
    character_of = {byte: character for character, byte in byte_characters().items()}

    def as_text(token):
        return "".join(character_of[byte] for byte in token)

    ids = {name: tokenizer.special(name) for name in tokenizer.special_tokens}
    added = [
        {
            "id": token,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": name not in tokenizer.added_tokens,
        }
        for name, token in (ids | tokenizer.added_tokens).items()
    ]
    cut = {
        "type": "Split",
        "pattern": {"Regex": tokenizer.pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    bytes_to_text = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {as_text(token): rank for rank, token in enumerate(tokenizer.ranked)},
        "merges": [[as_text(left), as_text(right)] for left, right in merges_of(tokenizer)],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "normalizer": None,
        "post_processor": None,
        "added_tokens": added,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [cut, bytes_to_text]},
        "decoder": bytes_to_text,
        "model": model,
    }
