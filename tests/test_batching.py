"""On the way from conversations to batches nothing is lost, nothing mixed, and no answer cut."""

import random
import time
from dataclasses import replace
from itertools import islice

import pytest
import torch
from conftest import difference, gradients, random_examples, random_ids, reference_loss, tiny_model
from hypothesis import given
from hypothesis import strategies as st

from minisft.batching import (
    POOL,
    cut_text,
    length_buckets,
    pack,
    pack_rows,
    pad,
    step_batches,
    truncate,
)
from minisft.conversation import Conversation, Rendered, render, render_text
from minisft.loss import sft_loss
from minisft.tokenizer import END_OF_TURN, Tokenizer

BYTES = Tokenizer([bytes([byte]) for byte in range(256)])


def conversation(*turns):
    """A Rendered conversation: a start token, then turns of (question, answer) lengths.

    Answers are supervised. Ids count from 0.
    """
    loss_mask = [0]
    for question, answer in turns:
        loss_mask += [0] * question + [1] * answer
    return Rendered(list(range(len(loss_mask))), loss_mask)


turn_lengths = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6)


def test_a_conversation_that_fits_exactly_is_left_as_it_is():
    two_turns = conversation((3, 2), (3, 2))
    assert truncate(two_turns, 11) is two_turns
    assert truncate(two_turns, 50) is two_turns


@pytest.mark.parametrize("block_size", [10, 9, 7, 6])
def test_a_conversation_that_is_too_long_keeps_whole_turns(block_size):
    two_turns = conversation((3, 2), (3, 2))  # answers end at 6 and at 11
    first_turn = Rendered([0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 1, 1])
    assert truncate(two_turns, block_size) == first_turn


@pytest.mark.parametrize("block_size", [5, 4, 1])
def test_a_conversation_whose_first_answer_does_not_fit_is_left_out(block_size):
    assert truncate(conversation((3, 2), (3, 2)), block_size) is None


def test_a_last_question_without_an_answer_is_cut_off_where_it_does_not_fit():
    open_end = Rendered(list(range(8)), [0, 0, 1, 1, 0, 0, 0, 0])
    assert truncate(open_end, 8) is open_end
    assert truncate(open_end, 7) == Rendered([0, 1, 2, 3], [0, 0, 1, 1])


def test_what_is_kept_of_a_real_conversation_ends_with_the_end_of_turn():
    messages = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "cde"},
                {"role": "user", "content": "fgh"}, {"role": "assistant", "content": "ijklmn"}]
    rendered = render(Conversation.from_messages(messages), BYTES)
    first = render(Conversation.from_messages(messages[:2]), BYTES)
    for block_size in range(1, len(rendered.ids)):
        kept = truncate(rendered, block_size)
        expected = first if block_size >= len(first.ids) else None
        assert kept == expected
    assert first.ids[-1] == BYTES.special(END_OF_TURN) and first.loss_mask[-1] == 1


@given(turn_lengths, st.integers(1, 60))
def test_truncation_keeps_the_longest_beginning_of_whole_turns(turns, block_size):
    whole, end, ends = conversation(*turns), 1, []
    for question, answer in turns:
        end += question + answer
        ends.append(end)
    possible = [end for end in ends if end <= block_size]
    kept = truncate(whole, block_size)
    if possible:
        assert kept == Rendered(whole.ids[:possible[-1]], whole.loss_mask[:possible[-1]])
    else:
        assert kept is None


@given(st.integers(2, 60), st.integers(2, 20))
def test_cut_text_makes_every_token_but_the_first_a_target_exactly_once(length, block_size):
    text = Rendered(list(range(length)), [0] + [1] * (length - 1))
    pieces = cut_text(text, block_size)
    assert all(2 <= len(piece.ids) == len(piece.loss_mask) <= block_size for piece in pieces)
    targets = [token for piece in pieces
               for token, flag in zip(piece.ids, piece.loss_mask) if flag]
    assert targets == list(range(1, length))
    for before, piece in zip(pieces, pieces[1:]):
        assert piece.ids[0] == before.ids[-1] and piece.loss_mask[0] == 0


def test_cut_text_leaves_a_text_that_fits_whole_and_keeps_its_mask():
    text = render_text("abc", BYTES)
    assert cut_text(text, 5) == [text]
    assert [piece.ids for piece in cut_text(text, 3)] == [text.ids[:3], text.ids[2:]]
    half = Rendered([1, 2, 3, 4, 5], [0, 0, 0, 1, 1])
    assert [piece.loss_mask for piece in cut_text(half, 3)] == [[0, 0, 0], [0, 1, 1]]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=400), st.integers(1, 5), st.integers(0, 9))
