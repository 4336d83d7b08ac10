"""Key/value caches: what attention has already computed, or what it is given to begin with.

    K <- [K_cache ; K_new]      V <- [V_cache ; V_new]        along the time axis, in every layer

The model only asks two things of a cache: `append(layer, k, v)`, which returns all keys and values so far, and
`position`, the position of the next token. Length and position are kept apart: padding fills slots of the cache
without taking positions, and entries that belong to no token may take either or both.

    PrefixCache   fixed entries before the first token; differentiable, so they can be trained
    KVCache       a growing memory for generation, written in place

Source: Vaswani et al. 2017, section 3.2.1, computed one token at a time.
"""

import torch


class PrefixCache:
    """Initial keys and values in every layer, which each call of the model sees anew.

    entries: one (k, v) pair for each layer, each (1 or B, H, P, D).
    position: position of the first real token after the prefix (0 unless said otherwise).
    """

    def __init__(self, entries, position=0):
        self.entries, self.position = list(entries), position
        self.length = self.entries[0][0].shape[2]

    def append(self, layer, k, v):
        """k, v: (B, H, T, D) -> prefix and new ones, (B, H, P+T, D). Nothing is kept."""
        prefix_k, prefix_v = (entry.expand(k.shape[0], -1, -1, -1) for entry in self.entries[layer])
        return torch.cat([prefix_k, k], dim=2), torch.cat([prefix_v, v], dim=2)

    def advance(self, tokens):
        """Called by the model after each forward pass; a prefix stays what it is."""


class KVCache:
    """Room for `capacity` keys and values of each layer; `length` of them are filled.

    Memory: 2 * n_layer * B * n_embd * capacity numbers. For inference only: entries are written in place.
    """

    def __init__(self, config, batch_size, capacity, device=None, dtype=None, initial=None):
        """initial: a PrefixCache whose entries fill the first slots; ValueError if they are more than the capacity."""
        if initial is not None and initial.length > capacity:
            raise ValueError(f"the cache holds {capacity} entries, the prefix has {initial.length}; make it larger")
        shape = (batch_size, config.n_head, capacity, config.n_embd // config.n_head)
        self._entries = [
            (torch.empty(shape, device=device, dtype=dtype), torch.empty(shape, device=device, dtype=dtype))
            for _ in range(config.n_layer)]
        self.capacity, self.length, self.position = capacity, 0, 0
        if initial is not None:
            for buffers, entries in zip(self._entries, initial.entries):
                for buffer, entry in zip(buffers, entries):
                    buffer[:, :, :initial.length] = entry
            self.length, self.position = initial.length, initial.position

    def append(self, layer, k, v):
        """k, v: (B, H, T, D) -> all so far, (B, H, length+T, D). ValueError if the capacity is exceeded."""
        tokens = k.shape[2]
        end = self.length + tokens
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} entries, asked for {end}; make it larger")
        keys, values = self._entries[layer]
        keys.narrow(2, self.length, tokens).copy_(k)  # keys[:, :, length:end] = k, with less overhead
        values.narrow(2, self.length, tokens).copy_(v)
        return keys.narrow(2, 0, end), values.narrow(2, 0, end)

    def advance(self, tokens):
        """Called by the model once all layers have appended `tokens` entries."""
        self.length += tokens
        self.position += tokens

    def keep(self, rows):
        """Go on with these rows of the batch only. rows: 1-d tensor of indices."""
        self._entries = [(keys[rows], values[rows]) for keys, values in self._entries]
