"""Fetch Debian's Asterisk packages of a later suite and unpack them into a folder, without root.

The mirror and the proxy come from the machine's own apt configuration. apt works on a private
state, so the host's package lists and database are neither read nor changed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from voxtra.lab import process
from voxtra.lab.errors import LabError

__all__ = ["OWN_ASTERISK_HINT", "fetch"]

SUITE = "forky"
PACKAGES = ("asterisk", "asterisk-core-sounds-en-gsm")
OWN_ASTERISK_HINT = (
    "Or let the tests use an Asterisk of your own: set VOXTRA_TEST_ARI_URL, VOXTRA_TEST_ARI_USER, "
    "VOXTRA_TEST_ARI_PASSWORD and VOXTRA_TEST_RECORDING_DIR."
)

# apt resolves dependencies on an empty system, so the base system comes along in the list; none of
# it is run.
_NOT_NEEDED = re.compile(
    r"(perl|libperl|debconf|adduser|passwd|dpkg|login|libpam|debianutils|coreutils"
    r"|bash_|tar_|libc-bin|diffutils|sed_|grep_)"
)
_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)

_Show = Callable[[str, float], None]


def fetch(root: Path) -> None:
    """Fetch and unpack Asterisk so that `root` appears complete or not at all.

    The caller holds the lock, so leftovers of killed fetches beside `root` are removed here.
    Raises LabError that says what to install or set instead.
    """
    _check_host()
    mirrors = _mirrors()
    prefix = f".{root.name}-fetch-"
    for leftover in root.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover)
    with (
        tempfile.TemporaryDirectory(prefix=prefix, dir=root.parent) as name,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        ) as bar,
    ):
        if not sys.stderr.isatty():
            print(f"fetching Asterisk (about 80 MB, once) into {root}", file=sys.stderr)
        task = bar.add_task("fetching Asterisk", total=100)

        def show(step: str, percent: float) -> None:
            bar.update(task, description=step, completed=percent)

        work = Path(name)
        archives = _download(work / "apt", mirrors, show)
        unpacked = work / "root"
        unpacked.mkdir()
        _unpack(archives, unpacked, show)
        if root.exists():
            shutil.rmtree(root)
        unpacked.rename(root)


def _check_host() -> None:
    missing = [
        tool for tool in ("apt-get", "apt-config", "dpkg-deb", "dpkg") if shutil.which(tool) is None
    ]
    system = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    if missing or system.get("ID") != "debian":
        name = system.get("PRETTY_NAME", platform.system())
        msg = (
            f"there is no Asterisk 20 or newer in PATH, and it can only be fetched on Debian "
            f"(this is {name}). "
            "Install Asterisk 20 or newer with its English sounds "
            "(on Ubuntu 24.04: apt-get install asterisk asterisk-core-sounds-en-gsm). "
            f"{OWN_ASTERISK_HINT}"
        )
        raise LabError(msg)
    if not any(keyring.is_file() for keyring in _KEYRINGS):
        msg = (
            "Debian's archive keys are missing: apt-get install debian-archive-keyring. "
            f"{OWN_ASTERISK_HINT}"
        )
        raise LabError(msg)


def _mirrors() -> list[str]:
    """Return the addresses of Debian's main archive in this machine's apt, in its order."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    suites = {codename, "stable", "oldstable", "testing", "unstable", "sid", SUITE}
    # Without release info apt names its sources even when no list was ever downloaded (a fresh
    # container).
    listed = _run(
        "apt-get",
        "indextargets",
        "--no-release-info",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    )
    found: dict[str, None] = {}
    for line in listed.splitlines():
        match line.split():
            case [uri, release, "main"] if release in suites:
                found[uri] = None
            case _:
                continue
    if not found:
        msg = (
            "apt on this machine has no Debian main archive to fetch Asterisk from; "
            f"add one to /etc/apt/sources.list. {OWN_ASTERISK_HINT}"
        )
        raise LabError(msg)
    return list(found)


def _download(work: Path, mirrors: list[str], show: _Show) -> list[Path]:
    """Download the packages with all they need; the first mirror that has the suite is used."""
    (work / "lists/partial").mkdir(parents=True)
    (work / "cache/archives/partial").mkdir(parents=True)
    (work / "status").touch()
    keyring = next(keyring for keyring in _KEYRINGS if keyring.is_file())
    architecture = _run("dpkg", "--print-architecture").strip()
    # Acquire holds the machine's proxy and certificates; hooks and pinning stay out.
    acquire = [
        line for line in _run("apt-config", "dump").splitlines() if line.startswith("Acquire::")
    ]
    settings = {
        "Dir::State": work,
        "Dir::State::status": work / "status",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Acquire::Check-Valid-Until": "false",
        "Acquire::Languages": "none",
        "APT::Install-Recommends": "false",
        "APT::Update::Error-Mode": "any",  # else an unreachable mirror is a warning
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
    }
    lines = [*acquire, "#clear Acquire::Languages;", *(f'{k} "{v}";' for k, v in settings.items())]
    (work / "apt.conf").write_text("\n".join(lines) + "\n")
    failure: LabError | None = None
    for mirror in mirrors:
        (work / "sources.list").write_text(
            f"deb [arch={architecture} signed-by={keyring}] {mirror} {SUITE} main\n"
        )
        try:
            _apt(work, ["update"], "reading Debian's package lists", show)
            _apt(work, ["--download-only", "install", *PACKAGES], "downloading Asterisk", show)
        except LabError as error:
            failure = error
            continue
        return sorted((work / "cache/archives").glob("*.deb"))
    assert failure is not None, "the caller gives at least one mirror"  # noqa: S101
    raise failure


def _apt(work: Path, arguments: list[str], step: str, show: _Show) -> None:
    """Run apt-get on the private state, telling how far the downloads are."""
    environment = {**os.environ, "APT_CONFIG": str(work / "apt.conf"), "LC_ALL": "C"}
    reader, writer = os.pipe()
    errors = work / "errors"
    with errors.open("w") as stderr, os.fdopen(reader) as status:
        command = ["apt-get", "-qq", "-y", "-o", f"APT::Status-Fd={writer}", *arguments]
        with subprocess.Popen(  # noqa: S603  # the command is ours
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=(writer,),
        ) as apt:
            os.close(writer)
            show(step, 0)
            for line in status:  # dlstatus:<item>:<percent>:<text>
                match line.split(":"):
                    case ["dlstatus", _, percent, *_]:
                        show(step, float(percent))
                    case _:
                        continue
    if apt.returncode != 0:
        said = " / ".join(errors.read_text(errors="replace").strip().splitlines()[-3:])
        msg = (
            f"could not fetch Asterisk with apt-get ({step}): {said}. "
            "Check the network and apt's proxy, or install Asterisk 20 or newer. "
            f"{OWN_ASTERISK_HINT}"
        )
        raise LabError(msg)


def _unpack(archives: list[Path], root: Path, show: _Show) -> None:
    wanted = [archive for archive in archives if not _NOT_NEEDED.match(archive.name)]
    for number, archive in enumerate(wanted):
        show("unpacking Asterisk", 100 * number / len(wanted))
        _run("dpkg-deb", "-x", str(archive), str(root))
    for ballast in ("doc", "man", "locale"):
        shutil.rmtree(root / "usr/share" / ballast, ignore_errors=True)


def _run(*command: str) -> str:
    """Run a short command and return what it printed."""
    done = process.run(command)
    if done.returncode != 0:
        msg = f"{' '.join(command[:2])} failed: {done.stderr.decode(errors='replace').strip()}"
        raise LabError(msg)
    return done.stdout.decode()
