"""Playing sounds to a call over ARI.

Asterisk does not always say when a playback is over: a missing `recording:` and an unknown scheme
begin and then stay silent for ever, and events of a connection gap are lost. So the waiter asks for
the playback's resource now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from voxtra.ari import schema
from voxtra.ari.bus import Bus
from voxtra.ari.client import ARIClient
from voxtra.exceptions import (
    BadRequest,
    NotFound,
    PlaybackFailed,
    TelephonyConnectionError,
    VoxtraError,
)
from voxtra.ids import own_id

__all__ = ["AsteriskPlayback", "check_media"]

SCHEMES: Final = ("sound", "recording", "number", "digits", "characters", "tone")

LONG_URL: Final = 128
"""Characters: longer than the path of any file in Asterisk's cache of fetched sounds."""

ASK_AFTER: Final = 5.0
"""Seconds without an event after which the playback's resource is read."""


def check_media(media: str) -> str:
    """Return the media URI in full (`hello` means `sound:hello`), or raise `PlaybackFailed` saying
    what is wrong.
    """
    scheme, colon, rest = media.partition(":")
    if not colon:
        scheme, rest = "sound", media
    if scheme not in SCHEMES:
        raise PlaybackFailed(media, f"unknown scheme {scheme!r}; use one of {', '.join(SCHEMES)}")
    if not rest:
        raise PlaybackFailed(media, "empty name")
    if "," in rest:
        raise PlaybackFailed(
            media, "a comma would split it into several media; play them one by one"
        )
    # `sound:/path` makes Asterisk play any file that it can read.
    if scheme == "sound" and (rest.startswith("/") or ".." in rest.split("/")):
        raise PlaybackFailed(
            media,
            "a path outside of the sounds folders; install the sound on the PBX, or use play_url",
        )
    if rest.startswith(("http://", "https://")) and "#" not in rest:
        # Asterisk opens the fetched file through a buffer as long as the URL: with one shorter than
        # the path in its cache there is "no such file". A fragment is not sent to the server.
        rest = f"{rest}#".ljust(LONG_URL, "-")
    return f"{scheme}:{rest}"


class AsteriskPlayback:
    """One playback; made by `start`.

    It is watched until it is over, whether somebody waits for that or nobody does.
    """

    def __init__(self, ari: ARIClient, bus: Bus, media: str) -> None:
        self.id = own_id("play")
        self._ari = ari
        self._media = media
        self._inbox = bus.expect(self.id)
        self._watch: asyncio.Task[VoxtraError | None] | None = None

    async def start(self, channel_id: str, lang: str = "") -> None:
        """Ask Asterisk to play it to a channel. Raises `NotFound` when the channel is gone."""
        try:
            if self._media.startswith("recording:"):
                await self._require_recording(self._media.removeprefix("recording:"))
            await self._ari.play_on_channel(channel_id, self._media, playback_id=self.id, lang=lang)
        except BadRequest as error:
            self._inbox.close()
            raise PlaybackFailed(self._media, error.message) from None
        except BaseException:
            self._inbox.close()
            raise
        self._watch = asyncio.create_task(self._watched())

    async def wait(self) -> None:
        """See `voxtra.telephony.base.Playback.wait`."""
        if self._watch is not None:
            error = await asyncio.shield(self._watch)
            if error is not None:
                raise error.with_traceback(None)

    async def stop(self) -> None:
        """See `voxtra.telephony.base.Playback.stop`."""
        with contextlib.suppress(NotFound):
            await self._ari.stop_playback(self.id)

    async def _watched(self) -> VoxtraError | None:
        """Return when it is over: what kept it from being heard, or None."""
        try:
            await self._until_over()
        except VoxtraError as error:
            return error
        return None

    async def _until_over(self) -> None:
        with self._inbox:
            while True:
                try:
                    event = await self._inbox.wait_for(
                        lambda event: isinstance(event, schema.PlaybackFinished), ASK_AFTER
                    )
                except TimeoutError:
                    if await self._is_playing():
                        continue
                    return
                if isinstance(event, schema.PlaybackFinished) and event.playback.state == "failed":
                    raise PlaybackFailed(self._media, "does the sound exist on the PBX?")
                return

    async def _is_playing(self) -> bool:
        try:
            await self._ari.get_playback(self.id)
        except NotFound:
            return False
        except TelephonyConnectionError:
            # Unknown: whoever waits is woken by the end of the call, which a reconnect finds out.
            return True
        return True

    async def _require_recording(self, name: str) -> None:
        try:
            await self._ari.get_stored_recording(name)
        except NotFound:
            raise PlaybackFailed(self._media, "no stored recording of this name") from None
