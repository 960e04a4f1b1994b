"""What Voxtra asks of a PBX, and nothing about which one it is.

An adapter says what happens by calling `on_event` with domain events (`voxtra.events`),
synchronously and in order, and carries out verbs on ids that the framework chose. Only the four
call verbs that no phone system lacks are abstract; an adapter without one of the others inherits a
refusal that names it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self

from voxtra.events import VoxtraEvent
from voxtra.exceptions import NotSupported
from voxtra.model import Recording, Track

__all__ = ["BaseTelephonyAdapter", "EventCallback", "Gap", "GapCallback", "Playback", "TrackStatus"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without events that is over: since `lost_at` (UTC); `restarted` when the PBX itself
    began anew.
    """

    lost_at: datetime
    restarted: bool


@dataclass(frozen=True, slots=True)
class TrackStatus:
    """What the PBX holds of a track: `live` while it is writing, `stored` once there is a file."""

    live: bool
    stored: bool


EventCallback = Callable[[VoxtraEvent], None]
GapCallback = Callable[[Gap], Awaitable[None]]


class Playback(Protocol):
    """A sound being played to a call."""

    @property
    def id(self) -> str:
        """The playback's id, chosen by us."""
        ...

    async def wait(self) -> None:
        """Return when it has been heard to its end, or was stopped; raise `PlaybackFailed`
        otherwise.
        """
        ...

    async def stop(self) -> None:
        """Stop playing now; nothing happens when it is over already."""
        ...


class BaseTelephonyAdapter(ABC):
    """Base of all telephony adapters."""

    _on_event: EventCallback
    _on_gap: GapCallback

    def listen(self, on_event: EventCallback, on_gap: GapCallback) -> None:
        """Set who is told. Called once, before `connect`.

        `on_event` is synchronous and quick; `on_gap` is awaited after events may have been missed,
        before the calls that ended meanwhile are reported, so that their end can be explained.
        """
        self._on_event = on_event
        self._on_gap = on_gap

    @classmethod
    def from_config(cls, config: Any, **options: Any) -> Self:
        """Build the adapter from `VoxtraConfig.telephony`."""
        raise NotSupported(cls.__name__, "from_config")

    @abstractmethod
    async def connect(self) -> None:
        """Return when the PBX can be used; try again until it can.

        Raises `AuthenticationFailed` when the PBX refuses our credentials.
        """

    @abstractmethod
    async def disconnect(self) -> None:
        """Let go of the PBX. Calls that are still up stay up. Safe to call at any time."""

    @abstractmethod
    async def answer_call(self, call_id: str) -> None:
        """Answer; return when the call is up."""

    @abstractmethod
    async def hangup_call(self, call_id: str, reason: str = "normal") -> None:
        """Hang up with a reason; a call that is gone already is a success."""

    async def connection_lost(self) -> BaseException:
        """Wait until the connection is lost for good (a password that changed, say) and return why.

        An adapter that never gives up inherits this: it waits for ever.
        """
        never: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        return await never

    async def originate(
        self,
        endpoint: str,
        *,
        call_id: str,
        caller_id: str = "",
        timeout: float = 30.0,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Call `endpoint` as `call_id`; return when it has answered.

        `timeout` is the ring time in seconds. Raises `DialFailed`; the call is gone then.
        """
        raise NotSupported(type(self).__name__, "originate")

    async def hold_call(self, call_id: str, moh_class: str = "default") -> None:
        """Play music on hold to the call."""
        raise NotSupported(type(self).__name__, "hold_call")

    async def unhold_call(self, call_id: str) -> None:
        """Stop music on hold."""
        raise NotSupported(type(self).__name__, "unhold_call")

    async def ring_call(self, call_id: str, *, on: bool = True) -> None:
        """Let the call hear ringing, or stop it."""
        raise NotSupported(type(self).__name__, "ring_call")

    async def send_dtmf(self, call_id: str, digits: str) -> None:
        """Send digits to the far end."""
        raise NotSupported(type(self).__name__, "send_dtmf")

    async def play(self, call_id: str, media: str, *, lang: str = "") -> Playback:
        """Start playing `media` (`sound:`, `recording:`, `number:`, `digits:`, `characters:`,
        `tone:`).
        """
        raise NotSupported(type(self).__name__, "play")

    async def create_bridge(self, bridge_id: str) -> None:
        """Make a mixing bridge with our id."""
        raise NotSupported(type(self).__name__, "create_bridge")

    async def bridge_add(self, bridge_id: str, call_id: str) -> None:
        """Put a call into a bridge; return when it is in."""
        raise NotSupported(type(self).__name__, "bridge_add")

    async def bridge_remove(self, bridge_id: str, call_id: str) -> None:
        """Take a call out of a bridge; one that has left already is a success."""
        raise NotSupported(type(self).__name__, "bridge_remove")

    async def bridge_members(self, bridge_id: str) -> list[str] | None:
        """Return the ids of the channels in a bridge; None when there is no such bridge."""
        raise NotSupported(type(self).__name__, "bridge_members")

    async def destroy_bridge(self, bridge_id: str) -> None:
        """Destroy a bridge; its recordings must have been stopped before."""
        raise NotSupported(type(self).__name__, "destroy_bridge")

    def plan_capture(self, recording: Recording) -> tuple[Track, ...]:
        """Name the files and the channels that recording needs. Pure, so that the row can be
        written first.
        """
        raise NotSupported(type(self).__name__, "plan_capture")

    async def start_capture(self, recording: Recording) -> None:
        """Ask the PBX to record; return when it has really begun on every track.

        Raises `RecordingFailed` with the cause, `NotFound` when the target is gone, `TimeoutError`
        when nothing was heard of it.
        """
        raise NotSupported(type(self).__name__, "start_capture")

    async def stop_capture(self, recording: Recording) -> None:
        """Stop, verify that it stopped, and ask again until it has."""
        raise NotSupported(type(self).__name__, "stop_capture")

    async def pause_capture(self, recording: Recording, *, on: bool) -> None:
        """Pause or resume: the paused part is cut out of the file."""
        raise NotSupported(type(self).__name__, "pause_capture")

    async def mute_capture(self, recording: Recording, *, on: bool) -> None:
        """Mute or unmute: the muted part is silence in the file. Asked only when it changes
        something.
        """
        raise NotSupported(type(self).__name__, "mute_capture")

    async def cancel_capture(self, recording: Recording) -> None:
        """Stop and discard the files."""
        raise NotSupported(type(self).__name__, "cancel_capture")

    async def release_capture(self, recording: Recording) -> None:  # noqa: B027  # nothing held
        """Let go of what is held for a recording that is over; who holds nothing inherits this."""

    def watch_capture(self, recording: Recording) -> None:  # noqa: B027  # who needs no list
        """Tell of this recording's events, although an earlier process began it."""

    async def probe_track(self, track: Track) -> TrackStatus:
        """Tell what the PBX holds of a track."""
        raise NotSupported(type(self).__name__, "probe_track")

    async def list_stored(self) -> list[tuple[str, str]]:
        """Return name and format of every file in the PBX's recording folder."""
        raise NotSupported(type(self).__name__, "list_stored")

    async def fetch_track(self, track: Track, into: Path) -> None:
        """Copy a finished track's file from the PBX to a local path."""
        raise NotSupported(type(self).__name__, "fetch_track")

    async def delete_track(self, track: Track) -> None:
        """Delete a finished track's file on the PBX; one that is gone already is a success."""
        raise NotSupported(type(self).__name__, "delete_track")
