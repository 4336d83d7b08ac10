"""What the tests share: tiny models, random examples, plain references, transformers' GPT-2.

The models compute in float64, so that rounding cannot hide a small mistake.
"""

import math
import random

import torch
import torch.nn.functional as F
from hypothesis import settings

from minisft.conversation import Rendered
from minisft.model import GPT, GPTConfig

torch.set_num_threads(1)
settings.register_profile("minisft", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("minisft")

TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def tiny_model(seed=0, dtype=torch.float64, **sizes):
    """A GPT in evaluation mode, in which every parameter matters.

    No bias is zero and no LayerNorm is the identity.
    """
    usual = {"vocab_size": 19, "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 8}
    model = GPT(GPTConfig(**usual | sizes)).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        is_scale = "ln_" in name and name.endswith("weight")
        drawn = torch.empty(parameter.shape, dtype=dtype)  # in rows, however it is stored
        drawn.normal_(mean=1.0 if is_scale else 0.0, std=0.4, generator=generator)
        parameter.data.copy_(drawn)
    return model.eval()


def random_ids(*shape, seed=0, vocab_size=19):
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def random_examples(number, seed=0, longest=16, vocab_size=19):
    """Rendered examples of 4 to `longest` tokens.

    Each is a prompt and its answer. Some end with a second question that has no answer.
    """
    rng = random.Random(seed)
    examples = []
    for _ in range(number):
        length = rng.randint(4, longest)
        answer = rng.randint(1, length - 2)
        end = rng.randint(answer + 1, length)
        loss_mask = [int(answer <= i < end) for i in range(length)]
        examples.append(Rendered([rng.randrange(vocab_size) for _ in range(length)], loss_mask))
    return examples


def random_prefix(model, length, batch_size=1, seed=5):
    """Trainable (k, v) entries for each layer, (batch_size, H, length, D)."""
    config, generator = model.config, torch.Generator().manual_seed(seed)
    shape = (batch_size, config.n_head, length, config.n_embd // config.n_head)

    def draw():
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    return [(draw(), draw()) for _ in range(config.n_layer)]


def forward_by_hand(model, ids, prefix=None, position=0):
    """Logits of one sequence, computed one token, one layer and one head at a time."""
    config = model.config
    D = config.n_embd // config.n_head
    past = [{head: ([], []) for head in range(config.n_head)} for _ in range(config.n_layer)]
    for layer, (keys, values) in enumerate(prefix or []):
        for head in range(config.n_head):
            past[layer][head] = (list(keys[0, head]), list(values[0, head]))

    logits = []
    for t, token in enumerate(ids.tolist()):
        x = model.wte.weight[token] + model.wpe.weight[position + t]
        for layer, block in enumerate(model.h):
            qkv = block.attn.c_attn(block.ln_1(x))
            heads = []
            for head in range(config.n_head):
                q, k, v = (qkv[part * config.n_embd + head * D:][:D] for part in range(3))
                keys, values = past[layer][head]
                keys.append(k)
                values.append(v)
                weights = torch.stack([q @ key / math.sqrt(D) for key in keys]).exp()
                heads.append(sum(w / weights.sum() * value for w, value in zip(weights, values)))
            x = x + block.attn.c_proj(torch.cat(heads))
            inner = block.mlp.c_fc(block.ln_2(x))
            bent = torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner ** 3))
            x = x + block.mlp.c_proj(0.5 * inner * (1 + bent))  # GELU in its tanh form
        logits.append(model.wte.weight @ model.ln_f(x))
    return torch.stack(logits)


def reference_loss(model, example):
    """Summed cross-entropy of one example over full logits, by PyTorch's own ignore_index."""
    ids = torch.tensor([example.ids])
    labels = torch.where(torch.tensor([example.loss_mask]) == 1, ids, -100)
    return F.cross_entropy(model(ids)[0, :-1], labels[0, 1:], ignore_index=-100, reduction="sum")


def gradients(model, loss):
    """{name: gradient} of a loss; afterwards the model holds no gradients."""
    model.zero_grad()
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    return found


def snapshot(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def difference(ours, theirs):
    """Largest absolute difference between two {name: tensor} of the same names."""
    assert ours.keys() == theirs.keys()
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


def to_transformers(model, attention="sdpa"):
    """transformers' GPT-2 with the weights of a minisft GPT, in evaluation mode."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = model.config
    theirs = GPT2LMHeadModel(GPT2Config(
        vocab_size=config.vocab_size, n_positions=config.block_size, n_layer=config.n_layer,
        n_head=config.n_head, n_embd=config.n_embd, bos_token_id=None, eos_token_id=None,
        attn_implementation=attention))
    theirs.to(model.wte.weight.dtype).eval()
    weights = dict(theirs.transformer.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            weights.pop(name).copy_(parameter.T if name.endswith(TRANSPOSED) else parameter)
    assert not weights, "every parameter of theirs has a value of ours"
    return theirs
