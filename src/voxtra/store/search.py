"""The words of a recording, and the index of them that each database keeps by itself.

A word stands for something that a recording has: its state, its queue, each tag, every three and
four characters in a row of what can be searched. A list asks for the recordings that have all of
some words. Their postings are read side by side, each skipping to where the others stand, so that
no pair of filters is slow, not even one of two common values that never meet.

SQLite keeps the words in an FTS5 table without content, by triggers. Its rows are numbered in the
order of the ids, so a page is read newest first and reading stops when it is full. PostgreSQL keeps
hashes of them in a GIN index. Whoever writes a row, by whatever statement, need do nothing.

Words find too much ("liking" is found in what has "liki" and "king"), never too little: who asks
also checks the rows. They are never read as a language: SQLite gets their hex digits,
PostgreSQL an array.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from string import Template
from typing import Final

__all__ = [
    "ARGUMENTS",
    "DDL",
    "FACETS",
    "HASHES",
    "NUMBERS",
    "ORDERED",
    "TEXTS",
    "WHOLE",
    "Words",
    "durations",
    "lowered",
    "match",
    "parts",
    "place_of",
    "places",
    "scoped",
    "sqlite_words",
]

Words = tuple[tuple[str, ...], ...]
"""Alternatives: a recording has to have all words of one of these."""

FACETS: Final = (
    *("state", "direction", "caller", "callee", "queue", "agent"),
    *("call_id", "conference_id"),
)
"""Columns whose value is a word of the column's name."""

NUMBERS: Final = ("caller", "callee")
TEXTS: Final = ("queue", "agent", "note")
"""Columns that are searched for a part of them; so are the tags, and a name without the id in it,
which somebody chose.
"""

WHOLE: Final = ("id", "call_id", "name")
"""Columns that are searched for the whole of them."""

PARTS: Final = (3, 4)
"""The parts of numbers and texts that are words, in characters. Those of three alone would find
"0000" wherever there is "000".
"""

_MOST_PARTS: Final = 8
"""Of what is looked for, that are asked for."""

_BETWEEN: Final = "\x1f"
"""Separates the parts of a word."""

_LEVELS: Final = 9
"""A duration has a word for the second it is in, for the 4 seconds, 16 seconds ... 18 hours; and
one for each of these lengths that it reaches, since most ranges have no end.
"""

_LONGEST: Final = 4**_LEVELS - 1
"""Seconds, three days: the words of a longer duration are those of this one."""

_DIGITS: Final = 15
"""How many digits of an id, after its first, number its row on SQLite, for which 16 are too many.
That is the time in milliseconds, whose first digit is 0 until the year 2527, and 12 random bits.
"""

_ENDLESS: Final = 2**63 - 1

_SMALL: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def lowered(text: str) -> str:
    """Return a text with its ASCII letters small, which both databases do alike."""
    return text.translate(_SMALL)


def scoped(kind: str, value: str, *, tenant_id: str, deleted: bool) -> str:
    """Return the word for a value in the recordings of a tenant, or in its tombstones."""
    return _BETWEEN.join((kind, tenant_id, str(int(deleted)), value))


def parts(kind: str, text: str) -> tuple[str, ...]:
    """Return words that stand side by side in a text of three characters or more, and so cover it,
    or the end of a long one: more of them would take longer and find hardly less.
    """
    size = min(len(text), PARTS[-1])
    last = len(text) - size
    starts = list(dict.fromkeys([*range(0, last, size), last]))[-_MOST_PARTS:]
    return tuple(dict.fromkeys(f"{kind}{text[at : at + size]}" for at in starts))


