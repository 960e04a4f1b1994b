"""Ranged responses: the same answers as Starlette's, and the RFC's where those differ."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message as Mail
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Scope

from voxtra.web.files import content_disposition, parse_ranges, safe_name, serve
from voxtra.web.problems import Problem, answer

DATA = bytes(range(256)) * 4
MODIFIED = datetime(2026, 11, 20, 14, 3, tzinfo=UTC)


@dataclass
class Sound:
    """Content in memory that comes in blocks of 100 bytes and knows which of them were read."""

    data: bytes = DATA
    etag: str = hashlib.sha256(DATA).hexdigest()
    media_type: str = "audio/wav"
    modified: datetime = MODIFIED
    read: list[int] = field(default_factory=list)
    closed: int = 0

    @property
    def size(self) -> int:
        return len(self.data)

    async def stream(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        try:
            for at in range(start, end, 100):
                self.read.append(at)
                yield self.data[at : min(at + 100, end)]
        finally:
            self.closed += 1


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def same_as(self) -> tuple[Any, ...]:
        """Return what has to be equal, with the random boundary of several parts taken out."""
        kind = self.headers.get("content-type", "")
        found = re.search("boundary=(.+)", kind)
        boundary = found[1] if found else "no boundary"
        return (
            self.status,
            self.headers.get("content-range"),
            self.headers.get("content-length"),
            kind.replace(boundary, "X"),
            self.body.replace(boundary.encode(), b"X"),
        )


async def _call(response: Response, scope: Scope) -> Answer:
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await response(scope, receive, send)
    assert [each.get("more_body", False) for each in sent[1:]][-1] is False
    headers = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, b"".join(each["body"] for each in sent[1:]))


def _scope(method: str = "GET", **headers: str) -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": "/file",
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
        "state": {},
    }


async def _ours(method: str = "GET", content: Sound | None = None, /, **headers: str) -> Answer:
    scope = _scope(method, **headers)
    try:
        response = serve(Request(scope), content or Sound(), "call.wav")
    except Problem as problem:
        response = answer(problem, scope)
    return await _call(response, scope)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same bytes as a file, for Starlette."""
    path = tmp_path_factory.mktemp("files") / "call.wav"
    path.write_bytes(DATA)
    return path


