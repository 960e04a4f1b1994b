"""Files over HTTP, whole or by range (RFC 9110, sections 13 and 14).

Where the RFC leaves the answer to the server, it is Starlette's: a Range that can't be read is 400,
several ranges come sorted and merged, more than 100 of them are ignored. Where Starlette and the
RFC differ, it is the RFC's: a unit other than bytes is ignored, as is a Range of HEAD, and of
several ranges only those that lie in the file count.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Final, Protocol
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from voxtra.web.problems import Problem

__all__ = ["Content", "content_disposition", "parse_ranges", "safe_name", "serve"]

MAX_RANGES: Final = 100

LONGEST_NAME: Final = 200
"""Bytes of a file name before its extension: file systems take 255."""

Stretch = tuple[int, int]
"""First byte, and the one after the last."""

_RANGE: Final = re.compile(r"(\d*)-(\d*)")
_ENTITY_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')
_UNSAFE: Final = re.compile(r'[/\\:*?"<>|]')


class Content(Protocol):
    """What can be served: bytes of known number, with a strong validator."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    @property
    def etag(self) -> str:
        """What differs whenever a byte does, without quotes."""

    @property
    def media_type(self) -> str:
        """The value of Content-Type."""

    @property
    def modified(self) -> datetime:
        """When these bytes came to be."""

    @property
    def stream(self) -> Callable[[int, int], AsyncGenerator[bytes, None]]:
        """Give the bytes from `start` up to, not including, `end`."""


