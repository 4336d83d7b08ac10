"""Pre-training prose: texts that describe and show what the town knows, and never give an order or answer one.

Almost every text states its facts and then *states them again*, in another order and often in other words. One that
says each fact once can be predicted from word statistics; one that repeats itself rewards looking back, and it is this
looking back (recall) that instruction tuning later turns into answering questions.

Source: our own trials; the mechanism is the induction head of Olsson et al. 2022 (In-context learning and induction
heads).
"""

from minisft.world.facts import (
    ATTRIBUTE_OF,
    ATTRIBUTES,
    CHINESE_OF,
    OPPOSITES,
    POSSESSIVE,
    RESIDENTS,
    display,
)
from minisft.world.language import STATEMENTS, Template, capitalize, listing, state, state_in_chinese
from minisft.world.skills import THINGS, Scope, draw_facts

EVERYTHING = Scope(tuple(ATTRIBUTES))
WORDS = tuple(ATTRIBUTE_OF)
CALLED = WORDS + tuple(OPPOSITES) + tuple(map(str, range(1, 21)))  # what songs may hold beside names
VALUE_FIRST = Template("{value} is the {noun} of {name}.")
PRONOUN = Template("{possessive} {noun} is {value}.")
# (residents, attributes) of a portrait: most are about one resident, as are the passages that instructions ask about
SHAPES = ((1, 3), (1, 3), (1, 4), (1, 4), (1, 5), (1, 5), (1, 6), (2, 1), (2, 2), (3, 1))


def _restated(rng, fact, previous):
    name, noun, value = fact
    roll = rng.random()
    if roll < 0.1:
        return capitalize(VALUE_FIRST.fill(value=display(noun, value), noun=noun, name=name))
    if roll < 0.2 and previous is not None and previous[0] == name:
        return capitalize(PRONOUN.fill(possessive=POSSESSIVE[name], noun=noun, value=display(noun, value)))
    return state(fact, rng.randrange(len(STATEMENTS) + 1))


def portrait(rng):
    """Facts about one to three residents, told again and again, in the same words or in others."""
    facts = draw_facts(rng, EVERYTHING, *rng.choice(SHAPES))
    same_words = rng.random() < 0.5 and {fact: state(fact, rng.randrange(5)) for fact in facts}
    sentences, previous = [], None
    for fact in [*facts, *rng.choices(facts, k=len(facts) * (2 if len(facts) <= 6 else 1))]:
        sentences.append(same_words[fact] if same_words else _restated(rng, fact, previous))
        previous = fact
    return (" " if rng.random() < 0.7 else "\n").join(sentences)


def bilingual(rng):
    """Facts in both languages, sentence by sentence, or first all in one and then all in the other."""
    facts = draw_facts(rng, EVERYTHING, *rng.choice(((1, 2), (1, 3), (2, 1))))
    english = [state(fact, rng.randrange(2)) for fact in facts]
    chinese = [state_in_chinese(fact) for fact in facts]
    halves = (english, chinese) if rng.random() < 0.5 else (chinese, english)
    if rng.random() < 0.5:
        return "\n".join(sentence for pair in zip(*halves) for sentence in pair)
    return "\n".join(" ".join(half) for half in halves)


def retold(rng, facts, ways):
    """All facts, and then all of them again in another order; ways: fact -> sentences that state it."""
    again = rng.sample(facts, len(facts))
    return " ".join(rng.choice(ways(fact)) for fact in [*facts, *again])


def dictionary(rng):
    """What words are in the other language."""
    return retold(rng, rng.sample(WORDS, rng.randint(3, 5)), lambda word: (
        f"In Chinese, {word} is {CHINESE_OF[word]}.",
        f"In English, {CHINESE_OF[word]} is {word}."))


def kinds(rng):
    """Which kind of thing a word names."""
    return retold(rng, rng.sample(WORDS, rng.randint(3, 5)), lambda word: (
        f"The word {word} names a kind of {ATTRIBUTE_OF[word]}.",
        f"The word {word} names a kind of {ATTRIBUTE_OF[word]}.",
        f"One kind of {ATTRIBUTE_OF[word]} is {word}."))


def opposites(rng):
    """Which words mean the opposite of each other."""
    return retold(rng, rng.sample(list(OPPOSITES), rng.randint(3, 5)), lambda word: (
        f"The opposite of {word} is {OPPOSITES[word]}.",
        f"The opposite of {word} is {OPPOSITES[word]}.",
        f"What is not {word} is {OPPOSITES[word]}."))


