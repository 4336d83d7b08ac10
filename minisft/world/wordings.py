"""How a task is asked for: a core, which says what is wanted, in a layout, which says where.

    core      "reverse the words"    "what is the first word?"
    layout    "Please {o}: {X}"      "{L}: {X}\\nQuestion: {Q}?"
    wording   "Please reverse the words: red, owl"    "Words: red, owl\\nQuestion: What is ...?"

{o} and {O} hold an order, {q} and {Q} a question, with a small or a capital first letter; {X} holds
the input and {L} a label for it. A core that holds its input itself needs a layout without {X}.

    style          cores           layouts
    plain          whole instructions, from plain.py
    tuned          tuned           tuned
    short          short           short
    chinese        chinese         chinese
    mixed          tuned           chinese, with spaces
    new, new_short, new_chinese, new_mixed        the same of parts that are only in tests

Notes: 基于现有的 NLP 任务数据集构建 (building from NLP tasks: several wordings for each task).
"""

import random
import re
from dataclasses import dataclass
from functools import cache, cached_property

from minisft.world.cores import CORES
from minisft.world.facts import ATTRIBUTES
from minisft.world.language import Template, ask, loosely, whole_question
from minisft.world.outside import ALL_OUTSIDE
from minisft.world.plain import PLAIN

INPUTS = ("passage", "calls", "words", "numbers", "sentence", "word")  # slots that {X} can hold
LABELS = {
    "tuned": {"passage": ("Text", "Story"), "calls": ("Calls", "Text"), "words": ("Words", "List"),
              "numbers": ("Numbers", "List"), "sentence": ("Sentence",), "word": ("Word",)},
    "new": dict.fromkeys(INPUTS, ("Input", "Material")),
    "chinese": {"passage": ("短文",), "calls": ("电话",), "words": ("词语",), "numbers": ("数字",),
                "sentence": ("句子",), "word": ("词",)},
    "new_chinese": dict.fromkeys(INPUTS, ("内容",)),
}
_CHINESE = (
    "请{o}：{X}", "{o}：{X}", "{X}\n{o}。", "{L}：{X}\n请{o}。", "请{o}。\n{L}：{X}",
    "帮我{o}：{X}",
    "请帮我{o}。{X}", "我想请你{o}：{X}", "这是{L}：{X}\n{o}。",
    "{q}？{X}", "{X}\n{q}？", "{L}：{X}\n{q}？", "请问{q}？\n{L}：{X}", "请问，{q}？{X}",
    "请看{L}：{X} 问题：{q}？", "{L}：{X}\n请回答：{q}？", "我有一个问题：{q}？{X}",
    "请{o}。", "{o}。", "帮我{o}。", "请帮我{o}。", "我想请你{o}。",
    "{q}？", "请问{q}？", "请问，{q}？", "请回答：{q}？", "我有一个问题：{q}？")
_NEW_CHINESE = (
    "麻烦{o}：{X}", "给你{L}：{X}，{o}。", "能不能{o}？{X}", "{X}，你来{o}。",
    "我想知道{q}？{X}", "{L}如下：{X}，那么{q}？", "{X}。你说{q}？",
    "麻烦{o}。", "能不能{o}？", "你来{o}。", "我想知道{q}？", "你说{q}？", "那么{q}？")


def _spaced(layouts):
    """The layouts with a space between Chinese and the core, which is English there."""
    spaced = (re.sub(r"(?<=\w)({[oq]})", r" \1", layout) for layout in layouts)
    return tuple(re.sub(r"({[oq]})(?=\w)", r"\1 ", layout) for layout in spaced)


