"""Recordings of all kinds, and a filter told again in plain Python."""

from __future__ import annotations

import string
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from hypothesis import strategies as st

from voxtra.model import CallDirection, RecordingState
from voxtra.store.filters import Filter

__all__ = ["BEGIN", "filters", "fits", "recording", "recording_id", "texts"]

BEGIN: Final = datetime(2026, 3, 1, tzinfo=UTC)
SPAN: Final = timedelta(seconds=10)

NUMBERS: Final = (
    "",
    "100",
    "4930111222",
    "+4930 111222",
    "4915550100",
    "55501",
    "555",
    "anonymous",
)
QUEUES: Final = ("", "sales", "support", "Sales", "sales 2")
AGENTS: Final = ("", "alice", "bob", "Zoë", "zoë", "ZOË", "a%", "a_", "1")
TAGS: Final = ("vip", "VIP", "refund", 'say "no"', "a AND b", "100%", "ß", "naïve", "NAÏVE")
NOTES: Final = ("", "asked for a refund", "line one\nline two", "Zoë called", "x\ty", "100%_", "\\")
NAMES: Final = ("desk/one", "Desk 100", "voxtra-{}", "{}", "vip")
CALLS: Final = ("", "call-1", "CALL-2", "1760000000.42")
CONFERENCES: Final = ("", "board")
SECONDS: Final = (None, 0, 999, 1000, 4000, 15999, 16000, 59_999, 60_000, 3_600_000, 400_000_000)

texts: Final = st.sampled_from(
    sorted(
        {
            *(
                each
                for each in (*NUMBERS, *QUEUES, *AGENTS, *NOTES, *NAMES, *CALLS)
                if len(each) > 2
            ),
            *(
                "vip",
                "efun",
                "say",
                "one",
                "two",
                "zoë",
                "ZOË",
                "ZoË",
                "naïv",
                "NAÏV",
                "sks",
                "desk",
            ),
            *(
                "* OR *",
                '"sales"',
                "NEAR(",
                "a AND b",
                "sal%",
                "s_les",
                "-sales",
                "words:",
                "'; --",
            ),
            *("voxtra", "555", "0%_", "\\\\\\", "a\u0308ß", "support'", "(((", "line"),
        }
        - {each for each in NOTES if not each.isprintable()}
    )
)


def recording_id(at: timedelta, tail: str) -> str:
    """Return the id of a recording asked for so long after `BEGIN`, ending in some hex digits."""
    milliseconds = (BEGIN + at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return f"{milliseconds:012x}7{tail:0>19}"


def recording(random: Random, tenant_id: str) -> dict[str, Any]:
    """Return the columns of some recording."""
    tail = "".join(random.choices(string.hexdigits.lower()[:16], k=19))
    made = recording_id(timedelta(milliseconds=random.randrange(10_000)), tail)
    deleted = random.random() < 0.15
    return {
        "id": made,
        "tenant_id": tenant_id,
        "name": random.choice(NAMES).format(made),
        "call_id": random.choice(CALLS),
        "conference_id": random.choice(CONFERENCES),
        "holder_id": made,
        "target": "snoop",
        "target_id": made,
        "format": "wav",
        "layout": "mono",
        "direction": random.choice(("", "inbound", "outbound")),
        "caller": random.choice(NUMBERS),
        "callee": random.choice(NUMBERS),
        "queue": random.choice(QUEUES),
        "agent": random.choice(AGENTS),
        "tags": random.sample(TAGS, random.randrange(3)),
        "note": random.choice(NOTES),
        "state": random.choice(list(RecordingState)).value,
        "requested_at": BEGIN,
        "ended_at": BEGIN,
        "duration_ms": random.choice(SECONDS),
        "held": random.random() < 0.2,
        "deleted_at": BEGIN if deleted else None,
    }


def _seldom(values: st.SearchStrategy[Any], nothing: Any) -> st.SearchStrategy[Any]:
    return st.one_of(*[st.just(nothing)] * 4, values)


_moments = st.integers(0, 10_000).map(lambda each: BEGIN + timedelta(milliseconds=each))
_seconds = st.sampled_from([0, 0.5, 1, 4, 15.9995, 16, 59.999, 60, 3599, 1e6]) | st.integers(
    0, 4000
)


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    """Draw any filter, most of one to three things."""

    def some(values: tuple[str, ...]) -> Any:
        return draw(_seldom(st.sampled_from([each for each in values if each]), ""))

    since, until = (draw(_seldom(_moments, None)) for _ in range(2))
    shortest, longest = (draw(_seldom(_seconds, None)) for _ in range(2))
    if since is not None and until is not None:
        since, until = sorted((since, until))
    if shortest is not None and longest is not None:
        shortest, longest = sorted((shortest, longest))
    return Filter(
        call_id=some(CALLS),
        conference_id=some(CONFERENCES),
        states=tuple(draw(_seldom(st.lists(st.sampled_from(RecordingState), unique=True), ()))),
        direction=draw(_seldom(st.sampled_from(CallDirection), None)),
        caller=some(NUMBERS),
        callee=some(NUMBERS),
        number=some(("555", "5550", "111222", "100", "000", "4930111222")),
        queue=some(QUEUES),
        agent=some(AGENTS),
        tag=some(TAGS),
        since=since,
        until=until,
        min_duration=shortest,
        max_duration=longest,
        text=draw(_seldom(texts, "")),
        held=draw(_seldom(st.booleans(), None)),
        deleted=draw(_seldom(st.just(True), False)),
    )


def fits(row: Mapping[str, Any], wanted: Filter) -> bool:
    """Tell whether a filter lets a recording through."""
    at = datetime.fromtimestamp(int(row["id"][:12], 16) / 1000, UTC)
    duration = row["duration_ms"]
    equal = ("call_id", "conference_id", "direction", "caller", "callee", "queue", "agent")
    return all(
        (
            (row["deleted_at"] is not None) == wanted.deleted,
            all(row[each] == getattr(wanted, each) for each in equal if getattr(wanted, each)),
            not wanted.states or row["state"] in {state.value for state in wanted.states},
            wanted.number in row["caller"] or wanted.number in row["callee"],
            not wanted.tag or wanted.tag in row["tags"],
            wanted.since is None or at >= wanted.since,
            wanted.until is None or at < wanted.until,
            wanted.min_duration is None
            or (duration is not None and duration >= wanted.min_duration * 1000),
            wanted.max_duration is None
            or (duration is not None and duration <= wanted.max_duration * 1000),
            wanted.held is None or row["held"] is wanted.held,
            not wanted.text or _has(row, wanted.text),
        )
    )


def _has(row: Mapping[str, Any], text: str) -> bool:
    parts = [row[each] for each in ("caller", "callee", "queue", "agent", "note")] + row["tags"]
    if row["id"] not in row["name"]:
        parts.append(row["name"])
    return any(
        any(_small(written) in _small(each) for each in parts)
        or _small(written) in [_small(row[each]) for each in ("id", "call_id", "name")]
        for written in {text, text.lower(), text.upper(), text.title()}
        if len(_small(written)) == len(text)
    )


def _small(text: str) -> str:
    return "".join(each.lower() if each in string.ascii_uppercase else each for each in text)
