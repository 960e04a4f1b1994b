"""Where the lab's Asterisk comes from."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from voxtra.lab import install
from voxtra.lab.errors import LabError
from voxtra.lab.install import Asterisk


@pytest.fixture(scope="module")
def asterisk() -> Asterisk:
    """Return the Asterisk of this machine's labs."""
    return install.ensure()


def install_at(prefix: Path, real: Asterisk, *, version: str = "") -> str:
    """Lay the real Asterisk out as a distribution would, and return the PATH to find it by.

    With `version` the program says that one.
    """
    program = prefix / "sbin/asterisk"
    modules = prefix / "lib/x-linux-gnu/asterisk"
    data = prefix / "share/asterisk"
    for folder in (program.parent, modules, data / "sounds"):
        folder.mkdir(parents=True)
    answer = f"echo 'Asterisk {version}'" if version else f'exec {shlex.join(real.command)} "$@"'
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)
    (modules / "modules").symlink_to(real.modules)
    (data / "rest-api").symlink_to(real.data / "rest-api")
    (data / "sounds/en").symlink_to(real.sounds)
    return str(program.parent)


def test_an_installed_asterisk_is_found(asterisk: Asterisk, tmp_path: Path) -> None:
    """A complete Asterisk in PATH is used as it is."""
    found = install.find_installed(install_at(tmp_path, asterisk))
    assert found is not None
    assert found.command == (str(tmp_path / "sbin/asterisk"),)
    assert found.version == asterisk.version
    assert (found.modules / "res_ari.so").exists()
    assert any(found.sounds.glob("hello-world.*"))


@pytest.mark.parametrize(
    ("version", "usable"),
    [
        ("18.26.4", False),
        ("certified/18.9-cert17", False),
        ("20.6.0~dfsg+~cs6.13.40431414-2build5", True),
        ("certified/20.7-cert3", True),
        ("GIT-22-3f1c9c1", True),
    ],
)
def test_only_version_20_or_newer_is_used(
    asterisk: Asterisk, tmp_path: Path, version: str, usable: bool
) -> None:
    """An older Asterisk is passed over, however its version is written."""
    path = install_at(tmp_path, asterisk, version=version)
    assert (install.find_installed(path) is not None) == usable


@pytest.mark.parametrize("part", ["lib", "share/asterisk/rest-api", "share/asterisk/sounds/en"])
def test_an_incomplete_asterisk_is_not_used(asterisk: Asterisk, tmp_path: Path, part: str) -> None:
    """An Asterisk without its modules, its ARI or its sounds can't carry a test."""
    path = install_at(tmp_path, asterisk)
    (tmp_path / part).rename(tmp_path / "away")
    assert install.find_installed(path) is None


def test_nothing_unpacked_is_nothing_found(tmp_path: Path) -> None:
    """A cache folder that is missing or half there does not pass for an Asterisk."""
    assert install.find_cached(tmp_path / "none") is None
    (tmp_path / "half/usr/sbin").mkdir(parents=True)
    (tmp_path / "half/usr/sbin/asterisk").touch()
    assert install.find_cached(tmp_path / "half") is None


def test_without_apt_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be fetched the error names what to install and what to set."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(install, "_PROGRAM_PLACES", (str(tmp_path),))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(LabError, match="Install Asterisk 20 or newer") as caught:
        install.ensure()
    for name in ("URL", "USER", "PASSWORD"):
        assert f"VOXTRA_TEST_ARI_{name}" in str(caught.value)
    assert "VOXTRA_TEST_RECORDING_DIR" in str(caught.value)
