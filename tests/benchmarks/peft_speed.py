"""Tuning methods beside the library peft: same base weights, same conversations, same machine; and LoRA's quality.

    python -m tests.benchmarks.peft_speed
    python -m tests.benchmarks.peft_speed --shape tiny --part step
    python -m tests.benchmarks.peft_speed --part task            LoRA against full tuning on the shipped data

    step      forward, backward, clipping and optimizer step, ours packed. Peer: peft on GPT2LMHeadModel, padded, with
              torch's AdamW, as in tests/benchmarks/speed.py, which has the shapes too.
    memory    most bytes that torch has allocated at once in such a step, beyond what stands before it.
    generate  greedy generation of a model with LoRA merged. Peer: the base.
    task      exact match on new passages after the default run, LoRA (rank 32) - full, over five seeds; the rate of
              each is the best of a grid on rows held back from the training data.

What is trained starts with the same values on both sides, none of them zero, and the losses of the first step must
agree.
"""

import argparse
import math
import platform
from itertools import islice
from statistics import mean

import peft
import torch
import transformers

from minisft.batching import pad, step_batches
from minisft.checkpoint import load_model
from minisft.conversation import Conversation
from minisft.evaluate import paired_bootstrap
from minisft.generate import generate
from minisft.lesson import Trial, peak_bytes, right, tuned
from minisft.loop import train_steps
from minisft.loss import sft_loss
from minisft.optim import AdamW, parameter_groups
from minisft.peft import LoRAConfig, PrefixConfig, PromptConfig, add_peft, delta, merge
from minisft.records import read_records, render_record
from minisft.shipped import shipped
from minisft.train import TRAIN_FILES
from tests.benchmarks.speed import (
    AGREEMENT,
    DECAY,
    LR,
    SHAPES,
    collate,
    compare,
    examples_for,
    make_models,
    peer_step,
    random_batches,
)

