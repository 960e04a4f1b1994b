"""Where webhooks may go: to public addresses, and nowhere else unless the configuration says so.

A tenant chooses the URL, so the request that we make with it must not reach what only this machine
can reach. What counts is the address that a socket is connected to, looked at in the moment before
it is: a name that resolves to something else a second later, a number written in an odd way or a
redirect changes nothing about that. Ports are not judged; a public receiver may listen on any.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from voxtra.exceptions import ConfigurationError

__all__ = ["MAX_REDIRECTS", "AddressGuard", "Answer", "GuardedClient", "RedirectRefused"]

MAX_REDIRECTS: Final = 3

_FOLLOWED: Final = frozenset({HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})
"""The others would make a GET without a body of the message: they count as a failed try."""

# IANA's registries of special-purpose addresses, written down here because what `ipaddress` calls
# global has changed between patch releases of Python.
_CLOSED_V4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local: where clouds keep the keys of a machine
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_PUBLIC_V6: Final = ipaddress.IPv6Network("2000::/3")
"""All that is global unicast; NAT64, IPv4-mapped, unique local and link-local are outside of it."""
_CLOSED_V6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocols, Teredo among them
            "2001:db8::/32",
            "2002::/16",  # 6to4: any IPv4 address
            "3fff::/20",
        ),
    )
)
_NUMBER: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
"""The last label of a host that some resolvers read as an IPv4 address."""

_HOW_TO_ALLOW: Final = "Whoever runs the service can list its network under delivery.allow"

_AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


class RedirectRefused(aiohttp.ClientError):
    """A redirect leads to where a message must not go, or is one too many."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said; its body is not read, so nothing of it reaches who chose the URL."""

    status: int
    retry_after: str = ""


class AddressGuard:
    """Judges addresses and URLs: public ones, and those in the networks `allow` (CIDR), are open.

    An IPv6 address that stands for an IPv4 one (mapped, 6to4, NAT64, Teredo) is not public.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allowed = tuple(ipaddress.ip_network(network) for network in allow)

    def permits(self, address: str) -> bool:
        """Tell whether a socket may be connected to an address."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if any(parsed in network for network in self._allowed):
            return True
        if isinstance(parsed, ipaddress.IPv4Address):
            return not any(parsed in network for network in _CLOSED_V4)
        return parsed in _PUBLIC_V6 and not any(parsed in network for network in _CLOSED_V6)

    def check_url(self, url: str) -> URL:
        """Return a URL that may be posted to, as far as that can be said without a resolver.

        Raises `ConfigurationError` with the field `url`.
        """
        try:
            parsed = URL(url)
            host = parsed.raw_host
        except ValueError:
            host = None
        if (
            not host
            or parsed.scheme not in ("http", "https")
            or not parsed.port
            or re.search(r"[\s\x00-\x1f\x7f]", url)
        ):
            raise _refused(
                "must be an http:// or https:// URL with a host",
                "Write for example https://example.com/hook",
            )
        if parsed.raw_user is not None or parsed.raw_password is not None:
            raise _refused(
                "holds a user or password",
                "Leave them out; our signature proves who sends, and a token can be in the path",
            )
        name = host.rstrip(".").lower()
        if ":" not in name and _NUMBER.fullmatch(name.rpartition(".")[2]) and not _is_address(name):
            raise _refused(
                f"has the host {host!r}, which is a number and no address",
                "Write an IPv4 address as four decimal numbers",
            )
        local = name == "localhost" or name.endswith(".localhost")
        if local and not self.permits("127.0.0.1") and not self.permits("::1"):
            raise _refused(f"has the host {host!r}, which is this machine", _HOW_TO_ALLOW)
        if _is_address(name) and not self.permits(name):
            raise _refused(f"has the address {host}, which is not public", _HOW_TO_ALLOW)
        return parsed

    def check_redirect(self, source: URL, location: str) -> URL:
        """Return where a redirect leads. Raises `RedirectRefused`."""
        try:
            target = self.check_url(str(source.join(URL(location))))
        except (ValueError, ConfigurationError) as error:
            raise RedirectRefused(f"redirected to where nothing is posted: {error}") from None
        if source.scheme == "https" and target.scheme != "https":
            raise RedirectRefused("redirected from https to http")
        return target

    def open_socket(self, info: _AddressInfo) -> socket.socket:
        """Return a socket that is about to be connected to the address in `info`.

        Raises `PermissionError` without naming it: who chose the URL is not told what our resolver
        knows.
        """
        family, kind, protocol, _, address = info
        if not self.permits(address[0]):
            raise PermissionError(errno.EACCES, f"its address is not public. {_HOW_TO_ALLOW}")
        return socket.socket(family, kind, protocol)


class GuardedClient:
    """Posts to where the guard lets it; an async context manager, which closes all connections."""

    def __init__(self, guard: AddressGuard, *, resolver: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._resolver = resolver
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # how many there are at a time is for the caller to say
                resolver=self._resolver,
                socket_factory=self._guard.open_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # `post` has one for all hops together
            trust_env=False,  # a proxy would connect for us, to where we don't see
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, seconds: float
    ) -> Answer:
        """Post, following 307 and 308 up to three times, each as strictly as the first.

        Never from https to http. Raises `TimeoutError` after `seconds` in all, `ConfigurationError`
        for a URL that may not be posted to, else `aiohttp.ClientError` or `OSError`.
        """
        async with asyncio.timeout(seconds):
            target = self._guard.check_url(url)
            for hop in range(MAX_REDIRECTS + 1):
                async with self._session.post(
                    target,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                ) as response:
                    status, said = response.status, response.headers
                if status not in _FOLLOWED or "Location" not in said:
                    return Answer(status, said.get("Retry-After", ""))
                if hop < MAX_REDIRECTS:
                    target = self._guard.check_redirect(target, said["Location"])
        raise RedirectRefused(f"redirected more than {MAX_REDIRECTS} times")


def _refused(problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError(problem, field="url", fix=fix)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
