"""Pre-training prose: texts that describe and show what the town knows, and never give an order or answer one.

Almost every text states its facts and then *states them again*, in another order and often in other words. One that
says each fact once can be predicted from word statistics; one that repeats itself rewards looking back, and it is this
looking back (recall) that instruction tuning later turns into answering questions.

A part of the documents are lists of examples ("red > color ; rice > dish"), of skills whose answers are short, and of
mappings made up for that list alone, so that a model can learn to learn from examples.

Source: our own trials; the mechanism is the induction head of Olsson et al. 2022 (In-context learning and induction
heads).
"""

from minisft.world.facts import (
    ATTRIBUTE_OF,
    ATTRIBUTES,
    ATTRIBUTES_OF,
    CHINESE_OF,
    OPPOSITES,
    PLURAL_OF,
    POSSESSIVE,
    RESIDENTS,
    display,
)
from minisft.world.language import STATEMENTS, Template, capitalize, listing, state, state_in_chinese
from minisft.world.skills import LIST_SKILLS, ONE_STEP, THINGS, Scope, draw_facts, draw_list
from minisft.world.steps import SEVERAL_STEPS

EVERYTHING, HARBOR = Scope(), Scope(ATTRIBUTES_OF["harbor"])
SHOWN = {skill.name: skill for skill in ONE_STEP + SEVERAL_STEPS if skill.shown}
WORDS = tuple(EVERYTHING.words() + HARBOR.words())
CALLED = WORDS + tuple(OPPOSITES) + tuple(map(str, range(1, 21)))  # what roll calls and refrains may hold
VALUE_FIRST = Template("{value} is the {noun} of {name}.")
PRONOUN = Template("{possessive} {noun} is {value}.")
# (residents, attributes) of a portrait: most are about one resident
SHAPES = ((1, 3), (1, 3), (1, 4), (1, 4), (1, 5), (1, 5), (1, 6), (2, 1), (2, 2), (2, 3), (3, 1))


def _restated(rng, fact, previous):
    name, noun, value = fact
    roll = rng.random()
    if roll < 0.1:
        return capitalize(VALUE_FIRST.fill(value=display(noun, value), noun=noun, name=name))
    if roll < 0.2 and previous is not None and previous[0] == name:
        return capitalize(PRONOUN.fill(possessive=POSSESSIVE[name], noun=noun, value=display(noun, value)))
    return state(fact, rng.randrange(len(STATEMENTS) + 1))


def portrait(rng, scope=EVERYTHING):
    """Facts about one to three residents, told again and again, in the same words or in others."""
    facts = draw_facts(rng, scope, *rng.choice(SHAPES))
    same_words = rng.random() < 0.5 and {fact: state(fact, rng.randrange(5)) for fact in facts}
    sentences, previous = [], None
    for fact in [*facts, *rng.choices(facts, k=len(facts) * (2 if len(facts) <= 6 else 1))]:
        sentences.append(same_words[fact] if same_words else _restated(rng, fact, previous))
        previous = fact
    return (" " if rng.random() < 0.7 else "\n").join(sentences)


def bilingual(rng):
    """Facts in both languages, sentence by sentence, or first all in one and then all in the other."""
    facts = draw_facts(rng, _somewhere(rng), *rng.choice(((1, 2), (1, 3), (2, 1))))
    english = [state(fact, rng.randrange(2)) for fact in facts]
    chinese = [state_in_chinese(fact) for fact in facts]
    halves = (english, chinese) if rng.random() < 0.5 else (chinese, english)
    if rng.random() < 0.5:
        return "\n".join(sentence for pair in zip(*halves) for sentence in pair)
    return "\n".join(" ".join(half) for half in halves)


def _somewhere(rng):
    """The town, or now and then its harbor."""
    return HARBOR if rng.random() < 0.15 else EVERYTHING


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
    """Lists of words, and what comes first, last, backwards, without the first and so on in them."""
    told = []
    for _ in range(rng.randint(2, 3)):
        slots = draw_list(rng, _somewhere(rng))
        told.append(f"The words are {slots['words']}.")
        told += [SHOWN[name].answer(slots) for name in rng.sample(tuple(LIST_SKILLS), rng.randint(2, 3))]
    return " ".join(told)


def _show(rng, name):
    scope = _somewhere(rng) if SHOWN[name].asks_knowledge else EVERYTHING
    return "".join(SHOWN[name].show(rng, SHOWN[name].draw(rng, scope)))


def _shown(rng, names, low, high):
    """Some texts that show one of these skills."""
    name = rng.choice(names)
    return " ".join(_show(rng, name) for _ in range(rng.randint(low, high)))


def forms(rng):
    """Plurals, words in capitals, and numbers put in order."""
    name = rng.choice(("plural", "capitals", "sort"))
    texts = [_show(rng, name) for _ in range(rng.randint(3, 5))]
    return retold(rng, texts, lambda text: (text,))


def working(rng):
    """Running sums and what is done to a list step by step."""
    return _shown(rng, ("running_sum", "running_sum", "compose"), 2, 3)


