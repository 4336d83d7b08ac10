"""Make a base model: next-token prediction on the town's prose, or on your own text.

    L = - mean over all tokens i of log p(id_i | id_<i)

The loop is the one of instruction tuning; only the data and the mask differ: every token is a target. The world's
prose has no end, so no document is seen twice; documents share rows, each isolated from the others, because a model
that trains on pieces cut anywhere out of a stream never learns to look back.

    python -m minisft.pretrain --out checkpoints/my-base

Notes: 结合预训练数据与指令微调数据 (pre-training data and instruction data).
"""

import json
import math
import platform
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote

import torch

from minisft.batching import cut_text, pack, step_batches
from minisft.checkpoint import save_model, write_atomically
from minisft.config import ROOT, at_least, option, parse, shipped
from minisft.conversation import render_text
from minisft.evaluate import mean_loss, pick_device
from minisft.loop import NonFiniteLoss
from minisft.model import GPT, GPTConfig
from minisft.optim import AdamW, parameter_groups, warmup_cosine
from minisft.records import read_records, render_record
from minisft.run import check_unused, new_folder, newest_folder, read_log, resumed_settings, train_in
from minisft.tokenizer import Tokenizer
from minisft.world.probe import recall_probe
from minisft.world.prose import document, refrain, roll_call

PIECES = 2  # a step is cut into this many pieces, which is faster on a CPU: their activations fit its cache


@dataclass(frozen=True)
class PretrainConfig:
    data: tuple = option((), "your own files of text rows; without them, the town's prose, made as it is needed")
    tokenizer: str = option(shipped("data/tokenizer.json"), "tokenizer file")
    out: str = option("", "run folder; by default checkpoints/base-1, base-2, ...")
    steps: int = option(3200, "optimizer steps")
    batch_size: int = option(32, "documents in a step")
    lr: float = option(2e-3, "highest learning rate; warm-up over 100 steps, then cosine to a tenth of it")
    weight_decay: float = option(0.1, "decay of matrices per step, times the learning rate")
    n_layer: int = option(3, "layers")
    n_head: int = option(4, "attention heads")
    n_embd: int = option(128, "channels")
    block_size: int = option(256, "longest sequence, in tokens")
    seed: int = option(0, "random seed of weights and data")
    resume: bool = option(False, "go on with the run in --out, or with the newest one")
    save_every: int = option(250, "steps between saved states")
    device: str = option("auto", "auto, cpu, cuda, mps, ...: where to compute; auto takes a GPU if there is one")
    dtype: str = option("float32", "number format of the forward pass", choices=("float32", "bfloat16"))

    def __post_init__(self):
        at_least(self, steps=1, batch_size=1, n_layer=1, n_head=1, n_embd=1, block_size=8, save_every=1, lr=0)


def share_of_songs(step):
    """How many documents of a step repeat themselves beyond the mixture's share: 60%, then less, none after 500.

    >>> share_of_songs(0), share_of_songs(250), share_of_songs(375), share_of_songs(500)
    (0.6, 0.6, 0.3, 0.0)
    """
    return 0.6 * min(1.0, max(0.0, 2 - step / 250))


def prose_windows(tokenizer, batch_size, block_size, seed, start=0):
    """Windows of the town's prose without end; what a step sees depends on the seed and its number alone.

    The first steps hold many refrains and roll calls. A song that repeats its line rewards looking back at every
    word, a portrait only at its values; having learnt it from the one, the model has it for the other.
    """
    step = start
    while True:
        rng = random.Random(f"prose step {seed} {step}")
        sung = share_of_songs(step)
        kinds = [rng.choice((refrain, roll_call)) if rng.random() < sung else document for _ in range(batch_size)]
        documents = [render_text(kind(rng), tokenizer) for kind in kinds]
        pieces = [piece for rendered in documents for piece in cut_text(rendered, block_size)]
        yield [pack(part, block_size) for part in (pieces[i::PIECES] for i in range(PIECES)) if part]
        step += 1