def serve(request: Request, content: Content, name: str) -> Response:
    """Return the answer to a GET or HEAD of a file, which is saved as `name`.

    Raises `Problem` for a range outside the file (416) and one that can't be read (400).
    """
    etag = f'"{content.etag}"'
    headers = {
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        "etag": etag,
        "last-modified": format_datetime(content.modified, usegmt=True),
    }
    if _matches(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    headers["content-disposition"] = content_disposition(name)
    ranges = None
    if request.method == "GET" and _unchanged(request.headers, headers):
        ranges = parse_ranges(request.headers.get("range", ""), content.size)
    if ranges is None:
        whole = _Part(b"", 0, content.size)
        return _Streamed(200, headers, content.media_type, content, [whole])
    if len(ranges) == 1:
        start, end = ranges[0]
        headers["content-range"] = f"bytes {start}-{end - 1}/{content.size}"
        return _Streamed(206, headers, content.media_type, content, [_Part(b"", start, end)])
    boundary = secrets.token_hex(13)
    parts = list(_multipart(ranges, boundary, content))
    media_type = f"multipart/byteranges; boundary={boundary}"
    return _Streamed(206, headers, media_type, content, parts)


def parse_ranges(value: str, size: int) -> list[Stretch] | None:
    """Return the stretches of a file of `size` bytes that a Range asks for, sorted and merged; None
    when it asks for nothing that is known here.

    Raises `Problem`: 400 when it can't be read, 416 when nothing of it lies in the file.
    """
    unit, _, text = value.partition("=")
    specs = [spec.strip(" \t") for spec in text.split(",")]
    if unit.lower() != "bytes" or len(specs) > MAX_RANGES:
        return None
    read = [_RANGE.fullmatch(spec) for spec in specs if spec]
    wanted = [_stretch(match, size) for match in read]
    if not wanted:
        raise _unreadable()
    inside = sorted(each for each in wanted if each[0] < size)
    if not inside:
        raise Problem(
            "range_not_satisfiable",
            f"The file has {size} bytes, and none of the range is in it.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    merged = inside[:1]
    for start, end in inside[1:]:
        first, last = merged[-1]
        if start <= last:
            merged[-1] = (first, max(last, end))
        else:
            merged.append((start, end))
    return merged


def content_disposition(name: str) -> str:
    """Return the header that has a browser save a file as `name` (RFC 6266): as it is for those who
    know UTF-8 there, and without its other characters for the rest.
    """
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    header = f'attachment; filename="{escaped}"'
    if plain != name:
        header += f"; filename*=UTF-8''{quote(name, safe='')}"
    return header


def safe_name(name: str) -> str:
    """Return a name that every file system takes: no separators, no control characters, no dot at
    either end, not too long. Where nothing is left it is `recording`.
    """
    visible = "".join(char if char.isprintable() else "_" for char in name)
    short = _UNSAFE.sub("_", visible).strip(" .").encode()[:LONGEST_NAME].decode(errors="ignore")
    return short.strip(" .") or "recording"


def _stretch(match: re.Match[str] | None, size: int) -> Stretch:
    """Return what one range asks for; one that begins at `size` or later is not in the file."""
    if match is None or match[0] == "-":
        raise _unreadable()
    first, last = (_number(digits) for digits in match.groups())
    if first is None:
        # `last` is how many bytes at the end; none at all is no range of the file
        return (max(0, size - (last or 0)), size)
    if last is None:
        return first, size
    if last < first:
        raise _unreadable()
    return first, min(last + 1, size)


def _number(digits: str) -> int | None:
    """Return a number; those beyond any file are as good as 10^18, and cheaper."""
    if not digits:
        return None
    return int(digits) if len(digits) <= 18 else 10**18


def _unreadable() -> Problem:
    return Problem(
        "invalid_request",
        "Range: is no list of byte ranges; write bytes=0-499, bytes=500- or bytes=-500.",
        field="Range",
    )


def _matches(if_none_match: str, etag: str) -> bool:
    if if_none_match.strip() == "*":
        return True
    return etag in _ENTITY_TAG.findall(if_none_match)


def _unchanged(asked: Headers, has: dict[str, str]) -> bool:
    """Tell whether a Range counts: there is no If-Range, or it names the very bytes we have."""
    if_range = asked.get("if-range")
    return if_range is None or if_range in (has["etag"], has["last-modified"])


@dataclass(frozen=True, slots=True)
class _Part:
    """Something of our own, and then a stretch of the content."""

    before: bytes
    start: int
    end: int

    @property
    def size(self) -> int:
        return len(self.before) + self.end - self.start


def _multipart(ranges: Sequence[Stretch], boundary: str, content: Content) -> list[_Part]:
    parts = []
    lead = ""
    for start, end in ranges:
        head = (
            f"{lead}--{boundary}\r\nContent-Type: {content.media_type}\r\n"
            f"Content-Range: bytes {start}-{end - 1}/{content.size}\r\n\r\n"
        )
        parts.append(_Part(head.encode(), start, end))
        lead = "\r\n"
    return [*parts, _Part(f"\r\n--{boundary}--".encode(), 0, 0)]


class _Streamed(Response):
    """Sends parts as they are read; an error before the first byte is still an error's answer."""

    def __init__(
        self,
        status: int,
        headers: dict[str, str],
        media_type: str,
        content: Content,
        parts: Sequence[_Part],
    ) -> None:
        self.status_code = status
        self.media_type = media_type
        self.background = None
        self._content = content
        self._parts = parts
        length = str(sum(part.size for part in parts))
        self.init_headers({**headers, "content-length": length})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; stop reading as soon as the client has gone."""
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        end: Message = {"type": "http.response.body", "body": b"", "more_body": False}
        if scope["method"] == "HEAD":
            await send(start)
            await send(end)
            return
        blocks = self._blocks()
        gone = asyncio.create_task(_disconnected(receive))
        try:
            block = await anext(blocks, b"")
            await send(start)
            while block and not gone.done():
                await send({"type": "http.response.body", "body": block, "more_body": True})
                block = await anext(blocks, b"")
            await send(end)
        finally:
            gone.cancel()
            await blocks.aclose()

    async def _blocks(self) -> AsyncGenerator[bytes, None]:
        for part in self._parts:
            if part.before:
                yield part.before
            if part.start < part.end:
                async with aclosing(self._content.stream(part.start, part.end)) as stream:
                    async for block in stream:
                        yield block


async def _disconnected(receive: Receive) -> None:
    """Wait until the client has gone; what it still sends of its request is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass
