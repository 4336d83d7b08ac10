"""A key/value cache: what attention has computed is kept, so that a new token costs one column.

    K <- [K_cache ; K_new]      V <- [V_cache ; V_new]        along the time axis, in every layer

Room for `capacity` entries of each layer is there from the start, in `self._entries[layer]`, a pair
(keys, values), each (B, H, capacity, D). `self.length` of them are filled; `self.position` is the
position of the next token. The two can differ: a prefix may fill slots that take no position.

Write `append`, which writes new keys and values behind those that are there and returns all so far,
and `advance`, which the model calls once after all layers have appended `tokens` entries. New ones
may have a single row, (1, H, T, D), which then serves for all rows of the batch. More than the
capacity is refused with ValueError.
"""

import torch

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import model_of, normal
from minisft.cache import PrefixCache

APPEND, ADVANCE = "minisft.cache:KVCache.append", "minisft.cache:KVCache.advance"
LOGITS = "model(ids of a chunk, cache=cache), chunk by chunk "
STATE = "(cache.length, cache.position) after each chunk "


def cases(rng):
    """Chunks of several sizes, two layers; a prefix whose length is not its position; no room."""
    def case(B, chunks, prefix=(), spare=0, appended=False):
        return {"seed": rng.getrandbits(30), "chunks": list(chunks),
                "ids": torch.tensor([[rng.randrange(11) for _ in range(sum(chunks))]
                                     for _ in range(B)]),
                "prefix": [[normal(rng, 1, 2, prefix[0], 3), normal(rng, 1, 2, prefix[0], 3)]
                           for _ in range(2)] if prefix else [],
                "first": prefix[1] if prefix else 0, "spare": spare, "appended": appended}

    return [case(1, [1, 1]), case(1, [2], spare=-1), case(1, [1, 2]), case(2, [3, 2, 1], spare=3),
            case(1, [2, 1, 1], prefix=(3, 1)), case(2, [1, 2, 3], prefix=(2, 4), spare=1),
            case(3, [1, 2], prefix=(2, 1), appended=True)]


def run(code, seed, ids, chunks, prefix, first, spare, appended):
    model = model_of(seed)
    initial = PrefixCache([tuple(layer) for layer in prefix], first) if prefix else None
    P = initial.length if prefix else 0
    cache = code.KVCache(model.config, len(ids), ids.shape[1] + spare + P, dtype=torch.float64,
                         initial=None if appended else initial)
    for buffers in cache._entries:
        for buffer in buffers:
            buffer[:, :, cache.length:] = 0  # or what is read without being written would be luck
    if appended:  # one row for all, as prefix tuning does it
        for layer, (k, v) in enumerate(prefix):
            cache.append(layer, k, v)
        cache.length, cache.position = P, first
    logits, states = [], []
    with torch.no_grad():
        for part in ids.split(chunks, dim=1):
            try:
                logits.append(model(part, cache=cache))
            except ValueError:
                return {LOGITS: "ValueError", STATE: states}
            states.append([cache.length, cache.position])
    return {LOGITS: logits, STATE: states}


def oracle(seed, ids, chunks, prefix, first, spare, appended):
    """The whole text at once, without a cache of what was computed."""
    if spare < 0:
        return {LOGITS: "ValueError", STATE: []}
    model = model_of(seed)
    initial = PrefixCache([tuple(layer) for layer in prefix], first) if prefix else None
    with torch.no_grad():
        logits = model(ids, cache=initial).split(chunks, dim=1)
    done = torch.tensor(chunks).cumsum(0).tolist()
    held = initial.length if prefix else 0
    return {LOGITS: list(logits), STATE: [[held + n, first + n] for n in done]}


KEYS = "keys.narrow(2, self.length, tokens).copy_(k)"
VALUES = "values.narrow(2, self.length, tokens).copy_(v)"
RETURN = "return keys.narrow(2, 0, end), values.narrow(2, 0, end)"
LENGTH, POSITION = "self.length += tokens", "self.position += tokens"

