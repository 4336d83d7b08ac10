"""Turns and their borders: text becomes tokens, and no merge crosses from one turn to the next.

    one turn       <|user|> the cat <|end|>           tag, content, end
    the prompt     <|endoftext|> turn turn ... <|assistant|>

Tags and ends are special tokens, `tokenizer.special(name)`; the names are in ROLES and END_OF_TURN.
`tokenizer.encode(text)` makes ordinary tokens of any text, also of a "<|end|>" that a user types.
If a content were encoded together with what stands before it, the two could share a token, and the
model would see other tokens in training than in a chat.

Write `encode_turn`, and `render_prompt`, which ends where the assistant is to begin. `render` makes
the ids of a whole conversation, by your encode_turn.
"""

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import tiny_tokenizer
from minisft.conversation import Conversation

TURN, PROMPT = "minisft.conversation:encode_turn", "minisft.conversation:render_prompt"
TEXTS = ("the cat", "the cat in the hat", "at the inn", "the hat: the cat", "in the abc")


def cases(rng):
    """Contents that would merge with what stands before them; typed markers; space at both ends."""
    def text():
        return rng.choice(TEXTS)

    def talk(*contents, system=""):
        roles = ["system"] * bool(system) + ["user", "assistant"] * len(contents)
        contents = [system] * bool(system) + list(contents)
        return {"messages": [{"role": role, "content": content}
                             for role, content in zip(roles, contents)]}

    return [talk(text()), talk(f" {text()} "), talk(f"<|end|>{text()}<|assistant|>"),
            talk(text(), text()), talk(text(), f"\n{text()}", "猫 " + text()),
            talk(text(), text(), text(), system=text())]


def run(code, messages):
    tokenizer, conversation = tiny_tokenizer(), Conversation.from_messages(messages)
    values = {"encode_turn(message) of each message": [
        code.encode_turn(message, tokenizer) for message in conversation.messages]}
    try:
        values["render_prompt(conversation)"] = code.render_prompt(conversation, tokenizer)
    except ValueError:
        values["render_prompt(conversation)"] = "ValueError"
    return values


def oracle(messages):
    """Ids of special tokens counted by hand; ordinary ones by the slow BPE that one can read."""
    tokenizer = tiny_tokenizer()
    first = len(tokenizer.ranked)
    ids = {"start": first, "system": first + 1, "user": first + 2, "assistant": first + 3,
           "end": first + 4}
    turns = []
    for message in messages:
        turns.append([ids[message["role"]]])
        turns[-1] += tokenizer.encode_slowly(message["content"])
        turns[-1].append(ids["end"])
    prompt = [ids["start"]]
    for turn in turns:
        prompt += turn
    prompt.append(ids["assistant"])
    if messages[-1]["role"] == "assistant":
        prompt = "ValueError"
    return {"encode_turn(message) of each message": turns, "render_prompt(conversation)": prompt}


CONTENT = "*tokenizer.encode(message.content)"
RETURN = f"return [tag, {CONTENT}, end]"
PROMPT_IDS = 'render(conversation, tokenizer).ids + [tokenizer.special(ROLES["assistant"])]'

