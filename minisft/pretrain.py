"""Make a base model: next-token prediction on the town's prose, or on your own text.

    L = - mean over all tokens i of log p(id_i | id_<i)

The loop is the one of instruction tuning; only the data and the mask differ: every token is a target. The world's
prose has no end, so no document is seen twice; documents share rows, each isolated from the others, because a model
that trains on pieces cut anywhere out of a stream never learns to look back.

    python -m minisft.pretrain --out checkpoints/my-base

Notes: 结合预训练数据与指令微调数据 (pre-training data and instruction data).
"""

import json
import platform
import random
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from minisft.batching import cut_text, pack, prepare, step_batches
from minisft.checkpoint import save_model, write_atomically
from minisft.config import ROOT, at_least, option, parse, shipped
from minisft.conversation import render_text
from minisft.evaluate import mean_loss, perplexity, pick_device
from minisft.loop import NonFiniteLoss
from minisft.model import GPT, GPTConfig
from minisft.optim import AdamW, parameter_groups, warmup_cosine
from minisft.records import read_records
from minisft.run import (
    check_unused,
    fingerprint,
    new_folder,
    newest_folder,
    read_log,
    resumed_settings,
    train_in,
)
from minisft.tokenizer import Tokenizer
from minisft.world.probe import recall_probe
from minisft.world.prose import document, song

PIECES = 4  # a step is cut into this many pieces, which is faster on a CPU: their activations fit its cache


@dataclass(frozen=True)
class PretrainConfig:
    data: tuple = option((), "your own files of text rows; without them, the town's prose, made as it is needed")
    tokenizer: str = option(shipped("data/tokenizer.json"), "tokenizer file")
    out: str = option("", "run folder; by default checkpoints/base-1, base-2, ...")
    steps: int = option(12000, "optimizer steps")
    batch_size: int = option(32, "documents in a step")
    lr: float = option(2e-3, "highest learning rate; warm-up over 100 steps (a tenth of a shorter run), then cosine "
                                   "to a tenth of it")
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
        at_least(self, steps=1, batch_size=1, n_layer=1, n_head=1, n_embd=1, block_size=8, save_every=1, lr=0,
                 weight_decay=0)


def draw_kind(rng, step):
    """What kind of document a step's next one is: a curriculum from songs to ordinary prose.

    At first every text is a song, in which all there is to learn is to look up what was said before. From step 200
    songs give way to the mixture; from step 500 on it is all there is.
    """
    return document if rng.random() < (step - 200) / 300 else song


def prose_windows(tokenizer, batch_size, block_size, seed, start=0):
    """Windows of the town's prose without end; what a step sees depends on the seed and its number alone."""
    step = start
    while True:
        rng = random.Random(f"prose step {seed} {step}")
        documents = [render_text(draw_kind(rng, step)(rng), tokenizer) for _ in range(batch_size)]
        pieces = [piece for rendered in documents for piece in cut_text(rendered, block_size)]
        yield [pack(part, block_size) for part in (pieces[i::PIECES] for i in range(PIECES)) if part]
        step += 1


def text_windows(examples, config, start=0):
    """Windows over the user's own documents, epoch after epoch."""
    return step_batches(examples, config.batch_size, config.seed, accumulate=PIECES, block_size=config.block_size,
                        start=start)


def read_texts(paths, tokenizer, block_size):
    """Rendered pieces of the texts in some files; ValueError for rows that are conversations."""
    records, _ = read_records(paths)
    for record in records:
        if not isinstance(record.item, str):
            raise ValueError(f"{record.source}: a conversation; expected rows of text, {{\"text\": ...}}, to pre-train "
                             "on; tune on conversations with `python -m minisft.train`")
    return prepare(records, tokenizer, block_size)[0]


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

    examples = []
    if config.data:
        examples = read_texts(config.data, tokenizer, config.block_size)

        def windows_from(start):
            return text_windows(examples, config, start)
    else:
        def windows_from(start):
            return prose_windows(tokenizer, config.batch_size, config.block_size, config.seed, start)

    optimizer = AdamW(parameter_groups(model, config.weight_decay), betas=(0.9, 0.98))
    lr_at = warmup_cosine(config.lr, config.steps, warmup=min(100, config.steps // 10), floor=config.lr / 10)
    settings = {"config": asdict(config), "data": fingerprint([tokenizer.to_dict(), *examples])}
    if state and state["settings"]["data"] != settings["data"]:
        raise ValueError(f"data or tokenizer are not those that the run in {folder} began with; start a new run")
    if not train_in(folder, model, optimizer, windows_from, lr_at, config.steps, settings, state, config.save_every,
                    dtype=config.dtype):
        print(f"stopped and saved; go on with: python -m minisft.pretrain --resume --out {shlex.quote(str(folder))}")
        return folder
    save_model(folder / "model.pt", model, tokenizer)
    figures = base_figures(model, tokenizer, folder, config, device)
    write_atomically(folder / "figures.json", (json.dumps(figures, indent=2) + "\n").encode())
    print(json.dumps(figures, indent=2))
    return folder


def base_figures(model, tokenizer, folder, config, device):
    """What is to be known of a base model: how it was made, and how well it predicts and recalls."""
    log = read_log(folder)
    asked = {name: value if isinstance(value, tuple) else (value,) for name, value in asdict(config).items()
             if value not in ((), "") and name not in ("resume", "out", "device", "save_every")}
    flags = [f"--{name.replace('_', '-')} {shlex.join(map(str, value))}" for name, value in asked.items()]
    figures = {
        "command": " ".join(["python -m minisft.pretrain", *flags]), "seed": config.seed, "steps": len(log),
        "parameters": sum(p.numel() for p in model.parameters()), "tokens": sum(row["tokens"] for row in log),
        "minutes": round(sum(row["seconds"] for row in log) / 60, 1), "machine": describe_machine(device),
        "first_losses": [row["loss"] for row in log[:3]], "last_loss": log[-1]["loss"],
    }
    if config.data:  # the town's probes say nothing of a model of other text
        return figures
    loss = mean_loss(model, read_texts([shipped("data/prose_valid.jsonl")], tokenizer, config.block_size))
    return figures | {
        "held_out_loss": round(loss, 4), "held_out_perplexity": round(perplexity(loss), 3),
        "recall_probe": recall_probe(model, tokenizer),
        "recall_probe_two_residents": recall_probe(model, tokenizer, shapes=((2, 1), (2, 2))),
    }


def main(argv=None):
    config = parse(PretrainConfig, argv, "pretrain", "Make a base model from the town's prose or your own text.")
    try:
        pretrain(config)
    except (ValueError, OSError, NonFiniteLoss) as error:
        raise SystemExit(f"minisft.pretrain: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nminisft.pretrain: broken off; a run that had begun goes on with --resume") from None


if __name__ == "__main__":
    main()
