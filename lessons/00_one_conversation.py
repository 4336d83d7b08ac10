# %% [markdown]
# # 00 One conversation all the way
#
# **Question.** What happens to a conversation on its way from text to a changed model?
#
# Two turns are followed through every station of the core, with real values. Each cell names the
# file that does it, so this is also the order in which to read the code:
#
#     record -> Conversation -> (ids, loss mask) -> batch -> logits -> loss -> gradient -> update
#
# There is no claim here, nothing is measured over seeds, and it takes a few seconds.

# %%
import sys
from pathlib import Path

sys.path += map(str, Path(globals().get("__file__", "here")).resolve().parents)  # finds minisft

import torch

from minisft import plots
from minisft.batching import pad
from minisft.checkpoint import load_model
from minisft.lesson import Lesson, show_source
from minisft.loop import train_steps
from minisft.loss import sft_loss
from minisft.optim import AdamW
from minisft.records import parse_row, render_record
from minisft.shipped import BASE

lesson = Lesson("00_one_conversation")
model, tokenizer = load_model(BASE)

# %% [markdown]
# ## Text to Conversation: `minisft/records.py`, `minisft/conversation.py`
# A row of a data file is read into a `Conversation`: messages in turn, each with a role. Rows of
# other formats (Alpaca, ShareGPT) become the same thing.

# %%
row = {"messages": [
    {"role": "user", "content": "Hello, I am Mia."},
    {"role": "assistant", "content": "Hello, Mia. How can I help?"},
    {"role": "user", "content": "What is my name?"},
    {"role": "assistant", "content": "Your name is Mia."}]}
record = parse_row(row)
for message in record.item.messages:
    print(f"{message.role:10} {message.content}")

# %% [markdown]
# ## Conversation to ids and loss mask: `minisft/tokenizer.py`, `minisft/conversation.py`
# The tokenizer cuts text into tokens, and each token has a number, its id. Special tokens say who
# speaks and where a turn ends. The *loss mask* is 1 on every token that the model must learn to
# say: the answers and their end, and nothing else. (Other libraries write the label -100 where
# the mask is 0.)

# %%
rendered = render_record(record, tokenizer)
words = [tokenizer.decode([token]) for token in rendered.ids]
print(f"{'place':>5}  {'id':>5}  mask  token")
for place, (token, flag, word) in enumerate(zip(rendered.ids, rendered.loss_mask, words)):
    print(f"{place:5}  {token:5}  {flag:4}  {word!r}")

# %% [markdown]
# ## Ids to a batch: `minisft/batching.py`
# A batch (B, T) has B rows, filled up to the length T of the longest. Here there is one row.

# %%
batch = pad([rendered])
print(f"ids {tuple(batch.ids.shape)}, {batch.tokens} tokens, padding {batch.padding:.0%}")

# %% [markdown]
# ## Batch to logits: `minisft/model.py`
# The model turns each id into a vector of C channels (`embed`), lets the vectors look back at
# each other (`trunk`), and scores every token of the vocabulary as the next one (`head`). The
# scores are called logits.

# %%
with torch.no_grad():
    x = model.embed(batch.ids)
    print("embed ", tuple(x.shape), "(B, T, C)")
    x = model.trunk(x)
    print("trunk ", tuple(x.shape), "(B, T, C)")
    logits = model.head(x)
    print("logits", tuple(logits.shape), "(B, T, V)")


def probabilities(model):
    """Of each supervised token: what probability the model gave it before it came."""
    with torch.no_grad():
        chances = model(batch.ids)[0].softmax(dim=-1)  # (T, V)
    return [chances[place - 1, token].item()  # the token at `place` is predicted at place - 1
            for place, (token, flag) in enumerate(zip(rendered.ids, rendered.loss_mask)) if flag]


def percent(share):
    return f"{share:.4%}" if share >= 1e-6 else "< 0.0001%"


asked_for = [word for word, flag in zip(words, rendered.loss_mask) if flag]
before = probabilities(model)
for word, chance in zip(asked_for, before):
    print(f"{word!r:12} {percent(chance):>9}")

# %% [markdown]
# ## Logits to loss: `minisft/loss.py`
# The loss is minus the logarithm of these probabilities, summed over the supervised tokens. The
# head runs on their rows alone. This is the whole of it:

# %%
show_source(sft_loss)
loss, targets = sft_loss(model, batch)
by_hand = -torch.tensor(before, dtype=torch.float64).log().sum()
print(f"loss {loss.item():.4f} over {targets} targets, {loss.item() / targets:.4f} for each; "
      f"by hand {by_hand:.4f}")

# %% [markdown]
# ## Loss to gradient
# The gradient says for each weight in which direction the loss grows. `backward` computes all of
# them.

# %%
(loss / targets).backward()
gradient = model.h[0].mlp.c_fc.weight.grad
weight = model.h[0].mlp.c_fc.weight[0, 0].item()
print(f"h.0.mlp.c_fc.weight {tuple(gradient.shape)}: weight [0, 0] is {weight:+.6f}, "
      f"its gradient {gradient[0, 0].item():+.6f}")
model.zero_grad()

# %% [markdown]
# ## Gradient to update: `minisft/optim/clip.py`, `minisft/optim/adamw.py`, `minisft/loop.py`
# The loop does the last two steps again and then updates all weights: it clips the gradient, and
# AdamW moves each weight by about one learning rate against its gradient. One step of the only
# training loop in the project:

# %%
optimizer = AdamW(model.parameters())
record_of_step = next(train_steps(model, [[batch]], optimizer, lr_at=lambda step: 1e-3))
model.eval()
moved = model.h[0].mlp.c_fc.weight[0, 0].item()
print(f"step {record_of_step.step}: loss {record_of_step.loss:.3f}, norm of the gradient before "
      f"clipping {record_of_step.grad_norm:.1f}, learning rate {record_of_step.lr:g}")
print(f"the weight moved from {weight:+.6f} to {moved:+.6f}, by {moved - weight:+.6f}")

# %% [markdown]
# ## What one update has changed

# %%
after = probabilities(model)
new_loss, _ = sft_loss(model, batch)
for word, old, new in zip(asked_for, before, after):
    print(f"{word!r:12} {percent(old):>9} -> {percent(new):>9}")
print(f"loss for each target: {loss.item() / targets:.3f} -> {new_loss.item() / targets:.3f}")
plots.probabilities(
    lesson.figure(), [word.strip(" <|>") for word in asked_for], before, after,
    "The probability of each word of the answers, before and after one update")

# %% [markdown]
# After one update on one conversation the loss for each target has fallen from 9.0 to 5.2
# ([figure](results/00_one_conversation.png)). Nearly all words have become likelier; "I" and
# "help" have not, because a step moves all weights at once, and not every word gains from it.
# Instruction tuning is this, some hundred times, with 32 conversations in each step (lesson 03).
# On which tokens the mask should be 1 is the question of lesson 02.
#
# **Exercise** (easy, 10 minutes). Set `loss_mask` to 1 for the words of the *user* instead, and
# run the cells again. Which probabilities rise now, and what would a model learn from many such
# conversations?
#
# **Solution.** Most of the user's words become far likelier. Words of the answers change too,
# some up and some down, because all tokens share the same weights; but nothing aims at them. A
# model that is tuned like this learns to ask as the user does, and not to answer.
