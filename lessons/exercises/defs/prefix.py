"""Prefix tuning: P trainable keys and values in every layer, in front of those of the tokens.

    head_l = softmax(q [P_K ; K]^T / sqrt(D)) [P_V ; V]

with P_K and P_V (P, D) of their own for each head of each layer l. They lie in one matrix (P, 2 L
C): for each layer its keys, then its values, each of them head after head.

Write four short pieces. `PrefixCache.append` puts the prefix of a layer in front of new keys and
values, (B, H, T, D); an entry may be (1, H, P, D), for all rows of the batch, and nothing is kept.
`Prefix.entries` cuts the matrix `self.flat()` into [(keys, values)] of each layer, (1, H, P, D)
each. `Virtual.embed` moves real tokens to positions P, P + 1, ...; the positions it is given count
real tokens. `Virtual.trunk` widens a mask (..., T, S) of real tokens by P columns, in which every
token may look, and calls `self.begin(x, cache, mask)`; but where a cache has entries already, the
prefix is in it, and the base's own trunk goes on. A cache without entries is first made larger by
P, `cache.grow(P)`.
"""

import torch

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import logits_by_hand, model_of, normal
from minisft.cache import KVCache
from minisft.peft import PrefixConfig

APPEND, EMBED = "minisft.cache:PrefixCache.append", "minisft.peft.virtual:Virtual.embed"
TRUNK, ENTRIES = "minisft.peft.virtual:Virtual.trunk", "minisft.peft.prefix:Prefix.entries"


def cases(rng):
    """P, layers, heads and head size all differ; a batch; two packed documents; chunks."""
    def case(B, T, P, n_layer=2, packed=0, chunks=()):
        return {"seed": rng.getrandbits(30), "n_layer": n_layer,
                "ids": torch.tensor([[rng.randrange(11) for _ in range(T)] for _ in range(B)]),
                "keys_values": normal(rng, P, 2 * n_layer * 6), "packed": packed,
                "chunks": list(chunks)}

    return [case(1, 1, 1, n_layer=1), case(1, 3, 4), case(2, 3, 4, n_layer=3), case(3, 2, 5),
            case(2, 4, 3, packed=2), case(1, 5, 2, packed=2), case(2, 4, 3, chunks=(2, 1, 1))]


def run(code, seed, n_layer, ids, keys_values, packed, chunks):
    model = model_of(seed, n_layer=n_layer)
    prefixed = code.Prefix(model, PrefixConfig(P=len(keys_values)))
    with torch.no_grad():
        prefixed.keys_values.copy_(keys_values)
        if chunks:
            cache = KVCache(model.config, len(ids), ids.shape[1], dtype=torch.float64)
            return {"prefixed(part, cache=cache), part after part ":
                    [prefixed(part, cache=cache) for part in ids.split(chunks, dim=1)]}
    positions, mask = packing(ids.shape[1], packed)
    logits = prefixed(ids, positions, mask=mask)
    logits.square().sum().backward()
    return {"prefixed(ids, positions, mask=mask)": logits,
            "prefixed.keys_values.grad of its squares": prefixed.keys_values.grad}


def packing(T, packed):
    """Positions and mask of two documents, the first of `packed` tokens; None without."""
    if not packed:
        return None, None
    document = torch.arange(T) >= packed
    mask = (document[:, None] == document).tril()[None, None]
    return torch.tensor([*range(packed), *range(T - packed)]), mask