def durations(shortest: int, longest: int) -> Iterator[tuple[str, str]]:
    """Yield kind and value of the words of which each duration between two seconds, and no other,
    has one: 54 at most.
    """
    low, high = min(shortest, _LONGEST), min(longest, _LONGEST) + 1
    open_ended = high > _LONGEST
    for level in range(_LEVELS):
        if low == 1 and open_ended:
            yield "from", str(level)
            return
        while low < high and (low % 4 or level == _LEVELS - 1):
            yield f"d{level}", str(low)
            low += 1
        while low < high and high % 4:
            high -= 1
            yield f"d{level}", str(high)
        low, high = low // 4, high // 4


def match(words: Sequence[Words]) -> str:
    """Return the FTS5 expression for what has all of some words, of each the one or the other."""
    return " AND ".join(
        f"({' OR '.join(f'({_and(together)})' for together in some)})" for some in words
    )


def _and(words: Iterable[str]) -> str:
    return " AND ".join(each.encode().hex() for each in words)


def place_of(recording_id: str) -> int:
    """Return the number of an id's row on SQLite. Where two ids have the same, the later one got
    the next that was free: the version, which is 7, leaves room for 32 768 in each millisecond.
    """
    return int(f"{recording_id[1 : _DIGITS + 1]:0<{_DIGITS}}", 16)


def places(first: str, end: str) -> tuple[int, int]:
    """Return the numbers from and below which ids are that are at least `first` and below `end`;
    each may be the beginning of an id, or "" for no bound.
    """
    return place_of(first) if first else -_ENDLESS, place_of(end) if end else _ENDLESS


_SQLITE: Final = (
    "CREATE TABLE recording_places (place INTEGER PRIMARY KEY, recording_id TEXT NOT NULL UNIQUE)",
    # In an index without content and positions a posting is all there is of a row: the words that
    # a change takes away and those that it adds can be told it alone.
    """
    CREATE VIRTUAL TABLE recording_words USING fts5
      (words, content = '', detail = none, columnsize = 0, tokenize = 'ascii')
    """,
    """
    CREATE TRIGGER recordings_words_insert AFTER INSERT ON recordings BEGIN
      INSERT INTO recording_places SELECT coalesce(
        (SELECT place + 1 FROM recording_places AS taken
         WHERE place >= wanted
           AND EXISTS (SELECT 1 FROM recording_places WHERE place = wanted)
           AND NOT EXISTS (SELECT 1 FROM recording_places WHERE place = taken.place + 1)
         ORDER BY place LIMIT 1),
        wanted
      ), new.id FROM (SELECT $place AS wanted LIMIT 1);
      INSERT INTO recording_words (rowid, words)
      SELECT place, $new_words FROM recording_places WHERE recording_id = new.id;
    END
    """,
    """
    CREATE TRIGGER recordings_words_update AFTER UPDATE OF $columns ON recordings
    WHEN $changed BEGIN
      INSERT INTO recording_words (recording_words, rowid, words)
      SELECT 'delete', place, $old_values || CASE WHEN $texts_changed THEN $old_texts ELSE '' END
      FROM recording_places WHERE recording_id = old.id;
      INSERT INTO recording_words (rowid, words)
      SELECT place, $new_values || CASE WHEN $texts_changed THEN $new_texts ELSE '' END
      FROM recording_places WHERE recording_id = new.id;
    END
    """,
    """
    CREATE TRIGGER recordings_words_delete AFTER DELETE ON recordings BEGIN
      INSERT INTO recording_words (recording_words, rowid, words)
      SELECT 'delete', place, $old_words
      FROM recording_places WHERE recording_id = old.id;
      DELETE FROM recording_places WHERE recording_id = old.id;
    END
    """,
)

_SQLITE_TAGS: Final = Template(
    "coalesce((SELECT group_concat($each, $between) FROM json_each($row.tags)), '')"
)
# The array of as many zeros as there are parts counts them. But for LIMIT, the whole text would
# be put together anew for each.
_SQLITE_PARTS: Final = Template(
    """
    coalesce((
      SELECT group_concat(hex('$kind' || substr(whole, key + 1, $size)), ' ')
      FROM (SELECT $whole AS whole LIMIT 1), json_each(
        '[' || substr(replace(hex(zeroblob(length(whole) - $size + 1)), '00', ',0'), 2) || ']'
      )
      WHERE instr(substr(whole, key + 1, $size), char(10)) = 0
    ), '')
    """
)


