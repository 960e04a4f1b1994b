"""Reading and writing a YAML file of settings, with the environment expanded into its text.

Text may hold `${NAME}` or `${NAME:-default}` (the default also replaces an empty variable);
`$${` is a literal `${`. A key that is written twice is refused: YAML would silently keep the last.
Every fault is one `ConfigurationError` of one line.
"""

from __future__ import annotations

import os
import re
import tempfile
from enum import Enum
from pathlib import Path

import yaml

from voxtra.exceptions import ConfigurationError

__all__ = ["kind_of", "read", "write"]

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_REFERENCE_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_INIT = "`voxtra init` writes one to begin with"


def read(path: Path) -> dict[str, object]:
    """Return what the file holds, its references to the environment replaced."""
    tree = _load(path)
    if tree is None:
        raise ConfigurationError(f"{path}: the file is empty", fix=_INIT)
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{path}: must hold keys such as app_name:, not {kind_of(tree)}")
    try:
        return {key: _expand(value, key) for key, value in _text_keys(tree, "").items()}
    except RecursionError:
        raise ConfigurationError(f"{path}: an anchor (&) holds its own alias (*)") from None


def write(path: Path, tree: object) -> None:
    """Write what `read` gives back, whole or not at all, readable by the owner only (mode 0600)."""
    try:
        # ASCII with escapes: PyYAML writes some line separators (U+0085) raw and folds them away
        text = yaml.safe_dump(_plain(tree), sort_keys=False)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: can't be written: {error}") from None
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def kind_of(value: object) -> str:
    """Name what YAML made of a value, as its author would."""
    names = {
        type(None): "nothing",
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a block of keys",
    }
    return names.get(type(value), f"a {type(value).__name__}")


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key that is written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _load(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.load(text, _Loader)  # noqa: S506  # _Loader is a SafeLoader
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: there is no such file", fix=_INIT) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = " ".join((error.problem or error.context or "").split())
        raise ConfigurationError(f"{path}: invalid YAML: {where}{what}") from None
    # RecursionError: nested too deep; ValueError: what looks like a date and is none, 2024-13-45
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigurationError(f"{path}: invalid YAML: {' '.join(str(error).split())}") from None


def _expand(value: object, field: str) -> object:
    """Replace the references in all text below `field`."""
    if isinstance(value, dict):
        return {k: _expand(item, f"{field}.{k}") for k, item in _text_keys(value, field).items()}
    if isinstance(value, list):
        return [_expand(item, f"{field}.{index}") for index, item in enumerate(value)]
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _resolve(match, field), value)
    return value


def _text_keys(block: dict[object, object], field: str) -> dict[str, object]:
    for key in block:
        if not isinstance(key, str):
            raise ConfigurationError(
                f"the key {key!r} is not text but {kind_of(key)}",
                field=field,
                fix="Put it in quotes",
            )
    return {str(key): value for key, value in block.items()}


def _resolve(match: re.Match[str], field: str) -> str:
    if match[0] == "$${":
        return "${"
    body = _REFERENCE_BODY.fullmatch(match[1])
    if body is None or not match[2]:
        raise ConfigurationError(
            "holds ${ but neither ${NAME} nor ${NAME:-default}",
            field=field,
            fix="A literal ${ is written $${",
        )
    name, default = body.groups()
    found = os.environ.get(name)
    if default is not None:
        return found or default
    if found is None:
        raise ConfigurationError(
            f"needs the environment variable {name}, which is not set",
            field=field,
            fix=f"Set it, or write a default: ${{{name}:-...}}",
        )
    return found


def _plain(value: object) -> object:
    """Turn settings into what a YAML file can hold."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return value.replace("${", "$${") if isinstance(value, str) else value
