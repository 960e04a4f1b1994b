"""What is done to calls and conferences: here, in another node, and what can't be done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from tests.service.place import Office, away, rows
from tests.system.support import eventually
from voxtra import CallSession, exceptions, outcome
from voxtra.exceptions import (
    CallEnded,
    CallNotAnswered,
    ConferenceEmpty,
    NodeUnreachable,
    RecordingActive,
    RecordingFailed,
    RecordingNotActive,
    TelephonyConnectionError,
    UnknownCall,
    UnknownConference,
    VoxtraError,
)
from voxtra.posting import encode_json
from voxtra.record_options import RecordOptions
from voxtra.service import control as module
from voxtra.service.control import NodeControl, _packed, _unpacked
from voxtra.store import commands as store
from voxtra.store.database import Database
from voxtra.store.schema import calls, commands, recordings, utc_now

TENANT = "default"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "EVENT_GRACE", 0.05)
    monkeypatch.setattr(module, "LOOK", 0.02)


@pytest.fixture
async def office(database: Database, tmp_path: Path) -> AsyncIterator[Office]:
    """Return a node that serves calls."""
    async with Office(database, tmp_path).open() as opened:
        yield opened


@pytest.fixture(params=["here", "there"])
async def control(
    request: pytest.FixtureRequest, office: Office, another: Callable[[], Database]
) -> NodeControl:
    """Return the control of the node itself, and that of a process without calls."""
    if request.param == "here":
        return office.control
    return NodeControl(another(), "n2", None)


async def verbs(control: NodeControl, tenant_id: str, holder_id: str, call_id: str) -> list[Any]:
    """Try every verb; return what each raised, or None."""
    tries = [
        control.start_recording(tenant_id, holder_id, RecordOptions()),
        control.pause_recording(tenant_id, holder_id, on=True),
        control.stop_recording(tenant_id, holder_id),
        control.add_participant(tenant_id, holder_id, call_id),
        control.remove_participant(tenant_id, holder_id, call_id),
        control.end_conference(tenant_id, holder_id),
        control.hangup(tenant_id, holder_id),
    ]
    raised: list[Any] = []
    for each in tries:
        try:
            await each
            raised.append(None)
        except VoxtraError as error:
            raised.append(type(error))
    return raised


UNKNOWN = [
    *[UnknownCall] * 3,
    *[UnknownConference] * 3,
    UnknownCall,
]


# -- recording


async def test_a_recording_from_its_start_to_its_stop(office: Office, control: NodeControl) -> None:
    """Every verb answers with the id of the recording, wherever it was asked."""
    await office.call("c")
    options = RecordOptions(fmt="wav", layout="stereo", max_duration=60)
    recording_id = await control.start_recording(TENANT, "c", options)
    row = await office.row(recording_id)
    assert (row.state, row.layout, row.max_duration, row.target) == (
        "recording",
        "stereo",
        60,
        "snoop",
    )
    for on in (True, False):
        assert await control.pause_recording(TENANT, "c", on=on) == recording_id
        assert (await office.row(recording_id)).paused is on
    assert await control.stop_recording(TENANT, "c") == recording_id
    assert (await office.row(recording_id)).end_reason == "stopped"


async def test_a_conference_is_recorded_as_a_whole(office: Office, control: NodeControl) -> None:
    """What is recorded of a conference is its bridge, once somebody is in it."""
    await office.call("c")
    made = await office.control.create_conference(TENANT)
    await office.call_log.written()
    with pytest.raises(ConferenceEmpty) as empty:
        await control.start_recording(TENANT, made, RecordOptions())
    assert empty.value.conference_id == made
    await control.add_participant(TENANT, made, "c")
    recording_id = await control.start_recording(TENANT, made, RecordOptions())
    row = await office.row(recording_id)
    assert (row.target, row.target_id, row.conference_id) == ("bridge", made, made)
    await control.end_conference(TENANT, made)
    assert (await office.row(recording_id)).state == "stopping"


async def test_one_recording_at_a_time(office: Office, control: NodeControl) -> None:
    """The second start learns which one is active, with all that the error has to tell."""
    await office.call("c")
    recording_id = await control.start_recording(TENANT, "c", RecordOptions(name="first"))
    with pytest.raises(RecordingActive) as active:
        await control.start_recording(TENANT, "c", RecordOptions())
    assert (active.value.name, active.value.recording_id) == ("first", recording_id)


async def test_nothing_is_recorded(office: Office, control: NodeControl) -> None:
    """A stop and a pause of nothing say so."""
    await office.call("c")
    for each in (
        control.stop_recording(TENANT, "c"),
        control.pause_recording(TENANT, "c", on=True),
    ):
        with pytest.raises(RecordingNotActive) as error:
            await each
        assert error.value.holder_id == "c"


@pytest.mark.parametrize(("refusal", "unreachable"), [("there is no codec", False), ("", True)])
async def test_a_pbx_that_refuses(
    office: Office, control: NodeControl, refusal: str, unreachable: bool
) -> None:
    """Its cause arrives, from whichever process it was asked."""
    await office.call("c")
    office.pbx.refusal, office.pbx.reachable = refusal, not unreachable
    with pytest.raises(RecordingFailed) as failed:
        await control.start_recording(TENANT, "c", RecordOptions())
    assert (refusal or "can't be reached") in failed.value.cause


async def test_a_wrong_option(office: Office, control: NodeControl) -> None:
    """A `ValueError` is one in the asking process, too."""
    await office.call("c")
    with pytest.raises(ValueError, match="max_silence"):
        await control.start_recording(TENANT, "c", RecordOptions(max_silence=-1))


async def test_a_call_that_still_rings(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording waits for the answer, but not for ever."""
    monkeypatch.setattr(module, "ANSWER_WAIT", 0.05)
    office = Office(database, tmp_path)
    office.app.route(extension="1000")(CallSession.wait_ended)
    async with office.open():
        office.pbx.call("c")
        with pytest.raises(CallNotAnswered):
            await office.control.start_recording(TENANT, "c", RecordOptions())
    assert await rows(database, recordings) == []


