"""The call plane of ARI: which channels are callers, and what their events mean in the domain.

The adapter feeds typed ARI events in order; `CallPlane` keeps the little that has to be remembered
per channel (is it up, why is it ending) and returns domain events. It does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from voxtra.ari import schema
from voxtra.events import EventType, VoxtraEvent
from voxtra.ids import is_own
from voxtra.telephony.causes import cause_text

__all__ = ["CallPlane", "is_helper"]

_HELPERS: Final = (
    "Snoop/",
    "Recorder/",
    "Announcer/",
    "UnicastRTP/",
    "MulticastRTP/",
    "WebSocket/",
    "AudioSocket/",
    "Local/_attended@transfer",
)
"""Channels that Asterisk or we make for media or to link bridges; they enter Stasis, and none is
somebody calling.
"""


def is_helper(channel: schema.Channel) -> bool:
    """Tell whether a channel carries media for us instead of a caller."""
    return channel.name.startswith(_HELPERS)


class _Leg:
    """What is remembered of one channel."""

    __slots__ = ("cause", "up")

    def __init__(self, *, up: bool) -> None:
        self.up = up
        self.cause = 0


class CallPlane:
    """Knows the legs in our Stasis application and turns their ARI events into domain events."""

    def __init__(self) -> None:
        self._legs: dict[str, _Leg] = {}

    def __contains__(self, channel_id: str) -> bool:
        return channel_id in self._legs

    def ids(self) -> set[str]:
        """Return the ids of all legs known now."""
        return set(self._legs)

    def expect(self, channel_id: str) -> None:
        """Take a channel that we are about to dial as a leg of ours."""
        self._legs[channel_id] = _Leg(up=False)

    def forget(self, channel_id: str) -> None:
        """Drop a leg that never came to be."""
        self._legs.pop(channel_id, None)

    def is_up(self, channel_id: str) -> bool:
        """Tell whether a leg has been answered."""
        leg = self._legs.get(channel_id)
        return leg is not None and leg.up

    def entered(self, channel: schema.Channel, replaces: str = "") -> Iterator[VoxtraEvent]:
        """A channel is in our application: a caller, a leg that we dialled, or one that takes
        another's place.
        """
        leg = self._legs.get(channel.id)
        if leg is not None:
            yield from self.answered(channel.id)
            return
        if is_own(channel.id) or is_helper(channel):
            return
        up = channel.state == "Up"
        self._legs[channel.id] = _Leg(up=up)
        if replaces:
            yield VoxtraEvent(
                EventType.CALL_TRANSFERRED,
                replaces,
                {"replaced_by": channel.id, "channel": channel.name},
            )
            return
        yield VoxtraEvent(
            EventType.CALL_STARTED,
            channel.id,
            {
                "caller_id": channel.caller.number,
                "caller_name": channel.caller.name,
                "called_number": channel.dialplan.exten,
                "direction": "inbound",
                "channel": channel.name,
            },
        )
        yield VoxtraEvent(EventType.CALL_ANSWERED if up else EventType.CALL_RINGING, channel.id)

    def state_changed(self, channel: schema.Channel) -> Iterator[VoxtraEvent]:
        """A channel began to ring, or came up."""
        if channel.state == "Up":
            # A dialled channel comes up a moment before it enters Stasis; it is usable from its
            # StasisStart on.
            if not is_own(channel.id):
                yield from self.answered(channel.id)
        elif channel.state == "Ringing" and channel.id in self._legs:
            yield VoxtraEvent(EventType.CALL_RINGING, channel.id)

    def answered(self, channel_id: str) -> Iterator[VoxtraEvent]:
        """A leg is up; said once, whichever of the reply and the event comes first."""
        leg = self._legs.get(channel_id)
        if leg is not None and not leg.up:
            leg.up = True
            yield VoxtraEvent(EventType.CALL_ANSWERED, channel_id)

    def hanging_up(self, channel_id: str, cause: int) -> None:
        """Remember why a leg is about to end: the event that ends it does not say."""
        leg = self._legs.get(channel_id)
        if leg is not None and cause:
            leg.cause = cause

    def left(self, channel_id: str, cause: int = 0, reason: str = "") -> Iterator[VoxtraEvent]:
        """A leg is over; said once, whichever of StasisEnd, ChannelDestroyed and a resync comes
        first.
        """
        leg = self._legs.pop(channel_id, None)
        if leg is not None:
            cause = cause or leg.cause
            yield VoxtraEvent(
                EventType.CALL_ENDED,
                channel_id,
                {"cause": cause, "reason": reason or cause_text(cause), "answered": leg.up},
            )

    def digit(self, channel_id: str, digit: str, duration_ms: int) -> Iterator[VoxtraEvent]:
        """A key was pressed."""
        if channel_id in self._legs:
            yield VoxtraEvent(
                EventType.DTMF_RECEIVED, channel_id, {"digit": digit, "duration_ms": duration_ms}
            )
