"""Sampling: which token comes next, and when an answer is over.

    p = softmax(z / temperature)
    top k     keep the k most likely tokens (0: all)
    top p     of these, keep the smallest set of most likely tokens that sums to at least p (1: all)

First the temperature, then top k, then top p, whose probabilities are those of the tokens that top
k has left. What is left sums to 1 again. (At temperature 0 the likeliest token is taken; `choose`
does that without asking for probabilities.)

Write `probabilities` for logits (B, V), and `unfinished`: the indices of the answers that go on
after they have been given one more token. An answer is over if that token is a stop token, or if it
now has as many tokens as it may.
"""

import math

import torch

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import normal
from minisft.generate import Sampling

PROBABILITIES, UNFINISHED = "minisft.generate:probabilities", "minisft.generate:unfinished"
P = "probabilities(logits, Sampling(temperature, top_k, top_p))"
GO_ON = "unfinished(tokens, made, limits, stop)"


def cases(rng):
    """Every rule alone and all together; a top p that cuts in the middle; two stop tokens."""
    def logits(rows=2, V=6):
        while True:  # no probability comes so near to a bound that rounding could matter
            drawn = normal(rng, rows, V, std=1.5)
            if drawn.sort().values.diff().abs().min() > 0.05:
                return drawn

    def sharper(rows=2):
        """The likeliest token has 0.64, at temperature 0.5 it has 0.86, of the top 2 it has 0.73"""
        order = [torch.randperm(4, generator=torch.Generator().manual_seed(rng.getrandbits(30)))
                 for _ in range(rows)]
        return torch.stack([torch.tensor([2.0, 1.0, 0.0, -1.0])[each] for each in order]) \
            + rng.uniform(-1, 1)

    def case(temperature=1.0, top_k=0, top_p=1.0, rows=2, longest=9):
        made = rng.randint(2, 4)
        tokens = [1, 5, 2, 7, rng.choice([3, 4]), 6]
        limits = [min(limit, longest + made) for limit in (9, 9, 9, made, made - 1, made + 1)]
        return {"logits": logits(rows), "temperature": temperature, "top_k": top_k, "top_p": top_p,
                "tokens": tokens, "made": made, "limits": limits, "stop": [5, 2]}

    def middle():
        return rng.uniform(0.45, 0.9)

    return [case(rows=1, longest=0), case(temperature=rng.choice([0.5, 2.0]), rows=1),
            case(top_k=rng.randint(2, 4)), case(top_p=middle()), case(top_p=0.05),
            case(temperature=rng.uniform(0.5, 0.7), top_p=middle(), rows=4),
            case(temperature=0.5, top_p=0.8) | {"logits": sharper()},
            case(top_k=2, top_p=0.7) | {"logits": sharper()},
            case(temperature=rng.uniform(1.5, 2.5), top_k=4, top_p=middle(), rows=4),
            case(temperature=1.3, top_k=9, top_p=0.97)]


def run(code, logits, temperature, top_k, top_p, tokens, made, limits, stop):
    return {P: code.probabilities(logits, Sampling(temperature, top_k, top_p)),
            GO_ON: list(code.unfinished(tokens, made, limits, tuple(stop)))}


def oracle(logits, temperature, top_k, top_p, tokens, made, limits, stop):
    """One row and one token after the other."""
    rows = []
    for row in logits.tolist():
        kept = sorted(range(len(row)), key=lambda i: -row[i])[:top_k or None]
        weights = {i: math.exp((row[i] - max(row)) / temperature) for i in kept}
        total, mass, chosen = sum(weights.values()), 0.0, []
        for i in kept:
            if mass < top_p:
                chosen.append(i)
            mass += weights[i] / total
        left = sum(weights[i] for i in chosen)
        rows.append([weights[i] / left if i in chosen else 0.0 for i in range(len(row))])
    go_on = [i for i in range(len(tokens)) if tokens[i] not in stop and limits[i] > made]
    return {P: torch.tensor(rows), GO_ON: go_on}


DIVIDED = "logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature"
ORDERED = "ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)"
OUTSIDE = "outside = before >= sampling.top_p"
SCATTER = "outside.scatter(-1, order, outside)"
K = "k = min(sampling.top_k, logits.shape[-1])"
RETURN = "return logits.softmax(dim=-1)"
GOES_ON = "if token not in stop and made < limits[i]"

