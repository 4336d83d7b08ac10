"""Make a base model: next-token prediction on the town's prose, or on your own text.

    L = - mean over all tokens i of log p(id_i | id_<i)

The loop is the one of instruction tuning; only the data and the mask differ: every token is a target. The world's
prose has no end, so no document is seen twice; documents share rows, each isolated from the others, because a model
that trains on pieces cut anywhere out of a stream never learns to look back.

    python -m minisft.pretrain --out checkpoints/my-base

Notes: 结合预训练数据与指令微调数据 (pre-training data and instruction data).
"""

import copy
import json
import platform
import random
import shlex
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import torch

from minisft.batching import cut_text, pack, prepare, step_batches
from minisft.checkpoint import load_model, save_model, write_atomically
from minisft.config import ROOT, at_least, option, parse, shipped
from minisft.conversation import render_text
from minisft.evaluate import mean_loss, perplexity, pick_device
from minisft.loop import NonFiniteLoss
from minisft.model import GPT, GPTConfig
from minisft.optim import AdamW, parameter_groups, wsd
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
from minisft.tokenizer import END_OF_TURN, Tokenizer
from minisft.world.probe import few_shot_probe, label_chance, prose_probe, recall_probe
from minisft.world.prose import document, song

PIECES = 4  # a step is cut into this many pieces, which is faster on a CPU: their activations fit its cache


# The three sizes of base model; what a flag says goes before.
SIZES = {
    "small": {"n_layer": 2, "n_head": 2, "n_embd": 64, "lr": 4e-3, "steps": 14000},
    "middle": {"n_layer": 3, "n_head": 4, "n_embd": 128, "lr": 2e-3, "steps": 14000},
    "large": {"n_layer": 4, "n_head": 8, "n_embd": 256, "lr": 1e-3, "steps": 6000},  # about two hours on one core
}
STEPS = ", ".join(f"{name} {size['steps']:,}" for name, size in SIZES.items())
CARDS = {"small": "base-small", "middle": "base", "large": "base-large"}  # the files of each size in checkpoints/


@dataclass(frozen=True)
class PretrainConfig:
    data: tuple = option((), "your own files of text rows; without them, the town's prose, made as it is needed")
    tokenizer: str = option(shipped("data/tokenizer.json"), "tokenizer file")
    out: str = option("", "run folder; by default checkpoints/base-1, base-2, ...")
    size: str = option("middle", "size of the model, about 0.25, 1 or 4 million parameters, and its rate and steps",
                       choices=tuple(SIZES))
    steps: int | None = option(None, f"optimizer steps, instead of the size's ({STEPS})")
    batch_size: int = option(32, "documents in a step")
    lr: float | None = option(None, "highest learning rate, instead of the size's; warm-up over 100 steps (a tenth of "
                                    "a shorter run), then constant, then down to 0 over the last --decay of the steps")
    decay: float = option(0.3, "share of the steps over which the rate falls; stable.pt is the model before they begin")
    weight_decay: float = option(0.1, "decay of matrices per step, times the learning rate")
    n_layer: int | None = option(None, "layers, instead of the size's")
    n_head: int | None = option(None, "attention heads, instead of the size's")
    n_embd: int | None = option(None, "channels, instead of the size's")
    block_size: int = option(256, "longest sequence, in tokens")
    seed: int = option(0, "random seed of weights and data")
    resume: bool = option(False, "go on with the run in --out, or with the newest one")
    save_every: int = option(500, "steps between saved states, and between probes of what the model can do so far")
    device: str = option("auto", "auto, cpu, cuda, mps, ...: where to compute; auto takes a GPU if there is one")
    dtype: str = option("float32", "number format of the forward pass", choices=("float32", "bfloat16"))

    def __post_init__(self):
        at_least(self, steps=1, batch_size=1, n_layer=1, n_head=1, n_embd=1, block_size=8, save_every=1, lr=0,
                 weight_decay=0, decay=0)
        if not self.data and self.block_size < 128:
            raise ValueError("the town's texts need a context of 128 tokens or more, "
                             f"got --block-size {self.block_size}")
        if self.decay > 1:
            raise ValueError(f"--decay is a share of the steps, from 0 to 1, got {self.decay}")

    def of_size(self, name):
        """A flag's value, or what the size says."""
        value = getattr(self, name)
        return SIZES[self.size][name] if value is None else value


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


def ahead(windows, count=4):
    """The same windows, made ahead of time by a thread of their own."""
    with ThreadPoolExecutor(1) as maker:
        coming = deque(maker.submit(next, windows) for _ in range(count))
        while True:
            yield coming.popleft().result()
            coming.append(maker.submit(next, windows))


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