def oracle(seed, n_layer, ids, keys_values, packed, chunks):
    """One query and one head at a time, over the prefix and the tokens together."""
    model = model_of(seed, n_layer=n_layer)
    P, T = len(keys_values), ids.shape[1]
    keys_values = keys_values.clone().requires_grad_()
    entries = []
    for layer in range(n_layer):
        pair = [keys_values[:, (2 * layer + part) * 6:(2 * layer + part + 1) * 6]
                for part in range(2)]
        entries.append([torch.stack([part[:, :3], part[:, 3:]]) for part in pair])
    positions = [P + (t if t < packed or not packed else t - packed) for t in range(T)]
    logits = torch.stack([
        logits_by_hand(model, row, positions, entries,
                       sees=lambda t, s: not packed or (t < packed) == (s < packed))
        for row in ids.tolist()])
    if chunks:
        return {"prefixed(part, cache=cache), part after part ":
                list(logits.split(chunks, dim=1))}
    logits.square().sum().backward()
    return {"prefixed(ids, positions, mask=mask)": logits,
            "prefixed.keys_values.grad of its squares": keys_values.grad}


CAT = "return torch.cat([prefix_k, k], dim=2), torch.cat([prefix_v, v], dim=2)"
WIDEN = "mask = F.pad(mask, (self.P, 0), value=True)  # (..., T, S) -> (..., T, P+S)"
MOVED = "positions + self.P"
VIEW = "slots = self.flat().view(self.P, c.n_layer, 2, c.n_head, c.n_embd // c.n_head)"
PARTS = "for layer in slots.unbind(1)]"

