"""Requests: encoding, deadlines, and what becomes of every refusal and every silence."""

from __future__ import annotations

import asyncio
import base64
import socket

import pytest
from aiohttp import web

from voxtra.ari import ARIClient
from voxtra.ari.http import segment
from voxtra.exceptions import (
    AriError,
    AuthenticationFailed,
    BadRequest,
    ConfigurationError,
    Conflict,
    Forbidden,
    NotFound,
    RequestTimeout,
    ServerError,
    TelephonyConnectionError,
)

from .peers import INFO, Forgetful, answering, peer

CHANNEL = '{"id":"c"}'


def client_of(url: str, **options) -> ARIClient:
    """Make a client with credentials that need care."""
    return ARIClient(url, "us:er", "pass/w@rd%", **options)


async def call(client: ARIClient) -> None:
    """Send one request on a connection of its own, without asking who is there."""
    client.open()
    try:
        await client.get_channel("c")
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (403, Forbidden),
        (404, NotFound),
        (405, AriError),
        (409, Conflict),
        (412, Conflict),
        (422, BadRequest),
        (500, ServerError),
        (501, ServerError),
        (503, ServerError),
        (302, AriError),
    ],
)
async def test_every_error_status_has_its_exception(status, kind):
    """The exception has the status, the request and Asterisk's own words."""
    async with peer(answering(status, '{"message":"says why"}')) as server:
        with pytest.raises(kind) as caught:
            await call(client_of(server.url))
    assert type(caught.value) is kind
    error = caught.value
    assert (error.status, error.method, error.path) == (status, "GET", "/channels/c")
    assert error.message == "says why"


async def test_a_refused_user_is_named():
    """401 says which user was refused, where, and what to check; never the password."""
    async with peer(answering(401, '{"message":"Authentication required"}')) as server:
        with pytest.raises(
            AuthenticationFailed, match=r"refused ARI user 'us:er'.*ari\.conf"
        ) as no:
            await call(client_of(server.url))
    assert "pass/w@rd" not in str(no.value)


async def test_an_http_server_without_ari_is_told_apart_from_a_missing_channel():
    """A 404 that is not ARI's says that there is no ARI, and is worth another try."""
    async with peer(answering(404, "<html>Not Found</html>", "text/html")) as server:
        with pytest.raises(TelephonyConnectionError, match="has no ARI"):
            await call(client_of(server.url))


