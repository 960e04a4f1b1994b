"""Configuration: what is in the file takes effect, and what can't is one clear line."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.config import (
    AsteriskConfig,
    BackendConfig,
    ListenConfig,
    RecordingConfig,
    RouteConfig,
    TelephonyConfig,
    VoxtraConfig,
    WebhookConfig,
    nearest,
)
from voxtra.events import EventType
from voxtra.exceptions import ConfigurationError
from voxtra.model import Layout

Load = Callable[[str], VoxtraConfig]

FULL = """
app_name: acme
reconnect_interval: 0.5
telephony:
  provider: asterisk
  asterisk:
    base_url: http://pbx:8088
    username: voxtra
    password: "0815"
    recording_dir: /mnt/recordings
    mode: outbound
    listen:
      host: 127.0.0.1
      port: 8765
      path: /ari
      username: asterisk
      password: other
    request_timeout: 3
routes:
  - extension: "1000"
    handler: shop.calls:support
    name: support
    metadata: {vip: true, tags: [a, b]}
  - number: "+265888*"
    handler: shop:vip
server:
  debug: true
backend:
  webhook:
    url: https://example.com/hook
    signing_secret: whsec_c2VjcmV0
    events: [call.started, call.ended]
    timeout_seconds: 3
    max_retries: 0
    retry_backoff: 0
recording:
  layout: stereo
  max_duration: 3600
  grace_seconds: 4.5
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Read a text as a configuration file, in an environment without our variables."""
    for name in [name for name in os.environ if name.startswith("VOXTRA_")]:
        monkeypatch.delenv(name)

    def load(text: str) -> VoxtraConfig:
        path = tmp_path / "voxtra.yaml"
        path.write_text(text, encoding="utf-8")
        return VoxtraConfig.from_yaml(path)

    return load


def error_of(load: Load, text: str) -> str:
    """Return the one line that a text is refused with."""
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)
    return str(caught.value)


def test_every_key_takes_effect(load: Load):
    """A file with every key gives a configuration with every value."""
    assert load(FULL) == VoxtraConfig(
        app_name="acme",
        reconnect_interval=0.5,
        telephony=TelephonyConfig(
            provider="asterisk",
            asterisk=AsteriskConfig(
                base_url="http://pbx:8088",
                username="voxtra",
                password="0815",
                app_name="acme",
                recording_dir="/mnt/recordings",
                mode="outbound",
                listen=ListenConfig(
                    host="127.0.0.1", port=8765, path="/ari", username="asterisk", password="other"
                ),
                request_timeout=3.0,
            ),
        ),
        routes=[
            RouteConfig(
                extension="1000",
                handler="shop.calls:support",
                name="support",
                metadata={"vip": True, "tags": ["a", "b"]},
            ),
            RouteConfig(number="+265888*", handler="shop:vip"),
        ],
        server={"debug": True},  # type: ignore[arg-type]  # pydantic makes the block
        backend=BackendConfig(
            webhook=WebhookConfig(
                url="https://example.com/hook",
                signing_secret="whsec_c2VjcmV0",
                events=["call.started", "call.ended"],
                timeout_seconds=3.0,
                max_retries=0,
                retry_backoff=0.0,
            )
        ),
        recording=RecordingConfig(layout=Layout.STEREO, max_duration=3600, grace_seconds=4.5),
    )


def test_webhook_defaults_are_the_contract():
    """`WebhookConfig()` has the defaults that apps were written against."""
    assert WebhookConfig().model_dump() == {
        "url": "",
        "signing_secret": "",
        "events": [],
        "timeout_seconds": 10.0,
        "max_retries": 3,
        "retry_backoff": 1.0,
    }


def test_stasis_application_has_the_name_of_the_app(load: Load):
    """An asterisk block without an app_name subscribes to the app's name, not to `voxtra`."""
    text = "app_name: acme\ntelephony: {asterisk: {username: me}}"
    assert load(text).telephony.asterisk.app_name == "acme"
    assert load("app_name: acme").telephony.asterisk.app_name == "acme"
    assert load(text.replace("me}", "me, app_name: own}")).telephony.asterisk.app_name == "own"


def test_a_block_may_be_used_for_two_apps():
    """The name of one app does not leak into another that shares its blocks."""
    telephony = TelephonyConfig()
    first = VoxtraConfig(app_name="first", telephony=telephony)
    second = VoxtraConfig(app_name="second", telephony=telephony)
    assert first.telephony.asterisk.app_name == "first"
    assert second.telephony.asterisk.app_name == "second"


