"""Instructions as users type them: with courtesies around them, clipped, with typing mistakes.

    polite     "Sort the numbers: 3, 1"          ->  "Hi! Sort the numbers: 3, 1 Thanks!"
    clipped    "What is the opposite of hot?"    ->  "whats the opposite of hot"
    mistyped   "Sort the numbers: 3, 1"          ->  "Sort the nubmers: 3, 1"

The tests have courtesies, short forms and kinds of mistakes of their own (`new`), which no training
row holds. `without_courtesies`, `expanded` and `corrected` undo all this. The town uses a fixed set
of words. A word outside it may have one letter too many, one too few, a wrong one, or two letters
swapped; `corrected` puts the known word in its place if only one fits. It never puts a word that
carries content (a name, a value) there, because that would be guessing what the user asked.

Notes: 基于日常对话数据构建 (building from daily conversations).
Source of the corrector: the four kinds of mistakes in Kernighan, Church and Gale 1990, without
their probabilities.
"""

import re
from functools import cache
from itertools import chain
from string import ascii_letters

from minisft.world import dialogue, language, steps
from minisft.world.cores import CORES
from minisft.world.facts import ATTRIBUTE_OF, ATTRIBUTES, OPPOSITES, POSSESSIVE
from minisft.world.outside import ALL_OUTSIDE
from minisft.world.plain import PLAIN
from minisft.world.skills import THINGS
from minisft.world.wordings import LABELS, LAYOUTS

BEFORE = {
    "tuned": (
        "Could you help me? ", "I need your help. ", "Please help me. ", "Hello! ", "Hi! ",
        "Excuse me. ", "I have a small task. ", "This is for my homework. ",
        "I am learning English. ",
        "My teacher gave me this. ", "One more thing. ", "Next one. ", "Let us go on. ", "OK. ",
        "麻烦你一下：", "你好！", "帮个忙。", "下一题。"),
    "new": (
        "If you do not mind: ", "Sorry to trouble you. ", "Good day! ", "I am stuck here. ",
        "Quick question. ", "My friend and I are playing a game. ", "不好意思，", "打扰了。"),
}
AFTER = {
    "tuned": (
        " Thank you!", " Thanks!", " Thank you very much.", " Please help.", " Please be quick.",
        " It is for school.", " I need it now.", " Can you do that?", " 谢谢！", " 拜托了！"),
    "new": (
        " Thanks in advance!", " That would be great!", " Much appreciated.", " I am in a hurry.",
        " 非常感谢！", " 辛苦了！"),
}
_BEFORES, _AFTERS = (tuple(chain(*sides.values())) for sides in (BEFORE, AFTER))
SHORT_FORMS = {  # how people type, and what it stands for
    "tuned": {"whats": "what is", "what's": "what is", "pls": "please", "u": "you", "r": "are",
              "im": "I am", "I'm": "I am", "hows": "how is", "thats": "that is"},
    "new": {"wats": "what is", "plz": "please", "gimme": "give me", "wanna": "want to",
            "lemme": "let me", "ya": "you", "wut": "what"},
}
MISTAKES = {"tuned": ("swap", "leave out"), "new": ("double", "replace")}
_NEIGHBORS = dict(zip("qwertyuiopasdfghjklzxcvbnm", "wertyuioposdfghjkloxcvbnmn"))
_WORD = re.compile(r"[A-Za-z]+")
_CONTENT = {
    *ATTRIBUTE_OF, *ATTRIBUTES, *OPPOSITES, *POSSESSIVE,
    *THINGS, *(f"{thing}s" for thing in THINGS),
}
_LONG_FORM = {short.lower(): long
              for forms in SHORT_FORMS.values() for short, long in forms.items()}


def _texts():
    """Every text from which the town writes what a user says."""
    yield from (template.text for templates in PLAIN.values() for template in templates)
    yield from chain(*(bank for banks in CORES.values() for bank in banks.values()))
    yield from chain(*LAYOUTS.values(), ALL_OUTSIDE)
    yield from (name for labels in LABELS.values() for names in labels.values() for name in names)
    for attribute in ATTRIBUTES.values():
        yield attribute.statement
        yield attribute.question
    for template in (*language.STATEMENTS, *language.QUESTIONS,
                     steps.RELATION, steps.CALL, steps.HOPS):
        yield template.text
    for styles in dialogue.SAYINGS:
        yield from chain(*styles.values())
    yield from chain(*BEFORE.values(), *AFTER.values())
    yield from (*steps.RELATIONS, *steps.PHRASES.values(), "plus minus")


