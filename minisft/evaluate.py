"""How well a model answers: exact match by split and task, loss on answers, and how sure a difference is.

    exact match   share of conversations whose last answer (or one that is as right) is given token for token, its end
                  included
    perplexity    exp(mean loss per supervised token)
    paired bootstrap   resample seeds and items together, in both arms alike; the 95% interval of the difference

    python -m minisft.evaluate --model checkpoints/run-1

Decoding is greedy and stops one token after the length of the longest right answer of its batch: what is longer than
that is wrong already.

Notes: 指令微调的作用 (what instruction tuning is for). Source of the bootstrap: Efron and Tibshirani 1993, chapter 13.
"""

import math
import random
from collections import defaultdict
from dataclasses import dataclass, replace

import torch

from minisft.batching import length_buckets, pad, prepare
from minisft.config import at_least, option, parse, shipped
from minisft.conversation import Conversation, render, render_prompt
from minisft.generate import generate
from minisft.loss import sft_loss
from minisft.models import open_chosen
from minisft.records import read_records
from minisft.tokenizer import END_OF_TURN
from minisft.world.corpus import TEST_SPLITS

TEST_FILES = tuple(shipped(f"data/{split}.jsonl") for split in TEST_SPLITS)


@dataclass(frozen=True)
class Answer:
    """One question with its answers: what was expected, what the model gave, and whether that is right."""

    split: str
    task: str
    question: str
    expected: str
    given: str
    right: bool


def conversations(records):
    """The records that are conversations."""
    return [record for record in records if isinstance(record.item, Conversation)]


def answer_all(model, tokenizer, records, batch_size=128):
    """Answers of the model to the last question of each conversation among `records`, in their order.

    Plain text asks nothing and is left out. A question with choices is answered with the one that the model finds
    likeliest. A prompt that leaves no room for an answer in the model's context is answered wrong, with an empty
    `given`.
    """
    end = tokenizer.special(END_OF_TURN)
    records = conversations(records)
    prompts, expected, chosen_from = {}, {}, {}
    for i, record in enumerate(records):
        if record.choices:
            chosen_from[i] = likeliest(model, tokenizer, record)
            continue
        prompt = render_prompt(Conversation(record.item.messages[:-1]), tokenizer)
        if len(prompt) < model.config.block_size:
            prompts[i] = prompt
            right = (record.item.messages[-1].content, *record.also)
            expected[i] = [tokenizer.encode(answer) + [end] for answer in right]
    answers = [_answer(record, tokenizer, [], []) for record in records]
    for i, choice in chosen_from.items():
        answers[i] = replace(answers[i], given=choice, right=choice == answers[i].expected)
    order = sorted(prompts, key=lambda i: (len(prompts[i]), len(expected[i][0])))
    for chosen in (order[i:i + batch_size] for i in range(0, len(order), batch_size)):
        longest = max(len(answer) for i in chosen for answer in expected[i])
        generated = generate(model, [prompts[i] for i in chosen], longest + 1, stop=(end,))
        for i, given in zip(chosen, generated):
            answers[i] = _answer(records[i], tokenizer, expected[i], given)
    return answers


@torch.no_grad()
def likeliest(model, tokenizer, record):
    """The choice of least summed loss as the record's last answer; "" if they do not fit the model's context."""
    losses, training = {}, model.training
    model.eval()
    try:
        for choice in record.choices:
            messages = (*record.item.messages[:-1], replace(record.item.messages[-1], content=choice))
            rendered = render(Conversation(messages), tokenizer)
            if len(rendered.ids) > model.config.block_size:
                return ""
            losses[choice] = sft_loss(model, pad([rendered]).to(model.device))[0].item()
    finally:
        model.train(training)
    return min(losses, key=losses.get)


def _answer(record, tokenizer, expected, given):
    question, right_answer = (message.content for message in record.item.messages[-2:])
    text = tokenizer.decode([token for token in given if not tokenizer.is_special(token)])
    return Answer(record.split, record.task, question, right_answer, text, given in expected)


def exact_match(answers):
    """{(split, task): (right, all)}, with (split, "all") for each split as a whole, splits in order of appearance."""
    counts = defaultdict(lambda: [0, 0])
    for answer in answers:
        for task in ("all", answer.task) if answer.task != "all" else ("all",):
            counts[answer.split, task][0] += answer.right
            counts[answer.split, task][1] += 1
    return {key: tuple(count) for key, count in counts.items()}


