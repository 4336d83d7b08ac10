"""Files in every format, good and bad, and ten thousand random rows against a second reader."""

import gzip
import json
import random
import re

import pytest

from minisft.records import describe, hold_out, parse_row, read_records, render_record
from minisft.rows import FORMATS
from minisft.tokenizer import END_OF_TEXT, END_OF_TURN, ROLES, SPECIAL_TOKENS, Tokenizer

TOKENIZER = Tokenizer([bytes([byte]) for byte in range(256)])
EXPECTATION = re.compile("expected|must be|remove it|save the file")


def write(tmp_path, content, name="data.jsonl"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def turns(record):
    """"u: Hi | a: Hello": a conversation on one line."""
    return " | ".join(f"{message.role[0]}: {message.content}" for message in record.item.messages)


def m(role, content):
    return {"role": role, "content": content}


def v(who, value):
    return {"from": who, "value": value}


@pytest.mark.parametrize("row, expected", [
    ({"instruction": "Add.", "input": "1 2", "output": "3"}, "u: Add.\n1 2 | a: 3"),
    ({"instruction": "Hi", "input": "", "output": "Hello"}, "u: Hi | a: Hello"),
    ({"instruction": "Hi", "input": " \n", "output": "Hello"}, "u: Hi | a: Hello"),
    ({"instruction": "Hi", "input": None, "output": "Hello"}, "u: Hi | a: Hello"),
    ({"instruction": "Hi", "output": "Hello"}, "u: Hi | a: Hello"),
    ({"instruction": "Hi", "output": "Hello", "system": "Be kind."},
     "s: Be kind. | u: Hi | a: Hello"),
    ({"instruction": "Hi", "output": "Hello", "system": "", "history": []}, "u: Hi | a: Hello"),
    ({"instruction": "Hi", "output": "Hello", "system": None, "history": None}, "u: Hi | a: Hello"),
    ({"instruction": "c", "output": "d", "history": [["a", "b"], ["e", "f"]], "system": "x"},
     "s: x | u: a | a: b | u: e | a: f | u: c | a: d"),
    ({"instruction": "Hi", "output": "Hello", "text": "Below is an instruction ..."},
     "u: Hi | a: Hello"),
    ({"conversations": [v("human", "a"), v("gpt", "b")]}, "u: a | a: b"),
    ({"id": 7, "conversations": [
        v("system", "x"), v("human", "a"), v("gpt", "b"), v("human", "c"), v("gpt", "d")]},
     "s: x | u: a | a: b | u: c | a: d"),
    ({"messages": [m("user", "a"), m("assistant", "b")]}, "u: a | a: b"),
    ({"messages": [
        m("system", "x"),
        m("user", "a"), m("assistant", "b"), m("user", "c"), m("assistant", "d")]},
     "s: x | u: a | a: b | u: c | a: d"),
    ({"prompt": "a", "completion": " b"}, "u: a | a:  b"),
    ({"prompt": "法国的首都？", "completion": "巴黎😀"}, "u: 法国的首都？ | a: 巴黎😀"),
])
def test_each_format_becomes_the_same_kind_of_conversation(row, expected):
    assert turns(parse_row(row)) == expected


def test_text_is_kept_as_it_is():
    assert parse_row({"text": " Once upon\na time. "}).item == " Once upon\na time. "


def test_task_and_split_are_kept_and_other_keys_left_alone():
    record = parse_row({"text": "a", "task": "story", "split": "test", "id": [1]}, "file:3")
    assert (record.task, record.split, record.source) == ("story", "test", "file:3")
    assert record.ignored == ("id",)
    assert parse_row({"text": "a", "task": None, "split": ""}).task == "all"


def test_other_right_answers_are_kept():
    row = {"prompt": "a?", "completion": "b", "also": ["c", "d"]}
    assert parse_row(row).also == ("c", "d")


def test_choices_are_kept():
    row = {"prompt": "a?", "completion": "b", "choices": ["c", "b"]}
    assert parse_row(row).choices == ("c", "b") and not parse_row(row).ignored


def test_whether_every_turn_is_asked_for_is_kept():
    row = {"prompt": "a?", "completion": "b"}
    asked = parse_row(row | {"every_turn": True})
    assert asked.every_turn and not asked.ignored
    assert not parse_row(row | {"every_turn": False, "choices": ["b"]}).every_turn
    assert not parse_row(row | {"every_turn": None}).every_turn and not parse_row(row).every_turn


@pytest.mark.parametrize("row, wrong", [
    ([], "no user message; expected"),
    ("text", "the row is text, expected an object"),
    (None, "the row is null, expected an object"),
    (True, "the row is true or false, expected an object"),
    (1.5, "the row is a number, expected an object"),
    ({}, r"not known from its keys \(none\); expected messages"),
    ({"ask": "a", "reply": "b"}, r"not known from its keys \('ask', 'reply'\); expected"),
    ({"instruction": "a"}, "there is instruction but no answer; expected one of output"),
    ({"instruction": 3, "output": "b"}, "instruction is a number, expected text"),
    ({"instruction": "a", "output": None}, "there is instruction but no answer"),
    ({"instruction": "a", "output": "b", "answer": "c"}, "output and answer say the same"),
    ({"instruction": "a", "question": "b", "answer": "c"}, "instruction and question say the same"),
    ({"instruction": "a", "input": "b", "context": "c", "output": "d"}, "input and context say"),
    ({"question": "a", "answer": 2, "choices": ["x", "y", "z"]}, "answer is a number, expected"),
    ({"instruction": "a", "output": "b", "input": ["c"]}, "input is a list, expected text"),
    ({"instruction": "a", "output": "b", "input": 0}, "input is a number, expected text"),
    ({"instruction": "a", "output": ""}, "the assistant content is empty, expected text"),
    ({"instruction": "a", "output": "b", "system": 0}, "system is a number, expected text"),
    ({"instruction": "a", "output": "b", "system": " "},
     "the system content is empty, expected text"),
    ({"instruction": "a", "output": "b", "history": 0}, "history must be a list of"),
    ({"instruction": "a", "output": "b", "history": {}}, "history must be a list of"),
    ({"instruction": "a", "output": "b", "history": ["ab"]}, "history must be a list of"),
    ({"instruction": "a", "output": "b", "history": [["a"]]}, "history must be a list of"),
    ({"instruction": "a", "output": "b", "history": [["a", None]]}, "content is NoneType"),
    ({"prompt": "a"}, "there is prompt but no answer"),
    ({"prompt": "a", "completion": {}}, "completion is an object, expected text"),
    ({"text": None}, "not known from its keys"),
    ({"text": " \n"}, "text is empty, expected a document"),
    ({"text": "a\ud800"}, "lone surrogate .* at character 1: .*remove it"),
    ({"messages": "a"}, "messages is text, expected a list"),
    ({"messages": []}, "no user message; expected"),
    ({"messages": [m("user", "a")]}, "ends with the user; expected an assistant's answer"),
    ({"messages": [m("user", "a"), m("tool", "b")]}, "message 2 is by 'tool'; calls of tools"),
    ({"messages": [m("user", "a"), m("narrator", "b")]}, "message 2: unknown role 'narrator'"),
    ({"messages": [m("user", "a"), m("user", "b")]}, "turn 2 is by user, expected assistant"),
    ({"conversations": {}}, "conversations is an object, expected a list of role and content"),
    ({"conversations": [v(["gpt"], "a")]}, "message 1: role is a list, expected text"),
    ({"conversations": [v("human", "a"), {"from": "gpt"}]},
     "message 2 must be an object with role and content"),
    ({"conversations": [v("human", "a"), "b"]},
     "message 2 must be an object with role and content, got 'b'"),
    ({"conversations": [v("human", "a"), v("gpt", 3)]},
     "message 2: the assistant content is int, expected text"),
    ({"conversations": [v("gpt", "a"), v("human", "b")]}, "ends with the user; expected an"),
    ({"conversations": [v("gpt", "a"), v("gpt", "b")]}, "turn 1 is by assistant, expected user"),
    ({"messages": [m("user", "a"), m("assistant", "b") | {"weight": 0.5}]}, "weight is 0.5"),
    ({"messages": [m("user", "a"), m("assistant", "b") | {"weight": 2}]}, "weight is 2"),
    ({"messages": [m("user", "a"), m("assistant", "b") | {"train": "no"}]}, "train is 'no'"),
    ({"messages": [m("user", "a") | {"train": True}, m("assistant", "b")]},
     "train asks to learn what the user says; only answers"),
    ({"messages": [m("system", "x"), m("user", "a"), m("assistant", "b")], "system": "y"},
     "there are two system messages"),
    ({"messages": [m("user", [{"type": "image_url", "image_url": {}}]), m("assistant", "b")]},
     "message 1: a part of the content is 'image_url'"),
    ({"prompt": "a", "completion": "b", "images": ["x.png"]}, "the row has images, "),
    ({"prompt": "a", "chosen": "b", "rejected": "c"}, "chosen: this is preference data"),
    ({"prompt": "a", "completion": "b", "label": True}, "label: this is preference data"),
    ({"text": "a", "label": 1}, "text beside label is no document"),
    ({"prompt": "a", "completion": "b", "choices": ["x", "y"]}, "'b' is not among the choices"),
    ({"prompt": "a", "completion": "b", "choices": "b"}, "choices is text, expected a list"),
    ({"text": "a", "choices": ["a", "b"]}, "choices go with a question"),
    ({"prompt": "a", "completion": "b", "also": [1]}, "one of also is a number, expected text"),
    ({"prompt": "a", "completion": "b", "also": [""]}, "one of also is empty"),
    ({"prompt": "a", "completion": "b", "also": ["\ud800"]}, "one of also has a lone surrogate"),
    ({"prompt": "a", "completion": "b", "every_turn": "true"},
     "every_turn is text, expected true or false"),
    ({"prompt": "a", "completion": "b", "every_turn": 1}, "every_turn is a number, expected true"),
    ({"text": "a", "every_turn": True}, "every_turn goes with a conversation"),
    ({"prompt": "a", "completion": "b", "choices": ["b", "c"], "every_turn": True},
     "choices are for the last answer alone, and every_turn asks for all"),
    ({"prompt": "a", "completion": "b", "split": "\ud800"}, "split has a lone surrogate"),
    ({"prompt": "a", "completion": "b", "task": 3}, "task is a number, expected text"),
])
def test_a_bad_row_is_refused_with_what_was_expected(row, wrong):
    with pytest.raises(ValueError, match=wrong):
        parse_row(row)


ROW = '{"prompt": "a", "completion": "b"}'


@pytest.mark.parametrize("content, lines", [
    (f"{ROW}\n{ROW}\n", [1, 2]),
    (f"{ROW}\n{ROW}", [1, 2]),
    (f"{ROW}\r\n{ROW}\r\n", [1, 2]),
    (f"\n\n{ROW}\n  \t\n{ROW}\n\n", [3, 5]),
    (f"\ufeff{ROW}\r\n\r\n{ROW}", [1, 3]),
    (f"[{ROW},{ROW}]", [1, 1]),
    (f"[\n  {ROW},\n  {ROW}\n]\n", [2, 3]),
    (f"\ufeff\r\n[{ROW}\r\n,\r\n\r\n{ROW}]\r\n", [2, 5]),
    (f"[\n{ROW.replace(', ', ',' + chr(10))},\n{ROW}]", [2, 4]),
    (json.dumps([json.loads(ROW)] * 2, indent=2), [2, 6]),
])
def test_json_lines_and_arrays_are_read_with_the_line_of_each_row(tmp_path, content, lines):
    path = write(tmp_path, content)
    records, bad = read_records([path])
    assert bad == []
    assert [turns(record) for record in records] == ["u: a | a: b"] * 2
    assert [record.source for record in records] == [f"{path}:{line}" for line in lines]


def test_line_separators_of_unicode_do_not_end_a_line(tmp_path):
    text = "a\u2028b\u2029c\x85d\u000b"
    path = write(tmp_path, json.dumps({"text": text}, ensure_ascii=False) + "\n" + ROW)
    records, _ = read_records([path])
    assert records[0].item == text
    assert records[1].source == f"{path}:2"


def test_several_files_of_different_formats_are_read_in_order(tmp_path):
    rows = [
        {"instruction": "a", "output": "1"},
        [{"conversations": [v("human", "b"), v("gpt", "2")]}],
        {"messages": [m("user", "c"), m("assistant", "3")]},
        [{"prompt": "d", "completion": "4"}],
    ]
    paths = [write(tmp_path, json.dumps(row), f"{i}.json") for i, row in enumerate(rows)]
    paths.append(write(tmp_path, '{"text": "e"}\n' + ROW, "mixed.jsonl"))
    records, _ = read_records(paths)
    assert [turns(record) for record in records if record.item != "e"] == [
        "u: a | a: 1", "u: b | a: 2", "u: c | a: 3", "u: d | a: 4", "u: a | a: b"]
    assert [record.source for record in records] == [
        *(f"{path}:1" for path in paths), f"{paths[-1]}:2"]


@pytest.mark.parametrize("content, line, wrong", [
    (f'{ROW}\n{{"prompt": 1}}\n{ROW}', 2, "there is prompt but no answer"),
    (f"{ROW}\n\n{{bad\n", 3, "not JSON: .* at column 2; expected an object"),
    (f"{ROW}\n{ROW}{ROW}\n", 2, "not JSON: Extra data"),
    (f"{ROW}\n5\n", 2, "the row is a number, expected an object"),
    (f"{ROW}\r\n{ROW[:-3]}\r\n", 2, "not JSON"),
    (ROW.encode() + b'\n{"text": "\xff"}\n', 2,
     "not UTF-8 at byte 11 of the line; save the file as UTF-8"),
    (ROW.encode() + b"\n" + ROW.encode("utf-16"), 2, "not UTF-8 at byte 1"),
    (ROW + '\n{"text": "\\ud800"}', 2, "lone surrogate"),
    (ROW + '\n{"text": ' + "1" * 5000 + "}", 2,
     "JSON that cannot be read .*; expected a plain object"),
    (ROW + '\n{"text": ' + "[" * 100_000 + "}", 2,
     "JSON that cannot be read .*; expected a plain object"),
    (ROW + '\n{"text": NaN}', 2, "text is a number, expected text"),
    (ROW + '\n{"prompt": Infinity, "completion": "b"}', 2, "prompt is a number, expected text"),
    (f'[\n{ROW},\n\n{{"prompt": 1}}]', 4, "there is prompt but no answer"),
    (f"[\n{ROW},\n 5]", 3, "the row is a number, expected an object"),
    (f"[\n{ROW},\n{ROW},\n]", 4,
     "not JSON: Expecting value at line 4, column 1; .*rest of the array cannot be read"),
    (f'[\n{ROW},\n{{"a":\n1,\n}}]', 3,
     "not JSON: .* at line [45], column .; .*rest of the array cannot be read"),
    (f"[\n{ROW}\n{ROW}]", 2, "expected , or ] after this element, got '{'"),
    (f"[\n{ROW},\n{ROW}\n", 3, "expected , or ] after this element, got ''"),
    (f"[\n{ROW}\n]\n\n{ROW}", 5, "there is text after the array's end; expected nothing more"),
    (f"[\n{ROW},\n".encode() + b'{"text": "\xff"}]', 3, "not UTF-8; save the file as UTF-8"),
    (f"[\n{ROW},\n" + "[" * 100_000, 3, "JSON that cannot be read"),
])
def test_every_error_names_file_and_line(tmp_path, content, line, wrong):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}:{line}: {wrong}") as refused:
        read_records([path])
    assert EXPECTATION.search(str(refused.value))
    assert len(str(refused.value)) < 400


