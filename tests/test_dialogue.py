"""Chat logs become training data: worked by hand, each fault by its name, and the command."""

import json
from collections import Counter

import pytest

from minisft import build
from minisft.instruct.dialogue import (
    CLOSING,
    EMPTY,
    MERGED,
    NEAR_DUPLICATES,
    NO_ANSWER,
    NO_END,
    OPEN_FENCE,
    OPENING,
    QUERIES,
    REPEATED,
    SYSTEM_LATER,
    UNREADABLE,
    Dropped,
    clean,
)
from minisft.instruct.tally import Tally
from minisft.records import read_records, render_record
from minisft.rows import chat_turns, parse
from minisft.tokenizer import Tokenizer

TOKENIZER = Tokenizer([bytes([byte]) for byte in range(256)])
NAMES = {"u": "user", "a": "assistant", "s": "system"}
SENTENCE = "This is one sentence of an answer that goes on for a while. "


def chat(*turns):
    """A ShareGPT row of "u: Hi", "a: Hello", ..."""
    return {"conversations": [{"from": NAMES[turn[0]], "value": turn[3:]} for turn in turns]}


def cleaned(*turns):
    """The cleaned turns in the same short form."""
    return [f"{message.role[0]}: {message.content}"
            for message in clean(chat(*turns))[0].messages]


def fault(*turns):
    with pytest.raises(Dropped) as found:
        clean(chat(*turns))
    return str(found.value)


def test_a_good_conversation_stays_as_it_is():
    turns = ["s: Be kind.", "u: Hi", "a: Hello.", "u: Bye", "a: Goodbye."]
    assert cleaned(*turns) == turns and clean(chat(*turns))[1] == Counter()


def test_neighbouring_turns_of_one_speaker_are_merged_with_a_blank_line():
    turns = ["u: a", "u: b", "a: c", "a: d", "a: e", "u: f", "a: g"]
    assert cleaned(*turns) == ["u: a\n\nb", "a: c\n\nd\n\ne", "u: f", "a: g"]
    assert clean(chat(*turns))[1] == {MERGED: 3}


def test_an_empty_turn_beside_one_of_the_same_speaker_leaves_no_trace():
    assert cleaned("u: a", "u:  ", "a: ", "a: b") == ["u: a", "a: b"]


def test_an_answer_before_all_questions_and_a_question_after_all_answers_go():
    turns = ["s: x", "a: Welcome!", "u: a", "a: b", "u: c", "u: d"]
    assert cleaned(*turns) == ["s: x", "u: a", "a: b"]
    assert clean(chat(*turns))[1] == {OPENING: 1, CLOSING: 1, MERGED: 1}


@pytest.mark.parametrize("turns, reason", [
    (["u: a"], NO_ANSWER), (["a: b"], NO_ANSWER), (["s: x"], NO_ANSWER), ([], NO_ANSWER),
    (["a: b", "u: c"], NO_ANSWER),
    (["u: a", "a:  \n"], EMPTY), (["u: ", "a: b"], EMPTY), (["s:  ", "u: a", "a: b"], EMPTY),
    (["u: a", "a: ", "u: c", "a: d"], EMPTY),
    (["u: a", "s: x", "a: b"], SYSTEM_LATER),
    (["u: a", "a: Run this:\n```python\nprint(1)\n"], OPEN_FENCE),
    (["u: a", "a: ```\nx\n```\nand\n  ```\ny", "u: c", "a: d"], OPEN_FENCE),
    (["u: a", f"a: {SENTENCE * 4}And then the"], NO_END),
    (["u: a", f"a: {SENTENCE * 4}\n\nSecond, you"], NO_END),
    (["u: a", f"a: {SENTENCE * 4}For example:"], NO_END),
    (["u: a", f"a: {SENTENCE * 4}And then the", "u: go on", "a: end."], NO_END),
    (["u: a", "a: " + "这是一个很长的回答。" * 21 + "然后我们"], NO_END),
])
def test_faults_have_their_names(turns, reason):
    assert fault(*turns) == reason


@pytest.mark.parametrize("answer", [
    "forty two", "x" * 200, SENTENCE * 4, SENTENCE * 4 + "Good luck! 😀",
    SENTENCE * 4 + "(see below)", "```\nx = 1\n```", "- apples\n" * 30, "Roses are red\n" * 20,
    SENTENCE * 4 + "```\nx = 1\n```",
    SENTENCE * 4 + "See https://example.com/page", "这是一个很长的回答。" * 21, "a ``` b",
    "A table\n" + "| a | b |\n" * 40,
])
def test_whole_answers_are_not_taken_as_truncated(answer):
    assert cleaned("u: a", f"a: {answer}") == ["u: a", f"a: {answer}"]


def test_exactly_200_characters_are_not_long_and_201_are():
    assert cleaned("u: a", "a: " + "x" * 200)
    assert fault("u: a", "a: " + "x" * 201) == NO_END


