"""`voxtra recordings get`: the audio that was recorded, whole, and never over another file."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import soundfile

from tests.commandline import VOXTRA
from tests.commands.office import Office
from tests.web.shelf import wav
from voxtra.commands import saving
from voxtra.commands.show import Bar
from voxtra.service.manifest import file_name


@pytest.fixture
def stereo(office: Office) -> str:
    """Return a stereo recording of a second."""
    return office.record(
        wav(stereo=True), channels=2, layout="stereo", sample_rate=8000, samples=8000
    )


def test_the_stored_file_comes_as_it_is(
    office: Office, stereo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a name that says when and who, or the one that is given, or in a folder that is."""
    monkeypatch.chdir(office.folder)
    name = file_name(office.row(stereo))
    (office.folder / "there").mkdir()
    for options, target in (
        ([], name),
        (["-o", "a.wav"], "a.wav"),
        (["-o", "there"], f"there/{name}"),
    ):
        [said] = office.lines("recordings", "get", stereo, *options)
        assert said["file"] == target
        data = (office.folder / target).read_bytes()
        assert data == wav(stereo=True)
        assert said["sha256"] == office.row(stereo).sha256
    assert not list(office.folder.rglob("*.part"))
    assert set(office.acts()) == {("cli", "recording.downloaded", stereo)}


@pytest.mark.parametrize(
    ("options", "channels", "kind"),
    [
        (["--format", "wav", "--channel", "left"], 1, "WAV"),
        (["--channel", "mix"], 1, "WAV"),
        (["--format", "opus"], 2, "OGG"),
        (["--format", "mp3", "--channel", "right"], 1, "MP3"),
    ],
)
def test_it_is_made_into_what_is_wanted(
    office: Office, stereo: str, options: list[str], channels: int, kind: str
) -> None:
    """WAV, MP3 and Opus, of both sides or one; nothing of that stays with the service."""
    target = office.folder / "made"
    done = office.run("recordings", "get", stereo, "-o", str(target), *options)
    assert done.code == 0, done
    made = soundfile.info(target)
    assert (made.channels, made.format) == (channels, kind)
    assert made.duration == pytest.approx(1.0, abs=0.1)
    assert not (office.folder / "data" / "derived").exists()


def test_it_goes_into_a_pipe(office: Office, stereo: str) -> None:
    """`-o -` writes the audio to standard output and nothing else."""
    done = subprocess.run(
        [VOXTRA, "recordings", "get", stereo, "-o", "-", "-c", office.config],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == (wav(stereo=True), b"")
    assert soundfile.info(io.BytesIO(done.stdout)).channels == 2
    assert (
        "--json prints there"
        in office.run("recordings", "get", stereo, "-o", "-", "--json").complaint
    )


def test_a_file_that_is_there_stays(office: Office, stereo: str) -> None:
    """Unless `--force` says otherwise."""
    target = office.folder / "mine.wav"
    target.write_bytes(b"mine")
    command = ("recordings", "get", stereo, "-o", str(target))
    assert "exists already" in office.run(*command).complaint
    assert target.read_bytes() == b"mine"
    assert office.run(*command, "--force").code == 0
    assert target.read_bytes() == wav(stereo=True)


def save(target: Path, *, meanwhile: bytes = b"") -> None:
    """Save a file, while somebody else writes one of the same name."""
    with saving.saved(target, force=False) as file:
        file.write(b"ours")
        if meanwhile:
            target.write_bytes(meanwhile)


def test_a_file_that_comes_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a file system without hard links; of ours nothing is left then."""

    def refuse(*_paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    target = tmp_path / "a.wav"
    for link in (os.link, refuse):
        monkeypatch.setattr(os, "link", link)
        with pytest.raises(click.ClickException, match="exists already"):
            save(target, meanwhile=b"theirs")
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"theirs"]
        target.unlink()
    save(target)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"ours"]


@pytest.mark.parametrize("options", [[], ["--format", "mp3"]])
@pytest.mark.parametrize("fault", ["changed", "cut", "gone"])
def test_what_was_not_recorded_is_not_handed_out(
    office: Office, stereo: str, monkeypatch: pytest.MonkeyPatch, options: list[str], fault: str
) -> None:
    """A stored file that is not what its row says is an error, and leaves no file."""
    monkeypatch.chdir(office.folder)
    blob = office.blob(office.row(stereo).blob_key)
    data = blob.read_bytes()
    faults: dict[str, Callable[[], object]] = {
        "changed": lambda: blob.write_bytes(data[:-1] + b"!"),
        "cut": lambda: blob.write_bytes(data[:-10]),
        "gone": blob.unlink,
    }
    faults[fault]()
    before = set(office.folder.iterdir())
    done = office.run("recordings", "get", stereo, *options)
    assert done.code == 2
    assert f"See voxtra recordings verify {stereo}" in done.err
    assert "Traceback" not in done.err
    assert set(office.folder.iterdir()) == before


def test_what_reads_a_pipe_is_told_that_the_audio_was_not_right(
    office: Office, stereo: str
) -> None:
    """It has the bytes by then: the exit code says that they are not what was recorded."""
    office.blob(office.row(stereo).blob_key).write_bytes(wav(stereo=True)[:-1] + b"!")
    done = subprocess.run(
        [VOXTRA, "recordings", "get", stereo, "-o", "-", "-c", office.config],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert b"the SHA-256 differs" in done.stderr


def test_what_has_no_audio_says_why(office: Office) -> None:
    """A failed one its cause, a deleted one its reason, a live one its state."""
    failed = office.record(state="failed", cause="nobody spoke")
    assert "nobody spoke" in office.run("recordings", "get", failed).complaint
    live = office.record(state="recording", ended_at=None)
    assert "is recording" in office.run("recordings", "get", live).complaint
    gone = office.record()
    office.run("recordings", "delete", gone, "--reason", "asked for", "--yes")
    assert "was deleted: asked for" in office.run("recordings", "get", gone).complaint


def test_a_bar_that_nobody_watches_does_nothing() -> None:
    """Progress is for terminals."""
    bar = Bar(None, "reading", 10)
    bar.advance(1)
    bar.to(2, total=3)
