"""What the terminal and the page show agrees with the mask, token by token, whatever users typed."""

import html
import random
import re
from html.parser import HTMLParser

import pytest

from minisft.conversation import Conversation, Rendered, render, render_text
from minisft.show import ROLE, SUPERVISED, ShowConfig, main, page, summary, terminal, token_text, visible
from minisft.tokenizer import SPECIAL_TOKENS, Tokenizer, train_bpe

BYTES = Tokenizer([bytes([byte]) for byte in range(256)])
LEARNT = Tokenizer(train_bpe(["Hello there. How are you?\n\n\n你好世界 <script> a\n  \n b"] * 3, 340))
TYPED = ["<script>alert(1)</script>", "</span>", "&lt;", "&", '"', "'", "<!--", "|", "│", "\n", "\n\n", "\t", "\r", " ",
         "你好", "é", "😀", "\x00", "\x1b[31m", "\x1b[2J", "\x7f", "\u202e", "\u2028", "\u200b", "{x}", "http",
         "<|end|>", "<|assistant|>", "</style>", "Hello", "<e4>", "\ufeff", "\u0301"]


def talk(*contents):
    roles = ("user", "assistant") * len(contents)
    return Conversation.from_messages([{"role": role, "content": text} for role, text in zip(roles, contents)])


def random_rendered(rng, tokenizer):
    contents = ["".join(rng.choices(TYPED, k=rng.randrange(1, 8))) + "." for _ in range(rng.randrange(1, 6))]
    return render_text(contents[0], tokenizer) if rng.random() < 0.1 else render(talk(*contents), tokenizer)


def read_terminal(shown):
    """[(text, supervised), ...] of coloured text."""
    tokens = re.findall(r"(\033\[[0-9;]+m)(.*?)\033\[0m(?:│|\n|$)", shown)
    assert "".join(style + text for style, text in tokens) == re.sub(r"\033\[0m(│|\n|$)", "", shown)
    return [(text, style == SUPERVISED) for style, text in tokens]


class PageReader(HTMLParser):
    """The tokens of a page as (text, supervised, hint), and all tags and links in it."""

    def __init__(self, content):
        super().__init__()
        self.tokens, self.tags, self.links, self.inside = [], [], [], False
        self.feed(content)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.links += [attributes[name] for name in ("href", "src", "action") if name in attributes]
        self.inside = tag == "span" and "title" in attributes
        if self.inside:
            self.tokens.append(["", "s" in attributes["class"].split(), attributes["title"]])

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.tokens[-1][0] += data


def test_a_conversation_on_the_terminal_worked_by_hand():
    given, end = "\033[2m", "\033[0m"
    assert terminal(render(talk("a", "b"), BYTES), BYTES) == (
        f"{given}<|endoftext|>{end}│{ROLE}<|user|>{end}│{given}a{end}│{given}<|end|>{end}\n"
        f"{ROLE}<|assistant|>{end}│{SUPERVISED}b{end}│{SUPERVISED}<|end|>{end}")


@pytest.mark.parametrize("tokenizer", [BYTES, LEARNT])
def test_the_terminal_agrees_with_the_mask_token_by_token(tokenizer):
    rng = random.Random(0)
    for _ in range(500):
        rendered = random_rendered(rng, tokenizer)
        assert read_terminal(terminal(rendered, tokenizer)) == [
            (visible(token_text(tokenizer, token)), bool(flag))
            for token, flag in zip(rendered.ids, rendered.loss_mask)]


@pytest.mark.parametrize("tokenizer", [BYTES, LEARNT])
def test_the_page_agrees_with_the_mask_token_by_token(tokenizer):
    rng = random.Random(1)
    for _ in range(100):
        rows = [(f"row {i}", random_rendered(rng, tokenizer)) for i in range(3)]
        expected = [
            [visible(token_text(tokenizer, token)), bool(flag),
             f"token {i}, id {token}" + (f": predicted from the {i} tokens before it" if flag else "")]
            for _, rendered in rows for i, (token, flag) in enumerate(zip(rendered.ids, rendered.loss_mask))]
        assert PageReader(page(rows, tokenizer)).tokens == expected


def test_a_mask_that_is_wrong_is_shown_wrong():
    rendered = render(talk("ab", "cd"), BYTES)
    shifted = Rendered(rendered.ids, [0, *rendered.loss_mask[:-1]])
    assert read_terminal(terminal(shifted, BYTES)) != read_terminal(terminal(rendered, BYTES))
    assert page([("", shifted)], BYTES) != page([("", rendered)], BYTES)


def test_what_users_typed_is_no_markup_in_the_page():
    plain = PageReader(page([("a", render(talk("a", "b"), BYTES))], BYTES))
    typed = "<script>alert(1)</script><img src=http://example.org/x onerror=alert(1)></span>\"'&amp;{x}"
    for tokenizer in (BYTES, Tokenizer([*map(bytes, zip(range(256))), b"<script>", b"</span>"], pattern=r"[\s\S]+")):
        reader = PageReader(page([(typed, render(talk(typed, typed), tokenizer))], tokenizer))
        assert set(reader.tags) == set(plain.tags) | {"span"}
        assert "script" not in reader.tags and "img" not in reader.tags
        assert "".join(text for text, _, _ in reader.tokens).count(typed) == 2


def test_the_page_needs_nothing_from_elsewhere():
    content = page([("a", render(talk("a", "b"), BYTES))], BYTES)
    assert PageReader(content).links == []
    assert not re.search(r"https?:|//|@import|url\(|<link|<script", content)
    assert content.startswith("<!doctype html>") and '<meta charset="utf-8">' in content


