"""Asterisk itself: who it is, its modules, variables, sounds, endpoints and device states."""

from __future__ import annotations

from typing import Final

import msgspec

from voxtra.ari.http import AriHttp, segment
from voxtra.ari.schema import (
    AsteriskInfo,
    AsteriskPing,
    DeviceState,
    Endpoint,
    Module,
    Sound,
    Variable,
)

__all__ = ["SystemVerbs"]

_INFO: Final = msgspec.json.Decoder(AsteriskInfo)
_PING: Final = msgspec.json.Decoder(AsteriskPing)
_MODULE: Final = msgspec.json.Decoder(Module)
_MODULES: Final = msgspec.json.Decoder(list[Module])
_VARIABLE: Final = msgspec.json.Decoder(Variable)
_SOUND: Final = msgspec.json.Decoder(Sound)
_SOUNDS: Final = msgspec.json.Decoder(list[Sound])
_ENDPOINT: Final = msgspec.json.Decoder(Endpoint)
_ENDPOINTS: Final = msgspec.json.Decoder(list[Endpoint])
_DEVICE_STATE: Final = msgspec.json.Decoder(DeviceState)
_DEVICE_STATES: Final = msgspec.json.Decoder(list[DeviceState])


class SystemVerbs(AriHttp):
    """What belongs to no call."""

    async def asterisk_info(self) -> AsteriskInfo:
        """Return version, build and start time of Asterisk."""
        return await self._fetch(_INFO, "GET", "/asterisk/info")

    async def ping(self) -> AsteriskPing:
        """Ask for a sign of life of the HTTP server (it also answers when the rest hangs)."""
        return await self._fetch(_PING, "GET", "/asterisk/ping")

    async def list_modules(self) -> list[Module]:
        """Return every module."""
        return await self._fetch(_MODULES, "GET", "/asterisk/modules")

    async def get_module(self, name: str) -> Module:
        """Return one module (`res_stasis.so`); NotFound or Conflict when it is not loaded."""
        return await self._fetch(_MODULE, "GET", f"/asterisk/modules/{segment(name)}")

    async def reload_module(self, name: str) -> None:
        """Let a module read its configuration again."""
        await self._call("PUT", f"/asterisk/modules/{segment(name)}")

    async def get_global_var(self, variable: str) -> str:
        """Return a global variable or dialplan function."""
        found = await self._fetch(_VARIABLE, "GET", "/asterisk/variable", {"variable": variable})
        return found.value

    async def set_global_var(self, variable: str, value: str) -> None:
        """Set a global variable."""
        params = {"variable": variable, "value": value}
        await self._call("POST", "/asterisk/variable", params)

    async def list_sounds(self, *, lang: str = "", fmt: str = "") -> list[Sound]:
        """Return the installed prompts, of one language or format if given.

        Raises NotFound when there are none.
        """
        return await self._fetch(_SOUNDS, "GET", "/sounds", {"lang": lang, "format": fmt})

    async def get_sound(self, sound_id: str) -> Sound:
        """Return one prompt with its languages and formats."""
        return await self._fetch(_SOUND, "GET", f"/sounds/{segment(sound_id)}")

    async def list_endpoints(self, tech: str = "") -> list[Endpoint]:
        """Return the endpoints, of one technology if given."""
        path = f"/endpoints/{segment(tech)}" if tech else "/endpoints"
        return await self._fetch(_ENDPOINTS, "GET", path)

    async def get_endpoint(self, tech: str, resource: str) -> Endpoint:
        """Return one endpoint."""
        path = f"/endpoints/{segment(tech)}/{segment(resource)}"
        return await self._fetch(_ENDPOINT, "GET", path)

    async def list_device_states(self) -> list[DeviceState]:
        """Return the device states that ARI controls."""
        return await self._fetch(_DEVICE_STATES, "GET", "/deviceStates")

    async def get_device_state(self, device: str) -> DeviceState:
        """Return the state of a device."""
        return await self._fetch(_DEVICE_STATE, "GET", f"/deviceStates/{segment(device)}")

    async def set_device_state(self, device: str, state: str) -> None:
        """Set the state of a `Stasis:` device: `INUSE`, `NOT_INUSE`, ..."""
        await self._call("PUT", f"/deviceStates/{segment(device)}", {"deviceState": state})

    async def delete_device_state(self, device: str) -> None:
        """Forget a `Stasis:` device."""
        await self._call("DELETE", f"/deviceStates/{segment(device)}")
