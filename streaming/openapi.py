"""What the server answers over HTTP as an OpenAPI document, made of the models of its answers: docs/openapi.json.

`python -m voicewire.streaming.openapi` prints it. Websockets are in `streaming/asyncapi.py`.
"""

import json
from http import HTTPStatus
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from voicewire.streaming.answers import Denial, Health, Readiness
from voicewire.streaming.messages import SampleRate
from voicewire.streaming.protocols.deepgram_messages import FileAnswer, Refusal
from voicewire.streaming.protocols.deepgram_query import ENCODINGS
from voicewire.streaming.protocols.language import LanguageTag
from voicewire.streaming.protocols.openai_answers import (
    Model,
    ModelList,
    TextDelta,
    TextDone,
    Transcription,
    VerboseTranscription,
)
from voicewire.streaming.protocols.openai_events import ErrorBody
from voicewire.streaming.protocols.openai_rest import ResponseFormat

Json = dict[str, Any]

_ABOUT = """\
Health, metrics, and recordings in the shapes of OpenAI's and Deepgram's interfaces: a client of either is given
this server's address. docs/protocols.md says what of each there is. Live audio goes over websockets: `/v1/stream`
is in the AsyncAPI document at `/asyncapi.json`; `/v1/listen`, `/v1/realtime` and `/vosk` are as their own clients
have them. Keys are needed only where the server was started with `api_keys`."""

_MODELS: tuple[type[BaseModel], ...] = (
    *(Health, Readiness, Denial, FileAnswer, Refusal, ErrorBody),
    *(Transcription, VerboseTranscription, TextDelta, TextDone, Model, ModelList),
)
_REFUSED = {
    400: "a parameter or a recording that cannot be; the message says which and why",
    401: "a key is asked for, and this is none that the server knows",
    403: "a browser's page of an origin that is not allowed",
    404: "there is no such model",
    413: "more bytes than the server takes of a recording",
    426: "this is a websocket: connect with ws:// or wss://",
    429: "the key has all its sessions in use",
    503: "no session can be had now",
}
_OF_A_HANDSHAKE = (401, 403, 429, 503)
_OF_A_RECORDING = (400, 413, *_OF_A_HANDSHAKE)
_METRICS = ("text/plain", "application/openmetrics-text")
_WITH_KEY: list[Json] = [{}, {"bearer": []}, {"header": []}]
_BINARY = {"type": "string", "format": "binary"}
_FLAG = {"type": "string", "enum": ["true", "false"], "default": "false"}


def document() -> Json:
    """OpenAPI 3.1; the schemas lie in `components/schemas`, by the models' names."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "voicewire over HTTP",
            "version": "1",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            **_standing(),
            "/v1/audio/transcriptions": {"post": _transcription()},
            "/v1/models": {
                "get": _operation("models", "The list of models: there is one.", _told(ModelList)),
            },
            "/v1/models/{name}": {
                "get": {
                    **_operation("model", "One model.", _told(Model) | _refusals(ErrorBody, 404)),
                    "parameters": [
                        _parameter("name", {"type": "string", "pattern": "^[A-Za-z0-9._/-]+$"}, where="path")
                    ],
                }
            },
            "/v1/listen": {"post": _listen()},
            "/v1/stream": {
                method: _operation(
                    f"{method}_without_handshake",
                    "The native websocket, asked for without a websocket handshake.",
                    _refusals(Denial, 401, 403, 426),
                    security=_WITH_KEY,
                )
                for method in ("get", "post")
            },
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def text() -> str:
    """The content of docs/openapi.json."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def listen_parameters() -> list[Json]:
    """The query of `/v1/listen`, of which unknown parameters are ignored."""
    return [
        _parameter("model", {"type": "string"}, "any: there is one model, and the name is said back"),
        _parameter("language", _schema_of(LanguageTag), "a language that the model knows, such as en-US"),
        _parameter("encoding", {"type": "string", "enum": list(ENCODINGS)}, "of audio without a header"),
        _parameter("sample_rate", _schema_of(SampleRate), "needed with linear16, linear32, mulaw and alaw"),
        _parameter("channels", {"type": "integer", "minimum": 1, "maximum": 2}, "two are averaged"),
        _parameter("punctuate", _FLAG, "transcripts with punctuation and capitals"),
        _parameter("smart_format", _FLAG, "the same"),
        _parameter("utterances", _FLAG, "the answer has its utterances"),
    ]


