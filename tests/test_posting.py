"""Posting: what is tried again, for how long, and what a receiver can't do to us."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import unquote

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from voxtra import posting
from voxtra.exceptions import ConfigurationError
from voxtra.posting import Posted, Poster, encode_json, header_safe

from .receiver import Received, receiving, status


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_any_2xx_is_delivered(code: int):
    """Every 2xx ends it, at the first try."""
    async with receiving() as receiver:
        receiver.answers = [status(code)]
        poster = Poster(receiver.url)
        assert await poster.post(b"{}", message_id="m") == Posted(True, 1, code)
        await poster.aclose()


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504, 599])
async def test_passing_faults_are_tried_again(code: int):
    """408, 429 and every 5xx are tried again until one try succeeds."""
    async with receiving() as receiver:
        receiver.answers = [status(code), status(code)]
        poster = Poster(receiver.url, retry_backoff=0.01)
        assert await poster.post(b"{}", message_id="m") == Posted(True, 3, 200)
        await poster.aclose()


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 422])
async def test_other_4xx_is_final(code: int):
    """A receiver that refuses the message is asked once."""
    async with receiving() as receiver:
        receiver.answers = [status(code)]
        poster = Poster(receiver.url, retry_backoff=0.01)
        assert await poster.post(b"{}", message_id="m") == Posted(False, 1, code, f"HTTP {code}")
        await poster.aclose()


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_redirects_are_not_followed(code: int):
    """A redirect is final: the message goes to nobody but the configured receiver."""
    async with receiving() as receiver, receiving() as elsewhere:
        receiver.answers = [status(code, Location=elsewhere.url)]
        poster = Poster(receiver.url, retry_backoff=0.01)
        assert not (await poster.post(b"{}", message_id="m")).delivered
        assert (len(receiver.requests), elsewhere.requests) == (1, [])
        await poster.aclose()


async def test_gives_up_after_max_retries():
    """There are `1 + max_retries` tries, and the last problem is reported."""
    async with receiving() as receiver:
        receiver.answers = [status(500) for _ in range(9)]
        poster = Poster(receiver.url, max_retries=2, retry_backoff=0.01)
        assert await poster.post(b"{}", message_id="m") == Posted(False, 3, 500, "HTTP 500")
        assert len(receiver.requests) == 3
        await poster.aclose()


async def test_unreachable_receiver_is_tried_again_and_reported(unused_tcp_port: int):
    """A refused connection is a passing fault; the problem names it."""
    poster = Poster(f"http://127.0.0.1:{unused_tcp_port}/", max_retries=1, retry_backoff=0.01)
    posted = await poster.post(b"{}", message_id="m")
    assert (posted.delivered, posted.attempts, posted.status) == (False, 2, 0)
    assert "Connect" in posted.problem
    await poster.aclose()


async def test_each_try_has_its_own_timeout():
    """A receiver that never answers costs `timeout_seconds` a try, not for ever."""
    async with receiving() as receiver:
        forever = asyncio.Event()

        async def hang(request: Received) -> web.Response:
            await forever.wait()
            return web.Response()

        receiver.respond = hang
        poster = Poster(receiver.url, timeout_seconds=0.05, max_retries=1, retry_backoff=0.01)
        posted = await poster.post(b"{}", message_id="m")
        assert (posted.attempts, posted.problem.partition(":")[0]) == (2, "TimeoutError")
        forever.set()
        await poster.aclose()


async def test_status_counts_although_the_body_never_ends():
    """The status is the answer: a receiver that then stalls in its body has been told."""
    async with receiving() as receiver:
        forever = asyncio.Event()

        async def stall(received: Received) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(received.request)
            await forever.wait()
            return response

        receiver.respond = stall
        poster = Poster(receiver.url, timeout_seconds=2)
        began = time.monotonic()
        assert (await poster.post(b"{}", message_id="m")).delivered
        assert time.monotonic() - began < 1
        await poster.aclose()
        forever.set()


async def test_retry_after_is_obeyed():
    """The pause is at least what `Retry-After` asks for."""
    async with receiving() as receiver:
        receiver.answers = [status(429, Retry_After="1")]
        poster = Poster(receiver.url, retry_backoff=0.01)
        began = time.monotonic()
        assert (await poster.post(b"{}", message_id="m")).delivered
        assert time.monotonic() - began >= 1
        await poster.aclose()


@pytest.mark.parametrize(
    "asked", ["3600", "9" * 400, format_datetime(datetime.now(UTC) + timedelta(hours=1))]
)
async def test_retry_after_is_bounded(asked: str, monkeypatch: pytest.MonkeyPatch):
    """In seconds or as a date, a receiver can't make us wait longer than `LONGEST_DELAY`."""
    monkeypatch.setattr(posting, "LONGEST_DELAY", 0.2)
    async with receiving() as receiver:
        receiver.answers = [status(503, Retry_After=asked)]
        poster = Poster(receiver.url, retry_backoff=0.01)
        began = time.monotonic()
        assert (await poster.post(b"{}", message_id="m")).delivered
        assert 0.2 <= time.monotonic() - began < 3
        await poster.aclose()