async def test_nobody_there_is_a_connection_error_with_host_and_port():
    """An unreachable Asterisk is named with what to check."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(TelephonyConnectionError, match=rf"127\.0\.0\.1:{port}.*http\.conf"):
            await ARIClient(f"http://127.0.0.1:{port}", "u", "p").connect()


async def test_a_silent_server_is_given_up_at_the_deadline():
    """A request without an answer ends with RequestTimeout, on time."""

    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with peer(never) as server:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(RequestTimeout, match=r"GET /channels/c: no answer .* in 0\.2 s"):
            await call(client_of(server.url, timeout=0.2))
        assert 0.2 <= loop.time() - began < 1


async def test_an_answer_that_is_no_channel_is_a_server_error():
    """An answer that does not fit the docs is an error that says where."""
    async with peer(answering(200, '{"name":"no id"}')) as server:
        with pytest.raises(ServerError, match="missing required field `id`"):
            await call(client_of(server.url))


async def test_a_stale_connection_is_replaced_for_what_may_be_repeated():
    """A GET and a POST that sets a state do not notice that the idle connection was closed."""
    async with Forgetful.run() as server:
        client = client_of(server.url)
        await client.connect()
        await client.ping()
        await client.close()
        await client.connect()
        await client.answer_channel("c")
        await client.close()
    assert server.requests == [
        "GET /ari/asterisk/info",
        "GET /ari/asterisk/ping",
        "GET /ari/asterisk/ping",
        "GET /ari/asterisk/info",
        "POST /ari/channels/c/answer",
        "POST /ari/channels/c/answer",
    ]


async def test_what_would_happen_twice_is_sent_once():
    """A playback, digits and a mute toggle are not repeated, they fail instead."""
    async with Forgetful.run() as server:
        client = client_of(server.url)
        for request in (
            client.play_on_channel("c", "sound:beep", playback_id="p"),
            client.send_dtmf("c", "1"),
            client.mute_recording("r"),
            client.originate("Local/x"),
        ):
            await client.connect()
            before = len(server.requests)
            with pytest.raises(TelephonyConnectionError):
                await request
            await client.close()
            assert len(server.requests) == before + 1


async def test_a_connection_that_always_breaks_is_tried_twice_only():
    """Repeating ends: a server that closes every connection unanswered is an error."""
    count = 0

    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    async with server:
        client = client_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        client.open()
        with pytest.raises(TelephonyConnectionError):
            await client.answer_channel("c")
        await client.close()
    assert count == 2


async def test_names_travel_encoded_and_whole():
    """Every part of a path and every value of a query is percent-encoded, once."""
    async with peer(answering(200, CHANNEL)) as server:
        client = client_of(server.url)
        client.open()
        await client.get_channel("a/b c%2F?#é")
        await client.snoop_channel("PJSIP/1", spy="both", snoop_id="s&d=1", app_args="a,b c+#")
        await client.close()
    assert server.requests == [
        "GET /ari/channels/a%2Fb%20c%252F%3F%23%C3%A9",
        "POST /ari/channels/PJSIP%2F1/snoop?app=voxtra&spy=both&whisper=none"
        "&snoopId=s%26d%3D1&appArgs=a%2Cb%20c%2B%23",
    ]


async def test_an_empty_id_is_refused():
    """An empty part would address the collection instead of the thing."""
    with pytest.raises(ValueError, match="can't be empty"):
        segment("")


async def test_credentials_travel_in_the_header_only():
    """The password is in the Authorization header, not in a URL."""
    async with peer(answering(200, CHANNEL)) as server:
        await call(client_of(server.url))
    user, _, password = (
        base64.b64decode(server.headers[0]["Authorization"].removeprefix("Basic "))
        .decode()
        .partition(":er:")
    )
    assert (user, password) == ("us", "pass/w@rd%")
    assert "api_key" not in server.requests[0]
    assert "pass" not in server.requests[0]


def test_the_repr_hides_the_password():
    """A client can be logged."""
    text = repr(client_of("http://pbx:8088", app_name="shop"))
    assert text == "<ARIClient us:er@http://pbx:8088/ari app=shop>"


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://pbx:8088", "http://pbx:8088/ari"),
        ("http://pbx:8088/", "http://pbx:8088/ari"),
        ("http://pbx:8088/ari/", "http://pbx:8088/ari"),
        ("https://pbx/asterisk", "https://pbx/asterisk/ari"),
        ("http://[::1]:8088", "http://[::1]:8088/ari"),
    ],
)
async def test_the_base_url_is_taken_as_people_write_it(given, base):
    """With and without a slash, the prefix of http.conf and the /ari behind it."""
    assert f"@{base} " in repr(ARIClient(given, "u", "p"))


@pytest.mark.parametrize(
    "url", ["pbx:8088", "ftp://pbx", "http://", "http://pbx:port", "", "http://u:secret@pbx:8088"]
)
def test_a_wrong_base_url_is_refused_with_the_field(url):
    """The error names the field and what to write, and repeats no secret."""
    with pytest.raises(ConfigurationError) as no:
        ARIClient(url, "u", "p")
    assert no.value.field == "base_url"
    assert no.value.fix
    assert "secret" not in str(no.value)


async def test_a_client_that_is_not_connected_says_so():
    """Before connect and after close a verb raises RuntimeError that tells what to call."""
    async with peer(answering(200, INFO.decode())) as server:
        client = client_of(server.url)
        states = []
        for _ in range(2):
            states.append(client.is_connected)
            with pytest.raises(RuntimeError, match=r"await connect\(\)"):
                await client.ping()
            info = await client.connect()
            assert (await client.connect()) == info
            states.append(client.is_connected)
            await client.close()
            await client.close()
    assert states == [False, True, False, True]


async def test_a_failed_connect_leaves_nothing_open():
    """After a refused connect the client is as it was, and can try again."""
    async with peer(answering(401)) as server:
        client = client_of(server.url)
        with pytest.raises(AuthenticationFailed):
            await client.connect()
        assert not client.is_connected
        with pytest.raises(RuntimeError):
            await client.ping()