def transcription_form() -> Json:
    """The schema of the form of `/v1/audio/transcriptions`, of which unknown fields are ignored."""
    return {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {**_BINARY, "description": "any container or codec that FFmpeg reads"},
            "model": {"type": "string", "description": "any: there is one model"},
            "language": _schema_of(LanguageTag),
            "response_format": {"type": "string", "enum": list(get_args(ResponseFormat)), "default": "json"},
            "timestamp_granularities[]": {
                "type": "array",
                "items": {"type": "string", "enum": ["word", "segment"]},
                "description": "with response_format=verbose_json alone",
            },
            "stream": {**_FLAG, "description": "server-sent events, text as it comes"},
        },
    }


def _standing() -> Json:
    """What is said to those who only ask."""
    seats = _parameter("seats", {"type": "string"}, "with any value: whether a slot is free now")
    metrics = {kind: {"schema": {"type": "string"}} for kind in _METRICS}
    return {
        "/healthz": {
            "get": _operation("health", "Whether the process is worth keeping.", _told(Health, 200, 503))
        },
        "/readyz": {
            "get": {
                **_operation("readiness", "Whether sessions are served.", _told(Readiness, 200, 503)),
                "parameters": [seats],
            }
        },
        "/metrics": {
            "get": _operation(
                "metrics",
                "What Prometheus reads, unless the settings leave it out.",
                {"200": {"description": "OK", "content": metrics}} | _refusals(Denial, 401, 403),
                security=_WITH_KEY,
            )
        },
        **{
            path: {"get": _operation(name, f"{title}.", {"200": _content("OK", {"type": "object"})})}
            for path, name, title in (
                ("/openapi.json", "openapi", "This document"),
                ("/asyncapi.json", "asyncapi", "The native websocket protocol"),
            )
        },
    }


def _transcription() -> Json:
    answers = {
        "application/json": {
            "schema": {"anyOf": [_reference(Transcription), _reference(VerboseTranscription)]}
        },
        **{kind: {"schema": {"type": "string"}} for kind in ("text/plain", "text/vtt")},
        "text/event-stream": {"schema": _event()},
    }
    return {
        **_operation(
            "transcribe",
            "A recording, as OpenAI's clients send it.",
            {"200": {"description": "OK", "content": answers}} | _refusals(ErrorBody, *_OF_A_RECORDING),
            security=_WITH_KEY,
        ),
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": transcription_form()}},
        },
    }


def _event() -> Json:
    """Of each event of a stream."""
    held = [_reference(model) for model in (TextDelta, TextDone, ErrorBody)]
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": held}}
    return {
        "type": "object",
        "description": "each event: text to be appended, the whole text, or an `error` that ends the stream",
        "properties": {"event": {"enum": ["message", "error"]}, "data": data},
        "required": ["data"],
    }


def _listen() -> Json:
    kinds = ("application/octet-stream", "audio/*")
    return {
        **_operation(
            "listen",
            "A recording, as Deepgram's clients send it: a file, or raw audio with `encoding`.",
            _told(FileAnswer) | _refusals(Refusal, *_OF_A_RECORDING),
            security=_WITH_KEY,
        ),
        "parameters": listen_parameters(),
        "requestBody": {"required": True, "content": {kind: {"schema": _BINARY} for kind in kinds}},
    }


def _operation(name: str, summary: str, responses: Json, **rest: Any) -> Json:
    return {"operationId": name, "summary": summary, **rest, "responses": responses}


def _parameter(name: str, schema: Json, description: str = "", where: str = "query") -> Json:
    found = {"name": name, "in": where, "required": where == "path", "schema": schema}
    return found | ({"description": description} if description else {})


def _told(model: type[BaseModel], *statuses: int) -> Json:
    """One answer, whatever the status."""
    return {
        str(status): _content(HTTPStatus(status).phrase, _reference(model)) for status in statuses or (200,)
    }


def _refusals(model: type[BaseModel], *statuses: int) -> Json:
    return {str(status): _content(_REFUSED[status], _reference(model)) for status in statuses}


def _content(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _schema_of(kind: Any) -> Json:
    return TypeAdapter(kind).json_schema()


def _schemas() -> Json:
    _, schema = TypeAdapter.json_schemas(
        [(model.__name__, "serialization", TypeAdapter(model)) for model in _MODELS],
        ref_template="#/components/schemas/{model}",
    )
    schemas: Json = schema["$defs"]
    return schemas


if __name__ == "__main__":
    print(text(), end="")