def _sqlite() -> Iterator[str]:
    digits = "(instr('0123456789abcdef', substr(new.id, {}, 1)) - 1 << {})"
    texts = ("name", "tags", *NUMBERS, *TEXTS)
    columns = sorted({"tenant_id", "deleted_at", "held", "duration_ms", *FACETS, *texts})
    parts = {
        "place": " + ".join(digits.format(2 + at, 4 * (_DIGITS - 1 - at)) for at in range(_DIGITS)),
        "columns": ", ".join(columns),
        "changed": _changed(columns),
        "texts_changed": _changed(texts),
    }
    for row in ("old", "new"):
        parts[f"{row}_values"] = _sqlite_values(row)
        parts[f"{row}_texts"] = _sqlite_texts(row)
        parts[f"{row}_words"] = sqlite_words(row)
    yield from (Template(statement).substitute(parts) for statement in _SQLITE)


def _changed(columns: Sequence[str]) -> str:
    return "(" + " OR ".join(f"old.{each} IS NOT new.{each}" for each in columns) + ")"


def sqlite_words(row: str) -> str:
    """Return the SQL for the text that SQLite is given as the words of a row."""
    return f"{_sqlite_values(row)} || {_sqlite_texts(row)}"


def _sqlite_values(row: str) -> str:
    """Return the SQL for the words of a row that stand for a value of it each."""
    scope = f"char(31) || {row}.tenant_id || char(31) || ({row}.deleted_at IS NOT NULL) || char(31)"

    def word(kind: str, value: str) -> str:
        return f"hex('{kind}' || {scope} || {value}) || ' '"

    def some(kind: str, column: str, value: str) -> str:
        return f"CASE {row}.{column} WHEN '' THEN '' ELSE {word(kind, value)} END"

    seconds = f"min({row}.duration_ms / 1000, {_LONGEST})"
    lengths = [word(f"d{level}", f"({seconds} >> {2 * level})") for level in range(_LEVELS)]
    lengths += [
        f"CASE WHEN {seconds} >= {4**level} THEN {word('from', str(level))} ELSE '' END"
        for level in range(_LEVELS)
    ]
    words = (
        word("all", "''"),
        word("held", f"{row}.held"),
        *(some(each, each, f"{row}.{each}") for each in FACETS),
        *(some("whole", each, f"lower({row}.{each})") for each in WHOLE),
        f"coalesce({' || '.join(lengths)}, '')",
        _SQLITE_TAGS.substitute(row=row, each=word("tag", "value"), between="''"),
    )
    return f"({' || '.join(words)})"


def _sqlite_texts(row: str) -> str:
    """Return the SQL for the words of a row that are parts of its texts."""
    numbers = (f"{row}.{each}" for each in NUMBERS)
    texts = (
        *(f"{row}.{each}" for each in TEXTS),
        f"CASE instr({row}.name, {row}.id) WHEN 0 THEN {row}.name ELSE '' END",
        _SQLITE_TAGS.substitute(row=row, each="value", between="char(10)"),
    )
    return " || ' ' || ".join(
        _SQLITE_PARTS.substitute(kind=kind, size=size, whole=f"lower({whole})")
        for kind, lines in (("n", numbers), ("t", texts))
        for whole in [" || char(10) || ".join(lines)]
        for size in PARTS
    )


ARGUMENTS: Final = {
    "id": "text",
    "tenant_id": "text",
    "deleted_at": "bigint",
    "held": "boolean",
    "duration_ms": "bigint",
    "name": "text",
    "tags": "jsonb",
    "note": "text",
    **dict.fromkeys(FACETS, "text"),
}
"""Columns that a filter may be about, and their types on PostgreSQL."""

