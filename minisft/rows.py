"""One decoded row of a data file -> a Conversation or a document: the formats that people have.

    messages            messages (or conversations): [{role or from, content or value}, ...], or
                        the row is such a list itself
    question, answer    instruction, prompt, query, question, or input; with output, response,
                        completion or answer; optional input or context, system, history
    text                text: a plain document, as in pre-training

What a row says is used, refused with a reason, or named among the ignored keys; nothing that
changes what is learnt is dropped in silence. A key whose value is null counts as absent.

A turn marked `weight: 0`, `train: false` or `loss: false` is context: the model sees it and does
not learn it. So is an answer that opens a conversation.

Notes: 指令格式 (instruction formats).
"""

from collections import Counter
from dataclasses import dataclass, field
from reprlib import repr as short

from minisft.conversation import Conversation, Message
from minisft.tokenizer import check_text

ROLE_OF = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "model", "bot"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
TOOL_ROLES = ("tool", "tools", "tool_call", "tool_response", "function", "function_call",
              "function_response", "observation", "ipython")
TURNS = ("messages", "conversations", "conversation")
QUESTIONS = ("instruction", "prompt", "query", "question")
ANSWERS = ("output", "response", "completion", "answer")
CONTEXTS = ("input", "context")
SYSTEMS = ("system", "system_prompt")
MARKS = ("weight", "train", "loss")
EVALUATION = ("task", "split", "also", "choices", "every_turn")
# Beside `text` these say that it is a part of something else.
NO_DOCUMENT = ("role", "summary", "label", "labels", "target", "sentiment", "highlights",
               "translation", *ANSWERS)
PREFERENCES = ("chosen", "rejected", "preferred", "rejected_response", "chosen_response")
MEDIA = ("image", "images", "image_url", "audio", "audios", "input_audio", "video", "videos")
CALLS = ("tool_calls", "function_call", "tool_call")
FORMATS = ("messages (a list of role and content), or a question (instruction, prompt, query or "
           "question) and its answer (output, response, completion or answer), or text")


@dataclass(frozen=True)
class Parsed:
    """item: a Conversation or a document; the rest as in minisft.records.Record.

    ignored: the keys that were not used, those of turns as "turn's name".
    """

    item: Conversation | str
    task: str = "all"
    split: str = "all"
    also: tuple = ()
    choices: tuple = ()
    every_turn: bool = False
    ignored: Counter = field(default_factory=Counter)


def parse(row):
    """The Parsed of a decoded row; ValueError says what is wrong and what was expected."""
    left = _open(row)
    if any(key in left for key in TURNS):
        item = _from_turns(left)
    elif _find(left, QUESTIONS) or (_find(left, ANSWERS) and "input" in left):
        item = _from_question(left)
    elif "text" in left:
        item = _from_text(left)
    else:
        keys = ", ".join(repr(str(key)[:40]) for key in list(row)[:8]) or "none"
        raise ValueError(f"the format is not known from its keys ({keys}); expected {FORMATS}")
    names = _evaluation_keys(left, item)
    ignored = Counter(str(key) for key in left)
    if isinstance(item, tuple):
        item, of_turns = item
        ignored += of_turns
    return Parsed(item, **names, ignored=ignored)


def chat_turns(row):
    """([(role, content, learn), ...], Counter of the keys not used) of the row of a chat log.

    Turns may stand in any order and may be empty, as people's logs have them; a system message of
    the row itself comes first. ValueError for all else that `parse` refuses.
    """
    left = _open(row)
    if not any(key in left for key in TURNS):
        raise ValueError(f"the row has no turns; expected one of {', '.join(TURNS)} (a row of one "
                         "question and its answer is no chat, and training reads it as it is)")
    ignored = Counter()
    turns = [_turn(turn, number, ignored) for number, turn in enumerate(_take_turns(left), 1)]
    for number, (role, content, _) in enumerate(turns, 1):
        if not isinstance(content, str):
            raise ValueError(f"message {number}: the {role} content is {kind(content)}, expected "
                             "text")
    system = _take_system(left)
    if system and ("system", system, True) not in turns[:1]:
        turns.insert(0, ("system", system, True))
    return turns, ignored + Counter(str(key) for key in left)


def _open(row):
    """What a row holds, as a dict of its own without nulls; a bare list is one of messages."""
    if isinstance(row, list):
        row = {"messages": row}
    if not isinstance(row, dict):
        raise ValueError(f"the row is {kind(row)}, expected an object with {FORMATS}")
    left = {key: value for key, value in row.items() if value is not None}
    _refuse_what_is_no_instruction(left)
    return left


# What is refused by name


