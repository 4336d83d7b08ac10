"""Key/value caches: what attention has already computed, or what it is given to begin with.

    K <- [K_cache ; K_new]      V <- [V_cache ; V_new]        along the time axis, in every layer

The model asks only two things of a cache: `append(layer, k, v)`, which returns all keys and values
so far, and `position`, the position of the next token. Length and position are kept apart: padding
fills slots of the cache without taking positions, and entries that belong to no token may take
either or both.

    PrefixCache   fixed entries before the first token; differentiable, so they can be trained
    KVCache       a growing memory for generation, written in place

Source: Vaswani et al. 2017, section 3.2.1, computed one token at a time.
"""

import torch
import torch.nn.functional as F


class PrefixCache:
    """Initial keys and values in every layer; each call of the model begins with them.

    entries: one (k, v) pair for each layer, each (1 or B, H, P, D).
    position: position of the first real token after the prefix (0 unless said otherwise).
    """

    def __init__(self, entries, position=0):
        self.entries, self.position = list(entries), position
        self.length = self.entries[0][0].shape[2]

    def append(self, layer, k, v):
        """k, v: (B, H, T, D) -> prefix and new ones, (B, H, P+T, D). The new ones are not kept."""
        prefix_k, prefix_v = (entry.expand(len(k), -1, -1, -1) for entry in self.entries[layer])
        return torch.cat([prefix_k, k], dim=2), torch.cat([prefix_v, v], dim=2)

    def advance(self, tokens):
        """The model calls this after each forward pass; a prefix does not grow."""


class KVCache:
    """Room for `capacity` keys and values of each layer; `length` of them are filled.

    Memory: 2 * n_layer * B * n_embd * capacity numbers. For inference only, as entries are written
    in place.
    """

    def __init__(self, config, batch_size, capacity, device=None, dtype=None, initial=None):
        """initial: a PrefixCache whose entries fill the first slots.

        ValueError if it has more entries than the capacity.
        """
        if initial is not None and initial.length > capacity:
            raise ValueError(f"the cache holds {capacity} entries, the prefix has "
                             f"{initial.length}; make it larger")
        shape = (batch_size, config.n_head, capacity, config.n_embd // config.n_head)

        def room():
            return torch.empty(shape, device=device, dtype=dtype)

        self._entries = [(room(), room()) for _ in range(config.n_layer)]
        self.capacity, self.length, self.position = capacity, 0, 0
        if initial is not None:
            for buffers, entries in zip(self._entries, initial.entries):
                for buffer, entry in zip(buffers, entries):
                    buffer[:, :, :initial.length] = entry
            self.length, self.position = initial.length, initial.position

    def append(self, layer, k, v):
        """k, v: (B, H, T, D) -> all so far, (B, H, length+T, D).

        Of a single row, (1, H, T, D), a copy is kept for every row of the batch. ValueError if the
        capacity is exceeded.
        """
        tokens = k.shape[2]
        end = self.length + tokens
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} entries, asked for {end}; "
                             "make it larger")
        keys, values = self._entries[layer]
        keys.narrow(2, self.length, tokens).copy_(k)  # keys[:, :, length:end] = k, but faster
        values.narrow(2, self.length, tokens).copy_(v)
        return keys.narrow(2, 0, end), values.narrow(2, 0, end)

    def grow(self, slots):
        """Make room for so many more entries; those that are filled stay."""
        def wider(buffer):
            return F.pad(buffer, (0, 0, 0, slots))  # (B, H, S, D) -> (B, H, S+slots, D)

        self._entries = [(wider(keys), wider(values)) for keys, values in self._entries]
        self.capacity += slots

    def entries(self):
        """[(keys, values)] of each layer, the filled slots only: (B, H, length, D)."""
        return [(keys.narrow(2, 0, self.length), values.narrow(2, 0, self.length))
                for keys, values in self._entries]

    def advance(self, tokens):
        """The model calls this once all layers have appended `tokens` entries."""
        self.length += tokens
        self.position += tokens

    def keep(self, rows):
        """Keep only these rows of the batch. rows: 1-d tensor of indices."""
        self._entries = [(keys[rows], values[rows]) for keys, values in self._entries]
