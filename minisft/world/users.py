"""Instructions as users type them: with courtesies around them, and with typing mistakes.

    polite     "Sort the numbers: 3, 1"  ->  "Could you help me? Sort the numbers: 3, 1 Thank you!"
    mistyped   "Sort the numbers: 3, 1"  ->  "Sort the nubmers: 3, 1"

`without_courtesies` and `corrected` undo them, because the town's vocabulary is closed: a word that is not in it is
read as the only word that one letter too many, one too few, or two in the wrong order can have turned into it. A word
that carries content (a name, a value) is never put in another's place: that would be to guess what was asked.

Notes: 基于日常对话数据构建 (building from daily conversations). Source of the corrector: three of the four mistakes of
Kernighan, Church and Gale 1990, without their probabilities.
"""

import re
from functools import cache
from string import ascii_letters

from minisft.world import dialogue, language, steps
from minisft.world.facts import ATTRIBUTE_OF, ATTRIBUTES, OPPOSITES, POSSESSIVE
from minisft.world.skills import THINGS
from minisft.world.wordings import WORDINGS

BEFORE = ("Could you help me? ", "I need your help. ", "If you do not mind: ", "麻烦你一下：")
AFTER = (" Thank you!", " Thanks in advance!", " That would be great!", " 谢谢！")
_WORD = re.compile(r"[A-Za-z]+")
_CONTENT = {*ATTRIBUTE_OF, *ATTRIBUTES, *OPPOSITES, *POSSESSIVE, *THINGS, *(f"{thing}s" for thing in THINGS)}


def _template_texts():
    """Every text that the town fills to write an instruction."""
    for styles in WORDINGS.values():
        for wordings in styles.values():
            yield from (wording.text for wording in wordings)
    for attribute in ATTRIBUTES.values():
        yield from (attribute.statement, attribute.question)
    for templates in (language.STATEMENTS, language.QUESTIONS, (steps.RELATION, steps.CALL, steps.HOPS)):
        yield from (template.text for template in templates)
    for styles in (dialogue.FOLLOW_UPS, dialogue.GREETINGS, dialogue.REMARKS, dialogue.RECALLS, dialogue.ASK_NAME,
                   dialogue.THANKS):
        yield from (text for texts in styles.values() for text in texts)
    yield from (*steps.RELATIONS, *steps.PHRASES.values(), "plus minus")


@cache
def vocabulary():
    """All words that an instruction can hold."""
    fixed = {word for text in _template_texts() for word in _WORD.findall(re.sub(r"{\w+}", " ", text))}
    return fixed | _CONTENT | {"a", "an", "her", "his", "its", "s"}


def polite(rng, text):
    """The text with a courtesy before it, after it, or both."""
    before, after = rng.choice(((1, 0), (0, 1), (1, 1)))
    return rng.choice(BEFORE) * before + text + rng.choice(AFTER) * after


def mistyped(rng, text):
    """The text with one or two mistakes in words that carry no content; unchanged if no mistake can be undone."""
    for _ in range(20):
        places = [found.span() for found in _WORD.finditer(text)
                  if len(found[0]) >= 4 and found[0] not in _CONTENT and found[0] in vocabulary()]
        changed = text
        for start, end in sorted(rng.sample(places, min(len(places), rng.randint(1, 2))), reverse=True):
            changed = changed[:start] + _mistake(rng, text[start:end]) + changed[end:]
        if changed != text and corrected(changed) == text:
            return changed
    return text


def _mistake(rng, word):
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2:]  # two letters swapped
    return word[:at] + word[at + 1:] if kind == 1 else word[:at] + word[at] + word[at:]  # left out, or doubled


def without_courtesies(text):
    """The text without what `polite` puts around it."""
    for before in BEFORE:
        text = text.removeprefix(before)
    for after in AFTER:
        text = text.removesuffix(after)
    return text


def corrected(text):
    """The text with its typing mistakes undone where that is possible in one way only."""
    return _WORD.sub(lambda found: _correction(found[0]), text)


@cache
def _correction(word):
    if word in vocabulary() or word.upper() == word or len(word) < 3:
        return word
    splits = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    candidates = {a + b[1:] for a, b in splits if b}
    candidates |= {a + b[1] + b[0] + b[2:] for a, b in splits if len(b) > 1}
    candidates |= {a + letter + b for a, b in splits for letter in ascii_letters}
    known = candidates & vocabulary()
    return word if len(known) != 1 or known & _CONTENT else known.pop()
