"""What `voxtra init` writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxtra.config import VoxtraConfig
from voxtra.exceptions import ConfigurationError
from voxtra.scaffold import FILES, scaffold


def test_the_files_are_written(tmp_path: Path) -> None:
    """A folder that does not exist is made, with every file in it."""
    folder = tmp_path / "deep/app"
    assert scaffold(folder) == [folder / name for name in FILES]
    assert {path.name: path.read_text() for path in folder.iterdir()} == FILES


def test_the_configuration_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read as it is; the environment says where Asterisk is."""
    monkeypatch.setenv("VOXTRA_ARI_PASSWORD", "secret")
    monkeypatch.setenv("VOXTRA_ARI_URL", "http://pbx:8088")
    scaffold(tmp_path)
    config = VoxtraConfig.from_yaml(tmp_path / "voxtra.yaml")
    assert config.telephony.asterisk.base_url == "http://pbx:8088"
    assert config.telephony.asterisk.password == "secret"
    assert [route.handler for route in config.routes] == ["app:answer"]


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    """One file in the way is named, and nothing at all is written."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigurationError, match=f"{name} exists already"):
        scaffold(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    """A folder that can't be made is one clear error."""
    (tmp_path / "app").write_text("")
    with pytest.raises(ConfigurationError, match="can't be written"):
        scaffold(tmp_path / "app")
