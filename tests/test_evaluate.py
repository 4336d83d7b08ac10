"""Evaluation: what counts as right, what a table says, and how sure a difference is."""

import json
import math
import random
import re
from dataclasses import replace

import pytest
import torch

from minisft.conversation import Conversation, render
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
)
from minisft.intervals import paired_bootstrap
from minisft.model import GPT, GPTConfig
from minisft.records import Record
from minisft.shipped import shipped
from minisft.tokenizer import END_OF_TURN, Tokenizer

TOKENIZER = Tokenizer([bytes([byte]) for byte in range(256)])
BASE = shipped("checkpoints/base.pt")


def record(question, answer, task="all", split="all"):
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Record(Conversation.from_messages(turns), "row", task, split)


class Parrot(GPT):
    """A model that answers by rote: after each known prompt it says the answer it was given."""

    def __init__(self, says, block_size=64):
        super().__init__(GPTConfig(TOKENIZER.vocab_size, block_size, 1, 1, 8))
        self.says = says
        self.reset_seen()

    def reset_seen(self):
        self.seen = None

    def embed(self, ids, positions=None):
        self.seen = ids if self.seen is None or ids.shape[1] > 1 else torch.cat([self.seen, ids], dim=1)
        return super().embed(ids, positions)

    def head(self, x):
        logits = torch.zeros(len(x), TOKENIZER.vocab_size)
        assistant = TOKENIZER.special("<|assistant|>")
        for row, ids in enumerate(self.seen.tolist()):
            turn = len(ids) - 1 - ids[::-1].index(assistant)
            start = max(i for i in range(turn) if ids[i] == TOKENIZER.special("<|user|>"))
            question = TOKENIZER.decode(ids[start + 1:turn - 1])
            said = TOKENIZER.encode(self.says[question]) + [TOKENIZER.special(END_OF_TURN)] + [0] * 50
            logits[row, said[len(ids) - turn - 1]] = 1
        return logits


def test_an_answer_is_right_only_word_for_word_and_ended():
    says = {"a": "yes", "b": "yes.", "c": "ye", "d": "Yes", "e": "yes sir"}
    records = [record(question, "yes") for question in says]
    model = Parrot(says)
    given = []
    for one in records:  # one at a time: the parrot keeps no rows apart
        model.reset_seen()
        given += answer_all(model, TOKENIZER, [one])
    assert [answer.right for answer in given] == [True, False, False, False, False]
    assert given[0].given == "yes" and given[0].question == "a" and given[0].expected == "yes"


def test_any_of_several_right_answers_is_right_however_long():
    says = {"a": "yes", "b": "by all means", "c": "no", "d": "yes"}
    right = []
    for question in says:
        model = Parrot(says)
        also = ("by all means",) if question != "d" else ("yes, indeed",)
        one = replace(record(question, "yes"), also=also)
        right += [answer.right for answer in answer_all(model, TOKENIZER, [one])]
    assert right == [True, True, False, True]


def test_of_choices_the_likeliest_is_the_answer():
    torch.manual_seed(0)
    model = GPT(GPTConfig(TOKENIZER.vocab_size, 64, 1, 2, 16))
    asked = record("which?", "red")
    losses = {}
    for choice in ("red", "a dog", "blue"):
        rendered = render(record("which?", choice).item, TOKENIZER)
        ids, mask = torch.tensor([rendered.ids]), rendered.loss_mask
        z = model(ids).log_softmax(-1)[0]
        losses[choice] = -sum(z[i - 1, ids[0, i]].item() for i in range(len(mask)) if mask[i])
    best = min(losses, key=losses.get)
    for right in losses:
        answer, = answer_all(model, TOKENIZER, [replace(record("which?", right), choices=tuple(losses))])
        assert (answer.given, answer.right) == (best, right == best)
    answers = answer_all(model, TOKENIZER, [asked, replace(asked, choices=("red", "r" * 90)), asked])
    assert [answer.given for answer in answers][1] == "" and len(answers) == 3


def test_dropout_has_no_say_in_a_choice_and_stays_on():
    torch.manual_seed(0)
    model = GPT(GPTConfig(TOKENIZER.vocab_size, 64, 1, 2, 16, dropout=0.5)).train()
    asked = [replace(record(f"which {n}?", "a"), choices=("a", "b")) for n in range(20)]
    first, again = ([answer.given for answer in answer_all(model, TOKENIZER, asked)] for _ in range(2))
    assert first == again and model.training


def test_answers_come_back_in_the_order_of_the_records_whatever_the_batches():
    torch.manual_seed(0)
    model = GPT(GPTConfig(TOKENIZER.vocab_size, 64, 1, 2, 16))
    rng = random.Random(0)
    records = [record("q" * rng.randint(1, 30), "a" * rng.randint(1, 9), task=f"t{i}") for i in range(23)]
    together = answer_all(model, TOKENIZER, records, batch_size=23)
    for size in (1, 4):
        assert [answer.task for answer in answer_all(model, TOKENIZER, records, size)] == [a.task for a in together]
    assert [answer.task for answer in together] == [f"t{i}" for i in range(23)]


