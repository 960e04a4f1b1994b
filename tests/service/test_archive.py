"""The archive: whatever is added, every reader of zips finds what was added whole."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.service.archive import Archive, EntryBroken

AT = datetime(2026, 8, 22, 14, 3, 8, tzinfo=UTC)


class Pipe:
    """Takes bytes as a pipe does."""

    def __init__(self) -> None:
        self.data = bytearray()

    async def write(self, data: bytes) -> None:
        """Take bytes."""
        self.data += data


async def in_pieces(data: bytes, size: int = 7) -> AsyncIterator[bytes]:
    """Yield data piece by piece."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def add(archive: Archive, name: str, data: bytes, *, announced: bytes | None = None) -> None:
    """Add a file that was announced as another one, maybe."""
    said = data if announced is None else announced
    await archive.add(name, AT, size=len(said), crc=zlib.crc32(said), pieces=in_pieces(data))


def check(data: bytes, folder: Path) -> None:
    """Let Info-ZIP test an archive, where it is installed."""
    if (program := shutil.which("unzip")) is not None:
        path = folder / "x.zip"
        path.write_bytes(data)
        tested = subprocess.run([program, "-tq", path], capture_output=True, text=True, check=False)
        assert tested.returncode == 0, tested.stdout + tested.stderr
        assert "warning" not in tested.stdout + tested.stderr


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\x00/\\"), min_size=1),
        st.binary(max_size=50),
        max_size=5,
    )
)
async def test_what_is_added_is_read_back(files: dict[str, bytes]):
    """Names, contents and times come back, in their order."""
    pipe = Pipe()
    archive = Archive(pipe.write)
    for name, data in files.items():
        await add(archive, name, data)
    await archive.close()
    with zipfile.ZipFile(io.BytesIO(pipe.data)) as read:
        assert read.testzip() is None
        assert {name: read.read(name) for name in read.namelist()} == files
        assert list(files) == read.namelist()
        assert {info.date_time for info in read.infolist()} <= {(2026, 8, 22, 14, 3, 8)}


async def test_headers_before_the_files_tell_their_length(tmp_path: Path):
    """It can be unpacked from a pipe: no length comes after its file."""
    pipe = Pipe()
    archive = Archive(pipe.write)
    await add(archive, "a.wav", b"one")
    await archive.add_text("b.json", AT, b"{}")
    await archive.close()
    with zipfile.ZipFile(io.BytesIO(pipe.data)) as read:
        assert [info.flag_bits & 0x08 for info in read.infolist()] == [0, 0]
        assert [info.compress_type for info in read.infolist()] == [zipfile.ZIP_STORED] * 2
    check(bytes(pipe.data), tmp_path)


@pytest.mark.parametrize("found", [b"", b"sho", b"other", b"too long"])
async def test_a_broken_file_leaves_the_others_whole(tmp_path: Path, found: bytes):
    """One that is shorter, longer or other than announced is not in the archive."""
    pipe = Pipe()
    archive = Archive(pipe.write)
    await add(archive, "first.wav", b"first")
    with pytest.raises(EntryBroken, match=r"broken\.wav changed while it was copied"):
        await add(archive, "broken.wav", found, announced=b"right")
    await add(archive, "last.wav", b"last")
    await archive.close()
    with zipfile.ZipFile(io.BytesIO(pipe.data)) as read:
        assert read.testzip() is None
        assert {name: read.read(name) for name in read.namelist()} == {
            "first.wav": b"first",
            "last.wav": b"last",
        }
    check(bytes(pipe.data), tmp_path)


async def test_an_archive_of_nothing_is_one():
    """It has no files, and can be read."""
    pipe = Pipe()
    await Archive(pipe.write).close()
    with zipfile.ZipFile(io.BytesIO(pipe.data)) as read:
        assert read.namelist() == []


async def test_files_beyond_four_gigabytes(tmp_path: Path):
    """Lengths and places of 64 bits are written where they are needed."""
    path = tmp_path / "large.zip"
    size = 4 * 1024**3 + 5
    piece = bytes(16 * 1024**2)
    crc = 0
    for start in range(0, size, len(piece)):
        crc = zlib.crc32(piece[: min(len(piece), size - start)], crc)

    async def zeros() -> AsyncIterator[bytes]:
        for start in range(0, size, len(piece)):
            yield piece[: min(len(piece), size - start)]

    with path.open("wb") as file:

        async def write(data: bytes) -> None:
            if len(data) > 1000 and not any(data[:1000]):
                file.seek(len(data), io.SEEK_CUR)  # a hole: the disk need not hold it
            else:
                file.write(data)

        archive = Archive(write)
        await archive.add("large.wav", AT, size=size, crc=crc, pieces=zeros())
        await add(archive, "after.wav", b"after")
        await archive.close()
    with zipfile.ZipFile(path) as read:
        assert read.getinfo("large.wav").file_size == size
        assert read.getinfo("after.wav").header_offset > 0xFFFFFFFF
        assert read.read("after.wav") == b"after"
