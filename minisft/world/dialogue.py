"""Conversations of several turns: what a user says, and what the town answers to the last turn.

    follow_up    a text and a question, then "And her pet?", "And Tom?": earlier turns say who or
                 what is meant
    small_talk   a greeting and remarks about oneself, then "What is my pet?"
    topics       any tasks after each other, in between follow-ups, remarks, thanks, and questions
                 that come back to an earlier text; a greeting before, a farewell after them
    system       a system message says how to answer: in Chinese, in one word, after "Sure."

`Talk` reads the turns one by one and keeps what it needs: the text last spoken of, what was last
asked about it, the user's name, and what the user said about himself or herself.

Notes: 基于日常对话数据构建 (building from daily conversations).
"""

from itertools import chain

from minisft.world import language
from minisft.world.facts import ATTRIBUTES, POSSESSIVE, RESIDENTS, display
from minisft.world.language import Template, state, state_in_chinese
from minisft.world.skills import DO_NOT_KNOW, NOT_SAID, draw_facts

# A follow-up names a person, an attribute, or an attribute with a pronoun for the person. What it
# leaves out is the same as in the question before.
FOLLOW_UPS = {
    "plain": ("And {name}?", "And the {noun}?", "And {possessive} {noun}?"),
    "tuned": ("And what about {name}?", "And what about the {noun}?",
              "And what is {possessive} {noun}?", "What about {name}?", "What about the {noun}?",
              "Tell me {possessive} {noun}.", "Now {name}, please.", "Now the {noun}, please.",
              "Now {possessive} {noun}, please.", "The same for {name}?"),
    "new": ("How about {name}?", "How about the {noun}?", "What about {possessive} {noun}?",
            "I also need {name}.", "I also need the {noun}."),
    "short": ("{name}?", "{noun}?", "{possessive} {noun}?", "and {name}", "and {noun}"),
    "new_short": ("{name} too?", "{noun} too?", "also {possessive} {noun}"),
    "chinese": ("那 {name} 呢？", "那 {noun} 呢？", "那 {possessive} {noun} 呢？", "{name} 呢？",
                "{noun} 呢？"),
    "new_chinese": ("{name} 又怎么样？", "{noun} 又怎么样？", "再说说 {possessive} {noun}"),
}
BACK = {
    "plain": ("Back to the text: {question}",),
    "tuned": ("Back to the text: {question}", "One more question about the text: {question}",
              "Look at the text again. {question}", "In the text above: {question}",
              "Let us go back to the text. {question}",
              "I have another question about it: {question}"),
    "new": ("Return to that text, please. {question}", "As for the text from before: {question}",
            "About what I gave you earlier: {question}"),
    "short": ("text again: {question}", "the text: {question}"),
    "new_short": ("same text, {question}", "earlier text: {question}"),
    "chinese": ("回到短文：{question}", "再看短文：{question}", "关于短文还有一个问题：{question}"),
    "new_chinese": ("刚才的短文：{question}", "再问一下那段短文：{question}"),
}
GREETINGS = {
    "plain": ("Hello, I am {name}.", "Good morning, my name is {name}.", "Hi, {name} here."),
    "tuned": ("Hello, my name is {name}.", "Hi, I am {name}.", "Hello, this is {name}.",
              "My name is {name}.", "I am {name}.", "Good morning, I am {name}.",
              "Hi there, my name is {name}.", "Hey, I am {name}."),
    "new": ("Good evening, {name} is my name.", "Nice to meet you, I am {name}.",
            "Good morning, {name} here.", "Call me {name}."),
    "short": ("{name} here", "im {name}", "hi im {name}"),
    "new_short": ("its {name}", "hey {name} here"),
    "chinese": ("你好，我是 {name}。", "我叫 {name}。", "你好，我叫 {name}。"),
    "new_chinese": ("您好，我的名字是 {name}。", "大家好，我是 {name}。"),
}
HELLOS = {
    "plain": ("Hello.",),
    "tuned": ("Hello.", "Hello!", "Hi.", "Hi!", "Hi there.", "Good morning.", "Hello there!",
              "Hey.", "Good day."),
    "new": ("Good evening.", "Greetings!", "Hey there!"),
    "short": ("hello", "hi", "hey"), "new_short": ("hiya", "yo"),
    "chinese": ("你好。", "你好！", "早上好。"), "new_chinese": ("您好！", "晚上好。"),
}
REMARKS = {
    "plain": ("My {noun} is {value}.", "I have {value} as {noun}."),
    "tuned": ("I want to tell you that my {noun} is {value}.",
              "You should know: my {noun} is {value}.",
              "As {noun} I have {value}.", "By the way, my {noun} is {value}.",
              "Remember that my {noun} is {value}."),
    "new": ("As for the {noun}, I have {value}.", "Guess what, my {noun} is {value}.",
            "Please note that {value} is my {noun}."),
    "short": ("my {noun}: {value}", "my {noun} is {value}"),
    "new_short": ("{noun} of mine: {value}",),
    "chinese": ("我的 {noun} 是 {value}。", "请记住，我的 {noun} 是 {value}。"),
    "new_chinese": ("告诉你，我的 {noun} 是 {value}。",),
}
RECALLS = {
    "plain": ("What is my {noun}?", "What did I say about my {noun}?"),
    "tuned": ("Do you remember my {noun}?", "Tell me my {noun}.", "What was my {noun}?",
              "Can you say what my {noun} is?", "Which {noun} do I have?"),
    "new": ("Please tell me what my {noun} is.", "Remind me of my {noun}.",
            "Do you still know my {noun}?"),
    "short": ("my {noun}?", "whats my {noun}"),
    "new_short": ("{noun} of mine?",),
    "chinese": ("我的 {noun} 是什么？", "你记得我的 {noun} 吗？"),
    "new_chinese": ("我说过我的 {noun} 是什么？",),
}
ASK_NAME = {
    "plain": ("What is my name?", "Who am I?"),
    "tuned": ("Do you know my name?", "Do you remember my name?", "Tell me my name.",
              "What am I called?", "Can you say my name?"),
    "new": ("Please tell me my name.", "Remind me who I am.", "Which name did I give you?"),
    "short": ("my name?", "whats my name"), "new_short": ("name of mine?",),
    "chinese": ("我叫什么？", "我的 name 是什么？", "你记得我的名字吗？"),
    "new_chinese": ("我是谁来着？",),
}
THANKS = {
    "plain": ("Thank you.", "Thanks a lot."),
    "tuned": ("Thanks.", "Thank you!", "Thanks!", "Thank you very much.", "Great, thank you.",
              "That helps, thanks.", "Thanks for your help."),
    "new": ("Thank you a lot.", "Many thanks.", "I am grateful to you."),
    "short": ("thanks", "thx", "ok thanks"), "new_short": ("cheers", "ty"),
    "chinese": ("谢谢。", "多谢 you。", "谢谢你！"), "new_chinese": ("十分感谢。", "真是谢谢了。"),
}
FAREWELLS = {
    "plain": ("Goodbye.",),
    "tuned": ("Goodbye.", "Bye.", "Bye!", "See you.", "Good night.", "That is all, goodbye.",
              "Goodbye, see you tomorrow."),
    "new": ("Farewell.", "So long, bye.", "See you next time."),
    "short": ("bye", "bye bye"), "new_short": ("cu", "good bye"),
    "chinese": ("再见。", "拜拜。", "明天见。"), "new_chinese": ("下次再见。", "回头见。"),
}
SAYINGS = (FOLLOW_UPS, BACK, GREETINGS, HELLOS, REMARKS, RECALLS, ASK_NAME, THANKS, FAREWELLS)
_TEMPLATES = {text: Template(text, loose=True)
              for styles in SAYINGS for text in chain(*styles.values())}