def test_a_prompt_that_leaves_no_room_is_wrong_and_nothing_breaks():
    model = Parrot({"q": "a"})
    answers = answer_all(model, TOKENIZER, [record("q" * 100, "a"), Record("plain text, which asks nothing", "row")])
    assert [(answer.right, answer.given) for answer in answers] == [(False, "")]


def test_shares_and_table_count_by_split_and_task():
    answers = [Answer("new", "x", "", "", "", True), Answer("new", "x", "", "", "", False),
               Answer("new", "y", "", "", "", True), Answer("old", "x", "", "", "", False)]
    counts = exact_match(answers)
    assert counts == {("new", "all"): (2, 3), ("new", "x"): (1, 2), ("new", "y"): (1, 1),
                      ("old", "all"): (0, 1), ("old", "x"): (0, 1)}
    assert split_shares(answers) == {"new": 2 / 3, "old": 0.0}
    lines = table(counts)
    assert lines[0].split() == ["new", "old"] and "66.7%" in lines[-1] and "-" in lines[2]
    assert len({len(line) for line in lines}) == 1


def test_the_mean_loss_is_that_of_all_targets_together():
    torch.manual_seed(0)
    model = GPT(GPTConfig(TOKENIZER.vocab_size, 64, 1, 2, 16)).train()
    examples = [render(record("q" * n, "a" * (9 - n)).item, TOKENIZER) for n in range(1, 9)]
    total, n = 0.0, 0
    for example in examples:
        ids = torch.tensor([example.ids])
        logp = model(ids)[0].log_softmax(-1)
        for i, flag in enumerate(example.loss_mask):
            if flag:
                total, n = total - logp[i - 1, example.ids[i]].item(), n + 1
    assert mean_loss(model, examples, batch_size=3) == pytest.approx(total / n, abs=1e-5)
    assert model.training, "the mode is restored"


def test_an_untrained_model_has_the_perplexity_of_its_vocabulary():
    model = GPT(GPTConfig(TOKENIZER.vocab_size, 64, 1, 2, 16))
    with torch.no_grad():
        model.ln_f.weight.zero_()
    assert math.exp(mean_loss(model, [render(record("q", "a").item, TOKENIZER)])) == pytest.approx(261, rel=1e-4)


def test_the_bootstrap_of_a_constant_difference_is_certain():
    assert paired_bootstrap([[0.0] * 10] * 3, [[1.0] * 10] * 3) == (1.0, 1.0, 1.0)


def test_the_bootstrap_is_paired():
    rng = random.Random(0)
    noise = [[rng.random() for _ in range(200)] for _ in range(5)]
    shifted = [[x + 0.1 for x in row] for row in noise]
    difference, low, high = paired_bootstrap(noise, shifted)
    assert difference == pytest.approx(0.1) and high - low < 1e-9, "what both arms share must cancel"


def test_the_interval_covers_as_often_as_it_says():
    rng = random.Random(1)
    covered = 0
    for trial in range(100):
        after = [[float(rng.random() < 0.6) for _ in range(100)]]
        _, low, high = paired_bootstrap([[0.0] * 100], after, draws=300, seed=trial)
        covered += low <= 0.6 <= high
    assert covered >= 88


@pytest.mark.parametrize("device", ["nonsense", "meta"])
def test_an_unusable_device_is_refused_with_a_way_out(device):
    with pytest.raises(SystemExit, match="--device cpu"):
        main(["--model", BASE, "--device", device])


def test_perplexity_is_the_exponential_however_large():
    assert perplexity(0) == 1 and perplexity(math.log(7)) == pytest.approx(7) and perplexity(1e4) == math.inf


def test_texts_longer_than_the_context_count_with_every_token(tmp_path, capsys):
    file = tmp_path / "long.jsonl"
    file.write_text(json.dumps({"text": "The pet of Mia is a dog. " * 100}) + "\n", encoding="utf-8")
    main(["--model", BASE, "--data", str(file)])
    shown = capsys.readouterr().out
    assert "exact" not in shown and "of 1" not in shown, "a text asks nothing"
    assert float(re.search(r"loss ([\d.]+) per", shown)[1]) > 0.001


def test_what_does_not_fit_the_context_is_said(tmp_path, capsys):
    file = tmp_path / "long.jsonl"
    rows = [{"prompt": "hot " * 400, "completion": "cold"}, {"prompt": "hot", "completion": "cold " * 400}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    main(["--model", BASE, "--data", str(file)])
    shown = capsys.readouterr().out
    assert "2 conversations are left out" in shown and "long.jsonl:1" in shown and "perplexity" not in shown


def test_the_command_prints_a_column_for_each_split(capsys):
    evaluate(EvaluateConfig(model=BASE, show=1))
    shown = capsys.readouterr().out
    assert all(split in shown for split in ("new_passage", "new_wording", "new_attribute", "perplexity", "expected:"))
