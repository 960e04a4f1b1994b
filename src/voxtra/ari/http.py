"""One request to ARI: the pool, the encoding, the deadline, and from status to exception."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from voxtra.exceptions import (
    AriError,
    AuthenticationFailed,
    BadRequest,
    ConfigurationError,
    Conflict,
    Forbidden,
    NotFound,
    RequestTimeout,
    ServerError,
    TelephonyConnectionError,
    TelephonyError,
)

__all__ = ["AriHttp", "segment"]

T = TypeVar("T")

POOL_SIZE: Final = 64
"""Connections at most: what exceeds Asterisk's `sessionlimit` (100, with websockets) is cut."""

KEEP_ALIVE: Final = 10.0
"""Seconds an idle connection is kept: Asterisk closes it after 15 (`session_keep_alive`)."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds to wait for the other side's close frame: a dead one must not hold up a shutdown."""

CHUNK: Final = 64 * 1024

_JSON_HEADERS: Final = {"Content-Type": "application/json"}

_BY_STATUS: Final[dict[int, type[AriError]]] = {
    400: BadRequest,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Conflict,  # "channel in invalid state", beside the 409 for the same thing
    422: BadRequest,
}

LONGEST_QUERY: Final = 2048
"""Bytes; Asterisk takes a request line of 4 KiB, and a body of 40."""

Params = Mapping[str, object]
"""Parameters of a request, by ARI's names.

They travel in the query, for a body makes aiohttp a sixth slower; in a JSON body when they are
long, or objects (`variables`), or lists of texts with commas.
"""


def segment(value: str) -> str:
    """Encode an id or a name as one part of a path: slashes, `%`, `?` and `#` included."""
    if not value:
        raise ValueError("an id or a name in a request to ARI can't be empty")
    return quote(value, safe="")


class AriHttp:
    """The HTTP side of one Asterisk: a pool of keep-alive connections and its credentials."""

    def __init__(
        self,
        base_url: str,
        username: str,
        password: str,
        *,
        app_name: str = "voxtra",
        timeout: float = 5.0,
    ) -> None:
        origin = _origin(base_url)
        self.username = username
        self.app_name = app_name
        self.timeout = timeout
        self.peer = f"{origin.host}:{origin.port}"
        self._base = f"{str(origin).rstrip('/').removesuffix('/ari')}/ari"
        # Built once, and never `?api_key=`: URLs end up in logs.
        secret = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {secret}"}
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.username}@{self._base} app={self.app_name}>"

    def open(self) -> None:
        """Open the pool without asking Asterisk anything; opening twice is fine."""
        if self._session is not None:
            return
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=POOL_SIZE, keepalive_timeout=KEEP_ALIVE),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=self.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close every connection. Closing twice is fine."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def events_websocket(self, heartbeat: float) -> aiohttp.ClientWebSocketResponse:
        """Open the events websocket of our application; pings go out every `heartbeat` seconds."""
        session = self._opened()
        url = f"ws{self._base.removeprefix('http')}/events?app={quote(self.app_name, safe='')}"
        try:
            return await session.ws_connect(
                URL(url, encoded=True),
                heartbeat=heartbeat,
                compress=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
            )
        except aiohttp.WSServerHandshakeError as error:
            raise self._refusal(error.status, "GET", "/events", b"") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._no_answer("GET", "/events", error) from error

    async def _call(
        self, method: str, path: str, params: Params | None = None, *, repeat: bool = True
    ) -> bytes:
        """Send one request and return the answer's body.

        `path` is encoded already, the values of `params` are not; None and "" are left out.
        `repeat=False` is for a POST that must not be sent twice.
        """
        session = self._opened()
        query, data = _encoded(params) if params else ("", None)
        url = URL(self._base + path + query, encoded=True)
        headers = None if data is None else _JSON_HEADERS
        # An idle connection that Asterisk closes at the very moment we use it says "disconnected"
        # for a request that was never read. aiohttp sends GET, PUT and DELETE again on its own. A
        # POST we send again too, when it carries an id that we chose or sets a state: the worst is
        # then a 409 in place of the lost answer. Asterisk answers every request that it has read,
        # unless it dies, and then there is nothing to repeat.
        again = repeat and method == "POST"
        while True:
            try:
                async with session.request(
                    method, url, data=data, headers=headers, allow_redirects=False
                ) as response:
                    content = await response.read()
            except (aiohttp.ClientError, OSError) as error:
                if again and _is_stale(error):
                    again = False
                    continue
                raise self._no_answer(method, path, error) from error
            if response.status >= 300:
                raise self._refusal(response.status, method, path, content)
            return content

    async def _fetch(
        self,
        decoder: msgspec.json.Decoder[T],
        method: str,
        path: str,
        params: Params | None = None,
        *,
        repeat: bool = True,
    ) -> T:
        """Send one request and return the typed answer."""
        content = await self._call(method, path, params, repeat=repeat)
        try:
            return decoder.decode(content)
        except msgspec.DecodeError as error:
            problem = f"the answer is not as Asterisk's api-docs have it: {error}"
            raise ServerError(200, method, path, problem) from error

    async def _stream(self, path: str) -> AsyncGenerator[bytes]:
        """Yield the answer to a GET in pieces; the deadline counts from piece to piece."""
        session = self._opened()
        timeout = aiohttp.ClientTimeout(total=None, connect=self.timeout, sock_read=self.timeout)
        try:
            async with session.get(
                URL(self._base + path, encoded=True), timeout=timeout, allow_redirects=False
            ) as response:
                if response.status >= 300:
                    raise self._refusal(response.status, "GET", path, await response.read())
                async for chunk in response.content.iter_chunked(CHUNK):
                    yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise self._no_answer("GET", path, error) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError(
                "Not connected to Asterisk: await connect() first, or use `async with`"
            )
        return self._session

    def _refusal(self, status: int, method: str, path: str, content: bytes) -> TelephonyError:
        """Return the exception for an error status: the only place that knows."""
        message = _message(content)
        if status == 401:
            return AuthenticationFailed(
                f"Asterisk at {self.peer} refused ARI user {self.username!r}: "
                "check the user's section and its password in ari.conf"
            )
        if status == 404 and message is None:
            # ARI answers in JSON, so this is the HTTP server alone: while booting, or for good.
            return TelephonyConnectionError(
                f"the HTTP server at {self.peer} has no ARI: check enabled=yes in ari.conf, "
                "and the prefix in http.conf against the URL"
            )
        kind = _BY_STATUS.get(status, ServerError if status >= 500 else AriError)
        return kind(status, method, path, message or "")

    def _no_answer(self, method: str, path: str, error: Exception) -> TelephonyConnectionError:
        """Return the exception for a request without an answer."""
        if isinstance(error, TimeoutError):
            return RequestTimeout(
                f"{method} {path}: no answer from {self.peer} in {self.timeout:g} s"
            )
        if isinstance(error, aiohttp.ClientConnectorError):
            error = error.os_error
        reason = str(error) or type(error).__name__
        return TelephonyConnectionError(
            f"Asterisk can't be reached at {self.peer} ({reason}): "
            "check that it runs, and enabled, bindaddr and bindport in http.conf"
        )


