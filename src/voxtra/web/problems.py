"""Errors as they travel: `application/problem+json` (RFC 9457) with a stable code and what to do.

A handler raises `Problem`, or lets an error of the layers below escape: `problem_of` finds what it
is by its type, the nearest base first. What nobody foresaw is `internal_error`, whose body says
nothing but the request's id; the log has the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from asyncpg import PostgresError
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from voxtra import exceptions as errors
from voxtra.blobs.base import BlobError
from voxtra.exceptions import VoxtraError
from voxtra.store.access import PrincipalExists
from voxtra.store.idempotency import InProgress, Mismatch
from voxtra.web.codes import PROBLEMS

__all__ = ["HANDLED", "PROBLEMS", "Problem", "answer", "handle", "problem_of", "problems"]

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

_BY_STATUS: Final = {
    404: "route_not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    401: "unauthenticated",
    403: "forbidden",
    406: "not_acceptable",
}
"""Of what the web framework itself raises; its other statuses below 500 are `invalid_request`."""


class Problem(VoxtraError):
    """One problem of a known code; `members` are added to its body, `headers` to its answer."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        self.code = code
        self.kind = PROBLEMS[code]
        self.detail = detail or self.kind.title
        self.headers = dict(headers or {})
        self.members = members
        super().__init__(f"{code}: {self.detail}")


def problem_of(error: Exception) -> Problem:
    """Return the problem that an error is, by its type or the nearest base of it that is known."""
    if isinstance(error, Problem):
        return error
    for kind in type(error).__mro__:
        made = _TRANSLATIONS.get(kind)
        if made is not None:
            return made(error)
    return Problem("internal_error", "Something failed that should not fail.")


def answer(problem: Problem, scope: Scope) -> Response:
    """Return the response of a problem; `scope` is that of its request."""
    body = {
        "type": f"urn:voxtra:problem:{problem.code}",
        "title": problem.kind.title,
        "status": problem.kind.status,
        "detail": problem.detail,
        "code": problem.code,
        "fix": problem.kind.fix,
        "instance": scope["path"],
        "request_id": scope.get("state", {}).get("request_id", ""),
        **problem.members,
    }
    return Response(
        msgspec.json.encode(body),
        status_code=problem.kind.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


async def handle(request: Request, error: Exception) -> Response:
    """Answer an error that escaped from a handler."""
    problem = problem_of(error)
    where = request.method, request.scope["path"]
    if problem.code == "internal_error":
        log.error("%s %s failed", *where, exc_info=error)
    elif problem.kind.status >= 500:
        log.warning("%s %s: %s: %s", *where, problem.code, error)
    return answer(problem, request.scope)


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route: the problems that it has besides those of every route."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = PROBLEMS[code]
        entry = found.setdefault(kind.status, {"description": "", "x-codes": []})
        entry["x-codes"].append(code)
        entry["description"] = "; ".join(f"`{each}`" for each in entry["x-codes"])
    return found


def _validation(error: RequestValidationError) -> Problem:
    """Say of every wrong field where it is and what is wrong, without repeating its value."""
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return Problem("invalid_json", f"The body is not JSON: {found[0]['ctx']['error']}.")
    faults = [{"field": _field(each["loc"]), "problem": _sentence(each)} for each in _merged(found)]
    first = faults[0]
    detail = f"{first['field']}: {first['problem']}" if first["field"] else first["problem"]
    return Problem("invalid_request", detail, field=first["field"], errors=faults)


def _merged(found: Sequence[Any]) -> Iterable[Any]:
    """Leave one fault of each place: a union reports every one of its branches."""
    return {tuple(each["loc"]): each for each in reversed(found)}.values().__reversed__()


def _field(location: Sequence[str | int]) -> str:
    """Return where a fault is: `body.tags[2]` is `tags[2]`, `query.page_size` is `page_size`."""
    inner = location[1:] if location and location[0] in _PLACES else location
    text = ""
    for part in inner:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or ("body" if location and location[0] == "body" else "")


_PLACES: Final = frozenset({"body", "query", "path", "header", "cookie"})


def _sentence(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "Unknown field; remove it or correct its name."
    if fault["type"] == "missing":
        return "Is required."
    text = str(fault["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{text}."


def _http(error: HTTPException) -> Problem:
    code = _BY_STATUS.get(error.status_code, "invalid_request")
    if error.status_code >= 500:
        code = "internal_error"
    if code == "invalid_request" and error.status_code == 400:
        code = "invalid_json"  # the framework's only own 400: a body that can't be parsed
    return Problem(code, headers=error.headers)


def _configuration(error: errors.ConfigurationError) -> Problem:
    return Problem("invalid_request", str(error), field=error.field)


def _recording_active(error: errors.RecordingActive) -> Problem:
    return Problem("recording_active", str(error), recording_id=error.recording_id)


def _not_ready(error: errors.RecordingNotReady) -> Problem:
    retry = {"Retry-After": "2"}
    return Problem("recording_not_ready", str(error), headers=retry, state=error.state)


def _soon(code: str, seconds: int) -> Callable[[Any], Problem]:
    def make(error: Exception) -> Problem:
        # The text of a lower layer may hold addresses and statements: the log has it.
        return Problem(code, headers={"Retry-After": str(seconds)})

    return make


def _plain(code: str) -> Callable[[Any], Problem]:
    return lambda error: Problem(code)


def _said(code: str) -> Callable[[Any], Problem]:
    def make(error: Exception) -> Problem:
        return Problem(code, str(error))

    return make


_TRANSLATIONS: Final[dict[type, Callable[[Any], Problem]]] = {
    RequestValidationError: _validation,
    HTTPException: _http,
    errors.ConfigurationError: _configuration,
    errors.CallEnded: _said("call_not_active"),
    errors.CallNotAnswered: _said("call_not_active"),
    errors.ConferenceEmpty: _said("conference_empty"),
    errors.DialFailed: _said("pbx_refused"),
    errors.PlaybackFailed: _said("pbx_refused"),
    errors.RecordingActive: _recording_active,
    errors.RecordingEnded: _said("recording_not_active"),
    errors.RecordingFailed: _said("recording_not_started"),
    errors.InvalidRecordingName: _said("invalid_request"),
    errors.RecordingNotActive: _said("recording_not_active"),
    errors.RecordingNotReady: _not_ready,
    errors.RecordingHeld: _said("recording_held"),
    errors.RecordingExpired: _said("recording_deleted"),
    errors.UnknownRecording: _said("recording_not_found"),
    errors.UnknownCall: _said("call_not_found"),
    errors.UnknownConference: _said("conference_not_found"),
    errors.NodeUnreachable: _soon("node_unreachable", 5),
    errors.NotSupported: _said("not_supported"),
    errors.RequestTimeout: _soon("pbx_timeout", 5),
    errors.TelephonyConnectionError: _soon("pbx_unreachable", 5),
    errors.TelephonyError: _said("pbx_refused"),
    Mismatch: _plain("idempotency_mismatch"),
    InProgress: _soon("idempotency_in_progress", 1),
    PrincipalExists: _said("principal_exists"),
    OperationalError: _soon("store_unavailable", 5),
    InterfaceError: _soon("store_unavailable", 5),
    PoolTimeout: _soon("store_unavailable", 5),
    # what asyncpg raises while it connects reaches us as it is
    ConnectionError: _soon("store_unavailable", 5),
    PostgresError: _soon("store_unavailable", 5),
    BlobError: _soon("blob_unavailable", 5),
}

HANDLED: Final = (*_TRANSLATIONS, VoxtraError, SQLAlchemyError)
"""The errors that are answered where they come out of a handler."""
