"""Packing: several documents share a row, and none of them notices.

    row         a a a a b b b . .        positions  0 1 2 3 0 1 2
    may look    a token sees the tokens of its own document up to itself, and nothing else

So logits and gradients are those that each document would have alone. `pack_rows(lengths,
block_size)` says which documents share a row, in their order. `pad` makes a Batch of rows, filled
up at the right.

Write `pack`, which returns a Batch: ids (B, T), loss_mask (B, T), the number of real tokens,
positions (B, T), mask (B, 1, T, T), True where a query may look. Nothing predicts the first token
of a document, so it is no target, whatever its own mask says. A padding slot must see at least one
slot, or its softmax is 0 / 0.
"""

import torch

from lessons.checking.exercise import Exercise, Mistake, Variant
from minisft.batching import pack_rows
from minisft.conversation import Rendered

PACK = "minisft.batching:pack"


def cases(rng):
    """Documents that begin with a target, equal lengths, a row that is not full, one document."""
    def case(lengths, block_size):
        documents = []
        for length in lengths:
            mask = [int(rng.random() < 0.6) for _ in range(length)]
            mask[0], mask[-1] = 1, 1
            documents.append([[rng.randrange(1, 9) for _ in range(length)], mask])
        return {"documents": documents, "block_size": block_size}

    n = rng.randint(2, 3)
    return [case([n], 4), case([n, 2], 8), case([4, 3, 3, n], 7), case([n, n, n, 5], 9),
            case([5, 4, 3, 2, 2], 8)]


def run(code, documents, block_size):
    """Everything at real tokens only; what stands at padding is free, but for its mask."""
    batch = code.pack([Rendered(ids, mask) for ids, mask in documents], block_size)
    rows = pack_rows([len(ids) for ids, _ in documents], block_size)
    lengths = torch.tensor([sum(len(documents[i][0]) for i in row) for row in rows])
    B, T = len(rows), int(lengths.max())
    parts = batch.ids, batch.loss_mask, batch.positions, batch.mask
    shapes = [list(part.shape) for part in parts]
    if shapes != [[B, T], [B, T], [B, T], [B, 1, T, T]]:
        return {"shapes of ids, loss_mask, positions, mask": shapes}
    real = torch.arange(T) < lengths[:, None]
    sees = batch.mask[:, 0]
    return {"shapes of ids, loss_mask, positions, mask": shapes,
            "ids": batch.ids * real, "loss_mask": batch.loss_mask.bool(),
            "tokens": batch.tokens, "positions": batch.positions * real,
            "mask[:, 0]": sees.bool() & real[:, :, None],
            "every slot sees one": bool(sees.any(-1).all())}


def oracle(documents, block_size):
    """One slot and one pair of slots after the other."""
    rows = pack_rows([len(ids) for ids, _ in documents], block_size)
    slots = [[(i, place) for i in row for place in range(len(documents[i][0]))] for row in rows]
    B, T = len(rows), max(map(len, slots))
    ids, positions = torch.zeros(B, T, dtype=torch.int64), torch.zeros(B, T, dtype=torch.int64)
    loss_mask = torch.zeros(B, T, dtype=torch.bool)
    sees = torch.zeros(B, T, T, dtype=torch.bool)
    for b, row in enumerate(slots):
        for t, (i, place) in enumerate(row):
            ids[b, t], positions[b, t] = documents[i][0][place], place
            loss_mask[b, t] = documents[i][1][place] == 1 and place > 0
            for s, (other, earlier) in enumerate(row):
                sees[b, t, s] = other == i and earlier <= place
    return {"shapes of ids, loss_mask, positions, mask": [[B, T], [B, T], [B, T], [B, 1, T, T]],
            "ids": ids, "loss_mask": loss_mask, "tokens": sum(map(len, slots)),
            "positions": positions, "mask[:, 0]": sees, "every slot sees one": True}


SAME = "same = document[:, :, None] == document[:, None, :]  # (B, T) -> (B, T, T)"
SEES = "mask = same.tril()[:, None]  # (B, T, T) -> (B, 1, T, T)"
PLACES = "positions[r, start:end] = torch.arange(end - start)"
RETURN = "return Batch(padded.ids, loss_mask, padded.tokens, positions, mask)"