def test_environment_gives_what_the_file_does_not(load: Load, monkeypatch: pytest.MonkeyPatch):
    """`VOXTRA_ARI_*` and `VOXTRA_RECORDING_DIR` fill in; what is in the file wins."""
    monkeypatch.setenv("VOXTRA_RECORDING_DIR", "/mnt/env")
    monkeypatch.setenv("VOXTRA_ARI_URL", "http://env:1")
    monkeypatch.setenv("VOXTRA_ARI_USER", "env-user")
    monkeypatch.setenv("VOXTRA_ARI_PASSWORD", "env-password")
    asterisk = load("telephony: {asterisk: {base_url: 'http://file:2'}}").telephony.asterisk
    assert asterisk.base_url == "http://file:2"
    assert (asterisk.username, asterisk.password) == ("env-user", "env-password")
    assert asterisk.recording_dir == "/mnt/env"


def test_references_to_the_environment_are_expanded(load: Load, monkeypatch: pytest.MonkeyPatch):
    """`${NAME}` works in all text, also inside of it, in lists and in numbers."""
    monkeypatch.setenv("PASSWORD", "p ${NOT_AGAIN}")
    monkeypatch.setenv("SECONDS", "2.5")
    monkeypatch.setenv("EMPTY", "")
    config = load(
        "telephony: {asterisk: {password: '${PASSWORD}', request_timeout: '${SECONDS}'}}\n"
        "routes: [{extension: '${EXT:-1000}', handler: 'a:b',"
        " metadata: {x: ['<${SECONDS}|${EMPTY:-none}>', '$${KEPT} $5 $$']}}]\n"
    )
    assert config.telephony.asterisk.password == "p ${NOT_AGAIN}"
    assert config.telephony.asterisk.request_timeout == 2.5
    assert config.routes[0].extension == "1000"
    assert config.routes[0].metadata == {"x": ["<2.5|none>", "${KEPT} $5 $$"]}


def test_missing_variable_names_field_and_variable(load: Load):
    """A variable that is not set is an error at its field, not an empty password."""
    text = "telephony: {asterisk: {password: '${VOXTRA_TEST_UNSET}'}}"
    assert error_of(load, text) == (
        "telephony.asterisk.password: needs the environment variable VOXTRA_TEST_UNSET, which is"
        " not set. Set it, or write a default: ${VOXTRA_TEST_UNSET:-...}"
    )


