"""A PBX in memory that connects calls, for moments that a real one can't be made to meet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import CallEnded, TelephonyConnectionError
from voxtra.telephony.base import BaseTelephonyAdapter


class ToyExchange(BaseTelephonyAdapter):
    """Everybody who is dialled answers at once; who calls stays until he is hung up.

    `up` are the calls there are, `bridges` who is in which; `when_answered` is run in the moment in
    which somebody who was dialled answers; `refuses` names verbs that fail; `caller_id` is what
    callers claim to be.
    """

    def __init__(self) -> None:
        self.up: set[str] = set()
        self.bridges: dict[str, set[str]] = {}
        self.refuses: set[str] = set()
        self.reasons: dict[str, str] = {}
        self.caller_id = ""
        self.when_answered: Callable[[], None] = lambda: None

    async def connect(self) -> None:
        """It is always there."""

    async def disconnect(self) -> None:
        """It holds nothing."""

    def call(self, call_id: str) -> None:
        """Somebody calls."""
        self.up.add(call_id)
        data = {"caller_id": self.caller_id, "called_number": "1000", "direction": "inbound"}
        self._on_event(VoxtraEvent(EventType.CALL_STARTED, call_id, data))

    def end(self, call_id: str) -> None:
        """A call ends, in this very moment."""
        self.up.discard(call_id)
        for members in self.bridges.values():
            members.discard(call_id)
        data = {"cause": 16, "reason": "normal clearing", "answered": True}
        self._on_event(VoxtraEvent(EventType.CALL_ENDED, call_id, data))

    async def answer_call(self, call_id: str) -> None:
        """Answer."""
        await self._carry_out("answer", call_id)

    async def hangup_call(self, call_id: str, reason: str = "normal") -> None:
        """Hang up."""
        self.reasons[call_id] = reason
        await self._carry_out("hangup")
        if call_id in self.up:
            self.end(call_id)

    async def originate(
        self,
        endpoint: str,
        *,
        call_id: str,
        caller_id: str = "",
        timeout: float = 30.0,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Dial; it is answered."""
        await self._carry_out("originate")
        self.up.add(call_id)
        self._on_event(VoxtraEvent(EventType.CALL_ANSWERED, call_id))
        self.when_answered()

    async def ring_call(self, call_id: str, *, on: bool = True) -> None:
        """Ring, or stop that."""
        await self._carry_out("ring" if on else "ring_stop", call_id)

    async def create_bridge(self, bridge_id: str) -> None:
        """Make a bridge."""
        await self._carry_out("create_bridge")
        self.bridges[bridge_id] = set()

    async def bridge_add(self, bridge_id: str, call_id: str) -> None:
        """Put a call in, out of any other."""
        await self._carry_out("bridge_add", call_id)
        for members in self.bridges.values():
            members.discard(call_id)
        self.bridges[bridge_id].add(call_id)

    async def bridge_remove(self, bridge_id: str, call_id: str) -> None:
        """Take a call out."""
        await self._carry_out("bridge_remove")
        self.bridges.get(bridge_id, set()).discard(call_id)

    async def destroy_bridge(self, bridge_id: str) -> None:
        """Destroy a bridge."""
        await self._carry_out("destroy_bridge")
        self.bridges.pop(bridge_id, None)

    async def _carry_out(self, verb: str, call_id: str = "") -> None:
        await asyncio.sleep(0)
        if verb in self.refuses:
            raise TelephonyConnectionError(f"the PBX does not answer to {verb}")
        if call_id and call_id not in self.up:
            raise CallEnded(call_id)
