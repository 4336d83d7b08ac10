"""Gradient accumulation: a step in parts, with exactly the gradient of one large batch.

    g = (1/n) sum over micro-batches of grad L        n = targets in the whole step

Parts have different numbers of targets, so a mean of their means is wrong: it makes a token in a
short answer count more than one in a long answer. `sft_loss(model, batch)` gives a part's summed
loss and its number of targets. Each part's backward pass adds to every `.grad`, and frees its
memory before the next part.

Write `accumulate_gradients`, which returns the mean loss and the number of targets of the whole
step. Token i is a target where loss_mask[:, i] is True and i > 0. With no target at all, loss and
gradient are zero. `dtype` can stay unused.
"""

import torch

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import model_of
from minisft.batching import Batch

ACCUMULATE = "minisft.loop:accumulate_gradients"
LOSS, COUNT = "accumulate_gradients(...)[0]", "accumulate_gradients(...)[1]"
GRADIENT = "model.ln_f.weight.grad "


def cases(rng):
    """One part; parts with very different numbers of targets; first tokens marked; no target."""
    def part(B, T, targets):
        mask = torch.zeros(B, T, dtype=torch.bool)
        places = [(b, t) for b in range(B) for t in range(1, T)]
        for b, t in rng.sample(places, targets):
            mask[b, t] = True
        mask[:, 0] = targets > 0
        return [torch.tensor([[rng.randrange(11) for _ in range(T)] for _ in range(B)]), mask]

    def case(*parts):
        return {"seed": rng.getrandbits(30), "parts": [part(*each) for each in parts]}

    return [case((1, 3, 1)), case((1, 3, 0)), case((1, 3, 1), (1, 5, 3)),
            case((2, 4, 5), (1, 4, 0), (1, 3, 1)), case((1, 6, 4), (2, 5, 2), (1, 4, 3))]


def run(code, seed, parts):
    model = model_of(seed, n_layer=1)
    loss, n = code.accumulate_gradients(
        model, [Batch(ids, mask, ids.numel()) for ids, mask in parts])
    return {LOSS: float(loss), COUNT: int(n), GRADIENT: model.ln_f.weight.grad}


def oracle(seed, parts):
    """One target after the other, in a single backward pass."""
    model = model_of(seed, n_layer=1)
    losses = []
    for ids, mask in parts:
        for row, marked in zip(ids, mask):
            log_p = model(row[None])[0].log_softmax(-1)
            losses += [-log_p[i - 1, row[i]] for i in range(1, len(row)) if marked[i]]
            losses.append(0 * log_p.sum())  # so that there is a gradient without any target
    n = len(losses) - sum(len(ids) for ids, _ in parts)
    loss = torch.stack(losses).sum() / max(1, n)
    loss.backward()
    return {LOSS: loss.item(), COUNT: n, GRADIENT: model.ln_f.weight.grad}


COUNTING = "targets = sum(int(batch.loss_mask[:, 1:].sum()) for batch in micro_batches)"
BACKWARD = "(loss_sum / max(1, targets)).backward()"
ADD = "loss += loss_sum.item() / max(1, targets)"
CALL = "loss_sum, _ = sft_loss"