EXERCISE = Exercise(
    name="sampling", doc=__doc__, targets=(PROBABILITIES, UNFINISHED), minutes=25,
    read="Holtzman et al. 2020",
    call="probabilities(logits, Sampling(temperature, top_k, top_p)), unfinished(tokens, made, "
         "limits, stop)",
    cases=cases, run=run, oracle=oracle,
    question="The probabilities are 0.5, 0.3, 0.2 and top p is 0.6. Which tokens stay, and with "
             "which probabilities?",
    pseudocode="""
        z = logits / temperature
        top k: tokens below the k-th largest z get -infinity
        top p: sort the probabilities, largest first
               a token is left out if those ahead of it sum to p or more
               bring that back into the old order, and set those to -infinity
        softmax of what is left
        an answer goes on if its token is no stop token and it has fewer tokens than its limit
    """,
    mistakes=(
        Mistake("temperature multiplies", "The logits are multiplied by the temperature; divide "
                "them.", (DIVIDED, DIVIDED.replace("/ temp", "* temp"))),
        Mistake("temperature ignored", "The temperature is not used.",
                (DIVIDED, DIVIDED.replace(" / temperature", ""))),
        Mistake("temperature after the cut", "Top k and top p look at the logits before the "
                "temperature; it comes first.",
                (DIVIDED, DIVIDED.replace(" / temperature", "")),
                (RETURN, "return (logits / temperature).softmax(dim=-1)")),
        Mistake("crossing token left out", "The token that brings the sum over p is left out, so "
                "the set sums to less than p.",
                (OUTSIDE, "outside = ordered.cumsum(dim=-1) > sampling.top_p\n"
                          "        outside[:, 0] = False")),
        Mistake("one token too many", "One more token is kept after the sum has reached p.",
                (OUTSIDE, "outside = before - ordered.roll(1, -1) >= sampling.top_p")),
        Mistake("the least likely kept", "The tokens are sorted from the least likely on.",
                (ORDERED, ORDERED.replace("True", "False"))),
        Mistake("not put back in order", "The set is chosen in sorted order and used in the old "
                "one; scatter it back.", (SCATTER, "outside")),
        Mistake("not normalised again", "What is left does not sum to 1; divide by its sum, or "
                "take the softmax after the cut.",
                (RETURN, "kept = torch.isfinite(logits)\n"
                         "    return full * kept"),
                (DIVIDED, DIVIDED + "\n    full = logits.softmax(dim=-1)")),
        Mistake("top p ignored", "Top p is not used.", ("if sampling.top_p < 1:", "if False:")),
        Mistake("top p as a threshold", "Every token with a probability below p is dropped; top p "
                "is about the sum of those ahead.",
                (OUTSIDE, "outside = ordered < sampling.top_p\n        outside[:, 0] = False")),
        Mistake("top k ignored", "Top k is not used.", ("if sampling.top_k:", "if False:")),
        Mistake("one more than k", "Top k keeps k + 1 tokens.",
                (K, "k = min(sampling.top_k + 1, logits.shape[-1])")),
        Mistake("one fewer than k", "Top k keeps k - 1 tokens.",
                ("logits < least", "logits <= least")),
        Mistake("top p before top k", "Top p looks at the probabilities of all tokens; those are "
                "counted that top k has left.",
                (ORDERED, "ordered, order = whole.softmax(dim=-1).sort(dim=-1, descending=True)"),
                (DIVIDED, DIVIDED + "\n    whole = logits")),
        Mistake("stop tokens ignored", "An answer goes on after a stop token.",
                (GOES_ON, "if made < limits[i]")),
        Mistake("one stop token", "Only the first stop token ends an answer; each of them does.",
                (GOES_ON, "if token != stop[0] and made < limits[i]")),
        Mistake("one token over the limit", "An answer goes on when it has as many tokens as it "
                "may.", (GOES_ON, GOES_ON.replace("<", "<="))),
        Mistake("limit of another", "All answers have the limit of the longest one; each has its "
                "own.", (GOES_ON, GOES_ON.replace("limits[i]", "max(limits)"))),
        Mistake("limit ignored", "The limit is not used.", (GOES_ON, "if token not in stop")),
        Mistake("all or nothing", "One answer that is over ends all of them.",
                (GOES_ON, "if not set(stop) & set(tokens) and made < limits[i]")),
        Mistake("tokens instead of indices", "Tokens are returned; the indices of the answers are "
                "asked for.", ("return [i for i, token", "return [token for i, token")),
    ),
    imports=("import math",),
    variants=(
        Variant("a loop over the rows", "Lists and a running sum, as one does it by hand; for one "
                "row it is fast enough.", {PROBABILITIES: """
            result = torch.zeros_like(logits)
            for row, z in zip(result, logits / sampling.temperature):
                order = z.argsort(descending=True)[:sampling.top_k or None]
                p, mass, kept = z[order].softmax(0), 0.0, []
                for i, share in zip(order.tolist(), p.tolist()):
                    if mass >= sampling.top_p:
                        break
                    kept.append(i)
                    mass += share
                row[kept] = z[kept].softmax(0)
            return result
            """}),
        Variant("by rank", "Sorts twice to give every token its rank; no scatter, one sort more.", {
            PROBABILITIES: """
            p = (logits / sampling.temperature).softmax(-1)
            ordered, order = p.sort(dim=-1, descending=True)
            rank = order.argsort(-1)
            if sampling.top_k:
                ordered[:, sampling.top_k:] = 0
            ordered /= ordered.sum(-1, keepdim=True)
            if sampling.top_p < 1:
                ordered[ordered.cumsum(-1) - ordered >= sampling.top_p] = 0
            return (ordered / ordered.sum(-1, keepdim=True)).gather(-1, rank)
            """}),
        Variant("a threshold", "Finds the smallest probability that stays and cuts there; tokens "
                "that are equally likely stay together.", {PROBABILITIES: """
            z = logits / sampling.temperature
            if 0 < sampling.top_k < z.shape[-1]:
                z = z.where(z >= z.sort(-1).values[:, -sampling.top_k, None], -torch.inf)
            p = z.softmax(-1)
            if sampling.top_p < 1:
                ordered = p.sort(-1, descending=True).values
                number = (ordered.cumsum(-1) - ordered < sampling.top_p).sum(-1, keepdim=True)
                p = p * (p >= ordered.gather(-1, number - 1))
            return p / p.sum(-1, keepdim=True)
            """, UNFINISHED: """
            going_on = []
            for i in range(len(tokens)):
                if made >= limits[i]:
                    continue
                if all(tokens[i] != each for each in stop):
                    going_on.append(i)
            return going_on
            """}),
    ),
)
