"""Evaluation: which answers are right, what the table counts, and how sure a difference is."""

import json
import math
import random
import re
from dataclasses import replace

import pytest
import torch

from minisft.conversation import Conversation, Message, render
from minisft.evaluate import (
    Answer,
    EvaluateConfig,
    answer_all,
    evaluate,
    exact_match,
    main,
    mean_loss,
    perplexity,
    split_shares,
    table,
    turns_asked,
)
from minisft.intervals import paired_interval
from minisft.model import GPT, GPTConfig
from minisft.records import Record
from minisft.report import assess, shares_of, split_table, weakest_tasks
from minisft.shipped import BASE
from minisft.tokenizer import END_OF_TURN, Tokenizer

TOKENIZER = Tokenizer([bytes([byte]) for byte in range(256)])


def record(question, answer, task="all", split="all"):
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Record(Conversation.from_messages(turns), "row", task, split)


def small_model(**sizes):
    torch.manual_seed(0)
    usual = {"vocab_size": TOKENIZER.vocab_size, "block_size": 64, "n_layer": 1, "n_head": 2,
             "n_embd": 16}
    return GPT(GPTConfig(**usual | sizes))


class Parrot(GPT):
    """A model that knows some questions, and gives each the answer that it was told.

    says: {question: answer}. It answers one question at a time, the last of its prompt.
    """

    def __init__(self, says, block_size=64):
        super().__init__(GPTConfig(TOKENIZER.vocab_size, block_size, 1, 1, 8))
        self.says = says

    def embed(self, ids, positions=None):
        is_prompt = ids.shape[1] > 1
        self.seen = ids if is_prompt else torch.cat([self.seen, ids], dim=1)
        return super().embed(ids, positions)

    def head(self, x):
        ids, = self.seen.tolist()
        start, end = (max(i for i, token in enumerate(ids) if token == TOKENIZER.special(role))
                      for role in ("<|user|>", "<|assistant|>"))
        question = TOKENIZER.decode(ids[start + 1:end - 1])
        answer = TOKENIZER.encode(self.says[question]) + [TOKENIZER.special(END_OF_TURN)]
        given = len(ids) - end - 1  # so many tokens of the answer are given already
        logits = torch.zeros(len(x), TOKENIZER.vocab_size)
        logits[0, answer[given] if given < len(answer) else 0] = 1
        return logits


def ask(model, *records):
    """The answers of a model, asked one question at a time."""
    return answer_all(model, TOKENIZER, records, batch_size=1)


def test_an_answer_is_right_only_word_for_word_and_ended():
    says = {"a": "yes", "b": "yes.", "c": "ye", "d": "Yes", "e": "yes sir"}
    answers = ask(Parrot(says), *(record(question, "yes") for question in says))
    assert [answer.right for answer in answers] == [True, False, False, False, False]
    first = answers[0]
    assert (first.question, first.expected, first.given) == ("a", "yes", "yes")
    assert answers[-1].given == "yes s", "decoding stops one token after the right answer's length"


def test_any_of_several_right_answers_is_right_however_long():
    model = Parrot({"a": "yes", "b": "by all means", "c": "no", "d": "yes"})
    records = [replace(record(question, "yes"), also=("by all means",)) for question in "abc"]
    records.append(replace(record("d", "yes"), also=("yes, indeed",)))
    assert [answer.right for answer in ask(model, *records)] == [True, True, False, True]


def dialogue(*texts, not_learnt=(), **keys):
    """A Record with `every_turn`: turns of user and assistant; not_learnt: places of answers."""
    roles = ("user", "assistant") * len(texts)
    messages = [Message(role, text, learn=place not in not_learnt)
                for place, (role, text) in enumerate(zip(roles, texts))]
    return Record(Conversation(tuple(messages)), "row", every_turn=True, **keys)


