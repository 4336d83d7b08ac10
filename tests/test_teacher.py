"""Teachers: the same from a script, a model and a server, and nothing is lost or paid for twice.

The server is a thread of the test that behaves as badly as it is told to.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen

import pytest
import torch
from transformers import AutoProcessor
from transformers.utils.import_utils import is_serve_available

from minisft import chat, export
from minisft.checkpoint import save_model
from minisft.conversation import Conversation, render_prompt
from minisft.generate import NoRoom
from minisft.instruct import teacher
from minisft.instruct.answers import Answers
from minisft.instruct.server import TeacherError
from minisft.instruct.teacher import (
    BudgetSpent,
    KeptTeacher,
    chosen,
    digest_of,
    of_model,
    of_server,
    scripted,
)
from minisft.model import GPT, GPTConfig
from minisft.models import open_model
from minisft.shipped import ROOT, TUNED
from minisft.tokenizer import Tokenizer

KEY = "sk-0123456789abcdef/secret"


# How a server can behave


def send(handler, status=200, content=b"", headers=(), length=None):
    """Send a response; length: that it claims to have."""
    handler.send_response(status)
    for name, value in headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content)


def body(text, tokens=10, finish="stop"):
    usage = {} if tokens is None else {"usage": {"total_tokens": tokens}}
    choice = {"index": 0, "message": {"role": "assistant", "content": text},
              "finish_reason": finish}
    return json.dumps({"choices": [choice], **usage}).encode()


def says(text="yes", **more):
    return partial(send, content=body(text, **more))


def status(code, *headers, message="no"):
    content = json.dumps({"error": {"message": message}}).encode()
    return partial(send, status=code, content=content, headers=headers)


def half(handler):
    content = body("a long answer")
    send(handler, content=content[:30], length=len(content))


def hangs_up(handler):
    handler.close_connection = True


def silent(handler):
    handler.server.over.wait(10)


def drips(handler):
    """One byte after the other for 3 seconds, each well within the time-out."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(60):
        handler.wfile.write(b" ")
        handler.server.over.wait(0.05)


def echoes(code):
    """Tell the client its own key, as some servers do."""
    def behaviour(handler):
        status(code, message=f"wrong key: {handler.headers['Authorization']}")(handler)
    return behaviour