def _refuse_what_is_no_instruction(row):
    found = _find(row, PREFERENCES)
    if found or isinstance(row.get("label"), bool):
        raise ValueError(f"{found or 'label'}: this is preference data (which answer is better), "
                         "not instruction data; expected a question and its answer")
    _refuse_media_and_calls(row, "the row")


def _refuse_media_and_calls(mapping, where):
    for key in MEDIA:
        if mapping.get(key):
            raise ValueError(f"{where} has {key}, which cannot be read; expected text only")
    for key in CALLS:
        if mapping.get(key):
            raise ValueError(f"{where} has {key}; calls of tools cannot be learnt here; expected "
                             "text only")


# Formats. Each takes the keys that it uses out of the row.


def _from_turns(row):
    """(Conversation, Counter of the turns' ignored keys)."""
    turns, ignored = _take_turns(row), Counter()
    messages = [_message(turn, number, ignored) for number, turn in enumerate(turns, 1)]
    return _conversation(_take_system(row), messages), ignored


def _from_question(row):
    """(Conversation, empty Counter); or of lists of messages, as trl has them."""
    question = _only(row, QUESTIONS) or "input"
    answer = _only(row, ANSWERS)
    if answer is None:
        raise ValueError(f"there is {question} but no answer; expected one of {', '.join(ANSWERS)}")
    if isinstance(row[question], list) and isinstance(row[answer], list):
        row["messages"] = row.pop(question) + row.pop(answer)
        return _from_turns(row)

    asked = _take_text(row, question)
    context = _only({key: row[key] for key in CONTEXTS if row.get(key) not in (None, "")}, CONTEXTS)
    if context:
        given = _take_text(row, context)
        if given.strip():
            asked = f"{asked}\n{given}"
    for key in CONTEXTS:
        row.pop(key, None)  # empty
    system, messages = _take_system(row), []
    for user, reply in _take_history(row):
        messages += [Message("user", user), Message("assistant", reply)]
    messages += [Message("user", asked), Message("assistant", _take_text(row, answer))]
    return _conversation(system, messages), Counter()


def _from_text(row):
    found = _find(row, NO_DOCUMENT)
    if found:
        raise ValueError(
            f"text beside {found} is no document to pre-train on; expected instruction and output "
            "(rename the keys), or the turns of a conversation in messages: [{\"role\": ..., "
            f"\"content\": ...}}], or a document without {found}")
    text = _take_text(row, "text")
    if not text.strip():
        raise ValueError("text is empty, expected a document")
    check_text(text)
    return text


# Parts


def _take_turns(row):
    """The list of turns of a row, as they are."""
    name = _only(row, TURNS)
    turns = row.pop(name)
    if not isinstance(turns, list):
        raise ValueError(f"{name} is {kind(turns)}, expected a list of role and content")
    return turns


def _message(turn, number, ignored):
    """The Message of one turn; adds the keys that are not used to `ignored`."""
    role, content, learn = _turn(turn, number, ignored)
    try:
        return Message(role, content, learn)
    except ValueError as error:
        raise ValueError(f"message {number}: {error}") from None


def _turn(turn, number, ignored):
    """(role, content, learn) of one turn; content may be anything but a list."""
    where = f"message {number}"
    if not isinstance(turn, dict):
        raise ValueError(f"{where} must be an object with role and content, got {short(turn)}")
    left = {key: value for key, value in turn.items() if value is not None}
    _refuse_media_and_calls(left, where)
    speaker, said = _only(left, ("role", "from")), _only(left, ("content", "value"))
    role = _role(left.pop(speaker), where) if speaker else None
    if not speaker or not said:
        raise ValueError(f"{where} must be an object with role and content, got {short(turn)}")
    content = _content(left.pop(said), where)
    learn = _learn(left, role, where)
    ignored.update(f"a turn's {key}" for key in left)
    return role, content, learn


def _role(value, where):
    if not isinstance(value, str):
        raise ValueError(f"{where}: role is {kind(value)}, expected text")
    if value.lower() in TOOL_ROLES:
        raise ValueError(f"{where} is by {short(value)}; calls of tools and their results cannot "
                         "be learnt here; expected user, assistant or system")
    if value.lower() not in ROLE_OF:
        raise ValueError(f"{where}: unknown role {short(value)}, expected one of "
                         f"{', '.join(ROLE_OF)}")
    return ROLE_OF[value.lower()]


