"""From rendered conversations to batches: truncate, bucket by length, pad or pack (collate).

Truncation. A conversation longer than the model's context keeps its longest beginning of *whole*
turns that ends with an answer: every answer that is kept is complete, end token included, and sees
everything it saw before. If not even the first answer fits, the conversation is left out. Both are
counted. Long plain text is cut into pieces instead, and every token is a target once.

Padding. Batches are drawn from conversations of similar length. Rows are filled up at the right.
Padding is known by position, never by token id.

Packing. Conversations share rows, and each is isolated: its positions start at 0 and its tokens
attend to nothing outside it. So logits and gradients are those that it would have alone.

Notes: 优化设置 (optimization settings). Source: Krell et al. 2021 (packing without
cross-contamination).
"""

import math
import random
from collections import Counter
from dataclasses import dataclass
from heapq import heapreplace
from itertools import count, islice

import torch

from minisft.conversation import Rendered
from minisft.records import render_record

POOL = 50  # batches' worth of conversations that are sorted by length together


@dataclass(frozen=True)
class Batch:
    """ids (B, T) int64; loss_mask (B, T) bool, True where a token is a target.

    tokens: number of real tokens, without padding. positions (B, T) int64 and mask (B, 1, T, T)
    bool are None for padded rows: the model's own positions and causal attention serve there.
    """

    ids: torch.Tensor
    loss_mask: torch.Tensor
    tokens: int
    positions: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    def to(self, device):
        def moved(part):
            return None if part is None else part.to(device)

        return Batch(moved(self.ids), moved(self.loss_mask), self.tokens,
                     moved(self.positions), moved(self.mask))

    @property
    def padding(self):
        """Share of the B x T slots that hold no token."""
        return 1 - self.tokens / self.ids.numel()


def truncate(rendered, block_size):
    """A conversation's longest beginning of whole turns within block_size tokens.

    None if not even the first answer fits.
    """
    ids, mask = rendered.ids, rendered.loss_mask
    if len(ids) <= block_size:
        return rendered
    ends = [i + 1 for i in range(block_size) if mask[i] and not mask[i + 1]]
    return Rendered(ids[:ends[-1]], mask[:ends[-1]]) if ends else None


def cut_text(rendered, block_size):
    """Pieces of a long document, at most block_size tokens each.

    A piece starts with the last token of the piece before, so that every token is a target once.
    """
    pieces = []
    for start in range(0, max(1, len(rendered.ids) - 1), block_size - 1):
        end = start + block_size
        pieces.append(Rendered(rendered.ids[start:end], [0] + rendered.loss_mask[start + 1:end]))
    return pieces


def prepare(records, tokenizer, block_size):
    """Rendered examples that fit the context, and a line for each way in which something was cut.

    Plain text is cut into pieces; a conversation keeps the first turns that fit, or is left out if
    none does.
    """
    examples, cut, left_out = [], [], []
    for record in records:
        rendered = render_record(record, tokenizer)
        if isinstance(record.item, str):
            examples += cut_text(rendered, block_size)
            continue
        truncated = truncate(rendered, block_size)
        if truncated is None:
            left_out.append(record.source)
            continue
        examples.append(truncated)
        if len(truncated.ids) < len(rendered.ids):
            cut.append(record.source)

    notes = []
    if cut:
        notes.append(f"{len(cut)} conversations are longer than the context of {block_size} tokens "
                     f"and keep only the first turns that fit, the first: {cut[0]}")
    if left_out:
        notes.append(f"{len(left_out)} conversations are left out: their first answer does not end "
                     f"within {block_size} tokens, the first: {left_out[0]}")
    return examples, notes


def length_buckets(lengths, batch_size, rng):
    """One epoch: lists of `batch_size` indices with similar lengths (the last of a pool has fewer).

    lengths: list of int; rng: random.Random, which decides the order. Each index occurs once.
    """
    order = list(range(len(lengths)))
    rng.shuffle(order)
    batches = []
    for pool in range(0, len(order), POOL * batch_size):
        chosen = sorted(order[pool:pool + POOL * batch_size], key=lengths.__getitem__)
        batches += [chosen[i:i + batch_size] for i in range(0, len(chosen), batch_size)]
    rng.shuffle(batches)
    return batches


def pad(examples):
    """A Batch in which each example has a row, filled up at the right to the longest."""
    width = max(len(example.ids) for example in examples)
    ids = torch.zeros(len(examples), width, dtype=torch.int64)
    loss_mask = torch.zeros(len(examples), width, dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, :len(example.ids)] = torch.tensor(example.ids)
        loss_mask[row, :len(example.ids)] = torch.tensor(example.loss_mask, dtype=torch.bool)
    return Batch(ids, loss_mask, sum(len(example.ids) for example in examples))


