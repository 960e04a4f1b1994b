"""Place a call without a phone: a Local channel, one half the caller, the other the phone."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from voxtra.ari import ARIClient
from voxtra.ari.decode import decode
from voxtra.ari.schema import ChannelDestroyed, StasisStart
from voxtra.exceptions import NotFound
from voxtra.ids import new_id
from voxtra.lab import sound
from voxtra.lab.errors import LabError
from voxtra.lab.pbx import Pbx

__all__ = ["PlacedCall", "place_call"]

_EXTENSION = re.compile(r"([+*#0-9]|[A-Za-z][A-Za-z0-9])[^\s@/]*")
"""What the context `default` of the lab's dialplan answers to."""


@dataclass(frozen=True, slots=True)
class PlacedCall:
    """How a placed call went.

    `call_id` is the channel that the application saw, `seconds` the time from the answer to the end
    (0 when it was not answered), `cause` the Q.850 cause of its end.
    """

    call_id: str
    answered: bool
    seconds: float
    cause: int


async def place_call(
    pbx: Pbx,
    *,
    to: str = "1000",
    say: str = "tone:440",
    seconds: float = 5.0,
    app: str = "voxtra",
    caller: str = "+15550100",
    ring_seconds: int = 30,
    call_id: str = "",
) -> PlacedCall:
    """Call extension `to`, served by the Stasis application `app`; return when the call is over.

    Once answered the caller says `say` ("tone:440", "silence", "say:hello") and hangs up after
    `seconds`; it gives up after ringing for `ring_seconds`. `call_id` is the id that the
    application's channel will have (a new one when empty). Cancelling hangs up. Raises LabError for
    a sound that can't be made or an extension that the lab can't have, and TelephonyError when
    Asterisk can't be asked.
    """
    if not _EXTENSION.fullmatch(to):
        msg = f"{to!r} can't be called; give a number, or a name of two or more letters"
        raise LabError(msg)
    media = await asyncio.to_thread(_media, pbx, say, seconds)
    call_id = call_id or f"call-{new_id()}"
    # The phone's half of the channel is an application of its own name: so it hears how the call
    # ends.
    phone = f"phone-{new_id()}"
    async with ARIClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, app_name=phone) as client:
        events = await client.events_websocket(heartbeat=10)
        try:
            await client.originate(
                f"Local/{to}@default/n",
                caller_id=caller,
                timeout=ring_seconds,
                variables={"VOXTRA_APP": app, "LAB_SOUND": media, "LAB_SECONDS": f"{seconds:g}"},
                channel_id=phone,
                other_channel_id=call_id,
                formats="slin",  # negotiated freely it would be 192 kHz, at ten times the price
            )
            try:
                return await _follow(client, events, phone, call_id)
            except BaseException:
                with contextlib.suppress(NotFound):
                    await client.hangup_channel(phone)
                raise
        finally:
            await events.close()


async def _follow(
    client: ARIClient, events: aiohttp.ClientWebSocketResponse, phone: str, call_id: str
) -> PlacedCall:
    """Let the phone talk once it is answered, and wait for the end."""
    answered: float | None = None
    async for message in events:
        match decode(message.data):
            case StasisStart(channel=channel) if channel.id == phone:
                answered = time.monotonic()
                with contextlib.suppress(NotFound):  # hung up at once: its end is on the way
                    await client.continue_in_dialplan(phone, context="lab-phone", extension="play")
            case ChannelDestroyed(channel=channel, cause=cause) if channel.id == phone:
                seconds = 0.0 if answered is None else time.monotonic() - answered
                return PlacedCall(call_id, answered is not None, round(seconds, 3), cause)
            case _:
                continue
    msg = "Asterisk went away during the call"
    raise LabError(msg)


def _media(pbx: Pbx, spec: str, seconds: float) -> str:
    """Have the sound in the PBX's reach and return the name it plays it by."""
    digest = hashlib.sha256(f"{spec} {seconds:g}".encode()).hexdigest()[:16]
    path = pbx.sounds_dir / f"{digest}.wav"
    if not path.exists():
        part = Path(f"{path}.{new_id()}.part")
        sound.write(spec, part, seconds=seconds)
        part.rename(path)
    return f"{pbx.sounds_prefix}{digest}"
