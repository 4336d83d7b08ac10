"""Causal attention: every token takes in what stands before it, weighted by how well it fits.

    softmax(Q K^T / sqrt(D) + mask) V            mask: 0 where a query may look, else -infinity

x is (B, T, C). `self.c_attn(x)` holds queries, keys and values side by side, (B, T, 3 C); each is
cut into `self.n_head` heads of D = C / H. A cache, if there is one, takes the new keys and values
and returns all so far, (B, H, S, D). Then the T queries are the last of S places. `mask` is bool,
(T, S) or broadcastable to (B, H, T, S), True where a query may look; without one each token sees
itself and all before it. `self.c_proj` mixes the heads at the end. `self.dropout` acts on the
weights and on the result; it is 0 here.

Write `forward`.
"""

import torch

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import normal
from minisft.cache import KVCache
from minisft.model import GPTConfig

FORWARD = "minisft.model:Attention.forward"


def cases(rng):
    """Heads, head size, tokens and rows are all different; chunks through a cache; a given mask."""
    def case(B, T, H, D, chunks=(), masked=False):
        C = H * D
        mask = torch.rand(T, T, generator=torch.Generator().manual_seed(rng.getrandbits(30))) < 0.5
        return {"x": normal(rng, B, T, C), "n_head": H, "chunks": list(chunks),
                "mask": (mask | torch.eye(T, dtype=torch.bool)) if masked else None,
                "c_attn": [normal(rng, 3 * C, C), normal(rng, 3 * C)],
                "c_proj": [normal(rng, C, C), normal(rng, C)]}

    return [case(1, 1, 1, 2), case(1, 2, 1, 2), case(1, 3, 2, 2), case(2, 5, 3, 2),
            case(1, 4, 2, 3, masked=True), case(2, 6, 2, 3, chunks=(3, 2, 1))]


def run(code, x, n_head, chunks, mask, c_attn, c_proj):
    B, T, C = x.shape
    config = GPTConfig(vocab_size=2, block_size=T, n_layer=1, n_head=n_head, n_embd=C)
    layer = code.Attention(config, 0).double().eval()
    with torch.no_grad():
        for linear, (weight, bias) in ((layer.c_attn, c_attn), (layer.c_proj, c_proj)):
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
        if not chunks:
            return {"attention(x, mask=mask)": layer(x, mask=mask)}
        cache, parts = KVCache(config, B, T, dtype=torch.float64), []
        for part in x.split(chunks, dim=1):
            parts.append(layer(part, cache))
            cache.advance(part.shape[1])
    return {"attention(part, cache) of each part of x": parts}


def oracle(x, n_head, chunks, mask, c_attn, c_proj):
    """One row, one head and one query after the other."""
    B, T, C = x.shape
    D = C // n_head
    y = torch.zeros_like(x)
    for b in range(B):
        qkv = x[b] @ c_attn[0].T + c_attn[1]
        for h in range(n_head):
            q, k, v = (qkv[:, part * C + h * D:part * C + (h + 1) * D] for part in range(3))
            for t in range(T):
                seen = [s for s in range(T) if (s <= t if mask is None else mask[t, s])]
                weights = [torch.exp(q[t] @ k[s] / D ** 0.5) for s in seen]
                total = sum(w * v[s] for w, s in zip(weights, seen))
                y[b, t, h * D:(h + 1) * D] = total / sum(weights)
    y = y @ c_proj[0].T + c_proj[1]
    if chunks:
        return {"attention(part, cache) of each part of x": list(y.split(chunks, dim=1))}
    return {"attention(x, mask=mask)": y}


WRITTEN_OUT = "written out"
TRIL = "torch.ones(T, S, dtype=torch.bool).tril(S - T)"
HEADS = "part.view(B, T, self.n_head, -1).transpose(1, 2)"
WEIGHTS = 'scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)'


def mistake(name, hint, *patches):
    """A Mistake in the variant that is written out."""
    return Mistake(name, hint, *patches, of=WRITTEN_OUT)


