"""Terminal and page agree with the mask, token by token, whatever users typed."""

import html
import random
import re
from html.parser import HTMLParser

import pytest

from minisft.conversation import Conversation, Rendered, render, render_text
from minisft.shipped import TOKENIZER
from minisft.show import (
    GIVEN,
    PARTS_NOTE,
    RESET,
    ROLE,
    SUPERVISED,
    ShowConfig,
    main,
    marked,
    page,
    summary,
    terminal,
    token_texts,
)
from minisft.tokenizer import SPECIAL_TOKENS, Tokenizer, train_bpe

SINGLE_BYTES = [bytes([byte]) for byte in range(256)]
BYTES = Tokenizer(SINGLE_BYTES)
LEARNT = Tokenizer(
    train_bpe(["Hello there. How are you?\n\n\n你好世界 <script> a\n  \n b"] * 3, 340))
SHIPPED = Tokenizer.load(TOKENIZER)
TYPED = [
    "<script>alert(1)</script>", "</span>", "&lt;", "&", '"', "'", "<!--", "|", "│", "\n", "\n\n",
    "\t", "\r", " ", "你好", "é", "😀", "\x00", "\x1b[31m", "\x1b[2J", "\x7f", "\x9b", "\u202e",
    "\u2028", "\u200b", "{x}", "http", "<|end|>", "<|assistant|>", "</style>", "Hello", "<e4>",
    "\ufeff", "\u0301",
]


def talk(*contents):
    roles = ("user", "assistant") * len(contents)
    return Conversation.from_messages(
        [{"role": role, "content": text} for role, text in zip(roles, contents)])


def with_tokens(*tokens):
    """A tokenizer of single bytes and of these tokens, whose ids begin at 256."""
    return Tokenizer([*SINGLE_BYTES, *tokens], pattern=r"[\s\S]+")


def random_rendered(rng, tokenizer):
    contents = ["".join(rng.choices(TYPED, k=rng.randrange(1, 8))) + "."
                for _ in range(rng.randrange(1, 6))]
    if rng.random() < 0.1:
        return render_text(contents[0], tokenizer)
    return render(talk(*contents), tokenizer)


def uncoloured(shown):
    return re.sub(r"\033\[[0-9;]+m", "", shown)


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
    assert terminal(render(talk("a", "b"), BYTES), BYTES) == (
        f"{GIVEN}<|endoftext|>{RESET}│{ROLE}<|user|>{RESET}│{GIVEN}a{RESET}│{GIVEN}<|end|>{RESET}\n"
        f"{ROLE}<|assistant|>{RESET}│{SUPERVISED}b{RESET}│{SUPERVISED}<|end|>{RESET}")


@pytest.mark.parametrize("tokenizer", [BYTES, LEARNT, SHIPPED])
def test_the_terminal_agrees_with_the_mask_token_by_token(tokenizer):
    rng = random.Random(0)
    for _ in range(500):
        rendered = random_rendered(rng, tokenizer)
        texts = token_texts(tokenizer, rendered.ids)
        assert read_terminal(terminal(rendered, tokenizer)) == [
            (marked(text), bool(flag)) for text, flag in zip(texts, rendered.loss_mask)]


@pytest.mark.parametrize("tokenizer", [BYTES, LEARNT, SHIPPED])
def test_the_page_agrees_with_the_mask_token_by_token(tokenizer):
    rng = random.Random(1)
    for _ in range(100):
        rows = [(f"row {i}", random_rendered(rng, tokenizer)) for i in range(3)]
        expected = []
        for _, rendered in rows:
            texts = token_texts(tokenizer, rendered.ids)
            for i, (token, flag) in enumerate(zip(rendered.ids, rendered.loss_mask)):
                hint = f"token {i}, id {token}"
                if flag:
                    hint += f": predicted from the {i} tokens before it"
                expected.append([marked(texts[i]), bool(flag), hint])
        assert PageReader(page(rows, tokenizer)).tokens == expected


