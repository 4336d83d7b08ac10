"""One request to a server with an OpenAI-style chat endpoint, and all that can go wrong with it.

    POST {url}/chat/completions
    {"model": ..., "messages": [{"role": "user", "content": prompt}], "max_tokens": ...}

    {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}],
     "usage": {"total_tokens": ...}}

A failure is of one of two kinds. `Unavailable` may pass: too many requests (429), an error of the
server (500 to 599), a connection that breaks, a time-out, half an answer. `TeacherError` stays: a
wrong key, an unknown model. The key is sent to this server only, and no message shows it.

Source: RFC 9110 (HTTP), section 10.2.3 (Retry-After).
"""

import json
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from minisft.screen import one_line
from minisft.tokenizer import check_text

KEY_VARIABLE = "MINISFT_TEACHER_KEY"
MAY_PASS = (408, 429, *range(500, 600))
ADVICE = {
    400: "check the model's name and the settings",
    401: f"the key is missing or wrong; put it into the environment variable {KEY_VARIABLE}",
    403: f"the key in {KEY_VARIABLE} may not be used for this; check it and the model's name",
    404: "there is no such address or no such model; check the url, which often ends in /v1, and "
         "the model's name",
}
SHORTEST_SECRET = 8  # characters; "none" and the like, for servers that need no key, are no secret
LONGEST_REASON = 300  # characters of what a server says that are shown


class TeacherError(ValueError):
    """A teacher cannot answer, and asking again would not help."""


class Unavailable(Exception):
    """A request failed in a way that may pass.

    wait: seconds that the server asks to wait, or None; may_cost: whether the server may have
    worked on an answer that did not arrive.
    """

    def __init__(self, message, wait=None, may_cost=False):
        super().__init__(message)
        self.wait, self.may_cost = wait, may_cost


@dataclass(frozen=True)
class Answer:
    """tokens: of prompt and answer, as the server counts them, or None if it does not say.

    cut: whether the answer was longer than it was allowed to be.
    """

    text: str
    tokens: int | None
    cut: bool


class _NoRedirects(HTTPRedirectHandler):
    """urllib would send the key along to whatever address the server names."""

    def redirect_request(self, *arguments):
        return None


class Endpoint:
    """The chat endpoint of the server at a url such as http://localhost:8000/v1.

    key: "" for a server that needs none; timeout: seconds until the server says something, and
    again until it has said all; clock: a function that gives seconds.
    """

    def __init__(self, url, key, timeout, clock):
        check_url(url)
        if not re.fullmatch(r"[!-~]*", key):  # the message must not show it
            raise ValueError(f"the key ({KEY_VARIABLE}) holds a space, a line end or a letter "
                             "that is not ASCII; copy it again")
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, got {timeout}")
        self.address = f"{url.rstrip('/')}/chat/completions"
        self._key, self._timeout, self._clock = key, timeout, clock
        self._opener = build_opener(_NoRedirects)

    def ask(self, body):
        """The Answer to a request's body (bytes of JSON); raises Unavailable or TeacherError."""
        # Some servers turn away the name by which urllib calls itself.
        headers = {"Content-Type": "application/json", "User-Agent": "minisft"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = Request(self.address, body, headers)
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                content = self._read(response)
        except HTTPError as error:
            raise self._failure(error) from None
        except URLError as error:
            reason = self._shown(str(error.reason))
            raise Unavailable(f"{self.address} cannot be reached ({reason})") from None
        except TimeoutError:
            raise Unavailable(f"{self.address} did not answer within {self._timeout} s",
                              may_cost=True) from None
        except (OSError, HTTPException) as error:
            reason = self._shown(str(error) or type(error).__name__)
            raise Unavailable(f"{self.address} broke off ({reason})", may_cost=True) from None
        return self._answer(content)

    def _read(self, response):
        """The body of a response, or what of it has come when the time is over.

        The socket's own time-out is not enough: it starts again with every byte.
        """
        parts, until = [], self._clock() + self._timeout
        while part := response.read1():
            parts.append(part)
            if self._clock() > until:
                break
        return b"".join(parts)

    def _answer(self, content):
        """The Answer in a body; Unavailable if it is no whole answer."""
        try:
            decoded = json.loads(content)
            choice = decoded["choices"][0]
            text = choice["message"].get("content")
            text = "" if text is None else text
            check_text(text)
            cut = choice.get("finish_reason") == "length"
            usage = decoded.get("usage")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise Unavailable(f"{self.address} sent half an answer, or none: "
                              f"{self._reason(content)}", may_cost=True) from None
        if len(self._key) >= SHORTEST_SECRET and self._key in text:
            raise TeacherError(f"{self.address} repeats the key in its answer; the answer is not "
                               "kept. Do not trust this server")
        tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
        return Answer(text, tokens if type(tokens) is int and tokens >= 0 else None, cut)

    def _failure(self, error):
        """What to raise for an HTTP status that is not a success."""
        try:
            with error:
                content = self._read(error.fp)
        except (OSError, HTTPException):
            content = b""
        said = f"{self.address} answered {error.code} ({self._reason(content)})"
        if error.code in MAY_PASS:
            return Unavailable(said, wait=seconds_to_wait(error.headers))
        advice = ADVICE.get(error.code, "check the url, the model's name and the settings")
        if 300 <= error.code < 400:
            place = self._shown(error.headers.get("Location", "an unknown address"))
            advice = f"it points to {place}; if that is right, give its url"
        return TeacherError(f"{said}: {advice}")

    def _reason(self, content):
        """What the body of a failure says, on one line."""
        try:
            decoded = json.loads(content)
            error = decoded.get("error", decoded)
            text = error.get("message", error) if isinstance(error, dict) else error
        except (ValueError, AttributeError, RecursionError):
            text = content.decode("utf-8", "replace")
        return self._shown(text if isinstance(text, str) else json.dumps(text))

    def _shown(self, text):
        """A server's words, without the key, on one line, not too long."""
        text = text.replace(self._key, "(key)") if self._key else text
        text = one_line(text)
        return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


def check_url(url):
    """ValueError unless it is a url of which one ends in .../chat/completions can be made."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right or not re.fullmatch(r"[!-~]+", url):
        raise ValueError("the url of the teacher's server is wrong; expected one such as "
                         "http://localhost:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("the url of the teacher's server holds a password, a question mark or a "
                         f"#; put the key into the environment variable {KEY_VARIABLE}, and end "
                         "the url before /chat/completions")


def seconds_to_wait(headers):
    """Seconds that the header Retry-After asks to wait, or None.

    A date is held against the server's own date, so that no clock need be right.
    """
    asked = headers.get("Retry-After", "").strip()
    try:
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", asked):
            return float(asked)
        until, now = map(parsedate_to_datetime, (asked, headers.get("Date", "")))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):
        return None
