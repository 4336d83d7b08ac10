"""Teachers: a teacher is a callable, text -> text, whose answers become instruction data.

    scripted(answers)       answers that are given beforehand, for tests
    of_model(path)          a tuned model of ours, asked in the chat format
    of_server(url, model)   any server with an OpenAI-style chat endpoint
    chosen(...)             the one that a command's flags name, with its answers kept on disk

All take and give the same, so that what works with a scripted teacher works with a server, where
each answer costs time or money. Models and servers can be asked the same question again, for
another answer: teacher(question, again=1). Before the next try after a failure that may pass, wait

    seconds = Retry-After + min(60, 2^i) * u        i = 0, 1, 2, ...    u uniform in [1/2, 1)

where the random u (jitter) keeps clients that failed together from coming back together.

Notes: 合成数据 (synthetic data). Source: Wang et al. 2023 (Self-Instruct), for a model as the
teacher; Metcalfe and Boggs 1976 (Ethernet), for exponential back-off; RFC 9110, section 10.2.3,
for Retry-After.
"""

import hashlib
import json
import math
import os
import random
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from reprlib import repr as short

import torch
from tqdm import tqdm

from minisft.chat import ChatConfig, answer_stream
from minisft.config import at_least, option
from minisft.conversation import Message
from minisft.device import pick_device
from minisft.generate import Sampling
from minisft.instruct.answers import Answers
from minisft.instruct.server import KEY_VARIABLE, Endpoint, TeacherError, Unavailable
from minisft.models import open_chosen
from minisft.run import hold_interrupts

MODEL_VARIABLE = "MINISFT_TEACHER_MODEL"
TRIES = 8  # of one question: with the waits between them about two minutes, longer than most limits
LONGEST_BACK_OFF = 60  # seconds
LONGEST_WAIT = 600  # seconds; a server that asks for more has closed for the day
BYTES_PER_TOKEN = 3  # of Chinese text; English has more, so its estimate is rather too high


class BudgetSpent(ValueError):
    """The next request would go over the budget; it was not sent."""


@dataclass(frozen=True)
class TeacherFlags:
    """The flags by which a command is told its teacher; the settings of a builder extend it."""

    teacher: str = option("", "the teacher is a tuned model: a run folder or file, a GPT-2 or PEFT "
                              "folder")
    teacher_url: str = option("", "the teacher is behind this chat endpoint, such as "
                                  "http://localhost:8000/v1")
    teacher_model: str = option("", "the server's name of the teacher's model (default: that of "
                                    f"the environment variable {MODEL_VARIABLE})")
    prompts: str = option("paper", "how the teacher is asked: as in the paper, or in the short "
                                   "form on which checkpoints/teacher.pt was tuned",
                          choices=("paper", "short"))
    budget_requests: int | None = option(None, "most requests to the server")
    budget_tokens: int | None = option(None, "most tokens of the server, questions and answers")

    def __post_init__(self):
        if bool(self.teacher) == bool(self.teacher_url):
            found = "both are" if self.teacher else "neither is"
            raise ValueError("name the teacher: a tuned model with --teacher, or a server with "
                             f"--teacher-url; {found} given")
        at_least(self, budget_requests=1, budget_tokens=1)
        for name in ("teacher_model", "budget_requests", "budget_tokens"):
            if self.teacher and getattr(self, name):
                raise ValueError(f"--{name.replace('_', '-')} is for a server, and the teacher is "
                                 "a model; leave it out")


@contextmanager
def chosen(teacher="", url="", model="", budget_requests=None, budget_tokens=None, folder=None,
           temperature=0.0, seed=0, top_p=1.0):
    """Open the teacher of a command's TeacherFlags: of_model(teacher) or of_server(url, model).

    Its answers are kept in a folder, so that a command that is given again asks for none twice.
    `name` of the teacher says which one it is. temperature, seed, top_p: of a model of ours; a
    server keeps its own.
    """
    if url:
        server = of_server(url, model, cache=folder, budget_requests=budget_requests,
                           budget_tokens=budget_tokens)
        with server:
            try:
                yield server
            finally:
                tqdm.write(f"teacher: {server.describe()}", file=sys.stderr)
    else:
        with KeptTeacher(of_model(teacher, temperature, seed, top_p=top_p), folder) as kept:
            yield kept


def scripted(answers):
    """A teacher that answers from a dict by question, from a list in order, or by a function.

    It raises ValueError for a question that is not in the dict, and when the list is used up.

    >>> scripted({"2 + 2?": "4"})("2 + 2?")
    '4'
    """
    if callable(answers):
        return answers
    if not isinstance(answers, dict | list):
        raise ValueError(f"answers is {type(answers).__name__}, expected a dict, a list or a "
                         "function")
    left = iter(answers)

    def from_dict(prompt, again=0):
        if prompt not in answers:
            raise ValueError(f"the script has {len(answers)} answers and none to {short(prompt)}; "
                             "add one")
        return answers[prompt]

    def from_list(prompt, again=0):
        for answer in left:
            return answer
        raise ValueError(f"the script's {len(answers)} answers are used up, and {short(prompt)} "
                         "is asked; add more")

    return from_dict if isinstance(answers, dict) else from_list


