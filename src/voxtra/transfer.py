"""Connecting a caller to somebody else: ring, dial, bridge, or leave no trace of the attempt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from voxtra.exceptions import VoxtraError
from voxtra.telephony.base import BaseTelephonyAdapter

if TYPE_CHECKING:
    from voxtra.session import CallSession

__all__ = ["Dialler", "connect", "printable"]

log = logging.getLogger(__name__)


class Dialler(Protocol):
    """Calls somebody on behalf of a call and returns the answered call."""

    async def __call__(
        self,
        endpoint: str,
        *,
        caller_id: str,
        timeout: float,
        variables: Mapping[str, str] | None,
        origin: CallSession | None = None,
    ) -> CallSession:
        """Return the answered call. Raises `DialFailed`."""
        ...


async def connect(
    call: CallSession,
    telephony: BaseTelephonyAdapter,
    dialler: Dialler,
    endpoint: str,
    *,
    timeout: float,
    variables: Mapping[str, str] | None,
) -> CallSession:
    """Let the caller hear ringing, dial, and bridge them, or hang up who answered in vain."""
    other: CallSession | None = None
    await telephony.ring_call(call.id)
    try:
        try:
            other = await dialler(
                endpoint,
                # It is the caller's own claim, and goes into headers.
                caller_id=printable(call.caller_id),
                timeout=timeout,
                variables=variables,
                origin=call,
            )
        finally:
            if not call.state.is_final:
                await telephony.ring_call(call.id, on=False)
        await call.bridge_with(other)
    except BaseException:
        if other is not None:
            await asyncio.shield(_dismiss(other))
        raise
    return other


def printable(claim: str) -> str:
    """Return what somebody claims to be without line breaks and other control characters."""
    return "".join(filter(str.isprintable, claim))


async def _dismiss(other: CallSession) -> None:
    try:
        await other.hangup()
    except VoxtraError as error:
        log.warning("call %s could not be hung up: %s", other.id, error)
