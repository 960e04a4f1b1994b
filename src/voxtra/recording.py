"""What happens after a recording has ended: sinks.

A sink is told once about each recording. It has a deadline, and nothing it does (raise, hang, be
cancelled) reaches the call, the recorder or another sink: `deliver` sees to that.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import logging
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from voxtra.exceptions import ConfigurationError
from voxtra.posting import Poster, encode_json

if TYPE_CHECKING:
    import aiohttp

__all__ = [
    "SINK_OUTCOMES",
    "CompositeSink",
    "LocalFileSink",
    "RecordingMetadata",
    "RecordingSink",
    "SinkOutcome",
    "WebhookSink",
    "deliver",
]

log = logging.getLogger(__name__)

DEFAULT_DEADLINE: Final = 300.0
"""Seconds for a sink that names no `deadline_seconds`: enough to upload a long recording."""

CANCEL_GRACE: Final = 1.0
"""Seconds that a cancelled sink has to let go before it is left to itself."""


@dataclass(frozen=True, slots=True)
class RecordingMetadata:
    """What is known about a recording that has ended.

    `session_id` is the call's id; `file_path` is where the file is, as seen by Asterisk;
    `extra` holds JSON values: recording id, times, why it ended, size, hash, layout.
    """

    session_id: str
    name: str
    file_path: str = ""
    duration_seconds: float | None = None
    format: str = "wav"
    extra: dict[str, Any] = field(default_factory=dict)


class SinkOutcome(StrEnum):
    """How telling a sink went. `cancelled`: the sink cancelled itself."""

    DELIVERED = "delivered"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


SINK_OUTCOMES: Final[Counter[tuple[str, SinkOutcome]]] = Counter()
"""How often each outcome happened in this process, by the sink's type."""


class _Sink(Protocol):
    """What is asked of a sink: a class of any ancestry will do."""

    async def on_recording_complete(self, metadata: RecordingMetadata, /) -> bool | None: ...


class RecordingSink(ABC):
    """Base of all sinks.

    `deadline_seconds` is the time one notification may take; set it on the class or the object.
    """

    deadline_seconds: float = DEFAULT_DEADLINE

    @abstractmethod
    async def on_recording_complete(self, metadata: RecordingMetadata) -> bool | None:
        """Take note that a recording has ended.

        Return False for a failure that is logged already; None and True both mean delivered.
        """

    async def aclose(self) -> None:  # noqa: B027  # most sinks hold nothing to let go of
        """Let go of connections. The sink stays usable."""


