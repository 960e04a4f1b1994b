"""Event webhooks: every wanted event, in the order of its call, or a line that says why not."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote

import aiohttp
import pytest
import standardwebhooks
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.config import WebhookConfig
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import ConfigurationError
from voxtra.webhooks import BackendWebhook

from .receiver import Received, Receiver, receiving, status


def event(session: str = "call-1", number: int = 0, **data: Any) -> VoxtraEvent:
    """Return an event of a call."""
    return VoxtraEvent(EventType.DTMF_RECEIVED, session, {"number": number, **data})


def webhook(receiver: Receiver, **settings: Any) -> BackendWebhook:
    """Return a webhook to a receiver that is tried again quickly."""
    return BackendWebhook(WebhookConfig(url=receiver.url, **{"retry_backoff": 0.01, **settings}))


def numbers(receiver: Receiver, session: str) -> list[int]:
    """Return the numbers of a call's events in the order in which they arrived."""
    bodies = (request.json for request in receiver.requests)
    return [body["data"]["number"] for body in bodies if body["session_id"] == session]


async def test_body_and_headers_are_the_contract():
    """The body is `{id,type,session_id,timestamp,data}`, the headers say the same and sign it."""
    async with receiving() as receiver:
        hook = webhook(receiver, signing_secret="whsec_c2VjcmV0")
        sent = VoxtraEvent(EventType.CALL_STARTED, "call-1", {"caller_id": "+265"})
        assert await hook.emit(sent) is True
        request = receiver.requests[0]
        assert list(request.json) == ["id", "type", "session_id", "timestamp", "data"]
        assert request.json | {"timestamp": ""} == {
            "id": sent.id,
            "type": "call.started",
            "session_id": "call-1",
            "timestamp": "",
            "data": {"caller_id": "+265"},
        }
        assert datetime.fromisoformat(request.json["timestamp"]) == sent.timestamp
        assert b": " not in request.body
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["User-Agent"] == "voxtra-webhook/1"
        assert request.headers["X-Voxtra-Event"] == "call.started"
        assert request.headers["X-Voxtra-Event-Id"] == request.headers["webhook-id"] == sent.id
        assert request.headers["X-Voxtra-Session-Id"] == "call-1"
        assert len(request.headers["X-Voxtra-Signature"]) == 64
        standardwebhooks.Webhook("whsec_c2VjcmV0").verify(request.body, request.headers)
        await hook.aclose()


@pytest.mark.parametrize(
    "when",
    [
        datetime(2026, 1, 2, 3, 4, 5),
        datetime(2026, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2))),
    ],
)
async def test_timestamp_is_utc(when: datetime):
    """Whatever the zone of an event's time, the receiver reads UTC."""
    async with receiving() as receiver:
        hook = webhook(receiver)
        await hook.emit(VoxtraEvent(EventType.ERROR, "c", timestamp=when))
        assert receiver.requests[0].json["timestamp"] == "2026-01-02T03:04:05Z"
        await hook.aclose()


async def test_order_of_a_call_is_kept_over_a_retry():
    """An event that needs three tries still arrives before the one that follows it."""
    async with receiving() as receiver:
        receiver.answers = [status(500), status(429)]
        hook = webhook(receiver)
        for number in range(3):
            hook.publish(event(number=number))
        assert await hook.emit(event(number=3))
        assert numbers(receiver, "call-1") == [0, 0, 0, 1, 2, 3]
        await hook.aclose()


async def test_calls_do_not_wait_for_each_other():
    """While one call's event hangs at the receiver, another call's arrive."""
    async with receiving() as receiver:
        release = asyncio.Event()

        async def hang_first_call(received: Received) -> web.Response:
            if received.json["session_id"] == "call-1":
                await release.wait()
            return web.Response()

        receiver.respond = hang_first_call
        hook = webhook(receiver)
        hook.publish(event("call-1", 0))
        hook.publish(event("call-1", 1))
        await receiver.wait_for(1)
        assert await asyncio.wait_for(hook.emit(event("call-2", 0)), 5)
        assert numbers(receiver, "call-1") == [0]
        release.set()
        await hook.aclose()
        assert numbers(receiver, "call-1") == [0, 1]


async def test_many_calls_at_once_lose_and_reorder_nothing():
    """200 calls with 5 events each over a receiver that fails now and then: all, in order."""
    async with receiving() as receiver:
        count = 0

        async def fail_some(received: Received) -> web.Response:
            nonlocal count
            count += 1
            return status(503) if count % 7 == 0 else status(200)

        receiver.respond = fail_some
        hook = webhook(receiver, max_retries=20)
        for number in range(5):
            for call in range(200):
                hook.publish(event(f"call-{call}", number))
        await hook.aclose(grace_seconds=30)
        assert (hook.delivered, hook.failed, hook.dropped) == (1000, 0, 0)
        for call in range(200):
            assert list(dict.fromkeys(numbers(receiver, f"call-{call}"))) == [0, 1, 2, 3, 4]


