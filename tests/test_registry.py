"""The registry: providers by name, found when asked for and not before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from voxtra.exceptions import ConfigurationError
from voxtra.registry import Kind, ProviderRegistry, registry

KINDS: tuple[Kind, ...] = ("stt", "tts", "llm", "vad", "telephony", "media")


class Mine:
    """A provider."""


@pytest.mark.parametrize("kind", KINDS)
def test_register_resolve_and_list(kind: Kind):
    """Every kind has its own decorator, look-up and list, over one set of names."""
    providers = ProviderRegistry()
    assert getattr(providers, f"register_{kind}")("mine")(Mine) is Mine
    assert getattr(providers, f"resolve_{kind}")("mine") is Mine
    assert providers.resolve(kind, "mine") is Mine
    assert "mine" in getattr(providers, f"list_{kind}")()
    others = [other for other in KINDS if other != kind]
    assert all("mine" not in providers.names(other) for other in others)


def test_unknown_name_lists_what_there_is():
    """A misspelt name gets the one that was meant, another one all there are."""
    providers = ProviderRegistry()
    providers.register_stt("deepgram")(Mine)
    providers.register_stt("whisper")(Mine)
    with pytest.raises(
        ConfigurationError, match=r"no stt provider 'deepgrm'\. Did you mean 'deepgr"
    ):
        providers.resolve_stt("deepgrm")
    with pytest.raises(ConfigurationError, match="Available: deepgram, whisper"):
        providers.resolve_stt("x")
    with pytest.raises(ConfigurationError, match="Available: none"):
        providers.resolve_tts("x")


def test_two_providers_of_one_name_are_refused():
    """The second class of a name is an error; the same class again is not."""
    providers = ProviderRegistry()
    providers.register_llm("mine")(Mine)
    providers.register_llm("mine")(Mine)
    with pytest.raises(ConfigurationError, match=r"'mine' is .*Mine already"):
        providers.register_llm("mine")(type("Other", (), {}))
    assert providers.resolve_llm("mine") is Mine


def test_decorator_without_parentheses_is_one_clear_error():
    """`@registry.register_stt` without a name says how to write it."""
    with pytest.raises(ConfigurationError, match=r'Write @registry.register_stt\("my-name"\)'):
        ProviderRegistry().register_stt(Mine)  # type: ignore[arg-type]  # that is the test


def test_list_all_has_every_kind():
    """`list_all` has each kind with its sorted names, ours among them."""
    listed = registry.list_all()
    assert list(listed) == list(KINDS)
    assert "asterisk" in listed["telephony"]


def test_asterisk_is_known_without_importing_it():
    """Right after the import the adapter can be resolved, and is loaded only then."""
    code = (
        "import sys, voxtra.registry as r\n"
        "assert 'voxtra.telephony.asterisk' not in sys.modules\n"
        "assert r.registry.list_telephony() == ['asterisk']\n"
        "assert 'voxtra.telephony.asterisk' not in sys.modules\n"
        "from_registry = r.registry.resolve_telephony('asterisk')\n"
        "from voxtra.telephony.asterisk import AsteriskAdapter\n"
        "assert from_registry is AsteriskAdapter\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_registered_adapter_replaces_ours():
    """An app may put its own adapter in the place of ours."""
    providers = ProviderRegistry()
    providers.register_telephony("asterisk")(Mine)
    assert providers.resolve_telephony("asterisk") is Mine


def install(folder: Path, entry_points: str) -> None:
    """Install a distribution with entry points, the way an installer leaves it."""
    info = folder / "acme_voxtra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-voxtra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    (folder / "acme_voxtra_plugin.py").write_text("class Adapter: ...\n")


def test_entry_points_of_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An installed package's provider is listed and resolved without being imported by hand."""
    install(tmp_path, "[voxtra.telephony]\nacme = acme_voxtra_plugin:Adapter\n")
    monkeypatch.syspath_prepend(tmp_path)
    providers = ProviderRegistry()
    assert providers.list_telephony() == ["acme", "asterisk"]
    assert "acme_voxtra_plugin" not in sys.modules
    adapter = providers.resolve_telephony("acme")
    assert adapter.__module__ == "acme_voxtra_plugin"
    monkeypatch.delitem(sys.modules, "acme_voxtra_plugin")


@pytest.mark.parametrize("target", ["acme_nowhere:Adapter", "acme_voxtra_plugin:Missing"])
def test_broken_entry_point_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str):
    """A provider that can't be imported is a configuration error with the reason."""
    install(tmp_path, f"[voxtra.stt]\nacme = {target}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=r"'acme' can't be imported: .*(nowhere|Missing)"):
        ProviderRegistry().resolve_stt("acme")
    sys.modules.pop("acme_voxtra_plugin", None)