LAYOUTS = {
    "tuned": (
        "{O}: {X}", "{O}.\n{L}: {X}", "{O}.\n{X}", "{X}\n{O}.", "{L}: {X}\n{O}.",
        "Please {o}: {X}", "Please {o}.\n{L}: {X}", "{X}\nPlease {o}.", "Can you {o}? {X}",
        "Could you please {o}? {X}", "I want you to {o}: {X}", "I want you to {o}. {L}: {X}",
        "{L}: {X}\nTask: {o}.", "Task: {o}.\n{L}: {X}", "Here is what I have: {X}\nNow {o}.",
        "Look at this. {X} Now {o}.", "My task for you: {o}. {X}", "You should {o}. {X}",
        "I have this: {X}\nCan you {o}?", "Do this for me: {o}. {L}: {X}",
        "{L}: {X}\nPlease {o}.",
        "{Q}? {X}", "{Q}?\n{X}", "{Q}?\n{L}: {X}", "{X}\n{Q}?", "{X} {Q}?", "{L}: {X}\n{Q}?",
        "{L}: {X}\nQuestion: {Q}?", "Question: {Q}?\n{L}: {X}", "Tell me: {q}? {X}",
        "I have a question. {Q}? {X}", "Look at this. {X} {Q}?", "Here is what I have: {X}\n{Q}?",
        "Use this to answer. {Q}?\n{L}: {X}", "Answer this question: {q}?\n{L}: {X}",
        "{L}: {X}\nAnswer this: {Q}?", "Read this and answer.\n{X}\n{Q}?", "{X}: {q}?",
        "Can you tell me: {q}? {X}", "Here is my question: {q}? {X}", "I have this: {X}\n{Q}?",
        "{O}.", "Please {o}.", "Can you {o}?", "Could you please {o}?", "I want you to {o}.",
        "Task: {o}.", "Now {o}.", "My task for you: {o}.", "You should {o}.",
        "Do this for me: {o}.",
        "{Q}?", "Tell me: {q}?", "Question: {q}?", "I have a question. {Q}?",
        "Can you tell me: {q}?",
        "Here is my question: {q}?", "Answer this question: {q}?", "Answer this: {Q}?",
        "Please answer. {Q}?"),
    "new": (
        "Would you {o}: {X}", "Your job is to {o}. {X}", "Given this: {X}\n{O}.",
        "With the following, {o}: {X}",
        "Instruction: {O}.\n{L}: {X}", "{L}: {X}\nInstruction: {O}.", "Help me {o}. {X}",
        "I need you to {o}. It goes like this: {X}", "Take a look: {X}\nThen {o}, will you?",
        "Kindly {o}.\n\n{X}",
        "I wonder: {q}? {X}", "Given this: {X}\n{Q}?", "{L}: {X}\nQ: {Q}?", "Q: {Q}?\n{L}: {X}",
        "Consider the following. {X} So {q}?", "Here you go: {X} And now: {q}?",
        "Somebody asked me: {q}? {X}", "{Q}? It is about this: {X}",
        "Would you {o}?", "Your job is to {o}.", "Help me {o}.", "Instruction: {O}.", "Kindly {o}.",
        "I need you to {o}.", "I wonder: {q}?", "Q: {Q}?", "Somebody asked me: {q}?", "So {q}?",
        "One thing I would like to know: {q}?"),
    "short": (
        "{o}: {X}", "{X} {o}", "{o}\n{X}", "{X}\n{o}", "{o}, {X}",
        "{q}? {X}", "{X} {q}?", "{q}\n{X}", "{X}\n{q}", "{X}, {q}",
        "{o}", "{q}?", "{q}", "{O}", "{Q}"),
    "new_short": (
        "{X} -> {o}", "{o} | {X}", "{o} = {X}", "[{X}] {o}", "q: {q} / {X}", "{X} -- {q}?",
        "{X} >> {q}",
        "ok {o}", "q: {q}", "so, {q}?", "hey {q}?", "hey {o}"),
    "chinese": _CHINESE,
    "new_chinese": _NEW_CHINESE,
    "mixed": _spaced(_CHINESE),
    "new_mixed": _spaced(_NEW_CHINESE),
}
PARTS_OF = {  # style: (bank of cores, layouts, labels)
    "tuned": ("tuned", "tuned", "tuned"), "new": ("new", "new", "new"),
    "short": ("short", "short", "tuned"), "new_short": ("new_short", "new_short", "new"),
    "chinese": ("chinese", "chinese", "chinese"),
    "new_chinese": ("new_chinese", "new_chinese", "new_chinese"),
    "mixed": ("tuned", "mixed", "chinese"), "new_mixed": ("new", "new_mixed", "new_chinese"),
}
TUNED_STYLES = ("plain", "tuned", "short", "chinese", "mixed")
NEW_STYLES = ("new", "new_short", "new_chinese", "new_mixed")


@dataclass(frozen=True)
class Core:
    """What is wanted. text: as in CORES, but without the question mark."""

    text: str
    is_question: bool

    @cached_property
    def template(self):
        return Template(self.text)

    @cached_property
    def landmark(self):
        """The longest piece of the core without a slot, in small letters."""
        return max(re.split(r"{\w+}", self.text.lower()), key=len)

    def fill(self, slots):
        """The core with its slots filled in; a question in it loses its capital and its mark."""
        filled = dict(slots)
        if "question" in filled:
            question = filled["question"]
            filled["question"] = question[:1].lower() + question[1:-1]
        return self.text.format(**filled)

    def match(self, text):
        """{slot: its text}, or None."""
        if self.text == "{question}" and text.split(" ")[0].lower() not in _QUESTION_WORDS:
            return None  # most texts begin otherwise, and this saves time
        return _with_whole_question(self.template.match(text))


_QUESTION_WORDS = {question.split(" ")[0].lower()
                   for question in (*ALL_OUTSIDE, *(ask("", noun, form) for noun in ATTRIBUTES
                                                    for form in range(4)))}


def _with_whole_question(slots):
    """The slots, or None; a question among them gets its capital and its mark."""
    if slots and "question" in slots:
        slots["question"] = whole_question(slots["question"])
    return slots


