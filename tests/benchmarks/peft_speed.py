"""Tuning methods beside the library peft, with the same base, data and machine.

    python -m tests.benchmarks.peft_speed
    python -m tests.benchmarks.peft_speed --shape tiny --part step

    step      forward, backward, clipping and optimizer step, ours packed. Peer: peft on
              GPT2LMHeadModel, padded, with torch's AdamW. tests/benchmarks/speed.py has the shapes.
    memory    most bytes that torch allocates at once in such a step, beyond what it held before
    generate  greedy decoding by a model with LoRA merged. Peer: the base.

What is trained starts with the same values on both sides, none of them zero, and the losses of the
first step must agree.
"""

import argparse
import platform
from itertools import islice

import peft
import torch
import transformers

from minisft.batching import pad, step_batches
from minisft.generate import generate
from minisft.loop import train_steps
from minisft.loss import sft_loss
from minisft.memory import peak_bytes
from minisft.optim import AdamW, parameter_groups
from minisft.peft import LoRAConfig, PrefixConfig, PromptConfig, add_peft, delta, merge
from tests.benchmarks.speed import (
    DECAY,
    LR,
    SHAPES,
    check_agreement,
    collate,
    compare,
    examples_for,
    make_models,
    peer_step,
    random_batches,
    reached,
)

P = 20
VIRTUAL = {"task_type": "CAUSAL_LM", "num_virtual_tokens": P}
METHODS = {  # ours, peft's, and how much faster ours has to be
    "lora": (LoRAConfig(r=8, alpha=16.0), peft.LoraConfig(
        task_type="CAUSAL_LM", r=8, lora_alpha=16, fan_in_fan_out=True,
        target_modules=["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]), 1.3),
    "prefix": (PrefixConfig(P), peft.PrefixTuningConfig(**VIRTUAL), 1.2),
    "prompt": (PromptConfig(P), peft.PromptTuningConfig(**VIRTUAL), 1.2),
}
PARTS = ("step", "memory", "generate", "all")


def make_pair(shape, method):
    """(our model, peft's model) with the same base and the same start of what is trained."""
    ours, theirs = make_models(shape)
    ours_config, their_config, _ = METHODS[method]
    ours, theirs = add_peft(ours, ours_config), peft.get_peft_model(theirs, their_config).train()
    for weight in delta(ours).values():
        # LoRA starts with a change of zero, for which a wrong scale would not be noticed.
        weight.add_(torch.randn_like(weight) / 100)
    their_parameters = dict(theirs.named_parameters())
    for name, weight in delta(ours).items():
        their_parameters[name_in_peft(name, method)].data.copy_(weight)
    return ours, theirs


def name_in_peft(name, method):
    """The name that peft gives to one of our trained tensors."""
    if method == "lora":
        layer, letter = name.rsplit(".", 1)
        return f"base_model.model.transformer.{layer}.lora_{letter}.default.weight"
    return "prompt_encoder.default.embedding.weight"


class Pair:
    """Both sides' steps over the same conversations."""

    def __init__(self, shape, method):
        self.ours, self.theirs = make_pair(shape, method)
        self.steps, self.batch_size = shape.steps, shape.batch_size
        self.examples = [self.shorten(example) for example in examples_for(shape)]
        self.batches = random_batches(self.examples, self.batch_size)
        self.optimizer = AdamW(parameter_groups(self.ours, DECAY), betas=(0.9, 0.999))
        self.peer_optimizer = torch.optim.AdamW(
            [parameter for parameter in self.theirs.parameters() if parameter.requires_grad], lr=LR)

    def shorten(self, example):
        """An example cut to the context, which virtual tokens make shorter."""
        most = self.ours.config.block_size
        return type(example)(example.ids[:most], example.loss_mask[:most])

    def check(self):
        """ValueError unless the losses of the first batch agree."""
        with torch.no_grad():
            total, n = sft_loss(self.ours, pad(self.batches[0]))
            peer = self.theirs(**collate(self.batches[0]), use_cache=False).loss
        check_agreement(total.item() / n, peer.item())

    def our_steps(self):
        batches = step_batches(
            self.examples, self.batch_size, 0, block_size=self.ours.config.block_size)
        for _ in train_steps(
                self.ours, islice(batches, self.steps), self.optimizer, lambda step: LR):
            pass

    def peer_steps(self):
        for batch in self.batches:
            peer_step(self.theirs, self.peer_optimizer, batch)


def time_generation(name, shape, repeats):
    """A model with LoRA merged must generate as fast as its base."""
    ours, _ = make_pair(shape, "lora")
    base, _ = make_models(shape)
    for weight in delta(ours).values():
        weight.add_(1e-3)
    merge(ours)
    prompts = [example.ids[:20] for example in examples_for(shape)[:1]]
    compare(f"generate, {name}, LoRA merged / base",
            lambda: generate(ours, prompts, shape.new_tokens),
            lambda: generate(base, prompts, shape.new_tokens), repeats, target=0.95)


def measure_memory(name, method, pair):
    """Print the peak of memory of both sides' steps, in megabytes."""
    mine, peer = (peak_bytes(call) / 1e6 for call in (pair.our_steps, pair.peer_steps))
    print(f"{f'memory, {name}, {method}':55s} {mine:10.1f} {peer:10.1f} {peer / mine:8.2f}x  "
          f"{reached(mine <= peer)}: no higher", flush=True)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Time minisft's tuning methods beside peft's.")
    parser.add_argument("--shape", choices=(*SHAPES, "all"), default="all",
                        help="model sizes (default: all)")
    parser.add_argument("--part", choices=PARTS, default="all",
                        help="what to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=7, metavar="N",
                        help="pairs of timings (default: 7)")
    asked = parser.parse_args(argv)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
          f"peft {peft.__version__}, Python {platform.python_version()}, "
          f"{torch.get_num_threads()} threads, float32")
    print(f"{'median milliseconds, or megabytes':55s} "
          f"{'minisft':>10s} {'peer':>10s} {'ratio':>9s}  target")
    for name in SHAPES if asked.shape == "all" else [asked.shape]:
        shape = SHAPES[name]
        for method, (_, _, target) in METHODS.items():
            pair = Pair(shape, method)
            pair.check()
            if asked.part in ("step", "all"):
                compare(f"step, {name}, {method}", pair.our_steps, pair.peer_steps, asked.repeats,
                        target, shape.steps)
            if asked.part in ("memory", "all"):
                measure_memory(name, method, pair)
        if asked.part in ("generate", "all"):
            time_generation(name, shape, asked.repeats)


if __name__ == "__main__":
    main()
