"""Where webhooks may go: 127.0.0.1 stands for the Internet, 127.0.0.2 for what is private."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from tests.receiver import Receiver, receiving, status
from voxtra.exceptions import ConfigurationError
from voxtra.service.addresses import AddressGuard, GuardedClient, RedirectRefused

HERE = "127.0.0.1/32"

CLOSED = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "not an address",
    "",
]
OPEN = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "198.20.0.1", "2606:4700::1", "2a00::1"]


@pytest.mark.parametrize("address", CLOSED)
def test_an_address_that_is_not_public_is_closed(address: str):
    """Private, local, reserved, multicast and translated addresses are none of the Internet's."""
    assert not AddressGuard().permits(address)


@pytest.mark.parametrize("address", OPEN)
def test_a_public_address_is_open(address: str):
    """What is routed on the Internet may be reached."""
    assert AddressGuard().permits(address)


@given(st.ip_addresses())
def test_nothing_is_open_that_python_knows_to_be_closed(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
):
    """Our list is at least as strict as the standard library's."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert not AddressGuard().permits(str(address))


def test_the_configuration_opens_networks():
    """What is listed is open, its neighbour is not."""
    guard = AddressGuard(["10.1.0.0/16", "fd00:1::/32"])
    assert guard.permits("10.1.255.1")
    assert guard.permits("fd00:1::5")
    assert not guard.permits("10.2.0.1")
    assert not guard.permits("fd00:2::5")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://example.com/", "http"),
        ("file:///etc/passwd", "http"),
        ("//example.com/", "http"),
        ("/hook", "http"),
        ("http:///hook", "host"),
        ("http://[::1", "host"),
        ("http://example.com:99999/", "host"),
        ("http://example.com:0/", "host"),
        ("http://example.com/a b", "host"),
        ("http://example.com/\r\nX: y", "host"),
        ("http://example.com\\@127.0.0.1/", "host"),
        ("http://me@example.com/", "user or password"),
        ("http://:pw@example.com/", "user or password"),
        ("http://example.com@127.0.0.1/", "user or password"),
        ("http://127.0.0.1/", "not public"),
        ("http://127.0.0.1./", "not public"),
        ("http://[::1]/", "not public"),
        ("http://[::ffff:7f00:1]/", "not public"),
        ("http://[fe80::1%25lo]/", "not public"),
        ("http://169.254.169.254/latest/meta-data/", "not public"),
        ("http://\uff11\uff12\uff17.0.0.1/", "not public"),
        ("http://127\u30020\u30020\u30021/", "not public"),
        ("http://2130706433/", "number"),
        ("http://0x7f000001/", "number"),
        ("http://0x7f.1/", "number"),
        ("http://0177.0.0.1/", "number"),
        ("http://127.1/", "number"),
        ("http://1.2.3.4.5/", "number"),
        ("http://127.0.0.0x1/", "number"),
        ("http://localhost/", "this machine"),
        ("http://LOCALHOST./", "this machine"),
        ("http://db.localhost/", "this machine"),
        ("http://\u24db\u24deca\u24dbhost/", "this machine"),
    ],
)
def test_a_url_that_can_never_be_posted_to_is_refused_at_once(url: str, problem: str):
    """Each is one error that names the field, what is wrong, and what to write."""
    with pytest.raises(ConfigurationError, match=problem) as caught:
        AddressGuard().check_url(url)
    assert caught.value.field == "url"
    assert caught.value.fix


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook?token=x",
        "http://example.com:8443",
        "https://b\u00fccher.example/hook",
        "https://8.8.8.8/",
        "http://[2606:4700::1]:8080/",
        "https://1password.example.x0/",
        "http://a#@127.0.0.1/",
    ],
)
def test_a_usable_url_is_taken(url: str):
    """Names, public addresses and any port; what follows a `#` is no host."""
    assert AddressGuard().check_url(url) == URL(url)


def test_local_names_are_usable_where_the_configuration_opens_them():
    """With loopback listed, so are its names and addresses."""
    guard = AddressGuard(["127.0.0.0/8"])
    for url in ("http://localhost:1/", "http://127.0.0.1:1/"):
        assert guard.check_url(url) == URL(url)


class Names(AbstractResolver):
    """Answers each question with the next of its addresses, and the last one for ever."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self.addresses[min(self.asked, len(self.addresses) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0
            )
            for each in address.split(",")
        ]

    async def close(self) -> None:
        """Hold nothing."""


