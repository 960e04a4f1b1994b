"""Names of recordings: what may become a file on the PBX."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.exceptions import InvalidRecordingName
from voxtra.names import checked_name

REFUSED = {
    "": "empty",
    ".": "`.`",
    "..": "`..`",
    "../x": "`..`",
    "a/../../x": "`..`",
    "../recording-private/x": "`..`",
    "a/..": "`..`",
    "/etc/x": "empty",
    "a//b": "empty",
    "a/": "empty",
    "a\nb": "control",
    "a\x00b": "control",
    "a\tb": "control",
    "x" * 201: "200 bytes",
    "é" * 101: "200 bytes",
}


@pytest.mark.parametrize("name", ["a", "a/b/c", "50% off?#1 & more", "été", "..a", "a..b", "-a"])
def test_good_name(name: str) -> None:
    """A name that stays in the recording folder is taken as it is, whatever it is made of."""
    assert checked_name(name) == name


@pytest.mark.parametrize(("name", "why"), REFUSED.items())
def test_bad_name(name: str, why: str) -> None:
    """A name that would leave the folder or can't be a file is refused with the reason."""
    with pytest.raises(InvalidRecordingName, match=why) as refused:
        checked_name(name)
    assert refused.value.name == name


@given(st.text(st.sampled_from("./ax\\ "), max_size=12))
def test_never_outside(name: str) -> None:
    """Whatever is accepted is a file below the folder: no part is empty or means a folder."""
    try:
        parts = checked_name(name).split("/")
    except InvalidRecordingName:
        return
    folder = PurePosixPath("/spool")
    assert (folder / name).parts == (*folder.parts, *parts)
    assert not {"", ".", ".."} & set(parts)