class LocalFileSink(RecordingSink):
    """Leaves the file where Asterisk wrote it and logs a debug line.

    `base_dir` is what the line names where the metadata does not know the path.
    """

    def __init__(self, base_dir: str = "/var/spool/asterisk/recording") -> None:
        self.base_dir = base_dir

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Log where the recording is."""
        path = metadata.file_path or f"{self.base_dir}/{metadata.name}.{metadata.format}"
        log.debug("recording %s of call %s is at %s", metadata.name, metadata.session_id, path)


class WebhookSink(RecordingSink):
    """Posts the metadata as JSON, signed as `voxtra.signing` says.

    Tried `1 + max_retries` times, `timeout_seconds` each, the first pause `retry_backoff` seconds;
    `webhook-id` is the same for every try and every process that tells of one recording. An empty
    `url` is a no-op with one warning. A client that is given stays its owner's.
    """

    def __init__(
        self,
        url: str,
        *,
        signing_secret: str = "",
        timeout_seconds: float = 10.0,
        max_retries: int = 5,
        retry_backoff: float = 1.0,
        http_client: aiohttp.ClientSession | None = None,
    ) -> None:
        self._poster: Poster | None = None
        self._warned = False
        if url:
            self._poster = Poster(
                url,
                signing_secret=signing_secret,
                timeout_seconds=timeout_seconds,
                max_retries=max_retries,
                retry_backoff=retry_backoff,
                http_client=http_client,
            )
            # a second more, so that the sink itself has the last word on why it failed
            self.deadline_seconds = self._poster.longest_seconds + 1

    async def on_recording_complete(self, metadata: RecordingMetadata) -> bool | None:
        """Post; False, and a log line, when the receiver could not be told."""
        if self._poster is None:
            if not self._warned:
                self._warned = True
                log.warning("WebhookSink has an empty url: nobody is told about recordings")
            return None
        body = encode_json({f.name: getattr(metadata, f.name) for f in fields(metadata)})
        posted = await self._poster.post(body, message_id=_message_id(metadata))
        if not posted.delivered:
            log.error(
                "recording %s: %s was not told in %d tries: %s",
                metadata.name,
                self._poster.where,
                posted.attempts,
                posted.problem,
            )
        return posted.delivered

    async def aclose(self) -> None:
        """Close the HTTP client; a later recording opens a new one."""
        if self._poster is not None:
            await self._poster.aclose()


class CompositeSink(RecordingSink):
    """Tells several sinks at the same time, each with its own deadline and its own metadata."""

    def __init__(self, *sinks: _Sink) -> None:
        for sink in sinks:
            if not callable(getattr(sink, "on_recording_complete", None)):
                raise ConfigurationError(f"{sink!r} has no on_recording_complete", field="sinks")
        self.sinks = list(sinks)
        # theirs first: this one only bounds what comes on top of them
        limits = [_deadline_of(sink) for sink in sinks]
        self.deadline_seconds = max(limits, default=0.0) + 2 * CANCEL_GRACE

    async def on_recording_complete(self, metadata: RecordingMetadata) -> bool:
        """Tell all; False when one of them could not be told (it is logged by then)."""
        outcomes = await asyncio.gather(
            *(
                deliver(sink, replace(metadata, extra=copy.deepcopy(metadata.extra)))
                for sink in self.sinks
            )
        )
        return all(outcome is SinkOutcome.DELIVERED for outcome in outcomes)

    async def aclose(self) -> None:
        """Close those of the sinks that can be closed."""
        for problem in await asyncio.gather(*map(_close, self.sinks), return_exceptions=True):
            if isinstance(problem, BaseException):
                log.error("closing a sink failed", exc_info=problem)


async def deliver(
    sink: _Sink, metadata: RecordingMetadata, *, deadline: float | None = None
) -> SinkOutcome:
    """Tell one sink, for at most `deadline` seconds (default: what the sink asks for).

    Whatever goes wrong is logged with the recording's name, counted in `SINK_OUTCOMES` and
    returned. Raises nothing but the caller's own cancellation, which the sink receives too.
    """
    name, kind = metadata.name, type(sink).__name__
    limit = _deadline_of(sink) if deadline is None else deadline
    # a task of its own: a sink that cancels itself must not look like our caller being cancelled
    task = asyncio.create_task(_tell(sink, metadata), name=f"{kind} {name}")
    try:
        await asyncio.wait({task}, timeout=limit)
    except asyncio.CancelledError:
        log.warning("recording %s: %s was interrupted and may not know of it", name, kind)
        await _end(task)
        raise
    if not task.done():
        log.error("recording %s: %s did not finish in %g s", name, kind, limit)
        await _end(task)
        outcome = SinkOutcome.TIMED_OUT
    elif task.cancelled():
        log.error("recording %s: %s cancelled itself", name, kind)
        outcome = SinkOutcome.CANCELLED
    elif (problem := task.exception()) is not None:
        log.error("recording %s: %s failed", name, kind, exc_info=problem)
        outcome = SinkOutcome.FAILED
    else:
        outcome = SinkOutcome.FAILED if task.result() is False else SinkOutcome.DELIVERED
    SINK_OUTCOMES[kind, outcome] += 1
    return outcome


_left_behind: set[asyncio.Task[bool | None]] = set()
"""Sinks that ignore their cancellation, kept so that they are not collected while they run."""


async def _tell(sink: _Sink, metadata: RecordingMetadata) -> bool | None:
    return await sink.on_recording_complete(metadata)


async def _close(sink: _Sink) -> None:
    close = getattr(sink, "aclose", None)
    if close is not None:
        await close()


async def _end(task: asyncio.Task[bool | None]) -> None:
    task.cancel()
    _left_behind.add(task)
    task.add_done_callback(_forget)
    await asyncio.wait({task}, timeout=CANCEL_GRACE)
    if not task.done():
        log.warning("%s ignores its cancellation and is left to itself", task.get_name())


def _forget(task: asyncio.Task[bool | None]) -> None:
    _left_behind.discard(task)
    if not task.cancelled() and (problem := task.exception()) is not None:
        log.debug("%s failed after its time was over", task.get_name(), exc_info=problem)


def _deadline_of(sink: _Sink) -> float:
    wanted = getattr(sink, "deadline_seconds", None)
    return float(wanted) if isinstance(wanted, int | float) else DEFAULT_DEADLINE


def _message_id(metadata: RecordingMetadata) -> str:
    """Return what tells this recording from any other: its id, else a digest of call and name."""
    recording_id = metadata.extra.get("recording_id")
    if isinstance(recording_id, str) and recording_id:
        return recording_id
    both = encode_json([metadata.session_id, metadata.name])
    return hashlib.sha256(both).hexdigest()[:32]