def relations(rng):
    """Who calls whom, and where that ends; whose friend has which pet."""
    return _shown(rng, ("chain", "two_hop"), 1, 2)


def reports(rng):
    """A text and what it says in short, or what somebody asks about it."""
    return _show(rng, rng.choice(("summary", "summary", "ask")))


def ships(rng):
    """The ships of the harbor."""
    return portrait(rng, HARBOR)


# What lists of examples may be of: name -> (what is given, what belongs to it), drawn.
def _listed(name):
    def draw(rng):
        words = rng.sample(WORDS, rng.randint(2, 4))
        return listing(words), listing(LIST_SKILLS[name][1](words))
    return draw


def _of(table):
    words = tuple(table)

    def draw(rng):
        word = rng.choice(words)
        return word, table[word]
    return draw


def _added(rng):
    a, b = rng.randint(1, 10), rng.randint(1, 10)
    return f"{a} plus {b}", str(a + b)


def _sorted(rng):
    numbers = rng.sample(range(1, 21), 3)
    return listing(map(str, numbers)), listing(map(str, sorted(numbers)))


def _copied(rng):
    word = rng.choice(WORDS)
    return word, word


OF_WORDS = {
    "classification": _of({word: ATTRIBUTE_OF[word] for word in WORDS}), "opposite": _of(OPPOSITES),
    "to_chinese": _of({word: CHINESE_OF[word] for word in WORDS}),
    "to_english": _of({CHINESE_OF[word]: word for word in WORDS}),
    "plural": _of(PLURAL_OF), "capitals": _of({word: word.upper() for word in WORDS}), "arithmetic": _added,
}
OF_LISTS = {"copy": _copied, "sort": _sorted} | {name: _listed(name) for name in LIST_SKILLS}
RELATED = OF_WORDS | OF_LISTS


def write_examples(pairs):
    """Pairs as a list of examples: "red > color ; rice > dish"."""
    return " ; ".join(f"{given} > {related}" for given, related in pairs)


def draw_examples(rng, name, count):
    """Pairs of a relation, no two alike."""
    pairs = {}
    while len(pairs) < count:
        pairs |= [RELATED[name](rng)]
    return list(pairs.items())


def draw_mapping(rng, count):
    """Pairs of a mapping made up here and now: each of three to five words has a label of its own; words come again."""
    given = rng.sample(CALLED, rng.randint(3, 5))
    labels = dict(zip(given, rng.choices(CALLED, k=len(given))))
    return [(word, labels[word]) for word in (rng.sample(given, len(given)) + rng.choices(given, k=count))[:count]]


def draw_sorting(rng, count):
    """Pairs of a sorting made up here and now: words of two kinds, each kind with a label that means nothing."""
    labels = dict(zip(rng.sample(EVERYTHING.attributes, 2), rng.sample(CALLED, 2)))
    pairs = {}
    while len(pairs) < count:
        noun = rng.choice(tuple(labels))
        pairs[rng.choice(tuple(ATTRIBUTES[noun].values))] = labels[noun]
    return list(pairs.items())


def examples(rng):
    """A list of examples: of a skill, or of a mapping or sorting that holds for this list alone."""
    relations = rng.choices((OF_WORDS, OF_LISTS, None), (35, 45, 20))[0]
    if relations:
        name = rng.choice(tuple(relations))
        count = rng.randint(5, 8) if relations is OF_LISTS else rng.randint(6, 12)
        return write_examples(draw_examples(rng, name, count))
    return write_examples(rng.choice((draw_mapping, draw_sorting))(rng, rng.randint(8, 14)))


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
    noun = rng.choice(EVERYTHING.attributes)
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


# What texts say of the skills themselves; now and then one stands before a text that shows it.
ABOUT = {
    opposites: "Two words are opposites when one means what the other does not.",
    dictionary: "Every word has a name in Chinese and a name in English.",
    kinds: "Words that name things of one kind belong together.",
    sums: "Adding makes more of a number, and taking away makes less of it.",
    lists: "A list has a first word and a last word, and can be told backwards or without one of them.",
    forms: "A word can be told of many things, or in capitals, and numbers have an order.",
    working: "What takes several steps is told step by step.",
    relations: "One name leads to the next, until the end.",
    reports: "A text can be told in short, and one can ask about it.",
}

# How many documents of each kind among a hundred.
MIXTURE = {
    portrait: 29, verses: 5, refrain: 2, roll_call: 3, bilingual: 6, dictionary: 5, kinds: 2, opposites: 3, sums: 4,
    stories: 3, lists: 3, meetings: 3, forms: 4, working: 5, relations: 6, reports: 5, ships: 1, examples: 11,
}


def document(rng):
    """One document of prose, drawn from the mixture."""
    kind, = rng.choices(list(MIXTURE), list(MIXTURE.values()))
    if kind in ABOUT and rng.random() < 0.1:
        return f"{ABOUT[kind]} {kind(rng)}"
    return kind(rng)