EXERCISE = Exercise(
    name="accumulate", doc=__doc__, targets=(ACCUMULATE,), minutes=15, after=("loss",),
    read="",
    call="model = probes.model_of(seed, n_layer=1); accumulate_gradients(model, [Batch(ids, mask, "
         "ids.numel()) for ids, mask in parts])",
    cases=cases, run=run, oracle=oracle,
    question="A part with 1 target has loss 4, a part with 3 targets has a mean loss of 2. What is "
             "the mean loss over all 4 targets?",
    pseudocode="""
        n = number of targets in all parts together, before anything else
        for each part:
            its summed loss
            backward of that sum divided by n (by 1 if there is none), which adds to every .grad
            add the same number to the loss
        return loss and n
    """,
    mistakes=(
        Mistake("mean of means", "Each part's mean is averaged over the parts, so parts with few "
                "targets count too much; divide every sum by the targets of the whole step.",
                (CALL, "loss_sum, n = sft_loss"),
                (BACKWARD, "(loss_sum / max(1, n) / len(micro_batches)).backward()"),
                (ADD, "loss += loss_sum.item() / max(1, n) / len(micro_batches)")),
        Mistake("gradient is a mean of means", "The loss is right, but the gradient averages each "
                "part's mean; divide both by the targets of the whole step.",
                (CALL, "loss_sum, n = sft_loss"),
                (BACKWARD, "(loss_sum / max(1, n) / len(micro_batches)).backward()")),
        Mistake("sum of means", "Each part is divided by its own targets and then added up, so "
                "the gradient grows with the number of parts.",
                (CALL, "loss_sum, n = sft_loss"), (BACKWARD, "(loss_sum / max(1, n)).backward()"),
                (ADD, "loss += loss_sum.item() / max(1, n)")),
        Mistake("divided by the parts", "The sums are divided by the number of parts, not by the "
                "number of targets.",
                (BACKWARD, "(loss_sum / len(micro_batches)).backward()"),
                (ADD, "loss += loss_sum.item() / len(micro_batches)")),
        Mistake("not divided", "The sums are not divided at all.",
                (BACKWARD, "loss_sum.backward()"), (ADD, "loss += loss_sum.item()")),
        Mistake("gradient not divided", "The loss is divided by n, the gradient is not.",
                (BACKWARD, "loss_sum.backward()")),
        Mistake("divided by all tokens", "The sums are divided by the number of all tokens; only "
                "targets count.",
                (BACKWARD, "(loss_sum / sum(b.ids.numel() for b in micro_batches)).backward()"),
                (ADD, "loss += loss_sum.item() / sum(b.ids.numel() for b in micro_batches)")),
        Mistake("gradient cleared in between", "The gradients are cleared before each part, "
                "or only the last backward pass is made; all parts add to them.",
                (BACKWARD, f"model.zero_grad()\n        {BACKWARD}")),
        Mistake("loss of the last part", "The loss is that of the last part; add them up.",
                (ADD, ADD.replace("+=", "="))),
        Mistake("gradient of the first part", "Only the first part's backward pass is made.",
                (BACKWARD, f"if batch is micro_batches[0]:\n            {BACKWARD}")),
        Mistake("first tokens counted", "n counts first tokens that are marked; nothing predicts "
                "them, so they are no targets.",
                (COUNTING, COUNTING.replace("[:, 1:]", ""))),
        Mistake("last part counted", "n counts the targets of the last part only.",
                (COUNTING, "targets = int(micro_batches[-1].loss_mask[:, 1:].sum())")),
        Mistake("no target, NaN", "With no target it divides by zero; loss and gradient are zero "
                "then.", (BACKWARD, "(loss_sum / torch.tensor(float(targets))).backward()"),
                (ADD, "loss += float(loss_sum.detach() / torch.tensor(float(targets)))")),
    ),
    variants=(
        Variant("divided at the end", "One pass over the parts, as n is known only afterwards; "
                "every gradient is touched once more.", {ACCUMULATE: """
            loss, targets = 0.0, 0
            for batch in micro_batches:
                loss_sum, n = sft_loss(model, batch)
                loss_sum.backward()
                loss, targets = loss + loss_sum.item(), targets + n
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad /= max(1, targets)
            return loss / max(1, targets), targets
            """}),
        Variant("one backward pass", "Short, but all parts are in memory until the end, and saving "
                "memory was the point.", {ACCUMULATE: """
            sums, counts = zip(*(sft_loss(model, batch) for batch in micro_batches))
            loss = sum(sums) / max(1, sum(counts))
            loss.backward()
            return loss.item(), sum(counts)
            """}),
        Variant("weighted means", "Each part's mean, weighted by its share of the targets: what "
                "one does when a library returns only means.", {ACCUMULATE: """
            counts = [int(batch.loss_mask[:, 1:].sum()) for batch in micro_batches]
            loss, n = 0.0, sum(counts)
            for batch, count in zip(micro_batches, counts):
                mean = sft_loss(model, batch)[0] / max(1, count)
                weighted = mean * (count / n if n else 0.0)
                weighted.backward()
                loss += float(weighted.detach())
            return loss, n
            """}),
    ),
)
