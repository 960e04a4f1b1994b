"""Sinks: told once, whatever the sink or its receiver does."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import json
import logging
import time
from typing import Any

import pytest
import standardwebhooks
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.exceptions import ConfigurationError
from voxtra.recording import (
    SINK_OUTCOMES,
    CompositeSink,
    LocalFileSink,
    RecordingMetadata,
    RecordingSink,
    SinkOutcome,
    WebhookSink,
    deliver,
)

from .receiver import receiving, status

META = RecordingMetadata(
    session_id="ch-1234",
    name="voxtra-rec-1",
    file_path="/var/spool/asterisk/recording/voxtra-rec-1.wav",
    duration_seconds=42.3,
)


class Keeping(RecordingSink):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[RecordingMetadata] = []
        self.heard = asyncio.Event()

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Do what the class says."""
        self.told.append(metadata)
        self.heard.set()


class Raising(RecordingSink):
    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Do what the class says."""
        raise OSError("no space left")


class Hanging(RecordingSink):
    """Never ends, and says when it was cancelled."""

    def __init__(self, deadline: float = 60.0) -> None:
        self.deadline_seconds = deadline
        self.began = asyncio.Event()
        self.cancelled = False

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Do what the class says."""
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


class SelfCancelling(RecordingSink):
    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Do what the class says."""
        raise asyncio.CancelledError


class Stubborn(RecordingSink):
    """Ignores its cancellation until it is released."""

    deadline_seconds = 0.05

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.ended = asyncio.Event()

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Do what the class says."""
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                continue
        self.ended.set()
        raise OSError("too late")


def test_metadata_is_the_contract():
    """The fields, their order and their defaults are those that sinks were written against."""
    assert dataclasses.asdict(RecordingMetadata("s", "n")) == {
        "session_id": "s",
        "name": "n",
        "file_path": "",
        "duration_seconds": None,
        "format": "wav",
        "extra": {},
    }
    assert [field.name for field in dataclasses.fields(RecordingMetadata)] == [
        "session_id", "name", "file_path", "duration_seconds", "format", "extra",
    ]  # fmt: skip


async def test_local_file_sink_logs_a_debug_line(caplog: pytest.LogCaptureFixture):
    """`LocalFileSink` does nothing but a debug line with the path, guessed if need be."""
    with caplog.at_level(logging.DEBUG, logger="voxtra.recording"):
        await LocalFileSink().on_recording_complete(META)
        await LocalFileSink("/mnt").on_recording_complete(RecordingMetadata("s", "n", format="gsm"))
    assert [record.levelno for record in caplog.records] == [logging.DEBUG, logging.DEBUG]
    assert META.file_path in caplog.text
    assert "/mnt/n.gsm" in caplog.text


async def test_webhook_payload_is_the_documented_one():
    """The body is compact JSON with the documented keys in the documented order."""
    async with receiving() as receiver:
        sink = WebhookSink(receiver.url)
        await sink.on_recording_complete(META)
        assert receiver.requests[0].body == (
            b'{"session_id":"ch-1234","name":"voxtra-rec-1",'
            b'"file_path":"/var/spool/asterisk/recording/voxtra-rec-1.wav",'
            b'"duration_seconds":42.3,"format":"wav","extra":{}}'
        )
        assert "X-Voxtra-Signature" not in receiver.requests[0].headers
        await sink.aclose()


async def test_webhook_is_signed_in_both_ways():
    """A receiver can check the hex HMAC of the body, or use any Standard Webhooks library."""
    async with receiving() as receiver:
        sink = WebhookSink(receiver.url, signing_secret="please-rotate-me")
        await sink.on_recording_complete(META)
        request = receiver.requests[0]
        assert request.headers["X-Voxtra-Signature"] == (
            hmac.new(b"please-rotate-me", request.body, hashlib.sha256).hexdigest()
        )
        verified = standardwebhooks.Webhook(b"please-rotate-me").verify(
            request.body, request.headers
        )
        assert verified == json.loads(request.body)
        await sink.aclose()


async def test_one_500_is_not_a_lost_recording():
    """A passing fault of the receiver is tried again, with the same id."""
    async with receiving() as receiver:
        receiver.answers = [status(500), status(503), status(429)]
        sink = WebhookSink(receiver.url, retry_backoff=0.01)
        assert await sink.on_recording_complete(META) is True
        assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
        assert len(receiver.requests) == 4
        await sink.aclose()