def test_a_mask_that_is_wrong_is_shown_wrong():
    rendered = render(talk("ab", "cd"), BYTES)
    shifted = Rendered(rendered.ids, [0, *rendered.loss_mask[:-1]])
    assert read_terminal(terminal(shifted, BYTES)) != read_terminal(terminal(rendered, BYTES))
    assert page([("", shifted)], BYTES) != page([("", rendered)], BYTES)


def test_what_users_typed_is_no_markup_in_the_page():
    plain = PageReader(page([("a", render(talk("a", "b"), BYTES))], BYTES))
    typed = ("<script>alert(1)</script><img src=http://example.org/x onerror=alert(1)></span>"
             "\"'&amp;{x}")
    for tokenizer in (BYTES, with_tokens(b"<script>", b"</span>")):
        reader = PageReader(page([(typed, render(talk(typed, typed), tokenizer))], tokenizer))
        assert set(reader.tags) == set(plain.tags) | {"span"}
        assert "script" not in reader.tags and "img" not in reader.tags
        assert "".join(text for text, _, _ in reader.tokens).count(typed) == 2


def test_the_page_needs_nothing_from_elsewhere():
    content = page([("a", render(talk("a", "b"), BYTES))], BYTES)
    assert PageReader(content).links == []
    assert not re.search(r"https?:|//|@import|url\(|<link|<script", content)
    assert content.startswith("<!doctype html>") and '<meta charset="utf-8">' in content


@pytest.mark.parametrize("text, shown", [
    ("狗", ["狗1/3", "狗2/3", "狗3/3"]),
    ("é😀", ["é1/2", "é2/2", "😀1/4", "😀2/4", "😀3/4", "😀4/4"]),
    ("a狗狗\n", ["a", "狗1/3", "狗2/3", "狗3/3", "狗1/3", "狗2/3", "狗3/3", "\n"]),
])
def test_a_character_is_shown_in_each_of_its_tokens_when_tokens_are_bytes(text, shown):
    assert token_texts(BYTES, list(text.encode())) == shown


def test_a_character_is_shown_in_each_of_its_tokens_with_the_shipped_tokenizer():
    ids = SHIPPED.encode("的狗, 鲸。")
    pieces = [SHIPPED.decode_bytes([token]) for token in ids]
    assert pieces == ["的".encode(), b"\xe7\x8b", b"\x97", b",", b" ", b"\xe9", b"\xb2", b"\xb8",
                      "。".encode()]
    assert token_texts(SHIPPED, ids) == [
        "的", "狗1/2", "狗2/2", ",", " ", "鲸1/3", "鲸2/3", "鲸3/3", "。"]


def test_a_shared_character_on_the_terminal_and_on_the_page_worked_by_hand():
    rendered = render(talk("狗", "é"), SHIPPED)
    assert terminal(rendered, SHIPPED) == (
        f"{GIVEN}<|endoftext|>{RESET}│{ROLE}<|user|>{RESET}│"
        f"{GIVEN}狗1/2{RESET}│{GIVEN}狗2/2{RESET}│{GIVEN}<|end|>{RESET}\n"
        f"{ROLE}<|assistant|>{RESET}│"
        f"{SUPERVISED}é1/2{RESET}│{SUPERVISED}é2/2{RESET}│{SUPERVISED}<|end|>{RESET}")
    tokens = PageReader(page([("", rendered)], SHIPPED)).tokens
    assert [text for text, _, _ in tokens] == [
        "<|endoftext|>", "<|user|>", "狗1/2", "狗2/2", "<|end|>",
        "<|assistant|>", "é1/2", "é2/2", "<|end|>"]


def test_bytes_that_form_no_character_are_shown_as_bytes():
    assert token_texts(BYTES, [0xE7, 0x8B, 0x61, 0x97]) == ["<e7>", "<8b>", "a", "<97>"]
    assert token_texts(BYTES, [0xFF, *"é".encode()]) == ["<ff>", "é1/2", "é2/2"]
    surrogate, too_long = [0xED, 0xB2, 0x80], [0xC0, 0x80]
    assert token_texts(BYTES, surrogate) == ["<ed>", "<b2>", "<80>"]
    assert token_texts(BYTES, too_long) == ["<c0>", "<80>"]