def of_model(path="", temperature=0.0, seed=0, max_new_tokens=200, device="auto", top_p=1.0):
    """A teacher that is a tuned model of ours; path: as that of `--model`, see minisft.models.

    The answer depends on the question, the seed and `again` alone, not on what was asked before. It
    ends after max_new_tokens, or where the model's context is full. ValueError for a question that
    leaves no room in the context: minisft.generate.NoRoom. `name` of the teacher holds a digest of
    its weights, and temperature, seed and top_p where an answer depends on them.
    """
    config = ChatConfig(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p)
    model, tokenizer = open_chosen(path)
    model.to(pick_device(device))

    def teacher(prompt, again=0):
        question = [Message("user", prompt)]
        generator = torch.Generator(model.device).manual_seed(seed_of(seed, prompt, again))
        pieces = answer_stream(model, tokenizer, question, config, generator)
        return "".join(piece for piece in pieces if piece is not None)

    drawn = f", temperature {temperature}, top-p {top_p}, seed {seed}" if temperature else ""
    teacher.name = f"{path} (weights {digest_of(model)}{drawn})".strip()
    return teacher


def digest_of(model):
    """A short name of exactly these weights, those of a method that was added among them."""
    digest = hashlib.sha256()
    for parameter in model.parameters():
        numbers = parameter.detach().cpu().contiguous().flatten()
        digest.update(numbers.view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


class _Holder:
    """Holds the folder of its `_answers`, until it is closed or its `with` block ends."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self._answers.close()


class KeptTeacher(_Holder):
    """A teacher with a `name`, each of its answers kept in a folder and given again from there.

    It has to answer the same question in the same way, as `of_model` does. Use it in a `with`
    block, or `close` it, so that other processes can use the folder.
    """

    def __init__(self, teacher, folder):
        self._teacher, self._answers, self.name = teacher, Answers(folder), teacher.name

    def __call__(self, prompt, again=0):
        id = id_of(self.name, prompt, again)
        row = self._answers.get(id)
        if row is None:
            with held_interrupts():
                answer = self._teacher(prompt, again) if again else self._teacher(prompt)
                row = {"model": self.name, "prompt": prompt, "answer": answer}
                self._answers.add(id, row)
        return row["answer"]


@contextmanager
def held_interrupts():
    """Ctrl-C takes effect at the end of the block, when its answer is kept; a second one at once.

    Only in the main thread, as others do not get Ctrl-C.
    """
    is_main = threading.current_thread() is threading.main_thread()
    holding = hold_interrupts() if is_main else nullcontext([])
    pressed = []
    try:
        with holding as pressed:
            yield
    finally:
        if pressed:
            raise KeyboardInterrupt from None


def id_of(whom, question, again):
    """The id under which an answer is kept."""
    times = f"again {again}\n" if again else ""
    return hashlib.sha256(f"{times}{whom}\n{question}".encode()).hexdigest()


def seed_of(seed, prompt, again=0):
    """A seed of 64 bits for one question, another one for each time that it is asked again."""
    times = f".{again}" if again else ""
    return int.from_bytes(hashlib.sha256(f"{seed}{times} {prompt}".encode()).digest()[:8], "big")


def of_server(url, model="", key="", cache=None, temperature=None, seed=None, max_new_tokens=1000,
              timeout=120.0, budget_requests=None, budget_tokens=None,
              clock=time.monotonic, sleep=time.sleep, rng=None):
    """A teacher behind the chat endpoint of a server; see ServerTeacher.

    url: such as http://localhost:8000/v1; model: the server's name of it (that of `transformers
    serve FOLDER` is FOLDER, written in the same way), or else the environment variable
    MINISFT_TEACHER_MODEL; key: or else MINISFT_TEACHER_KEY, or none; cache: folder of the answers
    kept on disk; temperature, seed: None leaves them to the server; max_new_tokens: of an answer;
    timeout: seconds, of one request; budget_requests, budget_tokens: what this teacher may use,
    None is without end; clock, sleep, rng: what gives seconds, waits, and draws the jitter.
    """
    model = model or os.environ.get(MODEL_VARIABLE, "")
    if not model:
        raise ValueError("the teacher's model has no name; give the name that the server has for "
                         f"it, or put it into the environment variable {MODEL_VARIABLE}")
    for name, value in (("max_new_tokens", max_new_tokens), ("budget_requests", budget_requests),
                        ("budget_tokens", budget_tokens)):
        if value is not None and not value >= 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    settings = {"model": model, "max_tokens": max_new_tokens}
    if temperature is not None:
        settings["temperature"] = float(Sampling(temperature).temperature)
    if seed is not None:
        settings["seed"] = seed
    key = (key or os.environ.get(KEY_VARIABLE, "")).strip()
    endpoint = Endpoint(url, key, timeout, clock)
    return ServerTeacher(endpoint, settings, Answers(cache), budget_requests, budget_tokens,
                         sleep, rng or random.Random())


class ServerTeacher(_Holder):
    """A teacher that asks a server, and neither loses an answer nor pays for one twice.

    - What may pass is tried again, TRIES times in all; TeacherError says what stays.
    - Every answer is kept under its url, model, settings, question and `again`, and given for free
      from then on. The server has to draw its answers, or asking again brings the same.
    - BudgetSpent comes before the request that would go over the budget. Every try counts as a
      request. Tokens are those that the server reports, else estimates.
    - Ctrl-C waits for the answer under way and keeps it; a second one gives it up.

    Use it in a `with` block, or `close` it, so that others can use its cache. One thread at a time
    may ask.
    """

    def __init__(self, endpoint, settings, answers, budget_requests, budget_tokens, sleep,
                 rng):
        self._endpoint, self._settings, self._answers = endpoint, settings, answers
        self._budget_requests, self._budget_tokens = budget_requests, budget_tokens
        self._sleep, self._rng = sleep, rng
        self.requests = self.tokens = self.estimated = 0  # estimated: how many of the tokens are
        self.from_cache = self.empty = self.cut = 0
        self.name = settings["model"]

    def __call__(self, prompt, again=0):
        question = Message("user", prompt)  # which checks the text
        messages = [{"role": question.role, "content": question.content}]
        body = json.dumps({**self._settings, "messages": messages}, sort_keys=True)
        id = id_of(self._endpoint.address, body, again)

        row = self._answers.get(id)
        if row is None:
            row = self._patiently(prompt, body.encode(), id)
        else:
            self.from_cache += 1
        self.empty += not row["answer"].strip()
        self.cut += bool(row.get("cut"))
        return row["answer"]

    def describe(self):
        """What was asked so far and what it took, on one line."""
        tokens = f"{self.tokens:,} tokens"
        if self.estimated:
            tokens += f" ({self.estimated:,} of them estimated, as the server did not report them)"
        parts = [f"{self.requests:,} requests", tokens,
                 f"{self.from_cache:,} answers from the cache"]
        if self.empty:
            parts.append(f"{self.empty:,} empty answers")
        if self.cut:
            parts.append(f"{self.cut:,} answers cut at {self._settings['max_tokens']:,} tokens")
        return ", ".join(parts)

    def _patiently(self, prompt, body, id):
        """The row of a new answer; what may pass is tried again."""
        for i in range(TRIES):
            try:
                return self._request(prompt, body, id)
            except Unavailable as error:
                failure = error
            if (failure.wait or 0) > LONGEST_WAIT:
                raise TeacherError(f"{failure}; it asks to wait {failure.wait:,.0f} seconds, so "
                                   "start again after that")
            if i + 1 < TRIES:
                back_off = min(LONGEST_BACK_OFF, 2 ** i) * self._rng.uniform(0.5, 1)
                seconds = (failure.wait or 0) + back_off
                tqdm.write(f"{failure}; next try in {seconds:.1f} s", file=sys.stderr)
                self._sleep(seconds)
        raise TeacherError(f"{TRIES} tries failed, the last: {failure}")

    def _request(self, prompt, body, id):
        """The row of a new answer, by one request; it is kept before Ctrl-C can take effect."""
        most = estimated_tokens(prompt) + self._settings["max_tokens"]
        self._check_budget(most)
        with held_interrupts():
            self.requests += 1
            answer = self._ask(body, most)
            tokens = self._count(answer, prompt)
            row = {"model": self._settings["model"], "prompt": prompt, "answer": answer.text,
                   "tokens": tokens, "cut": answer.cut}
            self._answers.add(id, row)
            return row

    def _ask(self, body, most):
        """The Answer; one that may have been made and did not arrive counts in full."""
        try:
            return self._endpoint.ask(body)
        except Unavailable as failure:
            if failure.may_cost:
                self.tokens += most
                self.estimated += most
            raise

    def _count(self, answer, prompt):
        """Add the tokens of a question and its Answer; returns their number."""
        tokens = answer.tokens
        if tokens is None:
            tokens = estimated_tokens(prompt) + estimated_tokens(answer.text)
            self.estimated += tokens
        self.tokens += tokens
        return tokens

    def _check_budget(self, most):
        """BudgetSpent if one more request, with so many tokens at most, would go over it."""
        if self._budget_requests is not None and self.requests + 1 > self._budget_requests:
            left = f"{self._budget_requests:,} requests"
        elif self._budget_tokens is not None and self.tokens + most > self._budget_tokens:
            left = f"{self._budget_tokens:,} tokens, and the next request may take {most:,}"
        else:
            return
        raise BudgetSpent(f"the teacher's budget is {left}; so far: {self.describe()}. Continue "
                          "with a larger one; answers in the cache are not asked for again")


def estimated_tokens(text):
    """About how many tokens a text has.

    >>> estimated_tokens("What is the opposite of hot?")
    10
    """
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN)
