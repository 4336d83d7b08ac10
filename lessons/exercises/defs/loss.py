"""The loss: cross-entropy on supervised positions, as a sum and a count.

    L = - sum over targets i of log softmax(z_{i-1})[id_i]          n = number of targets

The token at place i is predicted at place i - 1. Token i is a target where `batch.loss_mask[:, i]`
is True; nothing predicts the first token of a row. The sum is not divided: the training loop
divides once, by the number of targets in the whole step.

`batch` has ids (B, T), loss_mask (B, T), positions and mask; the last two are None or belong into
`model.embed(ids, positions)` and `model.trunk(x, mask=mask)`. `model.head` turns (..., C) into
logits (..., V). With no target at all the loss is a zero whose gradient is zero.

Write `sft_loss`, which returns the sum, a tensor of no dimension, and n, an int.
"""

import torch

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import model_of
from minisft.batching import Batch

LOSS = "minisft.loss:sft_loss"
SUM, COUNT = "sft_loss(model, batch)[0]", "sft_loss(model, batch)[1]"
GRADIENT = "gradient of it, model.ln_f.weight.grad "


def cases(rng):
    """Rows with unequal numbers of targets, the first token a target too; none; a packed row."""
    def case(B, T, targets, packed=False):
        mask = torch.zeros(B, T, dtype=torch.bool)
        for b in range(B):
            mask[b, rng.sample(range(1, T), targets[b])] = True
            mask[b, 0] = b % 2 == 0 and targets[b] > 0  # nothing predicts it
        documents = torch.tensor([[0] * (T // 2) + [1] * (T - T // 2)])
        return {"seed": rng.getrandbits(30),
                "ids": torch.tensor([[rng.randrange(11) for _ in range(T)] for _ in range(B)]),
                "loss_mask": mask,
                "positions": torch.tensor([[*range(T // 2), *range(T - T // 2)]]
                                          ) if packed else None,
                "mask": ((documents[:, :, None] == documents[:, None]).tril()[:, None]
                         if packed else None)}

    return [case(1, 3, [1]), case(1, 4, [2]), case(1, 3, [0]), case(2, 5, [1, 4]),
            case(3, 6, [0, 2, 5]), case(1, 7, [4], packed=True)]


def run(code, seed, ids, loss_mask, positions, mask):
    model = model_of(seed, n_layer=1)
    batch = Batch(ids, loss_mask, ids.numel(), positions, mask)
    loss, n = code.sft_loss(model, batch)
    values = {SUM: loss, COUNT: int(n)}
    if isinstance(loss, torch.Tensor) and loss.requires_grad and loss.dim() == 0:
        loss.backward()
        values[GRADIENT] = model.ln_f.weight.grad
    return values


def oracle(seed, ids, loss_mask, positions, mask):
    """Full logits, one target after the other."""
    model = model_of(seed, n_layer=1)
    x = model.trunk(model.embed(ids, positions), mask=mask)
    loss, n = 0 * x.sum(), 0
    for b, row in enumerate(loss_mask.tolist()):
        for i in range(1, len(row)):
            if row[i]:
                z = x[b, i - 1] @ model.wte.weight.T
                loss = loss + torch.log(torch.exp(z - z.max()).sum()) + z.max() - z[ids[b, i]]
                n += 1
    loss.backward()
    return {SUM: loss, COUNT: n, GRADIENT: model.ln_f.weight.grad}


SUPERVISED = "supervised = batch.loss_mask[:, 1:]"
X, TARGETS = "x = x[:, :-1][supervised]", "targets = batch.ids[:, 1:][supervised]"
RETURN = 'return F.cross_entropy(logits, targets, reduction="sum"), targets.numel()'

EXERCISE = Exercise(
    name="loss", doc=__doc__, targets=(LOSS,), minutes=20, after=("mask",),
    read="lessons/02_conversation_and_mask.py",
    call="model = probes.model_of(seed, n_layer=1); batch = Batch(ids, loss_mask, ids.numel(), "
         "positions, mask); loss, n = sft_loss(model, batch); loss.backward()",
    cases=cases, run=run, oracle=oracle,
    question="Three tokens a, b, c and one target, c. Which row of logits is compared with it?",
    pseudocode="""
        x = the trunk's output for the embedded ids, with the batch's positions and mask
        supervised = the mask without its first column
        rows = x without its last place, where supervised
        targets = ids without their first place, where supervised
        loss = sum of the cross-entropy of head(rows) and targets; n = number of targets
    """,
    mistakes=(
        Mistake("mask not shifted", "The mask is not shifted with the targets, so other tokens "
                "than those that are marked are learnt.",
                (SUPERVISED, "supervised = batch.loss_mask[:, :-1]")),
        Mistake("no shift", "Each token is compared with the logits at its own place; it is "
                "predicted one place before.",
                (SUPERVISED, SUPERVISED + "\n    supervised = torch.cat([torch.zeros_like("
                 "supervised[:, :1]), supervised], 1)"),
                (X, "x = x[supervised]"), (TARGETS, "targets = batch.ids[supervised]")),
        Mistake("shifted the wrong way", "The logits at a place are compared with the token before "
                "it; they predict the one after it.",
                (X, "x = x[:, 1:][supervised]"), (TARGETS, "targets = batch.ids[:, :-1]"
                                                           "[supervised]")),
        Mistake("divided by all places", "The sum is divided by B x T, by places that are no "
                "targets too; it is not divided at all here.",
                (RETURN, RETURN.replace("), targets.numel", ") / batch.ids.numel(), "
                                                            "targets.numel"))),
        Mistake("mean", "The mean over the targets is returned; a step of several parts needs the "
                "sum, as the mean of means weighs short answers too much.",
                (RETURN, RETURN.replace("), targets.numel", ") / max(1, targets.numel()), "
                                                            "targets.numel"))),
        Mistake("mean of the rows", "Each row is divided by its own number of targets, so a long "
                "answer counts as much as a short one.",
                (RETURN, """
    rows = torch.arange(len(supervised))[:, None].expand_as(supervised)[supervised]
    each = F.cross_entropy(logits, targets, reduction="none")
    return (each / supervised.sum(1)[rows]).sum(), targets.numel()""")),
        Mistake("logits set to 0", "The logits of other places are set to 0 and still counted, "
                "each with a loss of log V; leave those places out.",
                (RETURN, """
    others = (~supervised).sum() * math.log(logits.shape[-1])
    return F.cross_entropy(logits, targets, reduction="sum") + others, targets.numel()""")),
        Mistake("mask ignored", "All tokens are learnt; the loss mask is not used.",
                (SUPERVISED, "supervised = torch.ones_like(batch.loss_mask[:, 1:])")),
        Mistake("mask turned round", "The places that are not supervised are learnt.",
                (SUPERVISED, "supervised = ~batch.loss_mask[:, 1:]")),
        Mistake("n counts all places", "n counts all tokens; it counts targets only.",
                (RETURN, RETURN.replace("targets.numel()", "batch.ids.numel()"))),
        Mistake("n counts the first column", "n counts a first token that is marked; nothing "
                "predicts it, so it is no target.",
                (RETURN, RETURN.replace("targets.numel()", "int(batch.loss_mask.sum())"))),
        Mistake("softmax twice", "The loss gets probabilities; cross_entropy wants logits and does "
                "its own softmax.", (RETURN, RETURN.replace("(logits", "(logits.softmax(-1)"))),
        Mistake("NaN without targets", "With no target the loss is NaN (0 / 0); it must be a zero "
                "with a gradient.",
                (RETURN, "loss = F.cross_entropy(logits, targets)\n"
                         "    return loss * targets.numel(), targets.numel()")),
        Mistake("log to base 2", "The logarithm is to base 2; the loss uses the natural one.",
                (RETURN, RETURN.replace("), targets.numel", ") / math.log(2), targets.numel"))),
        Mistake("positions ignored", "The positions of the batch are not used, so packed documents "
                "get wrong ones.", ("model.embed(batch.ids, batch.positions)",
                                    "model.embed(batch.ids)")),
        Mistake("attention mask ignored", "The attention mask of the batch is not used, so packed "
                "documents see each other.", (", mask=batch.mask", "")),
        Mistake("no gradient", "The loss has no gradient; it was detached from the model.",
                (RETURN, RETURN.replace("(logits", "(logits.detach()"))),
    ),
    imports=("import math",),
    variants=(
        Variant("label -100", "What most libraries do. The head runs on all places, most of which "
                "are thrown away.", {LOSS: """
            x = model.trunk(model.embed(batch.ids, batch.positions), mask=batch.mask)
            logits = model.head(x[:, :-1])
            labels = batch.ids[:, 1:].masked_fill(~batch.loss_mask[:, 1:], -100)
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
            return loss, int((labels != -100).sum())
            """}),
        Variant("log-softmax, gathered", "The formula itself; keeps a second tensor as large as "
                "the logits.", {LOSS: """
            x = model.trunk(model.embed(batch.ids, batch.positions), mask=batch.mask)
            supervised, targets = batch.loss_mask[:, 1:], batch.ids[:, 1:, None]
            log_p = model.head(x[:, :-1]).log_softmax(dim=-1).gather(2, targets)[:, :, 0]
            return -(log_p * supervised).sum(), int(supervised.sum())
            """}),
        Variant("a loop over the targets", "One target after the other; slow, and the best one to "
                "test others against.", {LOSS: """
            x = model.trunk(model.embed(batch.ids, batch.positions), mask=batch.mask)
            loss, n = (x * 0).sum(), 0
            for b, i in batch.loss_mask.nonzero().tolist():
                if i:
                    z = model.head(x[b, i - 1])
                    loss, n = loss + z.logsumexp(0) - z[batch.ids[b, i]], n + 1
            return loss, n
            """}),
    ),
)