SIZE = len(DATA)
_inside = st.integers(0, SIZE - 1)
_spec = st.one_of(
    st.tuples(_inside, st.integers(0, 2 * SIZE)).map(lambda p: f"{p[0]}-{p[0] + p[1]}"),
    _inside.map(lambda first: f"{first}-"),
    st.integers(1, 2 * SIZE).map(lambda count: f"-{count}"),
)
_outside = st.one_of(
    st.integers(SIZE, 10**9).map(lambda first: f"{first}-"),
    st.integers(SIZE, 10**9).map(lambda first: f"{first}-{first + 5}"),
    st.just("-0"),
)
_range = st.one_of(
    st.lists(_spec, min_size=1, max_size=6).map(",".join),
    st.lists(_spec, min_size=1, max_size=4).map(" , ".join),
    st.lists(_spec, min_size=1, max_size=3).map(lambda specs: "," + ",,".join(specs) + ", "),
    st.lists(_spec, min_size=98, max_size=104).map(",".join),
    st.lists(_outside, min_size=1, max_size=3).map(",".join),
    _spec,
)
_malformed = st.sampled_from(["", ",", "x", "1", "9-5", "0-1,9-5", "a-b"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    ranges=st.one_of(_range, _malformed),
    unit=st.sampled_from(["bytes", "Bytes"]),
    if_range=st.sampled_from(["", "etag", "date", "weak", "other", "other date"]),
)
async def test_the_answer_to_a_range_is_that_of_starlette(file, ranges, unit, if_range):
    """Status, body, lengths and Content-Range are the same for one and several ranges, suffixes,
    ranges outside the file, and every kind of If-Range.
    """
    theirs = FileResponse(file, media_type="audio/wav", stat_result=file.stat())
    both = []
    for etag, date in (
        (theirs.headers["etag"], theirs.headers["last-modified"]),
        (f'"{Sound.etag}"', format_datetime(MODIFIED, usegmt=True)),
    ):
        headers = {"range": f"{unit}={ranges}"}
        if if_range:
            headers["if-range"] = {
                "etag": etag,
                "date": date,
                "weak": f"W/{etag}",
                "other": '"other"',
                "other date": "Thu, 01 Jan 2015 00:00:00 GMT",
            }[if_range]
        both.append(headers)
    expected = await _call(theirs, _scope(**both[0]))
    found = await _ours(**both[1])
    if expected.status >= 400:
        assert found.status == expected.status
        assert found.headers.get("content-range") == expected.headers.get("content-range")
    else:
        assert found.same_as() == expected.same_as()


async def test_a_player_may_ask_for_the_end_first():
    """The last bytes, by suffix, come alone and say where they are."""
    found = await _ours(range="bytes=-24")
    assert (found.status, found.body) == (206, DATA[-24:])
    assert found.headers["content-range"] == "bytes 1000-1023/1024"
    assert found.headers["content-length"] == "24"


async def test_of_several_ranges_those_in_the_file_count():
    """Where Starlette refuses all, RFC 9110 wants those that can be had (section 14.2)."""
    found = await _ours(range="bytes=0-3,5000-")
    assert (found.status, found.body) == (206, DATA[:4])


@pytest.mark.parametrize("value", ["items=0-3", "seconds=1-", "0-3"])
async def test_a_unit_that_is_not_known_is_ignored(value):
    """RFC 9110 says so (section 14.2), where Starlette refuses."""
    found = await _ours(range=value)
    assert (found.status, found.body) == (200, DATA)


async def test_a_range_outside_the_file_says_how_long_it_is():
    """416 comes with the size in Content-Range, and in plain words."""
    found = await _ours(range="bytes=1024-")
    assert found.status == 416
    assert found.headers["content-range"] == "bytes */1024"
    assert b"range_not_satisfiable" in found.body


async def test_a_range_that_cannot_be_read_names_the_header():
    """400, with the field and the forms that are understood."""
    found = await _ours(range="bytes=9-5")
    assert found.status == 400
    assert b'"field":"Range"' in found.body


@pytest.mark.parametrize("digits", [19, 5000])
def test_numbers_without_end_are_only_large(digits):
    """A number too long for any file, or for Python's own reader, is one beyond the end."""
    assert parse_ranges(f"bytes=0-{'9' * digits}", 10) == [(0, 10)]
    with pytest.raises(Problem, match="none of the range"):
        parse_ranges(f"bytes={'9' * digits}-", 10)


def test_an_empty_file_has_no_ranges():
    """Neither a first byte nor a last one can be had of nothing."""
    for value in ("bytes=0-", "bytes=-1"):
        with pytest.raises(Problem, match="0 bytes"):
            parse_ranges(value, 0)


async def test_the_headers_of_a_whole_file():
    """A file says its length, type, name, that it may be had in ranges, and how to know it again;
    what only one may hear is not kept by caches of many.
    """
    found = await _ours()
    assert (found.status, found.body) == (200, DATA)
    assert found.headers == {
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        "etag": f'"{Sound.etag}"',
        "last-modified": "Fri, 20 Nov 2026 14:03:00 GMT",
        "content-disposition": 'attachment; filename="call.wav"',
        "content-length": "1024",
        "content-type": "audio/wav",
    }


async def test_head_has_the_headers_and_reads_nothing():
    """HEAD is GET without the body; it has no ranges (RFC 9110, section 14.2)."""
    content = Sound()
    found = await _ours("HEAD", content, range="bytes=0-3")
    whole = await _ours()
    assert (found.status, found.headers, found.body) == (200, whole.headers, b"")
    assert content.read == []


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (f'"{Sound.etag}"', 304),
        (f'W/"{Sound.etag}"', 304),
        (f'"a", "{Sound.etag}", "b"', 304),
        ("*", 304),
        ('"another"', 200),
        (Sound.etag, 200),
    ],
)
async def test_what_the_client_has_is_not_sent_again(value, status):
    """If-None-Match with our tag, in any form of it, is answered without a body."""
    found = await _ours(if_none_match=value, range="bytes=0-" if status == 304 else "")
    assert found.status == status
    assert found.body == (b"" if status == 304 else DATA)
    assert found.headers["etag"] == f'"{Sound.etag}"'


async def test_reading_stops_when_the_client_goes():
    """Of a file whose reader has gone no more is read, and its source is closed."""
    content = Sound(bytes(10_000))
    left = asyncio.Event()

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if len(content.read) == 3:
            left.set()
        await asyncio.sleep(0)

    scope = _scope()
    await serve(Request(scope), content, "x")(scope, receive, send)
    assert len(content.read) < 10
    assert content.closed == 1


async def test_an_error_before_the_first_byte_can_still_be_answered():
    """Nothing is sent before there is something to send."""

    class Broken(Sound):
        async def stream(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
            self.closed = 1 // len(self.read)
            yield b""

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    scope = _scope()
    with pytest.raises(ZeroDivisionError):
        await serve(Request(scope), Broken(), "x")(scope, receive, send)
    assert sent == []


def _filename(header: str) -> str:
    """Read a Content-Disposition as a client that knows the extended form."""
    extended = re.search(r"filename\*=UTF-8''(\S+)", header)
    if extended:
        return unquote(extended[1])
    mail = Mail()
    mail["Content-Disposition"] = header
    return mail.get_filename() or ""


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_any_name_survives_and_harms_nothing(name):
    """Whatever a caller is called, the file name has no separator, control character or dot in
    front, fits a file system, and arrives as it was sent.
    """
    safe = safe_name(name)
    assert safe
    assert safe.isprintable()
    assert not set(safe) & set('/\\:*?"<>|')
    assert not safe.startswith((".", " "))
    assert len(safe.encode()) <= 200
    header = content_disposition(f"{safe}.wav")
    assert header.isascii()
    assert header.isprintable()
    assert _filename(header) == f"{safe}.wav"


def test_a_name_of_numbers_is_given_once():
    """A plain name needs no second form; another has one for clients of either kind."""
    assert (
        content_disposition("2026-11-20 14-03 +4930123456 to 200.wav")
        == 'attachment; filename="2026-11-20 14-03 +4930123456 to 200.wav"'
    )
    assert (
        content_disposition("Jörg.wav")
        == "attachment; filename=\"J_rg.wav\"; filename*=UTF-8''J%C3%B6rg.wav"
    )