async def test_refused_event_is_final_and_does_not_stop_the_next(
    caplog: pytest.LogCaptureFixture,
):
    """A 4xx gives False, a log line and a counter, after one try; the call goes on."""
    async with receiving() as receiver:
        receiver.answers = [status(400)]
        hook = webhook(receiver)
        assert await hook.emit(event(number=0)) is False
        assert await hook.emit(event(number=1)) is True
        assert (hook.delivered, hook.failed) == (1, 1)
        assert "dtmf.received of call-1 not delivered in 1 tries: HTTP 400" in caplog.text
        await hook.aclose()


async def test_gives_up_after_max_retries():
    """A receiver that stays broken costs `1 + max_retries` tries and gives False."""
    async with receiving() as receiver:
        receiver.answers = [status(500) for _ in range(9)]
        hook = webhook(receiver, max_retries=2)
        assert await hook.emit(event()) is False
        assert len(receiver.requests) == 3
        await hook.aclose()


async def test_only_wanted_events_are_sent():
    """With a filter, what is not in it is not sent, and `emit` says so."""
    async with receiving() as receiver:
        hook = webhook(receiver, events=["call.ended"])
        assert await hook.emit(event()) is False
        assert await hook.emit(VoxtraEvent(EventType.CALL_ENDED, "c")) is True
        assert [request.json["type"] for request in receiver.requests] == ["call.ended"]
        assert hook.dropped == 0
        await hook.aclose()


def test_misspelt_filter_is_an_error_with_the_right_name():
    """A filter that would silence everything is refused where it is written."""
    with pytest.raises(ConfigurationError, match=r"'call\.strated'.*'call\.started'"):
        WebhookConfig(url="http://host/", events=["call.strated"])


def test_bad_secret_is_refused_at_construction():
    """A secret that can't sign is an error before the first event."""
    with pytest.raises(ConfigurationError, match="signing_secret"):
        BackendWebhook(WebhookConfig(url="http://host/", signing_secret="whsec_%"))


async def test_empty_url_is_a_no_op_with_one_warning(caplog: pytest.LogCaptureFixture):
    """Without a URL nothing is sent, and that is said once."""
    hook = BackendWebhook(WebhookConfig())
    assert [await hook.emit(event()) for _ in range(3)] == [False, False, False]
    await hook.aclose()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_emit_after_close_is_false_and_logged(caplog: pytest.LogCaptureFixture):
    """An event after the end raises nothing: False, a counter, a log line."""
    async with receiving() as receiver:
        hook = webhook(receiver)
        await hook.aclose()
        assert await hook.emit(event()) is False
        hook.publish(event())
        assert hook.dropped == 2
        assert "webhook is closed: dtmf.received of call-1 not sent" in caplog.text
        assert receiver.requests == []


async def test_can_be_opened_again():
    """An app that is stopped and started again sends its events again."""
    async with receiving() as receiver:
        hook = webhook(receiver)
        await hook.aclose()
        hook.open()
        assert await hook.emit(event()) is True
        await hook.aclose()


async def test_close_sends_what_waits():
    """`aclose` returns when everything that was accepted has arrived."""
    async with receiving() as receiver:
        receiver.answers = [status(500)]
        hook = webhook(receiver)
        for number in range(20):
            hook.publish(event(number=number))
        await hook.aclose()
        assert numbers(receiver, "call-1") == [0, *range(20)]
        assert (hook.delivered, hook.dropped) == (20, 0)


@pytest.mark.parametrize("begun", [True, False])
async def test_close_ends_within_its_grace(begun: bool, caplog: pytest.LogCaptureFixture):
    """A receiver that hangs can't hold up the end; what is lost is counted, logged and False."""
    async with receiving() as receiver:
        forever = asyncio.Event()

        async def hang(received: Received) -> web.Response:
            await forever.wait()
            return web.Response()

        receiver.respond = hang
        hook = webhook(receiver)
        waiting = [asyncio.create_task(hook.emit(event(number=number))) for number in range(3)]
        if begun:
            await receiver.wait_for(1)
        else:
            await asyncio.sleep(0)  # the events are accepted, no request has begun
        began = time.monotonic()
        await hook.aclose(grace_seconds=0.05 if begun else 0)
        assert time.monotonic() - began < 2
        assert await asyncio.gather(*waiting) == [False, False, False]
        assert hook.dropped == 3
        assert caplog.text.count("no time left for dtmf.received of call-1") == 3
        forever.set()


async def test_cancelled_close_lets_go_of_everything():
    """Who cancels `aclose` leaves no task and no connection behind."""
    async with receiving() as receiver:
        receiver.answers = [status(503, Retry_After="50")]
        hook = webhook(receiver)
        hook.publish(event())
        await receiver.wait_for(1)
        closing = asyncio.create_task(hook.aclose(grace_seconds=60))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert hook.dropped == 1


