"""The shape of the package: imports point down only, the core is pure, the rooms are small.

The layers are those of `docs/explanation/architecture.md`. A new module fails the first test until
it has a place in `LAYERS`.
"""

from __future__ import annotations

import ast
import sys
from fnmatch import fnmatchcase
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

import voxtra

PACKAGE: Final = Path(voxtra.__file__).parent

LAYERS: Final = (
    # the vocabulary
    """
    voxtra.exceptions voxtra.ids voxtra.names voxtra.retry voxtra.version
    voxtra.model voxtra.events voxtra.lifecycle voxtra.yamlfile voxtra.config
    """,
    # the wire, and the arithmetic of sound
    "voxtra.ari voxtra.ari.* voxtra.audio voxtra.audio.*",
    # the seam: the PBX behind an interface
    "voxtra.telephony voxtra.telephony.*",
    # the framework
    """
    voxtra.registry voxtra.router voxtra.handlers voxtra.digits voxtra.serial
    voxtra.signing voxtra.posting voxtra.webhooks voxtra.recording
    voxtra.catalog voxtra.spool voxtra.record_options voxtra.recording_report
    voxtra.live_recording voxtra.outcome voxtra.aftermath voxtra.recorder
    voxtra.recording_verbs voxtra.bridge voxtra.conference voxtra.transfer voxtra.session
    voxtra.switchboard voxtra.app
    """,
    # what `from voxtra import ...` gives
    "voxtra",
    # the catalogue, and where audio lives
    "voxtra.store voxtra.store.* voxtra.blobs voxtra.blobs.*",
    # the recording service
    "voxtra.service voxtra.service.*",
    # the service over HTTP
    "voxtra.web voxtra.web.*",
    # what people type
    """
    voxtra.preflight voxtra.scaffold voxtra.commands voxtra.commands.*
    voxtra.cli voxtra.cli.* voxtra.__main__
    """,
)
"""Patterns of module names, lowest layer first; a module imports its own layer and those below."""

BESIDE: Final = "voxtra.lab voxtra.lab.*"
"""The lab stands beside: it uses the lowest two layers, and only what people type uses it."""

PURE: Final = """
    voxtra.model voxtra.events voxtra.lifecycle voxtra.ids voxtra.names
    voxtra.audio voxtra.audio.*
"""
CLIENT_LIBRARIES: Final = {
    "asyncio",
    "aiohttp",
    "yarl",
    "msgspec",
    "pydantic",
    "yaml",
    "click",
    "rich",
}

SPEAK_ARI: Final = """
    voxtra.ari voxtra.ari.*
    voxtra.telephony.asterisk voxtra.telephony.calls
    voxtra.telephony.capture voxtra.telephony.dialling voxtra.telephony.playback
    voxtra.telephony.reading voxtra.telephony.stored
    voxtra voxtra.app
    voxtra.lab.* voxtra.preflight voxtra.commands.adopt voxtra.cli voxtra.cli.*
    voxtra.service.node
"""
"""Who may know that there is ARI. The root and the app name `ARIClient` for `app.ari`, no more; a
worker's node makes one to reach the files."""

LIMIT: Final = 450
"""Lines of a module, from where on somebody has to say why."""

LARGER: Final = {
    "voxtra.ari.schema": "generated from Asterisk's api-docs",
    "voxtra.app": "constructor, decorators and the life of an app; its calls are in switchboard",
    "voxtra.session": "a short method for each verb; digits, recordings, bridges are elsewhere",
    "voxtra.recorder": "the one owner of live recordings; table, files, reports are elsewhere",
    "voxtra.store.schema": "every table, and nothing else",
    "voxtra.store.migrations.versions.0001_catalogue": "every table as it first was",
    "voxtra.telephony.asterisk": "a short method for each verb of the seam; planes are elsewhere",
}