async def test_a_start_waits_for_the_answer(
    database: Database, tmp_path: Path, another: Callable[[], Database]
) -> None:
    """A recording that is asked for while it rings begins when the call is up."""
    pick_up = asyncio.Event()

    async def slow(call: CallSession) -> None:
        await pick_up.wait()
        await call.answer()
        await call.wait_ended()

    made = Office(database, tmp_path)
    made.app.route(extension="1000")(slow)
    async with made.open():
        made.pbx.call("c")
        await made.call_log.written()
        control = NodeControl(another(), "n2", None)
        starting = asyncio.create_task(control.start_recording(TENANT, "c", RecordOptions()))
        await eventually(lambda: _taken(database))
        assert not made.pbx.live
        pick_up.set()
        assert (await made.row(await starting)).state == "recording"


async def _taken(database: Database) -> bool:
    return any(row.state == "taken" for row in await rows(database, commands))


async def test_a_call_that_ends_while_its_recording_starts(
    office: Office, control: NodeControl
) -> None:
    """The asker learns that the call is over, and no recording is left active."""
    await office.call("c")
    office.pbx.begins = False
    starting = asyncio.create_task(control.start_recording(TENANT, "c", RecordOptions()))
    await eventually(lambda: office.pbx.asked["start"])
    office.pbx.end("c")
    with pytest.raises(CallEnded) as ended:
        await starting
    assert ended.value.call_id == "c"
    (row,) = await rows(office.database, recordings)
    assert (row.state, row.ended_at is not None) == ("failed", True)


# -- what is over, unknown, or somebody else's


async def test_a_call_that_has_just_ended(
    office: Office, control: NodeControl, database: Database
) -> None:
    """Before its row says so it is over all the same; a hang-up has what it wanted."""
    await office.call("c")
    with away(office.database):
        office.pbx.end("c")
        assert office.call_log.unwritten() == {"c"}
        raised = [
            await _raised(verb)
            for verb in (
                office.control.start_recording(TENANT, "c", RecordOptions()),
                office.control.stop_recording(TENANT, "c"),
                office.control.hangup(TENANT, "c"),
            )
        ]
    assert raised == [CallEnded, CallEnded, None]
    await office.call_log.written()
    assert await _raised(control.stop_recording(TENANT, "c")) is CallEnded
    assert await _raised(control.hangup(TENANT, "c")) is None