@pytest.mark.parametrize("tokenizer", [BYTES, SHIPPED])
def test_a_character_is_not_put_together_from_two_turns(tokenizer):
    e7, eight_b, x97 = (tokenizer.ranks[byte] for byte in (b"\xe7", b"\x8b", b"\x97"))
    end, user = tokenizer.special("<|end|>"), tokenizer.special("<|user|>")
    assert token_texts(tokenizer, [user, e7, eight_b, end, user, x97, end]) == [
        "<|user|>", "<e7>", "<8b>", "<|end|>", "<|user|>", "<97>", "<|end|>"]


@pytest.mark.parametrize("token, content, ids, shown", [
    # The end of 你 and the beginning of 好.
    (b"\xa0\xe5", "你好", [0xE4, 0xBD, 256, 0xA5, 0xBD],
     ["<e4>", "<bd>", "<a0><e5>", "<a5>", "<bd>"]),
    # The characters after them are shown as usual.
    (b"\xa9\xc3", "ééé狗", [0xC3, 256, 0xA9, 0xC3, 0xA9, 0xE7, 0x8B, 0x97],
     ["<c3>", "<a9><c3>", "<a9>", "é1/2", "é2/2", "狗1/3", "狗2/3", "狗3/3"]),
    # Whole characters before a part of one.
    (b" \xe7\x8b", " 狗", [256, 0x97], [" 狗1/2", "狗2/2"]),
    ("é狗".encode()[:-1], "é狗", [256, 0x97], ["é狗1/2", "狗2/2"]),
    # Whole characters after a part of one.
    (b"\x97a", "狗a", [0xE7, 0x8B, 256], ["<e7>", "<8b>", "<97>a"]),
    ("狗狗".encode()[2:], "狗狗", [0xE7, 0x8B, 256], ["<e7>", "<8b>", "<97>狗"]),
    # A part, a whole character, a part.
    (b"\xa9a\xc3", "éaé", [0xC3, 256, 0xA9], ["<c3>", "<a9>a<c3>", "<a9>"]),
    # A line end is shown as one also beside a part.
    (b"\x97\n", "狗\n", [0xE7, 0x8B, 256], ["<e7>", "<8b>", "<97>\n"]),
    # A token of two whole characters.
    ("狗é".encode(), "狗é", [256], ["狗é"]),
])
def test_a_token_that_holds_more_than_a_part_of_a_character(token, content, ids, shown):
    tokenizer = with_tokens(token)
    assert tokenizer.decode_bytes(ids) == content.encode()
    assert token_texts(tokenizer, ids) == shown


def test_no_byte_is_lost_however_tokens_cut_the_text():
    rng = random.Random(2)
    characters = ["a", " ", "\n", "é", "狗", "龙", "😀", "\u202e"]
    for _ in range(500):
        content = b""
        for _ in range(rng.randrange(1, 12)):
            stray = rng.random() < 0.1
            content += rng.choice(SINGLE_BYTES[128:]) if stray else rng.choice(characters).encode()
        cuts = [cut for cut in range(1, len(content)) if rng.random() < 0.5]
        pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)])]
        tokenizer = with_tokens(*{piece for piece in pieces if len(piece) > 1})
        texts = token_texts(tokenizer, [tokenizer.ranks[piece] for piece in pieces])

        assert len(texts) == len(pieces)
        assert bytes_shown(texts) == content
        for piece, text in zip(pieces, texts):
            try:
                whole = piece.decode()
            except UnicodeDecodeError:
                continue
            assert text == whole


def bytes_shown(texts):
    """The bytes that texts of tokens stand for; a shared character counts in its first token."""
    content = b""
    for byte, char, part in re.findall(r"<(..)>|([\s\S])(?:(\d)/\d)?", "".join(texts)):
        if byte:
            content += bytes.fromhex(byte)
        elif part in ("", "1"):
            content += char.encode()
    return content


