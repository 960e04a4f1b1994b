"""What can be done to calls and conferences, from whichever process it is asked.

The node that has the call does it. Another one leaves a command in the database, is woken by the
answer, and raises what was raised there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from voxtra import exceptions
from voxtra.app import VoxtraApp
from voxtra.conference import Conference
from voxtra.exceptions import (
    CallEnded,
    CallNotAnswered,
    DialFailed,
    NodeUnreachable,
    RecordingNotActive,
    UnknownCall,
    UnknownConference,
    VoxtraError,
)
from voxtra.ids import own_id
from voxtra.record_options import RecordOptions
from voxtra.retry import delays
from voxtra.session import CallSession
from voxtra.store import calls, commands, conferences, nodes
from voxtra.store.database import Database
from voxtra.store.schema import utc_now

__all__ = ["NodeControl"]

log = logging.getLogger(__name__)

ANSWER_WAIT: Final = 5.0
"""Seconds that a recording waits for its call to be up: `answer` and `recording_start` are often
asked for one right after the other.
"""

COMMAND_DEADLINE: Final = 25.0
"""Seconds for another node to answer: a start may take 5 for the answer, and a stop 20."""

NODE_SILENCE: Final = timedelta(seconds=15)
"""A node that has not been heard of for so long is not asked."""

LOOK: Final = 0.25
"""Seconds between looks for a command, or its answer, when nobody says that there is one."""

STARTUP: Final = 10.0
"""Seconds that what is asked of this node's calls waits for the PBX to be connected."""


_OF_CONFERENCES: Final = ("end_conference", "add_participant", "remove_participant")


