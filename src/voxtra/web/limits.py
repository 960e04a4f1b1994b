"""How much one client may ask: requests per key, wrong keys per address, bytes per body."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voxtra.web.problems import Problem, answer

__all__ = ["BodyLimit", "Limiter", "Limits", "Rate", "Verdict", "replay"]

MAX_BODY: Final = 1 << 20
"""Bytes of a request's body: ten thousand recording ids fit in."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast: `per_second` for ever, and up to `burst` at once."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a site: requests of one key, wrong keys from one address."""

    requests: Rate = Rate(50, 200)
    failures: Rate = Rate(0.5, 20)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one more is allowed; `remaining` are left, `retry_after` and `reset` are seconds
    until the next one is allowed and until all are.
    """

    allowed: bool
    remaining: int
    retry_after: int
    reset: int


class Limiter:
    """A token bucket for each name, in the memory of this process."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens that were there, and when
        self._swept = clock()

    def take(self, name: str) -> Verdict:
        """Take a token out of a bucket, if it has one."""
        now = self._clock()
        self._sweep(now)
        tokens = self._tokens(name, now)
        allowed = tokens >= 1
        if allowed:
            tokens -= 1
        self._buckets[name] = (tokens, now)
        speed = self.rate.per_second
        return Verdict(
            allowed,
            int(tokens),
            0 if allowed else max(1, math.ceil((1 - tokens) / speed)),
            math.ceil((self.rate.burst - tokens) / speed),
        )

    def __len__(self) -> int:
        return len(self._buckets)

    def _tokens(self, name: str, now: float) -> float:
        tokens, then = self._buckets.get(name, (float(self.rate.burst), now))
        return min(float(self.rate.burst), tokens + (now - then) * self.rate.per_second)

    def _sweep(self, now: float) -> None:
        """Forget full buckets, once in the time that filling one takes."""
        if now - self._swept < self.rate.burst / self.rate.per_second:
            return
        self._swept = now
        full = [name for name in self._buckets if self._tokens(name, now) >= self.rate.burst]
        for name in full:
            del self._buckets[name]


class BodyLimit:
    """Refuses a body that is too large or no JSON before anything parses it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not _has_body(headers):
            await self._app(scope, receive, send)
            return
        length = headers.get("content-length", "")
        refusal = None
        if length.isdecimal() and int(length) > MAX_BODY:
            refusal = Problem("body_too_large")
        elif not _is_json(headers.get("content-type", "")):
            refusal = Problem("unsupported_media_type")
        if refusal is not None:
            await answer(refusal, scope)(scope, receive, send)
            return
        await self._bounded(scope, receive, send)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Without a length the bytes are counted: what is too much is never given on.
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client is gone
            body += message.get("body", b"")
            if len(body) > MAX_BODY:
                await answer(Problem("body_too_large"), scope)(scope, receive, send)
                return
            if not message.get("more_body"):
                break
        await self._app(scope, replay(bytes(body), receive), send)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read already, and then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _is_json(content_type: str) -> bool:
    media = content_type.partition(";")[0].strip().lower()
    return media == "application/json" or (
        media.startswith("application/") and media.endswith("+json")
    )
