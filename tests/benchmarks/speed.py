"""How fast minisft is beside transformers and torch, with the same weights, data and machine.

    python -m tests.benchmarks.speed
    python -m tests.benchmarks.speed --shape tiny --part step --repeats 15

    step       forward, backward, clipping and optimizer step over the same conversations. Peer:
               GPT2LMHeadModel with the label -100 for what is not supervised, padded at the right
               with an attention mask, sdpa attention, torch's clip_grad_norm_ and AdamW. At its
               defaults, batches are random; at its best, they are grouped by length, into the same
               batches as ours, and AdamW is fused.
    optimizer  clipping and AdamW step on the same gradients, all of them clipped. Peer: torch's; at
               its best, AdamW is fused.
    generate   greedy decoding with a cache, a fixed number of new tokens. Peer: transformers'
               generate.
    padding    share of slots that hold no token in an epoch of the shipped data, and the time in
               which rows are found for one large batch of it; no peer.
    world      documents of the town's prose that are written in a second, and the share of
               pre-training time spent waiting for them; no peer.

A ratio is the peer's time / minisft's time: the median over repetitions, in which the two take
turns. Before anything is timed, losses and tokens of both sides must agree, so that both do the
same work. There are two shapes:

    tiny        the shipped base's sizes, 32 rows of data/train.jsonl in a step
    gpt2-small  GPT-2's sizes, 8 conversations in a step; lengths are log-normal with sigma 0.6, the
                median of prompts is 120 tokens, that of answers 60, ids are random
"""

import argparse
import copy
import math
import platform
import random
import statistics
import time
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
import transformers
from torch.nn.utils import clip_grad_norm_

from minisft.batching import chosen_for_steps, pack_rows, pad, step_batches
from minisft.conversation import Rendered
from minisft.generate import generate
from minisft.loop import train_steps
from minisft.loss import sft_loss
from minisft.model import GPT, GPTConfig
from minisft.optim import AdamW, clip_grad_norm, parameter_groups
from minisft.pretrain import prose_batches
from minisft.records import read_records, render_record
from minisft.shipped import CONVERSATIONS, TOKENIZER
from minisft.tokenizer import Tokenizer
from minisft.world.prose import document

TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
LR, DECAY, BETAS = 1e-4, 0.01, (0.9, 0.999)  # torch's default decay and betas
PARTS = ("step", "optimizer", "generate", "padding", "world", "all")
CLAIM, OWN = "packed (the claim)", "padded, random batches"
PEERS = {"peer's defaults": {}, "peer's best": {"fused": True}}  # options of torch's AdamW
AGREEMENT = 1e-3  # largest difference of two losses that count as the same


@dataclass(frozen=True)
class Shape:
    """Sizes of a model and of its work."""

    config: GPTConfig
    batch_size: int  # conversations in a step
    steps: int  # in one repetition
    prompts: tuple  # batch sizes of generation
    new_tokens: int
    generation_target: float  # times as fast as the peer


SHAPES = {
    "tiny": Shape(
        GPTConfig(vocab_size=2560, block_size=256, n_layer=3, n_head=4, n_embd=128),
        batch_size=32, steps=4, prompts=(1, 32), new_tokens=64, generation_target=3.0),
    "gpt2-small": Shape(
        GPTConfig(vocab_size=50257 + 5, block_size=1024, n_layer=12, n_head=12, n_embd=768),
        batch_size=8, steps=1, prompts=(1, 8), new_tokens=32, generation_target=1.0),
}


# Both sides


def shipped_examples():
    """The training rows that ship with the project, rendered."""
    tokenizer = Tokenizer.load(TOKENIZER)
    records, _ = read_records([CONVERSATIONS])
    return [render_record(record, tokenizer) for record in records]


def synthetic_examples(number, config, seed=0):
    """Conversations of random ids, of the lengths that this file's docstring states."""
    rng, examples = random.Random(seed), []

    def draw_length(median):
        return max(2, round(rng.lognormvariate(math.log(median), 0.6)))

    for _ in range(number):
        prompt, answer = draw_length(120), draw_length(60)
        ids = [rng.randrange(config.vocab_size) for _ in range(prompt + answer)]
        mask = [0] * prompt + [1] * answer
        examples.append(Rendered(ids[:config.block_size], mask[:config.block_size]))
    return examples