def _content(value, where):
    """Text, or the joined text of parts: [{"type": "text", "text": ...}, ...]."""
    if not isinstance(value, list):
        return value
    texts = []
    for part in value:
        is_text = isinstance(part, dict) and part.get("type", "text") == "text"
        if isinstance(part, str):
            texts.append(part)
        elif is_text and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            named = part.get("type") if isinstance(part, dict) else part
            raise ValueError(f"{where}: a part of the content is {short(named)}, expected text; "
                             "nothing else can be read")
    return "".join(texts)


def _learn(left, role, where):
    """Whether an answer is to be learnt, from the marks of its turn."""
    learn = True
    for mark in MARKS:
        value = left.pop(mark, None)
        if value is None:
            continue
        allowed = (0, 1) if mark == "weight" else (False, True)
        if isinstance(value, str) or value not in allowed:
            raise ValueError(f"{where}: {mark} is {short(value)}, expected {allowed[0]} or "
                             f"{allowed[1]}")
        if value and role != "assistant" and mark != "weight":
            raise ValueError(f"{where}: {mark} asks to learn what the {role} says; only answers "
                             "can be learnt, expected no mark")
        learn = learn and bool(value)
    return learn


def _conversation(system, messages):
    """A Conversation; an answer that opens it is context."""
    if system:
        if messages and messages[0].role == "system":
            if messages[0].content != system:
                raise ValueError("there are two system messages, one in the row and one among the "
                                 "turns; expected one")
        else:
            messages = [Message("system", system), *messages]
    first = 1 if messages and messages[0].role == "system" else 0
    if len(messages) > first and messages[first].role == "assistant":
        opening = messages[first]
        messages[first] = Message("assistant", opening.content, learn=False)
    conversation = Conversation(tuple(messages))
    if conversation.messages[-1].role != "assistant":
        raise ValueError("the conversation ends with the user; expected an assistant's answer at "
                         "the end")
    return conversation


def _take_system(row):
    """The row's own system message, or ""."""
    name = _only(row, SYSTEMS)
    return _take_text(row, name) if name else ""


def _take_history(row):
    """The earlier [user, assistant] pairs."""
    history = row.pop("history", None)
    if history in (None, "", []):
        return []
    if not isinstance(history, list) or not all(
            isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise ValueError("history must be a list of [user, assistant] pairs")
    return history


def _take_text(row, key):
    if key not in row:
        raise ValueError(f"{key} is missing, expected text")
    if not isinstance(row[key], str):
        raise ValueError(f"{key} is {kind(row[key])}, expected text")
    return row.pop(key)


def _evaluation_keys(row, item):
    """{name: value} of what evaluation needs, checked."""
    values = {key: row.pop(key) for key in EVALUATION if key in row}
    for key in ("task", "split"):
        if key in values:
            values[key] = _checked_text(values[key], key)
            if not values[key]:
                del values[key]
    for key in ("also", "choices"):
        if key in values:
            if not isinstance(values[key], list):
                raise ValueError(f"{key} is {kind(values[key])}, expected a list of answers")
            values[key] = tuple(_checked_text(each, f"one of {key}") for each in values[key])
            if not all(values[key]):
                raise ValueError(f"one of {key} is empty, expected an answer")
    if values.get("choices"):
        if isinstance(item, str):
            raise ValueError("choices go with a question, and this row is a document")
        answer = item[0].messages[-1].content
        if answer not in values["choices"]:
            raise ValueError(f"the answer {short(answer)} is not among the choices "
                             f"({short(values['choices'])}); give it as it stands there")
    _check_every_turn(values, item)
    return values


def _check_every_turn(values, item):
    every_turn = values.get("every_turn", False)
    if not isinstance(every_turn, bool):
        raise ValueError(f"every_turn is {kind(every_turn)}, expected true or false")
    if every_turn and isinstance(item, str):
        raise ValueError("every_turn goes with a conversation, and this row is a document")
    if every_turn and values.get("choices"):
        raise ValueError("choices are for the last answer alone, and every_turn asks for all; "
                         "expected one of them")


def _checked_text(value, name):
    if not isinstance(value, str):
        raise ValueError(f"{name} is {kind(value)}, expected text")
    try:
        check_text(value)
    except ValueError as error:
        raise ValueError(f"{name} has a {error}") from None
    return value


def _find(row, keys):
    """The first of these keys that a row has, or None."""
    return next((key for key in keys if key in row), None)


def _only(row, keys):
    """The one of these keys that a row has, or None; ValueError if it has several."""
    found = [key for key in keys if key in row]
    if len(found) > 1:
        raise ValueError(f"{' and '.join(found)} say the same; expected one of them")
    return found[0] if found else None


def kind(value):
    """What JSON calls a value of this type."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false",
             type(None): "null"}
    return names.get(type(value), "a number")