def test_special_tokens_are_shown_by_name_and_the_same_name_typed_is_shown_apart():
    names = token_texts(BYTES, [BYTES.special(name) for name in SPECIAL_TOKENS])
    assert names == list(SPECIAL_TOKENS)

    shown = read_terminal(terminal(render(talk("<|end|>", "b"), BYTES), BYTES))
    assert [text for text, _ in shown] == [
        "<|endoftext|>", "<|user|>", *"<|end|>", "<|end|>", "<|assistant|>", "b", "<|end|>"]


@pytest.mark.parametrize("text, shown", [
    ("a b", "a b"),
    ("\n\n", "↵↵"),
    ("\t", "→"),
    ("\r\n", "␍↵"),
    ("\x1b[31m", "<U+001B>[31m"),
    ("\x00", "<U+0000>"),
    ("\u202e", "<U+202E>"),
    ("\u2028", "<U+2028>"),
    ("\u3000", "<U+3000>"),
    ("\U000e0080", "<U+E0080>"),
    ("你好 é 😀", "你好 é 😀"),
])
def test_what_cannot_be_printed_is_marked(text, shown):
    assert marked(text) == shown


@pytest.mark.parametrize("tokenizer", [BYTES, LEARNT, SHIPPED])
def test_no_control_character_of_a_user_reaches_the_terminal_or_the_page(tokenizer):
    controls = [chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]]
    harmful = {*controls, "\u202e", "\u2028", "\u200b", "\ufeff"}
    rendered = render(talk("".join(sorted(harmful)) + "a", "b"), tokenizer)
    assert set(uncoloured(terminal(rendered, tokenizer))) & harmful == {"\n"}
    texts = [text for text, _, _ in PageReader(page([("", rendered)], tokenizer)).tokens]
    assert not set("".join(texts)) & harmful


def test_a_shared_character_that_does_harm_is_shown_by_its_number():
    shown = uncoloured(terminal(render(talk("\u202e", "b"), BYTES), BYTES))
    assert "│<U+202E>1/3│<U+202E>2/3│<U+202E>3/3│" in shown


def test_lines_end_after_each_turn_and_each_line_end_and_nowhere_else():
    rendered = render(talk("a\nb", "c<|end|>"), BYTES)
    lines = uncoloured(terminal(rendered, BYTES)).split("\n")
    assert lines == [
        "<|endoftext|>│<|user|>│a│↵",
        "b│<|end|>",
        "<|assistant|>│c│<│|│e│n│d│|│>│<|end|>",
    ]
    assert page([("", rendered)], BYTES).count("<br>") == 3

    typed = with_tokens(b"<|end|>")  # here what a user types is one ordinary token
    assert terminal(render(talk("<|end|>", "b"), typed), typed).count("\n") == 1


def test_a_line_ends_also_after_a_token_that_holds_more_than_a_line_end():
    tokenizer = with_tokens(b"a\n", b"\x97\n")
    rendered = render(talk("a\nb狗\nc", "d"), tokenizer)
    assert uncoloured(terminal(rendered, tokenizer)).split("\n") == [
        "<|endoftext|>│<|user|>│a↵",
        "b│<e7>│<8b>│<97>↵",
        "c│<|end|>",
        "<|assistant|>│d│<|end|>",
    ]


def test_the_summary_counts_supervised_tokens():
    assert summary(render(talk("a", "b"), BYTES)) == "7 tokens, 2 of them supervised (29%)"


@pytest.fixture
def files(tmp_path):
    """A tokenizer file and a file of three rows, one of them plain text."""
    LEARNT.save(tmp_path / "tokenizer.json")
    (tmp_path / "rows.jsonl").write_text(
        '{"prompt": "first?", "completion": "one"}\n'
        "\n"
        '{"prompt": "second?", "completion": "<b>two"}\n'
        '{"text": "3"}\n')
    return [str(tmp_path / "rows.jsonl"), "--tokenizer", str(tmp_path / "tokenizer.json")]


