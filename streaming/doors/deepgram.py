"""`/v1/listen`: Deepgram's live protocol as a websocket, and its answers about whole recordings as HTTP."""

import hashlib
from datetime import UTC, datetime
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from voicewire.streaming.doors.refusals import http_status, retry_headers
from voicewire.streaming.errors import ParameterError, SessionError
from voicewire.streaming.lobby import Lobby
from voicewire.streaming.messages import Start
from voicewire.streaming.protocols.deepgram import DeepgramLive
from voicewire.streaming.protocols.deepgram_file import DeepgramFile
from voicewire.streaming.protocols.deepgram_messages import Refusal
from voicewire.streaming.protocols.deepgram_query import ListenOptions, parse_query
from voicewire.streaming.recordings import RATE, bounded, decoded, pieces_of, transcribed
from voicewire.streaming.relay import Relay
from voicewire.streaming.transport import abort

_PATH = "/v1/listen"


def routes(lobby: Lobby) -> list[BaseRoute]:
    """The live websocket, and `POST` for recordings."""
    door = _Door(lobby)
    return [WebSocketRoute(_PATH, door.live), Route(_PATH, door.recording, methods=["POST"])]


class _Door:
    def __init__(self, lobby: Lobby) -> None:
        self._lobby = lobby

    async def live(self, websocket: WebSocket) -> None:
        live = self._lobby.new_session(drop=partial(abort, websocket))
        try:
            options = parse_query(websocket.query_params.multi_items())
            facade = DeepgramLive(options, self._lobby.engine.model_name, live.session_id, _now())
            with self._lobby.seated(live, websocket.headers):
                await Relay(websocket, live, facade, {"dg-request-id": live.session_id}).run()
        except (ParameterError, SessionError) as error:
            await websocket.send_denial_response(_refusal(error, live.session_id))

    async def recording(self, request: Request) -> Response:
        settings = self._lobby.settings
        live = self._lobby.new_session(start_within_s=settings.upload_s)
        try:
            options = parse_query(request.query_params.multi_items())
            if request.headers.get("content-type", "").partition(";")[0] == "application/json":
                raise ParameterError("url", "recordings are not fetched from elsewhere: send the bytes")
            with self._lobby.seated(live, request.headers):
                start = _start(options)
                body = b"".join([chunk async for chunk in bounded(request.stream(), settings.upload_bytes)])
                live.put(start)
                answer = DeepgramFile(options, self._lobby.engine.model_name, live.session_id, _now())
                pieces = decoded(body) if options.encoding is None else pieces_of(body)
                async for message in transcribed(live, pieces, request.is_disconnected):
                    answer.hear(message)
                text = answer.text(hashlib.sha256(body).hexdigest())
                return Response(
                    text, media_type="application/json", headers={"dg-request-id": live.session_id}
                )
        except (ParameterError, SessionError) as error:
            return _refusal(error, live.session_id)


def _start(options: ListenOptions) -> Start:
    """A recording with a header is decoded before it reaches the session."""
    if options.encoding == "opus":
        raise ParameterError("encoding", "packets have no bounds in a file: send ogg-opus")
    decoded = options.encoding is None
    return Start(
        encoding=options.encoding or "pcm_s16le",
        sample_rate=RATE if decoded else options.sample_rate,
        channels=1 if decoded else options.channels,
        language=options.language_code,
        keyterms=list(options.keyterms),
        interim=False,
    )


def _refusal(error: ParameterError | SessionError, request_id: str) -> Response:
    """An HTTP error in Deepgram's shape."""
    code = "INVALID_QUERY_PARAMETER" if isinstance(error, ParameterError) else error.code.value.upper()
    body = Refusal(err_code=code, err_msg=str(error), request_id=request_id)
    # What a client gave is said back, in letters that a header may not have.
    said = str(error).encode("ascii", "backslashreplace").decode()
    headers = {"dg-error": said, "dg-request-id": request_id, **retry_headers(error)}
    return Response(body.json_text(), http_status(error), headers, "application/json")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
