"""The lifecycle: the table of the architecture page, and what holds whatever comes in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from voxtra.exceptions import RecordingEnded
from voxtra.lifecycle import TABLE, Cell, Change, Effect, Happening, Verdict, advance, mute, pause
from voxtra.model import EndReason, Pause, Recording, RecordingState, RecordingTarget

PAGE: Final = """
| from      | started  | stop asked      | finished           | failed | target gone      | start timeout | ingested  | ingest failed |
| starting  | recording| stopping + stop | stopping + capture | failed | stopping + probe | = + probe     | –         | –             |
| recording | =        | stopping + stop | stopping + capture | failed | stopping + probe | =             | –         | –             |
| stopping  | = + stop | =               | = + capture        | failed | = + probe        | =             | available | failed        |
| available | =        | refuse          | =                  | =      | =                | =             | =         | =             |
| failed    | =        | refuse          | =                  | =      | =                | =             | =         | =             |
"""  # noqa: E501  # a table

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RANK: Final = {
    RecordingState.STARTING: 0,
    RecordingState.RECORDING: 1,
    RecordingState.STOPPING: 2,
    RecordingState.AVAILABLE: 3,
    RecordingState.FAILED: 3,
}


def a_recording(**values: object) -> Recording:
    """Return a recording that has just been asked for."""
    plain = Recording("id", "name", "call", RecordingTarget.SNOOP, "call")
    return replace(plain, **values)  # type: ignore[arg-type]  # a test's own field names


def spelled(cell: Cell) -> str:
    """Return a cell in the words of the page."""
    if cell.refused:
        return "refuse"
    if cell.impossible:
        return "–"
    return " + ".join([cell.to.value if cell.to else "=", *cell.effects])


def page_cells() -> list[tuple[str, str, str]]:
    """Return the page's table as (state, happening, cell)."""
    head, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.strip().splitlines()
    ]
    return [
        (row[0], happening, cell)
        for row in rows
        for happening, cell in zip(head[1:], row[1:], strict=True)
    ]


@pytest.mark.parametrize(("state", "happening", "cell"), page_cells())
def test_cell(state: str, happening: str, cell: str) -> None:
    """Each cell of the table says what the architecture page says."""
    assert spelled(TABLE[RecordingState(state)][Happening(happening)]) == cell


def test_table_is_whole() -> None:
    """The table has a cell for every happening in every state, and the page names them all."""
    named = {(state, happening) for state, happening, _ in page_cells()}
    assert named == {(state.value, each.value) for state in RecordingState for each in Happening}
    assert {state: set(row) for state, row in TABLE.items()} == {
        state: set(Happening) for state in RecordingState
    }


def test_first_reason_wins() -> None:
    """A stop that was asked for explains the end, not the hang-up that follows it."""
    asked = advance(a_recording(), Change(Happening.STOP_ASKED, NOW, EndReason.STOPPED)).recording
    gone = advance(asked, Change(Happening.TARGET_GONE, NOW, EndReason.HANGUP)).recording
    assert gone.end_reason is EndReason.STOPPED


def test_failure_has_a_cause_and_an_end() -> None:
    """A failed recording has ended and says why, also when nobody knows."""
    step = advance(a_recording(), Change(Happening.FAILED, NOW))
    assert step.recording.state is RecordingState.FAILED
    assert (step.recording.cause, step.recording.ended_at) == ("unknown", NOW)


def test_facts_are_added() -> None:
    """What the file says is added to what was known."""
    stopping = a_recording(state=RecordingState.STOPPING, ended_at=NOW, extra={"a": 1})
    step = advance(stopping, Change(Happening.INGESTED, NOW, facts={"size": 44}))
    assert step.recording.extra == {"a": 1, "size": 44}
    assert stopping.extra == {"a": 1}


def test_impossible_changes_nothing() -> None:
    """What can't happen leaves the value as it was and is told apart from a duplicate."""
    recording = a_recording()
    step = advance(recording, Change(Happening.INGESTED, NOW, facts={"size": 1}))
    assert step.verdict is Verdict.IMPOSSIBLE
    assert step.recording == recording
    assert step.effects == ()


