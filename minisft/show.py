"""Show a conversation token by token: what the model is given, and what it is asked to say.

    python -m minisft.show data/train.jsonl
    python -m minisft.show mine.jsonl --row 12 --html mask.html

Supervised tokens, on which the loss is taken, are coloured; all others are context. It calls what training calls; only
the cutting of what is longer than a model's context comes later.
"""

import html
import sys
from dataclasses import dataclass
from pathlib import Path

from minisft.config import at_least, option, parse
from minisft.models import open_model
from minisft.records import read_records, render_record
from minisft.shipped import shipped
from minisft.tokenizer import END_OF_TURN, ROLES, Tokenizer

GIVEN, ROLE, SUPERVISED, RESET = "\033[2m", "\033[1;36m", "\033[1;30;42m", "\033[0m"
MARKS = {"\n": "↵", "\t": "→", "\r": "␍"}


@dataclass(frozen=True)
class ShowConfig:
    file: str = option("", "file of rows, in any format that training takes")
    row: int = option(1, "first row to show, counted from 1")
    rows: int = option(1, "number of rows to show")
    tokenizer: str = option(shipped("data/tokenizer.json"), "tokenizer file, or a model file that carries one")
    html: str = option("", "write a page to this file instead of printing")

    def __post_init__(self):
        at_least(self, row=1, rows=1)


def token_text(tokenizer, token):
    """What a token stands for, fit to be shown: special tokens by name, bytes that are no character as <e4>.

    >>> tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    >>> token_text(tokenizer, 10), token_text(tokenizer, 228), token_text(tokenizer, 256)
    ('\\n', '<e4>', '<|endoftext|>')
    """
    if tokenizer.is_special(token):
        return tokenizer.decode([token])
    try:
        return tokenizer.decode_bytes([token]).decode("utf-8")
    except UnicodeDecodeError:
        return "".join(f"<{byte:02x}>" for byte in tokenizer.decode_bytes([token]))


def visible(text):
    """Text on one line: a mark for each line end and tab, <U+001B> for what else cannot be printed or does harm."""
    return "".join(MARKS.get(char) or (char if char.isprintable() else f"<U+{ord(char):04X}>") for char in text)


def is_role(tokenizer, token):
    return token in [tokenizer.special(name) for name in ROLES.values()]


def ends_line(tokenizer, token):
    """Whether to go on with a new line: after a token that holds a line end, and after each turn."""
    return token == tokenizer.special(END_OF_TURN) or "\n" in token_text(tokenizer, token)


def summary(rendered):
    """"7 tokens, 2 of them supervised (29%)"."""
    supervised = sum(rendered.loss_mask)
    return f"{len(rendered.ids)} tokens, {supervised} of them supervised ({supervised / len(rendered.ids):.0%})"


def terminal(rendered, tokenizer):
    """The tokens as coloured text, a bar or a new line between each and the next."""
    shown = []
    for token, flag in zip(rendered.ids, rendered.loss_mask):
        style = SUPERVISED if flag else ROLE if is_role(tokenizer, token) else GIVEN
        border = "\n" if ends_line(tokenizer, token) else "│"
        shown += [f"{style}{visible(token_text(tokenizer, token))}{RESET}", border]
    return "".join(shown[:-1])


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>What is learnt from what</title><style>
body {{ font: 16px/1.9 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222;
  background: #fff; }}
h1 {{ font-size: 1.4rem }} h2 {{ font-size: 1rem; margin: 2rem 0 .3rem }} p {{ color: #555; margin: .3rem 0 }}
.tokens {{ border: 1px solid #ddd; border-radius: 8px; padding: 1rem; overflow-wrap: anywhere }}
.tokens span {{ white-space: pre-wrap; padding: .15rem .1rem; margin: 0 1px; border-radius: 3px;
  background: #f0f0f0; color: #666 }}
.tokens .s, .key .s {{ background: #bfe3c0; color: #0b3d12; font-weight: 600 }}
.tokens .special {{ font-family: ui-monospace, monospace; font-size: .8em }}
.tokens .role:not(.s) {{ background: #2f4a6d; color: #fff; padding: .15rem .4rem }}
.key span {{ padding: .15rem .5rem; border-radius: 3px; background: #f0f0f0; color: #666; margin-right: .5rem }}
</style></head><body>
<h1>What is learnt from what</h1>
<p class="key"><span class="s">supervised: the model is asked for it</span><span>given: context only</span></p>
<p>Point at a token to see its place, its id, and what predicts it. ↵ is a line end; &lt;e6&gt; is a byte that is no
character without its neighbours.</p>
{sections}
</body></html>
"""


def page(rows, tokenizer):
    """A self-contained page. rows: list of (title, Rendered)."""
    sections = []
    for title, rendered in rows:
        tokens = []
        for i, (token, flag) in enumerate(zip(rendered.ids, rendered.loss_mask)):
            kinds = {"s": flag, "special": tokenizer.is_special(token), "role": is_role(tokenizer, token)}
            names = " ".join(name for name, on in kinds.items() if on)
            hint = f"token {i}, id {token}" + (f": predicted from the {i} tokens before it" if flag else "")
            text = html.escape(visible(token_text(tokenizer, token)))
            tokens.append(f'<span class="{names}" title="{hint}">{text}</span>'
                          + ("<br>" if ends_line(tokenizer, token) else ""))
        sections.append(f"<h2>{html.escape(title)}</h2><p>{summary(rendered)}</p>"
                        f'<div class="tokens">{"".join(tokens)}</div>')
    return _PAGE.format(sections="\n".join(sections))


def load_tokenizer(path):
    """The tokenizer of a tokenizer file or of a model."""
    return Tokenizer.load(path) if str(path).endswith(".json") else open_model(path)[1]


def show(config):
    tokenizer = load_tokenizer(config.tokenizer)
    records, _ = read_records([config.file])
    chosen = records[config.row - 1:config.row - 1 + config.rows]
    if not chosen:
        raise ValueError(f"{config.file} has {len(records)} rows; --row {config.row} is beyond them")
    rows = [(record.source, render_record(record, tokenizer)) for record in chosen]
    if config.html:
        Path(config.html).write_text(page(rows, tokenizer), encoding="utf-8")
        print(f"wrote {config.html}; open it in a browser")
        return
    print(f"{SUPERVISED} supervised {RESET} {GIVEN}given{RESET} {ROLE}<|role|>{RESET}")
    for title, rendered in rows:
        print(f"\n{title}: {summary(rendered)}\n{terminal(rendered, tokenizer)}")


def main(argv=None):
    config = parse(ShowConfig, argv, "python -m minisft.show", "Show conversations token by token.", positional=("file",))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        show(config)
    except (ValueError, OSError) as error:
        raise SystemExit(f"minisft.show: {error}") from None


if __name__ == "__main__":
    main()