def examples_for(shape):
    """The conversations of one repetition."""
    number = shape.batch_size * shape.steps
    if shape is SHAPES["tiny"]:
        return random.Random(0).sample(shipped_examples(), number)
    return synthetic_examples(number, shape.config)


def make_models(shape):
    """(our model, transformers' model) with the same random weights."""
    torch.manual_seed(0)
    ours, config = GPT(shape.config), shape.config
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=config.vocab_size, n_positions=config.block_size, n_layer=config.n_layer,
        n_head=config.n_head, n_embd=config.n_embd, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=None, eos_token_id=None, attn_implementation="sdpa"))
    weights = {name: weight.T if name.endswith(TRANSPOSED) else weight
               for name, weight in ours.state_dict().items()}
    theirs.transformer.load_state_dict(weights)
    return ours, theirs


def alternate(ours, theirs, repeats, before):
    """Seconds of each call, taken in turn: [list of ours, list of theirs].

    The first call of each does not count. before: called before each call, and not timed.
    """
    seconds = [], []
    for _ in range(repeats + 1):
        for call, kept in zip((ours, theirs), seconds):
            before()
            began = time.perf_counter()
            call()
            kept.append(time.perf_counter() - began)
    return [kept[1:] for kept in seconds]


def compare(what, ours, theirs, repeats, target=None, units=1, before=lambda: None):
    """Time two calls in turn and print a row of the table. units: steps in a call."""
    our_seconds, their_seconds = alternate(ours, theirs, repeats, before)
    ratio = statistics.median(b / a for a, b in zip(our_seconds, their_seconds))
    mine, peer = (1000 * statistics.median(seconds) / units
                  for seconds in (our_seconds, their_seconds))
    verdict = f"{reached(ratio >= target)}: {target:.2f}x" if target else ""
    print(f"{what:55s} {mine:10.2f} {peer:10.2f} {ratio:8.2f}x  {verdict}", flush=True)


def reached(is_reached):
    return "reached" if is_reached else "MISSED"


# A step