def test_stop_of_an_ended_recording_is_refused() -> None:
    """A stop of what is over is an error that names the recording and its state."""
    with pytest.raises(RecordingEnded, match=r"recording name is available"):
        advance(a_recording(state=RecordingState.AVAILABLE), Change(Happening.STOP_ASKED, NOW))


# -- what lacks, and what is silent


@pytest.mark.parametrize(
    ("change", "attribute", "muted"), [(pause, "paused", False), (mute, "muted", True)]
)
def test_a_part_is_noted_with_its_times(
    change: Callable[..., Recording], attribute: str, muted: bool
) -> None:
    """It begins and ends at the moments of the two changes, and each makes a new version."""
    recording = a_recording(state=RecordingState.RECORDING)
    later = NOW + timedelta(seconds=3)
    on = change(recording, NOW, on=True)
    assert getattr(on, attribute)
    assert (on.pauses, on.version) == ((Pause(NOW, None, muted=muted),), 1)
    off = change(on, later, on=False)
    assert not getattr(off, attribute)
    assert (off.pauses, off.version) == ((Pause(NOW, later, muted=muted),), 2)


@pytest.mark.parametrize("change", [pause, mute])
def test_a_part_that_is_asked_for_twice(change: Callable[..., Recording]) -> None:
    """The second time is no change: no time is moved, and the version stays."""
    recording = a_recording(state=RecordingState.RECORDING)
    assert change(recording, NOW, on=False) is recording
    on = change(recording, NOW, on=True)
    assert change(on, NOW + timedelta(seconds=1), on=True) is on


@given(st.lists(st.tuples(st.sampled_from([pause, mute]), st.booleans()), max_size=12))
def test_parts_never_overlap_their_own_kind(
    changes: list[tuple[Callable[..., Recording], bool]],
) -> None:
    """In any order of changes at most the last part of a kind lasts, and says what the attribute
    says; the version counts the changes.
    """
    recording, news = a_recording(state=RecordingState.RECORDING), 0
    for number, (change, on) in enumerate(changes):
        new = change(recording, NOW + timedelta(seconds=number), on=on)
        news += new is not recording
        recording = new
    assert recording.version == news
    for muted, lasts in ((False, recording.paused), (True, recording.muted)):
        parts = [each for each in recording.pauses if each.muted is muted]
        assert [each.until is None for each in parts] == [False] * (len(parts) - lasts) + [
            True
        ] * lasts
        assert all(
            before.until is not None and before.until <= after.since
            for before, after in pairwise(parts)
        )


def test_every_change_is_a_new_version() -> None:
    """What is known already is none, so that who has seen a version has seen its value."""
    recording = a_recording()
    started = advance(recording, Change(Happening.STARTED, NOW)).recording
    assert started.version == 1
    assert advance(started, Change(Happening.STARTED, NOW + timedelta(1))).recording is started
    ended = advance(started, Change(Happening.FINISHED, NOW)).recording
    assert advance(ended, Change(Happening.INGESTED, NOW)).recording.version == 3