def split_shares(answers):
    """{split: share of exact matches}."""
    return {split: right / n for (split, task), (right, n) in exact_match(answers).items() if task == "all"}


def table(counts):
    """Lines of a table of exact match: a row for each task, a column for each split."""
    splits = list(dict.fromkeys(split for split, _ in counts))
    tasks = sorted({task for _, task in counts if task != "all"}) + ["all"]
    width, widths = max(map(len, tasks)), [max(14, len(split)) for split in splits]
    lines = ["  ".join([" " * width, *(split.rjust(w) for split, w in zip(splits, widths))])]
    for task in tasks:
        cells = []
        for split, w in zip(splits, widths):
            right, n = counts.get((split, task), (0, 0))
            cells.append((f"{right / n:6.1%} {f'of {n}':>7}" if n else "-").rjust(w))
        lines.append("  ".join([task.ljust(width), *cells]))
    return lines


@torch.no_grad()
def mean_loss(model, examples, batch_size=64):
    """Mean loss per supervised token over rendered examples; the model's mode is restored."""
    training = model.training
    model.eval()
    total, targets = 0.0, 0
    try:
        for chosen in length_buckets([len(example.ids) for example in examples], batch_size, random.Random(0)):
            loss, n = sft_loss(model, pad([examples[i] for i in chosen]).to(model.device))
            total, targets = total + loss.item(), targets + n
    finally:
        model.train(training)
    return total / max(1, targets)


def perplexity(loss):
    """exp(loss), infinite where that is too large for a number."""
    return math.exp(loss) if loss < 700 else math.inf


def paired_bootstrap(before, after, draws=2000, seed=0):
    """Mean difference after - before, and its 95% interval: (difference, low, high).

    before, after: one list of scores per seed, the same items in the same order everywhere. Each draw takes seeds and
    items with replacement, the same ones in both arms.
    """
    difference = torch.tensor(after, dtype=torch.float64) - torch.tensor(before, dtype=torch.float64)  # (seeds, items)
    generator = torch.Generator().manual_seed(seed)
    means = []
    for _ in range(draws):
        seeds = torch.randint(len(difference), (len(difference),), generator=generator)
        items = torch.randint(difference.shape[1], (difference.shape[1],), generator=generator)
        means.append(difference[seeds].mean(0)[items].mean())
    low, high = torch.stack(means).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return difference.mean().item(), low, high


@dataclass(frozen=True)
class EvaluateConfig:
    model: str = option("", "run folder or file, GPT-2 or PEFT folder; by default the newest run in checkpoints/")
    data: tuple = option(TEST_FILES, "files to evaluate on, in any format that training takes")
    show: int = option(0, "number of wrong answers to print for each split")
    device: str = option("auto", "auto, cpu, cuda, mps, ...: where to compute; auto takes a GPU if there is one")

    def __post_init__(self):
        at_least(self, show=0)


def pick_device(name):
    """A torch.device; "auto" is CUDA if there is one, else the CPU. ValueError for one that cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        made = torch.zeros(1, device=name)
        made.item()  # a device without memory of its own, such as meta, cannot say what it holds
        return made.device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0][:100]
        raise ValueError(f"--device {name} cannot be used here ({reason}); try --device cpu") from None


def evaluate(config):
    """Print the tables of exact match and loss."""
    model, tokenizer = open_chosen(config.model)
    model.to(pick_device(config.device))
    records, _ = read_records(config.data)
    answers = answer_all(model, tokenizer, records)
    if answers:
        print("\n".join(table(exact_match(answers))))
    examples, notes = prepare(records, tokenizer, model.config.block_size)
    for note in notes:
        print(note)
    if examples:
        loss = mean_loss(model, examples)
        print(f"loss {loss:.3f} per supervised token, perplexity {perplexity(loss):.2f}")
    for split in dict.fromkeys(answer.split for answer in answers):
        wrong = [answer for answer in answers if answer.split == split and not answer.right]
        for answer in wrong[:config.show]:
            print(f"\n[{split}, {answer.task}] {answer.question}")
            print(f"  expected: {answer.expected}\n  given:    {answer.given}")


def main(argv=None):
    config = parse(EvaluateConfig, argv, "evaluate", "Exact match of a model, by split and task.")
    try:
        evaluate(config)
    except (ValueError, OSError) as error:
        raise SystemExit(f"minisft.evaluate: {error}") from None


if __name__ == "__main__":
    main()
