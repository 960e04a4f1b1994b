"""The OpenAPI document of the site: what the routes say of themselves, and what all have in common.

Every operation says each status that it can answer with; every problem is shown with its code.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from voxtra.events import EventType
from voxtra.service.access import SCOPES
from voxtra.web.codes import PROBLEMS
from voxtra.web.problems import MEDIA_TYPE

__all__ = ["document", "query_names"]

_DESCRIPTION: Final = """\
Calls, conferences and their recordings on Asterisk.

Every answer that is an error is `application/problem+json` (RFC 9457) with a stable `code` and what
to do about it (`fix`). Lists are pages of at most 100; `next_page_token` is empty on the last one.
Times are ISO 8601 in UTC. An id of another tenant is not found. Unknown fields and query parameters
are refused.

POST takes an `Idempotency-Key`: the same request with the same key is carried out once within 24
hours, and its answer is repeated with `Idempotency-Replayed: true`.

Scopes:

"""

_SUCCESSES: Final = {"200": "Done.", "201": "Made.", "202": "Accepted.", "204": "Done."}

_WITH_BODY: Final = frozenset({"post", "put", "patch"})

_EVERYWHERE: Final = ("invalid_request", "internal_error", "store_unavailable")
_BEHIND_A_KEY: Final = ("unauthenticated", "forbidden", "too_many_requests", "too_many_failures")
_OF_A_BODY: Final = ("invalid_json", "body_too_large", "unsupported_media_type")
_OF_A_POST: Final = ("idempotency_mismatch", "idempotency_in_progress")

_HEADERS: Final = {
    "unauthenticated": ("WWW-Authenticate",),
    "forbidden": ("WWW-Authenticate",),
    "too_many_requests": ("Retry-After", "RateLimit-Limit", "RateLimit-Remaining"),
    "too_many_failures": ("Retry-After",),
    "store_unavailable": ("Retry-After",),
    "idempotency_in_progress": ("Retry-After",),
    "recording_not_ready": ("Retry-After",),
}

_PROBLEM: Final = {
    "type": "object",
    "description": "What went wrong (RFC 9457); some codes have further members.",
    "required": ["type", "title", "status", "detail", "code", "fix", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string", "description": "The same for every problem of a code."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What it is this time."},
        "code": {"type": "string", "enum": sorted(PROBLEMS)},
        "fix": {"type": "string", "description": "What to do."},
        "instance": {"type": "string", "description": "The path that was asked."},
        "request_id": {"type": "string", "description": "What the log lines of it have."},
        "field": {"type": "string", "description": "Which field is wrong, of `invalid_request`."},
        "errors": {
            "type": "array",
            "description": "Every field that is wrong, of `invalid_request`.",
            "items": {
                "type": "object",
                "required": ["field", "problem"],
                "properties": {"field": {"type": "string"}, "problem": {"type": "string"}},
            },
        },
        "missing_scope": {"type": "string", "description": "Of `forbidden`."},
        "recording_id": {"type": "string", "description": "Of `recording_active`."},
    },
}

_EVENT: Final = {
    "type": "object",
    "required": ["id", "type", "session_id", "timestamp", "data"],
    "properties": {
        "id": {"type": "string", "description": "Unique; the same in every try."},
        "type": {"type": "string", "enum": [event.value for event in EventType]},
        "session_id": {"type": "string", "description": "The call or conference it is about."},
        "timestamp": {"type": "string", "format": "date-time"},
        "data": {"type": "object", "additionalProperties": True},
    },
}

_EVENTS: Final = {
    EventType.CALL_STARTED: "Somebody calls, or we begin to dial.",
    EventType.CALL_RINGING: "An inbound call is not up yet, or the far end rings.",
    EventType.CALL_ANSWERED: "The call is up.",
    EventType.CALL_ENDED: "The call is over; `cause` is the Q.850 number.",
    EventType.CALL_FAILED: "A call of ours was not answered, or a caller was rejected.",
    EventType.CALL_TRANSFERRED: "The call is connected to somebody else.",
    EventType.DTMF_RECEIVED: "A key was pressed.",
    EventType.RECORDING_STARTED: "The PBX has really begun.",
    EventType.RECORDING_PAUSED: "The recording pauses.",
    EventType.RECORDING_RESUMED: "The recording goes on.",
    EventType.RECORDING_FINISHED: "The PBX has closed the file; it is brought home now.",
    EventType.RECORDING_FAILED: "There is no usable audio; `cause` says why.",
    EventType.RECORDING_AVAILABLE: "The audio is stored and verified: it can be downloaded.",
    EventType.RECORDING_DELETED: "Somebody deleted it, or its retention is over.",
    EventType.RECORDING_HELD: "A legal hold was placed.",
    EventType.RECORDING_RELEASED: "The legal hold was released.",
    EventType.CONFERENCE_STARTED: "The conference is there, empty.",
    EventType.CONFERENCE_JOINED: "A call is in the conference.",
    EventType.CONFERENCE_LEFT: "A call is in the conference no longer.",
    EventType.CONFERENCE_ENDED: "The conference was closed; everybody has left it.",
    EventType.EXPORT_AVAILABLE: "The archive of an export can be downloaded.",
    EventType.EXPORT_FAILED: "There is no archive; `cause` says why.",
    EventType.WEBHOOK_DISABLED: "The receiver answered 410: nothing more is sent to it.",
    EventType.DISK_LOW: "A disk has passed a watermark.",
    EventType.ERROR: "A handler raised; the call was ended.",
}
"""The events that are sent; those of planned features are left out."""


def document(title: str, version: str, routes: list[BaseRoute]) -> dict[str, Any]:
    """Return the document of routes."""
    scopes = "\n".join(f"- `{name}`: {meaning}" for name, meaning in SCOPES.items())
    made = get_openapi(
        title=title, version=version, description=_DESCRIPTION + scopes, routes=routes
    )
    for path in made["paths"].values():
        for method, operation in path.items():
            _complete(method, operation)
    schemas = made["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)  # the framework's own form of what is a problem here
    made["components"]["examples"] = {code: {"value": _example(code)} for code in PROBLEMS}
    schemas["Problem"] = _PROBLEM
    schemas["Event"] = _EVENT
    made["webhooks"] = {event.value: {"post": _webhook(event)} for event in _EVENTS}
    return made


def query_names(made: dict[str, Any]) -> dict[tuple[str, str], frozenset[str]]:
    """Return the query parameters that each method of each path takes."""
    return {
        (path, method.upper()): frozenset(
            each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"
        )
        for path, methods in made["paths"].items()
        for method, operation in methods.items()
    }


def _complete(method: str, operation: dict[str, Any]) -> None:
    """Add to an operation what all of its kind can answer."""
    responses = operation["responses"]
    responses.pop("422", None)
    codes = list(_EVERYWHERE)
    keyed = operation.get("security")
    if keyed:
        codes += _BEHIND_A_KEY
    if method in _WITH_BODY:
        codes += _OF_A_BODY
    if method == "post" and keyed:
        codes += _OF_A_POST
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    for response in responses.values():
        codes += response.pop("x-codes", ())
    by_status: dict[str, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(str(PROBLEMS[code].status), []).append(code)
    for status, found in by_status.items():
        told = responses.get(status, {})
        responses[status] = _problems(found)
        responses[status]["content"] |= told.get("content", {})
    for status, words in _SUCCESSES.items():
        if responses.get(status, {}).get("description") == "Successful Response":
            responses[status]["description"] = words
    operation["responses"] = dict(sorted(responses.items()))


def _problems(codes: list[str]) -> dict[str, Any]:
    headers = dict.fromkeys(name for code in codes for name in _HEADERS.get(code, ()))
    response: dict[str, Any] = {
        "description": "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes) + ".",
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }
    if headers:
        response["headers"] = {name: {"schema": {"type": "string"}} for name in headers}
    return response


def _example(code: str) -> dict[str, Any]:
    kind = PROBLEMS[code]
    return {
        "type": f"urn:voxtra:problem:{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.title,
        "code": code,
        "fix": kind.fix,
        "instance": "/v1.0",
        "request_id": "0199f3a2d1aa7b0c8f5e9a6b3c2d1e0f",
    }


_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Of your choice, for this request alone: sent again it is not done again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


def _webhook(event: EventType) -> dict[str, Any]:
    headers = {
        "webhook-id": "The id of the event: a repetition has the same.",
        "webhook-timestamp": "Unix time of this try in seconds.",
        "webhook-signature": "Standard Webhooks: `v1,` and base64, one for each live secret.",
        "X-Voxtra-Signature": "HMAC-SHA256 of the body in hex.",
    }
    return {
        "summary": event.value,
        "description": _EVENTS[event],
        "parameters": [
            {"name": name, "in": "header", "description": words, "schema": {"type": "string"}}
            for name, words in headers.items()
        ],
        "requestBody": {
            "content": {
                "application/json": {
                    "schema": {
                        "allOf": [
                            {"$ref": "#/components/schemas/Event"},
                            {"properties": {"type": {"const": event.value}}},
                        ]
                    },
                    "example": {
                        "id": "0199f3a2d1aa7b0c8f5e9a6b3c2d1e0f",
                        "type": event.value,
                        "session_id": "0199f3a2c4cf7d0a8c1f0b9e2d4a6c88",
                        "timestamp": "2026-03-02T09:15:00.214000Z",
                        "data": {},
                    },
                }
            }
        },
        "responses": {
            "2XX": {"description": "Delivered; anything else is tried again, for three days."},
            "410": {"description": "Nothing more is sent to this endpoint."},
        },
    }
