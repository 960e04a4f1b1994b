"""Bridges: made, filled, heard, recorded, destroyed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from voxtra.ari.http import AriHttp, segment
from voxtra.ari.media import media_list
from voxtra.ari.recordings import record_params
from voxtra.ari.schema import Bridge, LiveRecording, Playback

__all__ = ["BridgeVerbs"]

_BRIDGE: Final = msgspec.json.Decoder(Bridge)
_BRIDGES: Final = msgspec.json.Decoder(list[Bridge])
_LIVE: Final = msgspec.json.Decoder(LiveRecording)
_PLAYBACK: Final = msgspec.json.Decoder(Playback)


class BridgeVerbs(AriHttp):
    """The life of a bridge."""

    async def list_bridges(self) -> list[Bridge]:
        """Return every bridge of Asterisk."""
        return await self._fetch(_BRIDGES, "GET", "/bridges")

    async def get_bridge(self, bridge_id: str) -> Bridge:
        """Return one bridge."""
        return await self._fetch(_BRIDGE, "GET", f"/bridges/{segment(bridge_id)}")

    async def create_bridge(
        self, bridge_id: str, *, bridge_type: str = "mixing", name: str = ""
    ) -> Bridge:
        """Make a bridge; Conflict when there is one of this id.

        We hear of a bridge only while a channel of ours is in it, or after `subscribe`.
        """
        params = {"type": bridge_type, "name": name}
        return await self._fetch(_BRIDGE, "POST", f"/bridges/{segment(bridge_id)}", params)

    async def destroy_bridge(self, bridge_id: str) -> None:
        """Destroy a bridge; its channels stay. A recording of it must have finished before."""
        await self._call("DELETE", f"/bridges/{segment(bridge_id)}")

    async def add_to_bridge(
        self,
        bridge_id: str,
        *channel_ids: str,
        role: str = "",
        absorb_dtmf: bool = False,
        mute: bool = False,
    ) -> None:
        """Put channels into a bridge; Conflict for one that is itself being recorded."""
        params = {
            "channel": channel_ids,
            "role": role,
            "absorbDTMF": absorb_dtmf or None,
            "mute": mute or None,
        }
        await self._call("POST", f"/bridges/{segment(bridge_id)}/addChannel", params)

    async def remove_from_bridge(self, bridge_id: str, *channel_ids: str) -> None:
        """Take channels out of a bridge; they stay in the application."""
        params = {"channel": channel_ids}
        await self._call("POST", f"/bridges/{segment(bridge_id)}/removeChannel", params)

    async def play_on_bridge(
        self, bridge_id: str, media: str | Sequence[str], *, playback_id: str, lang: str = ""
    ) -> Playback:
        """Play URIs to everybody in a bridge; returns at once."""
        params = {"media": media_list(media), "playbackId": playback_id, "lang": lang}
        path = f"/bridges/{segment(bridge_id)}/play"
        return await self._fetch(_PLAYBACK, "POST", path, params, repeat=False)

    async def record_bridge(
        self,
        bridge_id: str,
        name: str,
        *,
        fmt: str,
        max_duration: int = 0,
        max_silence: int = 0,
        if_exists: str = "fail",
        beep: bool = False,
        terminate_on: str = "none",
    ) -> LiveRecording:
        """Record everybody in a bridge, mixed, as `record_channel` does.

        It ends when the last channel leaves; one who joins later is not recorded.
        """
        params = record_params(
            name, fmt, max_duration, max_silence, if_exists, beep=beep, terminate_on=terminate_on
        )
        return await self._fetch(_LIVE, "POST", f"/bridges/{segment(bridge_id)}/record", params)

    async def bridge_moh_start(self, bridge_id: str, moh_class: str = "") -> None:
        """Play music on hold to a bridge."""
        await self._call("POST", f"/bridges/{segment(bridge_id)}/moh", {"mohClass": moh_class})

    async def bridge_moh_stop(self, bridge_id: str) -> None:
        """End the music of a bridge."""
        await self._call("DELETE", f"/bridges/{segment(bridge_id)}/moh")
