"""Vosk's websocket: `/vosk`, and `/` on the port of its own, since its clients know no path."""

from functools import partial

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from voicewire.streaming.doors.refusals import http_status, retry_headers
from voicewire.streaming.errors import SessionError
from voicewire.streaming.lobby import Lobby
from voicewire.streaming.protocols.vosk import Vosk
from voicewire.streaming.relay import Relay
from voicewire.streaming.transport import abort


def routes(lobby: Lobby) -> list[BaseRoute]:
    """`/` too where a port for Vosk was asked for."""
    serve = partial(_serve, lobby)
    paths = ["/vosk", "/"] if lobby.settings.vosk else ["/vosk"]
    return [WebSocketRoute(path, serve) for path in paths]


async def _serve(lobby: Lobby, websocket: WebSocket) -> None:
    live = lobby.new_session(drop=partial(abort, websocket), start_within_s=lobby.settings.idle_s)
    try:
        with lobby.seated(live, websocket.headers):
            await Relay(websocket, live, Vosk(), pings_keep_alive=True).run()
    except SessionError as error:
        body = {"error": str(error), "code": error.code}
        await websocket.send_denial_response(JSONResponse(body, http_status(error), retry_headers(error)))