def test_skipping_bad_rows_counts_each_and_keeps_the_others(tmp_path):
    lines = write(tmp_path, f'{ROW}\n{{bad\n{ROW}\n\n{{"prompt": 1}}\n{ROW}\n')
    array = write(tmp_path, f'[{ROW},\n{{"x": 1}},\n{ROW}]', "array.json")
    records, bad = read_records([lines, array], skip_bad=True)
    assert [record.source for record in records] == [
        f"{lines}:1", f"{lines}:3", f"{lines}:6", f"{array}:1", f"{array}:3"]
    assert [message.split(": ")[0] for message in bad] == [f"{lines}:2", f"{lines}:5", f"{array}:2"]


@pytest.mark.parametrize("content, line, wrong", [
    (f"[{ROW},\n{{bad, {ROW}]", 2, "not JSON"), (f"[{ROW}\n{ROW}]", 1, "expected , or ]"),
    (f"[{ROW}]\n{ROW}", 2, "there is text after"),
    (f'[{ROW},\n{{"prompt": "é"}}]'.encode("latin-1"), 2, "not UTF-8"),
])
def test_skipping_rows_does_not_hide_a_damaged_array(tmp_path, content, line, wrong):
    path = tmp_path / "array.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"array\.json:{line}: {re.escape(wrong)}"):
        read_records([write(tmp_path, ROW), path], skip_bad=True)