async def test_webhook_sink_never_raises(caplog: pytest.LogCaptureFixture):
    """A receiver that refuses is a log line with the recording and False, no exception."""
    async with receiving() as receiver:
        receiver.answers = [status(404)]
        sink = WebhookSink(receiver.url)
        assert await sink.on_recording_complete(META) is False
        assert "recording voxtra-rec-1: http://127.0.0.1:" in caplog.text
        assert "HTTP 404" in caplog.text
        await sink.aclose()


async def test_id_is_stable_and_different_for_each_recording():
    """`webhook-id` is the recording's own id, else made from call and name: the same each time."""
    recordings = [
        dataclasses.replace(META, extra={"recording_id": "0192abc"}),
        META,
        dataclasses.replace(META, session_id="ch-9"),
        dataclasses.replace(META, name="other\r\nX-Evil: 1"),
    ]
    async with receiving() as receiver:
        for _ in range(2):
            sink = WebhookSink(receiver.url)
            for recording in recordings:
                assert await sink.on_recording_complete(recording)
            await sink.aclose()
        ids = [request.headers["webhook-id"] for request in receiver.requests]
        assert ids[:4] == ids[4:]
        assert len(set(ids)) == 4
        assert ids[0] == "0192abc"
        assert all("X-Evil" not in request.headers for request in receiver.requests)


async def test_empty_url_is_a_no_op_with_one_warning(caplog: pytest.LogCaptureFixture):
    """`WebhookSink("")` does nothing and says so once."""
    sink = WebhookSink("")
    for _ in range(3):
        assert await deliver(sink, META) is SinkOutcome.DELIVERED
    await sink.aclose()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_webhook_sink_gets_time_for_all_its_tries():
    """The sink's deadline is longer than its tries and pauses can take together."""
    sink = WebhookSink("http://host/", timeout_seconds=10, max_retries=5)
    assert sink.deadline_seconds > 6 * 10 + (1 + 2 + 4 + 8 + 16)
    assert CompositeSink(LocalFileSink(), sink).deadline_seconds > sink.deadline_seconds


@pytest.mark.parametrize("bad", ["nowhere", "ftp://x", "http://"])
def test_bad_url_is_refused_at_construction(bad: str):
    """A URL that can't work is an error when the sink is made, not when a recording ends."""
    with pytest.raises(ConfigurationError):
        WebhookSink(bad)


async def test_deliver_tells_the_outcome_and_counts_it(caplog: pytest.LogCaptureFixture):
    """Raising, hanging and cancelling itself end in an outcome, a counter and a log line."""
    before = SINK_OUTCOMES.copy()
    assert await deliver(Keeping(), META) is SinkOutcome.DELIVERED
    assert not caplog.records
    for sink, outcome, says in (
        (Raising(), SinkOutcome.FAILED, "no space left"),
        (Hanging(0.05), SinkOutcome.TIMED_OUT, "did not finish in 0.05 s"),
        (SelfCancelling(), SinkOutcome.CANCELLED, "cancelled itself"),
    ):
        caplog.clear()
        assert await deliver(sink, META) is outcome
        assert "voxtra-rec-1" in caplog.text
        assert type(sink).__name__ in caplog.text
        assert says in caplog.text
    assert SINK_OUTCOMES - before == {
        ("Keeping", SinkOutcome.DELIVERED): 1,
        ("Raising", SinkOutcome.FAILED): 1,
        ("Hanging", SinkOutcome.TIMED_OUT): 1,
        ("SelfCancelling", SinkOutcome.CANCELLED): 1,
    }


async def test_given_deadline_comes_before_the_sinks():
    """Who delivers may shorten the time."""
    sink = Hanging(60)
    began = time.monotonic()
    assert await deliver(sink, META, deadline=0.05) is SinkOutcome.TIMED_OUT
    assert time.monotonic() - began < 1
    assert sink.cancelled


