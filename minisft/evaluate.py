"""How well a model answers: exact match by split and task, and the loss on answers.

    exact match   share of conversations whose last answer is given token for token, its end
                  included (or an answer that is as right)
    perplexity    exp(mean loss per supervised token)

    python -m minisft.evaluate --model checkpoints/run-1

A row with `every_turn` is right only if each of its answers is, every one of them given the earlier
turns as they were expected. As a right answer is the expected one token for token, this is the same
as letting the model go on with its own answers.

Decoding is greedy. It stops one token after the length of the longest right answer of its batch:
an answer that is longer is wrong already.

Notes: 指令微调的作用 (what instruction tuning is for).
"""

import math
import random
from collections import defaultdict
from dataclasses import dataclass, replace

import torch
from tqdm import tqdm

from minisft.batching import length_buckets, pad, prepare
from minisft.config import at_least, option, parse
from minisft.conversation import Conversation, render, render_prompt
from minisft.device import device_option, pick_device
from minisft.generate import generate_steps
from minisft.loss import sft_loss
from minisft.models import open_chosen
from minisft.records import Record, describe, read_records
from minisft.screen import visible
from minisft.shipped import TEST_FILES
from minisft.tokenizer import END_OF_TURN


@dataclass(frozen=True)
class Answer:
    """A question with its answers: the expected one, the given one, and whether that is right."""

    split: str
    task: str
    question: str
    expected: str
    given: str
    right: bool


@dataclass(frozen=True)
class Question:
    """prompt: ids up to the answer; right: the ids of each right answer, end of turn included."""

    record: Record
    place: int  # among all records
    prompt: list
    right: list


def conversations(records):
    """The records that ask: conversations, but for those whose last answer is not to be learnt."""
    return [record for record in records
            if isinstance(record.item, Conversation) and record.item.messages[-1].learn]


def answer_all(model, tokenizer, records, batch_size=128, label=None):
    """Answers to the last question of each conversation among `records`, in their order.

    label: of a progress bar, which is shown only if there is one.
    Plain text asks nothing and is left out. A question with choices is answered with the one that
    the model finds likeliest. A prompt that leaves no room for an answer in the model's context is
    answered wrong, with an empty `given`. With `every_turn`, the Answer is that of the first turn
    that went wrong; if none did, that of the last. Later turns are asked only where the first
    answer is right.
    """
    turns = [turns_asked(record) for record in conversations(records)]
    answers = answer_last(model, tokenizer, [each[0] for each in turns], batch_size, label)
    on = [i for i, answer in enumerate(answers) if answer.right and len(turns[i]) > 1]
    later = iter(answer_last(model, tokenizer, [turn for i in on for turn in turns[i][1:]],
                             batch_size, label and f"{label}, later turns"))
    for i in on:
        answers[i] = first_wrong([next(later) for _ in turns[i][1:]])
    return answers


def first_wrong(answers):
    """The first wrong one of the answers in a conversation, or the last if all are right."""
    return next((answer for answer in answers if not answer.right), answers[-1])


def turns_asked(record):
    """The record alone, or with `every_turn` one record for each learnt answer, which ends there.

    Other right answers go with the last one.
    """
    messages = record.item.messages
    earlier = [replace(record, item=Conversation(messages[:place + 1]), also=())
               for place, message in enumerate(messages[:-1])
               if record.every_turn and message.role == "assistant" and message.learn]
    return [*earlier, record]


def answer_last(model, tokenizer, records, batch_size, label):
    """Answers to the last question of each of some conversations, in their order."""
    answers = [to_answer(record, "", False) for record in records]
    questions = []
    for place, record in enumerate(records):
        if record.choices:
            chosen = likeliest(model, tokenizer, record)
            answers[place] = to_answer(record, chosen, chosen == answers[place].expected)
            continue
        question = to_question(record, place, tokenizer)
        if len(question.prompt) < model.config.block_size:
            questions.append(question)

    questions.sort(key=lambda question: (len(question.prompt), len(question.right[0])))
    batches = [questions[i:i + batch_size] for i in range(0, len(questions), batch_size)]
    with tqdm(total=sum(map(longest_answer, batches)), desc=label, unit="token",
              disable=label is None or not batches, dynamic_ncols=True) as bar:
        for batch in batches:
            for question, ids in zip(batch, answer_batch(model, tokenizer, batch, bar)):
                text = tokenizer.decode([token for token in ids if not tokenizer.is_special(token)])
                answers[question.place] = to_answer(question.record, text, ids in question.right)
    return answers


def to_question(record, place, tokenizer):
    """The Question that a conversation's last answer replies to."""
    end = tokenizer.special(END_OF_TURN)
    right = (record.item.messages[-1].content, *record.also)
    return Question(
        record, place, prompt=render_prompt(Conversation(record.item.messages[:-1]), tokenizer),
        right=[tokenizer.encode(answer) + [end] for answer in right])