def modules() -> dict[str, Path]:
    """Return every module of the package by name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ["voxtra", *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES: Final = modules()


def is_one_of(module: str, patterns: str) -> bool:
    """Tell whether a module is named by one of the patterns."""
    return any(fnmatchcase(module, pattern) for pattern in patterns.split())


def layer_of(module: str) -> int:
    """Return the number of a module's layer; the lab has none."""
    return next(number for number, names in enumerate(LAYERS) if is_one_of(module, names))


@cache
def imports(module: str, *, for_types: bool = False) -> frozenset[str]:
    """Return what a module imports, wherever in its text; `for_types` adds TYPE_CHECKING blocks."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(MODULES[module].read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            source = node.module or ""
            names = {f"{source}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else source for name in names}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse + (node.body if for_types else [])
        else:
            waiting += ast.iter_child_nodes(node)
    return frozenset(found)


def ours(module: str) -> set[str]:
    """Return the modules of the package that a module imports when it runs."""
    return {name for name in imports(module) if name in MODULES}


def test_every_module_has_one_place():
    """Each module belongs to exactly one layer, or to the lab."""
    places = {name: sum(is_one_of(name, names) for names in (*LAYERS, BESIDE)) for name in MODULES}
    assert {name: count for name, count in places.items() if count != 1} == {}


@pytest.mark.parametrize("module", sorted(name for name in MODULES if not is_one_of(name, BESIDE)))
def test_imports_point_down(module):
    """No module imports a higher layer, and the lab is for what people type alone."""
    top = len(LAYERS) - 1
    own = layer_of(module)
    for name in ours(module):
        if is_one_of(name, BESIDE):
            assert own == top, f"{module} imports {name}"
        else:
            assert layer_of(name) <= own, f"{module} imports {name}"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if is_one_of(name, BESIDE)))
def test_the_lab_stands_beside(module):
    """The lab uses the vocabulary, the wire and the audio: never the framework that it tests."""
    for name in ours(module):
        assert is_one_of(name, BESIDE) or layer_of(name) <= 1, f"{module} imports {name}"


def test_nothing_imports_in_a_circle():
    """The modules can be loaded one after another, each after all that it imports."""
    order = TopologicalSorter({name: ours(name) for name in MODULES}).static_order()
    assert set(order) == set(MODULES)


@pytest.mark.parametrize("module", sorted(name for name in MODULES if is_one_of(name, PURE)))
def test_the_core_is_pure(module):
    """Values, events, the lifecycle and the audio reach neither asyncio nor a client library, not
    even through what they import.
    """
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += ours(name)
    outside = {top for name in reached for top in (each.split(".")[0] for each in imports(name))}
    assert outside & CLIENT_LIBRARIES == set()


def test_only_the_seam_speaks_ari():
    """Sessions, recorder, router and sinks know calls and recordings, not Asterisk's interface."""
    speakers = {
        name
        for name in MODULES
        if any(each.split(".")[:2] == ["voxtra", "ari"] for each in imports(name, for_types=True))
    }
    assert {name for name in speakers if not is_one_of(name, SPEAK_ARI)} == set()


def test_only_declared_libraries_are_imported():
    """What is neither Python's nor ours is a dependency of the package."""
    pyproject = (PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    # yarl is aiohttp's own type of URL, starlette what FastAPI is made of
    declared = {
        "yaml": "pyyaml",
        "yarl": "aiohttp",
        "starlette": "fastapi",
        "prometheus_client": "prometheus-client",
    }
    outside = {each.split(".")[0] for name in MODULES for each in imports(name)}
    outside -= sys.stdlib_module_names | {"voxtra"}
    assert {name for name in outside if f'"{declared.get(name, name)}>=' not in pyproject} == set()


def test_rooms_are_small():
    """A module of more than 450 lines is on the list that says why."""
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in MODULES.items()}
    large = {name: count for name, count in lines.items() if count > LIMIT and name not in LARGER}
    assert large == {}
    assert set(LARGER) <= set(MODULES)
    assert [name for name in LARGER if lines[name] > 600] == ["voxtra.ari.schema"]