EXERCISE = Exercise(
    name="cache", doc=__doc__, targets=(APPEND, ADVANCE), minutes=20, after=("attention",),
    read="",
    call="cache = KVCache(model.config, len(ids), capacity, initial=prefix); where appended is "
         "True, the prefix comes in by cache.append; model(chunk, cache=cache) for one chunk of "
         "ids after the other",
    cases=cases, run=run, oracle=oracle,
    question="A model has two layers, so append is called twice for each token. When may the "
             "length move?",
    pseudocode="""
        append: end = length + number of new entries; refuse an end beyond the capacity
                write keys and values into slots length to end of this layer
                return the first `end` slots of both
        advance: length and position both move by the number of tokens
    """,
    mistakes=(
        Mistake("position restarts", "The position does not move, so every chunk begins at the "
                "same one.", (POSITION, "pass")),
        Mistake("length does not move", "The length does not move, so each chunk overwrites the "
                "one before it.", (LENGTH, "pass")),
        Mistake("overwritten from slot 0", "New entries are written from slot 0 on, over the old "
                "ones.", (KEYS, "keys.narrow(2, 0, tokens).copy_(k)"),
                (VALUES, "values.narrow(2, 0, tokens).copy_(v)")),
        Mistake("only the new ones returned", "Only the new entries are returned, so a token does "
                "not see the chunks before.",
                (RETURN, "return keys.narrow(2, self.length, tokens), "
                         "values.narrow(2, self.length, tokens)")),
        Mistake("put in front", "New entries stand before the old ones; the mask takes the last "
                "ones for the newest.",
                (RETURN, "return (torch.cat([k, keys.narrow(2, 0, self.length)], 2),\n"
                         "                torch.cat([v, values.narrow(2, 0, self.length)], 2))")),
        Mistake("values not kept", "The values are returned and not written into the cache.",
                (VALUES, "pass"),
                (RETURN, "return keys.narrow(2, 0, end), torch.cat(\n            "
                         "[values.narrow(2, 0, self.length).zero_(), v], 2)")),
        Mistake("K and V swapped", "Keys and values have changed places.",
                (RETURN, "return values.narrow(2, 0, end), keys.narrow(2, 0, end)")),
        Mistake("one layer for all", "All layers share the entries of the first one.",
                ("values = self._entries[layer]", "values = self._entries[0]")),
        Mistake("one token at a time", "The length moves by 1, however many tokens a chunk has.",
                (LENGTH, "self.length += 1")),
        Mistake("position moves by one", "The position moves by 1, however many tokens a chunk "
                "has.",
                (POSITION, "self.position += 1")),
        Mistake("moved by every layer", "append moves the length, so it moves once for each layer; "
                "advance does it once for all.",
                (RETURN, "self.length = end\n        " + RETURN), (LENGTH, "pass")),
        Mistake("position is the length", "The position is set to the length, but a prefix can "
                "fill slots that take no position.", (POSITION, "self.position = self.length")),
        Mistake("length is the position", "The length is set to the position, but a prefix can "
                "fill slots that take no position.",
                (LENGTH, "self.length = self.position + tokens")),
        Mistake("the last entry forgotten", "The newest entry is not returned.",
                (RETURN, "return (keys.narrow(2, 0, end - (end > 1)),\n                "
                         "values.narrow(2, 0, end - (end > 1)))")),
        Mistake("capacity not checked", "More entries than the capacity are not refused with "
                "ValueError.", ("if end > self.capacity:", "if False:")),
        Mistake("full is too full", "The last slot is refused; the capacity may be used up.",
                ("if end > self.capacity:", "if end >= self.capacity:")),
    ),
    variants=(
        Variant("slices", "The same in the words that one reads first; a little slower for one "
                "token, as indexing is.", {APPEND: """
            end = self.length + k.shape[2]
            if end > self.capacity:
                raise ValueError(f"the cache holds {self.capacity} entries, asked for {end}")
            keys, values = self._entries[layer]
            keys[:, :, self.length:end] = k
            values[:, :, self.length:end] = v
            return keys[:, :, :end], values[:, :, :end]
            """}),
        Variant("joined anew", "torch.cat copies all that is there for each new token, so a text "
                "of n tokens costs n squared copies.", {APPEND: """
            keys, values = (entries[:, :, :self.length] for entries in self._entries[layer])
            k, v = k.expand(len(keys), -1, -1, -1), v.expand(len(keys), -1, -1, -1)
            keys, values = torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)
            if keys.shape[2] > self.capacity:
                raise ValueError("the cache is full")
            self._entries[layer] = keys, values
            return keys, values
            """}),
        Variant("index_copy_", "One call for each buffer; the places can be any, not only "
                "neighbours.", {APPEND: """
            places = torch.arange(self.length, self.length + k.shape[2])
            if int(places[-1]) >= self.capacity:
                raise ValueError("the cache is full")
            found = []
            for buffer, new in zip(self._entries[layer], (k, v)):
                buffer.index_copy_(2, places, new.expand(len(buffer), -1, -1, -1))
                found.append(buffer[:, :, :int(places[-1]) + 1])
            return tuple(found)
            """}),
    ),
)