def test_length_buckets_hold_every_index_exactly_once(lengths, batch_size, seed):
    batches = length_buckets(lengths, batch_size, random.Random(seed))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert batches == length_buckets(lengths, batch_size, random.Random(seed))


def test_length_buckets_depend_on_their_rng_and_do_not_use_the_global_one():
    lengths = [random.Random(0).randint(1, 40) for _ in range(200)]
    random.seed(3)
    state = random.getstate()
    first = length_buckets(lengths, 4, random.Random(0))
    assert random.getstate() == state
    assert length_buckets(lengths, 4, random.Random(1)) != first


def test_length_buckets_bring_similar_lengths_together():
    rng = random.Random(0)
    lengths = [rng.randint(1, 1000) for _ in range(8 * POOL)]
    spreads = []
    for batch in length_buckets(lengths, 8, rng):
        own = [lengths[i] for i in batch]
        spreads.append(max(own) - min(own))
    assert sum(spreads) / len(spreads) < 40, "it is 778 if eight are drawn at random"


def test_padded_rows_worked_by_hand():
    batch = pad([Rendered([7, 8, 9], [0, 1, 1]), Rendered([5], [0]), Rendered([0, 0], [0, 1])])
    assert batch.ids.tolist() == [[7, 8, 9], [5, 0, 0], [0, 0, 0]]
    assert batch.loss_mask.tolist() == [[False, True, True], [False] * 3, [False, True, False]]
    assert batch.ids.dtype == torch.int64 and batch.loss_mask.dtype == torch.bool
    assert batch.tokens == 6 and batch.padding == pytest.approx(3 / 9)
    assert batch.positions is None and batch.mask is None


def test_padding_is_known_by_position_and_never_by_token_id():
    end = BYTES.special(END_OF_TURN)
    answers = [Rendered([256, 0, 0, end], [0, 0, 1, 1]),
               Rendered([256, 0, end, 0, end, end], [0, 0, 1, 0, 1, 1])]
    batch = pad(answers)  # token 0 fills the padding, and here it is supervised too
    assert batch.loss_mask[0].tolist() == [False, False, True, True, False, False]
    assert batch.loss_mask[1].tolist() == [False, False, True, False, True, True]
    packed = pack(answers, 10)
    assert packed.loss_mask.sum() == batch.loss_mask.sum() == 5


def test_the_end_of_every_answer_is_supervised():
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]
    batch = pad([render(Conversation.from_messages(messages), BYTES)])
    end = BYTES.special(END_OF_TURN)
    supervised = batch.ids[0][batch.loss_mask[0]].tolist()
    assert supervised == [ord("b"), end, ord("d"), end]


def test_padding_changes_neither_loss_nor_gradients():
    model, examples = tiny_model(), random_examples(6)
    found = gradients(model, sft_loss(model, pad(examples))[0])
    losses = [sft_loss(model, pad([example]))[0] for example in examples]
    assert difference(found, gradients(model, sum(losses))) < 1e-10


@given(st.lists(st.integers(1, 16), min_size=1, max_size=40), st.integers(16, 40))
def test_packed_rows_hold_every_index_once_and_no_row_is_too_long(lengths, block_size):
    rows = pack_rows(lengths, block_size)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    filled = [sum(lengths[i] for i in row) for row in rows]
    assert max(filled) <= block_size and min(filled) > 0
    assert len(rows) <= max(1, 2 * sum(lengths) // block_size + 1)


def rows_by_trying_every_number(lengths, block_size):
    """What pack_rows returns, worked out row by row for every number of rows."""
    longest_first = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    fewest, layouts = -(-sum(lengths) // block_size), []
    for n_rows in range(fewest, 2 * fewest + 1):
        rows, filled = [[] for _ in range(n_rows)], [0] * n_rows
        for i in longest_first:
            emptiest = filled.index(min(filled))
            rows[emptiest].append(i)
            filled[emptiest] += lengths[i]
        if max(filled) <= block_size:
            layouts.append((n_rows * max(filled), rows))
    return min(layouts, key=lambda layout: layout[0])[1]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=80), st.integers(40, 100))
def test_packed_rows_are_those_found_by_trying_every_number_of_rows(lengths, block_size):
    assert pack_rows(lengths, block_size) == rows_by_trying_every_number(lengths, block_size)


def test_ten_thousand_examples_are_packed_within_a_second():
    rng = random.Random(0)
    lengths = [min(256, round(rng.lognormvariate(3.7, 0.5))) for _ in range(10000)]
    began = time.process_time()
    rows = pack_rows(lengths, 256)
    assert time.process_time() - began < 1
    assert sorted(i for row in rows for i in row) == list(range(10000))
    slots = len(rows) * max(sum(lengths[i] for i in row) for row in rows)
    assert sum(lengths) > 0.95 * slots