def press_ctrl_c():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def presses_ctrl_c(times=1):
    def behaviour(handler):
        for _ in range(times):
            press_ctrl_c()
            time.sleep(0.1)
        says("after all")(handler)
    return behaviour


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        request = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), json.loads(request)))
        will = self.server.will
        try:
            (will.pop(0) if len(will) > 1 else will[0])(self)
        except OSError:  # the client has gone
            pass

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    """will: how to behave at the next requests, one after the other; the last one is for all."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.will, self.requests, self.over = [says()], [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


@contextmanager
def running_server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in ("MINISFT_TEACHER_KEY", "MINISFT_TEACHER_MODEL"):
        monkeypatch.delenv(name, raising=False)
    with running_server() as server:
        yield server


@pytest.fixture
def naps():
    """The seconds that teachers wanted to wait."""
    return []


@pytest.fixture
def ask(server, naps):
    """ask(**settings): a teacher that asks the server, and waits in no time."""
    def make(**settings):
        usual = {"model": "m", "key": KEY, "max_new_tokens": 100, "timeout": 10,
                 "sleep": naps.append, "rng": random.Random(0)}
        return of_server(server.url, **usual | settings)
    return make


# The three teachers


def test_a_script_answers_by_question_in_order_or_by_a_function():
    assert scripted({"a": "1", "b": "2"})("b") == "2"
    in_order = scripted(["1", "2"])
    assert [in_order("a"), in_order("a")] == ["1", "2"]
    assert scripted(str.upper)("a") == "A"
    for wrong, message in ((partial(in_order, "third"), "2 answers are used up, and 'third'"),
                           (partial(scripted({"a": "1"}), "c"), "1 answers and none to 'c'"),
                           (partial(scripted, "text"), "answers is str, expected a dict")):
        with pytest.raises(ValueError, match=message):
            wrong()


@pytest.fixture
def saved(tmp_path):
    """Path of a model with random weights, which says something else to each question."""
    torch.manual_seed(0)
    tokenizer = Tokenizer([bytes([byte]) for byte in range(256)])
    model = GPT(GPTConfig(tokenizer.vocab_size, 64, 1, 2, 16))
    save_model(tmp_path / "model.pt", model, tokenizer)
    return str(tmp_path / "model.pt")


def test_a_model_answers_by_question_and_seed_whatever_was_asked_before(saved):
    first, again, other = (of_model(saved, temperature=1.0, seed=seed, max_new_tokens=9,
                                    device="cpu") for seed in (3, 3, 4))
    questions = ["Who?", "What?", "Why?"]
    answers = {question: first(question) for question in questions}
    assert len(set(answers.values())) == 3
    assert {question: again(question) for question in reversed(questions)} == answers
    assert all(other(question) != answers[question] for question in questions)


def test_a_model_that_may_draw_only_the_likeliest_token_answers_greedily(saved):
    drawn = of_model(saved, temperature=1.0, seed=3, top_p=1e-9, max_new_tokens=9)
    assert drawn("Who?") == of_model(saved, max_new_tokens=9)("Who?")


def test_a_model_answers_as_in_chat(saved, capsys):
    chat.main(["--model", saved, "--prompt", "Who?", "--max-new-tokens", "9"])
    shown = capsys.readouterr().out.split("\n(cut")[0].rstrip("\n")
    answer = of_model(saved, max_new_tokens=9)("Who?")
    assert answer and chat.visible(answer) == shown
    for question, message in (("", "is empty"), ("\ud800", "surrogate"), ("x" * 99, "1 to 63 tok")):
        with pytest.raises(ValueError, match=message):
            of_model(saved)(question)


def test_a_question_that_fills_the_context_has_an_error_of_its_own(saved):
    with pytest.raises(NoRoom):
        of_model(saved)("x" * 99)


def test_a_chosen_model_answers_from_disk_until_its_weights_change(saved, tmp_path):
    folder = tmp_path / "answers"
    answers = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model, tokenizer = open_model(saved)
        if seed:
            model = GPT(model.config)
            save_model(saved, model, tokenizer)
        with chosen(saved, folder=folder) as teacher:
            answers.append(teacher("Who?"))
            assert teacher.name == f"{saved} (weights {digest_of(model)})"
    assert answers[0] == answers[1] != answers[2]
    assert len((folder / "answers.jsonl").read_text().splitlines()) == 2


def test_answers_of_a_chosen_model_are_kept_by_temperature_and_seed_if_they_are_drawn(
        saved, tmp_path):
    folder = tmp_path / "answers"
    for *how, top_p in ((1.0, 3, 1.0), (1.0, 4, 1.0), (0.5, 3, 1.0), (1.0, 3, 0.5), (0.0, 3, 0.5),
                        (0.0, 4, 1.0)):
        with chosen(saved, None, None, None, None, folder, *how, top_p) as teacher:
            assert teacher("Who?") == of_model(saved, *how, top_p=top_p)("Who?")
    assert len((folder / "answers.jsonl").read_text().splitlines()) == 5


def test_asked_again_a_chosen_model_draws_another_answer_and_each_is_kept(saved, tmp_path):
    found = []
    for _ in range(2):
        with chosen(saved, folder=tmp_path / "answers", temperature=1.0) as teacher:
            found.append([teacher("Who?", again) for again in (0, 1, 2)])
    assert found[0] == found[1] and len(set(found[0])) == 3
    assert found[0][0] == of_model(saved, 1.0)("Who?")
    assert len((tmp_path / "answers" / "answers.jsonl").read_text().splitlines()) == 3


def test_ctrl_c_waits_for_the_answer_of_a_chosen_model_and_keeps_it(saved, tmp_path):
    model, unasked = of_model(saved, max_new_tokens=3), scripted({})

    def pressed(prompt):
        press_ctrl_c()
        time.sleep(0.1)
        return model(prompt)

    pressed.name = unasked.name = "a model"
    with pytest.raises(KeyboardInterrupt), KeptTeacher(pressed, tmp_path / "answers") as teacher:
        teacher("Who?")
    with KeptTeacher(unasked, tmp_path / "answers") as teacher:
        assert teacher("Who?") == model("Who?")


def test_a_chosen_server_is_asked_once_and_its_cost_is_shown(server, tmp_path, capsys):
    server.will = [says("yes", tokens=7)]
    for _ in range(2):
        with chosen(url=server.url, model="m", folder=tmp_path / "answers") as teacher:
            assert (teacher("Who?"), teacher.name) == ("yes", "m")
    assert len(server.requests) == 1
    shown = capsys.readouterr().err
    assert "teacher: 1 requests, 7 tokens" in shown and "1 answers from the cache" in shown


def test_a_server_is_asked_as_its_interface_says(ask, server):
    server.will = [says("Paris 红")]
    assert ask(temperature=0, seed=7)("Where?") == "Paris 红"
    path, headers, request = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Content-Type"] == "application/json"
    assert request == {"model": "m", "max_tokens": 100, "temperature": 0, "seed": 7,
                       "messages": [{"role": "user", "content": "Where?"}]}


def test_key_and_model_may_come_from_the_environment_and_no_key_is_needed(
        ask, server, monkeypatch):
    ask(key="")("a")
    monkeypatch.setenv("MINISFT_TEACHER_KEY", f" {KEY}\n")
    monkeypatch.setenv("MINISFT_TEACHER_MODEL", "of the environment")
    ask(model="", key="")("a")
    ask(model="named", key="other")("a")
    sent = [(request["model"], headers.get("Authorization"))
            for _, headers, request in server.requests]
    assert sent == [("m", None), ("of the environment", f"Bearer {KEY}"),
                    ("named", "Bearer other")]


@pytest.mark.parametrize("settings, message", [
    (dict(model=""), "MINISFT_TEACHER_MODEL"),
    (dict(key="two words"), "MINISFT_TEACHER_KEY"),
    (dict(timeout=0), "timeout must be above 0"),
    (dict(max_new_tokens=0), "max_new_tokens must be at least 1, got 0"),
    (dict(budget_requests=0), "budget_requests must be at least 1"),
    (dict(budget_tokens=-1), "budget_tokens must be at least 1"),
    (dict(temperature=-1.0), "temperature must not be negative"),
])
def test_wrong_settings_are_refused(ask, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        ask(**settings)
    assert "two words" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "http://", "http://a b/",
                                 f"https://user:{KEY}@host/v1", f"https://host/v1?key={KEY}",
                                 "http://host:x/v1", "http://hóst/v1"])
def test_a_wrong_url_is_refused_and_not_shown_as_it_may_hold_a_key(url):
    with pytest.raises(ValueError, match="the url of the teacher's server") as caught:
        of_server(url, "m", "k")
    assert KEY not in str(caught.value)


# What may pass, and what stays


@pytest.mark.parametrize("trouble", [
    status(429), status(500), status(503), status(599), half, hangs_up,
    partial(send, content=b"<html>"), partial(send, content=b""), partial(send, content=b"[]"),
    partial(send, content=b'{"choices": []}'), partial(send, content=b'{"error": "busy"}'),
    partial(send, content=b'{"choices": [{"message": {"content": ["x"]}}]}'),
    partial(send, content=b'{"choices": [{"message": {"content": "\\ud800"}}]}'),
], ids=range(13))
def test_what_may_pass_is_tried_again(trouble, ask, server, naps, capsys):
    server.will = [trouble, says("at last")]
    assert ask()("a") == "at last"
    assert len(server.requests) == 2 and len(naps) == 1
    assert f"{server.url}/chat/completions" in capsys.readouterr().err


def test_the_waits_double_with_jitter_up_to_a_minute_and_then_it_ends(ask, server, naps):
    server.will = [status(500, message="on fire")]
    with pytest.raises(TeacherError, match=r"8 tries failed, the last: .*500 \(on fire\)"):
        ask()("a")
    assert len(server.requests) == 8
    shares = [seconds / full for seconds, full in zip(naps, (1, 2, 4, 8, 16, 32, 60))]
    assert len(naps) == 7 and all(0.5 <= share < 1 for share in shares)
    assert len(set(shares)) == 7


def test_the_server_may_say_how_long_to_wait(ask, server, naps, monkeypatch):
    date = partial(formatdate, usegmt=True)
    monkeypatch.setattr(Handler, "date_time_string", lambda self: date(1e9))  # its clock is wrong
    asked = ["7", "0.5", "soon", date(1e9 + 60), date(1e9 - 60)]
    server.will = [*(status(503, ("Retry-After", text)) for text in asked), says()]
    ask()("a")
    for seconds, least, back_off in zip(naps, (7, 0.5, 0, 60, 0), (1, 2, 4, 8, 16)):
        assert least + back_off / 2 <= seconds < least + back_off
    assert len(naps) == 5


def test_a_server_that_asks_for_a_day_ends_the_run_at_once(ask, server, naps):
    for asked, shown in (("86400", "86,400"), ("9" * 400, "inf")):
        server.will = [status(429, ("Retry-After", asked))]
        with pytest.raises(TeacherError, match=f"wait {shown} seconds, so start again after that"):
            ask()("a")
    assert len(server.requests) == 2 and not naps


@pytest.mark.parametrize("code, message", [
    (400, "check the model's name"), (401, "environment variable MINISFT_TEACHER_KEY"),
    (403, "may not be used"), (404, "often ends in /v1"), (422, "check the url"),
    (302, "points to http://else/where")])
def test_what_stays_is_not_tried_again_and_says_what_to_do(code, message, ask, server, naps):
    server.will = [status(code, ("Location", "http://else/where"), message="bad\x1b[2J " * 99)]
    with pytest.raises(TeacherError, match=message) as caught:
        ask()("a")
    assert len(server.requests) == 1 and not naps
    assert f"{code} (bad<U+001B>[2J bad" in str(caught.value) and len(str(caught.value)) < 700


def test_the_key_is_not_carried_to_where_a_server_points(ask, server):
    with running_server() as other:
        for code in (301, 302, 303, 307, 308):
            server.will = [status(code, ("Location", f"{other.url}/chat/completions"))]
            with pytest.raises(TeacherError, match=f"points to {other.url}"):
                ask()("a")
    assert len(server.requests) == 5 and not other.requests


@pytest.mark.parametrize("trouble", [silent, drips])
def test_a_request_takes_no_longer_than_its_time(trouble, ask, server, monkeypatch):
    monkeypatch.setattr(teacher, "TRIES", 1)
    server.will = [trouble]
    start = time.monotonic()
    with pytest.raises(TeacherError, match="did not answer within 0.3 s|half an answer"):
        ask(timeout=0.3)("a")
    assert 0.3 <= time.monotonic() - start < 2


def test_a_server_that_is_not_there_is_named(ask, server, monkeypatch):
    monkeypatch.setattr(teacher, "TRIES", 2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        server.url = f"http://127.0.0.1:{free.getsockname()[1]}"
    asked = ask()
    with pytest.raises(TeacherError, match="chat/completions cannot be reached"):
        asked("a")
    assert asked.describe() == "2 requests, 0 tokens, 0 answers from the cache"


@pytest.mark.parametrize("answer", [says(""), says(None), says(" \n")],
                         ids=["none", "null", "blank"])
def test_an_empty_answer_is_an_answer_and_is_counted(answer, ask, server):
    server.will = [answer]
    asked = ask()
    assert asked("a") == asked("a") and not asked("a").strip()
    assert len(server.requests) == 1 and "3 empty answers" in asked.describe()


def test_an_answer_that_was_cut_is_given_and_counted(ask, server, tmp_path):
    server.will = [says("on and", finish="length")]
    for _ in range(2):
        with ask(cache=tmp_path) as asked:
            assert asked("a") == "on and"
            assert "1 answers cut at 100 tokens" in asked.describe()


# Nothing is paid for twice


def test_a_question_is_asked_once_and_other_settings_are_another_question(ask, server, tmp_path):
    server.will = [says(str(number)) for number in range(99)]
    variants = [dict(), dict(model="n"), dict(temperature=0.5), dict(seed=1), dict(seed=2),
                dict(max_new_tokens=50)]
    for again in (False, True):
        for number, settings in enumerate(variants):
            with ask(cache=tmp_path, **settings) as asked:
                assert asked("a") == asked("a") == str(number)
                assert asked.requests == (0 if again else 1)
    server.url += "/"
    with ask(cache=tmp_path, temperature=0, key="another") as asked:
        assert asked("a") == "6"
    with ask(cache=tmp_path, temperature=0.0) as asked:
        assert asked("a") == "6" and asked("b") == "7"
    server.url = server.url.replace("127.0.0.1", "localhost")
    with ask(cache=tmp_path) as asked:
        assert asked("a") == "8"
    assert len(server.requests) == 9


def test_a_server_that_is_asked_again_is_paid_again_but_for_each_time_once(ask, server, tmp_path):
    server.will = [says(str(number)) for number in range(99)]
    for _ in range(2):
        with ask(cache=tmp_path) as asked:
            assert [asked("a"), asked("a", 1), asked("a", 2), asked("a", 1)] == list("0121")
    assert len(server.requests) == 3 and server.requests[0] == server.requests[2]


def test_without_a_folder_a_question_is_asked_once_too(ask, server):
    asked = ask()
    assert asked("a") == asked("a") and len(server.requests) == 1


def test_a_torn_last_line_is_dropped_wherever_it_was_torn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    answers = Answers(tmp_path)
    answers.add("1", {"answer": "first 红\n"})
    answers.add("2", {"answer": "second"})
    answers.close()
    content = answers.path.read_bytes()
    first = content.index(b"\n") + 1
    for end in range(len(content)):
        answers.path.write_bytes(content[:end])
        whole = [end >= first - 1, end >= len(content) - 1]  # but for the line end
        opened = Answers(tmp_path)
        assert [opened.get(id) is not None for id in "12"] == whole
        opened.add("3", {"answer": "third"})
        opened.close()
        again = Answers(tmp_path)
        assert again.get("3") == {"answer": "third"}
        assert [again.get(id) is not None for id in "12"] == whole
        again.close()
        torn = end not in (0, first - 1, first, len(content) - 1)
        assert ("the last line is torn" in capsys.readouterr().err) == torn


def test_a_damaged_line_in_the_middle_is_named_and_the_folder_is_free_again(tmp_path):
    path = tmp_path / "answers.jsonl"
    for line in ("half", "[]", '{"id": "1"}', '{"answer": "x"}', '{"id": 1, "answer": "x"}'):
        path.write_text('{"id": "0", "answer": "x"}\n\n' + line + "\n")
        with pytest.raises(ValueError, match=r"answers\.jsonl:3: no row of this file"):
            Answers(tmp_path)
    path.unlink()
    Answers(tmp_path).close()


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    answers = Answers(tmp_path)
    answers.add("1", {"answer": "first"})

    def full(self, content):
        with open(self.path, "ab") as file:
            file.write(content[:9])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Answers, "_append", full)
        with pytest.raises(OSError, match="No space left"):
            answers.add("2", {"answer": "second"})
    answers.add("3", {"answer": "third"})
    answers.close()
    again = Answers(tmp_path)
    assert [bool(again.get(id)) for id in "123"] == [True, False, True]


WRITER = """
import itertools, sys
from minisft.instruct.answers import Answers
answers = Answers(sys.argv[1])
for number in itertools.count():
    answers.add(str(number), {"answer": "x" * 5000})
    print(number, flush=True)