HASHES: Final = f"recording_words({', '.join(ARGUMENTS)})"
"""What PostgreSQL has an index of: an array of the hashes of a row's words."""

ORDERED: Final = ("caller", "callee", "agent", "queue", "state", "direction")
"""Columns that have an index in the order of ids on PostgreSQL, roughly the rarest values first."""

_POSTGRESQL: Final = (
    # It calls nothing but what is built in, for a dump is restored without a search path. Its price
    # keeps the planner from computing it where the index can answer; parallel workers would take
    # longer to start than the answer.
    """
    CREATE FUNCTION recording_words($arguments) RETURNS bigint[]
    LANGUAGE plpgsql IMMUTABLE COST 100 AS '
    DECLARE
      scope text := chr(31) || tenant_id || chr(31) || (deleted_at IS NOT NULL)::int || chr(31);
      seconds bigint := CASE WHEN duration_ms < 1000 * $longest::bigint THEN duration_ms / 1000
        WHEN duration_ms IS NOT NULL THEN $longest END;
      numbers text := $numbers;
      texts text := $texts || chr(10)
        || CASE WHEN strpos(name, id) = 0 THEN name ELSE '''' END || chr(10)
        || array_to_string(ARRAY(SELECT jsonb_array_elements_text(tags)), chr(10));
    BEGIN
      -- In the collation "C" ASCII letters alone are letters.
      numbers := lower(numbers COLLATE "C");
      texts := lower(texts COLLATE "C");
      RETURN ARRAY(
        SELECT hashtextextended(word, 0) FROM (
          SELECT unnest(ARRAY[$words])
          UNION ALL SELECT ''tag'' || scope || jsonb_array_elements_text(tags)
          UNION ALL SELECT ''n'' || substr(numbers, at, size)
          FROM unnest(ARRAY[$sizes]) AS size,
            generate_series(1, length(numbers) - size + 1) AS at
          UNION ALL SELECT ''t'' || substr(texts, at, size)
          FROM unnest(ARRAY[$sizes]) AS size,
            generate_series(1, length(texts) - size + 1) AS at
        ) AS found (word) WHERE strpos(word, chr(10)) = 0
      );
    END '
    """,
    # Not with the list of what is yet to be sorted in, which every search would have to read.
    "CREATE INDEX ix_recordings_words ON recordings USING gin ($hashes) WITH (fastupdate = off)",
)


def _postgresql() -> Iterator[str]:
    words = (
        "''all'' || scope",
        "''held'' || scope || held::int",
        *(f"CASE WHEN {each} <> '''' THEN ''{each}'' || scope || {each} END" for each in FACETS),
        *(
            f"CASE WHEN {each} <> '''' THEN ''whole'' || scope || lower({each} COLLATE \"C\") END"
            for each in WHOLE
        ),
        *(f"''d{level}'' || scope || (seconds >> {2 * level})" for level in range(_LEVELS)),
        *(
            f"CASE WHEN seconds >= {4**level} THEN ''from'' || scope || {level} END"
            for level in range(_LEVELS)
        ),
    )
    parts = {
        "arguments": ", ".join(f"{name} {kind}" for name, kind in ARGUMENTS.items()),
        "longest": _LONGEST,
        "sizes": ", ".join(map(str, PARTS)),
        "numbers": " || chr(10) || ".join(NUMBERS),
        "texts": " || chr(10) || ".join(TEXTS),
        "words": ", ".join(words),
        "hashes": HASHES,
    }
    yield from (Template(statement).substitute(parts) for statement in _POSTGRESQL)
    for each in ORDERED:
        yield (
            f"CREATE INDEX ix_recordings_listed_{each} ON recordings (tenant_id, {each}, id)"
            " WHERE deleted_at IS NULL"
        )


DDL: Final = {"sqlite": tuple(_sqlite()), "postgresql": tuple(_postgresql())}
"""What each database needs beside the tables of the schema, statement by statement."""