def pack_rows(lengths, block_size):
    """Lists of indices that share a row: the longest first, each to the emptiest row.

    The number of rows is the one that leaves the fewest slots empty, of all from the smallest
    possible number to twice that, which always suffices. For example, 32 examples of 40 tokens fill
    8 rows of 160, while 6 rows of 240 would leave a ninth of the slots empty.
    10,000 examples take less than a second. ValueError if a length exceeds block_size.
    """
    longest, total = max(lengths), sum(lengths)
    if longest > block_size:
        raise ValueError(f"an example of {longest} tokens does not fit a row of {block_size}; "
                         "truncate it first")
    fewest, counts = -(-total // block_size), sorted(Counter(lengths).items(), reverse=True)
    slots, best = math.inf, None
    for n_rows in range(fewest, 2 * fewest + 1):
        least_width = max(longest, -(-total // n_rows))
        if n_rows * least_width < slots:  # else it cannot be better
            width = fullest_row(counts, n_rows, block_size)
            if n_rows * width < slots:
                slots, best = n_rows * width, n_rows

    rows = [[] for _ in range(best)]
    emptiest_first = [(0, row) for row in range(best)]  # a heap of (tokens, row)
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        filled, row = emptiest_first[0]
        rows[row].append(i)
        heapreplace(emptiest_first, (filled + lengths[i], row))
    return rows


def fullest_row(counts, n_rows, block_size):
    """Tokens in the fullest row if examples go, the longest first, each to the emptiest row.

    counts: list of (length, number of examples), the longest first. Rows that are equally full are
    moved together, so the time hardly depends on their number. Infinite if a row would overflow.
    """
    rows_with = [n_rows] + [0] * block_size  # rows_with[n]: how many rows hold n tokens
    emptiest = fullest = 0
    for length, left in counts:
        while left:
            while not rows_with[emptiest]:
                emptiest += 1
            filled = emptiest + length
            if filled > block_size:
                return math.inf
            moved = min(left, rows_with[emptiest])
            rows_with[emptiest] -= moved
            rows_with[filled] += moved
            left, fullest = left - moved, max(fullest, filled)
    return fullest


def pack(examples, block_size):
    """A Batch of shared rows of at most block_size tokens, each example isolated."""
    rows = pack_rows([len(example.ids) for example in examples], block_size)
    padded = pad([
        Rendered([token for i in row for token in examples[i].ids],
                 [flag for i in row for flag in examples[i].loss_mask])
        for row in rows])
    document = torch.full(padded.ids.shape, -1)  # (B, T): a token's example, -1 for padding
    positions = torch.zeros_like(padded.ids)
    for r, row in enumerate(rows):
        start = 0
        for i in row:
            end = start + len(examples[i].ids)
            document[r, start:end] = i
            positions[r, start:end] = torch.arange(end - start)
            start = end
    same = document[:, :, None] == document[:, None, :]  # (B, T) -> (B, T, T)
    mask = same.tril()[:, None]  # (B, T, T) -> (B, 1, T, T)
    loss_mask = padded.loss_mask & (positions > 0)  # nothing predicts an example's first token
    return Batch(padded.ids, loss_mask, padded.tokens, positions, mask)


def step_batches(examples, batch_size, seed, *, accumulate=1, block_size=None, start=0):
    """What each optimizer step sees, without end: a list of micro-batches for each step.

    examples: list of Rendered. batch_size: conversations in a step. accumulate: micro-batches that
    a step is cut into (fewer if it has fewer examples). block_size: if given, examples are packed
    into rows of this many tokens; else each has its own row. start: the first step wanted; a step
    depends on nothing but the arguments, so training can continue anywhere.
    Raises ValueError if there is nothing to make a step of.
    """
    if not examples or batch_size < 1 or accumulate < 1:
        raise ValueError(
            f"a step needs examples, and batch_size and accumulate of at least 1; "
            f"got {len(examples)} examples, batch_size={batch_size}, accumulate={accumulate}")
    lengths = [len(example.ids) for example in examples]
    for chosen in islice(chosen_for_steps(lengths, batch_size, seed), start, None):
        parts = [chosen[part::accumulate] for part in range(accumulate)]
        parts = [[examples[i] for i in part] for part in parts if part]
        yield [pack(part, block_size) if block_size else pad(part) for part in parts]


def chosen_for_steps(lengths, batch_size, seed):
    """Indices of the examples in each step, epoch after epoch without end."""
    for epoch in count():
        yield from length_buckets(lengths, batch_size, random.Random(f"{seed} epoch {epoch}"))
