"""Instructions as users type them: with courtesies around them, and with typing mistakes.

    polite     "Sort the numbers: 3, 1"  ->  "Could you help me? Sort the numbers: 3, 1 Thank you!"
    mistyped   "Sort the numbers: 3, 1"  ->  "Sort the nubmers: 3, 1"

`without_courtesies` and `corrected` undo this. The town uses a fixed set of words. A word outside
it may have one letter too many, one too few, or two letters swapped; `corrected` puts the known
word in its place if only one fits. It never puts a word that carries content (a name, a value)
there, because that would be guessing what the user asked.

Notes: 基于日常对话数据构建 (building from daily conversations).
Source of the corrector: three of the four kinds of mistakes in Kernighan, Church and Gale 1990,
without their probabilities.
"""

import re
from functools import cache
from itertools import chain
from string import ascii_letters

from minisft.world import dialogue, language, steps
from minisft.world.facts import ATTRIBUTE_OF, ATTRIBUTES, OPPOSITES, POSSESSIVE
from minisft.world.skills import THINGS
from minisft.world.wordings import WORDINGS

BEFORE = ("Could you help me? ", "I need your help. ", "If you do not mind: ", "麻烦你一下：")
AFTER = (" Thank you!", " Thanks in advance!", " That would be great!", " 谢谢！")
_WORD = re.compile(r"[A-Za-z]+")
_CONTENT = {
    *ATTRIBUTE_OF, *ATTRIBUTES, *OPPOSITES, *POSSESSIVE,
    *THINGS, *(f"{thing}s" for thing in THINGS),
}


def _template_texts():
    """Every text that the town fills to write an instruction."""
    for styles in WORDINGS.values():
        for wordings in styles.values():
            yield from (wording.text for wording in wordings)
    for attribute in ATTRIBUTES.values():
        yield attribute.statement
        yield attribute.question
    for template in (*language.STATEMENTS, *language.QUESTIONS,
                     steps.RELATION, steps.CALL, steps.HOPS):
        yield template.text
    for styles in (dialogue.FOLLOW_UPS, dialogue.GREETINGS, dialogue.REMARKS,
                   dialogue.RECALLS, dialogue.ASK_NAME, dialogue.THANKS):
        yield from chain(*styles.values())
    yield from (*steps.RELATIONS, *steps.PHRASES.values(), "plus minus")


@cache
def vocabulary():
    """All words that an instruction can hold."""
    words = {"a", "an", "her", "his", "its", "s"} | _CONTENT
    for text in _template_texts():
        without_slots = re.sub(r"{\w+}", " ", text)
        words.update(_WORD.findall(without_slots))
    return words


def polite(rng, text):
    """The text with a courtesy before it, after it, or both."""
    has_before, has_after = rng.choice(((True, False), (False, True), (True, True)))
    before, after = rng.choice(BEFORE), rng.choice(AFTER)
    if has_before:
        text = before + text
    if has_after:
        text = text + after
    return text


def mistyped(rng, text):
    """The text with one or two mistakes in words without content; `corrected` can undo them.

    After 20 draws without success the text is returned unchanged.
    """
    places = [found.span() for found in _WORD.finditer(text) if _may_mistype(found[0])]
    for _ in range(20):
        chosen = rng.sample(places, min(len(places), rng.randint(1, 2)))
        changed = text
        for start, end in sorted(chosen, reverse=True):  # the last first: a mistake moves the rest
            changed = changed[:start] + _mistake(rng, text[start:end]) + changed[end:]
        if changed != text and corrected(changed) == text:
            return changed
    return text


def _may_mistype(word):
    return len(word) >= 4 and word not in _CONTENT and word in vocabulary()


def _mistake(rng, word):
    """The word with two letters swapped, one left out, or one doubled."""
    at = rng.randrange(1, len(word) - 1)
    kind = rng.choice(("swap", "leave out", "double"))
    before, after = word[:at], word[at + 1:]
    if kind == "swap":
        return before + after[0] + word[at] + after[1:]
    if kind == "leave out":
        return before + after
    return before + word[at] * 2 + after


def without_courtesies(text):
    """The text without what `polite` puts around it."""
    for before in BEFORE:
        text = text.removeprefix(before)
    for after in AFTER:
        text = text.removesuffix(after)
    return text


def corrected(text):
    """The text without those typing mistakes that can be undone in only one way."""
    return _WORD.sub(lambda found: _correction(found[0]), text)


@cache
def _correction(word):
    """The known word that `word` was meant to be, or `word` itself."""
    if word in vocabulary() or word.upper() == word or len(word) < 3:
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
    return shorter | swapped | longer
