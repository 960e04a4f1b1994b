"""Every problem that an answer can have: its stable code, its status, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["PROBLEMS", "Kind"]


class Kind(NamedTuple):
    """What all problems of one code have in common; `fix` says what to do, in plain words."""

    status: int
    title: str
    fix: str


PROBLEMS: Final[Mapping[str, Kind]] = {
    # the request
    "invalid_request": Kind(
        400, "The request is not valid", "Correct the field that is named, and send it again."
    ),
    "invalid_json": Kind(
        400, "The body is not JSON", "Send one JSON object in UTF-8, as the reference shows it."
    ),
    "unsupported_media_type": Kind(
        415, "The body is no JSON", "Send the header Content-Type: application/json."
    ),
    "body_too_large": Kind(
        413, "The body is too large", "Send at most 1 MiB; split a long list into several requests."
    ),
    "route_not_found": Kind(
        404,
        "There is no such address",
        "Compare the path with the reference: it begins with /v1.0.",
    ),
    "method_not_allowed": Kind(
        405, "The address has no such method", "Use one of the methods in the Allow header."
    ),
    "not_acceptable": Kind(
        406, "The answer has no such form", "Ask for one of the forms that the detail names."
    ),
    "range_not_satisfiable": Kind(
        416, "The range is outside the file", "Ask for bytes below the size in Content-Range."
    ),
    # who asks, and how often
    "unauthenticated": Kind(
        401,
        "The request has no valid key",
        "Send Authorization: Bearer KEY (or ?token=KEY) with a key that is neither revoked nor "
        "expired.",
    ),
    "forbidden": Kind(
        403, "The key may not do this", "Use a key that has the scope in missing_scope."
    ),
    "too_many_requests": Kind(
        429, "Too many requests with this key", "Wait as many seconds as Retry-After says."
    ),
    "too_many_failures": Kind(
        429,
        "Too many wrong keys from this address",
        "Correct the key; wait as many seconds as Retry-After says.",
    ),
    "too_many_streams": Kind(
        429, "Too many event streams with this key", "Close one of the open streams first."
    ),
    "idempotency_mismatch": Kind(
        422,
        "The Idempotency-Key belongs to another request",
        "Use a new key for a new request; repeat a request exactly, with its key.",
    ),
    "idempotency_in_progress": Kind(
        409,
        "The request with this Idempotency-Key is being carried out",
        "Send it again, with the same key, after the seconds in Retry-After.",
    ),
    "answer_not_kept": Kind(
        409,
        "The request was carried out; its answer held a secret and was not kept",
        "Look at the thing that location names; if its secret is lost, make another one.",
    ),
    # things that are not there
    "call_not_found": Kind(404, "There is no such call", "Check the id: GET /v1.0/calls."),
    "conference_not_found": Kind(
        404, "There is no such conference", "Check the id: GET /v1.0/conferences."
    ),
    "recording_not_found": Kind(
        404, "There is no such recording", "Check the id: GET /v1.0/recordings."
    ),
    "peaks_not_found": Kind(
        404,
        "The recording has no peaks",
        "Draw them from the audio: GET /v1.0/recordings/{id}/file.",
    ),
    "export_not_found": Kind(
        404, "There is no such export", "Check the id: GET /v1.0/recordings/exports."
    ),
    "webhook_endpoint_not_found": Kind(
        404, "There is no such webhook endpoint", "Check the id: GET /v1.0/webhooks."
    ),
    "delivery_not_found": Kind(
        404, "There is no such delivery", "Check the id: GET /v1.0/deliveries."
    ),
    "key_not_found": Kind(404, "There is no such key", "Check the id: GET /v1.0/keys."),
    # calls, conferences and their recordings
    "conference_empty": Kind(
        409,
        "Nobody is in the conference",
        "Add a participant first: a recording of nobody would end by itself.",
    ),
    "call_not_active": Kind(
        409,
        "The call is not up",
        "Do it while the call is up: after call.answered and before call.ended.",
    ),
    "conference_not_active": Kind(
        409, "The conference is over", "Make a new conference; this one can't be used again."
    ),
    "recording_active": Kind(
        409,
        "It is being recorded already",
        "Go on with the recording in recording_id, or stop it before starting another.",
    ),
    "recording_not_active": Kind(
        409, "It is not being recorded", "Start a recording first; one that is over can't change."
    ),
    "recording_not_started": Kind(
        502,
        "The recording did not start",
        "The cause says what the PBX refused; correct that and start again.",
    ),
    "recording_not_ready": Kind(
        404,
        "The recording has no file yet",
        "Wait for the state available (webhook recording.available), or ask again after the "
        "seconds in Retry-After.",
    ),
    "recording_failed": Kind(
        404, "The recording holds no audio", "The cause says why; there is no file to wait for."
    ),
    "recording_expired": Kind(
        410,
        "The recording's retention is over",
        "The audio is deleted; keep the next ones longer: GET /v1.0/retention.",
    ),
    "recording_deleted": Kind(
        410, "The recording was deleted", "The audio is gone; the tombstone says who and why."
    ),
    "recording_held": Kind(
        409,
        "The recording is under legal hold",
        "Release the hold first: POST /v1.0/recordings/{id}/release.",
    ),
    "recording_not_held": Kind(409, "The recording is not held", "There is no hold to release."),
    "export_not_ready": Kind(
        404,
        "The export is not finished",
        "Wait for the state available, or ask again after the seconds in Retry-After.",
    ),
    "export_failed": Kind(
        404, "The export failed", "The cause says why; ask for a new export afterwards."
    ),
    "export_expired": Kind(410, "The export's time is over", "Ask for a new export."),
    "principal_exists": Kind(
        409,
        "The principal has another role",
        "Name another principal, or use the role that it has.",
    ),
    # the parts that the service needs
    "not_supported": Kind(
        501, "The PBX can't do this", "Use a telephony adapter that implements it."
    ),
    "pbx_refused": Kind(
        502, "The PBX refused", "The detail has its answer; correct that and try again."
    ),
    "pbx_unreachable": Kind(
        503, "The PBX can't be reached", "Try again after the seconds in Retry-After."
    ),
    "pbx_timeout": Kind(
        504,
        "The PBX did not answer in time",
        "Whether it took effect is unknown: get the thing again before repeating.",
    ),
    "node_unreachable": Kind(
        503,
        "The process that has the call does not answer",
        "Whether it took effect is unknown: get the thing again before repeating.",
    ),
    "store_unavailable": Kind(
        503,
        "The database can't be used at the moment",
        "Try again after the seconds in Retry-After.",
    ),
    "blob_unavailable": Kind(
        503,
        "The stored audio can't be read at the moment",
        "Try again after the seconds in Retry-After.",
    ),
    "disk_full": Kind(
        507, "The disk is nearly full", "Free some space or enlarge the disk; the cause names it."
    ),
    "too_much_work": Kind(
        503, "The answer would take too long", "Narrow the request: a shorter time range."
    ),
    "internal_error": Kind(
        500, "The service failed", "Tell the operator the request_id: the log has the cause."
    ),
}
