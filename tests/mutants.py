"""Break the code in one place after the other, and see that a test notices.

    python -m tests.mutants                    every row of the table, a few seconds each
    python -m tests.mutants --only chat.py     the rows whose file, change or tests say "chat.py"

A row is a mistake that somebody could make. It is made in a copy of the project, never in place,
and the tests that it names are run there. One of them must fail: then the mutant is killed. Run it
where all tests pass, and add a row for each mistake that you find.
"""

import argparse
import compileall
import importlib
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import NamedTuple

import pytest

# Each run of the tests is a fork of this process. What is imported here takes no time there.
for module in ("hypothesis", "matplotlib.pyplot", "tiktoken", "torch", "tqdm"):
    importlib.import_module(module)

ROOT = Path(__file__).resolve().parents[1]  # minisft itself is imported from the copy only
CONTEXT = multiprocessing.get_context("fork")
LONGEST = 60  # seconds; a mutant that takes longer never ends, which is noticed too


class Mutant(NamedTuple):
    """file: below minisft/, or from there; old: text that stands in it once; new: what takes its
    place.

    tests: "a b" for tests/test_a.py and tests/test_b.py; only: pytest's -k; equivalent: why no test
    can notice.
    """

    file: str
    old: str
    new: str
    tests: str
    only: str = ""
    equivalent: str = ""


