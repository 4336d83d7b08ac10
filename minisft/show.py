"""Show conversations token by token: what the model is given, and what it learns to predict.

    python -m minisft.show data/train.jsonl                       the first 3 rows
    python -m minisft.show mine.jsonl --row 12 --html mask.html   a page with rows 12 to 14

Green tokens are supervised: the loss is computed on them. All other tokens are context. Training
calls the same functions, and later truncates conversations that are longer than the model's
context.
"""

import html
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from minisft.config import at_least, option, parse
from minisft.models import open_model
from minisft.records import describe, read_records, render_record
from minisft.screen import visible
from minisft.shipped import TOKENIZER
from minisft.tokenizer import END_OF_TURN, ROLES, Tokenizer

GIVEN, ROLE, SUPERVISED, RESET = "\033[2m", "\033[1;36m", "\033[1;30;42m", "\033[0m"
MARKS = str.maketrans({"\n": "↵", "\t": "→", "\r": "␍"})

# The key of the terminal's first line and of the page: (style, class in the page, meaning).
KEY = (
    (SUPERVISED, "s", "supervised: the model learns to predict it"),
    (GIVEN, "given", "given: context only"),
    (ROLE, "role", "who speaks: given, not learnt"),
)
PARTS_NOTE = ("狗1/3: the first of the 3 tokens that together are the character 狗. "
              "<e7>: a byte that cannot be shown as a character.")


@dataclass(frozen=True)
class ShowConfig:
    file: str = option("", "file of rows, in any format that training takes")
    row: int = option(1, "first row to show, counted from 1")
    rows: int = option(3, "number of rows to show")
    tokenizer: str = option(TOKENIZER, "tokenizer file, or a model that has a tokenizer in it")
    html: str = option("", "write a page to this file instead of printing")
    skip_bad: bool = option(False, "count and skip rows that cannot be used, instead of stopping")

    def __post_init__(self):
        at_least(self, row=1, rows=1)


def token_texts(tokenizer, ids):
    """The text of each token of a conversation, as a list of str.

    A special token is shown by its name. A character that several tokens of one turn share is shown
    in each of them: 狗1/3, 狗2/3, 狗3/3. Of these tokens only the first may hold something else,
    namely whole characters before this one; otherwise the bytes of the character are shown, as
    <e7>. Bytes that form no character are shown in the same way.

    >>> tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    >>> token_texts(tokenizer, [256, 195, 169, 10, 228, 260])
    ['<|endoftext|>', 'é1/2', 'é2/2', '\\n', '<e4>', '<|end|>']
    """
    # A special token stands for the bytes of its name, so no character is joined across turns.
    pieces = [tokenizer.decode_bytes([token]) for token in ids]
    content = b"".join(pieces)
    token_at = [token for token, piece in enumerate(pieces) for _ in piece]  # of each byte
    begins = [0, *accumulate(len(piece) for piece in pieces)]  # place of each token's first byte

    texts = [""] * len(pieces)
    start = 0
    for char in content.decode("utf-8", "surrogateescape"):  # a surrogate for each stray byte
        raw = char.encode("utf-8", "surrogateescape")
        end = start + len(raw)
        first, last = token_at[start], token_at[end - 1]
        before = content[begins[first]:start]

        if first == last and _is_text(raw):
            texts[first] += char
        elif first < last and _is_text(before) and end == begins[last + 1]:
            count = last - first + 1
            for part in range(count):
                texts[first + part] += f"{char}{part + 1}/{count}"
        else:
            for token, byte in zip(token_at[start:end], raw):
                texts[token] += f"<{byte:02x}>"
        start = end
    return texts


