"""The loss mask: the model learns every word of the assistant's turns, and their ends.

    <|endoftext|> <|user|> Hi. <|end|> <|assistant|> Hello. <|end|>
          0          0      0     0          0          1      1
                  <|user|> ... <|end|> <|assistant|>  ...   <|end|>
                     0      0     0          0          1      1

The mask is 1 where a token is a target. The assistant's tag is given to the model, so it is no
target; the end token is one, or the model never learns to stop. An answer with `message.learn`
False is only context. `encode_turn(message, tokenizer)` gives the ids of one turn: its tag, its
content, its end token. `tokenizer.special(END_OF_TEXT)` is the id of the very first token.

Write `render`, which returns `Rendered(ids, loss_mask)` of a whole conversation: two lists, equally
long. `message.role` is "assistant" in turns of the assistant.

Check it: python lessons/check.py 2
"""

from minisft.conversation import Rendered, _Builder, encode_turn
from minisft.tokenizer import END_OF_TEXT


def render(conversation, tokenizer):
    """Token ids and loss mask of a whole conversation.

    >>> from minisft.tokenizer import Tokenizer
    >>> tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    >>> hello = Conversation((Message("user", "a"), Message("assistant", "b")))
    >>> render(hello, tokenizer)
    Rendered(ids=[256, 258, 97, 260, 259, 98, 260], loss_mask=[0, 0, 0, 0, 0, 1, 1])
    """
    raise NotImplementedError