def never_read(model, tokenizer, examples):
    """Ids of tokens that no text has held: training has left their rows where it has left that of <|end|>.

    None that the examples hold; of the world's prose, which has no end, there are none to look at.
    """
    rows, held = model.wte.weight, {token for example in examples for token in example.ids}
    distance = (rows - rows[tokenizer.special(END_OF_TURN)]).norm(dim=1)
    return [token for token in (distance < rows.std(0).norm() / 5).nonzero().flatten().tolist() if token not in held]


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
    sizes, steps = [config.of_size(name) for name in ("n_layer", "n_head", "n_embd")], config.of_size("steps")
    model = GPT(GPTConfig(tokenizer.vocab_size, config.block_size, *sizes))
    model.to(device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; run folder {folder}")

    examples = []
    if config.data:
        examples = read_texts(config.data, tokenizer, config.block_size)

        def windows_from(start):
            return text_windows(examples, config, start)
    else:
        def windows_from(start):
            return ahead(prose_windows(tokenizer, config.batch_size, config.block_size, config.seed, start))

    decay = round(config.decay * steps)
    optimizer = AdamW(parameter_groups(model, config.weight_decay), betas=(0.9, 0.98))
    lr_at = wsd(config.of_size("lr"), steps, warmup=min(100, (steps - decay) // 10), decay=decay)
    settings = {"config": asdict(config), "data": fingerprint([tokenizer.to_dict(), *examples])}
    if state and state["settings"]["data"] != settings["data"]:
        raise ValueError(f"data or tokenizer are not those that the run in {folder} began with; start a new run")

    def save(name):
        kept = copy.deepcopy(model)
        kept.spread_rows(never_read(kept, tokenizer, examples))
        save_model(folder / name, kept, tokenizer, torch.float16)
        return kept

    def after_step(record):
        if record.step == steps - decay:
            save("stable.pt")
        if not config.data and (record.step % config.save_every == 0 or record.step == steps):
            add_probe(folder, record, model, tokenizer)

    if not train_in(folder, model, optimizer, windows_from, lr_at, steps, settings, state, config.save_every,
                    dtype=config.dtype, after_step=after_step):
        print(f"stopped and saved; go on with: python -m minisft.pretrain --resume --out {shlex.quote(str(folder))}")
        return folder
    figures = base_figures(save("model.pt"), tokenizer, folder, config, device)
    write_atomically(folder / "figures.json", (json.dumps(figures, indent=2) + "\n").encode())
    print("\n".join(compare_figures(figures, config)))
    return folder


def add_probe(folder, record, model, tokenizer):
    """Note in probes.jsonl what the model can do after a step; what an earlier attempt noted of later steps goes."""
    known = few_shot_probe(model, tokenizer, 30)
    row = {"step": record.step, "loss": record.loss, "recall": recall_probe(model, tokenizer, 200),
           "mapping": known.pop("mapping"), "sorting": known.pop("sorting"), "few_shot": mean(known.values())}
    rows = [earlier for earlier in read_probes(folder) if earlier["step"] < record.step] + [row]
    write_atomically(folder / "probes.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


def read_probes(folder):
    """The rows that `add_probe` wrote."""
    path = Path(folder) / "probes.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def base_figures(model, tokenizer, folder, config, device):
    """What is to be known of a base model: how it was made, how well it predicts, recalls, and learns from examples.

    The probes are taken from the model as it is on disk, in half precision.
    """
    log = read_log(folder)
    asked = {name: value if isinstance(value, tuple) else (value,) for name, value in asdict(config).items()
             if value not in ((), "", None) and name not in ("resume", "out", "device", "save_every")}
    flags = [f"--{name.replace('_', '-')} {shlex.join(map(str, value))}" for name, value in asked.items()]
    seconds = sum(row["seconds"] for row in log)
    figures = {
        "command": " ".join(["python -m minisft.pretrain", *flags]), "seed": config.seed, "steps": len(log),
        "parameters": sum(p.numel() for p in model.parameters()), "tokens": sum(row["tokens"] for row in log),
        "minutes": round(seconds / 60, 1), "machine": describe_machine(device),
        "share_of_time_waiting_for_data": round(sum(row["waited"] for row in log) / seconds, 4),
        "first_losses": [row["loss"] for row in log[:3]], "last_loss": log[-1]["loss"],
    }
    if config.data:  # the town's probes say nothing of a model of other text
        return figures
    valid = read_texts([shipped("data/prose_valid.jsonl")], tokenizer, config.block_size)
    halved = load_model(folder)[0].to(device)
    known = few_shot_probe(halved, tokenizer)
    made_up = {name: known.pop(name) for name in ("mapping", "sorting")}
    loss = mean_loss(halved, valid)
    return figures | {
        "held_out_loss": round(loss, 4), "held_out_loss_before_halving": round(mean_loss(model, valid), 4),
        "held_out_perplexity": round(perplexity(loss), 3),
        "recall_probe": recall_probe(halved, tokenizer),
        "recall_probe_two_residents": recall_probe(halved, tokenizer, shapes=((2, 1), (2, 2))),
        "few_shot_known": round(mean(known.values()), 4), "few_shot_by_relation": known,
        "few_shot_made_up": made_up, "few_shot_chance": {name: label_chance(name) for name in made_up},
        "as_prose": prose_probe(halved, tokenizer), "probes": read_probes(folder),
    }


def _flat(figures):
    """Figures of figures as one row each: {"as_prose reading": 0.9, ...}."""
    return {f"{name} {key}".strip(): each for name, value in figures.items()
            for key, each in (value if isinstance(value, dict) else {"": value}).items()}


def compare_figures(figures, config):
    """Lines that set the figures beside those of the base of this size that ships."""
    path = ROOT / "checkpoints" / f"{CARDS[config.size]}.json"
    card = json.loads(path.read_text(encoding="utf-8")) if path.exists() and not config.data else {}
    if card.get("parameters") != figures["parameters"]:
        card = {}
    figures, card = _flat(figures), _flat(card)
    rows = [(name, value) for name, value in figures.items() if isinstance(value, int | float)]
    lines = [f"{'':32} {'this run':>14} {'shipped':>14}"] if card else []
    return lines + [f"{name:32} {value:14,} {card.get(name, ''):>14,}" if name in card else f"{name:32} {value:14,}"
                    for name, value in rows]


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