MUTANTS = [Mutant(*row) for row in (
    # The town: a knob holds in conversations too, and nothing is said in one word that has none.
    ("world/corpus.py", '_fitting("reading", style, most,', '_fitting("reading", style, None,',
     "world", "knob"),
    ("world/dialogue.py", "if not ends_with_it or ", "if ", "world", "system_message"),
    ("evaluate.py", "if answer.right and len(turns[i]) > 1", "if len(turns[i]) > 1", "evaluate",
     "no_later_turn"),
    # Files are written whole and cannot run code.
    ("checkpoint.py", "    write_atomically(path, buffer.getvalue())",
     "    Path(path).write_bytes(buffer.getvalue())", "checkpoint", "cannot_be_written"),
    ("checkpoint.py", "        _replace(temporary, path)\n",
     "        path.write_bytes(content)\n        temporary.unlink()\n", "checkpoint",
     "forced or fails"),
    ("checkpoint.py", "weights_only=True)\n    except", "weights_only=False)\n    except",
     "checkpoint", "run_code"),
    ("checkpoint.py", "    return model.eval()", "    return model.train()", "checkpoint",
     "to_the_bit"),
    ("checkpoint.py", '    torch.set_rng_state(state["cpu_random"])\n', "", "checkpoint",
     "matters or continues"),
    ("checkpoint.py", '    optimizer.load_state_dict(state["optimizer"])\n', "", "checkpoint",
     "matters or continues"),
    ("interop/gpt2.py", "weights_only=True", "weights_only=False", "interop", "damaged or code"),

    # Evaluation: nothing is asked that was learnt, and nothing that is wrong counts as right.
    ("train.py", "    return train_records, [replace", "    return records, [replace",
     "train_command", "held_out"),
    ("records.py", "(set(\";,\\t\") - {delimiter})", "set(\";\")", "records", "other_marks"),
    ("records.py", "        (train if number % every else held_out).extend(group)",
     "        train.extend(group)\n        held_out.extend([] if number % every else group)",
     "records", "one_side"),
    ("records.py", "groups.values(), 1)", "groups.values())", "records", "one_side"),
    ("evaluate.py", "    model.eval()\n    total", "    total", "evaluate", "mean_loss or loss"),
    ("evaluate.py", "        model.train(training)\n    return total",
     "        pass\n    return total", "evaluate", "loss"),
    ("evaluate.py", "targets + n\n", "targets + 1\n", "evaluate", "loss"),
    ("evaluate.py", "sft_loss(model, pad([rendered]).to(model.device))[0].item()",
     "mean_loss(model, [rendered])", "evaluate", "likeliest"),
    ("evaluate.py", "min(losses, key", "max(losses, key", "evaluate", "likeliest"),
    ("evaluate.py", "len(question.prompt) < model", "len(question.prompt) <= model", "evaluate",
     "room"),
    ("evaluate.py", "    return 1 + max(", "    return max(", "evaluate", "word_for_word"),
    ("evaluate.py", "for question in questions for right in question.right)",
     "for question in questions for right in question.right[:1])", "evaluate", "however_long"),
    ("evaluate.py", "answers[question.place] = to", "answers[questions.index(question)] = to",
     "evaluate", "order"),
    ("evaluate.py", " and record.item.messages[-1].learn]", "]", "evaluate",
     "asked"),
    ("report.py", "mean(1 / len(record.choices)", "mean(len(record.choices)", "evaluate",
     "guess"),
    ("report.py", "key=lambda task: totals[task][0] / totals[task][1])",
     "key=lambda task: totals[task][0])", "evaluate", "weakest"),
    ("report.py", "{before['loss'][split]:.3f} -> {loss:.3f}",
     "{loss:.3f} -> {before['loss'][split]:.3f}", "evaluate", "before_stands"),
    ("report.py", "for each in (old, new)]", "for each in (new, old)]", "evaluate",
     "before_stands"),

    # Intervals and verdicts.
    ("intervals.py", "for values in (by_seed, by_item)", "for values in (by_item,)", "intervals"),
    ("intervals.py", "for values in (by_seed, by_item)", "for values in (by_seed,)", "intervals"),
    ("intervals.py", "(12.706, 4.303, 3.182, 2.776, 2.571,", "(6.314, 2.920, 2.353, 2.132, 2.015,",
     "intervals"),
    ("intervals.py", "[[b - a for a, b", "[[a - b for a, b", "intervals"),
    ("intervals.py", "len(values) - 1)\n", "len(values))\n", "intervals"),
    ("intervals.py", "t_975(n - 1)", "t_975(n)", "intervals"),
    ("intervals.py", "spread / n ** 0.5", "spread / n", "intervals"),
    ("lesson.py", "self.least < low and high < self.most", "self.least < low or high < self.most",
     "lesson"),
    ("lesson.py", "        _, low, high = self.effect\n        if self.least",
     "        low = high = self.effect[0]\n        if self.least", "lesson"),
    ("lesson.py", "if high <= self.least or", "if low <= self.least or", "lesson"),
    ("lesson.py", '"not judged" if self.fast else outcome', "outcome", "lesson"),
    ("experiment.py", "for rate in arm.rates if len(arm.rates) > 1]", "for rate in arm.rates]",
     "experiment", "rate_is_chosen"),
    ("world/corpus.py", "share in changes.items()", "share in CHANGES.items()", "lessons",
     "lesson_05"),
    ("world/corpus.py", "_sensible(tasks or alone,", "_sensible(tasks or _ALONE,", "lessons",
     "lesson_05"),
    ("../lessons/06_self_instruct.py", " if not is_asked(row, ASKED)]", "]", "lessons",
     "lessons_06_and_07"),
    ("../lessons/07_evol_instruct.py", " and not is_asked(step, ASKED)]", "]", "lessons",
     "lessons_06_and_07"),
    ("../lessons/06_self_instruct.py", "if each[2] != reason]", "]", "lessons", "drop_is_counted"),
    ("../lessons/07_evol_instruct.py", '= pool[step["source"]] = step', "= step", "lessons",
     "followed_by_hand"),
    ("../lessons/trials.py", "not is_knowledge and judged.meaning", "judged.meaning", "lessons",
     "in_other_words"),
    ("../lessons/trials.py", "and judged.meaning in asked.meanings", "and False", "lessons",
     "in_other_words"),
    ("experiment.py", "arm.trial_of(seed).test)", "arm.trial_of(seed).validation)", "experiment",
     "rate or pilot"),
    ("experiment.py", "arm.trial_of(seed).validation)", "arm.trial_of(seed).test)", "experiment",
     "rate or pilot"),
    ("experiment.py", "(arms[name], rate, PILOT_SEED, steps)", "(arms[name], rate, 0, steps)",
     "experiment",
     "rate or pilot"),
    ("experiment.py", "PILOT_SEED = 100", "PILOT_SEED = 0", "experiment",
     "rate or pilot"),
    ("experiment.py", "PILOT_SEED + seed, steps", "seed, steps", "experiment",
     "rate or pilot"),
    ("experiment.py", "max(grid, key=grid.get)", "min(grid, key=grid.get)", "experiment",
     "rate or pilot"),
    ("experiment.py", "    torch.manual_seed(seed)\n    if arm", "    if arm", "experiment",
     "rate or pilot"),
    ("experiment.py", "lr=rate,\n               seed=seed)", "lr=rate)", "experiment",
     "rate or pilot"),
    ("experiment.py", "steps or trial.steps, batch_size=trial.batch_size, lr=rate",
     "steps or trial.steps, batch_size=trial.batch_size", "experiment",
     "rate or pilot"),

    # Every flag of `train` reaches what it is for.
    ("train.py", "steps, config.dtype, still)", "steps, still=still)", "train_command",
     "setting"),
    ("run.py", "dtype=DTYPES[self.dtype]", "dtype=torch.float32", "train_command", "setting"),
    ("train.py", "(model, config.weight_decay, undecayed", "(model, 0.0, undecayed",
     "train_command", "setting"),
    ("train.py", "accumulate=config.accumulate,", "accumulate=1,", "train_command", "setting"),
    ("train.py", "warmup=ceil(steps / 20)", "warmup=0", "train_command", "setting"),
    ("train.py", "warmup_cosine(config.highest_lr()", "warmup_cosine(FULL_LR", "train_command",
     "setting"),
    ("train.py", "examples, config.batch_size, config.seed", "examples, 32, config.seed",
     "train_command", "setting"),
    ("train.py", "config.batch_size, config.seed", "config.batch_size, 0", "train_command",
     "setting or seed"),
    ("train.py", "block_size if config.pack else None", "block_size if False else None",
     "train_command", "setting"),
    ("train.py", "start=start,\n", "start=0,\n", "deltas", "same_bits"),
    ("train.py", "[replace(record, source=\"\", ignored=()) for record in eval_records]",
     "[record.item for record in eval_records]", "train_command", "changed"),
    ("train.py", "*examples, *evaluated]", "*evaluated]", "resume", "changed"),
    ("train.py", "[base_fingerprint(model), ", "[", "deltas", "changed"),
    ("train.py", "    torch.manual_seed(config.seed)\n", "", "deltas", "same_bits"),

    # Run folders.
    ("run.py", '("state.pt", LOCK_FILE)', '("state.pt",)', "resume", "without_out"),
    ("run.py", "any(map(has, MODEL_FILES))", 'has("model.pt")', "resume", "newest_folder"),
    ("run.py", "for file in MODEL_FILES for path", 'for file in ("model.pt",) for path', "chat",
     "newest"),
    ("run.py", '("log.jsonl", *MODEL_FILES)', '("log.jsonl", "model.pt")', "resume",
     "no_new_run"),
    ("run.py", "models, key=lambda path: path.stat().st_mtime",
     "models, key=lambda path: str(path)",
     "chat", "newest"),
    ("run.py", "self.steps - done", "self.steps", "train_command", "setting"),
    ("run.py", '["step"] <= step', '["step"] < step', "resume", "log_has"),
    ("run.py", "            if last or pressed or", "            if last or", "resume",
     "ctrl_c_saves"),
    ("run.py", "        if pressed:\n            raise KeyboardInterrupt\n", "", "resume",
     "second_ctrl_c"),

    # Rows.
    ("records.py", "parsed.also, parsed.choices,", "parsed.also, (),", "records"),
    ("records.py", "parsed.also, parsed.choices,", "(), parsed.choices,", "records"),
    ("rows.py", 'for key in ("also", "choices"):', 'for key in ("also",):', "records"),
    ("rows.py", "        learn = learn and bool(value)\n", "", "records"),
    ("rows.py", "(0, 1) if mark", "(0, 1, 2) if mark", "records"),
    ("rows.py", "opening.content, learn=False)", "opening.content)", "records"),
    ("rows.py", 'f"{asked}\\n{given}"', 'f"{given}\\n{asked}"', "records"),
    ("rows.py", "for user, reply in _take_history", "for reply, user in _take_history", "records"),
    ("rows.py", "        ignored += of_turns\n", "", "records"),
    ("records.py", "removeprefix(b\"\\xef\\xbb\\xbf\")", "removeprefix(b\"\")", "records"),
    ("records.py", "yield start, {key", "yield end, {key", "records"),
    ("records.py", "if isinstance(row, Damaged):\n", "if False:\n", "records"),

    # Conversations, batches, loss.
    ("conversation.py", "out.add(content_and_end, supervised=",
     "out.add(content_and_end[-1:], False)\n        out.add(content_and_end[:-1], supervised=",
     "conversation"),
    ("conversation.py", '== "assistant" and message.learn', '== "assistant"',
     "conversation records"),
    ("conversation.py", "out.add([tag], supervised=False)",
     'out.add([tag], message.role == "assistant")', "conversation"),
    ("conversation.py", "*tokenizer.encode(message.content), end]",
     "*tokenizer.encode(message.content.strip()), end]", "conversation"),
    ("conversation.py", 'tokenizer).ids + [tokenizer.special(ROLES["assistant"])]',
     "tokenizer).ids", "conversation"),
    ("conversation.py", "encode(text) + end, supervised", "encode(text), supervised",
     "conversation"),
    ("batching.py", "for i in range(block_size) if mask[i] and not mask[i + 1]]",
     "for i in range(block_size - 1) if mask[i] and not mask[i + 1]]", "batching"),
    ("batching.py", "ids[:ends[-1]], mask[:ends[-1]]", "ids[:block_size], mask[:block_size]",
     "batching"),
    ("batching.py", "rendered.ids) - 1), block_size - 1)", "rendered.ids) - 1), block_size)",
     "batching"),
    ("batching.py", "[0] + rendered.loss_mask[start + 1:end]", "rendered.loss_mask[start:end]",
     "batching"),
    ("batching.py", "range(fewest, 2 * fewest + 1)", "range(fewest, fewest + 1)", "batching"),
    ("batching.py", "range(fewest, 2 * fewest + 1)", "range(fewest, 2 * fewest)", "batching"),
    ("batching.py", "torch.arange(end - start)", "torch.arange(start, end)", "batching"),
    ("batching.py", "same.tril()[:, None]", "same[:, None]", "batching"),
    ("batching.py", "padded.loss_mask & (positions > 0)", "padded.loss_mask", "batching"),
    ("batching.py", '(f"{seed} epoch {epoch}")', '(f"{seed} epoch")', "batching"),
    ("batching.py", "chosen[part::accumulate]", "chosen[part:part + 1]", "batching"),
    ("batching.py", "    rng.shuffle(batches)\n", "", "batching"),
    ("batching.py", "torch.full(padded.ids.shape, -1)", "torch.full(padded.ids.shape, 0)",
     "batching", "", "padding stands at the end of a row, and no token looks ahead"),
    ("loss.py", "x[:, :-1][supervised]", "x[:, 1:][supervised]", "loss"),
    ("loss.py", 'reduction="sum"', 'reduction="mean"', "loss"),
    ("loss.py", "    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))"
     "  # sum in float32 at least\n", "", "loss"),
    ("loss.py", ", mask=batch.mask)", ")", "batching"),
    ("loss.py", "(batch.ids, batch.positions)", "(batch.ids)", "batching"),
    ("train.py", "with own_code(config.use_mine):", "with nullcontext():", "train_command",
     "use_mine"),
    ("loop.py", "        model.train()\n", "", "loop"),
    ("loop.py", "(loss_sum / max(1, targets))", "(loss_sum / len(micro_batches))", "loop"),
    ("loop.py", "        optimizer.zero_grad()\n\n", "\n", "loop"),
    ("loop.py", "optimizer.lr = lr_at(step)", "optimizer.lr = lr_at(step + 1)", "loop"),
    ("loop.py", "        if targets:\n", "        if True:\n", "loop"),
    ("loop.py", "math.isfinite(loss) and ", "", "loop"),
    ("loop.py", " and math.isfinite(norm)", "", "loop"),

    # Optimizer.
    ("optim/adamw.py", "parameter.dim() >= 2]", "parameter.dim() >= 1]", "optim"),
    ("optim/adamw.py", "1 - beta1 ** t)", "1 - beta1)", "optim"),
    ("optim/adamw.py", "m.lerp_(g, 1 - beta1)", "m.lerp_(g, beta1)", "optim"),
    ("optim/adamw.py", "1 - self.lr * weight_decay", "1 - weight_decay", "optim"),
    ("optim/adamw.py", "                index += 1", "                    index += 1", "optim"),
    ("optim/adamw.py", "to(device, copy=True),\n                \"v\"",
     "to(device),\n                \"v\"",
     "checkpoint optim", "state or restore or saved"),
    ("optim/clip.py", "max_norm / norm)", "norm / max_norm)", "optim"),
    ("optim/clip.py", "    if norm > max_norm:\n", "    if True:\n", "optim"),
    ("optim/schedule.py", "(step - warmup) / (total - warmup)", "step / total", "optim"),
    ("optim/schedule.py", "total - decay:", "total - decay + 1:", "optim"),

    # Model, cache, generation.
    ("model.py", "x + self.attn(self.ln_1(x), cache, mask)", "self.attn(self.ln_1(x), cache, mask)",
     "model"),
    ("model.py", "tril(S - T)", "tril()", "model cache"),
    ("model.py", 'approximate="tanh"', 'approximate="none"', "model"),
    ("model.py", "            cache.advance(x.shape[1])\n", "            pass\n", "cache"),
    ("layers.py", " if training and probability else x", " if probability else x", "model"),
    ("layers.py", "or self._backward_pre_hooks or", "or", "layers"),
    ("layers.py", "            or self._compiled_call_impl)", ")", "layers"),
    ("layers.py", "self.bias, self.eps)", "self.bias)", "layers model"),
    ("start.py", "matrix_power(R, h + 1)", "matrix_power(R, h)", "model"),
    ("start.py", "math.sqrt(2 * config.n_layer) if", "math.sqrt(config.n_layer) if", "model"),
    ("start.py", "    others[ids] = False\n", "", "model"),
    ("start.py", "weight[ids] += ", "weight[ids] = ", "model"),
    ("cache.py", "self.position += tokens", "self.position = self.length", "cache"),
    ("cache.py", "(keys[rows], values[rows])", "(keys[rows], values[:len(rows)])", "cache"),
    ("cache.py", "if end > self.capacity:", "if end >= self.capacity:", "cache"),
    ("cache.py", "F.pad(buffer, (0, 0, 0, slots))", "F.pad(buffer, (0, 0, slots, 0))",
     "cache"),
    ("generate.py", "before >= sampling.top_p", "ordered.cumsum(dim=-1) >= sampling.top_p",
     "generate"),
    ("generate.py", "logits < least", "logits <= least", "generate"),
    ("generate.py", ">= width - lengths[:, None]", "< lengths[:, None]", "generate"),
    ("generate.py", " - padding[:, None]).clamp", ").expand(len(ids), T).clamp", "generate"),
    ("generate.py", "made < limits[i]", "made < max(limits)", "generate"),
    ("generate.py", "            positions = positions + 1\n", "", "generate"),
    ("generate.py", "                cache.keep(index)\n", "", "generate"),
    ("generate.py", "max(lengths) >= block_size", "max(lengths) > block_size", "generate"),

    # Tokenizer and flags.
    ("tokenizer.py", "(-pair_counts[pair], pair)", "-pair_counts[pair]", "tokenizer"),
    ("tokenizer.py", "            i += 2\n", "            i += 1\n", "tokenizer"),
    ("tokenizer.py", "min(pairs, key=rank)", "max(pairs, key=rank)", "tokenizer"),
    ("tokenizer.py", "key=len, reverse=True", "key=len", "tokenizer"),
    ("tokenizer.py", "token >= len(self.ranked) and", "token > len(self.ranked) and",
     "tokenizer evaluate chat"),
    ("config.py", "not given >= value", "given < value", "config", "least_value"),
    ("config.py", "allow_abbrev=False", "allow_abbrev=True", "config"),
    ("config.py", '"nargs": "+"', '"nargs": "*"', "config"),
    ("config.py", "        if name in values:\n", "        if False:\n", "deltas config",
     "setting or twice"),

    # Tuning methods.
    ("peft/adapter.py", "        self.load_state_dict(base.state_dict())\n", "", "peft"),
    ("peft/adapter.py", "        self.load_state_dict(base.state_dict())\n",
     "        self.weight, self.bias = base.weight, base.bias\n", "peft"),
    ("peft/adapter.py", "return z + F.linear", "return x + F.linear", "peft"),
    ("peft/adapter.py", "        base.requires_grad_(False)", "        base.requires_grad_(True)",
     "peft"),
    ("peft/lora.py", "return h + self.scale * F.linear", "return h + F.linear", "peft"),
    ("peft/lora.py", "dropout(x, self.dropout, self.training), self.A", "x, self.A", "peft"),
    ("peft/lora.py", "math.sqrt(self.r) if self.sqrt_r else self.r", "self.r", "peft"),
    ("peft/lora.py", "torch.zeros(out, config.r", "torch.ones(out, config.r", "peft"),
    ("peft/prompt.py", "        first = dropout(first, self.config.dropout, self.training)\n", "",
     "peft"),
    ("peft/prompt.py", "            cache.position -= P", "            pass", "peft"),
    ("peft/prompt.py", "wte[ids.to(wte.device)].clone()", "wte[ids.to(wte.device)] * 0", "peft"),
    ("peft/prefix.py", "            cache.length += self.P\n", "", "peft"),
    ("peft/prefix.py", "layer in slots.unbind(1)", "layer in slots.flip(1).unbind(1)", "peft"),
    ("peft/virtual.py", "positions + self.P", "positions", "peft"),
    ("peft/virtual.py", "(self.P, 0), value=True", "(self.P, 0), value=False", "peft"),
    ("peft/virtual.py", "block_size - P)", "block_size)", "peft"),
    ("peft/inject.py", "    model.requires_grad_(False)\n", "", "peft"),
    ("peft/inject.py", "        W.copy_(before)\n", "        W.sub_(layer.merged_weight() - W)\n",
     "peft"),
    ("peft/inject.py", "    model.merged = None\n", "", "peft"),
    ("peft/files.py", "    digest.update(repr(base.config).encode())\n", "", "deltas",
     "fingerprint"),
    ("peft/files.py", "if base_fingerprint(model) != fingerprint:", "if False:", "deltas",
     "another_base"),
    ("interop/gpt2.py", "(**sizes, dropout=dropout)", "(**sizes)", "interop"),
    ("interop/gpt2.py", "    grown.weight[rows:] = old.mean(0)\n", "", "interop"),
    ("interop/gpt2.py", "weight.T if name.endswith(TRANSPOSED) else weight\n    return ours",
     "weight\n    return ours", "interop"),

    # Chat.
    ("chat.py", "tokenizer.special(END_OF_TURN), tokenizer.special(END_OF_TEXT)\n",
     "(tokenizer.special(END_OF_TURN),)\n", "chat"),
    ("chat.py", "        if text.strip():\n", "        if True:\n", "chat"),
    ("chat.py", "            messages = start(config)\n            continue",
     "            continue", "chat"),
    ("chat.py", "config.sampling(), generator)", "Sampling(), generator)", "chat"),
    ("chat.py", '    yield decoder.decode(b"", final=True)\n', "", "chat"),

    # Similar instructions.
    ("instruct/rouge.py", "lcs / len(c), lcs / len(r), 2", "lcs / len(r), lcs / len(c), 2",
     "rouge", "precision"),
    ("instruct/rouge.py", "WORD.findall(text.lower())", "text.lower().split()", "rouge", "runs"),
    ("instruct/rouge.py", "    if not c or not r:\n        return 0.0, 0.0, 0.0\n", "", "rouge",
     "scores_zero"),
    ("instruct/rouge.py", "(flat + hits) | (flat - hits)", "flat - hits", "rouge", "integer"),
    ("instruct/rouge.py", "(flat & everywhere).bit_count()", "flat.bit_count()", "rouge",
     "integer"),
    ("instruct/rouge.py", "        before[token] += 1\n", "", "rouge", "overlap"),
    ("instruct/rouge.py", "2 * overlaps /", "overlaps /", "rouge", "comparing_all"),
    ("instruct/rouge.py", "if (bound, -i) <= best:", "if bound <= best[0]:", "rouge", "first"),
    ("instruct/rouge.py", "max(best, (f_with(i), -i))", "max(best, (bound, -i))", "rouge",
     "comparing_all"),
    ("instruct/rouge.py", "-bounds[chosen], kind", "bounds[chosen], kind", "rouge",
     "comparing_all"),
    ("instruct/rouge.py", "f_with(i) > threshold", "f_with(i) >= threshold", "rouge",
     "exactly_the_threshold"),
    ("instruct/rouge.py", "not any(f_with", "not all(f_with", "rouge", "no_comparison"),
    ("instruct/rouge.py", "        if not holders:\n            return []\n", "", "rouge",
     "without_tokens"),
    ("instruct/rouge.py", "        if not 0 <= threshold <= 1:\n", "        if threshold > 1:\n",
     "rouge", "refused"),
    ("instruct/rouge.py", "        tokens = self.tokens(text)\n        for pair",
     "        tokens = words(text)\n        for pair", "rouge", "chinese_instructions"),
    # Building data: personal data goes, what only looks like it stays, and counts are right.
    ("instruct/privacy.py", "(sum(doubled) + sum(map(int, digits[::-2]))) % 10 == 0", "True",
     "privacy", "digit or hand"),
    ("instruct/privacy.py", "(?P<name>{START}(?:SSN", "(?P<name>(?:SSN", "privacy", "social"),
    ("instruct/privacy.py", "code[4:] + code[:4]", "code", "privacy", "digit or hand"),
    ("instruct/privacy.py", "2 ** (17 - place)", "2 ** place", "privacy", "digit or hand"),
    ("instruct/privacy.py", "            counts[kind] += 1", "            counts[kind] = 1",
     "privacy", "counted"),
    ("instruct/privacy.py", "(?<![\\dA-Za-z_])\", r\"(?![\\dA-Za-z_])\"", "\\b\", r\"\\b\"",
     "privacy", "98"),
    ("instruct/dialogue.py", "            if key in seen:\n", "            if False:\n", "dialogue",
     "summary"),
    ("instruct/dialogue.py", "learn and learn_before", "learn", "dialogue", "learnt"),
    ("instruct/dialogue.py", "        raise row\n", "        pass\n", "dialogue", "decoded"),
    ("instruct/dialogue.py", "[part for part in (before, content) if part.strip()]",
     "[before, content]", "dialogue", "trace"),
    ("instruct/dialogue.py", "<= LONG", "< LONG", "dialogue", "200"),
    ("instruct/dialogue.py", "lines[-2]", "lines[-1]", "dialogue", "names"),
    ("instruct/dialogue.py", " and marks % 2 == 1", "", "dialogue", "whole"),
    ("instruct/dialogue.py", "        content, masked = mask(content)\n",
     "        masked = mask(content)[1]\n", "dialogue", "every_turn"),
    # Tasks: one pair stands on one side of the split, and nothing is lost or learnt twice.
    ("instruct/templates.py", '("input", *asked), ', "", "tasks", "both_sides"),
    ("instruct/templates.py", '("values", frozenset(asked + answer))', '("values", pair.source)',
     "tasks", "both_sides"),
    ("instruct/templates.py", "frozenset(asked + answer)", "(*asked, *answer)", "tasks",
     "both_sides"),
    ("instruct/templates.py", "[normalised(pair.fields[name])", "[(pair.fields[name])", "tasks",
     "both_sides"),
    ("instruct/templates.py", "if task.output_space and answer not in task", "if answer in task",
     "tasks", "does_not_fit"),
    ("instruct/templates.py", "value is None or isinstance(value, str) and not value.strip()",
     "value is None", "tasks", "does_not_fit"),
    ("instruct/tasks.py", "if name not in decided and len(group) <= left:",
     "if len(group) <= left:", "tasks", "stays"),
    ("instruct/tasks.py", "name not in decided and len(group) <= left", "name not in decided",
     "tasks", "tenth"),
    ("instruct/tasks.py", "if normalised(task.asked(pair)) in asked:", "if False:", "tasks",
     "left_out or both_sides"),
    ("instruct/tasks.py", "rng.sample(pairs, len(pairs))", "pairs", "tasks", "seed"),
    ("instruct/tasks.py", "== 1], conflicts", ">= 1], conflicts", "tasks", "dropped"),
    ("instruct/tasks.py", "if output == answer or output not in right[asked]]", "]", "tasks",
     "choices"),
    ("instruct/tasks.py", 'if split == "test" and len', "if len", "tasks", "several"),
    ("instruct/tasks.py", "in numbered(other) if text not in task.descriptions]",
     "in numbered(other)]", "tasks", "shuffled"),
    ("instruct/tasks.py", "if other is not template for task", "for task", "tasks",
     "shuffled"),
    ("instruct/tasks.py", "as_it_is(task.label)", "task.label", "tasks", "braces"),
    ("build.py", "    if there and not is_made_by(summary, made_by):", "    if False:", "dialogue",
     "somebody or again"),
    ("build.py", "found.get(key) for key in made_by", "made_by[key] for key in made_by", "dialogue",
     "again"),
    # Teachers: nothing is lost, paid for twice or given away.
    ("instruct/server.py", "build_opener(_NoRedirects)", "build_opener()", "teacher", "carried"),
    ("instruct/server.py", 'text.replace(self._key, "(key)") if self._key else text', "text",
     "teacher", "no_file"),
    ("instruct/server.py", "            if self._clock() > until:\n                break\n", "",
     "teacher", "no_longer"),
    ("instruct/server.py", "(408, 429, *range", "(408, *range", "teacher", "tried_again"),
    ("instruct/server.py", "(until - now)", "(now - until)", "teacher", "how_long"),
    ("instruct/teacher.py", "2 ** i) * self._rng.uniform(0.5, 1)", "2 ** i)", "teacher", "jitter"),
    ("instruct/teacher.py", "        self._check_budget(most)\n", "", "teacher", "budget"),
    ("instruct/teacher.py", "self.tokens + most > ", "self.tokens > ", "teacher", "budget"),
    ("instruct/teacher.py", "\n            self._answers.add(id, row)\n", "\n", "teacher", "once"),
    ("instruct/teacher.py", "id_of(self._endpoint.address, body", 'id_of("", body', "teacher",
     "once"),
    ("instruct/teacher.py", "hold_interrupts() if is_main else nullcontext([])", "nullcontext([])",
     "teacher", "ctrl_c"),
    ("instruct/teacher.py", "hold_interrupts() if is_main else nullcontext([])",
     "hold_interrupts()", "teacher", "thread"),
    ("instruct/teacher.py", "        if pressed:\n            raise KeyboardInterrupt",
     "        if False:\n            raise KeyboardInterrupt", "teacher", "ctrl_c"),
    ("instruct/teacher.py", "manual_seed(seed_of(seed, prompt, again))", "manual_seed(seed)",
     "teacher", "as_in_chat or whatever"),
    ("instruct/teacher.py", "            with held_interrupts():\n                answer =",
     "            with nullcontext():\n                answer =", "teacher", "chosen"),
    ("instruct/teacher.py", "id_of(self.name, prompt", 'id_of("", prompt', "teacher",
     "weights_change"),
    ("instruct/teacher.py", "cache=folder, ", "", "teacher", "chosen_server"),
    ("generate.py", "max(lengths), NoRoom", "max(lengths), ValueError", "teacher", "fills"),
    ("instruct/evol_instruct.py", "< SHORT\n", "<= SHORT\n", "evol_instruct", "sorry"),
    ("instruct/evol_instruct.py", '"sorry" in answer.lower()', '"sorry" in answer',
     "evol_instruct", "sorry"),
    ("instruct/evol_instruct.py", "and any(map(str.isalnum, word))", "", "evol_instruct",
     "punctuation"),
    ("instruct/evol_instruct.py", 'r"[a-z]+|\\S"', 'r"[a-z]+"', "evol_instruct", "one_other"),
    ("instruct/evol_instruct.py", "return bool(after - before)", "return bool(after)",
     "evol_instruct", "before"),
    ("instruct/evol_instruct.py", "not evolved.strip() or ", "", "evol_instruct", "same_words"),
    ("instruct/evol_instruct.py", "return not found[1] if found else None",
     "return bool(found and not found[1])", "evol_instruct", "verdict"),
    ("instruct/evol_instruct.py", "        if not reason:\n            answer",
     "        if True:\n            answer", "evol_instruct", "spoken"),
    ("instruct/evol_instruct.py", "                tried[i].add(operation)\n", "",
     "evol_instruct", "failed"),
    ("instruct/evol_instruct.py", "pool[i], tried[i] = row", "_, tried[i] = row", "evol_instruct",
     "parent"),
    ("instruct/evol_instruct.py", "rng.choice(left or prompts.operations)",
     "(left or prompts.operations)[0]", "evol_instruct", "drawn"),
    ("instruct/evol_instruct.py", "Random(config.seed), config.rounds,",
     "Random(), config.rounds,", "evol_instruct", "killed"),
    ("instruct/evol_instruct.py", "or not messages[1].learn", "", "evol_instruct", "one_answer"),
    ("instruct/evol_instruct.py", "    except NoRoom:\n        reason = NO_ROOM\n",
     "    except NoRoom:\n        raise\n", "evol_instruct", "read"),
    ("instruct/answers.py", "        self._lock.enter_context(locked(folder))\n", "", "teacher",
     "keeps_others_out"),
    ("instruct/answers.py", "            os.truncate(self.path, self.path.stat().st_size - "
     "len(last))\n", "", "teacher", "torn"),
    ("instruct/answers.py", '            self._append(b"\\n")', "            pass", "teacher",
     "torn"),
    ("instruct/answers.py", "                os.truncate(self.path, size)", "                pass",
     "teacher", "full_disk"),
    # New tasks from a teacher.
    ("instruct/filters.py", "length < FEWEST_WORDS", "length <= FEWEST_WORDS", "self_instruct",
     "boundary"),
    ("instruct/filters.py", "length > MOST_WORDS", "length >= MOST_WORDS", "self_instruct",
     "boundary"),
    ("instruct/filters.py", "len(characters) + len(", "len(", "self_instruct", "boundary"),
    ("instruct/filters.py", "re.I | re.A)", "re.I)", "self_instruct", "boundary"),
    ("instruct/filters.py", "PROGRAM.match(", "PROGRAM.search(", "self_instruct", "boundary"),
    ("instruct/filters.py", "if start.isalnum()", "if start.isascii()", "self_instruct",
     "boundary"),
    ("instruct/filters.py", "(english if ascii_only else [])", "english", "self_instruct", "ascii"),
    ("instruct/filters.py", "0 < i == len(texts) - 1", "0 < i", "self_instruct", "cut_off"),
    ("instruct/filters.py", " and not is_open(before)", "", "self_instruct", "cut_off"),
    ("instruct/filters.py", "f > MOST_SIMILAR", "f >= MOST_SIMILAR", "self_instruct", "tenths"),
    ("instruct/filters.py", "Pool(words_and_characters)", "Pool()", "self_instruct", "chinese"),
    ("instruct/filters.py", "        if text in self.texts:\n            return 1.0, text\n", "",
     "self_instruct", "without_a_token"),
    ("instruct/filters.py", "instance.input.strip() == instance.output.strip()",
     "instance.input == instance.output", "self_instruct", "boundary"),
    ("instruct/filters.py", "None if instance.output.strip() else", "None if instance.output else",
     "self_instruct", "boundary"),
    ("instruct/filters.py", '(":", "：")', '(":",)', "self_instruct", "boundary"),
    ("instruct/filters.py", "        if instance.input:\n", "        if True:\n", "self_instruct",
     "boundary"),
    ("instruct/filters.py", "dict.fromkeys(range(len(instances)), found)", "{0: found}",
     "self_instruct", "boundary"),
    ("instruct/prompts.py", "            pairs.append((waiting or \"\", value))\n"
     "            waiting = None\n", "            pairs.append((waiting or \"\", value))\n",
     "self_instruct", "missing"),
    ("instruct/prompts.py", 'word[1] in ("yes", "是") if word else None', "bool(word)",
     "self_instruct", "yes_and_no"),
    ("instruct/self_instruct.py", "round {self.seed} {number}", "round {number}", "self_instruct",
     "another_seed"),
    ("instruct/self_instruct.py", "random.Random(f", "random.Random() or (f", "self_instruct",
     "same_seed or stopped"),
    ("instruct/self_instruct.py", "rng.sample(kept, min(number // 4, len(kept)))", "kept[:2]",
     "self_instruct", "fill_up"),
    ("instruct/self_instruct.py", "    rng.shuffle(examples)\n", "", "self_instruct", "fill_up"),
    ("instruct/self_instruct.py", "row-{len(self.rows) + 1}", "row-{len(self.kept) + 1}",
     "self_instruct", "names_the_tasks"),
    ("instruct/self_instruct.py", "        self.known.add(candidate.text)\n", "", "self_instruct",
     "not_tried_again"),
    ("instruct/self_instruct.py", "barren == PATIENCE", "barren > PATIENCE", "self_instruct",
     "gives_nothing"),
    ("instruct/teacher.py", "                self._answers.add(id, row)\n", "", "self_instruct",
     "stopped"),
    ("instruct/teacher.py", ", temperature {temperature}, top-p {top_p}, seed {seed}", "",
     "teacher", "seed"),
    ("instruct/teacher.py", 'seed {seed}" if temperature else ""', 'seed {seed}"', "teacher",
     "seed"),
    ("instruct/teacher.py", "of_model(teacher, temperature, seed, top_p=top_p)",
     "of_model(teacher)", "teacher", "temperature_and_seed"),
    ("instruct/self_instruct.py", ".answers\"), TEMPERATURE,\n                config.seed, TOP_P)",
     ".answers\"))", "self_instruct", "writes_rows"),
    ("instruct/self_instruct.py", "except NoRoom as error:", "except OSError as error:",
     "self_instruct", "too_long"),
    ("instruct/self_instruct.py", "        super().__post_init__()\n", "", "self_instruct",
     "wrong_settings"),
    ("build.py", ", *others.values()], summary, made_by)", "], summary, made_by)",
     "self_instruct", "somebody_else"),
    ("build.py", "if rows or any(beside.values()) and not out.exists():", "if rows:",
     "self_instruct", "gives_nothing"),
    ("build.py", " and not out.exists():", ":", "self_instruct", "gives_nothing"),
    ("build.py", "if rows or any(beside.values()) and", "if rows or", "dialogue",
     "nothing_is_kept"),

    # The town's teacher: what is evolved stays right, nothing that a test asks is taught.
    ("world/evolving.py", " and not has_new_pair(new) else None", " else None", "teaching",
     "worked_by_hand"),
    ("world/evolving.py", "for each in TASKS if each != name]", "for each in TASKS]", "teaching",
     "harder"),
    ("world/evolving.py", "CALL.match(path[-1])", "CALL.match(path[0])", "teaching",
     "call_is_added"),
    ("world/evolving.py", "return given + len(sentences", "return len(sentences", "teaching",
     "work"),
    ("world/teaching.py", "    if (as_typed([text]), None) in asked.texts:\n        return False\n",
     "", "teaching", "nothing_that"),
    ("world/teaching.py", "or oracle.meaning(skill, slots) not in asked.meanings", "or True",
     "teaching", "nothing_that"),
    ("world/teaching.py", 'SCOPE = scope_of("train")', 'SCOPE = scope_of("new_attribute")',
     "teaching", "nothing_that"),
    ("world/evolving.py", "len(known) >= MOST_FACTS or ", "", "teaching", "grows_to_a_limit"),
    ("world/teaching.py", "skill.asks_knowledge or ", "", "teaching", "only_knowledge"),
    ("world/teaching.py", "[*plain, *tuned][:MOST_WORDINGS]", "[*plain, *tuned]", "teaching",
     "six_wordings"),
    ("world/teaching.py", "if found and len(found[1]) <= LONGEST_ENTRY:", "if found:", "teaching",
     "lists_continue"),
    ("world/teaching.py", "kinds = rng.sample(KINDS, len(KINDS))",
     "kinds = rng.choices(KINDS, k=len(KINDS))", "teaching", "lists_continue"),
    ("world/teaching.py", "kinds = rng.sample(KINDS, len(KINDS))",
     "kinds = rng.sample(TASKS, len(TASKS))", "teaching", "lists_continue"),
    ("instruct/teacher.py", "temperature=temperature, top_p=top_p)", "temperature=temperature)",
     "teacher", "likeliest_token"),
    ("instruct/self_instruct.py", "config.seed, TOP_P) as teacher:", "config.seed) as teacher:",
     "self_instruct", "command_writes"),
    ("instruct/self_instruct.py", "answer.strip() != instance.output.strip()",
     "answer != instance.output", "self_instruct", "same_way"),
    ("instruct/self_instruct.py", ", config.ask_again)", ")", "self_instruct", "asks_again"),
    ("instruct/self_instruct.py", "range(1, self.ask_again + 1)", "range(1, self.ask_again)",
     "self_instruct", "same_way"),
    ("instruct/teacher.py", "id_of(self._endpoint.address, body, again)",
     "id_of(self._endpoint.address, body, 0)", "teacher", "each_time_once"),
    ("instruct/teacher.py", "id_of(self.name, prompt, again)", "id_of(self.name, prompt, 0)",
     "teacher", "draws_another"),
    ("instruct/prompts.py", "[:LONGEST_SHOWN]", "", "self_instruct", "long_example"),
    ("instruct/prompts.py", "examples=4", "examples=8", "self_instruct", "short_form_shows"),
    ("instruct/self_instruct.py", "FORMS[config.prompts], ", "PAPER, ", "self_instruct",
     "command_asks_in_the_short"),
    ("instruct/evol_instruct.py", "evolve=ask_shortly, compare=None", "evolve=ask_shortly",
     "evol_instruct", "short_form"),
    ("instruct/evol_instruct.py", "FORMS[config.prompts]", "PROMPTS", "evol_instruct",
     "command_asks_in_the_short"),
    # A class is graded: nothing is refused too late, nobody's text is obeyed, no copy hides.
    ("../lessons/checking/guard.py", "if event in PROCESSES:", "if not event:", "grade",
     "outside_of"),
    ("../lessons/checking/guard.py", "    path = os.path.realpath(path)\n", "", "grade",
     "outside_of or allowed"),
    ("../lessons/checking/guard.py", "for path in arguments[:2] if event in FILES else",
     "for path in", "grade", "outside_of"),
    ("../lessons/checking/guard.py", "(arguments[2] or 0) & WRITES", 'arguments[1] == "w"', "grade",
     "outside_of"),
    ("../lessons/checking/guard.py", "(arguments[2] or 0) & WRITES", "True", "grade", "allowed"),
    ("../lessons/grading/similarity.py", 'return "v" if name in self.names else name',
     "return name", "grade", "other_names"),
    ("../lessons/grading/similarity.py", "alike.visit(deepcopy(node))", "node", "grade",
     "other_names or own_text"),
    ("../lessons/grading/similarity.py", "own += [node] * (ast.dump(node) not in handed_out)",
     "own.append(node)", "grade", "own_text"),
    ("../lessons/grading/similarity.py", "    common.update(*ours)\n", "", "grade", "no_rest"),
    ("../lessons/grading/similarity.py", "if number > max(2, len(theirs) / 2)", "if number > 1",
     "grade", "more_than_half"),
    ("../lessons/grading/similarity.py", "if number > max(2, len(theirs) / 2)", "if not number",
     "grade", "more_than_half"),
    ("../lessons/grading/similarity.py", "2 * (a & b).total()", "2 * len(a & b)", "grade", "dice"),
    ("../lessons/grading/similarity.py", "for alias in node.names} & names", "for alias in []}",
     "grade", "imports"),
    ("../lessons/grading/results.py", '("=", "+", "-", "@")', '("=", "+", "@")', "grade",
     "spreadsheet"),
    ("../lessons/grading/results.py", "        except ValueError:\n            continue\n",
     "        except KeyError:\n            continue\n", "grade", "cut_off"),
    ("../lessons/grading/page.py", "escape(visible(value))", "visible(value)", "grade", "mark_up"),
    ("../lessons/grading/page.py", "escape(visible(value))", "escape(value)", "grade", "mark_up"),
    ("../lessons/grade.py", 'f"{rules}\\0{text}".encode()', "text.encode()", "grade",
     "have_changed"),
    ("../lessons/grade.py", "known[submission.student, name].of == digest(text, now)", "known",
     "grade", "not_changed or tries_again"),
    ("../lessons/grade.py", "[jobs] if COPIES else", "[jobs] if jobs else", "grade", "fresh_one"),
    ("../lessons/grade.py", " or submissions in out.parents", "", "grade", "among"),
    ("../lessons/grading/submissions.py", '"utf-8-sig"', '"utf-8"', "grade", "read_alike"),
    ("../lessons/grading/submissions.py", "used == exercise.file or name != exercise.file",
     "used == used", "grade", "two_files"),
    ("../lessons/grading/submissions.py", 'path.is_relative_to(project / "lessons" / "mine")',
     "path", "grade", "whole_project"),
    ("../lessons/checking/exercise.py", '"utf-8-sig"', '"utf-8"', "exercises", "mark_in_front"),
    ("../lessons/checking/exercise.py", "        except UnicodeDecodeError as error:",
     "        except KeyError as error:", "exercises", "another_encoding"),
)]