async def _raised(work: Any) -> type[BaseException] | None:
    try:
        await work
    except Exception as error:
        return type(error)
    return None


async def test_a_conference_that_is_over(office: Office, control: NodeControl) -> None:
    """It can't be added to or recorded any more."""
    await office.call("c")
    made = await office.control.create_conference(TENANT)
    await office.control.end_conference(TENANT, made)
    await office.call_log.written()
    for verb in (
        control.start_recording(TENANT, made, RecordOptions()),
        control.add_participant(TENANT, made, "c"),
        control.end_conference(TENANT, made),
    ):
        assert await _raised(verb) is CallEnded


async def test_unknown_ids(office: Office, control: NodeControl) -> None:
    """What there is none of is said to be unknown, by every verb."""
    assert await verbs(control, TENANT, "nobody", "nobody") == UNKNOWN


async def test_another_tenant_s_are_unknown(office: Office, control: NodeControl) -> None:
    """Nothing tells a foreign id from one that there is not, and nothing is done to it."""
    await office.call("c")
    made = await office.control.create_conference(TENANT)
    await office.control.add_participant(TENANT, made, "c")
    recording_id = await office.control.start_recording(TENANT, "c", RecordOptions())
    await office.call_log.written()
    for holder in ("c", made):
        assert await verbs(control, "acme", holder, "c") == UNKNOWN
    mine = await office.control.create_conference("acme")
    await office.call_log.written()
    assert await _raised(control.add_participant("acme", mine, "c")) is UnknownCall
    assert await _raised(control.remove_participant("acme", mine, "c")) is UnknownCall
    assert office.pbx.up == {"c"}
    assert office.pbx.bridges[made] == {"c"}
    assert (await office.row(recording_id)).state == "recording"


async def test_a_command_with_another_tenant_s_id(office: Office, database: Database) -> None:
    """The node that has the call looks for itself whose it is."""
    await office.call("c")
    async with database.write() as connection:
        asked = await store.send(connection, "n1", "hangup", "c", "acme", {})
    answer = await eventually(lambda: _answer(database, asked))
    assert answer["error"]["type"] == "CallEnded"
    assert office.pbx.up == {"c"}


async def _answer(database: Database, command_id: str) -> Any:
    async with database.read() as connection:
        return await store.outcome(connection, command_id)


async def test_what_is_no_call_or_no_conference(office: Office, control: NodeControl) -> None:
    """A conference can't be hung up, and a call is no conference."""
    await office.call("c")
    made = await office.control.create_conference(TENANT)
    await office.call_log.written()
    assert await _raised(control.hangup(TENANT, made)) is UnknownCall
    assert await _raised(control.end_conference(TENANT, "c")) is UnknownConference
    assert await _raised(control.add_participant(TENANT, made, made)) is UnknownCall


# -- participants


async def test_participants(office: Office, control: NodeControl) -> None:
    """Calls are put in and taken out; doing it twice changes nothing."""
    for each in ("one", "two"):
        await office.call(each)
    made = await office.control.create_conference(TENANT)
    await office.call_log.written()
    for each in ("one", "two", "one"):
        await control.add_participant(TENANT, made, each)
    assert office.pbx.bridges[made] == {"one", "two"}
    for _ in range(2):
        await control.remove_participant(TENANT, made, "one")
    assert office.pbx.bridges[made] == {"two"}
    office.pbx.end("two")
    await control.remove_participant(TENANT, made, "two")
    assert await _raised(control.add_participant(TENANT, made, "two")) is CallEnded


async def test_a_call_of_another_node_as_participant(
    office: Office, another: Callable[[], Database], tmp_path: Path
) -> None:
    """It can't be in a conference here, and the error says why; to take it out is a success."""
    (tmp_path / "other").mkdir()
    other = Office(another(), tmp_path / "other", "n2")
    async with other.open():
        await other.call("far")
        made = await office.control.create_conference(TENANT)
        await office.call_log.written()
        with pytest.raises(NodeUnreachable, match="'n2', which has the call, can't put it into"):
            await office.control.add_participant(TENANT, made, "far")
        await office.control.remove_participant(TENANT, made, "far")


