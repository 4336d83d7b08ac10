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
"""

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import tiny_tokenizer
from minisft.conversation import Conversation

RENDER = "minisft.conversation:render"
WORDS = ("cat", "hat", "in the inn", "abc", "the", "tea at ten")


def cases(rng):
    """One to three turns, with a system message, an answer not to learn, a repeated question."""
    def talk(number, system=False, unlearnt=(), same=False):
        messages = [{"role": "system", "content": rng.choice(WORDS)}] if system else []
        for turn in range(number):
            question = rng.choice(WORDS)
            answer = question if same else rng.choice(WORDS)
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": answer, "train": turn not in unlearnt})
        return {"messages": messages}

    return [talk(1), talk(2), talk(1, system=True), talk(2, same=True), talk(2, unlearnt={1}),
            talk(3, system=True, unlearnt={0}),
            {"messages": [*talk(1)["messages"], {"role": "user", "content": rng.choice(WORDS)}]}]


def run(code, messages):
    rendered = code.render(Conversation.from_messages(messages), tiny_tokenizer())
    return {"render(conversation, tokenizer).ids": rendered.ids,
            "render(conversation, tokenizer).loss_mask": rendered.loss_mask}


def oracle(messages):
    """A table of (id, mask), one row for each token."""
    tokenizer = tiny_tokenizer()
    first = len(tokenizer.ranked)
    rows = [(first, 0)]
    for message in messages:
        tag = first + 1 + ["system", "user", "assistant"].index(message["role"])
        learnt = int(message["role"] == "assistant" and message["train"])
        rows.append((tag, 0))
        rows += [(token, learnt) for token in tokenizer.encode_slowly(message["content"])]
        rows.append((first + 4, learnt))
    return {"render(conversation, tokenizer).ids": [token for token, _ in rows],
            "render(conversation, tokenizer).loss_mask": [learnt for _, learnt in rows]}


LEARNT = 'message.role == "assistant" and message.learn'
ADD_TAG = "out.add([tag], supervised=False)"
ADD_REST = f"out.add(content_and_end, supervised={LEARNT})"
START = "out.add([tokenizer.special(END_OF_TEXT)], supervised=False)"
RETURN = "return Rendered(out.ids, out.loss_mask)"

EXERCISE = Exercise(
    name="mask", doc=__doc__, targets=(RENDER,), minutes=15, after=("borders",),
    read="lessons/02_conversation_and_mask.py",
    call="render(conversation, tokenizer)", cases=cases, run=run, oracle=oracle,
    question="In a chat somebody types the question, and the program writes the assistant's tag. "
             "Which tokens does the model have to write itself?",
    pseudocode="""
        ids and mask begin with <|endoftext|> and 0
        for each message:
            its tag, with 0
            its content and its end token, with 1 if it is an answer to be learnt, else with 0
        always append ids and mask together, so that they cannot disagree
    """,
    mistakes=(
        Mistake("everything is learnt", "The users' words are targets too; only the assistant's "
                "are.", (f"supervised={LEARNT}", "supervised=True")),
        Mistake("end not learnt", "The end of an answer is no target, so the model never learns to "
                "stop.", (ADD_REST, f"out.add(content_and_end[:-1], {LEARNT})\n"
                                    "        out.add(content_and_end[-1:], False)")),
        Mistake("tag learnt", "The assistant's tag is a target; it is given to the model.",
                (ADD_TAG, f"out.add([tag], {LEARNT})")),
        Mistake("users' ends learnt", "The ends of all turns are targets; only those of answers "
                "are.", (ADD_REST, f"out.add(content_and_end[:-1], {LEARNT})\n"
                                   "        out.add(content_and_end[-1:], True)")),
        Mistake("last answer only", "Only the last answer is learnt; every answer is.",
                (LEARNT, f"{LEARNT} and message is [each for each in "
                         "conversation.messages\n            if each.role == 'assistant'][-1]")),
        Mistake("first answer only", "Only the first answer is learnt; every answer is.",
                (LEARNT, f"{LEARNT} and message is [each for each in "
                         "conversation.messages\n            if each.role == 'assistant'][0]")),
        Mistake("two starts", "The conversation starts with two <|endoftext|>.",
                (START, f"{START}\n    {START}")),
        Mistake("no start", "<|endoftext|> at the start is missing.", (START, "pass")),
        Mistake("start learnt", "The <|endoftext|> at the start is a target; nothing can predict "
                "it.", (START, START.replace("False", "True"))),
        Mistake("one too late", "The mask starts one token too late, so the first word of every "
                "answer is not learnt.", (RETURN, "return Rendered(out.ids, [0] + "
                                                  "out.loss_mask[:-1])")),
        Mistake("one too early", "The mask is one place too early: it marks where a target is "
                "predicted; here it marks the target itself.",
                (RETURN, "return Rendered(out.ids, out.loss_mask[1:] + [0])")),
        Mistake("turned round", "0 and 1 have changed places.",
                (RETURN, "return Rendered(out.ids, [1 - bit for bit in out.loss_mask])")),
        Mistake("from the first answer on", "All that follows the first assistant's tag is learnt, "
                "the users' later turns too.",
                (RETURN, "first = out.loss_mask.index(1) if 1 in out.loss_mask else len(out.ids)\n"
                         "    return Rendered(out.ids, [int(i >= first) for i in "
                         "range(len(out.ids))])")),
        Mistake("learn ignored", "An answer with message.learn False is learnt all the same.",
                (LEARNT, 'message.role == "assistant"')),
        Mistake("users learnt", "The users' turns are learnt instead of the assistant's.",
                (LEARNT, 'message.role == "user" and message.learn')),
        Mistake("system learnt", "The system message is learnt; it is given to the model.",
                (LEARNT, 'message.role != "user" and message.learn')),
        Mistake("mask found by searching", "The answer is looked for in the ids, and found in the "
                "question where both have the same words; mark it where it is appended.",
                (RETURN, """
    mask = [0] * len(out.ids)
    for message in conversation.messages:
        if message.role == "assistant" and message.learn:
            words = encode_turn(message, tokenizer)[1:]
            start = next(i for i in range(len(out.ids)) if out.ids[i:i + len(words)] == words)
            mask[start:start + len(words)] = [1] * len(words)
    return Rendered(out.ids, mask)""")),
    ),
    variants=(
        Variant("two lists", "Nothing is hidden, but ids and mask are now appended in two lines, "
                "which one day may disagree.", {RENDER: """
            ids, mask = [tokenizer.special(END_OF_TEXT)], [0]
            for message in conversation.messages:
                turn = encode_turn(message, tokenizer)
                learnt = int(message.role == "assistant" and message.learn)
                ids += turn
                mask += [0] + [learnt] * (len(turn) - 1)
            return Rendered(ids, mask)
            """}),
        Variant("pairs", "Each token stands beside its mask, so they cannot disagree; twice as "
                "many objects.", {RENDER: """
            pairs = [(tokenizer.special(END_OF_TEXT), 0)]
            for message in conversation.messages:
                learnt = int(message.role == "assistant" and message.learn)
                for place, token in enumerate(encode_turn(message, tokenizer)):
                    pairs.append((token, learnt if place else 0))
            return Rendered([token for token, _ in pairs], [mask for _, mask in pairs])
            """}),
        Variant("marks by place", "The mask is filled in afterwards from the places of the turns; "
                "more bookkeeping.", {RENDER: """
            ids, spans = [tokenizer.special(END_OF_TEXT)], []
            for message in conversation.messages:
                start = len(ids) + 1
                ids += encode_turn(message, tokenizer)
                if message.role == "assistant" and message.learn:
                    spans.append((start, len(ids)))
            mask = [int(any(start <= i < end for start, end in spans)) for i in range(len(ids))]
            return Rendered(ids, mask)
            """}),
    ),
)
