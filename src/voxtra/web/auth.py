"""Whose request it is: keys, what they may do, and how fast.

The key comes as `Authorization: Bearer KEY`, or as `?token=KEY`; the header wins. A token in the
query is taken out of it before anything else sees it, so that no log and no page can repeat it.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote_plus

import structlog
from fastapi import Request, Security
from fastapi.security import APIKeyQuery, HTTPBearer, SecurityScopes
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voxtra.service.access import NotAuthenticated, Principal, authenticate
from voxtra.service.context import Service
from voxtra.store import audit
from voxtra.store.access import touch_key
from voxtra.web.limits import Limiter, Limits, Verdict
from voxtra.web.problems import Problem, answer, problem_of

__all__ = ["Gate", "Principal", "note", "require"]

log = logging.getLogger(__name__)

TOUCH_EVERY: Final = timedelta(minutes=1)

_IDS: Final = ("call_id", "conference_id", "recording_id")
"""Path parameters that log lines carry."""

_BEARER: Final = HTTPBearer(
    scheme_name="key", description="A key: `vx_<prefix>_<secret>`.", auto_error=False
)
_TOKEN: Final = APIKeyQuery(
    name="token",
    scheme_name="token",
    description="The same key, where no header can be sent. Prefer the header.",
    auto_error=False,
)


def require(*scopes: str) -> Any:
    """Return the dependency that lets in only keys with all `scopes`; its value is the principal.

    To be written as `principal: Annotated[Principal, require("recordings:read")]`.
    """
    return Security(_principal, scopes=list(scopes))


async def note(
    connection: AsyncConnection,
    request: Request,
    principal: Principal,
    action: str,
    subject_id: str,
    **detail: object,
) -> None:
    """Write into the audit what somebody did by a request, in the transaction of the act.

    `action` is the kind of the thing and a verb, as `recording.deleted`.
    """
    await audit.record(
        connection,
        tenant_id=principal.tenant_id,
        actor=principal.id,
        action=action,
        subject_kind=action.partition(".")[0],
        subject_id=subject_id,
        request_id=request.state.request_id,
        remote=request.client.host if request.client else "",
        detail=detail,
    )


async def _principal(
    request: Request,
    wanted: SecurityScopes,
    _bearer: object = Security(_BEARER),
    _token: object = Security(_TOKEN),
) -> Principal:
    # The two schemes are for the OpenAPI document: the gate has read the key already.
    principal: Principal | None = request.state.principal
    if principal is None:
        raise request.state.refusal
    ids = {name: request.path_params[name] for name in _IDS if name in request.path_params}
    structlog.contextvars.bind_contextvars(**ids)
    for scope in wanted.scopes:
        if scope not in principal.scopes:
            raise Problem(
                "forbidden",
                f"The key has no scope {scope}.",
                headers={
                    "WWW-Authenticate": f'Bearer realm="voxtra", error="insufficient_scope", '
                    f'scope="{scope}"'
                },
                missing_scope=scope,
            )
    return principal


class Gate:
    """Finds out whose request it is, and refuses what comes too fast.

    A request without a valid key goes on: what needs one asks for it by `require`.
    """

    def __init__(self, app: ASGIApp, service: Service, limits: Limits) -> None:
        self._app = app
        self._service = service
        self._requests = Limiter(limits.requests)
        self._failures = Limiter(limits.failures)
        self._touched: dict[str, datetime] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        secret = _secret(scope)
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            # No id and no text of ours has one, and PostgreSQL refuses to compare with it.
            refusal = Problem("invalid_request", "The address holds the character NUL.")
            await answer(refusal, scope)(scope, receive, send)
            return
        state = scope["state"]
        try:
            state["principal"] = principal = await self._identify(secret)
        except Exception as error:
            state["principal"] = principal = None
            state["refusal"] = self._refusal(error, scope)
        if principal is None:
            await self._app(scope, receive, send)
            return
        structlog.contextvars.bind_contextvars(
            tenant_id=principal.tenant_id, principal_id=principal.id
        )
        verdict = self._requests.take(principal.key_id)
        headed = _with_limits(send, self._requests, verdict)
        if verdict.allowed:
            await self._app(scope, receive, headed)
            return
        refusal = Problem("too_many_requests", headers={"Retry-After": str(verdict.retry_after)})
        await answer(refusal, scope)(scope, receive, headed)

    async def _identify(self, secret: str) -> Principal:
        if not secret:
            raise Problem("unauthenticated", headers={"WWW-Authenticate": 'Bearer realm="voxtra"'})
        now = self._service.clock()
        async with self._service.database.read() as connection:
            principal = await authenticate(connection, secret, now)
        await self._touch(principal.key_id, now)
        return principal

    async def _touch(self, key_id: str, now: datetime) -> None:
        touched = self._touched.get(key_id)
        if touched is not None and now - touched < TOUCH_EVERY:
            return
        self._touched[key_id] = now
        try:
            async with self._service.database.write() as connection:
                await touch_key(connection, key_id, now=now)
        except SQLAlchemyError:
            # A full disk must not keep anybody from reading.
            log.warning("can't note that key %s was used", key_id, exc_info=True)

    def _refusal(self, error: Exception, scope: Scope) -> Problem:
        if not isinstance(error, NotAuthenticated):
            if not isinstance(error, Problem):
                log.error("can't find out whose key it is", exc_info=error)
            return problem_of(error)
        # Only wrong keys are counted and refused: a valid one behind the same proxy passes.
        client = scope.get("client")
        verdict = self._failures.take(client[0] if client else "")
        if not verdict.allowed:
            retry = {"Retry-After": str(verdict.retry_after)}
            return Problem("too_many_failures", headers=retry)
        challenge = 'Bearer realm="voxtra", error="invalid_token"'
        return Problem("unauthenticated", str(error), headers={"WWW-Authenticate": challenge})


def _secret(scope: Scope) -> str:
    """Return the key of a request, or nothing; take the token out of the query."""
    kept, tokens = [], []
    for pair in scope["query_string"].split(b"&"):
        name, _, value = pair.decode("latin-1").partition("=")
        if unquote_plus(name) == "token":
            tokens.append(unquote_plus(value))
        else:
            kept.append(pair)
    if tokens:
        scope["query_string"] = b"&".join(kept)
    scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given.strip():
        return given.strip()
    return next(iter(tokens), "")


def _with_limits(send: Send, limiter: Limiter, verdict: Verdict) -> Send:
    async def headed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["RateLimit-Limit"] = str(limiter.rate.burst)
            headers["RateLimit-Remaining"] = str(verdict.remaining)
            headers["RateLimit-Reset"] = str(verdict.reset)
        await send(message)

    return headed