# -- calls that we make


async def test_a_call_that_is_made(office: Office) -> None:
    """Its id is known at once; its handler serves it when it is answered."""
    served: list[str] = []

    async def serve(call: CallSession) -> None:
        served.append(call.id)
        await call.wait_ended()

    office.app.route(extension="7000")(serve)
    call_id = await office.control.originate(
        TENANT, endpoint="PJSIP/bob", extension="7000", metadata={"tags": ["vip"]}
    )
    await eventually(lambda: served == [call_id])
    row = await eventually(lambda: office.call_row(call_id))
    assert (row.direction, row.tags, row.tenant_id) == ("outbound", ("vip",), TENANT)


@pytest.mark.parametrize("endpoint", ["PJSIP/bob\r\nX: y"])
async def test_what_can_not_be_called(office: Office, endpoint: str) -> None:
    """It is refused before there is a call."""
    with pytest.raises(ValueError, match="control characters"):
        await office.control.originate(TENANT, endpoint=endpoint)
    assert office.app.active_sessions == {}


async def test_a_dial_that_fails_in_an_unforeseen_way(office: Office) -> None:
    """Who asked for the call is told, and does not wait for ever."""

    async def broken(endpoint: str, **_: Any) -> None:
        raise TypeError("a mistake of the adapter")

    office.pbx.originate = broken  # type: ignore[method-assign]  # an adapter with a mistake
    async with asyncio.timeout(5):
        with pytest.raises(TypeError, match="a mistake"):
            await office.control.originate(TENANT, endpoint="PJSIP/bob")


# -- nodes that do not answer


async def test_a_node_that_is_gone(
    database: Database, tmp_path: Path, another: Callable[[], Database]
) -> None:
    """One that was not heard of for a while is not asked."""
    office = Office(database, tmp_path)
    async with office.open():
        await office.call("c")
        await office.beat(timedelta(minutes=1))
        with pytest.raises(NodeUnreachable, match="'n1', which has the call, is not running"):
            await NodeControl(another(), "n2", None).hangup(TENANT, "c")
        assert await rows(database, commands) == []