def test_tokens_that_are_no_characters_are_shown_as_their_bytes():
    assert [token_text(BYTES, token) for token in "é".encode()] == ["<c3>", "<a9>"]
    joined = Tokenizer([*map(bytes, zip(range(256))), b"\xbd\xa0\xe5", "你".encode()])
    assert token_text(joined, 256) == "<bd><a0><e5>"
    assert token_text(joined, 257) == "你"


def test_special_tokens_are_shown_by_name_and_the_same_name_typed_is_shown_apart():
    assert [token_text(BYTES, BYTES.special(name)) for name in SPECIAL_TOKENS] == list(SPECIAL_TOKENS)
    shown = [text for text, _ in read_terminal(terminal(render(talk("<|end|>", "b"), BYTES), BYTES))]
    assert shown == ["<|endoftext|>", "<|user|>", *"<|end|>", "<|end|>", "<|assistant|>", "b", "<|end|>"]


@pytest.mark.parametrize("text, shown", [
    ("a b", "a b"), ("\n\n", "↵↵"), ("\t", "→"), ("\r\n", "␍↵"), ("\x1b[31m", "<U+001B>[31m"), ("\x00", "<U+0000>"),
    ("\u202e", "<U+202E>"), ("\u2028", "<U+2028>"), ("\u3000", "<U+3000>"), ("\U000e0080", "<U+E0080>"),
    ("你好 é 😀", "你好 é 😀"),
])
def test_what_cannot_be_printed_is_marked(text, shown):
    assert visible(text) == shown


def test_no_control_character_of_a_user_reaches_the_terminal():
    shown = terminal(render(talk("".join(map(chr, range(0x20))) + "\x7fa", "b"), LEARNT), LEARNT)
    assert set(re.sub(r"\033\[[0-9;]+m", "", shown)) & set(map(chr, [*range(0x20), 0x7F])) == {"\n"}


def test_lines_end_after_each_turn_and_each_line_end_and_nowhere_else():
    rendered = render(talk("a\nb", "c<|end|>"), BYTES)
    lines = re.sub(r"\033\[[0-9;]+m", "", terminal(rendered, BYTES)).split("\n")
    assert lines == ["<|endoftext|>│<|user|>│a│↵", "b│<|end|>", "<|assistant|>│c│<│|│e│n│d│|│>│<|end|>"]
    assert page([("", rendered)], BYTES).count("<br>") == 3
    typed = Tokenizer([*map(bytes, zip(range(256))), b"<|end|>"], pattern=r"[\s\S]+")  # here it is one ordinary token
    assert terminal(render(talk("<|end|>", "b"), typed), typed).count("\n") == 1


def test_the_summary_counts_supervised_tokens():
    assert summary(render(talk("a", "b"), BYTES)) == "7 tokens, 2 of them supervised (29%)"


@pytest.fixture
def files(tmp_path):
    """A tokenizer file and a file of three rows, one of them plain text."""
    LEARNT.save(tmp_path / "tokenizer.json")
    (tmp_path / "rows.jsonl").write_text(
        '{"prompt": "first?", "completion": "one"}\n\n{"prompt": "second?", "completion": "<b>two"}\n{"text": "3"}\n')
    return [str(tmp_path / "rows.jsonl"), "--tokenizer", str(tmp_path / "tokenizer.json")]


def test_the_command_prints_the_rows_asked_for(files, capsys):
    main([*files, "--row", "2", "--rows", "5"])
    out = capsys.readouterr().out
    assert f"{files[0]}:1" not in out
    second, third = render(talk("second?", "<b>two"), LEARNT), render_text("3", LEARNT)
    assert f"{files[0]}:3: {summary(second)}\n{terminal(second, LEARNT)}\n" in out
    assert f"{files[0]}:4: {summary(third)}\n{terminal(third, LEARNT)}\n" in out


def test_the_command_shows_the_first_row_by_default(files, capsys):
    main(files)
    out = capsys.readouterr().out
    assert terminal(render(talk("first?", "one"), LEARNT), LEARNT) in out
    assert f"{files[0]}:3" not in out


def test_the_command_writes_a_page(files, tmp_path, capsys):
    main([*files, "--rows", "3", "--html", str(tmp_path / "mask.html")])
    content = (tmp_path / "mask.html").read_text(encoding="utf-8")
    assert "mask.html" in capsys.readouterr().out
    assert [html.unescape(title) for title in re.findall("<h2>(.*?)</h2>", content)] == [
        f"{files[0]}:{line}" for line in (1, 3, 4)]
    assert len(PageReader(content).tokens) == sum(
        len(rendered.ids) for rendered in (render(talk("first?", "one"), LEARNT),
                                           render(talk("second?", "<b>two"), LEARNT), render_text("3", LEARNT)))


@pytest.mark.parametrize("change, wrong", [
    (["--row", "4"], r"rows\.jsonl has 3 rows; --row 4 is beyond them"),
    (["--tokenizer", "missing.json"], r"missing\.json"),
    (["--tokenizer", "missing"], "missing does not exist"),
    (["--html", "/"], "minisft.show"),
])
def test_a_wrong_request_ends_with_a_sentence(files, change, wrong):
    with pytest.raises(SystemExit, match=wrong):
        main([*files, *change])


def test_a_bad_row_or_a_missing_file_ends_with_its_place(files, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": 3}\n')
    with pytest.raises(SystemExit, match=r"bad\.jsonl:2: text is a number, expected text"):
        main([str(tmp_path / "bad.jsonl"), *files[1:]])
    with pytest.raises(SystemExit, match=r"none\.jsonl: no such file"):
        main([str(tmp_path / "none.jsonl"), *files[1:]])


@pytest.mark.parametrize("field", ["row", "rows"])
def test_rows_are_counted_from_one(field):
    with pytest.raises(ValueError, match=f"--{field} must be at least 1, got 0"):
        ShowConfig(**{field: 0})
