"""Answer every call, record both sides, and say where the recording is.

    VOXTRA_ARI_URL=http://localhost:8088 VOXTRA_ARI_USER=asterisk VOXTRA_ARI_PASSWORD=... \\
        python examples/record_call.py

`VOXTRA_RECORDING_DIR` is Asterisk's recording folder (/var/spool/asterisk/recording if not set),
`PROMPT` the sound that callers hear. Asterisk's dialplan sends calls here with `Stasis(voxtra)`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os

from voxtra import CallSession, RecordingMetadata, RecordingSink, VoxtraApp

PROMPT = os.environ.get("PROMPT") or "hello-world"


class PrintSink(RecordingSink):
    """Prints what is known of each finished recording; yours would store or upload the file."""

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        print(json.dumps(dataclasses.asdict(metadata)), flush=True)


app = VoxtraApp(recording_sink=PrintSink())


@app.default()
async def record(call: CallSession) -> None:
    await call.answer()
    await call.record_start(layout="stereo")  # the caller left, what the caller hears right
    await call.play_file(PROMPT)
    await call.wait_ended()  # the hang-up finishes the recording


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    app.run()
