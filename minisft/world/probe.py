"""Probes of a base model: texts to go on with, of which the right continuation is known. No instruction is involved.

    recall     "Mia keeps a dog. Mia's color is blue. The pet of Mia is"      ->  " a dog."
    few-shot   "red > color ; rice > dish ; dog > pet ; oak >"                ->  " tree"
    prose      "The words are elm, dog. The last word is"                     ->  " dog."

Recall asks whether the model looks back in a text. The texts are about one resident: who guesses one of the attribute's
eight values is right in one case of eight, and it takes no look at the name to find the right one. With two residents
who have the same attribute, a model must also tell whose value it is; one that cannot is right in 56%, as now and then
both have the same value. That is asked for apart.

Few-shot probes ask whether it learns from five examples: of a skill that the prose holds as lists too; of a mapping
made up for this list, whose sixth word stands among the five ("mapping": chance is one over the labels shown); of a
sorting made up for this list, whose sixth word is new ("sorting": chance is one half). Prose probes ask for what a
skill's answer says, in the words in which the prose shows it: what is there before any tuning.
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
    """(text so far, its right continuation) pairs; each fact stands once in the text.

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
    """The same for lists of `shots` examples; name: of a relation in prose.RELATED, or "mapping", or "sorting"."""
    rng = random.Random(f"few-shot probe {name} {seed}")
    items = []
    while len(items) < count:
        if name in RELATED:
            pairs = draw_examples(rng, name, shots + 1)
        else:
            pairs = (draw_mapping if name == "mapping" else draw_sorting)(rng, shots + 1)
        *shown, (given, related) = pairs
        if name in RELATED or related in dict(shown).values():
            items.append((f"{write_examples(shown)} ; {given} >", f" {related}"))
    return items


def prose_items(count, name, seed=0):
    """The same for a skill as prose shows it."""
    rng = random.Random(f"prose probe {name} {seed}")
    items = []
    for _ in range(count):
        text, lead, rest = SHOWN[name].show(rng, SHOWN[name].draw(rng, EVERYTHING))
        before = text + lead
        items.append((before.rstrip(" "), " " + rest if before.endswith(" ") else rest))
    return items


def completes(model, tokenizer, items, batch_size=128):
    """For each (text so far, continuation), whether greedy decoding goes on with exactly these tokens."""
    start = tokenizer.special(END_OF_TEXT)
    prompts = [[start] + tokenizer.encode(text) for text, _ in items]
    wanted = [tokenizer.encode(rest) for _, rest in items]
    order = sorted(range(len(items)), key=lambda i: (len(prompts[i]), len(wanted[i])))
    right = [False] * len(items)
    for chosen in (order[i:i + batch_size] for i in range(0, len(order), batch_size)):
        given = generate(model, [prompts[i] for i in chosen], max(len(wanted[i]) for i in chosen))
        for i, ids in zip(chosen, given):
            right[i] = ids[:len(wanted[i])] == wanted[i]
    return right


def share_completed(model, tokenizer, items):
    return sum(completes(model, tokenizer, items)) / len(items)


def recall_probe(model, tokenizer, count=500, seed=0, **shapes):
    """Share of texts whose fact the model says again, value and full stop included."""
    return share_completed(model, tokenizer, recall_items(count, seed, **shapes))


def few_shot_probe(model, tokenizer, count=100, shots=5, seed=0, names=(*RELATED, "mapping", "sorting")):
    """{relation: share right} after `shots` examples."""
    return {name: share_completed(model, tokenizer, few_shot_items(count, name, shots, seed)) for name in names}


def label_chance(name, count=100, shots=5, seed=0):
    """Share of "mapping" or "sorting" lists that one would go on with rightly who picks any of the labels shown."""
    labels = [{example.split(" > ")[1] for example in text.split(" ; ")[:-1]}
              for text, _ in few_shot_items(count, name, shots, seed)]
    return round(sum(1 / len(shown) for shown in labels) / count, 4)


def prose_probe(model, tokenizer, count=100, seed=0, names=tuple(SHOWN)):
    """{skill: share right} where it is shown as prose shows it."""
    return {name: share_completed(model, tokenizer, prose_items(count, name, seed)) for name in names}