def test_when_no_row_can_be_used_skipping_does_not_hide_it(tmp_path):
    path = write(tmp_path, '{"a": 1}\n{"b": 2}\n')
    message = "none of the 2 rows could be used; the first: .*data.jsonl:1: "
    with pytest.raises(ValueError, match=message):
        read_records([path], skip_bad=True)


@pytest.mark.parametrize("content", ["", "\n \n", "[]", " [ ] \n", "\ufeff"])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_file_without_rows_is_refused_by_name(tmp_path, content, skip_bad):
    good, empty = write(tmp_path, ROW), write(tmp_path, content, "empty.json")
    message = r"empty\.json: holds no rows; expected JSON lines, a JSON array, CSV"
    with pytest.raises(ValueError, match=message):
        read_records([good, empty], skip_bad)


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_missing_file_or_a_folder_is_refused_by_name(tmp_path, skip_bad):
    for path in (tmp_path / "missing.jsonl", tmp_path):
        with pytest.raises(ValueError, match=f"{re.escape(str(path))}: no such file; expected"):
            read_records([path], skip_bad)


ANN = "u: Q | a: A"


@pytest.mark.parametrize("row, expected", [
    ({"messages": [m("User", "Q"), m("Assistant", "A")]}, ANN),
    ({"conversations": [v("user", "Q"), v("bing", "A")]}, ANN),
    ({"conversations": [m("prompter", "Q"), m("model", "A")]}, ANN),
    ({"conversation": [m("human", "Q"), v("chatgpt", "A")]}, ANN),
    ([m("user", "Q"), m("assistant", "A")], ANN),
    ({"messages": None, "instruction": "Q", "output": "A"}, ANN),
    ({"messages": [m("user", [{"type": "text", "text": "Q"}]), m("bot", ["A"])]}, ANN),
    ({"prompt": [m("user", "Q")], "completion": [m("assistant", "A")]}, ANN),
    ({"question": "Q", "answer": "A"}, ANN),
    ({"input": "Q", "output": "A"}, ANN),
    ({"query": "Q", "response": "A", "context": None}, ANN),
    ({"instruction": "Q", "context": "C", "response": "A"},
     "u: Q\nC | a: A"),
    ({"messages": [m("developer", "S"), *[m("user", "Q"), m("assistant", "A")]]},
     f"s: S | {ANN}"),
    ({"conversations": [v("human", "Q"), v("gpt", "A")], "system": "S"}, f"s: S | {ANN}"),
    ({"prompt": "Q", "completion": "A", "system_prompt": "S"}, f"s: S | {ANN}"),
    ({"query": "Q", "response": "A", "history": [["a", "b"]], "system": "S"},
     f"s: S | u: a | a: b | {ANN}"),
])
def test_rows_that_people_have_are_read(row, expected):
    assert turns(parse_row(row)) == expected


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"loss": False}])
@pytest.mark.parametrize("turn", [m, v])
def test_an_answer_that_is_not_to_be_learnt_is_context_to_its_end(mark, turn):
    row = {"messages": [turn("user", "ab"), turn("assistant", "cd") | mark, turn("user", "e"),
                        turn("assistant", "f") | {"weight": 1}]}
    rendered = render_record(parse_row(row), TOKENIZER)
    end = TOKENIZER.special(END_OF_TURN)
    learnt = [token for token, flag in zip(rendered.ids, rendered.loss_mask) if flag]
    assert learnt == [ord("f"), end] and rendered.ids.count(end) == 4
    unmarked = {"messages": [{k: x for k, x in each.items() if k not in mark}
                             for each in row["messages"]]}
    assert render_record(parse_row(unmarked), TOKENIZER).ids == rendered.ids


