"""`Idempotency-Key` on POST: a request that is sent twice is carried out once.

What was answered is kept for 24 hours and given again, with `Idempotency-Replayed: true`. Not kept
are answers of 500 and above, refusals that came before the act (401, 403, 429), and answers with a
secret: of those only the address of what was made is repeated.
"""

from __future__ import annotations

import hashlib
import logging
import re
from datetime import datetime
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voxtra.service.access import Principal
from voxtra.service.context import Service
from voxtra.store import idempotency as store
from voxtra.store.idempotency import Answer, InProgress, Mismatch
from voxtra.web.limits import replay
from voxtra.web.problems import Problem, answer, handle

__all__ = ["Idempotency", "keep_secret"]

log = logging.getLogger(__name__)

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_NOT_KEPT: Final = frozenset({401, 403, 429})
_SECRET: Final = "answer_is_secret"  # noqa: S105  # the name of a flag
_WITHHELD: Final = "withheld"
_REPLAYED: Final = "Idempotency-Replayed"


def keep_secret(request: Request) -> None:
    """Have the body of this request's answer kept nowhere: it holds a secret, shown once."""
    setattr(request.state, _SECRET, True)


class Idempotency:
    """Stands before the routes and gives a known answer instead of asking them again."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        key = Headers(scope=scope).get("idempotency-key")
        principal: Principal | None = scope["state"]["principal"]
        if key is None or principal is None:
            await self._app(scope, receive, send)
            return
        if not _KEY.fullmatch(key):
            refusal = Problem(
                "invalid_request",
                "Idempotency-Key: is 1 to 255 visible ASCII characters.",
                field="Idempotency-Key",
            )
            await answer(refusal, scope)(scope, receive, send)
            return
        body = (await receive()).get("body", b"")  # whole: the limit has read it
        began = self._service.clock()
        fingerprint = _fingerprint(scope, body)
        try:
            async with self._service.database.write() as connection:
                known = await store.begin(connection, principal.id, key, fingerprint, began)
        except (Mismatch, InProgress, SQLAlchemyError) as error:
            await (await handle(Request(scope), error))(scope, receive, send)
            return
        if known is not None:
            await _again(known, scope)(scope, receive, send)
            return
        given = _Given()
        try:
            await self._app(scope, replay(body, receive), given)
        except BaseException:
            await self._forget(principal.id, key, began)
            raise
        await self._keep(principal.id, key, began, given, scope)
        for message in given.messages:
            await send(message)

    async def _keep(
        self, principal_id: str, key: str, began: datetime, given: _Given, scope: Scope
    ) -> None:
        if given.status in _NOT_KEPT or given.status >= 500:
            await self._forget(principal_id, key, began)
            return
        kept = given.answer(secret=scope["state"].get(_SECRET, False))
        try:
            async with self._service.database.write() as connection:
                await store.finish(connection, principal_id, key, began, kept)
        except SQLAlchemyError:
            # It was done, and that is what is answered; a repetition is refused for a minute.
            log.exception("can't keep the answer to an Idempotency-Key")

    async def _forget(self, principal_id: str, key: str, began: datetime) -> None:
        try:
            async with self._service.database.write() as connection:
                await store.abandon(connection, principal_id, key, began)
        except SQLAlchemyError:
            log.exception("can't free an Idempotency-Key; it is free again in a minute")


class _Given:
    """Takes an answer in, instead of sending it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.status = 0

    async def __call__(self, message: Message) -> None:
        """Take one message."""
        self.messages.append(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]

    def answer(self, *, secret: bool) -> Answer:
        """Return what is kept of it; of one with a `secret` only where the thing is."""
        headers = dict(Headers(raw=self.messages[0]["headers"]))
        if secret:
            return Answer(self.status, {_WITHHELD: headers.get("location", "")}, "")
        body = b"".join(each.get("body", b"") for each in self.messages[1:])
        headers.pop("content-length", None)
        return Answer(self.status, headers, body.decode())


def _again(known: Answer, scope: Scope) -> Response:
    if _WITHHELD in known.headers:
        problem = Problem("answer_not_kept", location=known.headers[_WITHHELD])
        return answer(problem, scope)
    return Response(known.body, known.status, {**known.headers, _REPLAYED: "true"})


def _fingerprint(scope: Scope, body: bytes) -> str:
    """Return what makes a request the same as another: method, address, body."""
    head = f"{scope['method']} {scope['path']}?".encode() + scope["query_string"]
    return hashlib.sha256(head + b"\n" + body).hexdigest()
