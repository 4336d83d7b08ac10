"""Caches: what is computed once and kept equals what is computed anew."""

import pytest
import torch
from conftest import forward_by_hand, random_ids, random_prefix, tiny_model

from minisft.cache import KVCache, PrefixCache


def new_cache(model, batch_size, capacity, initial=None):
    return KVCache(model.config, batch_size, capacity, dtype=torch.float64, initial=initial)


@torch.no_grad()
def in_chunks(model, ids, sizes, cache):
    """Logits of ids (B, T), given to the model in pieces of these sizes."""
    return torch.cat([model(piece, cache=cache) for piece in ids.split(sizes, dim=1)], dim=1)


@pytest.mark.parametrize("sizes", [[6], [3, 2, 1], [1, 2, 3], [5, 1], [1, 5], [1] * 6])
def test_cached_equals_uncached_in_any_chunks(sizes):
    model, ids = tiny_model(n_layer=3), random_ids(2, 6)
    logits = in_chunks(model, ids, sizes, new_cache(model, 2, 6))
    assert torch.allclose(logits, model(ids), rtol=0, atol=1e-12)


@pytest.mark.parametrize("position", [0, 4])
@pytest.mark.parametrize("sizes", [[5], [3, 2], [1] * 5])
@pytest.mark.parametrize("prefix_rows", [1, 2])
def test_a_cache_begun_with_a_prefix_equals_the_prefix(position, sizes, prefix_rows):
    model, ids = tiny_model(), random_ids(2, 5)
    prefix = PrefixCache(random_prefix(model, 3, batch_size=prefix_rows), position)
    with torch.no_grad():
        logits = in_chunks(model, ids, sizes, new_cache(model, 2, 8, initial=prefix))
        assert torch.allclose(logits, model(ids, cache=prefix), rtol=0, atol=1e-12)
        assert (logits - model(ids)).abs().max() > 0.01


def test_rows_of_a_prefix_belong_to_the_rows_of_the_batch():
    model, ids = tiny_model(), random_ids(2, 5)
    entries = random_prefix(model, 3, batch_size=2)
    logits = model(ids, cache=PrefixCache(entries))
    for row in range(2):
        alone = [(k[row:row + 1], v[row:row + 1]) for k, v in entries]
        assert torch.allclose(logits[row], forward_by_hand(model, ids[row], alone), rtol=0, atol=1e-12)


def test_length_counts_entries_and_position_counts_tokens():
    model = tiny_model()
    cache = new_cache(model, 1, 12, initial=PrefixCache(random_prefix(model, 3)))
    assert (cache.length, cache.position) == (3, 0)  # a prefix of three entries that takes no position
    in_chunks(model, random_ids(1, 6), [4, 2], cache)
    assert (cache.length, cache.position) == (9, 6)

    cache = new_cache(model, 1, 12, initial=PrefixCache(random_prefix(model, 3), position=3))
    in_chunks(model, random_ids(1, 6), [4, 2], cache)
    assert (cache.length, cache.position) == (9, 9)


def test_the_next_token_stands_at_the_caches_position():
    model, ids = tiny_model(), random_ids(1, 5)
    cache = new_cache(model, 1, 5)
    cache.position = 7
    logits = in_chunks(model, ids, [2, 3], cache)
    assert torch.allclose(logits, model(ids, positions=torch.arange(7, 12)), rtol=0, atol=1e-12)


def test_a_prefix_stays_what_it_is():
    model = tiny_model()
    cache = PrefixCache(random_prefix(model, 3), position=2)
    before = [entry.detach().clone() for pair in cache.entries for entry in pair]
    model(random_ids(2, 5), cache=cache)
    assert (cache.length, cache.position) == (3, 2)
    assert all(torch.equal(entry, old) for entry, old in zip([e for pair in cache.entries for e in pair], before))


def test_a_cache_does_not_write_into_the_prefix_it_began_with():
    model = tiny_model()
    entries = [(k.detach(), v.detach()) for k, v in random_prefix(model, 3)]
    before = [entry.clone() for pair in entries for entry in pair]
    in_chunks(model, random_ids(1, 4), [2, 2], new_cache(model, 1, 7, initial=PrefixCache(entries)))
    assert all(torch.equal(entry, old) for entry, old in zip([e for pair in entries for e in pair], before))


def test_kept_rows_go_on_as_if_the_others_had_never_been():
    model, ids = tiny_model(), random_ids(4, 8)
    cache = new_cache(model, 4, 8)
    in_chunks(model, ids[:, :5], [5], cache)
    rows = torch.tensor([3, 1])
    cache.keep(rows)
    assert (cache.length, cache.position) == (5, 5)
    logits = in_chunks(model, ids[rows, 5:], [2, 1], cache)
    assert torch.allclose(logits, model(ids[rows])[:, 5:], rtol=0, atol=1e-12)


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