def test_packed_rows_worked_by_hand():
    # Two rows, 6+3+2 and 5+4, leave 2 of 22 slots empty; three, 6 and 5+2 and 4+3, leave 1 of 21;
    # four leave 4 of 24.
    assert pack_rows([2, 5, 3, 4, 6], 11) == [[4], [1, 0], [3, 2]]
    # Two rows of 10 hold 9 tokens each when the 2 is left, which then fits neither.
    assert pack_rows([2, 5, 3, 4, 6], 10) == [[4], [1, 0], [3, 2]]
    # Of layouts that are equally full, the one with the fewest rows is taken.
    assert pack_rows([3, 3, 3, 3], 100) == [[0, 1, 2, 3]]
    assert pack_rows([2, 6, 6, 6], 14) == [[1, 3], [2, 0]]  # 2 rows of 12; 3 rows of 8 are as full


def test_as_many_rows_as_twice_the_fewest_may_waste_the_least():
    # Three rows would be 98 wide, with 94 slots empty; two do not hold them.
    assert pack_rows([51, 51, 51, 47], block_size=100) == [[0], [1], [2], [3]]


def test_a_packed_batch_worked_by_hand():
    examples = [Rendered([7, 8, 9], [0, 1, 1]), Rendered([5, 6], [0, 1]),
                Rendered([1, 2, 3, 4], [0, 0, 0, 1])]
    batch = pack(examples, 5)
    assert batch.ids.tolist() == [[1, 2, 3, 4, 0], [7, 8, 9, 5, 6]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 0], [0, 1, 2, 0, 1]]
    assert batch.loss_mask.int().tolist() == [[0, 0, 0, 1, 0], [0, 1, 1, 0, 1]]
    assert batch.mask[1, 0].int().tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]
    assert batch.tokens == 9


def test_an_example_that_is_too_long_is_refused_and_one_that_just_fits_is_not():
    assert pack_rows([10, 10], 10) == [[0], [1]]
    with pytest.raises(ValueError, match="an example of 11 tokens does not fit a row of 10"):
        pack_rows([3, 11], 10)
    with pytest.raises(ValueError, match="an example of 16 tokens does not fit a row of 15"):
        pack([Rendered([1] * 16, [0] * 16)], 15)


def packed_logits(model, batch, examples):
    """The logits of each example, taken out of the packed rows."""
    logits = model(batch.ids, positions=batch.positions, mask=batch.mask)
    rows = pack_rows([len(example.ids) for example in examples], batch.ids.shape[1])
    found = {}
    for r, row in enumerate(rows):
        start = 0
        for i in row:
            found[i] = logits[r, start:start + len(examples[i].ids)]
            start += len(examples[i].ids)
    return [found[i] for i in range(len(examples))]


def largest_difference(logits, expected):
    return max((found - wanted).abs().max().item() for found, wanted in zip(logits, expected))


def test_packed_logits_equal_those_of_documents_alone_and_need_both_mask_and_positions():
    model, examples = tiny_model(), random_examples(9, longest=12)
    batch = pack(examples, 16)
    assert len(batch.ids) < len(examples)
    alone = [model(torch.tensor([example.ids]))[0] for example in examples]
    assert largest_difference(packed_logits(model, batch, examples), alone) < 1e-12
    for spoilt in (replace(batch, mask=None), replace(batch, positions=None)):
        assert largest_difference(packed_logits(model, spoilt, examples), alone) > 0.1


def test_packed_loss_and_gradients_equal_those_of_documents_alone():
    model, examples = tiny_model(), random_examples(9, longest=12)
    batch = pack(examples, 16)
    loss, targets = sft_loss(model, batch)
    expected = sum(reference_loss(model, example) for example in examples)
    assert targets == sum(sum(example.loss_mask) for example in examples)
    assert abs(loss.item() - expected.item()) < 1e-10
    wanted = gradients(model, expected)
    assert difference(gradients(model, loss), wanted) < 1e-10
    for spoilt in (replace(batch, mask=None), replace(batch, positions=None)):
        assert difference(gradients(model, sft_loss(model, spoilt)[0]), wanted) > 0.01


def test_a_change_in_one_packed_document_changes_no_other():
    model, examples = tiny_model(), random_examples(6, longest=8)
    before = packed_logits(model, pack(examples, 16), examples)
    for i, example in enumerate(examples):
        edited = list(examples)
        edited[i] = Rendered([(token + 1) % 19 for token in example.ids], example.loss_mask)
        after = packed_logits(model, pack(edited, 16), edited)
        for j in range(len(examples)):
            assert torch.equal(before[j], after[j]) == (i != j)