async def test_cancellation_of_the_caller_goes_through_to_the_sink():
    """Who is really cancelled stays cancelled, and takes every child of a composite along."""
    children = Hanging(), Hanging()
    task = asyncio.create_task(deliver(CompositeSink(*children), META))
    for child in children:
        await asyncio.wait_for(child.began.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(child.cancelled for child in children)


async def test_sink_that_ignores_its_cancellation_is_left_to_itself(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """A stubborn sink costs its deadline and a moment, and no unretrieved error later."""
    monkeypatch.setattr("voxtra.recording.CANCEL_GRACE", 0.05)
    sink = Stubborn()
    assert await deliver(sink, META) is SinkOutcome.TIMED_OUT
    assert "ignores its cancellation" in caplog.text
    sink.release.set()
    await asyncio.wait_for(sink.ended.wait(), 5)


async def test_a_sink_of_any_class_will_do():
    """What has `on_recording_complete` is a sink."""

    class Duck:
        async def on_recording_complete(self, meta: RecordingMetadata) -> None:
            told.append(meta)

    told: list[RecordingMetadata] = []
    assert await deliver(Duck(), META) is SinkOutcome.DELIVERED
    await CompositeSink(Duck(), Keeping()).on_recording_complete(META)
    assert told == [META, META]


async def test_composite_children_do_not_wait_for_each_other():
    """A hanging, a raising and a self-cancelling child cost their siblings nothing."""
    first, last = Keeping(), Keeping()
    hanging = Hanging()
    sink = CompositeSink(first, hanging, Raising(), SelfCancelling(), last)
    began = time.monotonic()
    task = asyncio.create_task(deliver(sink, META))
    await asyncio.wait_for(hanging.began.wait(), 5)
    await asyncio.wait_for(last.heard.wait(), 5)
    assert (first.told, last.told) == ([META], [META])
    assert time.monotonic() - began < 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_composite_child_has_its_own_deadline():
    """A child that hangs ends at its own deadline, and the composite then reports a failure."""
    hanging, kept = Hanging(0.05), Keeping()
    assert await deliver(CompositeSink(hanging, kept), META) is SinkOutcome.FAILED
    assert hanging.cancelled
    assert kept.told == [META]


async def test_composite_does_not_raise():
    """Called directly, a composite swallows (and logs) what its children do."""
    sink = CompositeSink(Raising(), CompositeSink(SelfCancelling(), Keeping()))
    assert await sink.on_recording_complete(META) is False


async def test_composite_children_share_no_values():
    """What one child writes into `extra` no sibling sees."""

    class Writing(RecordingSink):
        async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
            metadata.extra["mine"] = True

    kept = Keeping()
    meta = dataclasses.replace(META, extra={"size": 1})
    assert await CompositeSink(Writing(), kept).on_recording_complete(meta)
    assert (kept.told[0].extra, meta.extra) == ({"size": 1}, {"size": 1})


async def test_composite_closes_its_children():
    """`aclose` reaches every child that has one, whatever the others do."""

    class Closing(Keeping):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    class ClosingBadly(Keeping):
        async def aclose(self) -> None:
            raise OSError("stuck")

    class Duck:
        async def on_recording_complete(self, metadata: RecordingMetadata) -> None: ...

    closing = Closing()
    await CompositeSink(ClosingBadly(), Duck(), closing).aclose()
    assert closing.closed


def test_composite_keeps_its_sinks_and_refuses_what_is_none():
    """`.sinks` is the list of children; a class or a string among them is an error at once."""
    sinks = [LocalFileSink(), Keeping()]
    assert CompositeSink(*sinks).sinks == sinks
    with pytest.raises(ConfigurationError, match="has no on_recording_complete"):
        CompositeSink(LocalFileSink(), "http://x")  # type: ignore[arg-type]  # that is the test


@settings(max_examples=25, deadline=None)
@given(
    session_id=st.text(),
    name=st.text(),
    extra=st.dictionaries(st.text(), st.text() | st.integers()),
)
async def test_any_metadata_arrives(session_id: str, name: str, extra: dict[str, Any]):
    """Whatever the names, the receiver gets one well-formed request that says the same."""
    meta = RecordingMetadata(session_id, name, extra=extra)
    async with receiving() as receiver:
        sink = WebhookSink(receiver.url, signing_secret="s")
        assert await sink.on_recording_complete(meta) is True
        assert receiver.requests[0].json == dataclasses.asdict(meta)
        await sink.aclose()
