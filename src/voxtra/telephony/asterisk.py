"""The Asterisk adapter: the only place that knows ARI's oddities.

Composition and verbs are here; reading is in `reading`, and what the events of a plane mean in
`calls`, `dialling` and `capture`. Requests go over a pool of HTTP connections with a deadline each:
over the events websocket they are served strictly one after another, so that one that blocks would
freeze the stop that frees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from voxtra.ari import schema
from voxtra.ari.bus import Bus
from voxtra.ari.client import ARIClient
from voxtra.ari.connection import EventConnection, Link
from voxtra.ari.outbound import OutboundListener
from voxtra.events import VoxtraEvent
from voxtra.exceptions import (
    BadRequest,
    CallEnded,
    Conflict,
    NotFound,
    RequestTimeout,
    TelephonyConnectionError,
    TelephonyError,
)
from voxtra.model import Recording, Track
from voxtra.telephony.base import BaseTelephonyAdapter, Gap, TrackStatus
from voxtra.telephony.calls import CallPlane
from voxtra.telephony.capture import CapturePlane
from voxtra.telephony.causes import NORMAL_CLEARING, reason_code
from voxtra.telephony.dialling import DialPlane
from voxtra.telephony.playback import AsteriskPlayback, check_media
from voxtra.telephony.reading import EventReader, EventSource
from voxtra.telephony.stored import StoredTracks

__all__ = ["AsteriskAdapter"]

log = logging.getLogger(__name__)

BRIDGE_WAIT: Final = 5.0
"""Seconds for a channel to enter a bridge after the request; seen 1-3 ms."""

QUEUE_DRAIN: Final = 1.0
"""Seconds for Asterisk to tell what it queued; ten calls' worth was seen to take milliseconds."""

RECONCILE_EVERY: Final = 5.0
"""Seconds between looks at our calls while another instance gets their events."""

_ENDS: Final = (schema.StasisEnd, schema.ChannelDestroyed)

_Translator = Callable[[Any], Iterable[VoxtraEvent]]


