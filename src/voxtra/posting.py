"""Posting signed JSON to somebody's URL: sinks and event webhooks both deliver through here.

A 2xx is delivered. 408, 429, 5xx and whatever keeps a request from being answered are tried again
with growing delays, `Retry-After` obeyed; every other answer is final, a redirect included:
following it would hand the message to somebody who was not configured.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from voxtra.config import check_http_url
from voxtra.exceptions import ConfigurationError
from voxtra.retry import delays
from voxtra.signing import Signer

__all__ = [
    "LONGEST_DELAY",
    "USER_AGENT",
    "Posted",
    "Poster",
    "encode_json",
    "header_safe",
    "retry_after",
]

log = logging.getLogger(__name__)

LONGEST_DELAY: Final = 60.0
"""Seconds: no wait between two tries is longer, whatever `Retry-After` demands."""

MAX_IN_FLIGHT: Final = 32
"""Requests of one poster at the same time; others wait, their own deadline not yet running."""

USER_AGENT: Final = "voxtra-webhook/1"
_RETRIED: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_HEADER_SAFE: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")


@dataclass(frozen=True, slots=True)
class Posted:
    """How it went: the last `status` (0: no answer) and, unless `delivered`, the `problem`."""

    delivered: bool
    attempts: int
    status: int = 0
    problem: str = ""


class Poster:
    """Posts to one URL. The HTTP client is made on first use, in the loop that uses it.

    `timeout_seconds` is for each try, of which there are `1 + max_retries`; `retry_backoff` is the
    first delay in seconds. A client that is given stays its owner's. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        url: str,
        *,
        signing_secret: str = "",
        timeout_seconds: float = 10.0,
        max_retries: int = 3,
        retry_backoff: float = 1.0,
        http_client: aiohttp.ClientSession | None = None,
    ) -> None:
        try:
            parts = urlsplit(check_http_url(url))
        except ValueError as error:
            raise ConfigurationError(str(error), field="url") from None
        if timeout_seconds <= 0:
            raise ConfigurationError("must be greater than 0", field="timeout_seconds")
        if max_retries < 0:
            raise ConfigurationError("must not be negative", field="max_retries")
        if retry_backoff < 0:
            raise ConfigurationError("must not be negative", field="retry_backoff")
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        """The receiver as logs may show it: the rest of a URL often holds a token."""
        self.longest_seconds = (max_retries + 1) * timeout_seconds + max_retries * LONGEST_DELAY
        """The longest that one message can take, beyond waiting for others to be sent."""
        self._url = url
        self._signer = Signer(signing_secret)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._max_retries = max_retries
        self._backoff = retry_backoff
        self._given = http_client
        self._own: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gate = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def post(
        self, body: bytes, *, message_id: str, headers: Mapping[str, str] | None = None
    ) -> Posted:
        """Deliver `body` or give up. Raises nothing but the caller's own cancellation.

        `message_id` and the values of `headers` may be any text: see `header_safe`.
        """
        fixed = {name: header_safe(value) for name, value in (headers or {}).items()}
        fixed |= {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        message_id = header_safe(message_id)
        pauses = delays(self._backoff, cap=LONGEST_DELAY)
        for attempt in range(1, self._max_retries + 2):
            now = int(time.time())
            signed = fixed | self._signer.headers(body, message_id=message_id, timestamp=now)
            status, problem, asked = 0, "", 0.0
            try:
                status, asked = await self._try(body, signed)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = f"{type(error).__name__}: {error}".rstrip(": ")
            except Exception as error:
                log.exception("posting to %s failed in an unexpected way", self.where)
                return Posted(False, attempt, problem=repr(error))
            if 200 <= status < 300:
                return Posted(True, attempt, status)
            problem = problem or f"HTTP {status}"
            retried = status == 0 or status in _RETRIED or status >= 500
            if not retried or attempt > self._max_retries:
                return Posted(False, attempt, status, problem)
            pause = max(next(pauses), min(asked, LONGEST_DELAY))
            log.debug("%s: %s; try %d in %.1f s", self.where, problem, attempt + 1, pause)
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns")

    async def aclose(self) -> None:
        """Close the HTTP client if it is our own. A later `post` makes a new one."""
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    async def _try(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, float]:
        client = self._client()
        async with (
            self._gate,
            client.post(
                self._url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout,
            ) as response,
        ):
            # The status is the answer. The body is not read: it could be endless, or never come.
            return response.status, retry_after(response.headers.get("Retry-After", ""))

    def _client(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # an app may be run again in a new loop; what belonged to the old one is of no use
            self._loop, self._own = loop, None
            self._gate = asyncio.Semaphore(MAX_IN_FLIGHT)
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=MAX_IN_FLIGHT),
            )
        return self._own


def header_safe(text: str) -> str:
    """Return `text` as a header value: printable ASCII but `%` as it is, all else percent-encoded.

    Ids come from the PBX, and there from whoever calls: a line break must neither fail nor add a
    header. `urllib.parse.unquote` gives the text back.
    """
    return quote(text, safe=_HEADER_SAFE, errors="surrogatepass")


def encode_json(value: object) -> bytes:
    """Return compact JSON of any value. Never raises.

    Bytes become base64, times ISO 8601, NaN null, and what JSON has no form for its text.
    """
    try:
        return msgspec.json.encode(value, enc_hook=_text)
    except Exception:  # lone surrogates, values that hold themselves, text that can't be made
        log.debug("a value needs repair before it is JSON", exc_info=True)
        return msgspec.json.encode(_repaired(value, ()), enc_hook=_text)


def _text(value: object) -> str:
    try:
        text = str(value)
    except Exception as error:
        text = f"<{type(value).__name__}: {type(error).__name__}>"
    return text.encode(errors="replace").decode()


def _repaired(value: object, above: tuple[int, ...]) -> object:
    """Return a tree of what JSON knows; `above` are the ids of the containers that hold `value`."""
    if isinstance(value, bool | int | float | bytes | datetime | None):
        return value
    if id(value) in above or len(above) > 50:
        return "..."
    inside = (*above, id(value))
    if isinstance(value, Mapping):
        return {_text(key): _repaired(item, inside) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_repaired(item, inside) for item in value]
    return _text(value)


def retry_after(value: str) -> float:
    """Return the seconds that a `Retry-After` header asks for, in either of its forms, else 0."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