async def test_a_node_that_hangs(
    office: Office, another: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lives and does not answer is given up in bounded time."""
    monkeypatch.setattr(module, "COMMAND_DEADLINE", 0.2)
    await office.call("c")
    office.pbx.hangs = True
    with pytest.raises(NodeUnreachable, match=r"has not answered in 0\.2 s"):
        await NodeControl(another(), "n2", None).start_recording(TENANT, "c", RecordOptions())


async def test_a_command_that_is_older_than_its_asker(office: Office, database: Database) -> None:
    """What is too old is not taken: better no recording than one that nobody waits for."""
    await office.call("c")
    async with database.write() as connection:
        old = utc_now() - store.LIFE - timedelta(seconds=1)
        await store.send(connection, "n1", "start_recording", "c", TENANT, {}, now=old)
        asked = await store.send(connection, "n1", "stop_recording", "c", TENANT, {})
    await eventually(lambda: _answer(database, asked))
    assert not office.pbx.live


async def test_a_node_that_starts_again(
    database: Database, tmp_path: Path, another: Callable[[], Database]
) -> None:
    """A command that comes while the PBX is not connected yet waits for it, and is no error about
    a call that is up.
    """
    first = Office(database, tmp_path)
    async with first.open():
        await first.call("c")
        first.pbx.refuses.add("hangup")  # the call outlives the process
    first.pbx.refuses.clear()
    async with database.write() as connection:  # a process that dies writes no end
        await connection.execute(update(calls).values(ended_at=None, state="answered"))
    pbx = first.pbx
    pbx.up.add("c")
    pbx.listens.clear()
    second = Office(another(), tmp_path, pbx=pbx)
    serving = asyncio.create_task(second.control.serve_commands())
    starting = asyncio.create_task(second.app.start())
    writing = asyncio.create_task(second.call_log.run())
    try:
        await second.beat()
        asked = asyncio.create_task(NodeControl(another(), "n2", None).hangup(TENANT, "c"))
        await eventually(lambda: _taken(database))
        pbx.listens.set()
        await asked
        assert "c" not in pbx.up
    finally:
        await second.app.stop()
        for task in (serving, starting, writing):
            task.cancel()
        await asyncio.gather(serving, starting, writing, return_exceptions=True)
        second.blobs.close()


async def test_a_pbx_that_stays_away(
    office: Office, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What needs this node's PBX says that it is not connected."""
    monkeypatch.setattr(module, "STARTUP", 0.05)
    await office.call("c")
    lonely = Office(database, tmp_path, pbx=office.pbx)
    with pytest.raises(NodeUnreachable, match="is not connected to its PBX"):
        await lonely.control.hangup(TENANT, "c")
    with pytest.raises(NodeUnreachable, match="is not connected to a PBX"):
        await lonely.control.create_conference(TENANT)
    assert lonely.control.connected is False
    assert NodeControl(database, "n2", None).connected is None
    lonely.blobs.close()


async def test_an_answer_waits_for_the_database(
    office: Office, another: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outcome that can't be written is written when the database is back."""
    real, refused = store.answer, 0

    async def answer(*arguments: Any) -> None:
        nonlocal refused
        if refused < 2:
            refused += 1
            raise OperationalError("UPDATE", {}, OSError("the disk is away"))
        await real(*arguments)

    monkeypatch.setattr(store, "answer", answer)
    await office.call("c")
    async with asyncio.timeout(10):
        await NodeControl(another(), "n2", None).hangup(TENANT, "c")
    assert refused == 2


async def test_a_mistake_in_a_verb_is_answered(
    office: Office,
    another: Callable[[], Database],
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What fails in an unforeseen way is in the log of the node, and its asker does not wait."""
    await office.call("c")
    async with database.write() as connection:
        asked = await store.send(connection, "n1", "juggle", "c", TENANT, {})
    answer = await eventually(lambda: _answer(database, asked))
    assert "failed at it: KeyError" in answer["error"]["text"]
    assert "juggle of c failed" in caplog.text


async def test_commands_are_taken_when_the_database_is_back(
    office: Office, another: Callable[[], Database]
) -> None:
    """A node that can't read its commands for a while carries them out afterwards."""
    await office.call("c")
    with away(office.database, 2) as refused:
        asked = asyncio.create_task(NodeControl(another(), "n2", None).hangup(TENANT, "c"))
        await refused.wait()
        async with asyncio.timeout(10):
            await asked
    assert "c" not in office.pbx.up


# -- errors on their way from one process to the other


def _every_error() -> list[VoxtraError]:
    made: list[VoxtraError] = []
    values = {"status": 404, "cause": 17, "int": 1}
    for name in exceptions.__all__:
        kind = getattr(exceptions, name)
        if kind.__init__ is Exception.__init__ or "__init__" not in {
            each for base in kind.__mro__[:-3] for each in vars(base)
        }:
            made.append(kind("in plain words"))
            continue
        code = kind.__init__.__code__
        names = code.co_varnames[1 : code.co_argcount]
        made.append(kind(*(values.get(each, f"the {each}") for each in names)))
    return made


@pytest.mark.parametrize("error", _every_error(), ids=lambda error: type(error).__name__)
def test_an_error_crosses_processes_whole(error: VoxtraError) -> None:
    """Type, text and every attribute are those of the error that was raised."""
    arrived = _unpacked(json.loads(encode_json(_packed(error))))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)


def test_an_error_of_a_kind_below_ours() -> None:
    """One that only the other process has arrives as the nearest of ours; any other as a
    `ValueError`.
    """

    class Own(TelephonyConnectionError):
        pass

    assert type(_unpacked(_packed(Own("away")))) is TelephonyConnectionError
    assert type(_unpacked(_packed(ValueError("wrong")))) is ValueError
    assert type(_unpacked({"type": "annotations", "attributes": {}, "text": "x"})) is ValueError