def test_with_every_turn_a_conversation_is_right_only_if_each_of_its_answers_is():
    asked, says = dialogue("a", "x", "b", "y", "c", "z"), {"a": "x", "b": "y", "c": "z"}
    for wrong in ("a", "b", "c", "ac"):
        model, first = Parrot(says | dict.fromkeys(wrong, "o")), wrong[0]
        assert ask(model, asked) == [Answer("all", "all", first, says[first], "o", False)]
        assert ask(model, replace(asked, every_turn=False))[0].right == ("c" not in wrong)
    assert ask(Parrot(says), asked) == [Answer("all", "all", "c", "z", "z", True)]


def test_each_turn_is_asked_for_after_the_expected_earlier_turns():
    asked = dialogue("a", "x", "b", "y", "c", "z", also=("zz",), task="t", not_learnt=(3,))
    first, last = turns_asked(asked)  # the second answer is not learnt, so it is only context
    assert first == replace(asked, item=Conversation(asked.item.messages[:2]), also=())
    assert last == asked
    assert turns_asked(replace(asked, every_turn=False)) == [replace(asked, every_turn=False)]


def test_other_right_answers_are_those_of_the_last_turn():
    asked = dialogue("a", "x", "b", "y", also=("o",))
    assert ask(Parrot({"a": "x", "b": "o"}), asked)[0].right
    assert not ask(Parrot({"a": "o", "b": "y"}), asked)[0].right


def test_conversations_of_one_and_of_several_answers_keep_their_order():
    records = [record("a", "x", task="1"), dialogue("a", "x", "b", "y", task="2"),
               record("b", "z", task="3"), dialogue("c" * 60, "x", "a", "x", task="4"),
               record("b", "y", task="5")]
    answers = ask(Parrot({"a": "x", "b": "y"}), *records)
    assert [(answer.task, answer.right) for answer in answers] == [
        ("1", True), ("2", True), ("3", False), ("4", False), ("5", True)]


def test_the_progress_bar_counts_the_tokens_of_every_turn(capsys):
    model = Parrot({"a": "xxxx", "b": "yy"})
    answer_all(model, TOKENIZER, [dialogue("a", "xxxx", "b", "yy")], batch_size=1, label="turns")
    shown = capsys.readouterr().err  # each answer with its end and one more token
    assert re.search(r"turns: 100%.* 6/6 .*turns, later turns: 100%.* 4/4 ", shown, re.DOTALL)


def test_where_the_first_answer_is_wrong_no_later_turn_is_asked(capsys):
    model = Parrot({"a": "o", "b": "y"})
    answer_all(model, TOKENIZER, [dialogue("a", "x", "b", "y")], label="turns")
    assert "later turns" not in capsys.readouterr().err


def test_of_several_choices_the_likeliest_is_the_answer():
    model, losses = small_model(), {}
    for choice in ("red", "a dog", "blue"):
        rendered = render(record("which?", choice).item, TOKENIZER)
        logp = model(torch.tensor([rendered.ids]))[0].log_softmax(-1)
        losses[choice] = -sum(logp[i - 1, rendered.ids[i]].item()
                              for i, flag in enumerate(rendered.loss_mask) if flag)
    likeliest = min(losses, key=losses.get)
    for right in losses:
        asked = replace(record("which?", right), choices=tuple(losses))
        answer, = answer_all(model, TOKENIZER, [asked])
        assert (answer.given, answer.right) == (likeliest, right == likeliest)


def test_the_likeliest_choice_is_so_as_a_whole_and_not_by_the_token():
    model = small_model()
    with torch.no_grad():  # "b" is e^3 times as likely as any other token, wherever it stands
        model.ln_f.weight.zero_()
        model.ln_f.bias[0] = 1.0
        model.wte.weight.zero_()
        model.wte.weight[TOKENIZER.encode("b")[0], 0] = 3.0
    asked = replace(record("which?", "x"), choices=("bbbbb", "x"))
    assert answer_all(model, TOKENIZER, [asked])[0].given == "x"


def test_a_choice_that_does_not_fit_the_context_is_answered_wrong():
    asked = record("which?", "red")
    too_long = replace(asked, choices=("red", "r" * 90))
    answers = answer_all(small_model(), TOKENIZER, [asked, too_long, asked])
    assert len(answers) == 3
    assert (answers[1].given, answers[1].right) == ("", False)


