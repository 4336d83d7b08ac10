"""What Self-Instruct throws away: each filter a function, all of them in one ordered table.

    filters(known)  ->  (Filter(stage, reason, finds), ...)        in the order in which they act

    INSTRUCTION    finds(Candidate)             -> None, or what is wrong with it
    INSTANCES      finds([Instance, ...])       -> {index of a bad one: what is wrong with it}

What is wrong is a dict of plain values, so that it can be written down beside what was rejected.
Cheap filters act first. The filters of instructions act before the teacher is asked for instances,
so that no answer is paid for in vain.

Length is counted in words. A character of Chinese, which has no spaces, is a word. The paper
keeps English only and drops all instructions that do not start with an ASCII character. Chinese
ones are wanted here, so that filter acts only if it is asked for (`ascii_only`).

A teacher gives text and does not say where it was cut, so truncation is seen from the text. Only
the last instruction of an answer can be cut. It is taken as cut if it has no end mark and the one
before it has one. For outputs the rule is that of minisft/instruct/dialogue.py.

Notes: 合成数据 (synthetic data). Source: Wang et al. 2022 (Self-Instruct), section 2.2 and its
code. The lists of words are our own. A repeated instance is dropped too, as a copy teaches nothing.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from minisft.instruct.dialogue import ends_in_the_middle, has_open_fence, is_open
from minisft.instruct.rouge import Pool, words_and_characters

INSTRUCTION, INSTANCES = "instruction", "instances"
FEWEST_WORDS, MOST_WORDS = 4, 150
MOST_SIMILAR = 0.7  # ROUGE-L with an instruction that is kept
EAST_ASIAN = re.compile("[\u3000-\U0010ffff]")  # from its punctuation on; no Latin or Cyrillic

UNSUITABLE = re.compile(
    r"\b(images?|pictures?|photos?|photographs?|graphs?|charts?|diagrams?|maps?|drawings?|draw|"
    r"sketch|videos?|audio|recordings?|files?|attachments?|websites?|links?|urls?)\b|"
    "图片|图像|照片|图表|地图|示意图|画一|绘制|视频|音频|录音|附件|网站|网址|链接",
    re.I | re.A)  # ASCII: so that there is a boundary between 图 and map
PROGRAM = re.compile(r"write a program\b|请?编?写一个程序", re.I)


class Filter(NamedTuple):
    """stage: what is looked at; reason: why it is dropped, in a few words; finds: the function."""

    stage: str
    reason: str
    finds: Callable


class Candidate(NamedTuple):
    """A new instruction; before: the one before it, if it is the last of an answer."""

    text: str
    before: str = ""


def candidates(texts):
    """The Candidates of one answer's instructions."""
    return [Candidate(text, texts[i - 1] if 0 < i == len(texts) - 1 else "")
            for i, text in enumerate(texts)]


class Known:
    """All instructions so far: the seeds', and those that no filter of instructions dropped."""

    def __init__(self, texts=()):
        self.pool, self.texts = Pool(words_and_characters), []
        for text in texts:
            self.add(text)

    def add(self, text):
        self.pool.add(text)
        self.texts.append(text)

    def most_similar(self, text):
        """(ROUGE-L, text) of the most similar one; (0.0, None) if there is none.

        An equal one has 1, also where no token is found in it, as in Greek.
        """
        if text in self.texts:
            return 1.0, text
        f, i = self.pool.most_similar(text)
        return f, None if i is None else self.texts[i]


# Instructions


def too_short(candidate):
    """Three words hardly say what to do."""
    length = words_in(candidate.text)
    return {"words": length} if length < FEWEST_WORDS else None


def too_long(candidate):
    """More than 150 words are a text or several tasks, not an instruction."""
    length = words_in(candidate.text)
    return {"words": length} if length > MOST_WORDS else None


def words_in(text):
    """Number of words between white space; each Chinese, Japanese or Korean character is one.

    >>> words_in("Don't stop, well-known 2 + 2"), words_in("把 hot 翻译成中文。")
    (6, 7)
    """
    characters = [char for char in EAST_ASIAN.findall(text) if char.isalnum()]
    return len(characters) + len(EAST_ASIAN.sub(" ", text).split())


