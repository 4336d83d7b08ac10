"""Probes of a base model: texts to continue, whose right continuation is known. No instructions.

    recall     "Mia keeps a dog. Mia's color is blue. The pet of Mia is"      ->  " a dog."
    few-shot   "red > color ; rice > dish ; dog > pet ; oak >"                ->  " tree"
    prose      "The words are elm, dog. The last word is"                     ->  " dog."

Recall measures whether the model looks back in a text. Each text is about one resident. A guess
among the eight values of the attribute is right in one case of eight, and a model need not look at
the name to find the right value. If two residents have the same attribute, the model must also tell
whose value it is. One that cannot is right in 56% of the texts, because sometimes both have the
same value. That is measured separately (see `shapes`).

Few-shot probes measure whether the model learns from five examples. The examples show a skill,
which the prose shows in lists too; or a "mapping" made up for this list, whose sixth word is one of
the five (chance is one over the number of labels shown); or a "sorting" made up for this list,
whose sixth word is new (chance is one half).

Prose probes ask for the answers of skills in the words in which the prose shows them. They measure
what the base model knows before any tuning.
"""

import random

from minisft.generate import generate
from minisft.tokenizer import END_OF_TEXT
from minisft.world.language import state
from minisft.world.prose import (
    EVERYTHING,
    RELATED,
    SHOWN,
    draw_examples,
    draw_mapping,
    draw_sorting,
    write_examples,
)
from minisft.world.skills import draw_facts


def recall_items(count, seed=0, shapes=((1, 3), (1, 4), (1, 5))):
    """(unfinished text, right continuation) pairs; the text states each fact once.

    shapes: (residents, attributes) of the texts.
    """
    rng = random.Random(f"recall probe {seed}")
    items = []
    for _ in range(count):
        facts = draw_facts(rng, EVERYTHING, *rng.choice(shapes))
        asked = state(rng.choice(facts), 0)
        cut = asked.index(" is ") + len(" is")
        text = " ".join(state(fact, rng.randrange(1, 5)) for fact in facts)
        items.append((f"{text} {asked[:cut]}", asked[cut:]))
    return items


def few_shot_items(count, name, shots=5, seed=0):
    """(unfinished text, right continuation) pairs; each text is a list of `shots` examples.

    name: a relation in prose.RELATED, "mapping" or "sorting".
    """
    rng = random.Random(f"few-shot probe {name} {seed}")
    items = []
    while len(items) < count:
        if name in RELATED:
            pairs = draw_examples(rng, name, shots + 1)
        elif name == "mapping":
            pairs = draw_mapping(rng, shots + 1)
        else:
            pairs = draw_sorting(rng, shots + 1)

        *shown, (given, related) = pairs
        labels = [label for _, label in shown]
        if name in RELATED or related in labels:
            items.append((f"{write_examples(shown)} ; {given} >", f" {related}"))
    return items


def prose_items(count, name, seed=0):
    """(unfinished text, right continuation) pairs for a skill, as prose shows it."""
    rng = random.Random(f"prose probe {name} {seed}")
    skill = SHOWN[name]
    items = []
    for _ in range(count):
        text, lead, rest = skill.show(rng, skill.draw(rng, EVERYTHING))
        before = text + lead
        if before.endswith(" "):  # the space belongs to the token that comes next
            before, rest = before.rstrip(" "), " " + rest
        items.append((before, rest))
    return items


def completes(model, tokenizer, items, batch_size=128):
    """For each (text, continuation), whether greedy decoding gives exactly these tokens.

    Returns a list of bool in the order of the items.
    """
    start = tokenizer.special(END_OF_TEXT)
    prompts = [[start] + tokenizer.encode(text) for text, _ in items]
    wanted = [tokenizer.encode(rest) for _, rest in items]
    by_length = sorted(range(len(items)), key=lambda i: (len(prompts[i]), len(wanted[i])))
    right = [False] * len(items)
    for first in range(0, len(items), batch_size):
        chosen = by_length[first:first + batch_size]
        longest = max(len(wanted[i]) for i in chosen)
        given = generate(model, [prompts[i] for i in chosen], longest)
        for i, ids in zip(chosen, given):
            right[i] = ids[:len(wanted[i])] == wanted[i]
    return right


def share_completed(model, tokenizer, items):
    """Share of the items that the model continues correctly."""
    return sum(completes(model, tokenizer, items)) / len(items)


def recall_probe(model, tokenizer, count=500, seed=0, **shapes):
    """Share of texts whose fact the model repeats correctly, value and full stop."""
    return share_completed(model, tokenizer, recall_items(count, seed, **shapes))


def few_shot_probe(model, tokenizer, count=100, shots=5, seed=0,
                   names=(*RELATED, "mapping", "sorting")):
    """{relation: share right} after `shots` examples."""
    return {name: share_completed(model, tokenizer, few_shot_items(count, name, shots, seed))
            for name in names}


def label_chance(name, count=100, shots=5, seed=0):
    """Share of "mapping" or "sorting" lists that a random choice of a label shown gets right."""
    chances = []
    for text, _ in few_shot_items(count, name, shots, seed):
        *examples, _ = text.split(" ; ")
        labels = {example.split(" > ")[1] for example in examples}
        chances.append(1 / len(labels))
    return round(sum(chances) / count, 4)


def prose_probe(model, tokenizer, count=100, seed=0, names=tuple(SHOWN)):
    """{skill: share right} in texts that show the skill as prose does."""
    return {name: share_completed(model, tokenizer, prose_items(count, name, seed))
            for name in names}
