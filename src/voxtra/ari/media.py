"""What is heard on a channel: playback, recording, snooping, music, digits, external media."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from voxtra.ari.http import AriHttp, segment
from voxtra.ari.recordings import record_params
from voxtra.ari.schema import Channel, LiveRecording, Playback

__all__ = ["MediaVerbs", "media_list"]

_CHANNEL: Final = msgspec.json.Decoder(Channel)
_LIVE: Final = msgspec.json.Decoder(LiveRecording)
_PLAYBACK: Final = msgspec.json.Decoder(Playback)


def media_list(media: str | Sequence[str]) -> list[str]:
    """Return media URIs as a list: in JSON, unlike in a query, they may have commas in them."""
    return [media] if isinstance(media, str) else list(media)


class MediaVerbs(AriHttp):
    """The media of a channel, and playbacks."""

    async def play_on_channel(
        self, channel_id: str, media: str | Sequence[str], *, playback_id: str, lang: str = ""
    ) -> Playback:
        """Play URIs (`sound:hello-world`, `tone:ring`, ...) one after the other; returns at once.

        PlaybackFinished says when it ended. For an unknown `recording:` or scheme it never comes.
        """
        params = {"media": media_list(media), "playbackId": playback_id, "lang": lang}
        path = f"/channels/{segment(channel_id)}/play"
        # Asterisk takes a second playback of the same id: it would be heard twice.
        return await self._fetch(_PLAYBACK, "POST", path, params, repeat=False)

    async def record_channel(
        self,
        channel_id: str,
        name: str,
        *,
        fmt: str,
        max_duration: int = 0,
        max_silence: int = 0,
        if_exists: str = "fail",
        beep: bool = False,
        terminate_on: str = "none",
    ) -> LiveRecording:
        """Record what comes from a channel.

        `max_duration` and `max_silence` are seconds, 0 for no limit. Returns when it is queued:
        RecordingStarted, even RecordingFinished, may come before the answer. Raises
        InvalidRecordingName before anything is sent.
        """
        params = record_params(
            name, fmt, max_duration, max_silence, if_exists, beep=beep, terminate_on=terminate_on
        )
        return await self._fetch(_LIVE, "POST", f"/channels/{segment(channel_id)}/record", params)

    async def snoop_channel(
        self,
        channel_id: str,
        *,
        spy: str,
        snoop_id: str,
        app: str | None = None,
        whisper: str = "none",
        app_args: str = "",
    ) -> Channel:
        """Make a channel that hears `in`, `out` or `both` sides of another.

        It can be recorded after its own StasisStart.
        """
        params = {
            "app": app or self.app_name,
            "spy": spy,
            "whisper": whisper,
            "snoopId": snoop_id,
            "appArgs": app_args,
        }
        return await self._fetch(_CHANNEL, "POST", f"/channels/{segment(channel_id)}/snoop", params)

    async def external_media(
        self,
        external_host: str,
        *,
        channel_id: str,
        fmt: str,
        app: str | None = None,
        transport: str = "udp",
        encapsulation: str = "rtp",
        connection_type: str = "client",
        data: str = "",
        transport_data: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> Channel:
        """Make a channel of the audio of a program at `external_host` (`INCOMING`: it comes)."""
        params = {
            "external_host": external_host,
            "channelId": channel_id,
            "app": app or self.app_name,
            "format": fmt,
            "transport": transport,
            "encapsulation": encapsulation,
            "connection_type": connection_type,
            "data": data,
            "transport_data": transport_data,
            "variables": variables,
        }
        return await self._fetch(_CHANNEL, "POST", "/channels/externalMedia", params)

    async def ring(self, channel_id: str) -> None:
        """Let the caller hear ringing."""
        await self._call("POST", f"/channels/{segment(channel_id)}/ring")

    async def ring_stop(self, channel_id: str) -> None:
        """End the ringing."""
        await self._call("DELETE", f"/channels/{segment(channel_id)}/ring")

    async def moh_start(self, channel_id: str, moh_class: str = "") -> None:
        """Play music on hold; an unknown class is accepted and silent."""
        await self._call("POST", f"/channels/{segment(channel_id)}/moh", {"mohClass": moh_class})

    async def moh_stop(self, channel_id: str) -> None:
        """End the music on hold."""
        await self._call("DELETE", f"/channels/{segment(channel_id)}/moh")

    async def hold(self, channel_id: str) -> None:
        """Tell the phone that it is on hold."""
        await self._call("POST", f"/channels/{segment(channel_id)}/hold")

    async def unhold(self, channel_id: str) -> None:
        """Tell the phone that it is no longer on hold."""
        await self._call("DELETE", f"/channels/{segment(channel_id)}/hold")

    async def mute(self, channel_id: str, direction: str = "both") -> None:
        """Mute a channel: `in` is its own voice, `out` what it hears."""
        await self._call("POST", f"/channels/{segment(channel_id)}/mute", {"direction": direction})

    async def unmute(self, channel_id: str, direction: str = "both") -> None:
        """Unmute a channel."""
        params = {"direction": direction}
        await self._call("DELETE", f"/channels/{segment(channel_id)}/mute", params)

    async def silence_start(self, channel_id: str) -> None:
        """Send silence frames, so that the far end sees media."""
        await self._call("POST", f"/channels/{segment(channel_id)}/silence")

    async def silence_stop(self, channel_id: str) -> None:
        """End the silence frames."""
        await self._call("DELETE", f"/channels/{segment(channel_id)}/silence")

    async def send_dtmf(
        self, channel_id: str, digits: str, *, between: int = 100, duration: int = 100
    ) -> None:
        """Send digits, each `duration` long and `between` apart (milliseconds); returns at once."""
        params = {"dtmf": digits, "between": between, "duration": duration}
        path = f"/channels/{segment(channel_id)}/dtmf"
        await self._call("POST", path, params, repeat=False)  # twice would dial twice

    async def get_playback(self, playback_id: str) -> Playback:
        """Return a playback that has not ended."""
        return await self._fetch(_PLAYBACK, "GET", f"/playbacks/{segment(playback_id)}")

    async def stop_playback(self, playback_id: str) -> None:
        """End a playback with all that is left of its list."""
        await self._call("DELETE", f"/playbacks/{segment(playback_id)}")

    async def control_playback(self, playback_id: str, operation: str) -> None:
        """`restart`, `pause`, `unpause`, `reverse` or `forward` a playback that has begun."""
        params = {"operation": operation}
        path = f"/playbacks/{segment(playback_id)}/control"
        await self._call("POST", path, params, repeat=False)  # twice would skip twice
