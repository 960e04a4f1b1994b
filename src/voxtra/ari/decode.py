"""From the bytes of a websocket frame to a typed event; no frame can break the reader."""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from voxtra.ari.schema import EVENT_TYPES, AnyEvent, Event

__all__ = ["UnknownEvent", "decode"]

log = logging.getLogger(__name__)

_DECODER: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(AnyEvent)
_RAW: Final = msgspec.json.Decoder(dict[str, Any])

_announced: set[str] = set()


class UnknownEvent(Event, frozen=True, kw_only=True):
    """An event that could not be typed: newer than our schema, or not as the docs have it.

    `raw` is the whole event ({} when the frame was no JSON object), `problem` says why.
    """

    raw: dict[str, Any]
    problem: str

    @property
    def type(self) -> str:
        """The event's name on the wire."""
        return str(self.raw.get("type", ""))

    def keys(self) -> tuple[str, ...]:
        """Return the ids of its channel, bridge and playback and its recording's name."""
        found = []
        for name, key in _KEYED:
            resource = self.raw.get(name)
            if isinstance(resource, dict) and isinstance(resource.get(key), str):
                found.append(resource[key])
        return tuple(found)


_KEYED: Final = (("channel", "id"), ("bridge", "id"), ("playback", "id"), ("recording", "name"))


def decode(frame: bytes | str) -> Event:
    """Return the typed event of a frame, or an `UnknownEvent` with a line in the log."""
    try:
        return _DECODER.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _unknown(frame, str(error))


def _unknown(frame: bytes | str, problem: str) -> UnknownEvent:
    try:
        raw = _RAW.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError):
        log.error("a frame of %d bytes on the websocket is no event: %s", len(frame), problem)
        return UnknownEvent(raw={}, problem=problem)
    event = UnknownEvent(
        asterisk_id=str(raw.get("asterisk_id", "")),
        application=str(raw.get("application", "")),
        timestamp=str(raw.get("timestamp", "")),
        raw=raw,
        problem=problem,
    )
    if event.type in EVENT_TYPES:
        log.error("%s from Asterisk is not as its api-docs have it: %s", event.type, problem)
    elif event.type not in _announced:
        # Once per type: a newer Asterisk may send thousands of them.
        _announced.add(event.type)
        log.warning("Asterisk sends events of a type that the schema lacks: %r", event.type)
    return event
