"""A key/value cache: what attention has computed is kept, so that a new token costs one column.

    K <- [K_cache ; K_new]      V <- [V_cache ; V_new]        along the time axis, in every layer

Room for `capacity` entries of each layer is there from the start, in `self._entries[layer]`, a pair
(keys, values), each (B, H, capacity, D). `self.length` of them are filled; `self.position` is the
position of the next token. The two can differ: a prefix may fill slots that take no position.

Write `append`, which writes new keys and values behind those that are there and returns all so far,
and `advance`, which the model calls once after all layers have appended `tokens` entries. New ones
may have a single row, (1, H, T, D), which then serves for all rows of the batch. More than the
capacity is refused with ValueError.

Check it: python lessons/check.py 10
"""

import torch
import torch.nn.functional as F


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
        raise NotImplementedError

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
        raise NotImplementedError

    def keep(self, rows):
        """Keep only these rows of the batch. rows: 1-d tensor of indices."""
        self._entries = [(keys[rows], values[rows]) for keys, values in self._entries]