def sums(rng):
    """What two numbers add up to, and what is left when one is taken away."""
    facts = [(rng.randint(1, 10), rng.randint(1, 10)) for _ in range(rng.randint(3, 5))]
    return retold(rng, facts, lambda fact: (
        f"We know that {fact[0]} plus {fact[1]} is {sum(fact)}.",
        f"We know that {sum(fact)} minus {fact[1]} is {fact[0]}."))


def stories(rng):
    """Small events with numbers, and how many of a thing somebody has in the end."""
    def ways(event):
        name, thing, a, b, gets = event
        if gets:
            return (f"{name} has {a} {thing}s and gets {b} more. Now {name} has {a + b} {thing}s.",
                    f"{name} had {a} {thing}s and found {b} more. Now {name} has {a + b} {thing}s.")
        return (f"{name} has {a + b} {thing}s and gives {b} away. Now {name} has {a} {thing}s.",
                f"{name} had {a + b} {thing}s and lost {b}. Now {name} has {a} {thing}s.")

    events = [(name, rng.choice(THINGS), rng.randint(1, 10), rng.randint(1, 10), rng.random() < 0.5)
              for name in rng.sample(RESIDENTS, rng.randint(1, 3))]
    return retold(rng, events, ways)


def lists(rng):
    """Lists of words, and what comes first, last, and backwards in them."""
    sentences = []
    for _ in range(rng.randint(2, 3)):
        words = rng.sample(WORDS, rng.randint(3, 4))
        seen = [rng.choice((f"The first word is {words[0]}.", f"The last word is {words[-1]}.")),
                f"Backwards it is {listing(reversed(words))}."]
        sentences += [f"The words are {listing(words)}.", *rng.sample(seen, 2)]
    return " ".join(sentences)


def refrain(rng):
    """Words or short facts sung over and over, as in a song: whoever has heard a line once can go on with it."""
    if rng.random() < 0.7:
        line = " ".join(rng.choices(RESIDENTS + CALLED, k=rng.randint(3, 30)))
    else:
        line = " ".join(state(fact, rng.randrange(5)) for fact in draw_facts(rng, EVERYTHING, rng.randint(1, 3), 1))
    return " ".join([line] * max(2, 300 // len(line)))


def roll_call(rng):
    """Names, each with a word or another name of its own, called up again and again, any of them at any time."""
    names = rng.sample(RESIDENTS, rng.randint(3, 6))
    form, words = rng.choice((("{} {}.", CALLED), ("{} calls {}.", RESIDENTS)))
    calls = [form.format(name, rng.choice(words)) for name in names]
    return " ".join([*calls, *rng.choices(calls, k=18)])


def song(rng):
    """A refrain or a roll call: nothing but what was said before."""
    return rng.choice((refrain, roll_call))(rng)


def verses(rng):
    """The same thing told of two to four residents, again and again: only the name tells whose value it is."""
    facts = draw_facts(rng, EVERYTHING, rng.randint(2, 4), 1)
    form = rng.choice((None, rng.randrange(5)))
    return " ".join(state(fact, rng.randrange(5) if form is None else form)
                    for fact in [*facts, *rng.choices(facts, k=10)])


def meetings(rng):
    """People who greet each other and say something of themselves."""
    name, other = rng.sample(RESIDENTS, 2)
    noun = rng.choice(tuple(ATTRIBUTES))
    value = display(noun, rng.choice(tuple(ATTRIBUTES[noun].values)))
    lines = [
        rng.choice((f"{name} says hello to {other}.", f"{other} says good morning to {name}.")),
        rng.choice((f"My name is {name}, says {name}.", f"I am {name}, says {name}.")),
        rng.choice((f"Your name is {name}, says {other}.", f"You are welcome, {name}, says {other}.")),
        rng.choice((f"My {noun} is {value}, says {name}.", f"I have {value} as {noun}, says {name}.")),
        rng.choice((f"That is good to know, says {other}.", f"How can I help, asks {other}.")),
        f"Your {noun} is {value}, says {other}.",
    ]
    return " ".join(lines)


# How many documents of each kind among a hundred.
MIXTURE = {
    portrait: 34, verses: 6, refrain: 3, roll_call: 5, bilingual: 9, dictionary: 8, kinds: 4, opposites: 5, sums: 8,
    stories: 5, lists: 10, meetings: 3,
}


def document(rng):
    """One document of prose, drawn from the mixture."""
    kind, = rng.choices(list(MIXTURE), list(MIXTURE.values()))
    return kind(rng)
