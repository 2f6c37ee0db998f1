"""OpenAI's API: realtime transcription as a websocket, recordings and the list of models as HTTP."""

import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from voicewire.streaming.doors.refusals import http_status, retry_headers
from voicewire.streaming.errors import ParameterError, SessionError
from voicewire.streaming.lobby import Lobby
from voicewire.streaming.messages import ServerMessage, Start
from voicewire.streaming.protocols.openai_answers import Model, ModelList
from voicewire.streaming.protocols.openai_events import ErrorBody
from voicewire.streaming.protocols.openai_realtime import OpenAIRealtime
from voicewire.streaming.protocols.openai_rest import OpenAIFile, TranscriptionRequest, failed_event
from voicewire.streaming.recordings import RATE, bounded, decoded, transcribed
from voicewire.streaming.relay import Relay
from voicewire.streaming.transport import abort

# Fields of a form, and bytes of one of them, that no client needs more of.
_MOST_FIELDS, _MOST_FIELD_BYTES = 40, 64 * 1024


def routes(lobby: Lobby) -> list[BaseRoute]:
    """Everything below `/v1` that a client of OpenAI's may ask of a recogniser."""
    door = _Door(lobby)
    return [
        WebSocketRoute("/v1/realtime", door.realtime),
        Route("/v1/audio/transcriptions", door.transcription, methods=["POST"]),
        Route("/v1/models", door.models),
        Route("/v1/models/{name:path}", door.model),
    ]


class _Door:
    def __init__(self, lobby: Lobby) -> None:
        self._lobby = lobby
        self._opened = int(time.time())

    async def realtime(self, websocket: WebSocket) -> None:
        idle_s = self._lobby.settings.idle_s
        live = self._lobby.new_session(drop=partial(abort, websocket), start_within_s=idle_s)
        try:
            if websocket.query_params.get("intent", "transcription") != "transcription":
                raise ParameterError("intent", "this server transcribes: connect with intent=transcription")
            name = websocket.query_params.get("model") or self._lobby.engine.model_name
            with self._lobby.seated(live, websocket.headers):
                facade = OpenAIRealtime(live.session_id, name)
                await Relay(websocket, live, facade, pings_keep_alive=True).run()
        except (ParameterError, SessionError) as error:
            await websocket.send_denial_response(_refusal(error))

    async def transcription(self, request: Request) -> Response:
        settings = self._lobby.settings
        live = self._lobby.new_session(start_within_s=settings.upload_s)
        with contextlib.ExitStack() as seat:
            try:
                seat.enter_context(self._lobby.seated(live, request.headers))
                form = await _form(request, settings.upload_bytes)
                wanted = TranscriptionRequest.of(
                    (name, value) for name, value in form.multi_items() if isinstance(value, str)
                )
                recording = await _recording(form)
                live.put(
                    Start(encoding="pcm_s16le", sample_rate=RATE, language=wanted.language, interim=False)
                )
                answer = OpenAIFile(wanted)
                heard = transcribed(live, decoded(recording), request.is_disconnected)
                if wanted.stream:
                    return _Events(answer, heard, seat.pop_all())
                async for message in heard:
                    answer.hear(message)
            except (ParameterError, SessionError) as error:
                return _refusal(error)
        text, media_type = answer.answer()
        return Response(text, media_type=media_type)

    async def models(self, request: Request) -> Response:
        return _told(ModelList(data=[self._model]))

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name != self._lobby.engine.model_name:
            return _refusal(ParameterError("model", f"there is no {name[:60]!r} here"), 404)
        return _told(self._model)

    @property
    def _model(self) -> Model:
        return Model(id=self._lobby.engine.model_name, created=self._opened)


class _Events(StreamingResponse):
    """Server-sent events of a recording; the session's seat is given back when they have been sent."""

    def __init__(
        self, answer: OpenAIFile, heard: AsyncIterator[ServerMessage], seat: contextlib.ExitStack
    ) -> None:
        super().__init__(self._events(answer, heard), media_type="text/event-stream")
        self._seat = seat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._seat:
            await super().__call__(scope, receive, send)

    @staticmethod
    async def _events(answer: OpenAIFile, heard: AsyncIterator[ServerMessage]) -> AsyncIterator[str]:
        try:
            async for message in heard:
                if event := answer.hear(message):
                    yield event
            yield answer.last_event()
        except SessionError as error:
            yield failed_event(ErrorBody.of(error).model_dump_json())


class _InMemory(MultiPartParser):
    """A form whose file never touches the disk; the body's own bound is that of its size."""

    spool_max_size = 2**62


async def _form(request: Request, most_bytes: int) -> FormData:
    """Raises ParameterError for what is no form, SessionError for one that is too long."""
    if request.headers.get("content-type", "").partition(";")[0] != "multipart/form-data":
        raise ParameterError("content-type", "send the recording as multipart/form-data")
    try:
        return await _InMemory(
            request.headers,
            bounded(request.stream(), most_bytes),
            max_files=1,
            max_fields=_MOST_FIELDS,
            max_part_size=_MOST_FIELD_BYTES,
        ).parse()
    except MultiPartException as error:
        raise ParameterError("body", error.message) from error


async def _recording(form: FormData) -> bytes:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise ParameterError("file", "missing: send the recording as a file")
    return await file.read()


def _told(answer: Model | ModelList) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


def _refusal(error: ParameterError | SessionError, status: int | None = None) -> Response:
    """An HTTP error in OpenAI's shape."""
    body = ErrorBody.of(error).model_dump_json()
    return Response(body, status or http_status(error), retry_headers(error), "application/json")