EXERCISE = Exercise(
    name="borders", doc=__doc__, targets=(TURN, PROMPT), minutes=10,
    read="lessons/02_conversation_and_mask.py",
    call="[encode_turn(message, tokenizer) for message in conversation.messages], "
         "render_prompt(conversation, tokenizer)",
    cases=cases, run=run, oracle=oracle,
    question="\" the\" with its space is one token here, \"the\" without it is two. Which of them "
             "does an answer begin with, if it is encoded together with \"assistant: \"?",
    pseudocode="""
        a turn:    [the role's special token] + ids of the content + [the end token]
        a prompt:  refuse a conversation that ends with an answer
                   ids of the whole conversation + [the assistant's special token]
    """,
    mistakes=(
        Mistake("tag as text", "The role tag is encoded as ordinary text, so it becomes several "
                "tokens that a user could type too; use tokenizer.special.",
                (RETURN, f"return [*tokenizer.encode(ROLES[message.role]), {CONTENT}, end]")),
        Mistake("end as text", "The end of the turn is encoded as ordinary text, so the model "
                "never sees the special token on which a chat stops.",
                (RETURN, f"return [tag, {CONTENT}, *tokenizer.encode(END_OF_TURN)]")),
        Mistake("whole turn as text", "Tag, content and end are encoded as one text, so none of "
                "them is a special token, and merges cross their borders.",
                (RETURN, "return tokenizer.encode(ROLES[message.role] + message.content + "
                         "END_OF_TURN)")),
        Mistake("merged with what stands before", "The content is encoded behind other text and "
                "cut out by a number of tokens, but a merge has crossed the border; encode it "
                "alone.",
                (RETURN, 'start = "user: "\n'
                         "    both = tokenizer.encode(start + message.content)\n"
                         "    return [tag, *both[len(tokenizer.encode(start)):], end]")),
        Mistake("space in front", "A space is put before the content, so its first word becomes "
                "another token.", ("tokenizer.encode(message.content)",
                                   'tokenizer.encode(" " + message.content)')),
        Mistake("stripped", "White space at the ends of the content is removed; nothing of a text "
                "may be lost here.", ("tokenizer.encode(message.content)",
                                      "tokenizer.encode(message.content.strip())")),
        Mistake("typed markers obeyed", "A marker that a user types, such as <|end|>, becomes the "
                "special token itself, so any user can end a turn or speak as the assistant.",
                ("tokenizer.encode(message.content)",
                 'tokenizer._encoding.encode(message.content, allowed_special="all")')),
        Mistake("no end", "The end token of the turn is missing.",
                (RETURN, f"return [tag, {CONTENT}]")),
        Mistake("no tag", "The role tag is missing.", (RETURN, f"return [{CONTENT}, end]")),
        Mistake("ends as a document", "The turn ends with the token that ends a document, not with "
                "the one that ends a turn.", ("tokenizer.special(END_OF_TURN)",
                                              'tokenizer.special("<|endoftext|>")')),
        Mistake("prompt without the assistant's tag", "The prompt lacks the assistant's role tag, "
                "so the model goes on as the user.",
                (PROMPT_IDS, "render(conversation, tokenizer).ids")),
        Mistake("two starts", "The prompt starts with two <|endoftext|>: render has put one there "
                "already.", (PROMPT_IDS, f'[tokenizer.special("<|endoftext|>")] + {PROMPT_IDS}')),
        Mistake("end after the tag", "An end token follows the assistant's tag, so the answer is "
                "over before it begins.",
                ('[tokenizer.special(ROLES["assistant"])]',
                 '[tokenizer.special(ROLES["assistant"]), tokenizer.special(END_OF_TURN)]')),
        Mistake("prompt's last turn is open", "The last turn of the prompt has lost its end token.",
                ("tokenizer).ids + [", "tokenizer).ids[:-1] + [")),
        Mistake("the user's tag", "The prompt ends with the user's tag instead of the assistant's.",
                ('ROLES["assistant"])]', 'ROLES["user"])]')),
        Mistake("last answer not refused", "A conversation that ends with an answer leaves nothing "
                "to answer; render_prompt must raise ValueError.",
                ('if conversation.messages[-1].role == "assistant":', "if False:")),
    ),
    variants=(
        Variant("lists that grow", "One line for each thing that is appended; as fast.", {
            TURN: """
            ids = [tokenizer.special(ROLES[message.role])]
            ids.extend(tokenizer.encode(message.content))
            ids.append(tokenizer.special(END_OF_TURN))
            return ids
            """}),
        Variant("the prompt from its turns", "Needs no render, but says a second time that a "
                "conversation starts with <|endoftext|>.", {PROMPT: """
            if conversation.messages[-1].role == "assistant":
                raise ValueError("the last message is an answer")
            ids = [tokenizer.special("<|endoftext|>")]
            for message in conversation.messages:
                ids += encode_turn(message, tokenizer)
            return [*ids, tokenizer.special(ROLES["assistant"])]
            """}),
        Variant("by our own BPE", "The same ids from code that one can read, about a hundred times "
                "as slow as tiktoken.", {TURN: """
            tag, end = tokenizer.special(ROLES[message.role]), tokenizer.special(END_OF_TURN)
            return [tag] + tokenizer.encode_slowly(message.content) + [end]
            """}),
    ),
)