def test_no_first_token_of_a_packed_document_is_a_target():
    everything = [Rendered(example.ids, [1] * len(example.ids))
                  for example in random_examples(9, longest=12)]
    batch = pack(everything, 16)
    assert not batch.loss_mask[batch.positions == 0].any()
    assert batch.loss_mask.sum() == sum(len(example.ids) - 1 for example in everything)
    model = tiny_model()
    loss, _ = sft_loss(model, batch)
    expected = sum(reference_loss(model, example) for example in everything)
    assert abs(loss.item() - expected.item()) < 1e-10


def test_many_turns_in_one_forward_pass_equal_the_turns_trained_one_by_one():
    model = tiny_model(block_size=40)
    mask = conversation((3, 2), (4, 1), (1, 5), (6, 4)).loss_mask
    ids = random_ids(len(mask)).tolist()
    ends = [6, 11, 17, 27]  # of the four answers
    assert ends[-1] == len(ids)
    loss, targets = sft_loss(model, pad([Rendered(ids, mask)]))

    losses, counts = [], []
    for start, end in zip([0, *ends], ends):
        turn = Rendered(ids[:end], [0] * start + mask[start:end])  # only its own answer is a target
        own_loss, count = sft_loss(model, pad([turn]))
        losses.append(own_loss)
        counts.append(count)
    assert counts == [2, 1, 5, 4] and targets == sum(counts)
    assert abs(loss.item() - sum(losses).item()) < 1e-10
    assert difference(gradients(model, loss), gradients(model, sum(losses))) < 1e-10


def numbered(number, seed=0):
    """Examples of several lengths whose first token says which one it is: 100, 101, ..."""
    return [Rendered([100 + i, *example.ids], [0, *example.loss_mask])
            for i, example in enumerate(random_examples(number, seed, longest=15))]


def numbers(micro_batches):
    """Which numbered examples a step holds: a list for each micro-batch."""
    return [(batch.ids[batch.ids >= 100] - 100).tolist() for batch in micro_batches]


def steps_of(number, seed=5, **options):
    """The first steps over 11 numbered examples, 4 in a step."""
    return list(islice(step_batches(numbered(11), 4, seed, **options), number))


def test_every_example_comes_once_in_each_epoch():
    steps = steps_of(9)  # three epochs of 4 + 4 + 3
    for epoch in range(3):
        seen = []
        for step in steps[3 * epoch:3 * epoch + 3]:
            seen += sum(numbers(step), [])
        assert sorted(seen) == list(range(11))
    assert numbers(steps[0]) != numbers(steps[3]), "each epoch has an order of its own"


@pytest.mark.parametrize("options", [
    {}, {"accumulate": 3}, {"block_size": 20}, {"block_size": 20, "accumulate": 2}])
@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 7])
def test_a_run_that_starts_at_a_later_step_sees_what_a_run_from_zero_would_see(start, options):
    whole, late = steps_of(10, **options), steps_of(10 - start, start=start, **options)
    assert len(late) == 10 - start
    for micro_batches, expected in zip(late, whole[start:]):
        assert len(micro_batches) == len(expected)
        for batch, other in zip(micro_batches, expected):
            assert torch.equal(batch.ids, other.ids)
            assert torch.equal(batch.loss_mask, other.loss_mask)
            for ours, theirs in ((batch.positions, other.positions), (batch.mask, other.mask)):
                assert ours is theirs is None or torch.equal(ours, theirs)


@pytest.mark.parametrize("accumulate", [1, 2, 3, 4, 9])
def test_micro_batches_hold_exactly_the_examples_of_the_step(accumulate):
    for micro_batches, whole in zip(steps_of(6, accumulate=accumulate), steps_of(6)):
        examples, parts = numbers(whole)[0], numbers(micro_batches)
        assert len(parts) == min(accumulate, len(examples))
        assert sorted(sum(parts, [])) == sorted(examples)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_packed_steps_hold_the_examples_of_padded_ones():
    def counts(micro_batches):
        return (sum(batch.tokens for batch in micro_batches),
                sum(batch.loss_mask.sum() for batch in micro_batches))

    for packed, padded in zip(steps_of(6, block_size=20), steps_of(6)):
        assert sorted(numbers(packed)[0]) == sorted(numbers(padded)[0])
        assert counts(packed) == counts(padded)
        assert all(batch.ids.shape[1] <= 20 for batch in packed)


def test_the_seed_decides_the_order():
    first, again, other = (
        [numbers(step) for step in steps_of(6, seed=seed)] for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("number, batch_size, accumulate", [
    (0, 4, 1), (3, 0, 1), (3, -1, 1), (3, 4, 0)])
def test_a_step_without_examples_is_refused(number, batch_size, accumulate):
    message = f"a step needs examples.*got {number} examples, batch_size={batch_size}"
    with pytest.raises(ValueError, match=message):
        next(step_batches(numbered(number), batch_size, 0, accumulate=accumulate))
