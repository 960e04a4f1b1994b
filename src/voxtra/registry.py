"""Providers by name, so that a configuration file can choose them.

A provider is a class (or whatever makes its objects). It becomes known by a decorator, by an entry
point of the group `voxtra.<kind>` in any installed package, or because it is one of ours; the
latter two are imported when they are first resolved.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal, TypeVar, get_args

from voxtra.config import nearest
from voxtra.exceptions import ConfigurationError

__all__ = ["Kind", "Provider", "ProviderRegistry", "registry"]

Kind = Literal["stt", "tts", "llm", "vad", "telephony", "media"]
Provider = Callable[..., Any]
_P = TypeVar("_P", bound=Provider)

_OURS: Final[dict[tuple[Kind, str], str]] = {
    ("telephony", "asterisk"): "voxtra.telephony.asterisk:AsteriskAdapter",
}


class ProviderRegistry:
    """Providers of every kind. A registered one comes before ours, ours before an entry point."""

    def __init__(self) -> None:
        self._known: dict[tuple[Kind, str], Provider] = {}

    def register(self, kind: Kind, name: str) -> Callable[[_P], _P]:
        """Return a decorator that makes a provider known as `name`.

        Raises `ConfigurationError` when another provider has the name already.
        """
        if not isinstance(name, str) or not name:
            raise ConfigurationError(
                "a provider's name is missing", fix=f'Write @registry.register_{kind}("my-name")'
            )

        def decorate(provider: _P) -> _P:
            other = self._known.setdefault((kind, name), provider)
            if _identity(other) != _identity(provider):
                raise ConfigurationError(
                    f"the {kind} provider {name!r} is {_identity(other)} already",
                    fix=f"Choose another name for {_identity(provider)}",
                )
            self._known[kind, name] = provider
            return provider

        return decorate

    def resolve(self, kind: Kind, name: str) -> Provider:
        """Return a provider; `ConfigurationError` when there is none or it can't be imported."""
        known = self._known.get((kind, name))
        if known is not None:
            return known
        ours = _OURS.get((kind, name))
        try:
            if ours is not None:
                module, _, attribute = ours.partition(":")
                found: Provider = getattr(import_module(module), attribute)
            elif name in (points := _entry_points(kind)):
                found = points[name].load()
            else:
                raise ConfigurationError(
                    f"there is no {kind} provider {name!r}",
                    fix=nearest(name, self.names(kind), what="Available"),
                )
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"the {kind} provider {name!r} can't be imported: {error}"
            ) from error
        self._known[kind, name] = found
        return found

    def names(self, kind: Kind) -> list[str]:
        """Return the names of all providers of a kind, sorted."""
        made = {name for of, name in (*self._known, *_OURS) if of == kind}
        return sorted(made | set(_entry_points(kind)))

    def list_all(self) -> dict[str, list[str]]:
        """Return the names of all providers by kind."""
        return {kind: self.names(kind) for kind in get_args(Kind)}

    def register_stt(self, name: str) -> Callable[[_P], _P]:
        """Make a speech-to-text provider known."""
        return self.register("stt", name)

    def register_tts(self, name: str) -> Callable[[_P], _P]:
        """Make a text-to-speech provider known."""
        return self.register("tts", name)

    def register_llm(self, name: str) -> Callable[[_P], _P]:
        """Make a language model provider known."""
        return self.register("llm", name)

    def register_vad(self, name: str) -> Callable[[_P], _P]:
        """Make a voice activity detector known."""
        return self.register("vad", name)

    def register_telephony(self, name: str) -> Callable[[_P], _P]:
        """Make a telephony adapter known."""
        return self.register("telephony", name)

    def register_media(self, name: str) -> Callable[[_P], _P]:
        """Make a media transport known."""
        return self.register("media", name)

    def resolve_stt(self, name: str) -> Provider:
        """Return a speech-to-text provider."""
        return self.resolve("stt", name)

    def resolve_tts(self, name: str) -> Provider:
        """Return a text-to-speech provider."""
        return self.resolve("tts", name)

    def resolve_llm(self, name: str) -> Provider:
        """Return a language model provider."""
        return self.resolve("llm", name)

    def resolve_vad(self, name: str) -> Provider:
        """Return a voice activity detector."""
        return self.resolve("vad", name)

    def resolve_telephony(self, name: str) -> Provider:
        """Return a telephony adapter."""
        return self.resolve("telephony", name)

    def resolve_media(self, name: str) -> Provider:
        """Return a media transport."""
        return self.resolve("media", name)

    def list_stt(self) -> list[str]:
        """Return the names of the speech-to-text providers."""
        return self.names("stt")

    def list_tts(self) -> list[str]:
        """Return the names of the text-to-speech providers."""
        return self.names("tts")

    def list_llm(self) -> list[str]:
        """Return the names of the language model providers."""
        return self.names("llm")

    def list_vad(self) -> list[str]:
        """Return the names of the voice activity detectors."""
        return self.names("vad")

    def list_telephony(self) -> list[str]:
        """Return the names of the telephony adapters."""
        return self.names("telephony")

    def list_media(self) -> list[str]:
        """Return the names of the media transports."""
        return self.names("media")


def _entry_points(kind: Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"voxtra.{kind}")}


def _identity(provider: Provider) -> str:
    """Name a provider; a module that is loaded again makes the same one anew."""
    module = getattr(provider, "__module__", "")
    return f"{module}.{getattr(provider, '__qualname__', repr(provider))}"


registry: Final = ProviderRegistry()
"""The providers of this process."""