# System messages, and what they make of an answer.
SYSTEM = {
    "in Chinese": {
        "tuned": ("Answer in Chinese.", "Always answer in Chinese.",
                  "Use Chinese for your answers.",
                  "请用中文回答。", "You are an assistant that speaks Chinese."),
        "new": ("Reply in Chinese only.", "请一直用中文回复。")},
    "in one word": {
        "tuned": ("Answer in one word.", "Answer with one word only.",
                  "Give one word as your answer.",
                  "请用一个词回答。", "Your answers have one word."),
        "new": ("Reply with a single word.", "One word replies, please.")},
    "sure": {
        "tuned": ("Begin each answer with Sure.", "Say Sure before each answer.",
                  "First say Sure, then answer.", "回答之前先说 Sure。"),
        "new": ("Let every reply begin with Sure.", "Start by saying Sure each time.")},
}
MANNERS = {text: manner for manner, banks in SYSTEM.items() for text in chain(*banks.values())}
CHINESE_SAYINGS = {NOT_SAID: "短文没有说。", DO_NOT_KNOW: "我不知道。"}


def in_manner(answer, manner):
    """An answer as a system message wants it, or None where the town cannot say it so.

    >>> in_manner("The pet of Mia is a dog.", "in one word")
    'dog.'
    >>> in_manner("The pet of Mia is a dog.", "in Chinese")
    'Mia的宠物是小狗。'
    """
    if manner == "sure":
        return f"Sure. {answer}"
    if manner == "in Chinese":
        fact = language.read_statement(answer)
        return state_in_chinese(fact) if fact else CHINESE_SAYINGS.get(answer)
    ends_with_it = answer.startswith(("The ", "We know that ", "Your "))
    if not ends_with_it or ", " in answer or answer in CHINESE_SAYINGS:
        return None
    return answer.split(" ")[-1]


