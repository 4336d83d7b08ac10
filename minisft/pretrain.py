"""Make a base model: next-token prediction on the town's prose, or on your own text.

    L = - mean over all tokens i of log p(id_i | id_<i)

The loop is the one of instruction tuning. Only the data and the mask differ: every token is a
target. The town's prose has no end, so no document is seen twice. Documents share rows, and each is
isolated from the others: a model that trains on pieces cut anywhere out of a stream does not learn
to look back in a text.

    python -m minisft.pretrain --out checkpoints/my-base

Notes: 结合预训练数据与指令微调数据 (pre-training data and instruction data).
"""

import copy
import json
import random
import shlex
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import torch

from minisft.batching import cut_text, pack, prepare, step_batches
from minisft.checkpoint import save_model, write_atomically
from minisft.config import at_least, option, parse
from minisft.conversation import render_text
from minisft.device import device_option, pick_device
from minisft.loop import NonFiniteLoss
from minisft.model import GPT, GPTConfig
from minisft.optim import AdamW, parameter_groups, wsd
from minisft.records import read_records
from minisft.run import (
    RUNS,
    Training,
    begin_or_continue,
    check_same_data,
    fingerprint,
    is_whole,
    open_folder,
    train_in,
)
from minisft.shipped import TOKENIZER, shipped
from minisft.start import spread_rows
from minisft.tokenizer import END_OF_TURN, Tokenizer
from minisft.world.card import add_probe, base_figures, compare_figures
from minisft.world.prose import document, song

PROSE_VALID = shipped("data/prose_valid.jsonl")
MICRO_BATCHES = 4  # of a step: on a CPU this is faster, as their activations fit into its cache

# The three sizes of base model; a flag overrides what its size says.
SIZES = {
    "small": {"n_layer": 2, "n_head": 2, "n_embd": 64, "lr": 4e-3, "steps": 14000},
    "middle": {"n_layer": 3, "n_head": 4, "n_embd": 128, "lr": 2e-3, "steps": 14000},
    "large": {"n_layer": 4, "n_head": 8, "n_embd": 256, "lr": 1e-3, "steps": 4000},
}
STEPS = ", ".join(f"{name} {size['steps']:,}" for name, size in SIZES.items())


@dataclass(frozen=True)
class PretrainConfig:
    data: tuple = option((), "your own files of text rows; without them, the town's prose, made "
                             "as it is needed")
    tokenizer: str = option(TOKENIZER, "tokenizer file")
    out: str = option("", "run folder; by default checkpoints/base-1, base-2, ...")
    size: str = option("middle", "size of the model (0.3, 1.0 or 3.9 million parameters), and its "
                                 "rate and steps", choices=tuple(SIZES))
    steps: int | None = option(None, f"optimizer steps, instead of the size's ({STEPS})")
    batch_size: int = option(32, "documents in a step")
    lr: float | None = option(None, "highest learning rate, instead of the size's; warm-up over "
                                    "100 steps (a tenth of a shorter run), then constant, then "
                                    "down to 0 over the last --decay of the steps")
    decay: float = option(0.3, "share of the steps over which the rate falls; stable.pt is the "
                               "model before they begin")
    weight_decay: float = option(0.1, "decay of matrices per step, times the learning rate")
    n_layer: int | None = option(None, "layers, instead of the size's")
    n_head: int | None = option(None, "attention heads, instead of the size's")
    n_embd: int | None = option(None, "channels, instead of the size's")
    block_size: int = option(256, "longest sequence, in tokens")
    seed: int = option(0, "random seed of weights and data")
    resume: bool = option(False, "begin or continue the run in --out; without --out, continue "
                                  "the newest unfinished one")
    save_every: int = option(500, "steps between saved states, and between probes of what the "
                                  "model can do so far")
    device: str = device_option()
    dtype: str = option("float32", "number format of the forward pass",
                        choices=("float32", "bfloat16"))

    def __post_init__(self):
        at_least(self, steps=1, batch_size=1, n_layer=1, n_head=1, n_embd=1, block_size=8,
                 save_every=1, lr=0, weight_decay=0, decay=0)
        if not self.data and self.block_size < 128:
            raise ValueError("the town's texts need a context of 128 tokens or more, "
                             f"got --block-size {self.block_size}")
        if self.decay > 1:
            raise ValueError(f"--decay is a share of the steps, from 0 to 1, got {self.decay}")

    def of_size(self, name):
        """The value of a flag, or what the size says where the flag was not given."""
        value = getattr(self, name)
        return SIZES[self.size][name] if value is None else value


def draw_kind(rng, step):
    """What writes the next document of a step: a curriculum from songs to ordinary prose.

    At first every text is a song, in which the only thing to learn is to look up what was said
    before. From step 200 on songs give way to the mixture; from step 500 on there are none.
    """
    return document if rng.random() < (step - 200) / 300 else song


def prose_batches(tokenizer, batch_size, block_size, seed, start=0):
    """Micro-batches of the town's prose for each step, without end.

    What a step sees depends on the seed and the step's number alone.
    """
    step = start
    while True:
        rng = random.Random(f"prose step {seed} {step}")
        texts = [draw_kind(rng, step)(rng) for _ in range(batch_size)]
        pieces = [piece for text in texts
                  for piece in cut_text(render_text(text, tokenizer), block_size)]
        parts = [pieces[part::MICRO_BATCHES] for part in range(MICRO_BATCHES)]
        yield [pack(part, block_size) for part in parts if part]
        step += 1


