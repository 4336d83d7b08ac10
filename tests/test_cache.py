"""Caches: with kept keys and values a model computes what it computes from the whole text."""

import pytest
import torch
from conftest import forward_by_hand, random_ids, random_prefix, tiny_model

from minisft.cache import KVCache, PrefixCache


def new_cache(model, batch_size, capacity, initial=None):
    return KVCache(model.config, batch_size, capacity, dtype=torch.float64, initial=initial)


@torch.no_grad()
def in_chunks(model, ids, sizes, cache):
    """Logits of ids (B, T) that the model reads in pieces of these sizes."""
    return torch.cat([model(piece, cache=cache) for piece in ids.split(sizes, dim=1)], dim=1)


@pytest.mark.parametrize("sizes", [[6], [3, 2, 1], [1, 2, 3], [5, 1], [1, 5], [1] * 6])
def test_cached_equals_uncached_whatever_the_size_of_the_pieces(sizes):
    model, ids = tiny_model(n_layer=3), random_ids(2, 6)
    logits = in_chunks(model, ids, sizes, new_cache(model, 2, 6))
    assert torch.allclose(logits, model(ids), rtol=0, atol=1e-12)


@pytest.mark.parametrize("position", [0, 4])
@pytest.mark.parametrize("sizes", [[5], [3, 2], [1] * 5])
@pytest.mark.parametrize("prefix_rows", [1, 2])
def test_a_cache_that_starts_with_a_prefix_equals_the_prefix(position, sizes, prefix_rows):
    model, ids = tiny_model(), random_ids(2, 5)
    prefix = PrefixCache(random_prefix(model, 3, batch_size=prefix_rows), position)
    with torch.no_grad():
        logits = in_chunks(model, ids, sizes, new_cache(model, 2, 8, initial=prefix))
        assert torch.allclose(logits, model(ids, cache=prefix), rtol=0, atol=1e-12)
        assert (logits - model(ids)).abs().max() > 0.01


def test_each_row_of_a_batch_sees_its_own_row_of_the_prefix():
    model, ids = tiny_model(), random_ids(2, 5)
    entries = random_prefix(model, 3, batch_size=2)
    logits = model(ids, cache=PrefixCache(entries))
    for row in range(2):
        own = [(k[row:row + 1], v[row:row + 1]) for k, v in entries]
        expected = forward_by_hand(model, ids[row], own)
        assert torch.allclose(logits[row], expected, rtol=0, atol=1e-12)


def test_length_counts_entries_and_position_counts_tokens():
    model = tiny_model()
    cache = new_cache(model, 1, 12, initial=PrefixCache(random_prefix(model, 3)))
    assert (cache.length, cache.position) == (3, 0)  # a prefix may take no position
    in_chunks(model, random_ids(1, 6), [4, 2], cache)
    assert (cache.length, cache.position) == (9, 6)

    cache = new_cache(model, 1, 12, initial=PrefixCache(random_prefix(model, 3), position=3))
    in_chunks(model, random_ids(1, 6), [4, 2], cache)
    assert (cache.length, cache.position) == (9, 9)


def test_the_next_token_gets_the_position_of_the_cache():
    model, ids = tiny_model(), random_ids(1, 5)
    cache = new_cache(model, 1, 5)
    cache.position = 7
    logits = in_chunks(model, ids, [2, 3], cache)
    assert torch.allclose(logits, model(ids, positions=torch.arange(7, 12)), rtol=0, atol=1e-12)


def numbers_of(entries):
    """Copies of all keys and values, in one list."""
    return [entry.detach().clone() for pair in entries for entry in pair]


def test_a_forward_pass_does_not_change_a_prefix():
    model = tiny_model()
    cache = PrefixCache(random_prefix(model, 3), position=2)
    before = numbers_of(cache.entries)
    model(random_ids(2, 5), cache=cache)
    assert (cache.length, cache.position) == (3, 2)
    assert all(torch.equal(a, b) for a, b in zip(numbers_of(cache.entries), before))


def test_a_cache_does_not_write_into_the_prefix_that_it_started_with():
    model = tiny_model()
    entries = [(k.detach(), v.detach()) for k, v in random_prefix(model, 3)]
    before = numbers_of(entries)
    cache = new_cache(model, 1, 7, initial=PrefixCache(entries))
    in_chunks(model, random_ids(1, 4), [2, 2], cache)
    assert all(torch.equal(a, b) for a, b in zip(numbers_of(entries), before))


def test_kept_rows_continue_as_if_the_others_had_never_been_there():
    model, ids = tiny_model(), random_ids(4, 8)
    cache = new_cache(model, 4, 8)
    in_chunks(model, ids[:, :5], [5], cache)
    rows = torch.tensor([3, 1])
    cache.keep(rows)
    assert (cache.length, cache.position) == (5, 5)
    logits = in_chunks(model, ids[rows, 5:], [2, 1], cache)
    assert torch.allclose(logits, model(ids[rows])[:, 5:], rtol=0, atol=1e-12)


def test_a_cache_that_grows_keeps_what_it_holds_and_has_room_for_more():
    model, ids = tiny_model(), random_ids(2, 7)
    cache = new_cache(model, 2, 4)
    first = in_chunks(model, ids[:, :4], [4], cache)
    cache.grow(3)
    logits = torch.cat([first, in_chunks(model, ids[:, 4:], [2, 1], cache)], dim=1)
    assert torch.allclose(logits, model(ids), rtol=0, atol=1e-12)


def test_a_full_cache_refuses_one_entry_more():
    model = tiny_model()
    cache = new_cache(model, 1, 4)
    in_chunks(model, random_ids(1, 4), [3, 1], cache)
    with pytest.raises(ValueError, match="the cache holds 4 entries, asked for 5"):
        model(random_ids(1, 1), cache=cache)
    with pytest.raises(ValueError, match="the cache holds 2 entries, asked for 3"):
        model(random_ids(1, 3), cache=new_cache(model, 1, 2))


def test_a_cache_too_small_for_its_prefix_is_refused():
    model = tiny_model()
    with pytest.raises(ValueError, match="the cache holds 2 entries, the prefix has 3"):
        new_cache(model, 1, 2, initial=PrefixCache(random_prefix(model, 3)))