@dataclass
class Neighbour:
    """A service that must not be reached; it counts who connects."""

    port: int
    connections: int = 0


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Run a receiver on 127.0.0.1, which the guard of these tests lets through."""
    async with receiving() as running:
        yield running


@pytest.fixture
async def neighbour(receiver: Receiver) -> AsyncIterator[Neighbour]:
    """Run what a request must not reach, on 127.0.0.2 and the receiver's port."""
    found = Neighbour(receiver.port)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.2", receiver.port)
    async with server:
        yield found


async def post(url: str, *, resolver: AbstractResolver | None = None, times: int = 1) -> int:
    """Post with only 127.0.0.1 open; return the last status."""
    async with GuardedClient(AddressGuard([HERE]), resolver=resolver) as client:
        for _ in range(times):
            answer = await client.post(url, b"{}", {"webhook-id": "m"}, seconds=10)
    return answer.status


async def test_a_name_is_judged_by_the_address_that_is_connected_to(
    receiver: Receiver, neighbour: Neighbour
):
    """A name of an open address is posted to; one of a closed address is never connected to."""
    assert await post(f"http://name.test:{receiver.port}/hook", resolver=Names("127.0.0.1")) == 200
    with pytest.raises(aiohttp.ClientConnectorError, match="not public") as caught:
        await post(f"http://name.test:{neighbour.port}/", resolver=Names("127.0.0.2"))
    assert "127.0.0.2" not in str(caught.value)
    assert neighbour.connections == 0


async def test_a_name_that_is_bound_to_another_address_later_is_refused_then(
    receiver: Receiver, neighbour: Neighbour
):
    """DNS rebinding: that a URL was good does not vouch for its next connection."""
    names = Names("127.0.0.1", "127.0.0.2")
    url = f"http://name.test:{receiver.port}/hook"
    assert await post(url, resolver=names) == 200
    with pytest.raises(aiohttp.ClientConnectorError, match="not public"):
        await post(url, resolver=names)
    assert (names.asked, neighbour.connections, len(receiver.requests)) == (2, 0, 1)


async def test_of_several_addresses_only_the_open_ones_are_tried(
    receiver: Receiver, neighbour: Neighbour
):
    """A name of a closed and an open address is posted to at the open one."""
    names = Names("127.0.0.2,127.0.0.1")
    assert await post(f"http://name.test:{receiver.port}/hook", resolver=names) == 200
    assert neighbour.connections == 0


async def test_an_address_in_the_url_is_judged_like_a_name(neighbour: Neighbour):
    """An address needs no resolver, and is refused all the same."""
    with pytest.raises(ConfigurationError, match="not public"):
        await post(f"http://127.0.0.2:{neighbour.port}/")
    assert neighbour.connections == 0


@pytest.mark.parametrize("code", [307, 308])
async def test_a_redirect_that_keeps_the_message_is_followed(receiver: Receiver, code: int):
    """307 and 308 carry method, body and headers to the next place, relative or absolute."""
    receiver.answers = [status(code, Location="/hook?2"), status(code, Location=receiver.url)]
    assert await post(receiver.url) == 200
    assert [each.body for each in receiver.requests] == [b"{}"] * 3
    assert {each.headers["webhook-id"] for each in receiver.requests} == {"m"}
    assert {each.request.method for each in receiver.requests} == {"POST"}


@pytest.mark.parametrize("code", [300, 301, 302, 303, 304])
async def test_any_other_redirect_is_an_answer(receiver: Receiver, code: int):
    """What would turn the message into a GET is not followed."""
    receiver.answers = [status(code, Location=receiver.url)]
    assert await post(receiver.url) == code
    assert len(receiver.requests) == 1


