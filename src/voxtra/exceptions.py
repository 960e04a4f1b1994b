"""Every error Voxtra raises, as one tree.

* `VoxtraError`

  * `ConfigurationError`: a value given by the user is wrong; names the field and the fix
  * `RouteNotFoundError`: no handler wants this call
  * `TelephonyError`: the PBX said no, or said nothing

    * `TelephonyConnectionError`: unreachable; retried by whoever owns the connection

      * `AuthenticationFailed`: the PBX refused our credentials; never retried
      * `RequestTimeout`: one request had no answer in its deadline; the request may have worked

    * `NotSupported`: this telephony adapter has no such verb
    * `AriError`: an HTTP status of ARI, with what was asked

      * `BadRequest` (400, 422), `Forbidden` (403), `NotFound` (404), `Conflict` (409),
        `ServerError` (5xx)

  * `CallError`

    * `CallEnded`: the verb needs a call that is gone
    * `CallNotAnswered`: the verb needs a call that is up, and this one still rings
    * `DialFailed`: the far end did not answer, with disposition and cause
    * `PlaybackFailed`: the PBX could not play the media

  * `RecordingError`

    * `RecordingActive`: the target is being recorded already
    * `RecordingEnded`: nothing about it can be changed any more
    * `RecordingFailed`: it did not start, or there is nothing in it
    * `InvalidRecordingName`: refused before it reached the PBX
    * `ConferenceEmpty`: there is nobody in it whom a recording could be of
    * `RecordingNotActive`: there is no active recording to stop or change
    * `RecordingNotReady`: its file is not there yet
    * `RecordingHeld`: a legal hold forbids it
    * `RecordingExpired`: it was deleted, at the end of its retention or by somebody

  * `UnknownCall`, `UnknownConference`, `UnknownRecording`: there is none of this id
  * `NodeUnreachable`: the process that has the call does not answer

Errors carry data as attributes; the text is for people and says what to do.
"""

from __future__ import annotations

__all__ = [
    "AriError",
    "AuthenticationFailed",
    "BadRequest",
    "CallEnded",
    "CallError",
    "CallNotAnswered",
    "ConferenceEmpty",
    "ConfigurationError",
    "Conflict",
    "DialFailed",
    "Forbidden",
    "InvalidRecordingName",
    "NodeUnreachable",
    "NotFound",
    "NotSupported",
    "PlaybackFailed",
    "RecordingActive",
    "RecordingEnded",
    "RecordingError",
    "RecordingExpired",
    "RecordingFailed",
    "RecordingHeld",
    "RecordingNotActive",
    "RecordingNotReady",
    "RequestTimeout",
    "RouteNotFoundError",
    "ServerError",
    "TelephonyConnectionError",
    "TelephonyError",
    "UnknownCall",
    "UnknownConference",
    "UnknownRecording",
    "VoxtraError",
]


class VoxtraError(Exception):
    """Base of all errors raised by Voxtra."""


class ConfigurationError(VoxtraError):
    """A setting is wrong.

    `field` is the dotted path of the setting (empty if it is not about one), `fix` what to write
    instead.
    """

    def __init__(self, problem: str, *, field: str = "", fix: str = "") -> None:
        self.problem = problem
        self.field = field
        self.fix = fix
        head = f"{field}: {problem}" if field else problem
        super().__init__(f"{head}. {fix}" if fix else head)


class RouteNotFoundError(VoxtraError):
    """No dispatch rule, route or default handler matches the call."""


class TelephonyError(VoxtraError):
    """The PBX refused, failed or did not answer."""


class TelephonyConnectionError(TelephonyError):
    """The PBX can't be reached. Retryable."""


class AuthenticationFailed(TelephonyConnectionError):
    """The PBX refused the user or the password (HTTP 401). Fatal until they are corrected."""


class RequestTimeout(TelephonyConnectionError):
    """A request had no answer within its deadline. Whether it took effect is unknown."""


class NotSupported(TelephonyError):
    """The telephony adapter in use can't do this."""

    def __init__(self, adapter: str, verb: str) -> None:
        self.adapter = adapter
        self.verb = verb
        super().__init__(f"{adapter} has no {verb}(); use an adapter that implements it")


class AriError(TelephonyError):
    """ARI answered with an error status."""

    def __init__(self, status: int, method: str, path: str, message: str = "") -> None:
        self.status = status
        self.method = method
        self.path = path
        self.message = message
        super().__init__(f"{method} {path}: {status} {message}".rstrip())


class BadRequest(AriError):
    """400 or 422: ARI does not accept a parameter."""


class Forbidden(AriError):
    """403: the ARI user is read-only, or the path is outside the recording folder."""


class NotFound(AriError):
    """404: the channel, bridge, playback, recording or application is not there (any more)."""


class Conflict(AriError):
    """409: the resource is not in a state that allows it."""