def test_an_answer_that_opens_a_conversation_is_context():
    row = {"conversations": [v("gpt", "a"), v("human", "b"), v("gpt", "c")]}
    rendered = render_record(parse_row(row), TOKENIZER)
    learnt = [token for token, flag in zip(rendered.ids, rendered.loss_mask) if flag]
    assert learnt == [ord("c"), TOKENIZER.special(END_OF_TURN)]


def test_what_is_not_used_is_named_and_counted(tmp_path):
    rows = [{"instruction": "Q", "output": "A", "id": 1, "text": "Q A"},
            {"messages": [m("user", "Q") | {"name": "x"}, m("assistant", "A") | {"weight": 0},
                          m("user", "Q"), m("assistant", "A")], "id": 2},
            {"text": "A document."}, {"x": 1}]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)))
    assert describe(*read_records([path], skip_bad=True)) == [
        f"{path}: 4 rows: 2 conversations, 1 documents; 1 turns not learnt; 1 bad rows skipped, "
        f"the first: {path}:4: the format is not known from its keys ('x'); expected {FORMATS}; "
        "keys ignored: a turn's name (1), id (2), text (1)"]


def test_tables_and_compressed_files_are_read_with_the_line_of_each_row(tmp_path):
    table = 'instruction,input,output\nQ,,A\n"Q\nQ",I,"A, B"\nQ,,A\n'
    path = tmp_path / "rows.csv"
    path.write_text(table, encoding="utf-8")
    records, _ = read_records([path])
    assert [record.source for record in records] == [f"{path}:2", f"{path}:3", f"{path}:5"]
    assert turns(records[1]) == "u: Q\nQ\nI | a: A, B"
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(table.encode()))
    assert [turns(record) for record in read_records([packed])[0]] == list(map(turns, records))
    tabs = tmp_path / "rows.tsv"
    tabs.write_text("question\tanswer\nQ\tA\n", encoding="utf-8")
    assert turns(read_records([tabs])[0][0]) == ANN
    (tmp_path / "bad.csv").write_text("question,answer\nQ,A\nQ\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.csv:3: the row has fewer cells than the header"):
        read_records([tmp_path / "bad.csv"])


