"""A conversation, and how it becomes tokens: ids and loss mask are appended in one and the same call.

    <|endoftext|> <|user|> Hi. <|end|> <|assistant|> Hello. <|end|> <|user|> ... <|end|> <|assistant|> ... <|end|>
         0           0      0     0          0          1      1        0              0          1      1

The mask is 1 on every token of every assistant turn, its end token included, and 0 elsewhere: the role tag is given
to the model, not asked of it. Turns are encoded apart from each other, so no merge crosses a border and a role
marker typed by a user stays text.

Notes: 指令格式 (instruction formats) and 多轮对话数据的高效训练 (training efficiently on multi-turn dialogue).
"""

from dataclasses import dataclass
from reprlib import repr as short

from minisft.tokenizer import END_OF_TEXT, END_OF_TURN, ROLES, check_text


@dataclass(frozen=True)
class Message:
    """One turn. role: "system", "user" or "assistant"; content: text that is not blank."""

    role: str
    content: str

    def __post_init__(self):
        if self.role not in ROLES:
            raise ValueError(f"unknown role {short(self.role)}: expected one of {', '.join(ROLES)}")
        if not isinstance(self.content, str):
            raise ValueError(f"the {self.role} content is {type(self.content).__name__}, expected text")
        if not self.content.strip():
            raise ValueError(f"the {self.role} content is empty, expected text")
        try:
            check_text(self.content)
        except ValueError as error:
            raise ValueError(f"the {self.role} content has a {error}") from None


@dataclass(frozen=True)
class Conversation:
    """Messages in turn: an optional system message, then user, assistant, user, ..."""

    messages: tuple

    def __post_init__(self):
        roles = [message.role for message in self.messages]
        turns = roles[1:] if roles[:1] == ["system"] else roles
        if not turns:
            raise ValueError("the conversation has no user message; expected user, assistant, ...")
        for number, (role, expected) in enumerate(zip(turns, ("user", "assistant") * len(turns)), 1):
            if role != expected:
                raise ValueError(f"turn {number} is by {role}, expected {expected}: after an optional system message "
                                 "user and assistant alternate, user first")

    @classmethod
    def from_messages(cls, messages):
        """From [{"role": ..., "content": ...}, ...]; ValueError says which message is wrong and how."""
        if not isinstance(messages, (list, tuple)):
            raise ValueError(f"messages is {type(messages).__name__}, expected a list of role and content")
        checked = []
        for number, message in enumerate(messages, 1):
            if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
                raise ValueError(f"message {number} must be an object with role and content, got {short(message)}")
            if not isinstance(message["role"], str):
                raise ValueError(f"message {number}: role is {type(message['role']).__name__}, expected text")
            try:
                checked.append(Message(message["role"], message["content"]))
            except ValueError as error:
                raise ValueError(f"message {number}: {error}") from None
        return cls(tuple(checked))

    def to_messages(self):
        return [{"role": message.role, "content": message.content} for message in self.messages]


@dataclass(frozen=True)
class Rendered:
    """ids: list of int; loss_mask: list of 0 and 1, equally long; loss_mask[i] is 1 where token i is a target."""

    ids: list
    loss_mask: list


class _Builder:
    """Appends ids and mask together, so that they cannot disagree."""

    def __init__(self):
        self.ids, self.loss_mask = [], []

    def add(self, ids, supervised):
        self.ids.extend(ids)
        self.loss_mask.extend([int(supervised)] * len(ids))


def render(conversation, tokenizer):
    """Token ids and loss mask of a whole conversation.

    >>> from minisft.tokenizer import Tokenizer
    >>> tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    >>> hello = Conversation.from_messages([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    >>> render(hello, tokenizer)
    Rendered(ids=[256, 258, 97, 260, 259, 98, 260], loss_mask=[0, 0, 0, 0, 0, 1, 1])
    """
    out = _Builder()
    out.add([tokenizer.special(END_OF_TEXT)], supervised=False)
    for message in conversation.messages:
        out.add([tokenizer.special(ROLES[message.role])], supervised=False)
        supervised = message.role == "assistant"
        out.add(tokenizer.encode(message.content), supervised)
        out.add([tokenizer.special(END_OF_TURN)], supervised)
    return Rendered(out.ids, out.loss_mask)


def render_prompt(conversation, tokenizer):
    """Ids up to the place where the assistant speaks next; the last message must not be the assistant's."""
    if conversation.messages[-1].role == "assistant":
        raise ValueError("the last message is the assistant's own; nothing is left to answer")
    return render(conversation, tokenizer).ids + [tokenizer.special(ROLES["assistant"])]


def render_text(text, tokenizer):
    """A document of plain text (pre-training): every token but the first is a target, the end token included."""
    end = [tokenizer.special(END_OF_TEXT)]
    out = _Builder()
    out.add(end, supervised=False)
    out.add(tokenizer.encode(text) + end, supervised=True)
    return Rendered(out.ids, out.loss_mask)