@pytest.mark.parametrize("value", ["${", "${}", "${1A}", "${A B}", "a ${A:x}", "${A-x}"])
def test_broken_reference_is_refused(load: Load, value: str):
    """What begins like a reference and is none is not taken literally."""
    assert "app_name: holds ${" in error_of(load, f"app_name: '{value}'")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("app_nme: x", "app_nme: unknown key. Did you mean 'app_name'?"),
        (
            "telephony: {asterisk: {usrname: x}}",
            "telephony.asterisk.usrname: unknown key. Did you mean 'username'?",
        ),
        (
            "telephony: {asterisk: {mode: outbound, listen: {prt: 1}}}",
            "telephony.asterisk.listen.prt: unknown key. Did you mean 'port'?",
        ),
        (
            "backend: {webhook: {Signing_Secret: x}}",
            "backend.webhook.Signing_Secret: unknown key. Did you mean 'signing_secret'?",
        ),
        (
            "routes: [{extension: '1', handler: 'a:b'}, {extnsion: '2', handler: 'a:b'}]",
            "routes.1.extnsion: unknown key. Did you mean 'extension'?",
        ),
        (
            "server: {qqq: 1}",
            "server.qqq: unknown key. Known keys: burst, debug, host, port, requests_per_second",
        ),
        ("ai: {stt: {provider: x}}", "ai: is not supported by this version. Remove it"),
        ("media: {}", "media: is not supported by this version. Remove it"),
        (
            "routes: [{extension: '1', flow: x.json}]",
            "routes.0.flow: is not supported by this version. Remove it",
        ),
    ],
)
def test_keys_without_effect_are_refused(load: Load, text: str, wanted: str):
    """A misspelt key is named with its path and the key that was meant."""
    assert error_of(load, text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("telephony: here", "telephony: must be a block of keys, not text"),
        ("telephony: [a]", "telephony: must be a block of keys, not a list"),
        ("telephony:", "telephony: has no value. Give it one or remove the line"),
        ("app_name: 5", "app_name: must be text, but is a number. Put it in quotes"),
        ("app_name: no", "app_name: must be text, but is true or false. Put it in quotes"),
        ("app_name: a,b", "app_name: must match ^[A-Za-z0-9_.-]+$"),
        ("app_name: ''", "app_name: must match ^[A-Za-z0-9_.-]+$"),
        (
            "routes: {a: 1}",
            "routes: must be a list, not a block of keys. Begin each item with '- '",
        ),
        ("routes: [{handler: 'a:b'}]", "routes.0: needs an extension or a number; number: '*'"),
        ("routes: [{extension: '1'}]", "routes.0.handler: is missing"),
        ("routes: [{extension: '1', handler: a.b}]", "routes.0.handler: must match"),
        (
            "routes: [{extension: 1000, handler: 'a:b'}]",
            "routes.0.extension: must be text, but is a number. Put it in quotes",
        ),
        ("server: {debug: 7}", "server.debug: must be a valid boolean"),
        ("reconnect_interval: 0", "reconnect_interval: must be greater than 0"),
        ("reconnect_interval: .inf", "reconnect_interval: must be a finite number"),
        ("reconnect_interval: soon", "reconnect_interval: must be a valid number"),
        ("reconnect_interval: yes", "reconnect_interval: must be a number, not true or false"),
        ("recording: {layout: sterio}", "recording.layout: must be 'mono' or 'stereo'"),
        ("recording: {max_duration: 86401}", "recording.max_duration: must be less than or equal"),
        (
            "telephony: {asterisk: {base_url: pbx:8088}}",
            "telephony.asterisk.base_url: must be an http:// or https:// URL",
        ),
        (
            "telephony: {asterisk: {base_url: 'http://me:secret@pbx'}}",
            "telephony.asterisk.base_url: holds a user or password",
        ),
        ("telephony: {asterisk: {mode: sideways}}", "telephony.asterisk.mode: must be 'inbound'"),
        ("telephony: {asterisk: {mode: outbound}}", "telephony.asterisk: mode outbound needs"),
        (
            "telephony: {asterisk: {listen: {port: 1, username: u, password: p}}}",
            "telephony.asterisk: 'listen' has no effect in mode inbound",
        ),
        (
            "telephony: {asterisk: {mode: outbound, listen: {port: 0}}}",
            "telephony.asterisk.listen.port: must be greater than or equal to 1",
        ),
        ("telephony: {extra: {a: 1}}", "telephony: 'extra' has no effect with provider asterisk"),
        (
            "telephony: {provider: mine, asterisk: {}}",
            "telephony: the block 'asterisk' has no effect with provider mine",
        ),
        ("backend: {webhook: {url: nowhere}}", "backend.webhook.url: must be an http://"),
        (
            "backend: {webhook: {events: [call.strated]}}",
            "backend.webhook.events: there is no event 'call.strated'. Did you mean 'call.star",
        ),
        ("backend: {webhook: {max_retries: -1}}", "backend.webhook.max_retries: must be greater"),
        (
            "backend: {webhook: {signing_secret: 99}}",
            "backend.webhook.signing_secret: must be text",
        ),
    ],
)
def test_wrong_values_are_one_line_that_names_the_field(load: Load, text: str, wanted: str):
    """Each wrong value is one line: the dotted path, what is wrong and what to write."""
    assert error_of(load, text).startswith(wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "the file is empty. `voxtra init` writes one to begin with"),
        ("# only a comment\n", "the file is empty. `voxtra init` writes one to begin with"),
        ("- a\n- b", "must hold keys such as app_name:, not a list"),
        ("text", "must hold keys such as app_name:, not text"),
        ("app_name: a\nserver: [", "invalid YAML: line 2, column 10: expected the node content"),
        ("app_name: a\n\tserver: b", "invalid YAML: line 2, column 1: found character '\\t'"),
        ("a: *b", "invalid YAML: line 1, column 4: found undefined alias"),
        ("a: !!python/name:os.system x", "invalid YAML: line 1, column 4: could not determine"),
        ("server: {debug: 1, debug: 0}", "line 1, column 20: the key 'debug' is there twice"),
        ("x: 2024-13-45", "invalid YAML: month must be in 1..12"),
        ("a: \x01", "invalid YAML: "),
        ("a: &a [*a]", "an anchor (&) holds its own alias (*)"),
        ("a: " + "[" * 3000, "invalid YAML: "),
    ],
)
def test_what_is_no_yaml_is_one_line_that_names_the_file(load: Load, text: str, wanted: str):
    """A broken file is named with the line and column of the fault."""
    message = error_of(load, text)
    assert "voxtra.yaml: " in message
    assert wanted in message


def test_keys_must_be_text(load: Load):
    """YAML reads `on:` as true and `1:` as a number; the author is told."""
    assert error_of(load, "server: {on: 1}") == (
        "server: the key True is not text but true or false. Put it in quotes"
    )


