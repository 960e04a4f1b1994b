"""Channels: made, answered, moved, ended; and their variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from voxtra.ari.http import AriHttp, segment
from voxtra.ari.schema import Channel, Variable

__all__ = ["ChannelVerbs"]

_CHANNEL: Final = msgspec.json.Decoder(Channel)
_CHANNELS: Final = msgspec.json.Decoder(list[Channel])
_VARIABLE: Final = msgspec.json.Decoder(Variable)


class ChannelVerbs(AriHttp):
    """The life of a channel."""

    async def list_channels(self) -> list[Channel]:
        """Return every channel of Asterisk, those of other applications included."""
        return await self._fetch(_CHANNELS, "GET", "/channels")

    async def get_channel(self, channel_id: str) -> Channel:
        """Return one channel."""
        return await self._fetch(_CHANNEL, "GET", f"/channels/{segment(channel_id)}")

    async def originate(
        self,
        endpoint: str,
        *,
        app: str | None = None,
        app_args: str = "",
        context: str | None = None,
        extension: str | None = None,
        priority: int = 1,
        caller_id: str = "",
        timeout: int = 30,
        variables: Mapping[str, str] | None = None,
        channel_id: str = "",
        other_channel_id: str = "",
        formats: str = "",
        originator: str = "",
    ) -> Channel:
        """Call an endpoint; when answered it enters `app` (ours by default) or `context`.

        Returns at once with the new channel, not when it is answered. `timeout` is the ring time in
        seconds (-1: for ever). `formats` is needed for `Local/...`, which would negotiate 192 kHz
        and resample for ten times the price. `other_channel_id` names the second half of a Local
        channel.
        """
        params: dict[str, object] = {
            "endpoint": endpoint,
            "callerId": caller_id,
            "timeout": timeout,
            "variables": variables,
            "channelId": channel_id,
            "otherChannelId": other_channel_id,
            "formats": formats,
            "originator": originator,
        }
        if context is None:
            params |= {"app": app or self.app_name, "appArgs": app_args}
        else:
            params |= {"context": context, "extension": extension, "priority": priority}
        return await self._fetch(_CHANNEL, "POST", "/channels", params, repeat=bool(channel_id))

    async def create_channel(
        self,
        endpoint: str,
        *,
        app: str | None = None,
        app_args: str = "",
        variables: Mapping[str, str] | None = None,
        channel_id: str = "",
        other_channel_id: str = "",
        formats: str = "",
        originator: str = "",
    ) -> Channel:
        """Make a channel without dialling it: to be set up first, then `dial_channel`."""
        params = {
            "endpoint": endpoint,
            "app": app or self.app_name,
            "appArgs": app_args,
            "variables": variables,
            "channelId": channel_id,
            "otherChannelId": other_channel_id,
            "formats": formats,
            "originator": originator,
        }
        return await self._fetch(
            _CHANNEL, "POST", "/channels/create", params, repeat=bool(channel_id)
        )

    async def dial_channel(self, channel_id: str, *, caller: str = "", timeout: int = 0) -> None:
        """Dial a created channel; `timeout` is the ring time in seconds, 0 means no limit."""
        params = {"caller": caller, "timeout": timeout}
        await self._call("POST", f"/channels/{segment(channel_id)}/dial", params)

    async def answer_channel(self, channel_id: str) -> None:
        """Answer a channel; blocks for as long as the channel itself is being recorded."""
        await self._call("POST", f"/channels/{segment(channel_id)}/answer")

    async def hangup_channel(
        self, channel_id: str, *, reason: str = "normal", reason_code: int | None = None
    ) -> None:
        """Hang up, for one of ARI's reasons or with the Q.850 cause `reason_code`."""
        params: dict[str, object] = {"reason": reason}
        if reason_code is not None:
            params = {"reason_code": reason_code}
        await self._call("DELETE", f"/channels/{segment(channel_id)}", params)

    async def continue_in_dialplan(
        self,
        channel_id: str,
        *,
        context: str = "",
        extension: str = "",
        priority: int | None = None,
        label: str = "",
    ) -> None:
        """Let the channel go on in the dialplan, by default where it was."""
        params = {"context": context, "extension": extension, "priority": priority, "label": label}
        await self._call("POST", f"/channels/{segment(channel_id)}/continue", params)

    async def redirect_channel(self, channel_id: str, endpoint: str) -> None:
        """Send the caller elsewhere by the means of its technology (SIP: 302 or REFER)."""
        params = {"endpoint": endpoint}
        await self._call("POST", f"/channels/{segment(channel_id)}/redirect", params)

    async def move_channel(self, channel_id: str, app: str, *, app_args: str = "") -> None:
        """Hand the channel to another application; ApplicationMoveFailed when it is not there."""
        params = {"app": app, "appArgs": app_args}
        await self._call("POST", f"/channels/{segment(channel_id)}/move", params)

    async def transfer_progress(self, channel_id: str, states: str) -> None:
        """Tell a phone how its transfer goes: `channel_progress`, `channel_answered`, ..."""
        params = {"states": states}
        await self._call("POST", f"/channels/{segment(channel_id)}/transfer_progress", params)

    async def get_channel_var(self, channel_id: str, variable: str) -> str:
        """Return a variable or a dialplan function of a channel; NotFound when it is not set."""
        path = f"/channels/{segment(channel_id)}/variable"
        return (await self._fetch(_VARIABLE, "GET", path, {"variable": variable})).value

    async def set_channel_var(self, channel_id: str, variable: str, value: str) -> None:
        """Set a variable or a function; blocks while the channel itself is being recorded."""
        params = {"variable": variable, "value": value}
        await self._call("POST", f"/channels/{segment(channel_id)}/variable", params)