def collate(examples):
    """Rows as transformers wants them: padded at the right, -100 where nothing is supervised."""
    batch = pad(examples)
    lengths = torch.tensor([len(example.ids) for example in examples])
    attention_mask = (torch.arange(batch.ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": batch.ids, "attention_mask": attention_mask,
            "labels": batch.ids.masked_fill(~batch.loss_mask, -100)}


def peer_step(model, optimizer, examples):
    """One step of transformers and torch; returns the loss."""
    loss = model(**collate(examples), use_cache=False).loss
    loss.backward()
    clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def random_batches(examples, batch_size):
    """Batches of examples that are shuffled and no more."""
    order = random.Random(1).sample(examples, len(examples))
    return [order[i:i + batch_size] for i in range(0, len(order), batch_size)]


def peer_batches(shape, examples):
    """The batches of each peer in PEERS, which hold the same conversations."""
    lengths = [len(example.ids) for example in examples]
    grouped = islice(chosen_for_steps(lengths, shape.batch_size, 0), shape.steps)
    return (random_batches(examples, shape.batch_size),
            [[examples[i] for i in chosen] for chosen in grouped])


def layouts_of(shape, examples):
    """Our ways to lay out the same conversations: {name: function that returns the batches}."""
    shuffled = random_batches(examples, shape.batch_size)

    def padded():
        return ([pad(batch)] for batch in shuffled)

    def in_steps(block_size=None):
        batches = step_batches(examples, shape.batch_size, 0, block_size=block_size)
        return islice(batches, shape.steps)

    layouts = {OWN: padded, "padded in buckets": in_steps,
               CLAIM: partial(in_steps, shape.config.block_size)}
    if shape.steps == 1:  # then the only bucket is the only random batch
        del layouts[OWN]
    return layouts


def check_same_work(shape, examples):
    """ValueError unless both sides have the same tokens and losses.

    They are compared on all conversations at the start, for every layout and every peer; and losses
    in each step while both sides train on the same batches.
    """
    ours, theirs = make_models(shape)
    peers, work = peer_batches(shape, examples), []  # work: (tokens, sum of losses)
    with torch.no_grad():
        for batches in peers:
            inputs = [collate(batch) for batch in batches]
            tokens = sum(batch["attention_mask"].sum().item() for batch in inputs)
            targets = [sum(sum(example.loss_mask) for example in batch) for batch in batches]
            losses = [theirs(**batch).loss.item() for batch in inputs]
            work.append((tokens, sum(loss * n for loss, n in zip(losses, targets))))
        for layout in layouts_of(shape, examples).values():
            batches = [batch for micro_batches in layout() for batch in micro_batches]
            losses = [sft_loss(ours, batch)[0].item() for batch in batches]
            work.append((sum(batch.tokens for batch in batches), sum(losses)))
    expected_tokens, expected_loss = work[0]
    for tokens, loss in work:
        if tokens != expected_tokens:
            raise ValueError(f"the two sides do different work: {tokens} and {expected_tokens} "
                             "tokens")
        check_agreement(loss / sum(targets), expected_loss / sum(targets))

    for batches, options in zip(peers, PEERS.values()):
        ours, theirs = make_models(shape)
        theirs.train()
        optimizer = AdamW(ours.parameters(), betas=BETAS, weight_decay=DECAY)
        peer_optimizer = torch.optim.AdamW(theirs.parameters(), lr=LR, **options)
        steps = train_steps(ours, ([pad(batch)] for batch in batches), optimizer, lambda step: LR)
        for batch, record in zip(batches, steps):
            check_agreement(record.loss, peer_step(theirs, peer_optimizer, batch))


def check_agreement(loss, peer):
    """ValueError unless two losses agree."""
    if not abs(loss - peer) <= AGREEMENT:
        raise ValueError(f"the two sides do different work: their losses are {loss} and {peer}")


def time_steps(name, shape, repeats):
    """Our ways to lay out the same conversations against the peer at its defaults and its best."""
    examples = examples_for(shape)
    check_same_work(shape, examples)
    ours, theirs = make_models(shape)
    theirs.train()
    optimizer = AdamW(parameter_groups(ours, DECAY), betas=BETAS)

    def our_steps(batches):
        for _ in train_steps(ours, batches(), optimizer, lambda step: LR):
            pass

    def peer_steps(peer_optimizer, batches):
        for batch in batches:
            peer_step(theirs, peer_optimizer, batch)

    for (peer, options), their_batches in zip(PEERS.items(), peer_batches(shape, examples)):
        peer_optimizer = torch.optim.AdamW(theirs.parameters(), lr=LR, **options)
        for layout, batches in layouts_of(shape, examples).items():
            if options and layout == OWN:
                continue  # at its best, the peer has other batches
            compare(f"step, {name}, {layout}, {peer}", partial(our_steps, batches),
                    partial(peer_steps, peer_optimizer, their_batches), repeats,
                    target=1.5 if layout == CLAIM else None, units=shape.steps)


# The optimizer


def time_optimizer(name, shape, peer, repeats):
    """Clipping and AdamW on the same gradients, which are put back before each call."""
    torch.manual_seed(0)
    ours = GPT(shape.config)
    theirs = copy.deepcopy(ours)
    gradients = [torch.randn_like(parameter) for parameter in ours.parameters()]
    optimizer = AdamW(parameter_groups(ours, DECAY), lr=LR, betas=BETAS)
    peer_optimizer = torch.optim.AdamW(theirs.parameters(), lr=LR, **PEERS[peer])

    def restore_gradients():
        for model in (ours, theirs):
            for parameter, gradient in zip(model.parameters(), gradients):
                parameter.grad = gradient.clone()

    def our_step():
        clip_grad_norm(optimizer.parameters, 1.0)
        optimizer.step()

    def peer_step():
        clip_grad_norm_(theirs.parameters(), 1.0)
        peer_optimizer.step()

    compare(f"optimizer, {name}, {peer}", our_step, peer_step, repeats,
            target=1 / 3 if PEERS[peer] else 1 / 1.05, before=restore_gradients)


# Generation


def time_generation(name, shape, batch_size, repeats):
    """Greedy decoding from prompts of several lengths; the peer wants them padded at the left."""
    ours, theirs = make_models(shape)
    theirs.eval()
    examples = examples_for(shape)[:batch_size]
    prompts = [example.ids[:max(1, example.loss_mask.index(1))] for example in examples]
    width = max(map(len, prompts))
    padding = [[0] * (width - len(prompt)) for prompt in prompts]
    ids = torch.tensor([empty + prompt for empty, prompt in zip(padding, prompts)])
    mask = torch.tensor([empty + [1] * len(prompt) for empty, prompt in zip(padding, prompts)])

    def our_tokens():
        return generate(ours, prompts, shape.new_tokens)

    def peer_tokens():
        with torch.no_grad():
            tokens = theirs.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=shape.new_tokens,
                do_sample=False, eos_token_id=None, pad_token_id=0)
        return tokens[:, width:].tolist()

    if our_tokens() != peer_tokens():
        raise ValueError(f"the two sides generate different tokens at shape {name}")
    compare(f"generate, {name}, batch {batch_size}, {shape.new_tokens} new tokens",
            our_tokens, peer_tokens, repeats, target=shape.generation_target)