def test_unreadable_files_are_one_line(tmp_path: Path):
    """Missing, a folder, or not text: one line with the path each."""
    with pytest.raises(ConfigurationError, match=r"nothing\.yaml: there is no such file"):
        VoxtraConfig.from_yaml(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigurationError, match="can't be read: Is a directory"):
        VoxtraConfig.from_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("app_name: ä".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        VoxtraConfig.from_yaml(tmp_path / "latin.yaml")


def test_blocks_made_in_python_fail_alike():
    """A wrong value in Python is the same `ConfigurationError`, at construction."""
    with pytest.raises(ConfigurationError, match=r"Did you mean 'call\.started'") as caught:
        WebhookConfig(events=["call.strated"])
    assert caught.value.field == "events"
    with pytest.raises(ConfigurationError, match=r"^timeout: unknown key\. Did you mean"):
        WebhookConfig(timeout=3)  # type: ignore[call-arg]  # that is the test
    with pytest.raises(ConfigurationError, match="mode outbound needs the block 'listen'"):
        AsteriskConfig(mode="outbound")


def test_every_event_can_be_asked_for():
    """The filter takes all event types, as text or as members."""
    assert WebhookConfig(events=list(EventType)).events == [str(event) for event in EventType]


def test_secrets_are_in_no_repr(load: Load):
    """No password, signing secret or webhook URL is in the repr of any block that holds it."""
    config = load(FULL)
    shown = repr(config) + str(config)
    for secret in ("0815", "other", "whsec_", "example.com/hook"):
        assert secret not in shown
    assert config.telephony.asterisk.password == "0815"


def test_secrets_are_in_no_error(load: Load):
    """A wrong value of a secret is not repeated in the error."""
    assert "987654" not in error_of(load, "telephony: {asterisk: {password: 987654}}")
    text = "backend: {webhook: {url: 'nowhere/T0KEN'}}"
    assert "T0KEN" not in error_of(load, text)


def test_round_trip_keeps_everything(load: Load, tmp_path: Path):
    """What `to_yaml` writes, `from_yaml` reads as the same configuration."""
    config = load(FULL)
    config.to_yaml(tmp_path / "copy.yaml")
    assert VoxtraConfig.from_yaml(tmp_path / "copy.yaml") == config


@given(
    name=st.text("abz019_.-", min_size=1),
    password=st.text(),
    metadata=st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
            | st.sampled_from(["${A}", "$${", "${", "$", "yes", "0100", "+26588", "2024-01-01"]),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    ),
    layout=st.sampled_from(Layout),
)  # fmt: skip
def test_round_trip_of_any_value(
    name: str, password: str, metadata: dict[str, object], layout: Layout
):
    """Any text survives: looking like a reference, a number, a date or nothing at all."""
    config = VoxtraConfig(
        app_name=name,
        telephony=TelephonyConfig(asterisk=AsteriskConfig(password=password)),
        routes=[RouteConfig(number="*", handler="a:b", metadata=metadata)],
        recording=RecordingConfig(layout=layout),
    )
    with tempfile.TemporaryDirectory() as folder:
        config.to_yaml(os.path.join(folder, "x.yaml"))
        assert VoxtraConfig.from_yaml(os.path.join(folder, "x.yaml")) == config


def test_written_file_is_its_owners_alone(tmp_path: Path):
    """The file holds passwords: mode 0600, also where a wider one was there, and no rest beside."""
    path = tmp_path / "voxtra.yaml"
    path.touch(0o644)
    VoxtraConfig(app_name="acme").to_yaml(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["voxtra.yaml"]


def test_password_of_the_environment_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What came from `VOXTRA_ARI_PASSWORD` stays in the environment."""
    monkeypatch.setenv("VOXTRA_ARI_PASSWORD", "from-the-environment")
    config = VoxtraConfig(app_name="acme")
    config.to_yaml(tmp_path / "x.yaml")
    assert (tmp_path / "x.yaml").read_text() == "app_name: acme\n"
    assert config.telephony.asterisk.password == "from-the-environment"


def test_failed_write_leaves_the_old_file(tmp_path: Path):
    """A value that YAML can't hold changes nothing on the disk."""
    path = tmp_path / "voxtra.yaml"
    path.write_text("app_name: old\n")
    config = VoxtraConfig(routes=[RouteConfig(number="*", handler="a:b", metadata={"x": object()})])
    with pytest.raises(ConfigurationError, match="can't be written"):
        config.to_yaml(path)
    assert path.read_text() == "app_name: old\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["voxtra.yaml"]


def test_nearest_names_all_when_none_is_near():
    """Where nothing is similar, everything there is gets listed."""
    assert nearest("qqq", ["b", "a"]) == "Known: a, b"
    assert nearest("x", []) == "Known: none"