class Layout:
    """Where the core and its input stand; see the top of this file."""

    def __init__(self, text):
        self.text = text
        self.has_input, self.has_label = "{X}" in text, "{L}" in text
        self.is_question = "{q}" in text.lower()
        self.has_capital = "{O}" in text or "{Q}" in text
        self.core_first = self.has_input and text.index("{X}") > re.search("{[oqOQ]}", text).start()
        pattern = loosely(re.escape(text), text).replace(r"\{L\}", "[^\n:：]{1,12}?")
        before, *between, after = re.split(r"\\{[oqOQX]\\}", pattern)
        self._before, self._after = re.compile(before), re.compile(f"(?:{after})\\Z")
        self._between = re.compile(between[0]) if between else None

    def fill(self, core, given="", label=""):
        """The instruction. core: the core's text, its slots filled in; given: the input."""
        if self.has_capital:
            core = core[:1].upper() + core[1:]
        return self.text.format(o=core, O=core, q=core, Q=core, X=given, L=label)

    def matches(self, text):
        """Yield (core, input) for each way to cut a text; the input is None without {X}."""
        before, after = self._before.match(text), self._after.search(text)
        if not before or not after or before.end() >= after.start():
            return
        inner = text[before.end():after.start()]
        if not self.has_input:
            cuts = [(inner, None)]
        else:
            cuts = [(inner[:cut.start()], inner[cut.end():])
                    for cut in self._between.finditer(inner)]
            cuts = [(a, b) if self.core_first else (b, a) for a, b in cuts if a and b]
        for core, given in cuts:
            if "\n" not in core:
                yield core, given
                if self.has_capital and core[0].isupper():
                    yield core[0].lower() + core[1:], given


@dataclass(frozen=True)
class Wording:
    """One way to ask for a task. given: the slot that the layout's {X} holds, or None."""

    core: Core
    layout: Layout
    given: str | None = None
    label: str = ""

    @property
    def slots(self):
        inside = set(self.core.template.slots)
        return inside | {self.given} if self.given else inside

    @property
    def text(self):
        """The wording with its slots still open."""
        given = f"{{{self.given}}}" if self.given else ""
        return self.layout.fill(self.core.text, given, self.label)

    def fill(self, **slots):
        """The instruction."""
        given = slots[self.given] if self.given else ""
        return self.layout.fill(self.core.fill(slots), given, self.label)


ALL_LAYOUTS = {style: tuple(map(Layout, texts)) for style, texts in LAYOUTS.items()}


def _cores(task, bank):
    return [Core(text.rstrip("?？"), text[-1] in "?？") for text in CORES[task][bank]]


@cache
def slots_of(task):
    """The sets of slots that an instruction of a task may have, one for each form of it."""
    return {frozenset(template.slots) for template in PLAIN[task]}


@cache
def wordings(task, style):
    """All wordings of a task in one style."""
    if style == "plain":
        return PLAIN[task]
    bank, layouts, labels = PARTS_OF[style]
    made = []
    for core in _cores(task, bank):
        inside = frozenset(core.template.slots)
        for layout in ALL_LAYOUTS[layouts]:
            if layout.is_question != core.is_question:
                continue
            for slots in slots_of(task):
                missing = slots - inside
                if not missing and not layout.has_input and inside == slots:
                    made.append(Wording(core, layout))
                if len(missing) == 1 and layout.has_input and missing <= set(INPUTS):
                    given, = missing
                    names = LABELS[labels][given] if layout.has_label else ("",)
                    made += [Wording(core, layout, given, label) for label in names]
    return tuple(made)


@cache
def first_wordings(task, most):
    """At most so many wordings of each form of a task: the plain ones, then tuned ones."""
    others = [wording for style in TUNED_STYLES[1:] for wording in wordings(task, style)]
    random.Random(f"wordings {task}").shuffle(others)
    chosen = []
    for form in sorted(slots_of(task), key=sorted):
        chosen += [wording for wording in (*PLAIN[task], *others)
                   if set(wording.slots) == form][:most]
    return tuple(chosen)


@cache
def _known_cores():
    """Cores without slots, {(text, is it a question): [(task, core)]}; others, [(task, core)]."""
    exact, others = {}, []
    for task, banks in CORES.items():
        for core in dict.fromkeys(core for bank in banks for core in _cores(task, bank)):
            if core.template.slots:
                others.append((task, core))
            else:
                exact.setdefault((core.text, core.is_question), []).append((task, core))
    return exact, others


def readings(text):
    """Yield (task, slots) for each way in which an instruction may have been written."""
    for task, templates in PLAIN.items():
        for template in templates:
            if slots := _with_whole_question(template.match(text)):
                yield task, slots
    exact, others = _known_cores()
    small = text.lower()
    others = [(task, core) for task, core in others if core.landmark in small]
    for layouts in ALL_LAYOUTS.values():
        for layout in layouts:
            for core, given in layout.matches(text):
                yield from _parts(layout.is_question, core, given, exact, others)


def _parts(is_question, text, given, exact, others):
    """Yield (task, slots) for each core that this may be, with this input or none."""
    matches = [(task, {}) for task, _ in exact.get((text, is_question), ())]
    matches += [(task, slots) for task, core in others
                if core.is_question == is_question and (slots := core.match(text))]
    for task, slots in matches:
        for form in slots_of(task):
            missing = form - slots.keys()
            if slots.keys() <= form and len(missing) == (given is not None):
                yield task, slots | dict.fromkeys(missing, given)