def text_windows(examples, config, start=0):
    """Windows over the user's own documents, epoch after epoch."""
    return step_batches(examples, config.batch_size, config.seed, accumulate=PIECES, block_size=config.block_size,
                        start=start)


def describe_machine(device):
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{kind}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def pretrain(config):
    """Train a base model and write it, with its figures, into a run folder; returns the folder."""
    folder = Path(config.out) if config.out else None
    state = None
    if config.resume:
        folder = folder or newest_folder(ROOT / "checkpoints", "base")
        state = resumed_settings(folder, config)
        config = PretrainConfig(**state["settings"]["config"] | {"resume": True, "device": config.device})
    else:
        folder = folder or new_folder(ROOT / "checkpoints", "base")
        check_unused(folder)
    device, tokenizer = pick_device(config.device), Tokenizer.load(config.tokenizer)
    torch.manual_seed(config.seed)
    model = GPT(GPTConfig(tokenizer.vocab_size, config.block_size, config.n_layer, config.n_head, config.n_embd))
    model.to(device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; run folder {folder}")

    if config.data:
        records, _ = read_records(config.data)
        examples = [piece for record in records
                    for piece in cut_text(render_record(record, tokenizer), config.block_size)]

        def windows_from(start):
            return text_windows(examples, config, start)
    else:
        def windows_from(start):
            return prose_windows(tokenizer, config.batch_size, config.block_size, config.seed, start)

    optimizer = AdamW(parameter_groups(model, config.weight_decay), betas=(0.9, 0.98))
    lr_at = warmup_cosine(config.lr, config.steps, warmup=min(100, config.steps // 10), floor=config.lr / 10)
    settings = {"config": asdict(config)}
    if not train_in(folder, model, optimizer, windows_from, lr_at, config.steps, settings, state, config.save_every,
                    dtype=config.dtype):
        print(f"stopped and saved; go on with: python -m minisft.pretrain --resume --out {quote(str(folder))}")
        return folder
    save_model(folder / "model.pt", model, tokenizer)
    figures = base_figures(model, tokenizer, folder, config, device)
    write_atomically(folder / "figures.json", (json.dumps(figures, indent=2) + "\n").encode())
    print(json.dumps(figures, indent=2))
    return folder


def base_figures(model, tokenizer, folder, config, device):
    """What is to be known of a base model: how it was made, and how well it predicts and recalls."""
    log, defaults = read_log(folder), PretrainConfig()
    flags = [f"--{name.replace('_', '-')} {value}" for name, value in asdict(config).items()
             if value != getattr(defaults, name) and name not in ("resume", "out", "device")]
    figures = {
        "command": " ".join(["python -m minisft.pretrain", *flags]), "seed": config.seed, "steps": len(log),
        "parameters": sum(p.numel() for p in model.parameters()), "tokens": sum(row["tokens"] for row in log),
        "minutes": round(sum(row["seconds"] for row in log) / 60, 1), "machine": describe_machine(device),
        "first_losses": [row["loss"] for row in log[:3]], "last_loss": log[-1]["loss"],
    }
    if config.data:  # the town's probes say nothing of a model of other text
        return figures
    valid, _ = read_records([shipped("data/prose_valid.jsonl")])
    loss = mean_loss(model, [piece for record in valid
                             for piece in cut_text(render_record(record, tokenizer), config.block_size)])
    return figures | {
        "held_out_loss": round(loss, 4), "held_out_perplexity": round(math.exp(loss), 3),
        "recall_probe": recall_probe(model, tokenizer),
        "recall_probe_two_residents": recall_probe(model, tokenizer, shapes=((2, 1), (2, 2))),
    }


def main(argv=None):
    config = parse(PretrainConfig, argv, "pretrain", "Make a base model from the town's prose or your own text.")
    try:
        pretrain(config)
    except (ValueError, NonFiniteLoss) as error:
        raise SystemExit(f"minisft.pretrain: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nminisft.pretrain: broken off; go on from the last saved step with --resume") from None


if __name__ == "__main__":
    main()
