"""Chat: the answer streams, the conversation is remembered, and it is rendered as in training."""

import io
import json
import os

import pytest
import torch

from minisft import chat, models
from minisft.checkpoint import save_model
from minisft.conversation import Message
from minisft.model import GPT, GPTConfig
from minisft.run import newest_model
from minisft.shipped import TRAIN_FILES
from minisft.tokenizer import Tokenizer

TOKENIZER = Tokenizer([bytes([byte]) for byte in range(256)])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPT(GPTConfig(TOKENIZER.vocab_size, 64, 1, 2, 16)).eval()


@pytest.fixture
def saved(model, tmp_path):
    save_model(tmp_path / "model.pt", model, TOKENIZER)
    return str(tmp_path)


def say(monkeypatch, ids, stops=None):
    """Let the model answer every question with these tokens; returns the prompts that it gets.

    stops: a list to which the stop tokens of each question are added.
    """
    prompts = []

    def steps(model, given, max_new_tokens, stop, sampling, generator):
        prompts.append(given[0])
        if stops is not None:
            stops.append(stop)
        yield from ({0: token} for token in ids)

    monkeypatch.setattr(chat, "generate_steps", steps)
    return prompts


def stream(model):
    """The pieces of an answer to one question."""
    messages = [Message("user", "q")]
    return list(chat.answer_stream(model, TOKENIZER, messages, chat.ChatConfig(), None))


def test_a_character_split_over_tokens_comes_out_whole(monkeypatch, model):
    say(monkeypatch, TOKENIZER.encode("a蓝!") + [TOKENIZER.special("<|end|>")])
    assert stream(model) == ["a", "", "", "蓝", "!", ""]  # no character is shown before it is whole


def test_half_a_character_at_the_end_is_shown_as_such(monkeypatch, model):
    say(monkeypatch, TOKENIZER.encode("蓝")[:2])
    assert stream(model) == ["", "", "�", None]  # None says that the answer was cut


def test_a_prompt_prints_one_answer(monkeypatch, saved, capsys):
    say(monkeypatch, TOKENIZER.encode("Hello.") + [TOKENIZER.special("<|end|>")])
    chat.main(["--model", saved, "--prompt", "Hi"])
    assert capsys.readouterr().out == "Hello.\n"


def test_an_answer_that_is_cut_says_so(monkeypatch, saved, capsys):
    say(monkeypatch, TOKENIZER.encode("Hello"))
    chat.main(["--model", saved, "--prompt", "Hi"])
    assert capsys.readouterr().out == (
        "Hello\n(cut: longer than --max-new-tokens 200 or the model's context)\n")


def test_later_turns_see_the_earlier_ones_until_a_new_conversation(monkeypatch, saved, capsys):
    prompts = say(monkeypatch, TOKENIZER.encode("ok") + [TOKENIZER.special("<|end|>")])
    monkeypatch.setattr("sys.stdin", io.StringIO("one\n\ntwo\n/new\nthree\n/quit\nfour\n"))
    chat.main(["--model", saved, "--system", "Be kind."])
    told = [TOKENIZER.decode(prompt) for prompt in prompts]
    system = "<|endoftext|><|system|>Be kind.<|end|>"
    assert told == [
        f"{system}<|user|>one<|end|><|assistant|>",
        f"{system}<|user|>one<|end|><|assistant|>ok<|end|><|user|>two<|end|><|assistant|>",
        f"{system}<|user|>three<|end|><|assistant|>"]
    assert capsys.readouterr().out.count("ok\n") == 3


def test_after_a_question_that_is_too_long_the_conversation_continues(saved, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("x" * 200 + "\n"))
    chat.main(["--model", saved])
    assert "cannot be answered" in capsys.readouterr().out


def test_sampling_follows_the_seed(saved, capsys):
    def ask(*flags):
        chat.main(["--model", saved, "--prompt", "Hi", "--max-new-tokens", "20", *flags])
        return capsys.readouterr().out
    assert ask("--temperature", "1", "--seed", "1") == ask("--temperature", "1", "--seed", "1")
    assert len({ask("--temperature", "1", "--seed", str(seed)) for seed in range(4)}) > 1
    assert ask("--temperature", "1", "--top-k", "1") == ask()