EXERCISE = Exercise(
    name="attention", doc=__doc__, targets=(FORWARD,), minutes=30, imports=("import math",),
    read="Vaswani et al. 2017, section 3.2.1",
    call="layer = Attention(config, 0) with these weights; layer(x, mask=mask), or layer(part, "
         "cache) for one part of x after the other",
    cases=cases, run=run, oracle=oracle,
    question="Token 0 sees only itself. What must its attention weights be, and what does your "
             "mask give for a row in which nothing may be seen?",
    pseudocode="""
        q, k, v = thirds of c_attn(x), each (B, T, C) -> (B, H, T, D)
        if there is a cache: k, v = all keys and values so far, (B, H, S, D)
        scores = q k^T / sqrt(D), (B, H, T, S)
        where a query may not look, the score is -infinity; the last query sees all S
        y = softmax over the keys of the scores, times v
        heads side by side again: (B, H, T, D) -> (B, T, C), then c_proj
    """,
    mistakes=(
        mistake("no mask", "Every token sees the whole text, what follows it too; there is no "
                "causal mask.", (TRIL, "torch.ones(T, S, dtype=torch.bool)")),
        mistake("sees one too many", "Every token sees the one that follows it: the mask is off by "
                "one.", (TRIL, "torch.ones(T, S, dtype=torch.bool).tril(S - T + 1)")),
        mistake("does not see itself", "No token sees itself, and the first sees nothing, which "
                "gives 0 / 0; the diagonal belongs to the mask.",
                (TRIL, "torch.ones(T, S, dtype=torch.bool).tril(S - T - 1)")),
        mistake("square mask", "With a cache the mask is aligned to the first keys, so later "
                "queries do not see what they should; align its last row with the last key.",
                (TRIL, "torch.ones(T, S, dtype=torch.bool).tril()")),
        mistake("no scale", "The scores are not divided by sqrt(D).",
                (" / math.sqrt(q.shape[-1])", "")),
        mistake("scaled by sqrt(C)", "The scores are divided by sqrt(C), the width of the model; "
                "it is sqrt(D), the size of one head.",
                ("math.sqrt(q.shape[-1])", "math.sqrt(C)")),
        mistake("scaled by D", "The scores are divided by D; it is the square root of D.",
                ("math.sqrt(q.shape[-1])", "q.shape[-1]")),
        mistake("scale multiplies", "The scores are multiplied by sqrt(D); divide them.",
                (" / math.sqrt", " * math.sqrt")),
        mistake("softmax over the queries", "The softmax runs over the queries; the weights of "
                "each query, over all keys, must sum to 1.",
                (WEIGHTS, WEIGHTS.replace("dim=-1", "dim=-2"))),
        mistake("mask after the softmax", "The mask is applied after the softmax, so the weights "
                "do not sum to 1 any more.", (WEIGHTS, "scores.softmax(dim=-1) * mask")),
        mistake("masked with 0", "Masked scores are set to 0, which is a score like any other; "
                "-infinity gives a weight of 0.",
                (WEIGHTS, "scores.masked_fill(~mask, 0.0).softmax(dim=-1)")),
        mistake("no softmax", "The scores are used as weights without a softmax.",
                (WEIGHTS, "scores.masked_fill(~mask, 0.0)")),
        mistake("heads mix positions", "The heads are cut out of the positions: view(B, H, T, D) "
                "reads the numbers in another order; use view(B, T, H, D), then transpose.",
                (HEADS, "part.view(B, self.n_head, T, -1)")),
        mistake("heads not put back", "The heads are joined without transposing them back, so "
                "positions and heads are mixed.", ("(weights @ v).transpose(1, 2)",
                                                   "(weights @ v)")),
        mistake("K and V swapped", "Keys and values have changed places.",
                ("q, k, v = self.c_attn", "q, v, k = self.c_attn")),
        mistake("Q and K swapped", "Queries and keys have changed places.",
                ("q, k, v = self.c_attn", "k, q, v = self.c_attn")),
        mistake("no projection", "The last projection, c_proj, is missing.",
                ("return self.c_proj(y)", "return y")),
        mistake("given mask ignored", "The mask that is given is not used.",
                ("if mask is None:", "if True:")),
        mistake("cache ignored", "The cache is not asked, so a token does not see those of earlier "
                "calls.", ("if cache is not None:", "if False:")),
    ),
    variants=(
        Variant(WRITTEN_OUT, "The formula, line by line. Holds a (B, H, T, S) tensor of scores, "
                "which PyTorch's own kernel never does.", {FORWARD: """
            B, T, C = x.shape
            q, k, v = self.c_attn(x).chunk(3, dim=-1)
            q, k, v = (part.view(B, T, self.n_head, -1).transpose(1, 2) for part in (q, k, v))
            if cache is not None:
                k, v = cache.append(self.layer, k, v)
            S = k.shape[2]
            if mask is None:
                mask = torch.ones(T, S, dtype=torch.bool).tril(S - T)
            scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
            weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
            y = (weights @ v).transpose(1, 2).reshape(B, T, C)
            return self.c_proj(y)
            """}),
        Variant("einsum", "Every dimension has its letter, so nothing is transposed by mistake; "
                "as fast as the products.", {FORWARD: """
            B, T, C = x.shape
            q, k, v = self.c_attn(x).view(B, T, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
            if cache is not None:
                k, v = cache.append(self.layer, k, v)
            S = k.shape[2]
            scores = torch.einsum("bhtd,bhsd->bhts", q, k) * q.shape[-1] ** -0.5
            if mask is None:
                mask = torch.arange(S) <= torch.arange(S - T, S)[:, None]
            weights = torch.where(mask, scores, -torch.inf).softmax(-1)
            y = torch.einsum("bhts,bhsd->bthd", weights, v)
            return self.c_proj(y.flatten(2))
            """}),
        Variant("a loop over the heads", "One head after the other, as one thinks of it; slower by "
                "about the number of heads.", {FORWARD: """
            B, T, C = x.shape
            D = C // self.n_head
            q, k, v = (part.reshape(B, T, self.n_head, D).transpose(1, 2)
                       for part in self.c_attn(x).split(C, dim=2))
            if cache is not None:
                k, v = cache.append(self.layer, k, v)
            S, heads = k.shape[2], []
            for h in range(self.n_head):
                scores = q[:, h] @ k[:, h].transpose(1, 2) / D ** 0.5
                if mask is None:
                    hidden = torch.ones(T, S).triu(S - T + 1).bool()
                else:
                    hidden = ~mask.expand(B, self.n_head, T, S)[:, h]
                scores = scores.masked_fill(hidden, -torch.inf)
                heads.append(scores.softmax(dim=-1) @ v[:, h])
            return self.c_proj(torch.cat(heads, dim=2))
            """}),
    ),
)