def test_dropout_has_no_effect_on_a_choice_and_stays_on():
    model = small_model(dropout=0.5).train()
    asked = [replace(record(f"which {n}?", "a"), choices=("a", "b")) for n in range(20)]
    first, again = (
        [answer.given for answer in answer_all(model, TOKENIZER, asked)] for _ in range(2))
    assert first == again and model.training


def test_answers_have_the_order_of_the_records_whatever_the_batches():
    model, rng = small_model(), random.Random(0)
    records = [record("q" * rng.randint(1, 30), "a" * rng.randint(1, 9), task=f"t{i}")
               for i in range(23)]
    for size in (1, 4, 23):
        tasks = [answer.task for answer in answer_all(model, TOKENIZER, records, size)]
        assert tasks == [f"t{i}" for i in range(23)]


@pytest.mark.parametrize("length", [60, 100])  # 60: the prompt fills the context of 64 exactly
def test_a_prompt_that_leaves_no_room_is_answered_wrong_and_plain_text_is_not_asked(length):
    records = [record("q" * length, "a"), Record("plain text, which asks nothing", "row")]
    answers = answer_all(Parrot({"q": "a"}), TOKENIZER, records)
    assert [(answer.right, answer.given) for answer in answers] == [(False, "")]


def test_a_prompt_that_leaves_room_for_one_token_is_answered_with_one():
    answer, = answer_all(Parrot({"q" * 59: "abc"}), TOKENIZER, [record("q" * 59, "abc")])
    assert (answer.right, answer.given) == (False, "a")


def test_an_answer_that_is_not_to_be_learnt_is_not_asked_for():
    turns = Message("user", "q"), Message("assistant", "a", learn=False)
    assert answer_all(Parrot({"q": "a"}), TOKENIZER, [Record(Conversation(turns), "row")]) == []


def test_shares_and_table_count_by_split_and_task():
    judged = [("new", "x", True), ("new", "x", False), ("new", "y", True), ("old", "x", False)]
    answers = [Answer(split, task, "", "", "", right) for split, task, right in judged]
    counts = exact_match(answers)
    assert counts == {("new", "all"): (2, 3), ("new", "x"): (1, 2), ("new", "y"): (1, 1),
                      ("old", "all"): (0, 1), ("old", "x"): (0, 1)}
    assert split_shares(answers) == {"new": 2 / 3, "old": 0.0}
    lines = table(counts)
    assert lines[0].split() == ["new", "old"] and "66.7%" in lines[-1] and "-" in lines[2]
    assert len({len(line) for line in lines}) == 1


def test_what_guessing_gets_right_is_stated_where_all_questions_have_choices():
    asked = [replace(record(question, "x", split="a"), choices=tuple("xyzw"[:n]))
             for question, n in (("p", 2), ("q", 4))]
    assessed = assess(small_model(), TOKENIZER, [*asked, record("r", "x", split="b")])
    assert assessed["guessing"] == {"a": (1 / 2 + 1 / 4) / 2}


BEFORE = {"counts": [["new", "all", 1, 10], ["new", "x", 1, 4], ["new", "y", 0, 6]],
          "loss": {"new": 2.0}, "guessing": {}}
AFTER = {"counts": [["new", "all", 6, 10], ["new", "x", 3, 4], ["new", "y", 3, 6]],
         "loss": {"new": 0.5}, "guessing": {}}


def test_before_stands_before_after():
    cells = " ".join(split_table(BEFORE, AFTER)[1].split())
    assert cells == "new 10.0% -> 60.0% 10 2.000 -> 0.500"
    assert shares_of(BEFORE, AFTER) == {"new": [0.1, 0.6]}


def test_rows_with_every_turn_count_but_are_no_examples_in_the_report():
    assessed = assess(small_model(), TOKENIZER, [dialogue("a", "x", "b", "y"), record("c", "z")])
    assert assessed["counts"] == [["all", "all", 0, 2]]
    assert [expected for _, expected, _ in assessed["answers"]] == ["z"]


