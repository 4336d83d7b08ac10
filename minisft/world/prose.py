"""Pre-training prose: texts that describe and show what the town knows. They never give an order
and never answer one.

Almost every text states its facts and then *states them again*, in another order and often in other
words. A text that states each fact once can be predicted from word statistics. A text that repeats
itself rewards looking back. Instruction tuning later turns this looking back (recall) into
answering questions.

Some documents are lists of examples ("red > color ; rice > dish"): of skills with short answers,
and of mappings made up for one list, so that a model can learn to learn from examples.

Source: our own trials; the mechanism is the induction head of Olsson et al. 2022 (In-context
learning and induction heads).
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
from minisft.world.glossary import IN_CHINESE, SAID, SAID_IN_CHINESE, SAME
from minisft.world.language import (
    STATEMENTS,
    Template,
    capitalize,
    listing,
    state,
    state_in_chinese,
)
from minisft.world.skills import LIST_SKILLS, ONE_STEP, THINGS, Scope, draw_facts, draw_list
from minisft.world.steps import SEVERAL_STEPS

EVERYTHING, HARBOR = Scope(), Scope(ATTRIBUTES_OF["harbor"])
SHOWN = {skill.name: skill for skill in ONE_STEP + SEVERAL_STEPS if skill.shown}
WORDS = tuple(EVERYTHING.words() + HARBOR.words())
# What roll calls, refrains and made-up mappings may hold.
CALLED = WORDS + tuple(OPPOSITES) + tuple(str(number) for number in range(1, 21))
VALUE_FIRST = Template("{value} is the {noun} of {name}.")
PRONOUN = Template("{possessive} {noun} is {value}.")
# (residents, attributes) of a portrait; most portraits are about one resident.
SHAPES = ((1, 3), (1, 3), (1, 4), (1, 4), (1, 5), (1, 5), (1, 6), (2, 1), (2, 2), (2, 3), (3, 1))


def portrait(rng, scope=EVERYTHING):
    """Facts about one to three residents, told several times, in the same words or in others."""
    facts = draw_facts(rng, scope, *rng.choice(SHAPES))
    sentence_of = None
    if rng.random() < 0.5:
        sentence_of = {fact: state(fact, rng.randrange(5)) for fact in facts}

    times_again = 2 if len(facts) <= 6 else 1
    sentences, previous = [], None
    for fact in [*facts, *rng.choices(facts, k=len(facts) * times_again)]:
        sentences.append(sentence_of[fact] if sentence_of else _restated(rng, fact, previous))
        previous = fact
    return (" " if rng.random() < 0.7 else "\n").join(sentences)


def _restated(rng, fact, previous):
    """A sentence for a fact. "Her pet is a dog." may only follow a fact about the same resident."""
    name, noun, value = fact
    shown = display(noun, value)
    roll = rng.random()
    if roll < 0.1:
        return capitalize(VALUE_FIRST.fill(value=shown, noun=noun, name=name))
    if roll < 0.2 and previous is not None and previous[0] == name:
        return capitalize(PRONOUN.fill(possessive=POSSESSIVE[name], noun=noun, value=shown))
    return state(fact, rng.randrange(len(STATEMENTS) + 1))


def bilingual(rng):
    """Facts in both languages: sentence by sentence, or all in one and then all in the other."""
    facts = draw_facts(rng, _somewhere(rng), *rng.choice(((1, 2), (1, 3), (2, 1))))
    english = [state(fact, rng.randrange(2)) for fact in facts]
    chinese = [state_in_chinese(fact) for fact in facts]
    first, second = (english, chinese) if rng.random() < 0.5 else (chinese, english)
    if rng.random() < 0.5:
        return "\n".join(f"{a}\n{b}" for a, b in zip(first, second))
    return " ".join(first) + "\n" + " ".join(second)


def _somewhere(rng):
    """The scope of the town or, sometimes, of its harbor."""
    return HARBOR if rng.random() < 0.15 else EVERYTHING


def retold(rng, facts, ways):
    """All facts, then all of them again in another order; ways(fact): sentences that state it."""
    again = rng.sample(facts, len(facts))
    return " ".join(rng.choice(ways(fact)) for fact in [*facts, *again])


def dictionary(rng):
    """What words are in the other language."""
    return _in_both_languages(rng, CHINESE_OF, WORDS)


def _in_both_languages(rng, chinese_of, words):
    def ways(word):
        return (f"In Chinese, {word} is {chinese_of[word]}.",
                f"In English, {chinese_of[word]} is {word}.")

    return retold(rng, rng.sample(words, rng.randint(3, 5)), ways)


def glossary(rng):
    """What the words of instructions mean: other words for them, or what they are in Chinese."""
    if rng.random() < 0.5:
        return _in_both_languages(rng, IN_CHINESE, tuple(IN_CHINESE))

    def ways(pair):
        usual, other = pair
        return (capitalize(f"{other} is another way to say {usual}."),
                capitalize(f"{usual} means the same as {other}."))

    words = rng.sample(tuple(SAME), rng.randint(3, 4))
    return retold(rng, [(word, rng.choice(SAME[word])) for word in words], ways)


def sayings(rng):
    """What people say before and after they ask for something; nobody answers."""
    def ways(said):
        text, name = said
        if text in SAID_IN_CHINESE:
            return (f"{text}，{name}说。",)
        return (capitalize(f"{text}, says {name}."), f"{name} says: {text}.")

    source = SAID if rng.random() < 0.7 else SAID_IN_CHINESE
    names = rng.sample(RESIDENTS, 2)
    return retold(rng, [(text, rng.choice(names)) for text in rng.sample(source, 4)], ways)


def silences(rng):
    """Facts about one or two residents, and then which of them are told and which are not."""
    facts = draw_facts(rng, EVERYTHING, *rng.choice(((1, 2), (1, 3), (1, 4), (2, 1), (2, 2))))
    known = {(name, noun): value for name, noun, value in facts}
    names = [*{name: None for name, _ in known}, rng.choice(RESIDENTS)]
    nouns = [*{noun: None for _, noun in known}, rng.choice(EVERYTHING.attributes)]
    sentences = [state(fact, rng.randrange(5)) for fact in facts]
    for _ in range(rng.randint(4, 8)):
        name, noun = rng.choice(names), rng.choice(nouns)
        if (name, noun) in known:
            sentences.append(state((name, noun, known[name, noun]), 0))
        else:
            sentences.append(f"The {noun} of {name} is not told.")
    return " ".join(sentences)


def kinds(rng):
    """Which kind of thing a word names."""
    def ways(word):
        usual = f"The word {word} names a kind of {ATTRIBUTE_OF[word]}."
        return usual, usual, f"One kind of {ATTRIBUTE_OF[word]} is {word}."

    return retold(rng, rng.sample(WORDS, rng.randint(3, 5)), ways)


def opposites(rng):
    """Which words mean the opposite of each other."""
    def ways(word):
        usual = f"The opposite of {word} is {OPPOSITES[word]}."
        return usual, usual, f"What is not {word} is {OPPOSITES[word]}."

    return retold(rng, rng.sample(list(OPPOSITES), rng.randint(3, 5)), ways)


def sums(rng):
    """What two numbers add up to, and what is left when one is taken away."""
    def ways(fact):
        a, b = fact
        return (f"We know that {a} plus {b} is {a + b}.",
                f"We know that {a + b} minus {b} is {a}.")

    facts = [(rng.randint(1, 10), rng.randint(1, 10)) for _ in range(rng.randint(3, 5))]
    return retold(rng, facts, ways)


def stories(rng):
    """Small events with numbers, and how many things of a kind somebody has at the end."""
    def ways(event):
        name, thing, a, b, gets = event
        if gets:
            end = f"Now {name} has {a + b} {thing}s."
            return (f"{name} has {a} {thing}s and gets {b} more. {end}",
                    f"{name} had {a} {thing}s and found {b} more. {end}")
        end = f"Now {name} has {a} {thing}s."
        return (f"{name} has {a + b} {thing}s and gives {b} away. {end}",
                f"{name} had {a + b} {thing}s and lost {b}. {end}")

    events = []
    for name in rng.sample(RESIDENTS, rng.randint(1, 3)):
        thing, a, b = rng.choice(THINGS), rng.randint(1, 10), rng.randint(1, 10)
        events.append((name, thing, a, b, rng.random() < 0.5))
    return retold(rng, events, ways)


def lists(rng):
    """Lists of words, and what can be said of them: the first word, the list backwards, ..."""
    told = []
    for _ in range(rng.randint(2, 3)):
        slots = draw_list(rng, _somewhere(rng))
        told.append(f"The words are {slots['words']}.")
        names = rng.sample(tuple(LIST_SKILLS), rng.randint(2, 3))
        told += [SHOWN[name].answer(slots) for name in names]
    return " ".join(told)


def _show(rng, name):
    """A text that shows a skill."""
    skill = SHOWN[name]
    scope = _somewhere(rng) if skill.asks_knowledge else EVERYTHING
    return "".join(skill.show(rng, skill.draw(rng, scope)))


def _show_some(rng, names, low, high):
    """From `low` to `high` texts that show one of these skills."""
    name = rng.choice(names)
    return " ".join(_show(rng, name) for _ in range(rng.randint(low, high)))


def forms(rng):
    """Plurals, words in capitals, and numbers put in order."""
    name = rng.choice(("plural", "capitals", "sort"))
    texts = [_show(rng, name) for _ in range(rng.randint(3, 5))]
    return retold(rng, texts, lambda text: (text,))


def working(rng):
    """Running sums, and what is done to a list step by step."""
    return _show_some(rng, ("running_sum", "running_sum", "compose"), 2, 3)


def interrupted(rng):
    """Facts, then one or two texts about other things, then some of the facts again."""
    facts = draw_facts(rng, EVERYTHING, *rng.choice(((1, 2), (1, 3), (2, 1), (2, 2))))
    between = [rng.choice((_listed_once, _show_known))(rng) for _ in range(rng.randint(1, 3))]
    told = [state(fact, rng.randrange(5)) for fact in facts]
    again = [state(fact, 0) for fact in rng.choices(facts, k=rng.randint(2, 5))]
    return (" " if rng.random() < 0.5 else "\n").join([*told, *between, *again])


def _listed_once(rng):
    """A list of words, and one thing that can be said of it."""
    return _show(rng, rng.choice((*LIST_SKILLS, "sort", "story")))


def _show_known(rng):
    """What a word is, or what two numbers make."""
    return _show(rng, rng.choice(("opposite", "classification", "to_chinese", "to_english",
                                  "arithmetic")))


def composed(rng):
    """What is done to a list in several steps."""
    return _show_some(rng, ("compose",), 2, 4)


def relations(rng):
    """Who calls whom, and who is last; whose friend has which pet."""
    return _show_some(rng, ("chain", "two_hop"), 1, 2)


def reports(rng):
    """A text, and then its summary or a question that somebody asks about it."""
    return _show(rng, rng.choice(("summary", "summary", "ask")))


def ships(rng):
    """A portrait of ships of the harbor."""
    return portrait(rng, HARBOR)


# Relations that lists of examples can show; each is a function rng -> (given, related).


def _listed(name):
    def draw(rng):
        words = rng.sample(WORDS, rng.randint(2, 4))
        _, change = LIST_SKILLS[name]
        return listing(words), listing(change(words))
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


def _told(name, *slots):
    """Examples of a skill of several sentences: what is given, and the last word of the answer."""
    def draw(rng):
        drawn = SHOWN[name].draw(rng, EVERYTHING)
        given = ": ".join(drawn[slot].rstrip("?.").removeprefix("What is ") for slot in slots)
        return given, SHOWN[name].answer(drawn).rstrip(".").rsplit(" is ", 1)[1]
    return draw


def _counted(rng):
    """A small event with numbers, and how many things there are now."""
    skill = SHOWN["story"]
    text, _, rest = skill.show(rng, skill.draw(rng, EVERYTHING))
    return text.rstrip(". "), rest.split(" ")[1]


def _copied(rng):
    word = rng.choice(WORDS)
    return word, word


OF_WORDS = {
    "classification": _of({word: ATTRIBUTE_OF[word] for word in WORDS}),
    "opposite": _of(OPPOSITES),
    "to_chinese": _of({word: CHINESE_OF[word] for word in WORDS}),
    "to_english": _of({CHINESE_OF[word]: word for word in WORDS}),
    "plural": _of(PLURAL_OF),
    "capitals": _of({word: word.upper() for word in WORDS}),
    "arithmetic": _added,
}
OF_LISTS = {"copy": _copied, "sort": _sorted} | {name: _listed(name) for name in LIST_SKILLS}
OF_TEXTS = {
    "compose": _told("compose", "words", "steps"), "story": _counted,
    "two_hop": _told("two_hop", "passage", "question"),
}
RELATED = OF_WORDS | OF_LISTS | OF_TEXTS


def write_examples(pairs):
    """Pairs as a list of examples: "red > color ; rice > dish"."""
    return " ; ".join(f"{given} > {related}" for given, related in pairs)


def draw_examples(rng, name, count):
    """`count` pairs of a relation; the first words of all pairs differ."""
    pairs = {}
    while len(pairs) < count:
        given, related = RELATED[name](rng)
        pairs[given] = related
    return list(pairs.items())


def draw_mapping(rng, count):
    """`count` pairs of a mapping made up for this list.

    Each of three to five words has a label. First come all words in any order, then any of them.
    """
    words = rng.sample(CALLED, rng.randint(3, 5))
    label_of = dict(zip(words, rng.choices(CALLED, k=len(words))))
    order = rng.sample(words, len(words)) + rng.choices(words, k=count)
    return [(word, label_of[word]) for word in order[:count]]


def draw_sorting(rng, count):
    """`count` pairs of a sorting made up for this list: each of two kinds has a random label."""
    nouns = rng.sample(EVERYTHING.attributes, 2)
    label_of = dict(zip(nouns, rng.sample(CALLED, 2)))
    pairs = {}
    while len(pairs) < count:
        noun = rng.choice(nouns)
        word = rng.choice(tuple(ATTRIBUTES[noun].values))
        pairs[word] = label_of[noun]
    return list(pairs.items())


def examples(rng):
    """A list of examples: of a relation, or of a mapping or sorting made up for this list."""
    kinds_of = ((OF_WORDS, 6, 12), (OF_LISTS, 5, 8), (OF_TEXTS, 3, 5), (None, 8, 14))
    source, least, most = rng.choices(kinds_of, (28, 46, 8, 18))[0]
    if source is None:
        draw = rng.choice((draw_mapping, draw_sorting))
        return write_examples(draw(rng, rng.randint(least, most)))

    name, count = rng.choice(tuple(source)), rng.randint(least, most)
    return write_examples(draw_examples(rng, name, count))


def refrain(rng):
    """One line of words or short facts, again and again, as in a song."""
    if rng.random() < 0.7:
        line = " ".join(rng.choices(RESIDENTS + CALLED, k=rng.randint(3, 30)))
    else:
        facts = draw_facts(rng, EVERYTHING, rng.randint(1, 3), 1)
        line = " ".join(state(fact, rng.randrange(5)) for fact in facts)
    return " ".join([line] * max(2, 300 // len(line)))


def roll_call(rng):
    """Names, each called with its own word or name; after the first round any may come next."""
    names = rng.sample(RESIDENTS, rng.randint(3, 6))
    form, words = rng.choice((("{} {}.", CALLED), ("{} calls {}.", RESIDENTS)))
    calls = [form.format(name, rng.choice(words)) for name in names]
    return " ".join([*calls, *rng.choices(calls, k=18)])


def song(rng):
    """A refrain or a roll call: after the first round, everything was said before."""
    return rng.choice((refrain, roll_call))(rng)


def verses(rng):
    """One attribute of two to four residents, again and again: only the name tells them apart."""
    facts = draw_facts(rng, EVERYTHING, rng.randint(2, 4), 1)
    same_form = rng.choice((None, rng.randrange(5)))
    sentences = []
    for fact in [*facts, *rng.choices(facts, k=10)]:
        form = rng.randrange(5) if same_form is None else same_form
        sentences.append(state(fact, form))
    return " ".join(sentences)


def meetings(rng):
    """Two people who greet each other and say something about themselves."""
    name, other = rng.sample(RESIDENTS, 2)
    noun = rng.choice(EVERYTHING.attributes)
    value = display(noun, rng.choice(tuple(ATTRIBUTES[noun].values)))
    lines = [
        rng.choice((f"{name} says hello to {other}.",
                    f"{other} says good morning to {name}.")),
        rng.choice((f"My name is {name}, says {name}.",
                    f"I am {name}, says {name}.")),
        rng.choice((f"Your name is {name}, says {other}.",
                    f"You are welcome, {name}, says {other}.")),
        rng.choice((f"My {noun} is {value}, says {name}.",
                    f"I have {value} as {noun}, says {name}.")),
        rng.choice((f"That is good to know, says {other}.",
                    f"How can I help, asks {other}.")),
        f"Your {noun} is {value}, says {other}.",
    ]
    return " ".join(lines)


# Sentences about the skills themselves. Sometimes one stands before a text that shows the skill.
ABOUT = {
    opposites: "Two words are opposites when one means what the other does not.",
    dictionary: "Every word has a name in Chinese and a name in English.",
    kinds: "Words that name things of one kind belong together.",
    sums: "Adding makes more of a number, and taking away makes less of it.",
    lists: "A list has a first word and a last word, "
           "and can be told backwards or without one of them.",
    forms: "A word can be told of many things, or in capitals, and numbers have an order.",
    working: "What takes several steps is told step by step.",
    relations: "One name leads to the next, until the end.",
    reports: "A text can be told in short, and one can ask about it.",
}

# How many documents in a hundred are of each kind.
MIXTURE = {
    portrait: 17, silences: 5, interrupted: 5, sayings: 2, verses: 3, refrain: 1, roll_call: 2,
    bilingual: 5, dictionary: 5, glossary: 3, kinds: 2, opposites: 2, sums: 4, stories: 2,
    lists: 4, meetings: 2, forms: 4, working: 4, composed: 3, relations: 6, reports: 4, ships: 1,
    examples: 14,
}


def document(rng):
    """One document of prose, drawn from the mixture."""
    kind, = rng.choices(list(MIXTURE), list(MIXTURE.values()))
    if kind in ABOUT and rng.random() < 0.1:
        return f"{ABOUT[kind]} {kind(rng)}"
    return kind(rng)
