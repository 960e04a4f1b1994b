"""Names of recordings."""

from __future__ import annotations

import posixpath
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voxtra.ari.recordings import checked_name
from voxtra.exceptions import InvalidRecordingName

pieces = st.sampled_from(
    ["a", "b c", ".", "..", "/", "//", "é", "\\", "%2e", "\x00", "\n", "-", "*"]
)


@given(st.text(max_size=20) | st.lists(pieces, max_size=8).map("".join))
@example("../recording-private/x")
@example("a/../../x")
@example("/abs")
@example("x/")
@example("..")
def test_an_accepted_name_stays_in_the_folder(name):
    """Whatever is accepted names exactly one file, below the recording folder."""
    with suppress(InvalidRecordingName):
        assert checked_name(name) == name
        path = posixpath.normpath(posixpath.join("/spool/recording", name))
        assert path == f"/spool/recording/{name}"
        assert name.isprintable()
        assert 0 < len(name.encode()) <= 200


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("..", "no part"),
        ("a/./b", "no part"),
        ("/abs", "no part"),
        ("a//b", "no part"),
        ("x/", "no part"),
        ("a\nb", "printable"),
        ("a\ud800b", "printable"),
        ("é" * 101, "200 bytes"),
    ],
)
def test_a_refused_name_says_why(name, reason):
    """The error has the name and the rule it breaks."""
    with pytest.raises(InvalidRecordingName, match=reason):
        checked_name(name)


@pytest.mark.parametrize("name", ["a", "a/b c", "100%", "what?", "#1", "..a", "a..b", "é" * 100])
def test_what_can_be_a_file_is_accepted(name):
    """Any printable name is fine."""
    assert checked_name(name) == name