"""


def test_a_writer_keeps_others_out_and_its_kill_loses_nothing_that_was_kept(tmp_path, capsys):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT,
                              stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(20):
            last = writer.stdout.readline()
        with pytest.raises(ValueError, match="in use by a run that is not over"):
            Answers(tmp_path)
    finally:
        writer.kill()
        last = [last, *writer.stdout][-1]
        writer.wait()
    answers = Answers(tmp_path)
    assert all(answers.get(str(number)) for number in range(int(last) + 1))


@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself Ctrl-C on Windows")
def test_ctrl_c_waits_for_the_answer_under_way_and_keeps_it(ask, server, tmp_path):
    server.will = [presses_ctrl_c(), says("anew")]
    before = signal.getsignal(signal.SIGINT)
    with ask(cache=tmp_path) as asked:
        with pytest.raises(KeyboardInterrupt):
            asked("a")
        assert signal.getsignal(signal.SIGINT) is before
    with ask(cache=tmp_path) as asked:
        assert asked("a") == "after all" and asked("b") == "anew"


@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself Ctrl-C on Windows")
def test_a_second_ctrl_c_gives_the_answer_up_and_a_failed_try_is_not_followed_by_another(
        ask, server, naps):
    server.will = [presses_ctrl_c(times=2)]
    with pytest.raises(KeyboardInterrupt):
        ask()("a")

    def press_and_fail(handler):
        press_ctrl_c()
        status(500)(handler)

    server.will = [press_and_fail]
    with pytest.raises(KeyboardInterrupt):
        ask()("a")
    assert len(server.requests) == 2 and not naps


def test_ctrl_c_during_a_wait_keeps_all_answers_before(ask, server, tmp_path):
    def interrupted(seconds):
        raise KeyboardInterrupt

    server.will = [says("kept"), status(500), says("anew")]
    with ask(cache=tmp_path, sleep=interrupted) as asked:
        asked("a")
        with pytest.raises(KeyboardInterrupt):
            asked("b")
    with ask(cache=tmp_path) as asked:
        assert [asked("a"), asked("b")] == ["kept", "anew"] and asked.requests == 1


def test_a_teacher_may_be_asked_in_another_thread(ask):
    answers, asked = [], ask()
    thread = threading.Thread(target=lambda: answers.append(asked("a")))
    thread.start()
    thread.join()
    assert answers == ["yes"]


# The budget


def test_the_budget_of_requests_counts_every_try_and_answers_in_the_cache_are_free(ask, server):
    server.will = [says("1"), status(500), says("2")]
    asked = ask(budget_requests=3)
    assert [asked("a"), asked("b")] == ["1", "2"]
    with pytest.raises(BudgetSpent, match="budget is 3 requests; so far: 3 requests, 20 tokens, 0"):
        asked("c")
    assert asked("a") == "1" and len(server.requests) == 3


def test_the_budget_of_tokens_stops_before_it_could_be_exceeded(ask, server):
    server.will = [says(tokens=60)]
    asked = ask(budget_tokens=221)  # a question of 3 letters may take 1 + 100
    assert asked("aaa") and asked("bbb")  # 60 of them used, then 120
    asked("ccc")  # 120 + 101 = 221
    with pytest.raises(BudgetSpent, match="221 tokens, and the next request may take 101; so far"):
        asked("ddd")
    assert len(server.requests) == 3 and asked.tokens == 180


def test_tokens_that_are_not_reported_are_estimated_which_is_said(ask, server):
    no_usage = body("nine more", tokens=None)
    for content in (no_usage, no_usage[:-1] + b', "usage": "none"}',
                    *(body("nine more", tokens=tokens) for tokens in ("12", -3, True))):
        server.will = [partial(send, content=content)]
        asked = ask()
        asked("six so")  # 2 tokens, and 3 of the answer
        assert asked.describe() == ("1 requests, 5 tokens (5 of them estimated, as the server did "
                                    "not report them), 0 answers from the cache")


def test_what_may_have_cost_something_counts_in_full_and_what_was_refused_does_not(ask, server):
    server.will = [half, status(500), says(tokens=10)]
    asked = ask()
    asked("aaa")
    assert (asked.requests, asked.tokens, asked.estimated) == (3, 111, 101)


# The key


def test_the_key_is_in_no_file_no_message_and_no_traceback(ask, server, tmp_path, capsys):
    troubles = [*map(echoes, (301, 400, 401, 403, 404, 429, 500)), half, hangs_up,
                partial(send, content=f"{KEY}{{".encode()), says(f"Your key is {KEY}."),
                partial(send, content=json.dumps({"error": KEY}).encode()),
                partial(send, content=json.dumps({"detail": [KEY]}).encode()), says("fine"),
                status(429, ("Retry-After", "7777"), message="x" * 280 + KEY),
                status(307, ("Location", f"http://else/{KEY}"))]
    shown = []
    for number, trouble in enumerate(troubles):
        server.will = [trouble]
        with ask(cache=tmp_path / "cache", budget_requests=2) as asked:
            try:
                asked(f"question {number}")
            except (TeacherError, BudgetSpent) as error:
                shown += [str(error), repr(error), *traceback.format_exception(error)]
            shown += [repr(asked), str(vars(asked)), asked.describe()]
    assert len(server.requests) > len(troubles) and KEY in str(server.requests)
    shown += [*capsys.readouterr()]
    shown += [path.read_text() for path in (tmp_path / "cache").iterdir()]
    assert "(key)" in "".join(shown) and "fine" in shown[-1] and "answer is not kept" in str(shown)
    assert KEY[:10] not in "".join(shown)


def test_a_key_that_is_no_secret_may_stand_in_an_answer(ask, server):
    server.will = [says("none at all")]
    assert ask(key="none")("a") == "none at all"


# A real server


def wait_until_healthy(process, port, log):
    """Wait until a server answers; fails with its words if it ends before, or takes minutes."""
    until = time.monotonic() + 180
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text(errors="replace")
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
                return response.read()
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text(errors="replace"))


@pytest.fixture
def served(tmp_path, monkeypatch):
    """(url, model name) of the shipped tuned model, exported, behind `transformers serve`."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder, log = tmp_path / "exported", tmp_path / "log.txt"
    export.main(["--model", TUNED, "--out", str(folder)])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder),
             "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
            stdout=file, stderr=subprocess.STDOUT, env=environment)
    try:
        wait_until_healthy(process, port, log)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.terminate()
        process.wait()


@pytest.mark.skipif(not is_serve_available(), reason="`transformers serve` needs fastapi, uvicorn "
                    "and openai: pip install -r tests/requirements.txt")
def test_an_exported_model_served_by_transformers_answers_as_in_chat(served, tmp_path, capsys):
    url, name = served
    question = "What is the opposite of hot?"
    chat.main(["--model", TUNED, "--prompt", question])
    expected = capsys.readouterr().out.removesuffix("\n")
    with of_server(url, name, cache=tmp_path / "cache", temperature=0, max_new_tokens=50) as asked:
        assert asked(question) == asked(question) == expected != ""
        assert asked.requests == 1 and not asked.estimated
    coder = AutoProcessor.from_pretrained(name)  # what the server renders a conversation with
    messages = [{"role": "user", "content": question}]
    rendered = coder.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    tokenizer = open_model(TUNED)[1]
    prompt = render_prompt(Conversation.from_messages(messages), tokenizer)
    assert rendered["input_ids"] == prompt
    assert asked.tokens == len(prompt) + len(tokenizer.encode(expected)) + 1  # the end of the turn
    with pytest.raises(TeacherError, match="400 .*pinned to"):
        of_server(url, "another model")(question)