def prefetch(batches, count=4):
    """The same batches, made ahead of time by a thread of their own."""
    with ThreadPoolExecutor(1) as maker:
        coming = deque(maker.submit(next, batches) for _ in range(count))
        while True:
            yield coming.popleft().result()
            coming.append(maker.submit(next, batches))


def read_texts(paths, tokenizer, block_size):
    """Rendered pieces of the texts in some files; ValueError for rows that are conversations."""
    records, _ = read_records(paths)
    for record in records:
        if not isinstance(record.item, str):
            raise ValueError(f"{record.source}: a conversation; expected rows of text, "
                             "{\"text\": ...}, to pre-train on; tune on conversations with "
                             "`python -m minisft.train`")
    return prepare(records, tokenizer, block_size)[0]


def never_read(model, tokenizer, examples):
    """Ids of tokens that no text has held.

    Training has moved the embedding rows of all such tokens to one place, where that of <|end|> is
    too. Tokens in `examples` are no such tokens; the town's prose, which has no end, cannot be
    searched.
    """
    rows, held = model.wte.weight, {token for example in examples for token in example.ids}
    distance = (rows - rows[tokenizer.special(END_OF_TURN)]).norm(dim=1)
    near = (distance < rows.std(0).norm() / 5).nonzero().flatten().tolist()
    return [token for token in near if token not in held]


def training_of(model, tokenizer, config, examples):
    """The Training that the settings ask for; examples: of the user's own text, or none."""
    def batches_from(start):
        if examples:
            return step_batches(examples, config.batch_size, config.seed, start=start,
                                accumulate=MICRO_BATCHES, block_size=config.block_size)
        return prefetch(prose_batches(tokenizer, config.batch_size, config.block_size, config.seed,
                                      start))

    steps = config.of_size("steps")
    decay = decay_steps(config)
    optimizer = AdamW(parameter_groups(model, config.weight_decay), betas=(0.9, 0.98))
    lr_at = wsd(config.of_size("lr"), steps, warmup=min(100, (steps - decay) // 10), decay=decay)
    return Training(model, optimizer, lr_at, batches_from, steps, config.dtype)


def decay_steps(config):
    """Over how many of the last steps the learning rate falls."""
    return round(config.decay * config.of_size("steps"))


def save_base(path, model, tokenizer, examples):
    """Write a model in half precision, rows of tokens that no text held spread; returns it."""
    kept = copy.deepcopy(model)
    spread_rows(kept, never_read(kept, tokenizer, examples))
    save_model(path, kept, tokenizer, torch.float16)
    return kept


def pretrain(config):
    """Train a base model as the settings say; returns its run folder."""
    with open_folder(config, RUNS, "base") as folder:
        config, state = begin_or_continue(folder, config)
        if is_whole(folder, "base"):
            print(f"the run in {folder} is done already; nothing was changed")
        else:
            pretrain_in_folder(folder, config, state)
    return folder


def pretrain_in_folder(folder, config, state):
    """Train a base model and write it, with its figures, into a run folder; state: or None."""
    device, tokenizer = pick_device(config.device), Tokenizer.load(config.tokenizer)
    torch.manual_seed(config.seed)
    sizes = {name: config.of_size(name) for name in ("n_layer", "n_head", "n_embd")}
    model = GPT(GPTConfig(tokenizer.vocab_size, config.block_size, **sizes)).to(device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; run folder {folder}")
    examples = read_texts(config.data, tokenizer, config.block_size) if config.data else []
    training = training_of(model, tokenizer, config, examples)
    settings = {"config": asdict(config), "data": fingerprint([tokenizer.to_dict(), *examples])}
    check_same_data(state, settings, folder)

    def after_step(record):
        if record.step == training.steps - decay_steps(config):
            save_base(f"{folder}/stable.pt", model, tokenizer, examples)
        last = record.step == training.steps
        if not config.data and (last or record.step % config.save_every == 0):
            add_probe(folder, record, model, tokenizer)

    if not train_in(folder, training, settings, state, config.save_every, after_step):
        print("stopped and saved; continue with: "
              f"python -m minisft.pretrain --resume --out {shlex.quote(folder)}")
        return
    base = save_base(f"{folder}/model.pt", model, tokenizer, examples)
    valid = [] if config.data else read_texts([PROSE_VALID], tokenizer, config.block_size)
    figures = base_figures(base, tokenizer, folder, config, valid)
    write_atomically(f"{folder}/figures.json", (json.dumps(figures, indent=2) + "\n").encode())
    print("\n".join(compare_figures(figures, None if config.data else config.size)))


def main(argv=None):
    config = parse(PretrainConfig, argv, "python -m minisft.pretrain",
                   "Make a base model from the town's prose or your own text.")
    try:
        pretrain(config)
    except (ValueError, OSError, NonFiniteLoss) as error:
        raise SystemExit(f"minisft.pretrain: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nminisft.pretrain: stopped; a run that had begun continues with "
                         "--resume") from None


if __name__ == "__main__":
    main()
