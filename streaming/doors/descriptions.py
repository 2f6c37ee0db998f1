"""`/openapi.json` and `/asyncapi.json`: what can be asked of this server, for programs that make clients."""

from collections.abc import Awaitable, Callable
from functools import cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from voicewire.streaming import asyncapi, openapi


def routes() -> list[BaseRoute]:
    """Neither says anything of one server that is not true of all, so nobody needs a key for them."""
    return [
        Route("/openapi.json", _answering(cache(openapi.text))),
        Route("/asyncapi.json", _answering(cache(asyncapi.text))),
    ]


def _answering(text: Callable[[], str]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Response(text(), media_type="application/json")

    return answer
