"""Bad configuration: one clear line that names the field and the fix, and exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commandline import complaint, environment_of, run
from voxtra.lab.pbx import Pbx
from voxtra.scaffold import scaffold

ENVIRONMENT = {"VOXTRA_ARI_PASSWORD": "top-secret", "VOXTRA_ARI_URL": "http://127.0.0.1:1"}

FAULTS = {
    "unknown key": (
        "recordings: {layout: mono}",
        ["recordings", "unknown key", "Did you mean 'recording'?"],
    ),
    "unknown key below": (
        "telephony: {asterisk: {user_name: me}}",
        ["telephony.asterisk.user_name", "'username'"],
    ),
    "wrong type": (
        "reconnect_interval: soon",
        ["reconnect_interval", "must be a valid number"],
    ),
    "text where a block belongs": (
        "telephony: asterisk",
        ["telephony", "must be a block of keys, not text"],
    ),
    "block where a list belongs": (
        "routes: {number: '*'}",
        ["routes", "must be a list", "'- '"],
    ),
    "number where text belongs": (
        "routes: [{extension: 1000, handler: 'app:answer'}]",
        ["routes.0.extension", "must be text, but is a number", "quotes"],
    ),
    "value out of a choice": (
        "recording: {layout: quadro}",
        ["recording.layout", "'mono'", "'stereo'"],
    ),
    "no YAML": ("routes: [", ["voxtra.yaml", "invalid YAML", "line "]),
    "no mapping": ("- a\n- b", ["voxtra.yaml", "must hold keys", "a list"]),
    "empty": ("", ["voxtra.yaml", "the file is empty", "voxtra init"]),
    "key twice": ("app_name: a\napp_name: b", ["'app_name' is there twice", "line 2"]),
    "variable not set": (
        "app_name: ${VOXTRA_TEST_NOT_SET}",
        ["app_name", "VOXTRA_TEST_NOT_SET", "not set"],
    ),
    "no such handler": (
        "routes: [{number: '*', handler: 'app:anwser'}]",
        ["routes[0].handler", "app:anwser"],
    ),
    "no such module": (
        "routes: [{number: '*', handler: 'application:answer'}]",
        ["routes[0].handler", "application"],
    ),
    "no such provider": (
        "telephony: {provider: asterix}",
        ["telephony", "'asterix'", "Did you mean 'asterisk'?"],
    ),
    "no route": ("app_name: voxtra", ["routes", "every call would be refused", "handler"]),
    "no URL": (
        "telephony: {asterisk: {base_url: 'pbx:8088'}}",
        ["telephony.asterisk.base_url", "http://"],
    ),
    "webhook that is no URL": (
        "backend: {webhook: {url: example.com}}",
        ["backend.webhook.url", "http://"],
    ),
    "planned key": ("ai: {llm: {provider: x}}", ["ai", "not supported by this version"]),
    "no network": (
        "delivery: {allow: [10.0.0.1/8]}",
        ["delivery.allow", "host bits", "10.1.0.0/16"],
    ),
    "watermarks that don't grow": (
        "disk: {watermarks: [90, 80, 95]}",
        ["disk", "watermarks", "greater than the one before"],
    ),
    "too few watermarks": ("disk: {watermarks: [80, 90]}", ["disk.watermarks.2", "is missing"]),
    "share above the whole": ("disk: {watermarks: [80, 90, 101]}", ["disk.watermarks.2", "100"]),
    "no port": ("server: {port: 0}", ["server.port", "1"]),
    "negative days": ("retention: {days: -1}", ["retention.days", "0"]),
    "name of a node that is none": ("service: {node: 'a b'}", ["service.node", "must match"]),
}


@pytest.mark.parametrize(
    ("fault", "command"),
    [*((fault, "check") for fault in FAULTS), ("unknown key", "start"), ("no route", "start")],
)
def test_a_fault_of_the_file(tmp_path: Path, fault: str, command: str) -> None:
    """The line names the field, what is wrong with it and what to write; no secret is in it."""
    scaffold(tmp_path)
    text, words = FAULTS[fault]
    (tmp_path / "voxtra.yaml").write_text(text)
    line = complaint(run(command, env=ENVIRONMENT, folder=tmp_path))
    for word in words:
        assert word in line
    assert "top-secret" not in line


@pytest.mark.parametrize("command", ["check", "start"])
def test_a_missing_file(tmp_path: Path, command: str) -> None:
    """The file that was looked for is named, and what writes one."""
    line = complaint(run(command, "-c", "nowhere.yaml", folder=tmp_path))
    assert line.startswith("nowhere.yaml: there is no such file")
    assert "voxtra init" in line


def test_a_missing_password(tmp_path: Path) -> None:
    """The new app's file needs the password from the environment, and says so."""
    scaffold(tmp_path)
    line = complaint(run("check", folder=tmp_path))
    assert line.startswith("telephony.asterisk.password: needs the environment variable")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_an_unreachable_pbx(
    tmp_path: Path, free_port: Callable[[], int], options: tuple[str, ...]
) -> None:
    """`check` says where it looked and what to look at; nothing is on standard output."""
    scaffold(tmp_path)
    port = free_port()
    env = {**ENVIRONMENT, "VOXTRA_ARI_URL": f"http://127.0.0.1:{port}"}
    line = complaint(run("check", *options, env=env, folder=tmp_path))
    assert f"127.0.0.1:{port}" in line
    assert "http.conf" in line


def test_something_else_than_asterisk(tmp_path: Path, lab: Pbx) -> None:
    """A web server that is not ARI is said to be none."""
    scaffold(tmp_path)
    env = environment_of(lab, VOXTRA_ARI_URL=f"{lab.ari_url}/elsewhere")
    assert "has no ARI" in complaint(run("check", env=env, folder=tmp_path))


def test_a_wrong_password_for_check(tmp_path: Path, lab: Pbx) -> None:
    """`check` names the user that Asterisk refused and where its password is set."""
    scaffold(tmp_path)
    env = environment_of(lab, VOXTRA_ARI_PASSWORD="top-secret")
    line = complaint(run("check", env=env, folder=tmp_path))
    assert f"refused ARI user {lab.ari_user!r}" in line
    assert "ari.conf" in line
    assert "top-secret" not in line


def test_a_wrong_password_for_start(tmp_path: Path, lab: Pbx) -> None:
    """`start` does not try again with a password that was refused."""
    scaffold(tmp_path)
    env = environment_of(lab, VOXTRA_ARI_PASSWORD="top-secret")
    done = run("start", env=env, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "top-secret" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert f"refused ARI user {lab.ari_user!r}" in last