def copy_project(folder):
    """A copy of the project in a folder, without what is not code or shipped data."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(
        ".*", "__pycache__", "mine", "run-*"))
    compileall.compile_dir(  # by their content: a file may change twice in a second
        folder / "minisft", quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)


def fate(mutant, folder):
    """What became of a mutant in a copy of the project: "killed", "SURVIVED" or what is wrong."""
    path = folder / "minisft" / mutant.file
    content = path.read_text(encoding="utf-8")
    if content.count(mutant.old) != 1:
        return f"STALE: the old text stands {content.count(mutant.old)} times in the file"
    path.write_text(content.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return outcome(mutant, folder)
    finally:
        path.write_text(content, encoding="utf-8")


def outcome(mutant, folder):
    files = [f"tests/test_{name}.py" for name in mutant.tests.split()]
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-k", mutant.only, *files]
    printed = folder / "printed.txt"
    process = CONTEXT.Process(target=run_tests, args=(folder, arguments, printed))
    process.start()
    process.join(LONGEST)
    if process.is_alive():
        process.kill()
        process.join()
        return "killed, as it never ends"
    text = printed.read_text(encoding="utf-8", errors="replace")
    failed = re.search(r"^FAILED tests/\S+?::(\w+)", text, re.MULTILINE)
    if failed:
        return f"killed by {failed[1]}"
    return "SURVIVED" if process.exitcode == 0 else f"BROKEN: no test ran to its end\n{text[-800:]}"


def run_tests(folder, arguments, printed):
    """Run pytest in a copy of the project; what it prints goes into a file."""
    with open(printed, "wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(folder)
    sys.path[0] = str(folder)
    sys.modules.pop("tests", None)  # that of the project itself
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.exit(pytest.main(arguments))


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="rows that contain it")
    chosen = [mutant for mutant in MUTANTS if any(parser.parse_args(argv).only in part
                                                  for part in mutant)]
    left = []
    with tempfile.TemporaryDirectory(prefix="minisft-mutants-") as parent:
        folder = Path(parent) / "project"
        copy_project(folder)
        for number, mutant in enumerate(chosen, 1):
            began = time.perf_counter()
            what = fate(mutant, folder)
            seconds = time.perf_counter() - began
            if mutant.equivalent:
                what += f" (equivalent: {mutant.equivalent})"
            line = f"{mutant.file}: {mutant.old.strip()!r} -> {mutant.new.strip()!r}"
            print(f"{number}/{len(chosen)} {line}\n    {what}, {seconds:.0f} s", flush=True)
            if not what.startswith("killed") and not mutant.equivalent:
                left.append(f"{line}: {what}")
    print("\n".join([f"\n{len(left)} of {len(chosen)} were not killed", *left]))
    return bool(left)


if __name__ == "__main__":
    sys.exit(main())