class AsteriskAdapter(BaseTelephonyAdapter):
    """Calls and recordings on Asterisk 20 or later, over ARI.

    `reconnect_interval` is the first delay (seconds) between tries to reach the PBX; it grows with
    each failure. `source` makes another event source than the websocket that we open
    (`voxtra.ari.connection.OutboundListener` for the one that Asterisk opens).
    """

    def __init__(
        self,
        ari_url: str = "",
        ari_user: str = "",
        ari_password: str = "",
        *,
        app_name: str = "voxtra",
        reconnect_interval: float = 5.0,
        client: ARIClient | None = None,
        source: Callable[[ARIClient], EventSource] | None = None,
    ) -> None:
        self.ari = client or ARIClient(
            ari_url or os.environ.get("VOXTRA_ARI_URL", "") or "http://localhost:8088",
            ari_user or os.environ.get("VOXTRA_ARI_USER", "") or "asterisk",
            ari_password or os.environ.get("VOXTRA_ARI_PASSWORD", ""),
            app_name=app_name,
        )
        self.app_name = app_name
        self._interval = reconnect_interval
        self._make_source = source or self._websocket
        self._queued = False
        self._bus = Bus()
        self._calls = CallPlane()
        self._captures = CapturePlane(self.ari, self._bus, self._calls)
        self._stored = StoredTracks(self.ari)
        self._reader: EventReader | None = None
        self._startup_time = ""
        self._answering: dict[str, list[asyncio.Future[None]]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._dials = DialPlane(self.ari, self._calls)
        self._table: dict[type, _Translator] = {
            schema.StasisStart: self._on_stasis_start,
            schema.StasisEnd: lambda e: self._calls.left(e.channel.id),
            schema.ChannelDestroyed: self._on_destroyed,
            schema.ChannelHangupRequest: self._on_hangup_request,
            schema.ChannelStateChange: self._on_state_change,
            schema.ChannelDtmfReceived: lambda e: self._calls.digit(
                e.channel.id, e.digit, e.duration_ms
            ),
            schema.RecordingStarted: lambda e: self._captures.started(e.recording),
            schema.RecordingFinished: lambda e: self._captures.finished(e.recording),
            schema.RecordingFailed: lambda e: self._captures.failed(e.recording),
            schema.ChannelEnteredBridge: _nothing,
            schema.PlaybackFinished: _nothing,
            schema.ApplicationReplaced: _nothing,
        }

    # -- connection

    @classmethod
    def from_config(cls, config: Any, **options: Any) -> Self:
        """Build from `VoxtraConfig.telephony`."""
        asterisk = config.asterisk
        listen = asterisk.listen
        if listen is not None:
            options["source"] = lambda _ari: OutboundListener(
                listen.host,
                listen.port,
                listen.path,
                username=listen.username,
                password=listen.password,
            )
        client = ARIClient(
            asterisk.base_url,
            asterisk.username,
            asterisk.password,
            app_name=asterisk.app_name,
            timeout=asterisk.request_timeout,
        )
        return cls(app_name=asterisk.app_name, client=client, **options)

    async def connect(self) -> None:
        """See `BaseTelephonyAdapter.connect`."""
        if self._reader is None:
            self._bus = Bus()
            self._captures = CapturePlane(self.ari, self._bus, self._calls)
            self.ari.open()
            source = self._make_source(self.ari)
            # Asterisk's own websocket queues events while it is down.
            self._queued = isinstance(source, OutboundListener)
            self._reader = EventReader(
                source, dispatch=self._dispatch, set_up=self._set_up, stand_by=self._watch_calls
            )
        await self._reader.ready()

    async def disconnect(self) -> None:
        """See `BaseTelephonyAdapter.disconnect`."""
        reader, self._reader = self._reader, None
        if reader is None:
            return
        await self._captures.close()
        await reader.close()
        self._bus.close(TelephonyConnectionError("disconnected from the PBX"))
        await self.ari.close()

    async def connection_lost(self) -> BaseException:
        """See `BaseTelephonyAdapter.connection_lost`."""
        if self._reader is None:
            return TelephonyConnectionError("not connected to the PBX")
        return await self._reader.lost()

    def _websocket(self, ari: ARIClient) -> EventSource:
        return EventConnection(ari, first_delay=self._interval, max_delay=max(self._interval, 30.0))

    async def _set_up(self, link: Link, lost_at: datetime | None) -> None:
        """Set again what is bound to a connection, and find out what was missed."""
        known = self._calls.ids()
        info = await self.ari.connect()
        await self.ari.set_event_filter(allowed=[kind.__name__ for kind in self._table])
        startup_time = info.status.startup_time if info.status else ""
        restarted = bool(self._startup_time) and startup_time != self._startup_time
        self._startup_time = startup_time
        if lost_at is not None:
            # The gap first: it explains the ends of the calls that are reported next.
            await self._on_gap(Gap(lost_at, restarted))
            if self._queued and not restarted:
                # Asterisk's own websocket queued what happened while it was down, and tells it
                # better than a look does. What it had sent before it knew of the break is lost all
                # the same (at least 3 of 40 events, seen once), so the look follows.
                await asyncio.sleep(QUEUE_DRAIN)
                known = self._calls.ids()
            await self._reconcile(known, adopt=True)
        elif link.abandoned:
            log.warning("taking the calls that another run of %r left behind", self.app_name)
            await self._reconcile(known, adopt=True)
        version = info.system.version if info.system else "?"
        log.info("connected to Asterisk %s as %s", version, self.app_name)

    async def _reconcile(self, known: set[str], *, adopt: bool) -> None:
        """Bring our legs to what Asterisk holds: `known` legs that are gone have ended; callers we
        missed are taken.

        `known` was read before the request, so that a call that began meanwhile is not taken for
        one that ended.
        """
        asked = self._dials.asked()
        channels = {channel.id: channel for channel in await self.ari.list_channels()}
        for call_id in known:
            channel = channels.get(call_id)
            if call_id in self._dials:
                continue
            if channel is None:
                self._emit(self._calls.left(call_id, reason="ended while the connection was down"))
            else:
                self._emit(self._calls.state_changed(channel))
        self._dials.reconcile(channels, asked)
        if adopt:
            for channel in channels.values():
                plan = channel.dialplan
                ours = plan.app_name == "Stasis" and plan.app_data.split(",")[0] == self.app_name
                if ours and channel.id not in self._calls:
                    self._emit(self._calls.entered(channel))

    async def _watch_calls(self) -> None:
        """Another instance took our application's name over and gets the events: look after our own
        calls until it has left.
        """
        while True:
            await asyncio.sleep(RECONCILE_EVERY)
            try:
                await self._reconcile(self._calls.ids(), adopt=False)
            except TelephonyError as error:
                log.warning("could not look after the calls in progress: %s", error)

    def _dispatch(self, event: schema.Event) -> None:
        translate = self._table.get(type(event))
        if translate is None:
            return
        try:
            for domain_event in translate(event):
                self._on_event(self._dated(domain_event, event) if self._queued else domain_event)
            self._bus.publish(event)
        except Exception:
            # A mistake in handling one event must not cost all calls theirs.
            log.exception("could not handle %s", event)

    def _dated(self, domain_event: VoxtraEvent, event: schema.Event) -> VoxtraEvent:
        """Give an event that Asterisk may have queued for us the time when it happened."""
        if not event.timestamp:
            return domain_event
        happened = datetime.fromisoformat(event.timestamp).astimezone(UTC)
        return domain_event.dated(happened)

    def _emit(self, events: Iterable[VoxtraEvent]) -> None:
        for event in events:
            self._on_event(event)

    def _on_stasis_start(self, event: schema.StasisStart) -> Iterable[VoxtraEvent]:
        self._dials.answered(event.channel.id)
        replaced = event.replace_channel.id if event.replace_channel else ""
        return self._calls.entered(event.channel, replaced)

    def _on_state_change(self, event: schema.ChannelStateChange) -> Iterable[VoxtraEvent]:
        if event.channel.state == "Up":
            for up in self._answering.get(event.channel.id, ()):
                if not up.done():
                    up.set_result(None)
        return self._calls.state_changed(event.channel)

    def _on_destroyed(self, event: schema.ChannelDestroyed) -> Iterable[VoxtraEvent]:
        self._dials.ended(event.channel.id, event.cause)
        return self._calls.left(event.channel.id, event.cause)

    def _on_hangup_request(self, event: schema.ChannelHangupRequest) -> Iterable[VoxtraEvent]:
        # With `soft` the number is one of Asterisk's soft hang-up flags (32: by a request), no
        # Q.850 cause.
        if not event.soft:
            # A BYE without a Reason comes without a cause: it is the ordinary end of a call.
            self._calls.hanging_up(event.channel.id, event.cause or NORMAL_CLEARING)
        return ()

    # -- calls

    async def answer_call(self, call_id: str) -> None:
        """See `BaseTelephonyAdapter.answer_call`."""
        if self._calls.is_up(call_id):
            return
        # The channel is up when Asterisk says so; the reply, 0.1 ms later, can only add an error.
        up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answering.setdefault(call_id, []).append(up)
        asking = asyncio.create_task(self._on_call(call_id, self.ari.answer_channel(call_id)))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        asking.add_done_callback(partial(_pass_on, up))
        try:
            await up
        finally:
            waiting = self._answering.get(call_id, [])
            if up in waiting:
                waiting.remove(up)
            if not waiting:
                self._answering.pop(call_id, None)
        self._emit(self._calls.answered(call_id))

    async def hangup_call(self, call_id: str, reason: str = "normal") -> None:
        """See `BaseTelephonyAdapter.hangup_call`."""
        cause = reason_code(reason)
        self._calls.hanging_up(call_id, cause)
        with contextlib.suppress(NotFound):
            await self.ari.hangup_channel(call_id, reason_code=cause)

    async def originate(
        self,
        endpoint: str,
        *,
        call_id: str,
        caller_id: str = "",
        timeout: float = 30.0,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """See `BaseTelephonyAdapter.originate`."""
        await self._dials.dial(
            endpoint,
            call_id=call_id,
            caller_id=caller_id,
            timeout=timeout,
            variables=variables,
        )

    async def hold_call(self, call_id: str, moh_class: str = "default") -> None:
        """See `BaseTelephonyAdapter.hold_call`."""
        await self._on_call(call_id, self.ari.moh_start(call_id, moh_class))

    async def unhold_call(self, call_id: str) -> None:
        """See `BaseTelephonyAdapter.unhold_call`."""
        await self._on_call(call_id, self.ari.moh_stop(call_id))

    async def ring_call(self, call_id: str, *, on: bool = True) -> None:
        """See `BaseTelephonyAdapter.ring_call`."""
        await self._on_call(call_id, self.ari.ring(call_id) if on else self.ari.ring_stop(call_id))

    async def send_dtmf(self, call_id: str, digits: str) -> None:
        """See `BaseTelephonyAdapter.send_dtmf`."""
        await self._on_call(call_id, self.ari.send_dtmf(call_id, digits))

    async def play(self, call_id: str, media: str, *, lang: str = "") -> AsteriskPlayback:
        """See `BaseTelephonyAdapter.play`."""
        playback = AsteriskPlayback(self.ari, self._bus, check_media(media))
        await self._on_call(call_id, playback.start(call_id, lang))
        return playback

    async def _on_call(self, call_id: str, request: Awaitable[object]) -> None:
        """Await a request about a call; a channel that is gone is `CallEnded`."""
        try:
            await request
        except NotFound:
            raise CallEnded(call_id) from None
        except Conflict as error:
            # "Channel not in Stasis application": it has left, its StasisEnd is on the way.
            if "Stasis" in error.message:
                raise CallEnded(call_id, "left the application") from None
            raise

    # -- bridges

    async def create_bridge(self, bridge_id: str) -> None:
        """See `BaseTelephonyAdapter.create_bridge`."""
        await self.ari.create_bridge(bridge_id)
        # Without a channel of ours inside, the application hears nothing of its own bridge's
        # recordings.
        await self.ari.subscribe(f"bridge:{bridge_id}")

    async def bridge_add(self, bridge_id: str, call_id: str) -> None:
        """See `BaseTelephonyAdapter.bridge_add`."""
        with self._bus.expect(call_id) as inbox:
            try:
                await self.ari.add_to_bridge(bridge_id, call_id)
                event = await inbox.wait_for(
                    lambda event: _has_entered(event, bridge_id) or isinstance(event, _ENDS),
                    BRIDGE_WAIT,
                )
            except BadRequest as error:
                # What is not found, or not in Stasis, is the channel: 404 would be the bridge.
                raise CallEnded(call_id, error.message) from None
            except TimeoutError:
                raise RequestTimeout(
                    f"call {call_id} has not entered bridge {bridge_id} in {BRIDGE_WAIT:g} s"
                ) from None
        if isinstance(event, _ENDS):
            raise CallEnded(call_id)

    async def bridge_remove(self, bridge_id: str, call_id: str) -> None:
        """See `BaseTelephonyAdapter.bridge_remove`."""
        with contextlib.suppress(NotFound, Conflict, BadRequest):
            await self.ari.remove_from_bridge(bridge_id, call_id)

    async def bridge_members(self, bridge_id: str) -> list[str] | None:
        """See `BaseTelephonyAdapter.bridge_members`."""
        try:
            return list((await self.ari.get_bridge(bridge_id)).channels)
        except NotFound:
            return None

    async def destroy_bridge(self, bridge_id: str) -> None:
        """See `BaseTelephonyAdapter.destroy_bridge`."""
        with contextlib.suppress(NotFound):
            await self.ari.destroy_bridge(bridge_id)

    # -- recordings

    def plan_capture(self, recording: Recording) -> tuple[Track, ...]:
        """See `BaseTelephonyAdapter.plan_capture`."""
        return self._captures.plan(recording)

    def watch_capture(self, recording: Recording) -> None:
        """See `BaseTelephonyAdapter.watch_capture`."""
        self._captures.watch(recording)

    async def start_capture(self, recording: Recording) -> None:
        """See `BaseTelephonyAdapter.start_capture`."""
        await self._captures.start(recording)

    async def stop_capture(self, recording: Recording) -> None:
        """See `BaseTelephonyAdapter.stop_capture`."""
        await self._captures.stop(recording)

    async def pause_capture(self, recording: Recording, *, on: bool) -> None:
        """See `BaseTelephonyAdapter.pause_capture`."""
        await self._captures.pause(recording, on=on)

    async def mute_capture(self, recording: Recording, *, on: bool) -> None:
        """See `BaseTelephonyAdapter.mute_capture`."""
        await self._captures.mute(recording, on=on)

    async def cancel_capture(self, recording: Recording) -> None:
        """See `BaseTelephonyAdapter.cancel_capture`."""
        await self._captures.cancel(recording)

    async def release_capture(self, recording: Recording) -> None:
        """See `BaseTelephonyAdapter.release_capture`."""
        self._captures.release(recording)

    async def probe_track(self, track: Track) -> TrackStatus:
        """See `BaseTelephonyAdapter.probe_track`."""
        return await self._stored.probe_track(track)

    async def list_stored(self) -> list[tuple[str, str]]:
        """See `BaseTelephonyAdapter.list_stored`."""
        return [(found.name, found.format) for found in await self.ari.list_stored_recordings()]

    async def fetch_track(self, track: Track, into: Path) -> None:
        """See `BaseTelephonyAdapter.fetch_track`."""
        await self._stored.fetch_track(track, into)

    async def delete_track(self, track: Track) -> None:
        """See `BaseTelephonyAdapter.delete_track`."""
        await self._stored.delete_track(track)


def _pass_on(up: asyncio.Future[None], asking: asyncio.Task[None]) -> None:
    """End the wait for an answer with what the request came to, if no event ended it."""
    error = None if asking.cancelled() else asking.exception()
    if up.done():
        return
    if error is None:
        up.set_result(None)
    else:
        up.set_exception(error)


def _has_entered(event: schema.Event, bridge_id: str) -> bool:
    return isinstance(event, schema.ChannelEnteredBridge) and event.bridge.id == bridge_id


def _nothing(_event: object) -> Iterable[VoxtraEvent]:
    """Translate an event that only somebody who waits for it cares about."""
    return ()