class NodeControl:
    """The `Control` of one node; `app` is None in a process that serves no calls."""

    def __init__(self, database: Database, node: str, app: VoxtraApp | None) -> None:
        self._database = database
        self._node = node
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()
        self._verbs: dict[str, Callable[..., Awaitable[Any]]] = {
            "start_recording": self._start_recording,
            "stop_recording": self._stop_recording,
            "pause_recording": self._pause_recording,
            "hangup": self._hangup,
            "end_conference": self._end_conference,
            "add_participant": self._add_participant,
            "remove_participant": self._remove_participant,
        }

    # -- what is asked

    @property
    def connected(self) -> bool | None:
        """See `Control.connected`."""
        return self._app.is_running if self._app is not None else None

    async def start_recording(self, tenant_id: str, holder_id: str, options: RecordOptions) -> str:
        """See `Control.start_recording`."""
        return str(await self._do("start_recording", tenant_id, holder_id, **asdict(options)))

    async def stop_recording(self, tenant_id: str, holder_id: str) -> str:
        """See `Control.stop_recording`."""
        return str(await self._do("stop_recording", tenant_id, holder_id))

    async def pause_recording(self, tenant_id: str, holder_id: str, *, on: bool) -> str:
        """See `Control.pause_recording`."""
        return str(await self._do("pause_recording", tenant_id, holder_id, on=on))

    async def hangup(self, tenant_id: str, call_id: str) -> None:
        """See `Control.hangup`."""
        with suppress(CallEnded):
            await self._do("hangup", tenant_id, call_id)

    async def originate(
        self,
        tenant_id: str,
        *,
        endpoint: str,
        caller_id: str = "",
        timeout: float = 30.0,
        extension: str = "",
        variables: dict[str, str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> str:
        """See `Control.originate`: it is this node that calls."""
        app = self._serving()
        call_id = own_id("call")
        dialled = asyncio.get_running_loop().create_future()

        async def dial() -> None:
            dialling = asyncio.create_task(
                app.switchboard.dial(
                    endpoint,
                    caller_id=caller_id,
                    timeout=timeout,
                    variables=variables,
                    call_id=call_id,
                    tenant_id=tenant_id,
                )
            )
            await asyncio.sleep(0)  # its first step checks what was asked, and makes the call
            session = app.get_session(call_id)
            if session is not None:
                session.metadata.update(metadata or {})
                dialled.set_result(None)
            try:
                answered = await dialling
            except Exception as error:
                if not dialled.done():
                    dialled.set_exception(error)
                elif not isinstance(error, DialFailed):
                    log.warning("call %s could not be made: %s", call_id, error)
                return
            if not dialled.done():
                dialled.set_result(None)
            if extension:
                app.switchboard.serve(answered, extension)

        self._spawn(dial())
        await dialled
        return call_id

    async def create_conference(
        self, tenant_id: str, *, name: str = "", metadata: dict[str, Any] | None = None
    ) -> str:
        """See `Control.create_conference`: it is this node's."""
        board = self._serving().switchboard
        return (await board.conference(name, tenant_id=tenant_id, metadata=metadata)).id

    async def end_conference(self, tenant_id: str, conference_id: str) -> None:
        """See `Control.end_conference`."""
        await self._do("end_conference", tenant_id, conference_id)

    async def add_participant(self, tenant_id: str, conference_id: str, call_id: str) -> None:
        """See `Control.add_participant`."""
        await self._do("add_participant", tenant_id, conference_id, call_id=call_id)

    async def remove_participant(self, tenant_id: str, conference_id: str, call_id: str) -> None:
        """See `Control.remove_participant`."""
        await self._do("remove_participant", tenant_id, conference_id, call_id=call_id)

    # -- commands of other nodes

    async def serve_commands(self) -> None:
        """Carry out what other nodes ask of this one's calls, for ever."""
        waits = delays(0.5, cap=10.0)
        with self._database.signals.subscribe("commands") as signal:
            while True:
                signal.clear()
                try:
                    for command in await self._take():
                        self._spawn(self._carry_out(command))
                    waits = delays(0.5, cap=10.0)
                except (SQLAlchemyError, OSError) as error:
                    log.warning("no commands can be taken: %s", error)
                    await asyncio.sleep(next(waits))
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        await signal.wait()

    async def _take(self) -> list[commands.Command]:
        """Take the commands that wait; that there are none is found without writing."""
        async with self._database.read() as connection:
            if not await commands.waiting(connection, self._node):
                return []
        async with self._database.write(durable=False) as connection:
            return await commands.take(connection, self._node)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry_out(self, command: commands.Command) -> None:
        try:
            await self._connect()
            verb = self._verbs[command.verb]
            value = await verb(command.tenant_id, command.subject_id, **command.arguments)
            outcome: dict[str, Any] = {"value": value}
        except (VoxtraError, ValueError) as error:
            outcome = {"error": _packed(error)}
        except Exception as error:
            log.exception("%s of %s failed", command.verb, command.subject_id)
            failed = NodeUnreachable(self._node, f"failed at it: {type(error).__name__}")
            outcome = {"error": _packed(failed)}
        await self._answer(command, outcome)

    async def _answer(self, command: commands.Command, outcome: Mapping[str, Any]) -> None:
        """Say what came of a command, for as long as somebody may wait for it."""
        waits = delays(0.2, cap=5.0)
        problem: Exception | None = None
        try:
            async with asyncio.timeout(COMMAND_DEADLINE):
                while True:
                    try:
                        async with self._database.write(durable=False) as connection:
                            await commands.answer(connection, command.id, outcome)
                        return
                    except (SQLAlchemyError, OSError) as error:
                        problem = error
                    await asyncio.sleep(next(waits))
        except TimeoutError:
            log.error("%s of %s: no answer: %s", command.verb, command.subject_id, problem)

    # -- here or there

    async def _do(self, verb: str, tenant_id: str, subject_id: str, **arguments: Any) -> Any:
        """Carry out a verb where its subject is."""
        node = await self._node_of(verb, tenant_id, subject_id)
        if node == self._node and self._app is not None:
            await self._connect()
            return await self._verbs[verb](tenant_id, subject_id, **arguments)
        return await self._ask(node, verb, tenant_id, subject_id, arguments)

    async def _node_of(self, verb: str, tenant_id: str, subject_id: str) -> str:
        """Return the node that has a call or conference of a tenant's that is not over."""
        if self._here(tenant_id, subject_id) is not None:
            return self._node
        async with self._database.read() as connection:
            call = await calls.get(connection, tenant_id, subject_id)
            if call is not None:
                if call.ended_at is not None:
                    raise CallEnded(subject_id, call.end_reason)
                return str(call.node)
            conference = await conferences.get(connection, tenant_id, subject_id)
        if conference is None:
            raise (UnknownConference if verb in _OF_CONFERENCES else UnknownCall)(subject_id)
        if conference.ended_at is not None:
            raise CallEnded(subject_id, "the conference is over")
        return str(conference.node)

    async def _ask(
        self, node: str, verb: str, tenant_id: str, subject_id: str, arguments: Mapping[str, Any]
    ) -> Any:
        """Have another node carry it out."""
        async with self._database.read() as connection:
            if not await nodes.alive(connection, node, utc_now(), NODE_SILENCE):
                raise NodeUnreachable(node, "is not running; start it, and it takes its calls up")
        with self._database.signals.subscribe("commands") as signal:
            async with self._database.write(durable=False) as connection:
                command_id = await commands.send(
                    connection, node, verb, subject_id, tenant_id, dict(arguments)
                )
            try:
                async with asyncio.timeout(COMMAND_DEADLINE):
                    while True:
                        async with self._database.read() as connection:
                            outcome = await commands.outcome(connection, command_id)
                        if outcome is not None:
                            break
                        with suppress(TimeoutError):
                            async with asyncio.timeout(LOOK):
                                await signal.wait()
                        signal.clear()
            except TimeoutError:
                problem = f"has not answered in {COMMAND_DEADLINE:g} s"
                raise NodeUnreachable(node, problem) from None
        if "error" in outcome:
            raise _unpacked(outcome["error"])
        return outcome["value"]

    async def _connect(self) -> None:
        """Wait for the PBX, which after a start is connected in its time."""
        if self._app is None:
            return
        try:
            async with asyncio.timeout(STARTUP):
                await self._app.wait_running()
        except TimeoutError:
            raise NodeUnreachable(self._node, "is not connected to its PBX") from None

    def _serving(self) -> VoxtraApp:
        if self._app is None or not self._app.is_running:
            raise NodeUnreachable(self._node, "is not connected to a PBX")
        return self._app

    # -- the verbs, on this node's own calls

    async def _start_recording(self, tenant_id: str, holder_id: str, **options: Any) -> str:
        holder = self._holder(tenant_id, holder_id)
        if isinstance(holder, CallSession):
            try:
                async with asyncio.timeout(ANSWER_WAIT):
                    await holder.wait_answered()
            except TimeoutError:
                raise CallNotAnswered(holder_id) from None
        options["target"] = holder.default_target
        return (await holder.record(RecordOptions(**options))).id

    async def _stop_recording(self, tenant_id: str, holder_id: str) -> str:
        recording_id = self._active(tenant_id, holder_id)
        await self._serving().recorder.stop(recording_id)
        return recording_id

    async def _pause_recording(self, tenant_id: str, holder_id: str, *, on: bool) -> str:
        recording_id = self._active(tenant_id, holder_id)
        await self._serving().recorder.pause(recording_id, on=on)
        return recording_id

    async def _hangup(self, tenant_id: str, call_id: str) -> None:
        call = self._holder(tenant_id, call_id)
        if not isinstance(call, CallSession):
            raise UnknownCall(call_id)
        await call.hangup()

    async def _end_conference(self, tenant_id: str, conference_id: str) -> None:
        await self._conference(tenant_id, conference_id).close()

    async def _add_participant(self, tenant_id: str, conference_id: str, call_id: str) -> None:
        conference = self._conference(tenant_id, conference_id)
        await conference.add(await self._participant(tenant_id, call_id))

    async def _remove_participant(self, tenant_id: str, conference_id: str, call_id: str) -> None:
        conference = self._conference(tenant_id, conference_id)
        try:
            call = await self._participant(tenant_id, call_id)
        except (CallEnded, NodeUnreachable):
            return  # it is in no conference of this node
        await conference.remove(call)

    def _here(self, tenant_id: str, holder_id: str) -> CallSession | Conference | None:
        """Return a call or conference of this node, of this tenant."""
        if self._app is None or not self._app.is_running:
            return None
        found = self._app.get_session(holder_id) or self._app.get_conference(holder_id)
        return found if found is not None and found.tenant_id == tenant_id else None

    def _holder(self, tenant_id: str, holder_id: str) -> CallSession | Conference:
        """Return what a row says is here; if it is not, it has ended a moment ago."""
        found = self._here(tenant_id, holder_id)
        if found is None:
            raise CallEnded(holder_id)
        return found

    def _conference(self, tenant_id: str, conference_id: str) -> Conference:
        found = self._holder(tenant_id, conference_id)
        if not isinstance(found, Conference):
            raise UnknownConference(conference_id)
        return found

    async def _participant(self, tenant_id: str, call_id: str) -> CallSession:
        """Return a call of this node that a conference is to have."""
        found = self._here(tenant_id, call_id)
        if isinstance(found, CallSession):
            return found
        async with self._database.read() as connection:
            row = await calls.get(connection, tenant_id, call_id)
        if row is None:
            raise UnknownCall(call_id)
        if row.ended_at is None and row.node != self._node:
            raise NodeUnreachable(row.node, f"can't put it into a conference of {self._node!r}")
        raise CallEnded(call_id, row.end_reason)

    def _active(self, tenant_id: str, holder_id: str) -> str:
        """Return the id of the active recording."""
        recording = self._holder(tenant_id, holder_id).recording
        if recording is None:
            raise RecordingNotActive(holder_id)
        return recording.id

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _packed(error: Exception) -> dict[str, Any]:
    """Return an error as JSON: one of ours with its attributes, which say what it is about."""
    ours = [each for each in type(error).__mro__ if each.__module__ == exceptions.__name__]
    kind = ours[0].__name__ if ours else ""
    return {"type": kind, "attributes": vars(error) if ours else {}, "text": str(error)}


def _unpacked(packed: Mapping[str, Any]) -> Exception:
    """Return the error that was raised in the other process."""
    kind = getattr(exceptions, packed["type"], None)
    if not (isinstance(kind, type) and issubclass(kind, VoxtraError)):
        return ValueError(packed["text"])
    made = kind.__new__(kind, packed["text"])
    vars(made).update(packed["attributes"])
    return made