def to_answer(record, given, right):
    """The Answer of a record, whose last two messages are the question and the expected answer."""
    question, expected = (message.content for message in record.item.messages[-2:])
    return Answer(record.split, record.task, question, expected, given, right)


def longest_answer(questions):
    """Tokens to generate for some questions: one more than the longest right answer has."""
    return 1 + max(len(right) for question in questions for right in question.right)


def answer_batch(model, tokenizer, questions, bar):
    """Greedily decoded ids for each of some questions, computed together; moves the bar on."""
    prompts, most = [question.prompt for question in questions], longest_answer(questions)
    ids = [[] for _ in prompts]
    done = 0
    for step in generate_steps(model, prompts, most, stop=(tokenizer.special(END_OF_TURN),)):
        for row, token in step.items():
            ids[row].append(token)
        bar.update()
        done += 1
    bar.update(most - done)
    return ids


@torch.no_grad()
def likeliest(model, tokenizer, record):
    """The choice with the least summed loss as the record's last answer.

    "" if a choice does not fit the model's context.
    """
    losses, training = {}, model.training
    model.eval()
    try:
        for choice in record.choices:
            last = replace(record.item.messages[-1], content=choice)
            rendered = render(Conversation((*record.item.messages[:-1], last)), tokenizer)
            if len(rendered.ids) > model.config.block_size:
                return ""
            losses[choice] = sft_loss(model, pad([rendered]).to(model.device))[0].item()
    finally:
        model.train(training)
    return min(losses, key=losses.get)


def exact_match(answers):
    """{(split, task): (right, all)}, with (split, "all") for each split as a whole.

    Splits stand in the order in which they appear.
    """
    counts = defaultdict(lambda: [0, 0])
    for answer in answers:
        for task in ("all", answer.task) if answer.task != "all" else ("all",):
            counts[answer.split, task][0] += answer.right
            counts[answer.split, task][1] += 1
    return {key: tuple(count) for key, count in counts.items()}


def split_shares(answers):
    """{split: share of exact matches}."""
    counts = exact_match(answers)
    return {split: right / n for (split, task), (right, n) in counts.items() if task == "all"}


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
            cell = f"{right / n:6.1%} {f'of {n}':>7}" if n else "-"
            cells.append(cell.rjust(w))
        lines.append("  ".join([task.ljust(width), *cells]))
    return lines


@torch.no_grad()
def mean_loss(model, examples, batch_size=64):
    """Mean loss per supervised token over rendered examples; the model's mode is restored."""
    training = model.training
    model.eval()
    total, targets = 0.0, 0
    lengths = [len(example.ids) for example in examples]
    try:
        for chosen in length_buckets(lengths, batch_size, random.Random(0)):
            batch = pad([examples[i] for i in chosen]).to(model.device)
            loss, n = sft_loss(model, batch)
            total, targets = total + loss.item(), targets + n
    finally:
        model.train(training)
    return total / max(1, targets)


def perplexity(loss):
    """exp(loss), infinite where that is too large for a number."""
    return math.exp(loss) if loss < 700 else math.inf


@dataclass(frozen=True)
class EvaluateConfig:
    model: str = option("", "run folder or file, GPT-2 or PEFT folder; by default the newest run "
                            "in checkpoints/, or else the tuned model that ships")
    data: tuple = option(TEST_FILES, "files to evaluate on, in any format that training takes")
    show: int = option(0, "number of wrong answers to print for each split")
    skip_bad: bool = option(False, "count and skip rows that cannot be used, instead of stopping")
    device: str = device_option()

    def __post_init__(self):
        at_least(self, show=0)


def evaluate(config):
    """Print the tables of exact match and loss."""
    model, tokenizer = open_chosen(config.model)
    model.to(pick_device(config.device))
    records, bad = read_records(config.data, config.skip_bad)
    if config.data != TEST_FILES:
        print("\n".join(describe(records, bad)))
    answers = answer_all(model, tokenizer, records, label="answering")
    if answers:
        print("\n".join(table(exact_match(answers))))
    examples, notes = prepare(records, tokenizer, model.config.block_size)
    for note in notes:
        print(note)
    if examples:
        loss = mean_loss(model, examples)
        print(f"loss {loss:.3f} per supervised token, perplexity {perplexity(loss):.2f}")
    print_wrong(answers, config.show)


def print_wrong(answers, most):
    """Print at most so many wrong answers of each split."""
    for split in dict.fromkeys(answer.split for answer in answers):
        wrong = [answer for answer in answers if answer.split == split and not answer.right]
        for answer in wrong[:most]:
            print(visible(f"\n[{split}, {answer.task}] {answer.question}\n"
                          f"  expected: {answer.expected}\n  given:    {answer.given}"))


def main(argv=None):
    config = parse(EvaluateConfig, argv, "python -m minisft.evaluate",
                   "Exact match of a model, by split and task.")
    try:
        evaluate(config)
    except (ValueError, OSError) as error:
        raise SystemExit(f"minisft.evaluate: {error}") from None


if __name__ == "__main__":
    main()
