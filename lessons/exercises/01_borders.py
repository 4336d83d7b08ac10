"""Turns and their borders: text becomes tokens, and no merge crosses from one turn to the next.

    one turn       <|user|> the cat <|end|>           tag, content, end
    the prompt     <|endoftext|> turn turn ... <|assistant|>

Tags and ends are special tokens, `tokenizer.special(name)`; the names are in ROLES and END_OF_TURN.
`tokenizer.encode(text)` makes ordinary tokens of any text, also of a "<|end|>" that a user types.
If a content were encoded together with what stands before it, the two could share a token, and the
model would see other tokens in training than in a chat.

Write `encode_turn`, and `render_prompt`, which ends where the assistant is to begin. `render` makes
the ids of a whole conversation, by your encode_turn.

Check it: python lessons/check.py 1
"""

from minisft.conversation import render
from minisft.tokenizer import END_OF_TURN, ROLES


def encode_turn(message, tokenizer):
    """Ids of one turn: its role tag, its content, its end token.

    The content is encoded on its own.
    """
    raise NotImplementedError


def render_prompt(conversation, tokenizer):
    """Ids up to the place where the assistant's next answer begins, its role tag included.

    ValueError if the last message is the assistant's.
    """
    raise NotImplementedError