@pytest.mark.parametrize("asked", ["soon", "-5", "", "nan", "Mon, 99 Foo 2020", "\t"])
async def test_meaningless_retry_after_is_ignored(asked: str):
    """What is no time to wait leaves the usual pause."""
    async with receiving() as receiver:
        receiver.answers = [status(503, Retry_After=asked)]
        poster = Poster(receiver.url, retry_backoff=0.01)
        began = time.monotonic()
        assert (await poster.post(b"{}", message_id="m")).delivered
        assert time.monotonic() - began < 1
        await poster.aclose()


async def test_every_try_has_the_same_id_and_a_true_time():
    """`webhook-id` and body stay the same over all tries; the signature is made for each."""
    async with receiving() as receiver:
        receiver.answers = [status(500)]
        poster = Poster(receiver.url, signing_secret="s", retry_backoff=0.01)
        await poster.post(b'{"a":1}', message_id="m-1", headers={"X-Voxtra-Event": "e"})
        first, second = receiver.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"] == "m-1"
        assert first.body == second.body == b'{"a":1}'
        assert abs(int(second.headers["webhook-timestamp"]) - time.time()) < 5
        assert second.headers["User-Agent"] == "voxtra-webhook/1"
        assert second.headers["Content-Type"] == "application/json"
        assert second.headers["X-Voxtra-Event"] == "e"
        await poster.aclose()


async def test_connection_is_reused():
    """Messages one after another travel over one connection."""
    async with receiving() as receiver:
        poster = Poster(receiver.url)
        for _ in range(3):
            await poster.post(b"{}", message_id="m")
        assert len({request.connection for request in receiver.requests}) == 1
        await poster.aclose()


async def test_given_client_is_used_and_stays_open():
    """A client that was given is its owner's to close."""
    async with receiving() as receiver, aiohttp.ClientSession(headers={"X-Mine": "1"}) as client:
        poster = Poster(receiver.url, http_client=client)
        await poster.post(b"{}", message_id="m")
        await poster.aclose()
        assert receiver.requests[0].headers["X-Mine"] == "1"
        assert not client.closed


async def test_closed_client_of_the_owner_is_a_failure_and_no_error(
    caplog: pytest.LogCaptureFixture,
):
    """Nothing escapes `post`, also where our caller closed its client under us."""
    client = aiohttp.ClientSession()
    await client.close()
    posted = await Poster("http://127.0.0.1:9/", http_client=client).post(b"{}", message_id="m")
    assert not posted.delivered
    assert "closed" in posted.problem
    assert "unexpected" in caplog.text


async def test_can_be_used_after_close():
    """After `aclose` the next message opens a new client."""
    async with receiving() as receiver:
        poster = Poster(receiver.url)
        for _ in range(2):
            assert (await poster.post(b"{}", message_id="m")).delivered
            await poster.aclose()


def test_can_be_used_in_a_second_loop():
    """An app that is run again does not meet the HTTP client of its first loop."""

    async def run(poster: Poster | None, port: int) -> tuple[Poster, int, bool]:
        async with receiving(port) as receiver:
            poster = poster or Poster(receiver.url, max_retries=0)
            posted = await poster.post(b"{}", message_id="m")
            await poster.aclose()
            return poster, receiver.port, posted.delivered

    poster, port, delivered = asyncio.run(run(None, 0))
    assert delivered
    assert asyncio.run(run(poster, port))[2]