def not_for_text(candidate):
    """A model of text can neither see nor make images, nor open files and links."""
    word = UNSUITABLE.search(candidate.text)
    return {"word": word[0]} if word else None


def asks_for_program(candidate):
    """Teachers like to put "Write a program" before tasks that a model can simply do."""
    start = PROGRAM.match(candidate.text)
    return {"start": start[0]} if start else None


def starts_with_mark(candidate):
    """A punctuation mark at the start is what remains of a broken list or of markup."""
    start = candidate.text[:1]
    return None if start.isalnum() else {"start": start}


def starts_non_ascii(candidate):
    """The paper keeps English only. Chinese ones are wanted here, so it is off by default."""
    start = candidate.text[:1]
    return None if start.isascii() else {"start": start}


def cut_off(candidate):
    """An answer that was too long ends in the middle of its last instruction."""
    before = candidate.before
    if before and is_open(candidate.text) and not is_open(before):
        return {"end": candidate.text[-20:], "before": before}
    return None


def too_similar(candidate, known):
    """Near copies would make the data large and not varied; exactly 0.7 is still new."""
    f, text = known.most_similar(candidate.text)
    return {"rouge_l": f, "instruction": text} if f > MOST_SIMILAR else None


# Instances


def each(finds):
    """A filter of a list of instances from one that looks at a single instance."""
    def finds_in(instances):
        found = {i: finds(instance) for i, instance in enumerate(instances)}
        return {i: what for i, what in found.items() if what is not None}
    return finds_in


def no_input(instance):
    """A label without the input that was to follow it: the answer broke off."""
    return {} if instance.input is None else None


def input_is_output(instance):
    """The teacher has repeated the input and has done nothing to it."""
    same = instance.input and instance.input.strip() == instance.output.strip()
    return {"text": instance.input} if same else None


def no_output(instance):
    """There is nothing to learn."""
    return None if instance.output.strip() else {}


def ends_with_colon(instance):
    """A colon announces what is missing."""
    end = instance.output.strip()[-1:]
    return {"end": end} if end in (":", "：") else None


def output_cut_off(instance):
    """An answer that was too long ends in the middle of an output."""
    if has_open_fence(instance.output) or ends_in_the_middle(instance.output):
        return {"end": instance.output.strip()[-20:]}
    return None


def repeated(instances):
    """The same input and output again."""
    first = {}
    for i, instance in enumerate(instances):
        first.setdefault((instance.input, instance.output), i)
    return {i: {"output": instance.output} for i, instance in enumerate(instances)
            if first[instance.input, instance.output] != i}


def conflicting(instances):
    """Different outputs for one input: at least one is wrong, so the whole task is doubtful.

    Without an input there may be many right outputs, such as poems.
    """
    outputs = {}
    for instance in instances:
        if instance.input:
            outputs.setdefault(instance.input, set()).add(instance.output)
    for given, different in outputs.items():
        if len(different) > 1:
            found = {"input": given, "outputs": sorted(different)}
            return dict.fromkeys(range(len(instances)), found)
    return {}


def filters(known, ascii_only=False):
    """The Filters in their order; known: the instructions with which a new one is compared."""
    english = [Filter(INSTRUCTION, "starts with a letter that is not ASCII", starts_non_ascii)]
    return (
        Filter(INSTRUCTION, "3 words or fewer", too_short),
        Filter(INSTRUCTION, "more than 150 words", too_long),
        Filter(INSTRUCTION, "about images, files or links", not_for_text),
        Filter(INSTRUCTION, "asks for a program", asks_for_program),
        Filter(INSTRUCTION, "starts with a mark", starts_with_mark),
        *(english if ascii_only else []),
        Filter(INSTRUCTION, "instruction cut off", cut_off),
        Filter(INSTRUCTION, "too similar (ROUGE-L above 0.7)", partial(too_similar, known=known)),
        Filter(INSTANCES, "a label without an input", each(no_input)),
        Filter(INSTANCES, "output is the input", each(input_is_output)),
        Filter(INSTANCES, "output is empty", each(no_output)),
        Filter(INSTANCES, "output ends with a colon", each(ends_with_colon)),
        Filter(INSTANCES, "output cut off", each(output_cut_off)),
        Filter(INSTANCES, "the same instance again", repeated),
        Filter(INSTANCES, "different outputs for one input", conflicting),
    )