@pytest.mark.parametrize("name, header, expected", [
    ("rows.csv", "question;answer", "commas"), ("rows.csv", "question\tanswer", "commas"),
    ("rows.tsv", "question,answer", "tabs"),
])
def test_a_table_with_other_marks_between_its_cells_says_so(tmp_path, name, header, expected):
    path = tmp_path / name
    path.write_text(f"{header}\nQ\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"{name}:1: the header is one cell.*expected {expected}"):
        read_records([path])
    path.write_text("text\nWords, and more; words\n", encoding="utf-8", newline="")
    if name.endswith(".tsv"):
        assert read_records([path])[0][0].item == "Words, and more; words"


@pytest.mark.parametrize("content", [
    json.dumps({"data": [{"prompt": "Q", "completion": "A"}]}, indent=2),
    json.dumps({"version": 1, "rows": [{"prompt": "Q", "completion": "A"}]}),
    json.dumps({"prompt": "Q", "completion": "A"}, indent=2),
    json.dumps([m("user", "Q"), m("assistant", "A")]),
    json.dumps([m("user", "Q"), m("assistant", "A")]) + "\n",
])
def test_one_value_that_holds_rows_or_is_one_is_read(tmp_path, content):
    assert [turns(record) for record in read_records([write(tmp_path, content)])[0]] == [ANN]


def test_lists_of_messages_on_lines_are_conversations(tmp_path):
    line = json.dumps([m("user", "Q"), m("assistant", "A")])
    records, _ = read_records([write(tmp_path, f"{line}\n{line}\n")])
    assert [turns(record) for record in records] == [ANN, ANN]


def test_rows_that_ask_the_same_stay_on_one_side():
    rows = [{"prompt": f"Q{i % 30}", "completion": f"A{i}"} for i in range(90)]
    train, held_out = hold_out([parse_row(row, f"file:{i}") for i, row in enumerate(rows)])
    asked = [{record.item.messages[0].content for record in side} for side in (train, held_out)]
    assert asked[1] == {"Q19"} and len(held_out) == 3 and not asked[0] & asked[1]
    assert [record.source for record in train] == [
        f"file:{i}" for i in range(90) if i % 30 != 19]


def test_of_fewer_than_twenty_questions_none_is_held_out():
    records = [parse_row({"text": f"document {i % 19}"}) for i in range(100)]
    assert hold_out(records) == (records, [])


def test_a_parquet_file_is_recognised_and_its_conversion_named(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 and more")
    with pytest.raises(ValueError, match="a Parquet file; convert it with: python -c"):
        read_records([path])


def good_text(value):
    """Whether a value is text that is not blank and holds no lone surrogate."""
    if not isinstance(value, str) or value.strip() == "":
        return False
    return not re.search("[\ud800-\udfff]", value)


class Bad(Exception):
    """What the second reader raises for a row that cannot be used."""


def one_of(row, *keys):
    """The one of some keys that a row has, or None; Bad if there are two."""
    found = [key for key in keys if key in row]
    if len(found) > 1:
        raise Bad
    return found[0] if found else None


def second_turn(turn):
    """(role, content) of a turn."""
    names = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
             "system": "system"}
    if not isinstance(turn, dict):
        raise Bad
    turn = {key: value for key, value in turn.items() if value is not None}
    who, what = one_of(turn, "role", "from"), one_of(turn, "content", "value")
    if not who or not what or not isinstance(turn[who], str) or turn[who].lower() not in names:
        raise Bad
    content = turn[what]
    if isinstance(content, list):
        if not all(isinstance(part, str) for part in content):
            raise Bad
        content = "".join(content)
    return names[turn[who].lower()], content


def second_question(row):
    """[(role, content), ...] of a row with a question and its answer."""
    question = one_of(row, "instruction", "prompt") or "input"
    answer = one_of(row, "output", "completion")
    if not answer:
        raise Bad
    if isinstance(row[question], list) and isinstance(row[answer], list):
        return [second_turn(turn) for turn in row[question] + row[answer]]
    given = row.get("input", "") if question != "input" else ""
    system, history = row.get("system", ""), row.get("history", [])
    if history == "":
        history = []
    if not all(isinstance(text, str) for text in (row[question], given, system)):
        raise Bad
    if not isinstance(history, list) or not all(
            isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise Bad
    asked = row[question] + ("\n" + given if given.strip() else "")
    found = [("system", system)] if system else []
    for user, reply in history:
        found += [("user", user), ("assistant", reply)]
    return [*found, ("user", asked), ("assistant", row[answer])]


def second_reading(line):
    """What a line of bytes holds, found by code written apart from minisft.records.

    [(role, content), ...] for a conversation, str for plain text, None for a bad row.
    """
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if isinstance(row, list):
        row = {"messages": row}
    if not isinstance(row, dict):
        return None
    row = {key: value for key, value in row.items() if value is not None}
    task = row.get("task", "")
    if task != "" and not (isinstance(task, str) and not re.search("[\ud800-\udfff]", task)):
        return None
    try:
        turns = one_of(row, "messages", "conversations")
        if turns:
            if not isinstance(row[turns], list):
                return None
            found = [second_turn(turn) for turn in row[turns]]
        elif {"instruction", "prompt"} & row.keys() or (
                "input" in row and {"output", "completion"} & row.keys()):
            found = second_question(row)
        else:
            part_of_something = {"role", "output", "completion"} & row.keys()
            return row["text"] if good_text(row.get("text")) and not part_of_something else None
    except Bad:
        return None
    if not all(good_text(content) for _, content in found):
        return None
    order = "".join(role[0] for role, _ in found)
    return found if re.fullmatch("s?a?(ua)+", order) else None


def check_rendered(record, expected):
    """Walk the ids: special tokens in order, contents between them, the mask on every answer."""
    rendered = render_record(record, TOKENIZER)
    ids, mask = rendered.ids, rendered.loss_mask
    assert len(ids) == len(mask)
    begin, end = TOKENIZER.special(END_OF_TEXT), TOKENIZER.special(END_OF_TURN)
    if isinstance(expected, str):
        assert ids == [begin, *expected.encode(), begin]
        assert mask == [0] + [1] * (len(ids) - 1)
        return
    assert (ids[0], mask[0]) == (begin, 0)
    at, first_user = 1, [role for role, _ in expected].index("user")
    for place, (role, content) in enumerate(expected):
        learnt = role == "assistant" and place > first_user
        stop = ids.index(end, at)
        assert ids[at] == TOKENIZER.special(ROLES[role])
        assert bytes(ids[at + 1:stop]) == content.encode()
        assert mask[at:stop + 1] == [0] + [int(learnt)] * (stop - at)
        at = stop + 1
    assert at == len(ids)


def random_string(rng):
    parts = [*SPECIAL_TOKENS, "a", "Hello", " ", "\n", "你好", "é", "😀", "\x00", "\u2028", '"',
             "\\", "</s>", "[INST]"]
    return "".join(rng.choices(parts, k=rng.randrange(1, 6)))


def random_row(rng):
    """A row of one of the formats; it may be bad: blank strings, or a last turn by the user."""
    def text():
        return random_string(rng)

    row = {"task": "x"} if rng.random() < 0.2 else {}
    kind = rng.randrange(5)
    if kind < 2:
        if kind == 0:
            key, who, what, names = "messages", "role", "content", ("system", "user", "assistant")
        else:
            key, who, what, names = "conversations", "from", "value", ("system", "human", "gpt")
        order = [0] if rng.random() < 0.3 else []
        order += [1, 2] * rng.randrange(1, 4)
        order += [1] if rng.random() < 0.1 else []
        row[key] = [{who: names[i], what: text()} for i in order]
    elif kind == 2:
        row |= {"instruction": text(), "output": text()}
        if rng.random() < 0.5:
            row["input"] = rng.choice(["", " ", None, text()])
        if rng.random() < 0.3:
            row["system"] = rng.choice(["", None, text()])
        if rng.random() < 0.3:
            row["history"] = [[text(), text()] for _ in range(rng.randrange(3))]
    elif kind == 3:
        row |= {"prompt": text(), "completion": text()}
    else:
        row["text"] = text()
    return row


def spoil(rng, row):
    """Remove, rename, double or replace something, anywhere in the row."""
    places = []

    def visit(part):
        for key in list(part) if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], (dict, list)):
                visit(part[key])

    visit(row)
    part, key = rng.choice(places)
    action = rng.randrange(6)
    if action == 0:
        del part[key]
    elif action == 1 and isinstance(part, list):
        part.insert(key, part[key])
    elif action == 2 and isinstance(part, dict):
        names = ["text", "prompt", "instruction", "role", "from", "\ud800", "x" * 100]
        part[rng.choice(names)] = part.pop(key)
    else:
        part[key] = rng.choice([
            None, True, False, 0, 7, 1.5, -0.0, float("nan"), float("inf"), 10 ** 4000, "", " \n",
            [], {}, [[]], [None], ["user", "a"], {"role": "user"}, "\ud800", "a\udfff",
            "user", "assistant", "gpt", "tool", "@digits@", "@deep@", "@deep@", random_string(rng)])