EXERCISE = Exercise(
    name="packing", doc=__doc__, targets=(PACK,), minutes=30, after=("attention", "loss"),
    read="Krell et al. 2021",
    call="batch = pack([Rendered(ids, mask) for ids, mask in documents], block_size)",
    cases=cases, run=run, oracle=oracle,
    question="Two documents of 3 tokens share a row. How many pairs (query, key) may look at each "
             "other, and how many would causal attention alone allow?",
    pseudocode="""
        rows = which documents share a row
        pad the joined ids and masks of each row
        for each slot: the number of its document (another number for padding), and its place in it
        a query sees a key of the same number that does not come later
        targets = the joined masks, but for places 0
    """,
    mistakes=(
        Mistake("causal only", "Documents see the ones before them in the row: the mask is causal "
                "and nothing else.", (SAME, "same = torch.ones_like(document[:, :, None] == "
                                            "document[:, None, :])")),
        Mistake("not causal", "Tokens see what follows them in their own document; the mask must "
                "be causal too.", (SEES, "mask = same[:, None]")),
        Mistake("backwards", "Tokens see what follows them and not what comes before.",
                (SEES, "mask = same.triu()[:, None]")),
        Mistake("does not see itself", "No token sees itself; the diagonal belongs to the mask.",
                (SEES, "mask = same.tril(-1)[:, None]")),
        Mistake("positions not reset", "Positions run through the row; every document begins at 0.",
                (PLACES, "positions[r, start:end] = torch.arange(start, end)")),
        Mistake("positions from 1", "Positions begin at 1; they begin at 0.",
                (PLACES, "positions[r, start:end] = torch.arange(end - start) + 1"),
                ("(positions > 0)", "(positions > 1)")),
        Mistake("target across the border", "The first token of a document is a target, predicted "
                "from the last one of the document before it.",
                ("padded.loss_mask & (positions > 0)", "padded.loss_mask")),
        Mistake("first token of the row only", "Only the row's first token is taken out of the "
                "targets; the first one of every document must be.",
                ("padded.loss_mask & (positions > 0)",
                 "padded.loss_mask & (torch.arange(padded.ids.shape[1]) > 0)")),
        Mistake("padding is learnt", "Padding slots are targets.",
                (RETURN, RETURN.replace("loss_mask,", "loss_mask | (document == -1),", 1))),
        Mistake("all is learnt", "Every token is a target; the documents' own masks say which are.",
                ("padded.loss_mask & (positions > 0)", "positions > 0")),
        Mistake("padding counted", "The number of tokens counts padding.",
                (RETURN, RETURN.replace("padded.tokens", "padded.ids.numel()"))),
        Mistake("documents of equal length share a number", "Documents are told apart by their "
                "length, so two of the same length see each other.",
                ("document[r, start:end] = i", "document[r, start:end] = end - start")),
        Mistake("no dimension for the heads", "The mask is (B, T, T); the heads need a dimension "
                "of their own, (B, 1, T, T).", (SEES, "mask = same.tril()")),
        Mistake("padding sees nothing", "A padding slot sees nothing, so its softmax is 0 / 0 and "
                "gives NaN.", (SEES, "mask = (same & (document >= 0)[:, None]).tril()[:, None]")),
        Mistake("cut and run on", "Documents are put one behind the other into rows of block_size, "
                "so some are cut; pack_rows says which share a row.",
                ("rows = pack_rows([len(example.ids) for example in examples], block_size)",
                 "rows = [list(range(len(examples)))]")),
    ),
    variants=(
        Variant("loops", "One pair of slots after the other, as one explains it; quadratic in "
                "Python.", {PACK: """
            rows = pack_rows([len(example.ids) for example in examples], block_size)
            slots = [[(i, t) for i in row for t in range(len(examples[i].ids))] for row in rows]
            B, T = len(slots), max(map(len, slots))
            ids, positions = torch.zeros(2, B, T, dtype=torch.int64)
            loss_mask = torch.zeros(B, T, dtype=torch.bool)
            mask = torch.eye(T, dtype=torch.bool).repeat(B, 1, 1, 1)
            for b, row in enumerate(slots):
                for t, (i, place) in enumerate(row):
                    ids[b, t], positions[b, t] = examples[i].ids[place], place
                    loss_mask[b, t] = bool(place and examples[i].loss_mask[place])
                    for s in range(t):
                        mask[b, 0, t, s] = row[s][0] == i
            return Batch(ids, loss_mask, sum(map(len, slots)), positions, mask)
            """}),
        Variant("numbers by counting starts", "Documents are numbered by a running sum over their "
                "first tokens, which also works on rows that come packed.", {PACK: """
            rows = pack_rows([len(example.ids) for example in examples], block_size)
            padded = pad([Rendered(sum((examples[i].ids for i in row), []),
                                   sum((examples[i].loss_mask for i in row), [])) for row in rows])
            starts = torch.zeros_like(padded.ids)
            for r, row in enumerate(rows):
                start = 0
                for i in row:
                    starts[r, start] = 1
                    start += len(examples[i].ids)
                if start < starts.shape[1]:
                    starts[r, start] = 1
            document = starts.cumsum(1)
            T = torch.arange(starts.shape[1])
            first = torch.where(starts == 1, T, 0).cummax(1).values
            mask = (document[:, None, :, None] == document[:, None, None]) & (T <= T[:, None])
            return Batch(padded.ids, padded.loss_mask & (starts == 0), padded.tokens, T - first,
                         mask)
            """}),
        Variant("blocks on the diagonal", "One triangle for each document, joined by block_diag.", {
            PACK: """
            rows = pack_rows([len(example.ids) for example in examples], block_size)
            padded = pad([Rendered([t for i in row for t in examples[i].ids],
                                   [bit for i in row for bit in examples[i].loss_mask])
                          for row in rows])
            T, masks, positions = padded.ids.shape[1], [], []
            for row in rows:
                lengths = [len(examples[i].ids) for i in row]
                lengths.append(T - sum(lengths))
                masks.append(torch.block_diag(*(torch.ones(n, n).tril() for n in lengths)))
                positions.append(torch.cat([torch.arange(n) for n in lengths]))
            positions = torch.stack(positions)
            mask = torch.stack(masks)[:, None, :T, :T].bool()
            return Batch(padded.ids, padded.loss_mask & (positions > 0), padded.tokens, positions,
                         mask)
            """}),
    ),
)
