"""The site: every route, and what is around them, put together."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections import Counter
from functools import cache
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute

from voxtra.service.context import Service
from voxtra.version import __version__
from voxtra.web import api, openapi
from voxtra.web.auth import Gate
from voxtra.web.envelope import Envelope
from voxtra.web.idempotency import Idempotency
from voxtra.web.limits import BodyLimit, Limits, Rate
from voxtra.web.metrics import Metrics
from voxtra.web.problems import HANDLED, Problem, answer, handle

__all__ = ["Site", "document", "make_site", "service_of"]


class Site(FastAPI):
    """The routes with their document; `make_site` gives it a service."""

    def __init__(self) -> None:
        super().__init__(
            title="Voxtra",
            version=__version__,
            docs_url=None,  # their pages load scripts from other people's servers
            redoc_url=None,
            openapi_url="/v1.0/openapi.json",
            redirect_slashes=False,  # a redirect would repeat the token of the query
            dependencies=[Depends(_only_known)],
            generate_unique_id_function=_operation_id,
            exception_handlers={405: _not_allowed, **dict.fromkeys(HANDLED, handle)},
        )
        for found in pkgutil.iter_modules(api.__path__):
            module = importlib.import_module(f"{api.__name__}.{found.name}")
            if hasattr(module, "router"):
                self.include_router(module.router)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        return document()


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document, made once: every site has the same routes."""
    site = Site()
    return openapi.document(site.title, site.version, site.routes)


@cache
def _query_names() -> dict[tuple[str, str], frozenset[str]]:
    return openapi.query_names(document())


def make_site(service: Service) -> Site:
    """Return the application that serves the REST API of a service.

    Before its server stops, `site.state.closing` is to be set: it ends the streams of events, which
    would go on for ever.
    """
    server = service.config.server
    limits = Limits(requests=Rate(server.requests_per_second, server.burst))
    _query_names()  # made now, not while the first request waits
    site = Site()
    site.state.service = service
    site.state.metrics = Metrics(service)
    site.state.streams = Counter()  # open streams of events, by key
    site.state.closing = asyncio.Event()
    # innermost first
    site.add_middleware(Idempotency, service=service)
    site.add_middleware(Gate, service=service, limits=limits)
    site.add_middleware(BodyLimit)
    site.add_middleware(Envelope, metrics=site.state.metrics)
    return site


def service_of(request: Request) -> Service:
    """Return the service whose request it is."""
    service: Service = request.app.state.service
    return service


def _operation_id(route: APIRoute) -> str:
    """Return the name of a route's function; that of HEAD is shared with GET's."""
    if route.methods == {"HEAD"}:
        return f"head_{route.name.removeprefix('get_')}"
    return route.name


async def _only_known(request: Request) -> None:
    """Refuse query parameters that the route does not have: a mistyped filter would fit all."""
    names = _query_names().get((request.scope["route"].path_format, request.method))
    for name in request.query_params:
        if names is not None and name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise Problem(
                "invalid_request",
                f"{name}: There is no such parameter; known are: {known}.",
                field=name,
            )


async def _not_allowed(request: Request, _error: Exception) -> Response:
    route = request.scope["route"].path_format
    methods = sorted(method.upper() for method in document()["paths"][route])
    problem = Problem("method_not_allowed", headers={"Allow": ", ".join(methods)})
    return answer(problem, request.scope)
