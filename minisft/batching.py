"""From rendered conversations to batches: fit, bucket by length, pad or pack. Nothing is cut in silence.

Truncation. A conversation longer than the model's context keeps its longest beginning of *whole* turns that ends with
an answer: every answer that stays, stays complete, end token included, and sees all that it saw before. If not even
the first answer fits, the conversation is left out. Both are counted. Long plain text is cut into pieces instead;
every token stays a target once.

Padding. Batches are drawn from conversations of similar length; rows are filled up at the right, and padding is known
by position, never by token id.

Packing. Conversations share rows, and each is isolated: its positions start at 0 and its tokens attend to nothing
outside it, so logits and gradients are those it would have alone.

Notes: 优化设置 (optimization settings). Source: Krell et al. 2021 (packing without cross-contamination).
"""

import random
from dataclasses import dataclass
from itertools import count, islice

import torch

from minisft.conversation import Rendered
from minisft.records import render_record

POOL = 50  # batches' worth of conversations that are sorted by length together


@dataclass(frozen=True)
class Batch:
    """ids (B, T) int64; loss_mask (B, T) bool, True where a token is a target; tokens: real ones, without padding.

    positions (B, T) int64 and mask (B, 1, T, T) bool are None for padded rows, where 0, 1, 2, ... and plain causal
    attention do.
    """

    ids: torch.Tensor
    loss_mask: torch.Tensor
    tokens: int
    positions: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    def to(self, device):
        moved = (None if part is None else part.to(device) for part in (self.positions, self.mask))
        return Batch(self.ids.to(device), self.loss_mask.to(device), self.tokens, *moved)

    @property
    def padding(self):
        """Share of the B x T slots that hold no token."""
        return 1 - self.tokens / self.ids.numel()


def fit(rendered, block_size):
    """A conversation's longest beginning of whole turns within block_size tokens, or None if no answer fits."""
    ids, mask = rendered.ids, rendered.loss_mask
    if len(ids) <= block_size:
        return rendered
    ends = [i + 1 for i in range(block_size) if mask[i] and not mask[i + 1]]
    return Rendered(ids[:ends[-1]], mask[:ends[-1]]) if ends else None


def cut_text(rendered, block_size):
    """Pieces of a long document, at most block_size tokens each; a piece starts with the last token before it."""
    starts = range(0, max(1, len(rendered.ids) - 1), block_size - 1)
    return [Rendered(rendered.ids[i:i + block_size], [0] + rendered.loss_mask[i + 1:i + block_size]) for i in starts]


def prepare(records, tokenizer, block_size):
    """Rendered examples of records that fit the context, and a line for each way in which something was left out.

    Plain text is cut into pieces; a conversation keeps the first turns that fit, or is left out if none does.
    """
    examples, cut, left_out = [], [], []
    for record in records:
        rendered = render_record(record, tokenizer)
        if isinstance(record.item, str):
            examples += cut_text(rendered, block_size)
            continue
        fitted = fit(rendered, block_size)
        if fitted is None:
            left_out.append(record.source)
            continue
        examples.append(fitted)
        if len(fitted.ids) < len(rendered.ids):
            cut.append(record.source)
    notes = []
    if cut:
        notes.append(f"{len(cut)} conversations are longer than the context of {block_size} tokens and keep only the "
                     f"first turns that fit, the first: {cut[0]}")
    if left_out:
        notes.append(f"{len(left_out)} conversations are left out: their first answer does not end within "
                     f"{block_size} tokens, the first: {left_out[0]}")
    return examples, notes


def length_buckets(lengths, batch_size, rng):
    """One epoch: lists of indices, `batch_size` in each (fewer in the last of a pool), similar lengths together.

    lengths: list of int; rng: random.Random, which decides the order. Every index occurs exactly once.
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
    """Rows of their own, filled up at the right to the longest of them."""
    width = max(len(example.ids) for example in examples)
    ids = torch.zeros(len(examples), width, dtype=torch.int64)
    loss_mask = torch.zeros(len(examples), width, dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, :len(example.ids)] = torch.tensor(example.ids)
        loss_mask[row, :len(example.ids)] = torch.tensor(example.loss_mask, dtype=torch.bool)
    return Batch(ids, loss_mask, sum(len(example.ids) for example in examples))


def pack_rows(lengths, block_size):
    """Lists of indices that share a row: the longest first, each to the emptiest row.

    There are as many rows as leave the fewest slots empty, from the fewest that could do to twice as many, which
    always do: 32 examples of 40 tokens fill 8 rows of 160, while 6 rows of 240 would leave a ninth empty.
    ValueError if a length exceeds block_size.
    """
    if max(lengths) > block_size:
        raise ValueError(f"an example of {max(lengths)} tokens does not fit a row of {block_size}; fit it first")
    longest_first = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    fewest, layouts = -(-sum(lengths) // block_size), []
    for n_rows in range(fewest, 2 * fewest + 1):
        rows, filled = [[] for _ in range(n_rows)], [0] * n_rows
        for i in longest_first:
            emptiest = filled.index(min(filled))
            rows[emptiest].append(i)
            filled[emptiest] += lengths[i]
        if max(filled) <= block_size:
            layouts.append((n_rows * max(filled), rows))
    return min(layouts, key=lambda layout: layout[0])[1]


def pack(examples, block_size):
    """Shared rows of at most block_size tokens, with positions and attention kept apart."""
    rows = pack_rows([len(example.ids) for example in examples], block_size)
    joined = [Rendered([token for i in row for token in examples[i].ids],
                       [flag for i in row for flag in examples[i].loss_mask]) for row in rows]
    padded = pad(joined)
    document = torch.full(padded.ids.shape, -1)  # (B, T): which example a token belongs to, -1 for padding
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
    loss_mask = padded.loss_mask & (positions > 0)  # an example's first token has nothing to be predicted from
    return Batch(padded.ids, loss_mask, padded.tokens, positions, mask)


def step_batches(examples, batch_size, seed, *, accumulate=1, block_size=None, start=0):
    """What each optimizer step sees, without end: lists of `accumulate` batches (fewer if there are fewer examples).

    examples: list of Rendered; batch_size: conversations in a step; accumulate: pieces that a step is cut into.
    block_size: if given, examples are packed into rows of this many tokens; else each has a row of its own.
    start: the first step wanted. Steps depend on nothing but the arguments, so training can go on anywhere.
    Raises ValueError if there is nothing to make a step of.
    """
    if not examples or batch_size < 1 or accumulate < 1:
        raise ValueError(f"a step needs examples, and batch_size and accumulate of at least 1; "
                         f"got {len(examples)} examples, batch_size={batch_size}, accumulate={accumulate}")
    lengths = [len(example.ids) for example in examples]
    epochs = (length_buckets(lengths, batch_size, random.Random(f"{seed} epoch {epoch}")) for epoch in count())
    for chosen in islice((batch for epoch in epochs for batch in epoch), start, None):
        pieces = [[examples[i] for i in chosen[piece::accumulate]] for piece in range(accumulate)]
        yield [pack(piece, block_size) if block_size else pad(piece) for piece in pieces if piece]
