"""What `voxtra serve` does with a call: greet whoever calls, and stay until they hang up.

Nothing here records. Recordings are begun by requests, `POST /v1.0/calls/{id}/recording_start`, and
kept by the service. `PROMPT` is the sound that callers hear.
"""

from __future__ import annotations

import os

from voxtra import CallSession

PROMPT = os.environ.get("PROMPT") or "hello-world"


async def answer(call: CallSession) -> None:
    await call.answer()
    await call.play_file(PROMPT)
    await call.wait_ended()