EXERCISE = Exercise(
    name="prefix", doc=__doc__, targets=(APPEND, EMBED, TRUNK, ENTRIES), minutes=35,
    after=("attention", "cache"),
    read="lessons/26_prefix.py",
    call="prefixed = Prefix(probes.model_of(seed, n_layer=n_layer), PrefixConfig(P)) with these "
         "keys_values; prefixed(ids), with positions and mask of two documents where packed > 0, "
         "or with a KVCache part after part",
    cases=cases, run=run, oracle=oracle,
    question="Does a prefix of zeros do the same as no prefix? Think of the sum under the softmax.",
    pseudocode="""
        append:  keys = [prefix keys, for each row of the batch ; new keys]; values the same
        entries: (P, 2LC) -> (P, L, 2, H, D); for each layer keys and values, (P, H, D) -> (1, H,
                 P, D)
        embed:   positions 0, 1, ... unless given; the base embeds at positions + P
        trunk:   a mask gets P columns of True at its left
                 a cache with entries: the base's trunk, and that is all
                 a cache without: grow it by P
                 begin
    """,
    mistakes=(
        Mistake("mask not widened", "The mask of real tokens has no columns for the prefix; widen "
                "it by P.", (WIDEN, "pass")),
        Mistake("mask widened on the right", "The mask's new columns stand on the right, but the "
                "prefix stands on the left.",
                (WIDEN, "mask = F.pad(mask, (0, self.P), value=True)")),
        Mistake("prefix masked out", "The mask's new columns are False, so no token sees the "
                "prefix.", (WIDEN, "mask = F.pad(mask, (self.P, 0), value=False)")),
        Mistake("prefix on the right", "The prefix stands behind the tokens; the causal mask takes "
                "what stands last for the newest.",
                (CAT, "return torch.cat([k, prefix_k], dim=2), torch.cat([v, prefix_v], dim=2)")),
        Mistake("K and V swapped", "Keys and values of the prefix have changed places.",
                (CAT, "return torch.cat([prefix_v, k], dim=2), torch.cat([prefix_k, v], dim=2)")),
        Mistake("keys only", "The prefix has keys but its values are zero.",
                (CAT, CAT.replace("[prefix_v,", "[0 * prefix_v,"))),
        Mistake("values only", "The prefix has values but its keys are zero.",
                (CAT, CAT.replace("[prefix_k,", "[0 * prefix_k,"))),
        Mistake("added to the first token", "The prefix is added to the tokens' keys and values; "
                "it stands in front of them.",
                (CAT, "return k + prefix_k.mean(2, True), v + prefix_v.mean(2, True)")),
        Mistake("one row only", "The prefix is not repeated for the rows of the batch.",
                ("(entry.expand(len(k), -1, -1, -1) for", "(entry for")),
        Mistake("positions not moved", "Real tokens begin at position 0; they begin at P.",
                (MOVED, "positions")),
        Mistake("positions moved twice", "Real tokens begin at position 2 P; they begin at P.",
                (MOVED, "positions + 2 * self.P")),
        Mistake("given positions not moved", "Positions that are given are not moved by P; they "
                "count real tokens.",
                ("positions = torch.arange(ids.shape[1], device=ids.device)",
                 "positions = torch.arange(ids.shape[1], device=ids.device) + self.P"),
                (MOVED, "positions")),
        Mistake("layers mixed up", "The matrix is cut as keys of all layers, then values of all "
                "layers; each layer's keys and values stand side by side.",
                (VIEW, "slots = self.flat().view(self.P, 2, c.n_layer, c.n_head,\n"
                       "                                 c.n_embd // c.n_head).transpose(1, 2)")),
        Mistake("heads mixed up", "The heads are cut across: D and H have changed places.",
                (VIEW, "slots = self.flat().view(self.P, c.n_layer, 2, c.n_embd // c.n_head,\n"
                       "                                 c.n_head).transpose(3, 4)")),
        Mistake("heads mix places", "The virtual tokens are mixed with the heads: view cannot "
                "transpose.",
                ("part.transpose(0, 1)[None]", "part.reshape(c.n_head, self.P, -1)[None]")),
        Mistake("layers in reverse", "The last layer gets the first layer's prefix.",
                (PARTS, "for layer in reversed(slots.unbind(1))]")),
        Mistake("one layer for all", "All layers get the prefix of the first one.",
                (PARTS, "for layer in [slots[:, 0]] * c.n_layer]")),
        Mistake("prefix again and again", "A cache that has entries gets the prefix once more.",
                ("if cache is not None and cache.length:", "if False:")),
        Mistake("no room", "A cache without entries is not made larger by P, so it is full too "
                "early.", ("cache.grow(self.P)", "pass")),
        Mistake("no gradient", "The prefix gets no gradient; it was detached.",
                (VIEW, VIEW.replace("self.flat()", "self.flat().detach()"))),
    ),
    variants=(
        Variant("a loop over layers and heads", "Slices that one can check with a finger; makes "
                "2 L H small tensors.", {ENTRIES: """
            c, found = self.base.config, []
            D, flat = c.n_embd // c.n_head, self.flat()
            for layer in range(c.n_layer):
                pair = []
                for part in range(2):
                    start = (2 * layer + part) * c.n_embd
                    heads = [flat[:, start + h * D:start + (h + 1) * D] for h in range(c.n_head)]
                    pair.append(torch.stack(heads)[None])
                found.append(tuple(pair))
            return found
            """}),
        Variant("permuted at once", "One view, one permutation, two indices; the order of the "
                "letters is all that there is to get wrong.", {ENTRIES: """
            c = self.base.config
            slots = self.flat().view(self.P, c.n_layer, 2, c.n_head, -1).permute(1, 2, 3, 0, 4)
            return [(keys[None], values[None]) for keys, values in slots]
            """, APPEND: """
            joined = []
            for entry, new in zip(self.entries[layer], (k, v)):
                joined.append(torch.cat([entry.repeat(len(k) // len(entry), 1, 1, 1), new], dim=-2))
            return tuple(joined)
            """}),
        Variant("written into place", "Room for all, then two assignments; the mask is joined from "
                "two parts.", {APPEND: """
            P, joined = self.length, []
            for entry, new in zip(self.entries[layer], (k, v)):
                B, H, T, D = new.shape
                room = new.new_zeros(B, H, P + T, D)
                room[:, :, :P] = entry
                room[:, :, P:] = new
                joined.append(room)
            return joined[0], joined[1]
            """, TRUNK: """
            if mask is not None:
                columns = mask.new_ones(*mask.shape[:-1], self.P)
                mask = torch.cat([columns, mask], dim=-1)
            if cache is None:
                return self.begin(x, None, mask)
            if cache.length == 0:
                cache.grow(self.P)
                return self.begin(x, cache, mask)
            return self.base.trunk(x, cache, mask)
            """}),
    ),
)
