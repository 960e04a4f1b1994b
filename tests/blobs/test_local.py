"""The folder: what a full, broken or hostile disk does to it, and what it leaves there."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from voxtra.blobs.base import BlobError, BlobNotFound
from voxtra.blobs.local import LocalStore, cause_of

KEY = "recordings/t/2026/01/31/a.wav"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    """Open an empty folder."""
    opened = LocalStore(tmp_path / "blobs")
    yield opened
    opened.close()


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files_in(folder: Path) -> list[str]:
    """Return the names of all files under a folder."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def test_a_blob_is_a_file_of_its_key(store: LocalStore, tmp_path: Path) -> None:
    """Other programs find it there; nobody else on the machine may read it."""
    await store.write(KEY, [b"one", b"two"])
    path = store.local_path(KEY)
    assert path == tmp_path / "blobs" / KEY
    assert path.read_bytes() == b"onetwo"
    assert path.stat().st_mode & 0o007 == 0
    assert path.parent.stat().st_mode & 0o007 == 0
    assert files_in(tmp_path / "blobs") == ["a.wav"]


async def test_a_limit_that_is_hit_leaves_what_was_there(store: LocalStore, tmp_path: Path) -> None:
    """A write that can't be finished says why; the part is gone, the source and the old stay."""
    source = tmp_path / "source"
    source.write_bytes(bytes(3_000_000))
    await store.write(KEY, [b"before"])
    with (
        files_limited_to(1_000_000),
        pytest.raises(BlobError, match="larger than the file system or a limit") as caught,
    ):
        await store.put(KEY, source)
    assert caught.value.key == KEY
    assert await store.read(KEY, 0, 100) == b"before"
    assert source.stat().st_size == 3_000_000
    assert files_in(tmp_path / "blobs") == ["a.wav"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small disk")
    command = [mount, "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounts")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_is_named_and_emptied_again(tiny_disk: Path, tmp_path: Path) -> None:
    """The cause and the fix are in the error; what did not fit takes no room; a smaller one fits
    afterwards.
    """
    store = LocalStore(tiny_disk / "blobs")
    source = tmp_path / "source"
    source.write_bytes(bytes(3_000_000))
    with pytest.raises(BlobError, match="the disk is full: free some space"):
        await store.put(KEY, source)

    async def write() -> None:
        async with store.open_writer(KEY) as writer:
            for _ in range(30):
                await writer.write(bytes(100_000))

    with pytest.raises(BlobError, match="the disk is full"):
        await write()
    with pytest.raises(BlobNotFound):
        await store.size(KEY)
    assert files_in(tiny_disk) == []
    assert (await store.write(KEY, [bytes(500_000)])).size == 500_000
    assert source.stat().st_size == 3_000_000
    store.close()


@pytest.mark.parametrize("damage", ["shorter", "longer", "changed"])
async def test_a_disk_that_gives_back_something_else_is_found_out(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str
) -> None:
    """What was written is read back before the key leads to it: a lie of the disk costs nothing."""
    await store.write(KEY, [b"before"])
    synced = os.fsync

    def damaging(handle: int) -> None:
        synced(handle)
        if not os.path.isdir(f"/proc/self/fd/{handle}"):
            size = os.fstat(handle).st_size
            if damage == "shorter":
                os.ftruncate(handle, size - 1)
            else:
                os.pwrite(handle, b"?", size if damage == "longer" else size // 2)

    monkeypatch.setattr("voxtra.blobs.local.os.fsync", damaging)
    problem = "other bytes" if damage == "changed" else "bytes came back of 4000 that were written"
    with pytest.raises(BlobError, match=problem):
        await store.write(KEY, [bytes(4000)])
    assert await store.read(KEY, 0, 100) == b"before"
    assert files_in(tmp_path / "blobs") == ["a.wav"]


async def test_a_process_that_dies_leaves_a_part_that_is_swept(
    store: LocalStore, tmp_path: Path
) -> None:
    """Killed in the middle of a write, it leaves the blob of before, and a part; parts of others
    that are still being written are younger than what is swept.
    """
    await store.write(KEY, [b"before"])
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from voxtra.blobs.local import LocalStore\n"
        "upload = LocalStore(Path(sys.argv[1]))._create(sys.argv[2])\n"
        "upload.write(bytes(1000))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    arguments = [sys.executable, "-c", program, str(store.root), KEY]
    process = await asyncio.create_subprocess_exec(*arguments)
    assert await process.wait() < 0
    left = [name for name in files_in(store.root) if name.endswith(".part")]
    assert len(left) == 1
    now = datetime.now(UTC)
    assert await store.sweep(now - timedelta(hours=1)) == 0
    assert await store.sweep(now + timedelta(seconds=5)) == 1
    assert files_in(store.root) == ["a.wav"]
    assert await store.read(KEY, 0, 100) == b"before"


async def test_a_writer_is_not_swept_away_and_two_do_not_meet(store: LocalStore) -> None:
    """Two writers of one key have parts of their own; the one that ends last is the blob."""
    async with store.open_writer(KEY) as first:
        await first.write(b"first")
        async with store.open_writer(KEY) as second:
            await second.write(b"second")
        assert await store.read(KEY, 0, 100) == b"second"
    assert await store.read(KEY, 0, 100) == b"first"
    assert files_in(store.root) == ["a.wav"]


async def test_a_cancelled_writer_leaves_nothing(store: LocalStore) -> None:
    """Also when it is in the middle of passing bytes on."""
    begun = asyncio.Event()

    async def write() -> None:
        async with store.open_writer(KEY) as writer:
            begun.set()
            while True:
                await writer.write(bytes(2_000_000))

    task = asyncio.create_task(write())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files_in(store.root) == []


async def test_what_is_in_the_way_is_named(store: LocalStore, tmp_path: Path) -> None:
    """A file where a folder should be, or the other way round, is an error of the store."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "recordings").write_text("not a folder")
    for verb in (store.write(KEY, [b"x"]), store.size(KEY), store.delete(KEY)):
        with pytest.raises(BlobError, match="a file is where a folder should be"):
            await verb
    (tmp_path / "blobs" / "exports").mkdir()
    with pytest.raises(BlobError, match="a folder is where a file should be"):
        await store.write("exports", [b"x"])
    with pytest.raises(BlobNotFound):
        await store.size("exports")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_is_not_ours_is_named(tmp_path: Path) -> None:
    """Without permission the error says so, and what to do."""
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from voxtra.blobs.base import BlobError\n"
        "from voxtra.blobs.local import LocalStore\n"
        "os.setuid(65534)\n"
        "try:\n"
        "    asyncio.run(LocalStore(Path(sys.argv[1])).write('a', [b'x']))\n"
        "except BlobError as error:\n"
        "    print(error)\n"
    )
    tmp_path.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "blobs")],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.startswith("blob a: permission denied: let the user of this process have")


def test_an_unknown_error_keeps_the_words_of_the_system() -> None:
    """What has no words of ours has the system's, with its number."""
    assert cause_of(OSError(28, "x")).startswith("the disk is full")
    assert cause_of(OSError(4, "Interrupted system call")) == "Interrupted system call (error 4)"
    assert cause_of(OSError()) == "OSError (error None)"
