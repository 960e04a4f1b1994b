"""What follows the end of a recording in the service: nothing here, for the row says all.

The transaction that made the row `stopping` has queued the ingest, the one that makes it available
or failed queues what the sink is to be told. Both are done by whoever has time, after a restart as
well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from voxtra.lifecycle import Change
from voxtra.live_recording import LiveRecording
from voxtra.recording import RecordingMetadata, RecordingSink, SinkOutcome, deliver

__all__ = ["HandedOver"]

log = logging.getLogger(__name__)


class HandedOver:
    """The `Aftermath` of the service; it keeps the sinks that were given for single recordings.

    Such a sink is an object of this process: after a restart the app's own is told in its place.
    """

    def __init__(self, app_sink: Callable[[], RecordingSink | None]) -> None:
        self._app_sink = app_sink
        self._sinks: dict[str, RecordingSink] = {}

    def taken(self, live: LiveRecording) -> None:
        """See `Aftermath.taken`."""
        if live.sink is not None:
            self._sinks[live.recording.id] = live.sink

    async def capture(self, live: LiveRecording) -> Change | None:
        """See `Aftermath.capture`: a worker does it."""
        return None

    async def settle(self, live: LiveRecording) -> None:
        """See `Aftermath.settle`: the outbox does it, where anybody is told."""
        if not live.wants_sink:
            self._sinks.pop(live.recording.id, None)

    def abandoned(self, live: LiveRecording) -> Change | None:
        """See `Aftermath.abandoned`: the next run takes it up."""
        log.info("recording %s is taken up again at the next start", live.recording.name)
        return None

    async def tell(self, recording_id: str, metadata: RecordingMetadata) -> bool:
        """Tell the sink of a recording; False when that failed and is to be tried again."""
        sink = self._sinks.get(recording_id) or self._app_sink()
        if sink is None:
            log.error(
                "recording %s: its sink went with the process that had it, and the app has none",
                metadata.name,
            )
            return False
        told = await deliver(sink, metadata) is SinkOutcome.DELIVERED
        if told:
            self._sinks.pop(recording_id, None)
        return told