@pytest.mark.parametrize("flags, message", [
    (["--temperature", "-1"], "temperature must not be negative"),
    (["--top-p", "0"], "top_p must be above 0"),
    (["--max-new-tokens", "0"], "--max-new-tokens must be at least 1"),
])
def test_wrong_sampling_flags_are_refused(flags, message, capsys):
    with pytest.raises(SystemExit):
        chat.main(flags)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("end", ["<|end|>", "<|endoftext|>"])
def test_the_end_of_the_turn_or_of_the_text_ends_an_answer(monkeypatch, model, end):
    stops = []
    say(monkeypatch, [*TOKENIZER.encode("ok"), TOKENIZER.special(end)], stops)
    assert "".join(stream(model)) == "ok"  # and no None, which would say that it was cut
    assert TOKENIZER.special(end) in stops[0]


def test_a_blank_answer_is_not_remembered(monkeypatch, saved, capsys):
    prompts = say(monkeypatch, TOKENIZER.encode(" ") + [TOKENIZER.special("<|end|>")])
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))
    chat.main(["--model", saved])
    assert TOKENIZER.decode(prompts[1]) == "<|endoftext|><|user|>two<|end|><|assistant|>"
    assert capsys.readouterr().out.count("the question is not remembered") == 2


def test_the_newest_run_is_taken_and_a_missing_model_is_named(tmp_path):
    assert newest_model(tmp_path, "run") is None
    # The base is the newest of the three, but it is not a tuned model.
    for name, moment in (("run-1", 300), ("run-2", 200), ("base-1", 400)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.pt").touch()
        os.utime(tmp_path / name / "model.pt", (moment, moment))
    assert newest_model(tmp_path, "run") == tmp_path / "run-1" / "model.pt"
    (tmp_path / "run-2" / "delta.pt").touch()
    assert newest_model(tmp_path, "run") == tmp_path / "run-2" / "delta.pt"
    with pytest.raises(SystemExit, match="does not exist"):
        chat.main(["--model", str(tmp_path / "nowhere.pt"), "--prompt", "Hi"])


def first_words(monkeypatch, capsys, *flags):
    """(what a chat prints before the first question, what it says to standard error)."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    chat.main(list(flags))
    printed = capsys.readouterr()
    return printed.out.removesuffix("> \n"), printed.err


def whole_run(folder, model, data):
    """Write the files of a run that is done, tuned on some data files; returns its model file."""
    save_model(folder / "model.pt", model, TOKENIZER)
    (folder / "report.md").touch()
    (folder / "results.json").write_text(json.dumps({"settings": {"data": data}}))
    return folder / "model.pt"


def test_without_a_run_the_model_that_ships_is_opened_and_named(
        tmp_path, monkeypatch, capsys, model):
    monkeypatch.setattr(models, "RUNS", tmp_path)
    monkeypatch.setattr(models, "TUNED", str(tmp_path / "tuned.pt"))
    with pytest.raises(SystemExit, match="tuned.pt does not exist"):
        chat.main([])
    save_model(tmp_path / "tuned.pt", model, TOKENIZER)
    capsys.readouterr()
    out, err = first_words(monkeypatch, capsys)
    assert err == (f"model: {tmp_path / 'tuned.pt'}, which ships with minisft: it was tuned on the "
                   "town's data; name another with --model\n")
    assert out.startswith(f"This is {tmp_path / 'tuned.pt'}. Ask something.") and "I am Mia" in out
    assert first_words(monkeypatch, capsys, "--model", str(tmp_path / "tuned.pt")) == (out, "")

    whole_run(tmp_path / "run-1", model, ["mine.jsonl"])
    out, err = first_words(monkeypatch, capsys)
    assert "run-1/model.pt, the newest run; name another" in err
    assert "run-1/model.pt. Ask something." in out and "Mia" not in out


def test_the_town_is_spoken_of_only_to_a_run_on_the_shipped_data(
        tmp_path, monkeypatch, capsys, model):
    of_town = whole_run(tmp_path / "town", model, list(TRAIN_FILES))
    part = whole_run(tmp_path / "part", model, [TRAIN_FILES[0]])
    other = whole_run(tmp_path / "other", model, [*TRAIN_FILES, "mine.jsonl"])
    save_model(tmp_path / "file.pt", model, TOKENIZER)
    for path, knows in ((of_town, True), (of_town.parent, True), (part, True), (other, False),
                        (other.parent, False), (tmp_path / "file.pt", False)):
        out, _ = first_words(monkeypatch, capsys, "--model", str(path))
        assert out.startswith(f"This is {path}. Ask something.")
        assert ("knows only the small town" in out) == knows, path