def test_personal_data_is_masked_in_every_turn_and_counted():
    turns = ["s: Ask ann@example.org.", "u: I am bo@example.org, +1 415 555 0132",
             "a: Hello bo@example.org."]
    assert cleaned(*turns) == ["s: Ask [EMAIL].", "u: I am [EMAIL], [PHONE]", "a: Hello [EMAIL]."]
    assert clean(chat(*turns))[1] == {"masked: EMAIL": 3, "masked: PHONE": 1}


def test_an_answer_that_is_not_to_be_learnt_stays_so_and_one_must_be_learnt():
    row = {"messages": [{"role": "user", "content": "a"},
                        {"role": "assistant", "content": "b", "weight": 0},
                        {"role": "assistant", "content": "c"}, {"role": "user", "content": "d"},
                        {"role": "assistant", "content": "e"}]}
    assert [turn.get("train", True) for turn in clean(row)[0].to_messages()] == [
        True, False, True, True]
    del row["messages"][3:]
    with pytest.raises(Dropped, match=NO_ANSWER):
        clean(row)


@pytest.mark.parametrize("row", [
    {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    {"messages": [{"role": "user", "content": ["a"]}, {"role": "assistant", "content": "b"}]},
    [{"role": "prompter", "content": "a"}, {"role": "bot", "content": "b"}],
    {"system": "x", "conversation": [{"from": "user", "value": "a"},
                                     {"from": "gpt", "value": "b"}]},
])
def test_turns_are_those_that_training_reads_where_training_reads_them(row):
    expected = [(turn.role, turn.content, turn.learn) for turn in parse(row).item.messages]
    assert chat_turns(row)[0] == expected


@pytest.mark.parametrize("row, found", [
    ("text", "the row is text"), ({"prompt": "a", "completion": "b"}, "the row has no turns"),
    ({"messages": "a"}, "messages is text"),
    ({"messages": [{"role": "user", "content": 5}]}, "message 1: the user content is a number"),
    ({"messages": [{"role": "nobody", "content": "a"}]}, "message 1: unknown role 'nobody'"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "calls of tools"),
    ({"messages": [{"role": "user"}]}, "message 1 must be an object with role and content"),
])
def test_rows_that_are_no_chats_say_why(row, found):
    with pytest.raises(ValueError, match=found):
        clean(row)


ROWS = [
    chat("u: What is LoRA?", "a: A method."),
    chat("u: What  is LoRA", "a: A way to tune."),          # the same question, other answer
    chat("u: what is LORA?", "a: a  method."),              # row 1 again, typed otherwise
    chat("u: Mail me", "a: At ann@example.org?"),
    chat("u: Mail me", "a: At bo@example.org?"),            # row 4 again, once masked
    chat("u: nothing"),
    chat("u: a", f"a: {SENTENCE * 4}And then the"),
    {"prompt": "a", "completion": "b"},
    {"id": 7} | chat("a: Welcome!", "u: x", "u: y", "a: z", "u: bye"),
]


def written(tmp_path, rows=ROWS):
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_command_writes_rows_queries_and_a_summary(tmp_path, capsys):
    source, out = written(tmp_path), tmp_path / "new" / "out.jsonl"
    build.main(["dialogue", source, "--out", str(out)])

    rows = lines_of(out)
    assert [row["source"] for row in rows] == [f"{source}:{line}" for line in (1, 2, 4, 9)]
    assert rows[2]["messages"][1] == {"role": "assistant", "content": "At [EMAIL]?"}
    assert [turn["content"] for turn in rows[3]["messages"]] == ["x\n\ny", "z"]

    assert lines_of(out.with_suffix(".queries.jsonl")) == [
        {"instruction": "What is LoRA?", "source": f"{source}:1", "repeats": 1},
        {"instruction": "Mail me", "source": f"{source}:4", "repeats": 0},
        {"instruction": "x\n\ny", "source": f"{source}:9", "repeats": 0}]

    summary = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert {reason: number for reason, number in summary["counts"].items() if number} == {
        "rows read": 9, "kept": 4, REPEATED: 2, NO_ANSWER: 1, NO_END: 1, UNREADABLE: 1, MERGED: 1,
        OPENING: 1, CLOSING: 1, "masked: EMAIL": 1, QUERIES: 3, NEAR_DUPLICATES: 1,
        "keys not kept: id": 1}
    assert summary["counts"][OPEN_FENCE] == summary["counts"]["masked: CARD"] == 0
    assert summary["first"][REPEATED] == f"{source}:3"
    assert summary["first"][UNREADABLE].startswith(f"{source}:8: the row has no turns")
    printed = capsys.readouterr().out
    for reason, number in summary["counts"].items():
        assert sum(line.startswith(f"{number:>12,}  {reason}")
                   for line in printed.splitlines()) == 1


def test_what_is_written_is_read_and_rendered_as_training_does(tmp_path):
    out = tmp_path / "out.jsonl"
    build.main(["dialogue", written(tmp_path), "--out", str(out)])
    records, bad = read_records([out])
    assert len(records) == 4 and not bad
    for record in records:
        rendered = render_record(record, TOKENIZER)
        assert sum(rendered.loss_mask) > 0 and len(rendered.ids) == len(rendered.loss_mask)


def test_rows_of_one_array_are_read_too(tmp_path):
    path, out = tmp_path / "chats.json", tmp_path / "out.jsonl"
    path.write_text(json.dumps(ROWS[:2], indent=1), encoding="utf-8")
    build.main(["dialogue", str(path), "--out", str(out)])
    assert len(lines_of(out)) == 2


def test_the_same_command_writes_again_and_another_is_refused(tmp_path):
    source, out = written(tmp_path), tmp_path / "out.jsonl"
    before = (tmp_path / "chats.jsonl").read_bytes()
    command = ["dialogue", source, "--out", str(out)]
    build.main(command)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(files) == {"chats.jsonl", "out.jsonl", "out.json", "out.queries.jsonl"}
    build.main(command)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert files["chats.jsonl"] == before

    with pytest.raises(SystemExit, match="out.jsonl already exists, and not by this command"):
        build.main(["dialogue", source, source, "--out", str(out)])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize("name", ["out.jsonl", "out.json", "out.queries.jsonl"])
def test_no_file_of_somebody_else_is_overwritten(tmp_path, name):
    source = written(tmp_path)
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(SystemExit, match=f"{name} already exists"):
        build.main(["dialogue", source, "--out", str(tmp_path / "out.jsonl")])
    with pytest.raises(SystemExit, match="chats.jsonl already exists"):
        build.main(["dialogue", source, "--out", source])
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_where_nothing_is_kept_nothing_is_written_and_the_counts_are_shown(tmp_path):
    source = written(tmp_path, [chat("u: a")])
    with pytest.raises(SystemExit, match=f"no row was kept(.|\n)* 1  {NO_ANSWER}"):
        build.main(["dialogue", source, "--out", str(tmp_path / "out.jsonl")])
    assert [path.name for path in tmp_path.iterdir()] == ["chats.jsonl"]


def test_an_unknown_builder_is_refused_with_the_list(capsys):
    for argv in (["dialog"], []):
        with pytest.raises(SystemExit) as end:
            build.main(argv)
        assert "builders:\n  dialogue " in end.value.code
    build.main(["--help"])
    assert "builders:\n  dialogue " in capsys.readouterr().out


@pytest.mark.parametrize("argv, found", [
    (["dialogue", "--out", "x.jsonl"], "name at least one file"),
    (["dialogue", "chats.jsonl", "--outt", "x"], "did you mean --out?"),
])
def test_wrong_flags_are_answered(capsys, argv, found):
    with pytest.raises(SystemExit):
        build.main(argv)
    assert found in " ".join(capsys.readouterr().err.split())


def test_an_output_that_is_missing_or_no_jsonl_is_refused(tmp_path):
    source = written(tmp_path)
    for flags in ([], ["--out", "rows.json"]):
        with pytest.raises(SystemExit, match="--out must name a file that ends with .jsonl"):
            build.main(["dialogue", source, *flags])


def test_a_line_that_cannot_be_decoded_is_dropped_and_says_why(tmp_path):
    path, out = tmp_path / "chats.jsonl", tmp_path / "out.jsonl"
    rows = [json.dumps(row).encode() for row in ROWS[:2]]
    path.write_bytes(b"\n".join([rows[0], rows[1][:-9], "{}".encode("utf-16"), rows[1]]))
    build.main(["dialogue", str(path), "--out", str(out)])
    summary = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert summary["counts"]["kept"] == summary["counts"][UNREADABLE] == 2
    assert summary["first"][UNREADABLE].startswith(f"{path}:2: not JSON")
    path.write_text(json.dumps(ROWS[0]), encoding="utf-16")
    with pytest.raises(SystemExit, match="chats.jsonl:1: not UTF-8"):
        build.main(["dialogue", str(path), "--out", str(tmp_path / "other.jsonl")])


def test_a_file_that_breaks_off_stops_the_command(tmp_path):
    path = tmp_path / "chats.json"
    path.write_text(json.dumps(ROWS)[:-40], encoding="utf-8")
    with pytest.raises(SystemExit, match="chats.json:1: not JSON"):
        build.main(["dialogue", str(path), "--out", str(tmp_path / "out.jsonl")])


def test_a_tally_shows_what_never_happened_and_where_the_rest_was_first():
    tally = Tally("kept", "dropped")
    tally.add("kept", "a:3", 2)
    tally.add("kept", "a:1")
    tally.add("dropped", "a:2", 0)
    assert tally.to_dict() == {"counts": {"kept": 3, "dropped": 0}, "first": {"kept": "a:3"}}
