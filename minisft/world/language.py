"""How the town speaks: a template is filled to write a sentence, and matched to read it again.

    fill:   "The {noun} of {name} is {value}."  +  slots     ->  "The pet of Mia is a dog."
    match:  "The pet of Mia is a dog."                       ->  slots, or None

Because one template does both, the oracle can read whatever the world can write.
"""

import re
from functools import cache

from minisft.world.facts import ATTRIBUTES, ENGLISH_OF, NOUN_OF_CHINESE, display, speaks_of


def loosely(pattern, text):
    """The pattern of a text, so that its first letter may be small and its last mark missing.

    pattern: the escaped text, or what was made of it.
    """
    if text[0].isalpha() and text[0].isascii():
        pattern = f"[{text[0].lower()}{text[0].upper()}]{pattern[1:]}"
    return pattern + "?" if text[-1] in "?.!？。！" else pattern


class Template:
    """Text with {slots}; a slot that occurs twice must hold the same text both times.

    loose: whether it also reads texts without the first capital and the last mark.

    >>> greeting = Template("Hello, {name}.")
    >>> greeting.fill(name="Mia"), greeting.match("Hello, Mia."), greeting.match("Bye.")
    ('Hello, Mia.', {'name': 'Mia'}, None)
    """

    def __init__(self, text, loose=False):
        self.text = text
        self.slots = []
        pattern = loosely(re.escape(text), text) if loose else re.escape(text)
        for slot in re.findall(r"{(\w+)}", text):
            group = f"(?P={slot})" if slot in self.slots else f"(?P<{slot}>.+?)"
            pattern = pattern.replace(re.escape("{" + slot + "}"), group, 1)
            self.slots.append(slot)
        self._regex = re.compile(pattern, re.DOTALL)

    def fill(self, **slots):
        """The text with its slots filled in."""
        return self.text.format(**slots)

    def match(self, text):
        """{slot: its text}, or None if the template cannot have written the text."""
        found = self._regex.fullmatch(text)
        return found.groupdict() if found else None


# Ways to state any fact and to ask for it. Every attribute has one more of each, its own.
STATEMENTS = tuple(map(Template, (
    "The {noun} of {name} is {value}.",
    "{name}'s {noun} is {value}.",
    "{name} has {value} as {noun}.",
    "As for the {noun}, {name} has {value}.",
)))
CHINESE_STATEMENT = Template("{name}的{noun}是{value}。")
QUESTIONS = tuple(map(Template, (
    "What is the {noun} of {name}?",
    "What is {name}'s {noun}?",
    "Which {noun} does {name} have?",
)))
_OWN_STATEMENTS = {noun: Template(attribute.statement) for noun, attribute in ATTRIBUTES.items()}
_OWN_QUESTIONS = {noun: Template(attribute.question) for noun, attribute in ATTRIBUTES.items()}
# All of them with the attribute they speak of; None where a slot holds the attribute.
_ALL_STATEMENTS = [(None, template) for template in STATEMENTS] + list(_OWN_STATEMENTS.items())
_ALL_QUESTIONS = [(None, template) for template in QUESTIONS] + list(_OWN_QUESTIONS.items())


def state(fact, form):
    """The sentence for a fact (name, noun, value).

    form: 0 to 3 for one of STATEMENTS, 4 for the attribute's own statement.
    """
    name, noun, value = fact
    template = STATEMENTS[form] if form < len(STATEMENTS) else _OWN_STATEMENTS[noun]
    return template.fill(name=name, noun=noun, value=display(noun, value))


def state_in_chinese(fact):
    name, noun, value = fact
    attribute = ATTRIBUTES[noun]
    return CHINESE_STATEMENT.fill(name=name, noun=attribute.chinese, value=attribute.values[value])


def ask(name, noun, form):
    """The question for a resident and an attribute.

    form: 0 to 2 for one of QUESTIONS, 3 for the attribute's own question.
    """
    template = QUESTIONS[form] if form < len(QUESTIONS) else _OWN_QUESTIONS[noun]
    return template.fill(name=name, noun=noun)


def _value_of(noun, shown):
    """"a dog" -> "dog" if it is a value of the attribute with the right article, else None."""
    value = re.sub(r"^an? ", "", shown)
    known = value in ATTRIBUTES[noun].values
    return value if known and display(noun, value) == shown else None


@cache
def read_statement(sentence):
    """The fact (name, noun, value) that a sentence states, or None if it states none."""
    for noun, template in _ALL_STATEMENTS:
        slots = template.match(sentence)
        if not slots:
            continue
        name, noun = slots["name"], slots.get("noun", noun)
        if speaks_of(name, noun):
            value = _value_of(noun, slots["value"])
            if value:
                return name, noun, value
    return None


def read_chinese_statement(sentence):
    slots = CHINESE_STATEMENT.match(sentence)
    if not slots:
        return None
    name = slots["name"]
    noun, value = NOUN_OF_CHINESE.get(slots["noun"]), ENGLISH_OF.get(slots["value"])
    if speaks_of(name, noun) and value in ATTRIBUTES[noun].values:
        return name, noun, value
    return None


def whole_question(text):
    """A question with its capital and its mark, which users often leave out."""
    return f"{text[:1].upper()}{text[1:].rstrip('?')}?"


@cache
def read_question(sentence):
    """(name, noun) that a question asks for, or None."""
    for noun, template in _ALL_QUESTIONS:
        slots = template.match(sentence)
        if not slots:
            continue
        name, noun = slots["name"], slots.get("noun", noun)
        if speaks_of(name, noun):
            return name, noun
    return None


def sentences(text):
    """The sentences of a text, each with its full stop."""
    return re.split(r"(?<=\.)\s+", text.strip())


def read_passage(passage):
    """{(name, noun): value} for a text of statements.

    None if a sentence is no statement, or if two statements contradict each other.
    """
    known = {}
    for sentence in sentences(passage):
        fact = read_statement(sentence)
        if fact is None:
            return None
        name, noun, value = fact
        if known.setdefault((name, noun), value) != value:
            return None
    return known


def listing(words):
    """Join words with commas: ["red", "dog"] -> "red, dog"."""
    return ", ".join(words)


def capitalize(sentence):
    """Upper-case the first letter and leave the rest as it is."""
    return sentence[:1].upper() + sentence[1:]
