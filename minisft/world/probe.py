"""The recall probe: does a base model look back in a text? No instruction is involved.

    "Mia keeps a dog. Mia's color is blue. The pet of Mia is"   ->   " a dog."

The texts are about one resident. Chance is one in eight at best, for a model that knows the attribute and guesses the
value. With two residents who have the same attribute, a model must also tell whose value it is; one that cannot is
right a little over half the time, as both may have the same value. That is asked for apart.
"""

import random

from minisft.generate import generate
from minisft.tokenizer import END_OF_TEXT
from minisft.world.language import state
from minisft.world.prose import EVERYTHING
from minisft.world.skills import draw_facts


def probe_items(count, seed=0, shapes=((1, 3), (1, 4), (1, 5))):
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


def recall_probe(model, tokenizer, count=500, seed=0, batch_size=128, **shapes):
    """Share of items that greedy decoding continues right, value and full stop included."""
    items = [([tokenizer.special(END_OF_TEXT)] + tokenizer.encode(text), tokenizer.encode(rest))
             for text, rest in probe_items(count, seed, **shapes)]
    items.sort(key=lambda item: len(item[0]))
    right = 0
    for chosen in (items[i:i + batch_size] for i in range(0, len(items), batch_size)):
        longest = max(len(rest) for _, rest in chosen)
        given = generate(model, [prompt for prompt, _ in chosen], longest)
        right += sum(answer[:len(rest)] == rest for answer, (_, rest) in zip(given, chosen))
    return right / count