class Life(RuleBasedStateMachine):
    """One recording, a PBX that tells the truth, and a line between that loses, repeats and mixes
    up what it says.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recording = a_recording()
        self.seen = [self.recording]
        self.begun = self.over = self.kept = False
        self.underway: list[Change] = []
        self.due: list[Effect] = []
        self.captures = 0
        self.clock = NOW

    # -- what the PBX and the users do

    @precondition(lambda self: not self.begun and not self.over)
    @rule()
    def pbx_begins(self) -> None:
        self.begun = True
        self.say(Happening.STARTED)

    @precondition(lambda self: self.begun and not self.over)
    @rule()
    def pbx_finishes(self) -> None:
        self.over = self.kept = True
        self.say(Happening.FINISHED)

    @precondition(lambda self: not self.begun and not self.over)
    @rule()
    def pbx_refuses(self) -> None:
        self.over = True
        self.say(Happening.FAILED, cause="refused")

    @rule()
    def somebody_stops(self) -> None:
        self.say(Happening.STOP_ASKED, reason=EndReason.STOPPED)

    @rule()
    def target_goes(self) -> None:
        self.say(Happening.TARGET_GONE, reason=EndReason.HANGUP)

    @rule()
    def start_takes_too_long(self) -> None:
        self.say(Happening.START_TIMEOUT)

    # -- what the line does

    @precondition(lambda self: self.underway)
    @rule(data=st.data())
    def arrives(self, data: st.DataObject) -> None:
        self.take(self.underway.pop(self.pick(data)))

    @precondition(lambda self: self.underway)
    @rule(data=st.data())
    def arrives_and_will_again(self, data: st.DataObject) -> None:
        self.take(self.underway[self.pick(data)])

    @precondition(lambda self: self.underway)
    @rule(data=st.data())
    def is_lost(self, data: st.DataObject) -> None:
        lost = self.underway.pop(self.pick(data))
        if lost.happening in (Happening.INGESTED, Happening.INGEST_FAILED):
            self.underway.append(lost)  # our own task says it: that is never lost

    # -- what we do

    @precondition(lambda self: self.due)
    @rule(kept=st.booleans())
    def effect_is_carried_out(self, kept: bool) -> None:
        effect = self.due.pop(0)
        if effect is Effect.STOP:
            if self.begun and not self.over:
                self.pbx_finishes()
        elif effect is Effect.PROBE:
            self.probe()
        elif kept:
            self.say(Happening.INGESTED, facts={"size": 44})
        else:
            self.say(Happening.INGEST_FAILED, cause="empty")

    # -- what always holds

    @invariant()
    def goes_forward_only(self) -> None:
        ranks = [RANK[recording.state] for recording in self.seen]
        assert ranks == sorted(ranks)

    @invariant()
    def times_stay(self) -> None:
        for field in ("started_at", "ended_at"):
            values = [getattr(recording, field) for recording in self.seen]
            known = [value for value in values if value is not None]
            assert len(set(known)) <= 1
            assert values[len(values) - len(known) :] == known

    @invariant()
    def file_is_captured_once(self) -> None:
        assert self.captures <= 1
        if self.recording.state is RecordingState.AVAILABLE:
            assert self.captures == 1
            assert self.recording.ended_at is not None

    @invariant()
    def terminal_is_terminal(self) -> None:
        first = next((each for each in self.seen if each.state.is_final), None)
        assert first is None or self.recording == first

    def teardown(self) -> None:
        """Once probes get through, every recording comes to its end."""
        self.take(Change(Happening.START_TIMEOUT, self.clock))
        self.take(Change(Happening.TARGET_GONE, self.clock))
        if self.begun and not self.over:
            self.over = self.kept = True
        while self.underway or self.due:
            while self.underway:
                self.take(self.underway.pop(0))
            if self.due:
                self.effect_is_carried_out(kept=True)
        assert self.recording.state.is_final
        assert self.recording.ended_at is not None

    # -- helpers

    def pick(self, data: st.DataObject) -> int:
        return data.draw(st.integers(0, len(self.underway) - 1))

    def say(
        self,
        happening: Happening,
        *,
        reason: EndReason | None = None,
        cause: str = "",
        facts: dict[str, object] | None = None,
    ) -> None:
        self.clock += timedelta(seconds=1)
        self.underway.append(Change(happening, self.clock, reason, cause, facts or {}))

    def probe(self) -> None:
        if self.kept:
            self.say(Happening.FINISHED)
        elif self.begun:
            self.say(Happening.STARTED)
        else:
            self.over = True
            self.say(Happening.FAILED, cause="never began")

    def take(self, change: Change) -> None:
        before = self.recording
        if before.state.is_final and change.happening is Happening.STOP_ASKED:
            with pytest.raises(RecordingEnded):
                advance(before, change)
            return
        step = advance(before, change)
        assert (step.verdict is Verdict.MOVED) == (step.recording != before)
        if step.verdict is not Verdict.IMPOSSIBLE:
            self.replay(step.recording, change)
        self.recording = step.recording
        self.seen.append(step.recording)
        self.due += step.effects
        self.captures += step.effects.count(Effect.CAPTURE)

    def replay(self, recording: Recording, change: Change) -> None:
        """The same change once more is known, and captures nothing."""
        if recording.state.is_final and change.happening is Happening.STOP_ASKED:
            return
        again = advance(recording, change)
        assert again.recording == recording
        assert again.verdict is not Verdict.MOVED
        assert Effect.CAPTURE not in again.effects


TestLife = Life.TestCase