# Padding


def measure_padding(batch_size=32, large=10000):
    """Print the share of empty slots in an epoch of the shipped data, for both layouts.

    Also the time that packing takes to find the rows of one batch of `large` examples.
    """
    examples, block_size = shipped_examples(), SHAPES["tiny"].config.block_size
    steps = -(-len(examples) // batch_size)
    layouts = (("padded in length buckets", None, 0.10), ("packed", block_size, 0.03))
    for layout, row_length, most in layouts:
        epoch = islice(step_batches(examples, batch_size, seed=0, block_size=row_length), steps)
        batches = [batch for micro_batches in epoch for batch in micro_batches]
        tokens = sum(batch.tokens for batch in batches)
        empty = 1 - tokens / sum(batch.ids.numel() for batch in batches)
        print(f"{'padding, ' + layout:55s} {empty:32.2%}  "
              f"{reached(empty < most)}: below {most:.0%}", flush=True)

    lengths = [len(example.ids) for example in random.Random(0).choices(examples, k=large)]
    began = time.process_time()
    pack_rows(lengths, block_size)
    seconds = time.process_time() - began
    print(f"{f'padding, seconds to pack {large:,} examples':55s} {seconds:32.2f}  "
          f"{reached(seconds < 1)}: below 1", flush=True)


# The world


def measure_world(documents=5000, steps=40):
    """Print how fast prose is written on one core, and how long pre-training waits for it."""
    rng, began = random.Random(0), time.process_time()
    for _ in range(documents):
        document(rng)
    rate = documents / (time.process_time() - began)
    print(f"{'world, documents of prose a second':55s} {rate:32,.0f}  "
          f"{reached(rate >= 5000)}: 5,000")

    torch.manual_seed(0)
    model = GPT(SHAPES["tiny"].config)
    batches = prose_batches(Tokenizer.load(TOKENIZER), 32, 256, seed=0, start=1000)
    optimizer = AdamW(parameter_groups(model, DECAY), betas=BETAS)
    records = list(islice(train_steps(model, batches, optimizer, lambda step: LR), steps))[1:]
    share = sum(record.waited for record in records) / sum(record.seconds for record in records)
    print(f"{'world, share of pre-training that waits for data':55s} {share:32.2%}  "
          f"{reached(share < 0.03)}: below 3%", flush=True)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Time minisft beside transformers and torch.")
    parser.add_argument("--shape", choices=(*SHAPES, "all"), default="all",
                        help="model sizes (default: all)")
    parser.add_argument("--part", choices=PARTS, default="all",
                        help="what to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=7, metavar="N",
                        help="pairs of timings (default: 7)")
    asked = parser.parse_args(argv)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
          f"Python {platform.python_version()}, {torch.get_num_threads()} threads, float32, "
          f"{asked.repeats} repetitions")
    print(f"{'median milliseconds':55s} {'minisft':>10s} {'peer':>10s} {'ratio':>9s}  target")
    for name in SHAPES if asked.shape == "all" else [asked.shape]:
        shape = SHAPES[name]
        if asked.part in ("step", "all"):
            time_steps(name, shape, asked.repeats)
        if asked.part in ("optimizer", "all"):
            for peer in PEERS:
                time_optimizer(name, shape, peer, asked.repeats)
        if asked.part in ("generate", "all"):
            for batch_size in shape.prompts:
                time_generation(name, shape, batch_size, asked.repeats)
    if asked.part in ("padding", "all"):
        measure_padding()
    if asked.part in ("world", "all"):
        measure_world()


if __name__ == "__main__":
    main()
