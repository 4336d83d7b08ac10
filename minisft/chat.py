"""Talk to a model: a conversation of many turns, each answer shown while it is generated.

    python -m minisft.chat --model checkpoints/run-1
    python -m minisft.chat --model checkpoints/run-1 --prompt "What is the opposite of hot?"

The conversation is rendered by the same function as in training, so the model sees the format on
which it was tuned.
"""

import codecs
import sys
from dataclasses import dataclass

import torch

from minisft.config import at_least, option, parse
from minisft.conversation import Conversation, Message, render_prompt
from minisft.device import device_option, pick_device
from minisft.generate import Sampling, generate_steps
from minisft.models import chosen_path, is_of_shipped_data, open_model
from minisft.screen import visible
from minisft.tokenizer import END_OF_TEXT, END_OF_TURN

WELCOME = "This is {}. Ask something. /new starts a new conversation, /quit (or Ctrl-D) ends."
TOWN = """\
It was tuned on the shipped data and knows only the small town in them. Try one of these:
    Hello, I am Mia.
    What is cat in Chinese?
    Say it backwards: red, owl, saw"""


@dataclass(frozen=True)
class ChatConfig:
    model: str = option(
        "", "a run folder or file, a GPT-2 or PEFT folder; by default the newest run in "
        "checkpoints/, or else the tuned model that ships")
    prompt: str = option("", "ask this, print the answer, and end")
    system: str = option("", "system message")
    max_new_tokens: int = option(200, "longest answer, in tokens")
    temperature: float = option(
        0.0, "0 always takes the most likely token; 1 samples as the model predicts")
    top_k: int = option(0, "sample among this many most likely tokens; 0 is all")
    top_p: float = option(
        1.0, "sample among the most likely tokens whose probabilities reach this sum")
    seed: int = option(0, "random seed of sampling")
    device: str = device_option()

    def __post_init__(self):
        at_least(self, max_new_tokens=1)
        self.sampling()

    def sampling(self):
        return Sampling(self.temperature, self.top_k, self.top_p)


def answer_stream(model, tokenizer, messages, config, generator):
    """Yield the next answer's text piece by piece, and None at the end if the answer was cut.

    messages: list of Message; the last one is the user's. ValueError if the conversation leaves no
    room in the model's context.
    """
    stop = tokenizer.special(END_OF_TURN), tokenizer.special(END_OF_TEXT)
    prompt = render_prompt(Conversation(tuple(messages)), tokenizer)
    steps = generate_steps(
        model, [prompt], config.max_new_tokens, stop, config.sampling(), generator)

    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a token may end inside a character
    for step in steps:
        token = step[0]
        if not tokenizer.is_special(token):
            yield decoder.decode(tokenizer.decode_bytes([token]))
    yield decoder.decode(b"", final=True)
    if token not in stop:
        yield None


def respond(model, tokenizer, messages, config, generator):
    """Print an answer while it is generated, and return its text."""
    pieces = []
    for piece in answer_stream(model, tokenizer, messages, config, generator):
        if piece is None:
            print(f"\n(cut: longer than --max-new-tokens {config.max_new_tokens} "
                  "or the model's context)", end="")
        else:
            pieces.append(piece)
            print(visible(piece), end="", flush=True)
    print()
    return "".join(pieces)


def start(config):
    """The messages at the start: the system message, if there is one."""
    return [Message("system", config.system)] if config.system else []


def welcome(path):
    """What is said first: which model this is, and what to ask it if it knows the town."""
    first = WELCOME.format(visible(str(path)))
    return f"{first}\n{TOWN}" if is_of_shipped_data(path) else first


def converse(model, tokenizer, config, generator):
    """Read questions and print answers until the input ends.

    A question that the model cannot take is refused with the reason, and the conversation
    continues.
    """
    messages = start(config)
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return

        if line in ("/quit", "/exit"):
            return
        if line == "/new":
            messages = start(config)
            continue
        if not line:
            continue

        try:
            question = Message("user", line)
            text = respond(model, tokenizer, [*messages, question], config, generator)
        except ValueError as error:
            print(f"This cannot be answered: {error}. "
                  "Ask something shorter, or start a new conversation with /new.")
            continue
        if text.strip():
            messages += [question, Message("assistant", text)]
        else:
            print("(no answer; the question is not remembered)")


def main(argv=None):
    config = parse(ChatConfig, argv, "python -m minisft.chat", "Talk to a tuned model.")
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    try:
        path = chosen_path(config.model)
        model, tokenizer = open_model(path)
        model.to(pick_device(config.device))
        generator = torch.Generator(model.device).manual_seed(config.seed)
        if config.prompt:
            messages = [*start(config), Message("user", config.prompt)]
            respond(model, tokenizer, messages, config, generator)
        else:
            print(welcome(path))
            converse(model, tokenizer, config, generator)
    except (ValueError, OSError) as error:
        raise SystemExit(f"minisft.chat: {error}") from None
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
