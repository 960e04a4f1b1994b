"""A menu: 1 repeats the number called, 2 connects to somebody, anything else ends the call.

    python examples/ivr.py

reads the same `VOXTRA_ARI_...` variables as `record_call.py`; `AGENT` is whom 2 connects to.
"""

from __future__ import annotations

import logging
import os

from voxtra import CallSession, VoxtraApp
from voxtra.exceptions import DialFailed

AGENT = os.environ.get("AGENT") or "PJSIP/agent"

app = VoxtraApp()


@app.route(extension="1000", metadata={"menu": "main"})
async def menu(call: CallSession) -> None:
    await call.answer()
    await call.record_start()  # goes on through prompts and the transfer
    for _ in range(3):
        await call.play_file("hello-world")
        digit = await call.listen_dtmf(timeout=5)
        if digit == "1":
            await call.play_file(f"digits:{call.called_number}")
        elif digit == "2":
            try:
                await call.transfer_to(AGENT, timeout=20)
                return  # the two go on talking without us
            except DialFailed as error:
                logging.info("nobody for %s: %s", call.caller_id, error.disposition)
                await call.play_file("vm-nobodyavail")
        else:
            break
    await call.play_file("vm-goodbye")
    await call.hangup()


@app.default()
async def other(call: CallSession) -> None:
    await call.hangup("unallocated")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    app.run()