class ServerError(AriError):
    """5xx: Asterisk failed, or could not allocate what was asked."""


class CallError(VoxtraError):
    """Something about one call."""


class CallEnded(CallError):
    """The call is gone, so the verb can't be carried out.

    A handler may let this escape: it then ends normally.
    """

    def __init__(self, call_id: str, cause: str = "") -> None:
        self.call_id = call_id
        self.cause = cause
        super().__init__(f"call {call_id} has ended" + (f" ({cause})" if cause else ""))


class CallNotAnswered(CallError):
    """The call still rings, so the verb can't be carried out yet."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        super().__init__(f"call {call_id} has not been answered yet; try again when it has")


class DialFailed(CallError):
    """The far end did not answer.

    `disposition` is one of `voxtra.model.Disposition`, `cause` the Q.850 number (0 when unknown).
    """

    def __init__(self, endpoint: str, disposition: str, cause: int = 0) -> None:
        self.endpoint = endpoint
        self.disposition = disposition
        self.cause = cause
        tail = f" (Q.850 cause {cause})" if cause else ""
        super().__init__(f"{endpoint}: {disposition}{tail}")


class PlaybackFailed(CallError):
    """The PBX could not play the media: most often the sound does not exist on it."""

    def __init__(self, media: str, reason: str = "") -> None:
        self.media = media
        self.reason = reason
        super().__init__(f"could not play {media}" + (f": {reason}" if reason else ""))


class RecordingError(VoxtraError):
    """Something about one recording."""


class RecordingActive(RecordingError):
    """The target is already being recorded; `name` is the active recording's name, `recording_id`
    its id.
    """

    def __init__(self, name: str, recording_id: str = "") -> None:
        self.name = name
        self.recording_id = recording_id
        super().__init__(f"already recording as {name}; stop it before starting another")


class RecordingEnded(RecordingError):
    """The recording is over (`state` is available or failed), so it can't be stopped or changed."""

    def __init__(self, name: str, state: str) -> None:
        self.name = name
        self.state = state
        super().__init__(f"recording {name} is {state} and can't be changed any more")


class RecordingFailed(RecordingError):
    """The recording did not start or holds nothing; `cause` says why in plain words."""

    def __init__(self, name: str, cause: str) -> None:
        self.name = name
        self.cause = cause
        super().__init__(f"recording {name} failed: {cause}")


class InvalidRecordingName(RecordingError, ValueError):
    """The name would leave the recording folder or can't be a file name."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"recording name {name!r}: {reason}")


class ConferenceEmpty(RecordingError):
    """Nobody is in the conference: Asterisk would end its recording after four seconds."""

    def __init__(self, conference_id: str) -> None:
        self.conference_id = conference_id
        super().__init__(f"nobody is in conference {conference_id}; add a participant first")


class RecordingNotActive(RecordingError):
    """Nothing is recorded on the call or conference `holder_id`."""

    def __init__(self, holder_id: str) -> None:
        self.holder_id = holder_id
        super().__init__(f"nothing is recorded on {holder_id}; start a recording first")


class RecordingNotReady(RecordingError):
    """The file is not there yet; `state` says how far the recording is."""

    def __init__(self, recording_id: str, state: str) -> None:
        self.recording_id = recording_id
        self.state = state
        super().__init__(f"recording {recording_id} is {state}; its file comes with `available`")


class RecordingHeld(RecordingError):
    """A legal hold forbids what was asked; `reason` is the hold's."""

    def __init__(self, recording_id: str, reason: str = "") -> None:
        self.recording_id = recording_id
        self.reason = reason
        why = f" ({reason})" if reason else ""
        super().__init__(f"recording {recording_id} is held{why}; release the hold first")


class RecordingExpired(RecordingError):
    """The recording was deleted; its tombstone says when, by whom and why."""

    def __init__(self, recording_id: str, reason: str = "") -> None:
        self.recording_id = recording_id
        self.reason = reason
        why = f": {reason}" if reason else ""
        super().__init__(f"recording {recording_id} was deleted{why}")


class UnknownRecording(VoxtraError):
    """There is no recording of this id, or none that the asker may know of."""

    def __init__(self, recording_id: str) -> None:
        self.recording_id = recording_id
        super().__init__(f"there is no recording {recording_id}")


class UnknownCall(VoxtraError):
    """There is no call of this id, or none that the asker may know of."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        super().__init__(f"there is no call {call_id}")


class UnknownConference(VoxtraError):
    """There is no conference of this id, or none that the asker may know of."""

    def __init__(self, conference_id: str) -> None:
        self.conference_id = conference_id
        super().__init__(f"there is no conference {conference_id}")


class NodeUnreachable(VoxtraError):
    """The process that has the call did not carry out what was asked."""

    def __init__(self, node: str, problem: str) -> None:
        self.node = node
        super().__init__(f"the process {node!r}, which has the call, {problem}")
