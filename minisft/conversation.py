"""A conversation, and how it becomes tokens: ids and loss mask are appended in the same call.

    <|endoftext|> <|user|> Hi. <|end|> <|assistant|> Hello. <|end|>
          0          0      0     0          0          1      1
                  <|user|> ... <|end|> <|assistant|>  ...   <|end|>
                     0      0     0          0          1      1

The mask is 1 on every token of every assistant turn that is to be learnt, its end token included,
and 0 elsewhere. The role tag is given to the model, so the model does not learn to predict it. Each
turn is encoded on its own: no merge crosses the border between two turns, and a role tag that a
user types stays plain text.

Notes: 指令格式 (instruction formats) and 多轮对话数据的高效训练 (training efficiently on multi-turn
dialogue).
"""

from dataclasses import dataclass
from reprlib import repr as short

from minisft.tokenizer import END_OF_TEXT, END_OF_TURN, ROLES, check_text


@dataclass(frozen=True)
class Message:
    """One turn. role: "system", "user" or "assistant"; content: text that is not blank.

    learn: False for an answer that is only context, which the model sees and does not learn.
    """

    role: str
    content: str
    learn: bool = True

    def __post_init__(self):
        _check_message(self.role, self.content)


@dataclass(frozen=True)
class Conversation:
    """A tuple of Message: an optional system message, then user, assistant, user, ...

    An answer that is not learnt may open it.
    """

    messages: tuple

    def __post_init__(self):
        _check_order(self.messages)

    @classmethod
    def from_messages(cls, messages):
        """From [{"role": ..., "content": ...}, ...]; ValueError names the message that is wrong."""
        if not isinstance(messages, (list, tuple)):
            raise ValueError(
                f"messages is {type(messages).__name__}, expected a list of role and content")
        return cls(tuple(
            _read_message(number, message) for number, message in enumerate(messages, 1)))

    def to_messages(self):
        """The messages as from_messages reads them, with `train: False` where one is not learnt."""
        return [{"role": message.role, "content": message.content}
                | ({} if message.learn else {"train": False}) for message in self.messages]


@dataclass(frozen=True)
class Rendered:
    """ids: list of int; loss_mask: list of 0 and 1, equally long; 1 where the token is a target."""

    ids: list
    loss_mask: list


class _Builder:
    """Appends ids and mask together, so that they cannot disagree."""

    def __init__(self):
        self.ids = []
        self.loss_mask = []

    def add(self, ids, supervised):
        self.ids.extend(ids)
        self.loss_mask.extend([int(supervised)] * len(ids))


def render(conversation, tokenizer):
    """Token ids and loss mask of a whole conversation.

    >>> from minisft.tokenizer import Tokenizer
    >>> tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    >>> hello = Conversation((Message("user", "a"), Message("assistant", "b")))
    >>> render(hello, tokenizer)
    Rendered(ids=[256, 258, 97, 260, 259, 98, 260], loss_mask=[0, 0, 0, 0, 0, 1, 1])
    """
    out = _Builder()
    out.add([tokenizer.special(END_OF_TEXT)], supervised=False)
    for message in conversation.messages:
        tag, *content_and_end = encode_turn(message, tokenizer)
        out.add([tag], supervised=False)
        out.add(content_and_end, supervised=message.role == "assistant" and message.learn)
    return Rendered(out.ids, out.loss_mask)


def encode_turn(message, tokenizer):
    """Ids of one turn: its role tag, its content, its end token.

    The content is encoded on its own.
    """
    tag, end = tokenizer.special(ROLES[message.role]), tokenizer.special(END_OF_TURN)
    return [tag, *tokenizer.encode(message.content), end]


def render_prompt(conversation, tokenizer):
    """Ids up to the place where the assistant's next answer begins, its role tag included.

    ValueError if the last message is the assistant's.
    """
    if conversation.messages[-1].role == "assistant":
        raise ValueError(
            "the last message is the assistant's own; nothing is left to answer")
    return render(conversation, tokenizer).ids + [tokenizer.special(ROLES["assistant"])]


def render_text(text, tokenizer):
    """A plain document (pre-training): every token but the first is a target, the last included."""
    end = [tokenizer.special(END_OF_TEXT)]
    out = _Builder()
    out.add(end, supervised=False)
    out.add(tokenizer.encode(text) + end, supervised=True)
    return Rendered(out.ids, out.loss_mask)


def _check_message(role, content):
    """ValueError unless the role is known and the content is text that can be encoded."""
    if role not in ROLES:
        raise ValueError(f"unknown role {short(role)}: expected one of {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise ValueError(f"the {role} content is {type(content).__name__}, expected text")
    if not content.strip():
        raise ValueError(f"the {role} content is empty, expected text")
    try:
        check_text(content)
    except ValueError as error:
        raise ValueError(f"the {role} content has a {error}") from None


def _check_order(messages):
    """ValueError unless the roles are: an optional system, then user, assistant, user, ..."""
    turns = list(messages)
    if turns and turns[0].role == "system":
        del turns[0]
    if turns and turns[0].role == "assistant" and not turns[0].learn:
        del turns[0]
    if not turns:
        raise ValueError("the conversation has no user message; expected user, assistant, ...")
    for index, message in enumerate(turns):
        expected = "user" if index % 2 == 0 else "assistant"
        if message.role != expected:
            raise ValueError(
                f"turn {index + 1} is by {message.role}, expected {expected}: after an optional "
                "system message user and assistant alternate, user first")


def _read_message(number, message):
    """A Message of {"role": ..., "content": ...}; ValueError names it by its number."""
    if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
        raise ValueError(
            f"message {number} must be an object with role and content, got {short(message)}")
    role = message["role"]
    if not isinstance(role, str):
        raise ValueError(f"message {number}: role is {type(role).__name__}, expected text")
    try:
        return Message(role, message["content"], message.get("train", True))
    except ValueError as error:
        raise ValueError(f"message {number}: {error}") from None