def _match(styles, text):
    """Slots of the first wording that fits the text with a real name and attribute, or None."""
    for wording in chain(*styles.values()):
        slots = _TEMPLATES[wording].match(text)
        if slots is None:
            continue
        real_name = "name" not in slots or slots["name"] in POSSESSIVE
        real_noun = "noun" not in slots or slots["noun"] in ATTRIBUTES
        real_possessive = slots.get("possessive", "her") in POSSESSIVE.values()
        if real_name and real_noun and real_possessive:
            return slots
    return None


class Talk:
    """A conversation as far as it has gone.

    judge_alone: text -> Judgement of an instruction by itself, or None. `kinds` and `meaning` hold
    what each turn was and what it means, `judged` the last Judgement of an instruction by itself.
    """

    def __init__(self, judge_alone):
        self.judge_alone = judge_alone
        self.name, self.said = None, {}
        self.known, self.asked = None, None  # facts of the last text; (name, noun) last asked
        self.meaning, self.kinds, self.judged = [], [], None

    def read(self, text):
        """The answers that are right after a user's turn, or () if it makes no sense here."""
        found = (self._greeting(text) or self._courtesy(text) or self._about_me(text)
                 or self._about_the_text(text) or self._alone(text))
        if not found:
            return ()
        kind, answers, meaning = found
        self.kinds.append(kind)
        self.meaning.append(meaning)
        return answers

    def _to(self, words):
        """Words with the user's name, if it is known."""
        return f"{words}, {self.name}." if self.name else f"{words}."

    def _greeting(self, text):
        greeting = _match(GREETINGS, text)
        if greeting and greeting["name"] in RESIDENTS:
            self.name = greeting["name"]
        elif _match(HELLOS, text) is None:
            return None
        return "greeting", (f"{self._to('Hello')} How can I help?",), ("hello", self.name)

    def _courtesy(self, text):
        if _match(THANKS, text) is not None:
            return "courtesy", (self._to("You are welcome"),), "thanks"
        if _match(FAREWELLS, text) is not None:
            return "courtesy", (self._to("Goodbye"),), "goodbye"
        return None

    def _about_me(self, text):
        if _match(ASK_NAME, text) is not None:
            answer = f"Your name is {self.name}." if self.name else DO_NOT_KNOW
            return "about me", (answer,), "name"
        if recall := _match(RECALLS, text):
            noun = recall["noun"]
            answer = f"Your {noun} is {self.said[noun]}." if noun in self.said else DO_NOT_KNOW
            return "about me", (answer,), noun
        remark = _match(REMARKS, text)
        if remark and _is_value(self.name or RESIDENTS[0], **remark):
            self.said[remark["noun"]] = remark["value"]
            return "about me", ("That is good to know.",), (remark["noun"], remark["value"])
        return None

    def _about_the_text(self, text):
        if self.known is None:
            return None
        back = _match(BACK, text)
        asked = language.read_question(language.whole_question(back["question"] if back else text))
        if not asked:
            slots = _match(FOLLOW_UPS, text)
            if slots is None:
                return None
            name, noun = self.asked
            name, noun = slots.get("name", name), slots.get("noun", noun)
            if slots.get("possessive", POSSESSIVE[name]) != POSSESSIVE[name]:
                return None
            asked = name, noun
        return self._from_the_text(asked)

    def _from_the_text(self, asked):
        self.asked = asked
        answer = state((*asked, self.known[asked]), 0) if asked in self.known else NOT_SAID
        return "text", (answer,), asked

    def _alone(self, text):
        judged = self.judge_alone(text)
        if judged is None:
            return None
        self.judged = judged
        if judged.text:
            known, asked = judged.text
            if known is None and self.known:
                return self._from_the_text(asked)
            self.known, self.asked = known, asked
        return "alone", judged.answers, judged.meaning


