"""Keeping still: rows of the embedding whose tokens the tuning data never hold do not move.

    g = c at every step:   m_hat = c,  sqrt(v_hat) = |c|,  so Adam's step is lr, however small c is

The head is tied to the embedding, so in full tuning every row gets a gradient from the softmax. For
a token that the data never hold it is tiny and always points the same way, and Adam divides it by
its own size. Such a row would move further than the rows that are used. So its gradient is set to
zero.

Write `unseen`, the ids below `rows` that no example holds, in their order, and `keep_still`, within
which every gradient of the matrix is zero in the rows `ids`, after every backward pass that has
added to it. The weight itself is not changed, and after the block all is as before.
"""

import torch

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import normal
from minisft.conversation import Rendered

UNSEEN, KEEP = "minisft.still:unseen", "minisft.still:keep_still"


def cases(rng):
    """Rows at both ends and in the middle; tokens that only prompts hold; two backward passes."""
    def case(V, C, examples, longest=4, ends=False):
        still = sorted({0, V - 1} if ends else rng.sample(range(V), max(1, V // 2)))
        used = [token for token in range(V) if token not in still]
        texts = []
        for number in range(examples):
            ids = used if not number else rng.choices(used, k=rng.randint(2, longest))
            texts.append([ids, [0] * (len(ids) - 1) + [1]])
        rng.shuffle(texts[0][0])
        return {"weight": normal(rng, V, C), "examples": texts, "ids": still,
                "factors": [normal(rng, V, C), normal(rng, V, C), normal(rng, V, C)]}

    return [case(2, 1, 1), case(4, 2, 1, ends=True), case(5, 3, 3), case(7, 4, 3), case(8, 8, 4)]


def run(code, weight, examples, ids, factors):
    examples = [Rendered(*example) for example in examples]
    found = code.unseen(len(weight), examples[1:] + examples[:1])
    W = torch.nn.Parameter(weight.clone())

    def backward(factor):
        (W * factor).sum().backward()
        return W.grad.clone()

    with code.keep_still(W, tuple(ids)):
        within = [backward(factors[0]), backward(factors[1])]
        trained = W.requires_grad
    at_the_end, W.grad = W.grad, None
    return {"unseen(rows, examples)": list(found),
            "weight.grad after each of two backward passes ": within,
            "weight.grad when the block has ended": at_the_end,
            "weight.requires_grad within": trained,
            "weight afterwards": W,
            "weight.grad of a backward pass after the block": backward(factors[2])}


def oracle(weight, examples, ids, factors):
    """Gradients by hand: that of sum(W F) is F."""
    held = {token for tokens, _ in examples for token in tokens}
    moving = torch.tensor([[row not in ids] for row in range(len(weight))])
    return {"unseen(rows, examples)": [row for row in range(len(weight)) if row not in held],
            "weight.grad after each of two backward passes ": [
                factors[0] * moving, (factors[0] + factors[1]) * moving],
            "weight.grad when the block has ended": (factors[0] + factors[1]) * moving,
            "weight.requires_grad within": True, "weight afterwards": weight,
            "weight.grad of a backward pass after the block": factors[2]}


SEEN = "seen = {token for example in examples for token in example.ids}"
LEFT = "return tuple(token for token in range(rows) if token not in seen)"
CLEAR = "weight.grad.index_fill_(0, rows, 0.0)"
HOOK = "hook = weight.register_post_accumulate_grad_hook(clear)"

EXERCISE = Exercise(
    name="still", doc=__doc__, targets=(UNSEEN, KEEP), minutes=15, after=("adamw",),
    read="",
    call="unseen(len(weight), examples); with keep_still(weight, ids): a backward pass of "
         "(weight * factor).sum() for each of two factors, then one after the block",
    cases=cases, run=run, oracle=oracle,
    question="A step has four micro-batches, so four backward passes add to one gradient. When "
             "must the rows be set to zero?",
    pseudocode="""
        unseen: all ids of all examples, prompts too, are seen; the others below `rows` are not
        keep_still: a function that sets these rows of the gradient to zero
                    let torch call it after every backward pass
                    remove it at the end of the block, also after an error
    """,
    mistakes=(
        Mistake("seen instead of unseen", "The ids that the examples hold are returned; the others "
                "are asked for.", (LEFT, LEFT.replace("not in", "in"))),
        Mistake("targets only", "Only targets count as seen; the words of prompts are seen too.",
                (SEEN, "seen = {token for each in examples\n"
                       "            for token, bit in zip(each.ids, each.loss_mask) if bit}")),
        Mistake("up to the largest id", "The ids above the largest one that is seen are forgotten; "
                "go up to `rows`.", (LEFT, LEFT.replace("range(rows)", "range(max(seen))"))),
        Mistake("one id too many", "One id beyond the last row is returned.",
                (LEFT, LEFT.replace("range(rows)", "range(rows + 1)"))),
        Mistake("id 0 forgotten", "Id 0 is never returned; it is a token like any other.",
                (LEFT, LEFT.replace("range(rows)", "range(1, rows)"))),
        Mistake("last example only", "Only the last example counts.",
                (SEEN, "seen = set(examples[-1].ids[:1])")),
        Mistake("other rows cleared", "The rows in `ids` move and all others keep still.",
                (CLEAR, "others = [row for row in range(len(weight)) if row not in ids]\n"
                        "        weight.grad[others] = 0.0")),
        Mistake("all rows cleared", "No row moves; only those in `ids` keep still.",
                (CLEAR, "weight.grad.zero_()")),
        Mistake("weight frozen", "The whole matrix is frozen; its other rows must move.",
                ("    try:\n", "    weight.requires_grad_(False)\n    try:\n"),
                ("        hook.remove()", "        weight.requires_grad_(True)\n"
                                          "        hook.remove()")),
        Mistake("weight cleared", "The rows of the weight are set to zero; it is their gradient.",
                (CLEAR, "weight.grad.index_fill_(0, rows, 0.0)\n"
                        "        weight.data.index_fill_(0, rows, 0.0)")),
        Mistake("hook stays", "After the block the rows still do not move; remove the hook.",
                ("        hook.remove()", "        pass")),
        Mistake("first pass only", "Only the first backward pass is cleared; every one adds to the "
                "gradient.", (CLEAR, CLEAR + "\n        hook.remove()")),
        Mistake("cleared at the end", "The gradient is cleared when the block ends, after all "
                "steps are done.", (HOOK, "hook = weight.register_post_accumulate_grad_hook("
                                    "lambda weight: None)"),
                ("        hook.remove()", "        hook.remove()\n        clear(weight)")),
        Mistake("never cleared", "The function that clears the rows is never called.",
                (HOOK, "hook = weight.register_post_accumulate_grad_hook(lambda weight: None)")),
        Mistake("gradient shrinks", "The gradient is made small, not zero; Adam divides by its "
                "size, so the row moves all the same.",
                (CLEAR, "weight.grad[rows] = weight.grad[rows] * 1e-3")),
        Mistake("one row only", "Only the first of the rows keeps still.",
                (CLEAR, "weight.grad.index_fill_(0, rows[:1], 0.0)")),
    ),
    variants=(
        Variant("before it is added", "A hook on the tensor changes what a backward pass is about "
                "to add; it makes a copy of the gradient.", {KEEP: """
            moving = torch.ones(len(weight), 1)
            moving[list(ids)] = 0
            hook = weight.register_hook(lambda gradient: gradient * moving)
            try:
                yield
            finally:
                hook.remove()
            """}),
        Variant("a loop", "One row after the other, in place; slow for thousands of rows.", {
            KEEP: """
            def clear(weight):
                for row in ids:
                    weight.grad[row] = 0.0

            hook = weight.register_post_accumulate_grad_hook(clear)
            try:
                yield
            finally:
                hook.remove()
            """, UNSEEN: """
            found = []
            for row in range(rows):
                if not any(row in example.ids for example in examples):
                    found.append(row)
            return found
            """}),
        Variant("sets", "A difference of sets, sorted; the rows multiplied by a mask in place.", {
            UNSEEN: """
            seen = set()
            for example in examples:
                seen.update(example.ids)
            return sorted(set(range(rows)) - seen)
            """, KEEP: """
            moving = torch.tensor([[float(row not in ids)] for row in range(len(weight))])

            def clear(weight):
                weight.grad *= moving

            hook = weight.register_post_accumulate_grad_hook(clear)
            try:
                yield
            finally:
                hook.remove()
            """}),
    ),
)