async def test_full_queue_of_a_call_drops_its_oldest(caplog: pytest.LogCaptureFixture):
    """A call that floods loses its own oldest waiting events, counted and logged; others none."""

    class Small(BackendWebhook):
        MAX_WAITING_PER_SESSION = 3

    async with receiving() as receiver:
        hook = Small(WebhookConfig(url=receiver.url))
        lost = asyncio.create_task(hook.emit(event("flood", 0)))
        await asyncio.sleep(0)
        hook.publish(event("quiet", 0))
        for number in range(1, 6):
            hook.publish(event("flood", number))
        await hook.aclose()
        assert numbers(receiver, "flood") == [3, 4, 5]
        assert numbers(receiver, "quiet") == [0]
        assert (await lost, hook.dropped) == (False, 3)
        assert "can't keep up: 1 events dropped" in caplog.text


async def test_full_queues_drop_the_oldest_of_all():
    """All calls together are bounded too; the newest events survive."""

    class Small(BackendWebhook):
        MAX_WAITING = 10

    async with receiving() as receiver:
        hook = Small(WebhookConfig(url=receiver.url))
        for call in range(25):
            hook.publish(event(f"call-{call}", call))
        await hook.aclose()
        arrived = {request.json["session_id"] for request in receiver.requests}
        assert arrived == {f"call-{call}" for call in range(15, 25)}
        assert (hook.delivered, hook.dropped) == (10, 15)


async def test_event_is_sent_as_it_was_when_published():
    """Data that a handler changes afterwards does not change what was said."""
    async with receiving() as receiver:
        hook = webhook(receiver)
        data = {"number": 1}
        hook.publish(VoxtraEvent(EventType.ERROR, "call-1", data))
        data["number"] = 2
        await hook.aclose()
        assert numbers(receiver, "call-1") == [1]


async def test_bytes_and_odd_values_do_not_raise():
    """Data that JSON has no form for arrives as text."""
    async with receiving() as receiver:
        hook = webhook(receiver)
        cycle: dict[str, Any] = {}
        cycle["self"] = cycle
        odd = {"bytes": b"\xff", "object": object(), "set": {1}, "text": "\ud800", "cycle": cycle}
        assert await hook.emit(VoxtraEvent(EventType.ERROR, "c", odd)) is True
        assert receiver.requests[0].json["data"]["bytes"] == "/w=="
        await hook.aclose()


@settings(max_examples=25, deadline=None)
@given(session_id=st.text(st.characters(min_codepoint=1)))
async def test_session_id_can_inject_no_header(session_id: str):
    """Ids come from the PBX: line breaks and any other character travel percent-encoded."""
    async with receiving() as receiver:
        hook = webhook(receiver, signing_secret="s")
        assert await hook.emit(event(session_id)) is True
        header = receiver.requests[0].headers["X-Voxtra-Session-Id"]
        assert unquote(header, errors="surrogatepass") == session_id
        await hook.aclose()


async def test_header_injection_is_harmless():
    """A session id with a line break adds no header."""
    async with receiving() as receiver:
        hook = webhook(receiver)
        assert await hook.emit(event("1\r\nX-Evil: yes\r\n\r\n{}")) is True
        assert "X-Evil" not in receiver.requests[0].headers
        assert receiver.requests[0].json["session_id"].startswith("1\r\n")
        await hook.aclose()


async def test_given_client_stays_open():
    """A client that was given is used, and is its owner's to close."""
    async with receiving() as receiver, aiohttp.ClientSession() as client:
        hook = BackendWebhook(WebhookConfig(url=receiver.url), http_client=client)
        assert await hook.emit(event()) is True
        await hook.aclose()
        assert not client.closed


async def test_who_stops_waiting_for_emit_does_not_stop_the_event():
    """An emit that is cancelled gives up the answer, not the delivery."""
    async with receiving() as receiver:
        release = asyncio.Event()

        async def hang(received: Received) -> web.Response:
            await release.wait()
            return web.Response()

        receiver.respond = hang
        hook = webhook(receiver)
        task = asyncio.create_task(hook.emit(event()))
        await receiver.wait_for(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()
        await hook.aclose()
        assert hook.delivered == 1


async def test_nothing_is_kept_of_calls_that_are_done():
    """A year of calls leaves no queue behind."""
    async with receiving() as receiver:
        hook = webhook(receiver)
        await asyncio.gather(*(hook.emit(event(f"call-{call}")) for call in range(50)))
        assert not hook._lanes
        assert not hook._waiting
        await hook.aclose()


def test_config_repr_hides_the_secret():
    """Neither the config nor the webhook shows the secret when printed."""
    hook = BackendWebhook(WebhookConfig(url="http://host/", signing_secret="hush-hush"))
    assert "hush" not in repr(hook) + repr(hook.config) + json.dumps(str(hook.config))