async def test_cancellation_is_not_swallowed():
    """Who cancels the posting task gets it cancelled, during a try and during a pause."""
    async with receiving() as receiver:
        receiver.answers = [status(503, Retry_After="50")]
        poster = Poster(receiver.url)
        task = asyncio.create_task(poster.post(b"{}", message_id="m"))
        await receiver.wait_for(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await poster.aclose()


async def test_requests_in_flight_are_bounded():
    """However many messages there are, only `MAX_IN_FLIGHT` requests run at a time."""
    running = highest = 0
    async with receiving() as receiver:
        full = asyncio.Event()

        async def count(request: Received) -> web.Response:
            nonlocal running, highest
            running += 1
            highest = max(highest, running)
            if running == posting.MAX_IN_FLIGHT:
                full.set()
            await asyncio.wait_for(full.wait(), 5)
            running -= 1
            return web.Response()

        receiver.respond = count
        poster = Poster(receiver.url)
        total = 3 * posting.MAX_IN_FLIGHT
        sent = await asyncio.gather(*(poster.post(b"{}", message_id="m") for _ in range(total)))
        assert all(posted.delivered for posted in sent)
        assert highest == posting.MAX_IN_FLIGHT
        await poster.aclose()


async def test_user_and_password_of_the_url_become_basic_auth_and_stay_out_of_the_log(
    caplog: pytest.LogCaptureFixture,
):
    """Credentials in the URL reach the receiver as a header and no log line, nor does the path."""
    caplog.set_level(logging.DEBUG, logger="voxtra")
    async with receiving() as receiver:
        receiver.answers = [status(500)]
        poster = Poster(receiver.url.replace("//", "//me:Pa55@"), retry_backoff=0.01)
        await poster.post(b"{}", message_id="m")
        assert receiver.requests[0].headers["Authorization"] == "Basic bWU6UGE1NQ=="
        assert poster.where == receiver.url.removesuffix("/hook")
        assert "Pa55" not in caplog.text
        assert "/hook" not in caplog.text
        await poster.aclose()


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "example.com/hook"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://[::1"}, "url"),
        ({"url": "http://host:99999/"}, "url"),
        ({"url": "http://ho st/"}, "url"),
        ({"url": "http://host/\r\nX: 1"}, "url"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"max_retries": -1}, "max_retries"),
        ({"retry_backoff": -0.1}, "retry_backoff"),
    ],
)
def test_bad_settings_are_refused(bad: dict[str, object], field: str):
    """Each wrong setting is one error that names it."""
    settings: dict[str, object] = {"url": "http://host/", **bad}
    with pytest.raises(ConfigurationError) as caught:
        Poster(**settings)  # type: ignore[arg-type]  # that is the test
    assert caught.value.field == field


@given(st.text(st.characters()))
def test_header_values_are_safe_and_reversible(text: str):
    """Any text, line breaks and lone surrogates too, is printable ASCII and can be read back."""
    safe = header_safe(text)
    assert all(0x21 <= ord(char) < 0x7F for char in safe)
    assert unquote(safe, errors="surrogatepass") == text


def test_usual_ids_are_unchanged_in_headers():
    """Channel ids of Asterisk stay readable."""
    for text in ("1731000000.42", "PJSIP/alice-00000001", "a;2", "vx-call-0192"):
        assert header_safe(text) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
        | st.datetimes() | st.decimals() | st.uuids() | st.complex_numbers(),
        lambda inner: st.lists(inner)
        | st.dictionaries(st.text() | st.integers() | st.binary(), inner)
        | st.frozensets(st.text() | st.integers())
        | st.tuples(inner),
        max_leaves=8,
    )
)  # fmt: skip
def test_any_value_becomes_json(value: object):
    """Whatever a handler puts into an event, there is JSON of it."""
    json.loads(encode_json(value))


def test_json_of_strange_values():
    """Lone surrogates, cycles and objects that can't be printed are replaced, the rest is kept."""

    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError

    cycle: dict[str, object] = {"kept": 1}
    cycle["self"] = cycle
    assert json.loads(
        encode_json({"a": "\ud800", "b": Unprintable(), "c": cycle, "d": b"\xff"})
    ) == {
        "a": "?",
        "b": "<Unprintable: RuntimeError>",
        "c": {"kept": 1, "self": "..."},
        "d": "/w==",
    }


def test_json_is_compact():
    """There is no blank between what a signature covers."""
    assert encode_json({"a": [1, 2], "b": "ü"}) == '{"a":[1,2],"b":"ü"}'.encode()
