"""The tuned model that ships answers what users type, whole conversations included."""

import re
from pathlib import Path

import pytest

from minisft.chat import TOWN
from minisft.checkpoint import load_model
from minisft.conversation import Conversation, Message, render_prompt
from minisft.generate import generate
from minisft.shipped import ROOT, TUNED
from minisft.tokenizer import END_OF_TURN
from minisft.world import oracle

TYPED = Path(__file__).with_name("typed.txt")


@pytest.fixture(scope="module")
def chat():
    """A function from lists of user turns to the model's answers, its own earlier ones kept."""
    model, tokenizer = load_model(TUNED)
    end = tokenizer.special(END_OF_TURN)

    def answers(turns):
        messages = []
        for turn in turns:
            messages.append(Message("user", turn))
            prompt = render_prompt(Conversation(tuple(messages)), tokenizer)
            ids, = generate(model, [prompt], 100, stop=(end,))
            messages.append(Message("assistant", tokenizer.decode(ids[:ids.index(end)])
                                    if end in ids else tokenizer.decode(ids)))
        return [message.content for message in messages[1::2]]
    return answers


def typed():
    """[[(user turn, right answer)]] of the conversations in typed.txt."""
    conversations = []
    for line in TYPED.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            turn, answer = line.removeprefix("+ ").replace("\\n", "\n").split(" => ")
            if not line.startswith("+"):
                conversations.append([])
            conversations[-1].append((turn, answer))
    return conversations


def test_four_of_five_lines_are_answered_that_were_written_down_before_the_training(chat):
    right = {}
    for conversation in typed():
        turns, expected = zip(*conversation)
        for turn, answer, given in zip(turns, expected, chat(turns)):
            right[turn] = answer == given
    assert len(right) == 60
    wrong = [turn for turn, is_right in right.items() if not is_right]
    assert len(wrong) <= 12, wrong


@pytest.mark.parametrize("place", ["README.md", "the banner"])
def test_what_is_suggested_is_answered_in_one_conversation(chat, place):
    if place == "README.md":
        page = (ROOT / "README.md").read_text(encoding="utf-8")
        start = page.index("It knows only its small town.")
        said = page[start:page.index("[data/README.md]", start)].replace("\n", " ")
        turns = re.findall('"(.*?)"', said)
    else:
        turns = [line.strip() for line in TOWN.splitlines() if line.startswith("    ")]
    assert len(turns) >= 3
    answers = chat(turns)
    for k, answer in enumerate(answers, 1):
        assert oracle.is_right(turns[:k], answer), (turns[k - 1], answer)