def _is_value(name, noun, value):
    values = [display(noun, value) for value in ATTRIBUTES[noun].values]
    return language.speaks_of(name, noun) and value in values


# Drawing


def _saying(rng, styles, style, *slots):
    """One of the wordings of a style that hold no other slots than these."""
    if style.endswith("mixed"):
        style = style.replace("mixed", "chinese")
    for texts in (styles[style], styles["plain"]):
        fitting = [text for text in texts if _fits(_TEMPLATES[text].slots, slots)]
        if fitting:
            return rng.choice(fitting) if len(fitting) > 1 else fitting[0]


def _said(rng, styles, style, **slots):
    """One of the wordings of a style that hold no other slots than these, filled."""
    return _saying(rng, styles, style, *slots).format(**slots)


def _fits(slots, given):
    return set(slots) <= set(given) and bool(slots) == bool(given)


def draw_follow_up(rng, scope, style, reading):
    """User turns in one style: a reading instruction about one or two people, then follow-ups.

    reading: style -> wordings of a reading instruction. In any style but the plain one, a follow-up
    may ask for what the text does not say.
    """
    residents = rng.randint(1, 2)
    attributes = 2 if residents == 2 else rng.randint(2, 4)
    facts = draw_facts(rng, scope, residents, attributes)

    name, noun, _ = rng.choice(facts)
    wording = rng.choice(reading(style))
    passage = " ".join(state(fact, rng.randrange(5)) for fact in facts)
    question = language.ask(name, noun, rng.randrange(4))
    turns = [wording.fill(passage=passage, question=question)]

    for _ in range(scope.amount(rng, 2, 8) - 1):
        if style != "plain" and rng.random() < 0.1:
            noun = rng.choice(scope.attributes)
            turns.append(_said(rng, FOLLOW_UPS, style, noun=noun, possessive=POSSESSIVE[name]))
            continue
        other_names = [other for other, _, _ in facts if other != name]
        if other_names and rng.random() < 0.5:
            name = other_names[0]
            turns.append(_said(rng, FOLLOW_UPS, style, name=name))
        else:
            noun = rng.choice([other for _, other, _ in facts if other != noun])
            turns.append(_said(rng, FOLLOW_UPS, style, noun=noun, possessive=POSSESSIVE[name]))
    return turns