def _is_text(content):
    """Whether bytes are whole characters."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def marked(text):
    """Text on one line: a mark for line ends and tabs, <U+001B> for what cannot be printed."""
    return visible(text.translate(MARKS), kept="")


def is_role(tokenizer, token):
    return token in [tokenizer.special(name) for name in ROLES.values()]


def ends_line(tokenizer, token):
    """Whether a new line follows: after each turn, and after a token that holds a line end."""
    return token == tokenizer.special(END_OF_TURN) or b"\n" in tokenizer.decode_bytes([token])


def has_parts(rendered, tokenizer):
    """Whether a token holds a part of a character, which PARTS_NOTE explains."""
    return any(not _is_text(tokenizer.decode_bytes([token])) for token in rendered.ids)


def summary(rendered):
    """"7 tokens, 2 of them supervised (29%)"."""
    total, supervised = len(rendered.ids), sum(rendered.loss_mask)
    return f"{total} tokens, {supervised} of them supervised ({supervised / total:.0%})"


def terminal(rendered, tokenizer):
    """The tokens as coloured text, with a bar or a new line between two tokens."""
    texts = token_texts(tokenizer, rendered.ids)
    shown = []
    for token, flag, text in zip(rendered.ids, rendered.loss_mask, texts):
        if flag:
            style = SUPERVISED
        elif is_role(tokenizer, token):
            style = ROLE
        else:
            style = GIVEN
        border = "\n" if ends_line(tokenizer, token) else "│"
        shown += [f"{style}{marked(text)}{RESET}", border]
    return "".join(shown[:-1])


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>What is learnt from what</title><style>
body {{ font: 16px/1.9 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }}
h1 {{ font-size: 1.4rem }} h2 {{ font-size: 1rem; margin: 2rem 0 .3rem }}
p {{ color: #555; margin: .3rem 0 }}
.tokens {{ border: 1px solid #ddd; border-radius: 8px; padding: 1rem; overflow-wrap: anywhere }}
.tokens span {{ white-space: pre-wrap; padding: .15rem .1rem; margin: 0 1px; border-radius: 3px;
  background: #f0f0f0; color: #666 }}
.tokens .s, .key .s {{ background: #bfe3c0; color: #0b3d12; font-weight: 600 }}
.tokens .special {{ font-family: ui-monospace, monospace; font-size: .8em }}
.tokens .role:not(.s), .key .role {{ background: #2f4a6d; color: #fff }}
.tokens .role:not(.s) {{ padding: .15rem .4rem }}
.key span {{ display: inline-block; line-height: 1.3; padding: .15rem .5rem; border-radius: 3px;
  background: #f0f0f0; color: #666; margin: .15rem .5rem .15rem 0 }}
</style></head><body>
<h1>What is learnt from what</h1>
<p class="key">{key}</p>
<p>Point at a token to see its place, its id, and what predicts it. ↵ is a line end. {note}</p>
{sections}
</body></html>
"""


def page(rows, tokenizer):
    """A self-contained page. rows: list of (title, Rendered)."""
    sections = []
    for title, rendered in rows:
        sections.append(
            f"<h2>{html.escape(title)}</h2><p>{summary(rendered)}</p>"
            f'<div class="tokens">{_spans(rendered, tokenizer)}</div>')
    key = " ".join(f'<span class="{name}">{meaning}</span>' for _, name, meaning in KEY)
    return _PAGE.format(key=key, note=html.escape(PARTS_NOTE), sections="\n".join(sections))


def _spans(rendered, tokenizer):
    """The tokens as HTML, each with a hint that appears when one points at it."""
    texts = token_texts(tokenizer, rendered.ids)
    spans = []
    for i, (token, flag, text) in enumerate(zip(rendered.ids, rendered.loss_mask, texts)):
        kinds = {"s": flag, "special": tokenizer.is_special(token),
                 "role": is_role(tokenizer, token)}
        names = " ".join(name for name, on in kinds.items() if on)
        hint = f"token {i}, id {token}"
        if flag:
            hint += f": predicted from the {i} tokens before it"
        spans.append(f'<span class="{names}" title="{hint}">{html.escape(marked(text))}</span>')
        if ends_line(tokenizer, token):
            spans.append("<br>")
    return "".join(spans)


def load_tokenizer(path):
    """The tokenizer of a tokenizer file or of a model."""
    if str(path).endswith(".json"):
        return Tokenizer.load(path)
    return open_model(path)[1]


def show(config):
    """Print the chosen rows, or write a page of them."""
    tokenizer = load_tokenizer(config.tokenizer)
    records, bad = read_records([config.file], config.skip_bad)
    chosen = records[config.row - 1:config.row - 1 + config.rows]
    if not chosen:
        raise ValueError(
            f"{config.file} has {len(records)} rows; --row {config.row} is beyond them")
    rows = [(record.source, render_record(record, tokenizer)) for record in chosen]

    read = visible("\n".join(describe(records, bad)))
    if config.html:
        print(read)
        Path(config.html).write_text(page(rows, tokenizer), encoding="utf-8")
        print(f"wrote {config.html}; open it in a browser")
    else:
        print("   ".join(f"{style}{meaning}{RESET}" for style, _, meaning in KEY) + f"\n{read}")
        for title, rendered in rows:
            print(f"\n{title}: {summary(rendered)}\n{terminal(rendered, tokenizer)}")
        if any(has_parts(rendered, tokenizer) for _, rendered in rows):
            print(f"\n{PARTS_NOTE}")

    if len(chosen) < len(records):
        print(f"\n{_place(config.row, len(chosen), len(records))}; to see others: "
              "--row N --rows M (M rows, from row N on)")


def _place(row, shown, total):
    """"rows 1 to 3 of 12650"."""
    if shown == 1:
        return f"row {row} of {total}"
    return f"rows {row} to {row + shown - 1} of {total}"


def main(argv=None):
    config = parse(
        ShowConfig, argv, "python -m minisft.show", "Show conversations token by token.",
        positional=("file",))
    try:
        show(config)
    except (ValueError, OSError) as error:
        raise SystemExit(f"minisft.show: {error}") from None


if __name__ == "__main__":
    main()