def random_line(rng):
    """One line of bytes without a line end: good, spoilt as a row, or damaged as bytes."""
    row = random_row(rng)
    while row and rng.random() < 0.45:
        spoil(rng, row)
    if rng.random() < 0.03:
        row = rng.choice([[], [row], None, "text", 5, {}])
    line = json.dumps(row, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    depth = rng.choice([10, 100, 500]) if rng.random() < 0.98 else 100_000
    line = line.replace(b'"@deep@"', b"[" * depth + b"]" * depth)
    line = line.replace(b'"@digits@"', b"9" * 5000)
    if rng.random() < 0.15:
        at = rng.randrange(len(line) + 1)
        line = rng.choice([
            line[:at],
            line[at:],
            line[:at] + line[at + 1:],
            line[:at] + b"\xff" + line[at:],
            line + line,
            line[:at] + bytes([rng.choice([*range(10), *range(11, 256)])]) + line[at:],
            b"",
            b" \t\r",
            b"\xef\xbb\xbf" + line,
        ])
    return line


@pytest.fixture(scope="module")
def lines():
    rng = random.Random(0)
    found = [b'{"text": "the first row"}'] + [random_line(rng) for _ in range(10_000)]
    megabyte = "<|assistant|> \\ud83d\\ude00 你好 \\n" * 28_000
    blanks = " " * 1_000_000
    for line in (
            f'{{"text": "{megabyte}"}}',
            f'{{"prompt": "{megabyte}", "completion": "a"}}',
            f'{{"messages": [{{"role": "{megabyte}", "content": "a"}}]}}',
            f'{{"instruction": "a", "output": "{blanks}"}}',
            f'{{"{megabyte}": 1}}'):
        found.append(line.encode())
    return found


def test_random_rows_are_read_right_or_refused_with_file_and_line(tmp_path, lines):
    path = write(tmp_path, b"\n".join(lines))
    records, bad = read_records([path], skip_bad=True)
    records = {int(record.source.removeprefix(f"{path}:")): record for record in records}
    bad = {int(message.removeprefix(f"{path}:").split(": ")[0]): message for message in bad}
    for number, line in enumerate(lines, 1):
        expected = second_reading(line)
        if not line.strip():
            assert number not in records and number not in bad
        elif expected is None:
            message = bad[number]
            assert message.startswith(f"{path}:{number}: ")
            assert EXPECTATION.search(message) and len(message) < 600, message[:600]
            assert number not in records
        else:
            assert number in records, (line[:300], bad.get(number))
            check_rendered(records[number], expected)
    assert len(records) > 3000 and len(bad) > 3000


def test_random_rows_by_themselves_raise_nothing_but_a_value_error_of_their_line(tmp_path, lines):
    for line in random.Random(1).sample(lines, 500):
        path = write(tmp_path, b"\n" + b'{"text": "a"}\n' + line)
        if not line.strip() or second_reading(line) is not None:
            assert len(read_records([path])[0]) == 1 + bool(line.strip())
        else:
            with pytest.raises(ValueError, match=f"^{re.escape(str(path))}:3: "):
                read_records([path])


def test_random_rows_in_one_array_are_read_as_on_lines_of_their_own(tmp_path, lines):
    whole = []
    for line in lines:
        try:
            json.loads(line.decode("utf-8"))
            whole.append(line)
        except (ValueError, RecursionError):
            pass
    path = write(tmp_path, b"[\n" + b",\n".join(whole) + b"\n]")
    records, bad = read_records([path], skip_bad=True)
    good = [number for number, line in enumerate(whole, 2) if second_reading(line) is not None]
    assert [record.source for record in records] == [f"{path}:{number}" for number in good]
    assert len(records) + len(bad) == len(whole)
    assert all(re.match(rf"{re.escape(str(path))}:\d+: ", message) for message in bad)


@pytest.mark.parametrize("row", [
    '{"messages": [@]}', '{"conversations": [@]}', '{"conversations": [{"from": @, "value": "a"}]}',
    '{"history": @, "instruction": "a", "output": "b"}', '{"text": @}', '{"text": "a", "b": @}',
])
def test_brackets_nested_as_deep_as_json_can_read_cause_no_crash(row):
    """Reading and printing a nested value both recurse: what can be read, can be printed too."""
    for depth in range(850, 1000):
        try:
            parsed = json.loads(row.replace("@", "[" * depth + "]" * depth))
        except RecursionError:
            break
        try:
            parse_row(parsed)
        except ValueError as error:
            assert len(str(error)) < 300
