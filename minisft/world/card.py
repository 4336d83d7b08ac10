"""The card of a base model: how it was made, and how well it predicts, recalls and learns."""

import json
from pathlib import Path
from statistics import mean

from minisft.checkpoint import load_model, write_atomically
from minisft.device import describe_machine
from minisft.evaluate import mean_loss, perplexity
from minisft.run import command_of, read_log
from minisft.shipped import ROOT
from minisft.world.probe import few_shot_probe, label_chance, prose_probe, recall_probe

CARDS = {"small": "base-small", "middle": "base", "large": "base-large"}  # files in checkpoints/


def add_probe(folder, record, model, tokenizer):
    """Note in probes.jsonl what the model can do after a step.

    What an earlier attempt noted of this step and later ones is dropped.
    """
    known = few_shot_probe(model, tokenizer, 30)
    row = {"step": record.step, "loss": record.loss, "recall": recall_probe(model, tokenizer, 200),
           "mapping": known.pop("mapping"), "sorting": known.pop("sorting"),
           "few_shot": mean(known.values())}
    rows = [earlier for earlier in read_probes(folder) if earlier["step"] < record.step] + [row]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(f"{folder}/probes.jsonl", lines.encode())


def read_probes(folder):
    """The rows that `add_probe` wrote."""
    path = Path(folder) / "probes.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def base_figures(model, tokenizer, folder, config, valid):
    """The figures of the base model in a run folder, as plain values.

    config: the settings that made it; valid: rendered examples of held-out prose, or none for a
    model of other text, of which the town's probes say nothing. The probes are taken from the model
    as it is on disk, in half precision.
    """
    figures = how_it_was_made(model, folder, config)
    if not valid:
        return figures
    halved = load_model(folder)[0].to(model.device)
    known = few_shot_probe(halved, tokenizer)
    made_up = {name: known.pop(name) for name in ("mapping", "sorting")}
    loss = mean_loss(halved, valid)
    return figures | {
        "held_out_loss": round(loss, 4),
        "held_out_loss_before_halving": round(mean_loss(model, valid), 4),
        "held_out_perplexity": round(perplexity(loss), 3),
        "recall_probe": recall_probe(halved, tokenizer),
        "recall_probe_two_residents": recall_probe(halved, tokenizer, shapes=((2, 1), (2, 2))),
        "few_shot_known": round(mean(known.values()), 4), "few_shot_by_relation": known,
        "few_shot_made_up": made_up,
        "few_shot_chance": {name: label_chance(name) for name in made_up},
        "as_prose": prose_probe(halved, tokenizer), "probes": read_probes(folder),
    }


def how_it_was_made(model, folder, config):
    """Command, sizes, tokens, time and losses of a run, from its settings and its log."""
    log = read_log(folder)
    seconds = sum(row["seconds"] for row in log)
    return {
        "command": command_of("pretrain", config), "seed": config.seed, "steps": len(log),
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": sum(row["tokens"] for row in log),
        "minutes": round(seconds / 60, 1), "machine": describe_machine(model.device),
        "share_of_time_waiting_for_data": round(sum(row["waited"] for row in log) / seconds, 4),
        "first_losses": [row["loss"] for row in log[:3]], "last_loss": log[-1]["loss"],
    }


def compare_figures(figures, size):
    """Lines that set the figures beside those of the shipped base of this size; size: or None."""
    figures, card = _flat(figures), _flat(shipped_card(figures, size))
    lines = [f"{'':32} {'this run':>14} {'shipped':>14}"] if card else []
    for name, value in figures.items():
        if isinstance(value, int | float):
            shipped = f" {card[name]:>14,}" if name in card else ""
            lines.append(f"{name:32} {value:14,}{shipped}")
    return lines


def shipped_card(figures, size):
    """The card of the shipped base of a size, if it has as many parameters; else nothing."""
    if size is None:
        return {}
    path = ROOT / "checkpoints" / f"{CARDS[size]}.json"
    card = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return card if card.get("parameters") == figures["parameters"] else {}


def _flat(figures):
    """Figures within figures as one row each: {"as_prose reading": 0.9, ...}."""
    flat = {}
    for name, value in figures.items():
        for key, each in (value if isinstance(value, dict) else {"": value}).items():
            flat[f"{name} {key}".strip()] = each
    return flat