def test_the_weakest_tasks_are_those_with_the_lowest_share():
    after = {"counts": [["new", "x", 2, 2], ["old", "x", 0, 1], ["new", "y", 3, 6]]}
    weakest = [line.split()[0] for line in weakest_tasks(after)[1:]]
    assert weakest == ["y", "x"]  # a half, and two thirds, although that is fewer answers


def test_the_mean_loss_is_that_of_all_targets_together():
    model = small_model().train()
    examples = [render(record("q" * n, "a" * (9 - n)).item, TOKENIZER) for n in range(1, 9)]
    losses = []
    for example in examples:
        logp = model(torch.tensor([example.ids]))[0].log_softmax(-1)
        losses += [-logp[i - 1, example.ids[i]].item()
                   for i, flag in enumerate(example.loss_mask) if flag]
    expected = sum(losses) / len(losses)
    assert mean_loss(model, examples, batch_size=3) == pytest.approx(expected, abs=1e-5)
    assert model.training, "the mode is restored"


def test_dropout_has_no_effect_on_the_mean_loss_and_stays_on():
    model = small_model(dropout=0.5)
    examples = [render(record("q", "answer").item, TOKENIZER)]
    expected = mean_loss(model.eval(), examples)
    assert mean_loss(model.train(), examples) == expected and model.training


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary():
    model = small_model()
    with torch.no_grad():
        model.ln_f.weight.zero_()
    loss = mean_loss(model, [render(record("q", "a").item, TOKENIZER)])
    assert math.exp(loss) == pytest.approx(261, rel=1e-4)


def test_the_interval_of_a_constant_difference_is_certain():
    assert paired_interval([[0.0] * 10] * 3, [[1.0] * 10] * 3) == (1.0, 1.0, 1.0)


def test_the_interval_is_paired():
    rng = random.Random(0)
    noise = [[rng.random() for _ in range(200)] for _ in range(5)]
    shifted = [[x + 0.1 for x in row] for row in noise]
    difference, low, high = paired_interval(noise, shifted)
    assert difference == pytest.approx(0.1)
    assert high - low < 1e-9, "what both arms share must cancel"


@pytest.mark.parametrize("device", ["nonsense", "meta"])
def test_a_device_that_cannot_be_used_is_refused_with_one_that_can(device):
    with pytest.raises(SystemExit, match="--device cpu"):
        main(["--model", BASE, "--device", device])


def test_perplexity_is_the_exponential_of_the_loss_however_large():
    assert perplexity(0) == 1
    assert perplexity(math.log(7)) == pytest.approx(7)
    assert perplexity(1e4) == math.inf


def write_rows(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_every_token_of_a_text_longer_than_the_context_counts(tmp_path, capsys):
    file = write_rows(tmp_path / "long.jsonl", {"text": "The pet of Mia is a dog. " * 100})
    main(["--model", BASE, "--data", file])
    shown = capsys.readouterr().out
    assert "exact" not in shown and "of 1" not in shown, "a text asks nothing"
    assert float(re.search(r"loss ([\d.]+) per", shown)[1]) > 0.001


def test_conversations_that_do_not_fit_the_context_are_counted(tmp_path, capsys):
    long_prompt = {"prompt": "hot " * 400, "completion": "cold"}
    long_answer = {"prompt": "hot", "completion": "cold " * 400}
    file = write_rows(tmp_path / "long.jsonl", long_prompt, long_answer)
    main(["--model", BASE, "--data", file])
    shown = capsys.readouterr().out
    assert "2 conversations are left out" in shown and "long.jsonl:1" in shown
    assert "perplexity" not in shown


def test_the_command_prints_a_column_for_each_split(capsys):
    evaluate(EvaluateConfig(model=BASE, show=1))
    shown = capsys.readouterr().out
    for text in ("new_passage", "new_wording", "new_attribute", "perplexity", "expected:"):
        assert text in shown