@cache
def vocabulary():
    """All words that an instruction can hold, with a small and with a capital first letter."""
    words = {"a", "an", "her", "his", "its", "s"} | _CONTENT
    for text in _texts():
        for word in _WORD.findall(re.sub(r"{\w+}", " ", text)):
            words |= {word, word[0].lower() + word[1:], word[0].upper() + word[1:]}
    return words


def polite(rng, text, bank="tuned"):
    """The text with a courtesy before it, after it, or both."""
    has_before, has_after = rng.choice(((True, False), (False, True), (True, True)))
    before, after = rng.choice(BEFORE[bank]), rng.choice(AFTER[bank])
    if has_before:
        text = before + text
    if has_after:
        text = text + after
    return text


def clipped(rng, text, bank="tuned"):
    """The text with short forms, mostly without its first capital and its last mark.

    Names and other words inside it keep their capitals.
    """
    forms = list(SHORT_FORMS[bank].items())
    rng.shuffle(forms)
    for short, long in forms:
        text = re.sub(rf"\b{long}\b", lambda found, to=short: _like(found[0], to), text,
                      flags=re.IGNORECASE)
    first = _WORD.match(text)
    if first and first[0] not in _CONTENT and rng.random() < 0.7:
        text = text[0].lower() + text[1:]
    return text.rstrip("?.") if rng.random() < 0.8 else text


def mistyped(rng, text, bank="tuned"):
    """The text with one or two mistakes in words without content; `corrected` can undo them.

    After 20 draws without success the text is returned unchanged.
    """
    places = [found.span() for found in _WORD.finditer(text) if _may_mistype(found[0])]
    for _ in range(20):
        chosen = rng.sample(places, min(len(places), rng.randint(1, 2)))
        changed = text
        for start, end in sorted(chosen, reverse=True):  # the last first: a mistake moves the rest
            wrong = _mistake(rng, text[start:end], rng.choice(MISTAKES[bank]))
            changed = changed[:start] + wrong + changed[end:]
        if changed != text and corrected(changed) == text:
            return changed
    return text


def _may_mistype(word):
    return len(word) >= 4 and word not in _CONTENT and word in vocabulary()


def _mistake(rng, word, kind):
    """The word with two letters swapped, one left out, doubled, or its neighbor on the keyboard."""
    at = rng.randrange(1, len(word) - 1)
    before, after = word[:at], word[at + 1:]
    if kind == "swap":
        return before + after[0] + word[at] + after[1:]
    if kind == "leave out":
        return before + after
    if kind == "double":
        return before + word[at] * 2 + after
    return before + _NEIGHBORS.get(word[at], "e") + after


def without_courtesies(text):
    """The text without what `polite` puts around it."""
    for before in _BEFORES:
        text = text.removeprefix(before)
    for after in _AFTERS:
        text = text.removesuffix(after)
    return text


def expanded(text):
    """The text with all words for their short forms."""
    def long_form(found):
        word = found[0]
        return _like(word, _LONG_FORM.get(word.lower(), word))

    return re.sub(r"[A-Za-z]+(?:'[a-z]+)?", long_form, text)


def _like(word, other):
    """The other word, with a capital first letter if the word has one."""
    return other[0].upper() + other[1:] if word[0].isupper() else other


def corrected(text):
    """The text without those typing mistakes that can be undone in only one way."""
    return _WORD.sub(lambda found: _correction(found[0]), text)


def as_meant(text):
    """Yield what a user may have meant by a text, the text itself first."""
    seen = set()
    for change in (str, without_courtesies, _in_full, _without_mistakes, _as_it_should_be):
        meant = change(text)
        for full in (meant, meant[:1].upper() + meant[1:], f"{meant}."):
            if full not in seen:
                seen.add(full)
                yield full


def _in_full(text):
    return expanded(without_courtesies(text))


def _without_mistakes(text):
    return corrected(without_courtesies(text))


def _as_it_should_be(text):
    return expanded(_without_mistakes(text))


@cache
def _correction(word):
    """The known word that `word` was meant to be, or `word` itself."""
    if word in vocabulary() or word.lower() in _LONG_FORM or word.upper() == word or len(word) < 3:
        return word
    known = _near(word) & vocabulary()
    if len(known) != 1 or known & _CONTENT:
        return word
    return known.pop()


def _near(word):
    """All texts that one mistake may have turned into `word`."""
    splits = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    shorter = {a + b[1:] for a, b in splits if b}
    swapped = {a + b[1] + b[0] + b[2:] for a, b in splits if len(b) > 1}
    longer = {a + letter + b for a, b in splits for letter in ascii_letters}
    other = {a + letter + b[1:] for a, b in splits if b for letter in ascii_letters}
    return shorter | swapped | longer | other
