"""The client for ARI's requests: every verb the project needs, flat on one object."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from voxtra.ari.applications import ApplicationVerbs
from voxtra.ari.bridges import BridgeVerbs
from voxtra.ari.channels import ChannelVerbs
from voxtra.ari.media import MediaVerbs
from voxtra.ari.recordings import RecordingVerbs
from voxtra.ari.schema import AsteriskInfo
from voxtra.ari.system import SystemVerbs

__all__ = ["ARIClient"]


class ARIClient(
    ChannelVerbs, MediaVerbs, BridgeVerbs, RecordingVerbs, ApplicationVerbs, SystemVerbs
):
    """Requests to one Asterisk over a pool of HTTP connections.

    `base_url` is the URL of Asterisk's HTTP server (http://localhost:8088), `app_name` the Stasis
    application that channels are put into, `timeout` the seconds each request may take. Every verb
    raises `AriError` (see `voxtra.exceptions`) for what Asterisk refuses, `RequestTimeout` and
    `TelephonyConnectionError` when there is no answer.
    """

    _connected = False

    async def connect(self) -> AsteriskInfo:
        """Open the pool and ask Asterisk who it is; connecting twice is fine.

        Raises AuthenticationFailed for a wrong user or password, TelephonyConnectionError when
        there is no Asterisk.
        """
        fresh = self._session is None
        if fresh:
            self.open()
        try:
            info = await self.asterisk_info()
        except BaseException:
            if fresh:
                await self.close()
            raise
        self._connected = True
        return info

    @property
    def is_connected(self) -> bool:
        """Whether `connect` has succeeded and `close` was not called since."""
        return self._connected

    async def close(self) -> None:
        """Close every connection. Closing twice is fine."""
        self._connected = False
        await super().close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
