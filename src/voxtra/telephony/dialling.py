"""The dialling plane of ARI: from the request to an answered channel in our application, or to the
reason why not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Final

from voxtra.ari import schema
from voxtra.ari.client import ARIClient
from voxtra.exceptions import BadRequest, DialFailed, NotFound, ServerError, TelephonyError
from voxtra.model import Disposition
from voxtra.telephony.calls import CallPlane
from voxtra.telephony.causes import disposition_of

__all__ = ["DialPlane"]

log = logging.getLogger(__name__)

RING_GRACE: Final = 5.0
"""Seconds beyond the ring time before we end a dial that Asterisk should have ended."""


class _Dial:
    """A dial under way; `outcome` is None when answered, else the Q.850 cause of its end."""

    __slots__ = ("asked", "outcome")

    def __init__(self) -> None:
        self.asked = False
        self.outcome: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    def settle(self, outcome: int | None) -> None:
        """Note how it ended, once."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class DialPlane:
    """Dials under way, by the id we chose for the channel."""

    def __init__(self, ari: ARIClient, calls: CallPlane) -> None:
        self._ari = ari
        self._calls = calls
        self._dials: dict[str, _Dial] = {}

    def __contains__(self, channel_id: str) -> bool:
        return channel_id in self._dials

    async def dial(
        self,
        endpoint: str,
        *,
        call_id: str,
        caller_id: str,
        timeout: float,
        variables: Mapping[str, str] | None,
    ) -> None:
        """Call an endpoint; see `BaseTelephonyAdapter.originate`."""
        dial = self._dials[call_id] = _Dial()
        self._calls.expect(call_id)
        answered = False
        # A request that is given up half-way may still be carried out, after the hang-up: so it is
        # always seen through.
        asking = asyncio.create_task(
            self._ari.originate(
                endpoint,
                channel_id=call_id,
                caller_id=caller_id,
                timeout=max(1, round(timeout)),
                variables=variables,
                # Left to itself a Local channel negotiates 192 kHz: 3.4 % of a core per call
                # instead of 0.28 %.
                formats="slin" if endpoint.startswith("Local/") else "",
            )
        )
        try:
            await asyncio.shield(asking)
            dial.asked = True
            async with asyncio.timeout(timeout + RING_GRACE):
                cause = await dial.outcome
            answered = cause is None
        except (BadRequest, ServerError) as error:
            raise DialFailed(endpoint, Disposition.UNREACHABLE, 0) from error
        except TimeoutError:
            await self._give_up(call_id, asking)
            raise DialFailed(endpoint, Disposition.NO_ANSWER, 0) from None
        except BaseException:
            await asyncio.shield(self._give_up(call_id, asking))
            raise
        finally:
            del self._dials[call_id]
            if not answered:
                self._calls.forget(call_id)
        if cause is not None:
            raise DialFailed(endpoint, disposition_of(cause), cause)

    def answered(self, channel_id: str) -> None:
        """A channel has entered our application: usable from now on."""
        dial = self._dials.get(channel_id)
        if dial is not None:
            dial.settle(None)

    def ended(self, channel_id: str, cause: int) -> None:
        """A channel is gone."""
        dial = self._dials.get(channel_id)
        if dial is not None:
            dial.settle(cause)

    def asked(self) -> set[str]:
        """Return the channels that the PBX has said it is dialling."""
        return {call_id for call_id, dial in self._dials.items() if dial.asked}

    def reconcile(self, channels: Mapping[str, schema.Channel], asked: set[str]) -> None:
        """Settle the dials whose events were missed. `channels` is what the PBX holds, `asked` what
        it had begun to dial before it was asked for them: another one may just not be there yet.
        """
        for call_id, dial in self._dials.items():
            channel = channels.get(call_id)
            if channel is not None and channel.state == "Up":
                dial.settle(None)
            elif channel is None and call_id in asked:
                dial.settle(0)

    async def _give_up(self, call_id: str, asking: asyncio.Task[schema.Channel]) -> None:
        await asyncio.gather(asking, return_exceptions=True)
        try:
            with contextlib.suppress(NotFound):
                await self._ari.hangup_channel(call_id)
        except TelephonyError as error:
            log.warning("dial %s was given up, but could not be hung up: %s", call_id, error)