def draw_small_talk(rng, scope, style):
    """User turns in one style: a greeting, then remarks, questions about oneself, and thanks."""
    turns = [_saying(rng, GREETINGS, style, "name").format(name=rng.choice(RESIDENTS))]
    unsaid = rng.sample(scope.attributes, min(4, len(scope.attributes)))
    said = []
    count = scope.amount(rng, 2, 8)
    while len(turns) < count:
        is_last = len(turns) == count - 1
        choices = ["name"]
        if is_last:
            choices.append("thanks" if style == "plain" or rng.random() < 0.6 else "farewell")
        if said:
            choices += ["recall"] * 3
        if unsaid and not is_last:
            choices += ["remark"] * 4

        plan = rng.choice(choices)
        if plan == "remark":
            noun = unsaid.pop()
            said.append(noun)
            turns.append(_remark(rng, style, noun))
        elif plan == "recall":
            saying = _saying(rng, RECALLS, style, "noun")
            turns.append(saying.format(noun=rng.choice(said)))
        else:
            sayings = {"name": ASK_NAME, "thanks": THANKS, "farewell": FAREWELLS}
            turns.append(_said(rng, sayings[plan], style))
    return turns


def _remark(rng, style, noun):
    value = display(noun, rng.choice(list(ATTRIBUTES[noun].values)))
    return _said(rng, REMARKS, style, noun=noun, value=value)


def draw_topics(rng, scope, style_of, draw_alone, reading):
    """User turns about several things, each in a style of its own.

    style_of: () -> style; draw_alone: (style, tasks or None for any) -> (task, an instruction);
    reading: style -> wordings of a reading instruction.
    """
    count = scope.amount(rng, *scope.turns)
    turns, facts, said, asked = [], [], [], []
    if rng.random() < 0.5:
        style = style_of()
        has_name = rng.random() < 0.6
        turns.append(_said(rng, GREETINGS, style, name=rng.choice(RESIDENTS)) if has_name
                     else _said(rng, HELLOS, style))
    while len(turns) < count:
        style, roll, is_last = style_of(), rng.random(), len(turns) == count - 1
        if is_last and roll < 0.4:
            turns.append(_said(rng, rng.choice((THANKS, FAREWELLS)), style))
        elif roll < 0.12:
            facts = draw_facts(rng, scope, rng.randint(1, 2), 2)
            passage = " ".join(state(fact, rng.randrange(5)) for fact in facts)
            turns.append(_read(rng, facts, passage, reading(style)))
        elif facts and roll < 0.3:
            turns.append(_said(rng, BACK, style, question=_question(rng, facts)))
        elif roll < 0.4:
            noun = rng.choice(scope.attributes)
            said.append(noun)
            turns.append(_remark(rng, style, noun))
        elif said and roll < 0.48:
            turns.append(_said(rng, RECALLS, style, noun=rng.choice(said)))
        elif roll < 0.52:
            turns.append(_said(rng, ASK_NAME, style))
        elif roll < 0.55:
            turns.append(_said(rng, THANKS, style))
        else:
            again = asked and scope.again and rng.random() < scope.again
            task, turn = draw_alone(style, asked if again else None)
            asked.append(task)
            turns.append(turn)
    return turns


def _question(rng, facts):
    name, noun, _ = rng.choice(facts)
    return language.ask(name, noun, rng.randrange(4))


def _read(rng, facts, passage, wordings):
    """A reading instruction about one of the facts of a passage."""
    question = _question(rng, facts)
    return rng.choice(wordings).fill(passage=passage, question=question)


def draw_system(rng, scope, bank, style_of, draw_alone, reading):
    """(system message, user turns). Some cannot be answered as the message wants it; see in_manner.

    The arguments are those of `draw_topics`; bank: "tuned" or "new", whose messages to draw from.
    """
    manner = rng.choice(list(SYSTEM))
    message = rng.choice(SYSTEM[manner][bank])
    count = scope.amount(rng, 1, 4)
    if rng.random() < 0.6 or manner == "in Chinese":
        return message, draw_follow_up(rng, scope, style_of(), reading)[:count]
    tasks = ONE_WORD if manner == "in one word" else None
    return message, [draw_alone(style_of(), tasks)[1] for _ in range(count)]


# Tasks whose answer ends with the one word that matters.
ONE_WORD = ("reading", "classification", "opposite", "to_chinese", "to_english", "first", "last",
            "count", "arithmetic", "restate")
DIALOGUES = ("follow_up", "small_talk", "topics", "system")