def _origin(base_url: str) -> URL:
    """Check the URL of Asterisk's HTTP server."""
    try:
        url = URL(base_url)
    except ValueError as error:
        problem = f"{error}"
        raise ConfigurationError(problem, field="base_url", fix="Write http://host:8088") from None
    if url.user is not None or url.password is not None or url.query_string:
        # The value is not repeated here: it holds a secret.
        problem = "has credentials or a query in it"
        fix = "Give the user and the password as username and password"
        raise ConfigurationError(problem, field="base_url", fix=fix)
    if url.scheme not in ("http", "https") or not url.host:
        problem = f"{base_url!r} is no HTTP URL"
        raise ConfigurationError(problem, field="base_url", fix="Write http://host:8088")
    return url


def _encoded(params: Params) -> tuple[str, bytes | None]:
    """Return parameters as a query, or as a JSON body where a query can't hold them."""
    given = {name: value for name, value in params.items() if value is not None and value != ""}
    pairs = []
    for name, value in given.items():
        text = _flat(value)
        if text is None:
            return "", msgspec.json.encode(given)
        pairs.append(f"{name}={quote(text, safe='')}")
    query = "?" + "&".join(pairs) if pairs else ""
    return (query, None) if len(query) <= LONGEST_QUERY else ("", msgspec.json.encode(given))


def _flat(value: object) -> str | None:
    """Return a value as it stands in a query; None for an object, and for a list with commas."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, list | tuple) or not value:
        return None
    plain = all(isinstance(item, str) and "," not in item for item in value)
    return ",".join(value) if plain else None


def _is_stale(error: Exception) -> bool:
    """Tell whether the connection broke under the request, as against not coming about at all."""
    return isinstance(
        error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError
    ) and not isinstance(error, aiohttp.ClientConnectorError | TimeoutError)


def _message(content: bytes) -> str | None:
    """Return what ARI says about an error; None when the answer is not ARI's."""
    try:
        answer = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
    return str(answer.get("message") or answer.get("error") or "")