P = 20
METHODS = {  # ours, peft's, and how much faster ours has to be
    "lora": (LoRAConfig(r=8, alpha=16.0), peft.LoraConfig(
        task_type="CAUSAL_LM", r=8, lora_alpha=16, fan_in_fan_out=True,
        target_modules=["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]), 1.3),
    "prefix": (PrefixConfig(P), peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=P), 1.2),
    "prompt": (PromptConfig(P), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=P), 1.2),
}


def make_pair(shape, method):
    """(our model, peft's model) with the same base and the same start of what is trained."""
    ours, theirs = make_models(shape)
    ours_config, their_config, _ = METHODS[method]
    ours, theirs = add_peft(ours, ours_config), peft.get_peft_model(theirs, their_config).train()
    for weight in delta(ours).values():
        weight.add_(torch.randn_like(weight) / 100)  # LoRA begins as nothing, which any scale would agree with
    library = {name: parameter for name, parameter in theirs.named_parameters() if parameter.requires_grad}
    for name, weight in delta(ours).items():
        if method == "lora":
            layer, letter = name.rsplit(".", 1)
            library[f"base_model.model.transformer.{layer}.lora_{letter}.default.weight"].data.copy_(weight)
        else:
            library["prompt_encoder.default.embedding.weight"].data.copy_(weight)
    return ours, theirs


class Pair:
    """Both sides' steps over the same conversations."""

    def __init__(self, shape, method):
        self.ours, self.theirs = make_pair(shape, method)
        examples, self.size = examples_for(shape), shape.batch_size
        self.steps, self.examples = shape.steps, [self.shorten(example) for example in examples]
        self.batches = random_batches(self.examples, self.size)
        self.optimizer = AdamW(parameter_groups(self.ours, DECAY), betas=(0.9, 0.999))
        self.peer_optimizer = torch.optim.AdamW(
            [parameter for parameter in self.theirs.parameters() if parameter.requires_grad], lr=LR)

    def shorten(self, example):
        most = self.ours.config.block_size
        return type(example)(example.ids[:most], example.loss_mask[:most])

    def check(self):
        """ValueError unless the losses of the first batch agree."""
        with torch.no_grad():
            total, n = sft_loss(self.ours, pad(self.batches[0]))
        mine, peer = total.item() / n, self.peer_loss(self.batches[0])
        if not abs(mine - peer) <= AGREEMENT:
            raise ValueError(f"the two sides do different work: their losses are {mine} and {peer}")

    @torch.no_grad()
    def peer_loss(self, batch):
        return self.theirs(**collate(batch), use_cache=False).loss.item()

    def our_steps(self):
        windows = islice(step_batches(self.examples, self.size, 0, block_size=self.ours.config.block_size), self.steps)
        for _ in train_steps(self.ours, windows, self.optimizer, lambda step: LR):
            pass

    def peer_steps(self):
        for batch in self.batches:
            peer_step(self.theirs, self.peer_optimizer, batch)


def time_generation(name, shape, repeats):
    ours, _ = make_pair(shape, "lora")
    base, _ = make_models(shape)
    for weight in delta(ours).values():
        weight.add_(1e-3)
    merge(ours)
    prompts = [example.ids[:20] for example in examples_for(shape)[:1]]
    compare(f"generate, {name}, LoRA merged / base", lambda: generate(ours, prompts, shape.new_tokens),
            lambda: generate(base, prompts, shape.new_tokens), repeats, target=0.95)


def measure_task(seeds=5):
    """Print exact match on new passages, full tuning and LoRA, for each seed, and the interval of the difference."""
    records = read_records(TRAIN_FILES)[0]
    chosen_on = [record for record in records[19::20] if isinstance(record.item, Conversation)]
    passages = read_records([shipped("data/new_passage.jsonl")])[0]

    base = shipped("checkpoints/base.pt")
    _, tokenizer = load_model(base)

    def score(config, rate, rows, asked, seed):
        examples = [render_record(record, tokenizer) for record in rows]
        model, *_ = tuned(base, config, Trial(examples, [], [], math.ceil(len(examples) / 32) * 2, 32), rate, seed)
        return right(model, tokenizer, asked)

    arms = {"full": (None, (2.5e-4, 5e-4, 1e-3)), "LoRA": (LoRAConfig(r=32, alpha=32.0), (2.5e-3, 5e-3, 1e-2))}
    kept, best, scores = [row for i, row in enumerate(records) if i % 20 != 19], {}, {name: [] for name in arms}
    for name, (config, rates) in arms.items():
        shares = {}
        for rate in rates:
            shares[rate] = mean(score(config, rate, kept, chosen_on, seed=100))
            print(f"{name}, rate {rate:g}, rows held back: {shares[rate]:.1%}", flush=True)
        best[name] = max(shares, key=shares.get)
    for seed in range(seeds):
        for name, (config, _) in arms.items():
            scores[name].append(score(config, best[name], records, passages, seed))
            print(f"{name}, seed {seed}, new passages: {mean(scores[name][-1]):.1%}", flush=True)
    gap, low, high = paired_bootstrap(scores["full"], scores["LoRA"])
    print(f"LoRA (rate {best['LoRA']:g}) - full (rate {best['full']:g}): "
          f"{100 * gap:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]  "
          f"{'reached' if gap >= -0.02 else 'MISSED'}: -2 or better "
          f"({'all' if low >= -0.02 else 'not all'} of the interval)")


def main(argv=None):
    parser = argparse.ArgumentParser(description="Time minisft's tuning methods beside peft's.")
    parser.add_argument("--shape", choices=(*SHAPES, "all"), default="all", help="model sizes (default: all)")
    parser.add_argument("--part", choices=("step", "memory", "generate", "task", "all"), default="all",
                        help="what to measure (default: all but task, which takes long)")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="pairs of timings (default: 7)")
    asked = parser.parse_args(argv)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}, "
          f"Python {platform.python_version()}, {torch.get_num_threads()} threads, float32")
    if asked.part == "task":
        measure_task()
        return
    print(f"{'median milliseconds, or megabytes':55s} {'minisft':>10s} {'peer':>10s} {'ratio':>9s}  target")
    for name in SHAPES if asked.shape == "all" else [asked.shape]:
        shape = SHAPES[name]
        for method, (_, _, target) in METHODS.items():
            pair = Pair(shape, method)
            pair.check()
            if asked.part in ("step", "all"):
                compare(f"step, {name}, {method}", pair.our_steps, pair.peer_steps, asked.repeats, target, shape.steps)
            if asked.part in ("memory", "all"):
                mine, peer = (peak_bytes(call) / 1e6 for call in (pair.our_steps, pair.peer_steps))
                print(f"{f'memory, {name}, {method}':55s} {mine:10.1f} {peer:10.1f} {peer / mine:8.2f}x  "
                      f"{'reached' if mine <= peer else 'MISSED'}: no higher", flush=True)
        if asked.part in ("generate", "all"):
            time_generation(name, shape, asked.repeats)


if __name__ == "__main__":
    main()