def test_the_command_prints_the_rows_asked_for(files, capsys):
    main([*files, "--row", "2", "--rows", "5"])
    out = capsys.readouterr().out
    assert f"{files[0]}:1" not in out
    second, third = render(talk("second?", "<b>two"), LEARNT), render_text("3", LEARNT)
    assert f"{files[0]}:3: {summary(second)}\n{terminal(second, LEARNT)}\n" in out
    assert f"{files[0]}:4: {summary(third)}\n{terminal(third, LEARNT)}\n" in out


def test_the_command_shows_the_first_three_rows_by_default_and_says_how_many_there_are(
        files, tmp_path, capsys):
    many = tmp_path / "many.jsonl"
    many.write_text("".join(f'{{"text": "{number}"}}\n' for number in range(1, 6)))
    main([str(many), *files[1:]])
    out = capsys.readouterr().out
    assert re.findall(r"many\.jsonl:(\d)", out) == ["1", "2", "3"]
    assert out.endswith(
        "\n\nrows 1 to 3 of 5; to see others: --row N --rows M (M rows, from row N on)\n")


@pytest.mark.parametrize("flags, place", [
    (["--row", "2"], "rows 2 to 3 of 3;"),
    (["--row", "3"], "row 3 of 3;"),
    (["--rows", "1"], "row 1 of 3;"),
    (["--rows", "2", "--html", "page.html"], "rows 1 to 2 of 3;"),
])
def test_the_command_says_which_rows_it_shows_when_there_are_others(
        files, tmp_path, monkeypatch, capsys, flags, place):
    monkeypatch.chdir(tmp_path)
    main([*files, *flags])
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{place} to see others: --row N ")


def test_the_command_says_nothing_of_other_rows_when_there_are_none(files, capsys):
    main([*files, "--rows", "7"])
    assert "to see others" not in capsys.readouterr().out


def test_the_first_line_and_the_key_of_the_page_explain_each_colour(files, capsys):
    main(files)
    assert capsys.readouterr().out.split("\n")[0] == (
        f"{SUPERVISED}supervised: the model learns to predict it{RESET}   "
        f"{GIVEN}given: context only{RESET}   "
        f"{ROLE}who speaks: given, not learnt{RESET}")

    content = page([("a", render(talk("a", "b"), BYTES))], BYTES)
    assert ('<p class="key"><span class="s">supervised: the model learns to predict it</span> '
            '<span class="given">given: context only</span> '
            '<span class="role">who speaks: given, not learnt</span></p>') in content
    # Tokens and key have the same classes, and these the same colours.
    assert '<span class="special role" title="token 1, id 258">&lt;|user|&gt;</span>' in content
    for name in ("s", "role"):
        assert re.search(rf"^\.tokens \.{name}[^,{{]*, \.key \.{name} {{", content, re.MULTILINE)


@pytest.mark.parametrize("text, explained", [
    ("a", False), ("的", False), ("狗", True), ("é", True),
])
def test_the_command_explains_parts_of_characters_where_there_are_some(
        tmp_path, capsys, text, explained):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"text": "b"}}\n{{"text": "{text}"}}\n', encoding="utf-8")
    main([str(path)])
    out = capsys.readouterr().out
    assert out.endswith(f"\n\n{PARTS_NOTE}\n") == explained
    assert out.count("狗1/3: the first of the 3 tokens") == explained


def test_the_page_explains_parts_of_characters():
    content = page([("a", render(talk("a", "b"), BYTES))], BYTES)
    assert "狗1/3: the first of the 3 tokens" in content
    assert html.escape(PARTS_NOTE) in content and "<e7>" not in content


def test_the_command_writes_a_page(files, tmp_path, capsys):
    main([*files, "--html", str(tmp_path / "mask.html")])
    content = (tmp_path / "mask.html").read_text(encoding="utf-8")
    assert "mask.html" in capsys.readouterr().out
    assert [html.unescape(title) for title in re.findall("<h2>(.*?)</h2>", content)] == [
        f"{files[0]}:{line}" for line in (1, 3, 4)]

    shown = [render(talk("first?", "one"), LEARNT), render(talk("second?", "<b>two"), LEARNT),
             render_text("3", LEARNT)]
    assert len(PageReader(content).tokens) == sum(len(rendered.ids) for rendered in shown)


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