async def test_a_fourth_redirect_is_refused(receiver: Receiver):
    """Three are followed, and no more."""
    receiver.answers = [status(307, Location="/hook") for _ in range(9)]
    with pytest.raises(RedirectRefused, match="more than 3"):
        await post(receiver.url)
    assert len(receiver.requests) == 4


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/",
        "//127.0.0.2:{port}/",
        "http://0x7f.2:{port}/",
        "http://2130706434:{port}/",
        "http://[::ffff:127.0.0.2]:{port}/",
        "http://127.0.0.1:1@127.0.0.2:{port}/",
        "http://user:pw@127.0.0.1:{port}/",
        "file:///etc/passwd",
        "http://[/",
    ],
)
async def test_a_redirect_to_where_nothing_may_go_is_refused(
    receiver: Receiver, neighbour: Neighbour, location: str
):
    """Each hop is judged like the first URL, and nobody is connected to."""
    receiver.answers = [status(307, Location=location.format(port=neighbour.port))]
    with pytest.raises(RedirectRefused, match="redirected to where nothing is posted"):
        await post(receiver.url)
    assert neighbour.connections == 0
    assert len(receiver.requests) == 1


async def test_a_redirect_to_a_name_of_a_closed_address_is_refused(
    receiver: Receiver, neighbour: Neighbour
):
    """The name in a redirect is resolved and judged when it is connected to."""
    receiver.answers = [status(308, Location=f"http://inside.test:{neighbour.port}/")]
    with pytest.raises(aiohttp.ClientConnectorError, match="not public"):
        await post(receiver.url, resolver=Names("127.0.0.2"))
    assert neighbour.connections == 0


def test_a_redirect_never_leads_from_https_to_http():
    """What was to be sent encrypted is not sent in the clear; the other way round is welcome."""
    guard = AddressGuard()
    with pytest.raises(RedirectRefused, match="https to http"):
        guard.check_redirect(URL("https://example.com/a"), "http://example.com/b")
    for source in ("http", "https"):
        followed = guard.check_redirect(URL(f"{source}://a.example/x"), "https://b.example/y")
        assert followed == URL("https://b.example/y")
    assert guard.check_redirect(URL("https://a.example/x"), "/y") == URL("https://a.example/y")


async def test_cookies_and_proxies_play_no_part(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """A cookie is not given back, and a proxy of the environment is not asked."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.2:9")
    receiver.answers = [status(200, Set_Cookie="a=b"), status(200)]
    assert (
        await post(
            receiver.url.replace("127.0.0.1", "name.test"), resolver=Names("127.0.0.1"), times=2
        )
        == 200
    )
    assert all("Cookie" not in each.headers for each in receiver.requests)


async def test_the_time_is_for_all_hops_together(receiver: Receiver):
    """A receiver that redirects slowly has no more time than one that answers slowly."""
    never = asyncio.Event()

    async def slow(_request: object) -> web.Response:
        if len(receiver.requests) < 2:
            return status(307, Location="/hook")
        await never.wait()
        return web.Response()

    receiver.respond = slow
    async with GuardedClient(AddressGuard([HERE])) as client:
        with pytest.raises(TimeoutError):
            await client.post(receiver.url, b"{}", {}, seconds=0.2)
    never.set()
    assert len(receiver.requests) == 2


async def test_an_endless_answer_is_not_read(receiver: Receiver):
    """The status is the answer: a body without an end costs neither time nor memory."""

    async def endless(received: object) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Retry-After": "7"}, status=503)
        await answer.prepare(receiver.requests[-1].request)
        while True:
            await answer.write(b"x" * 65536)
            await asyncio.sleep(0)

    receiver.respond = endless
    async with GuardedClient(AddressGuard([HERE])) as client:
        answer = await client.post(receiver.url, b"{}", {}, seconds=5)
    assert (answer.status, answer.retry_after) == (503, "7")
