"""The AsyncAPI and OpenAPI documents: made of the code, and kept to by a running server."""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi import checks as about
from websockets.sync.client import connect

from tests.serving import START, get, pieces, real_engine, receive_all, speech, wait_for_slots
from voicewire.streaming import asyncapi, openapi
from voicewire.streaming.errors import ParameterError
from voicewire.streaming.protocols.deepgram_query import parse_query
from voicewire.streaming.protocols.openai_rest import TranscriptionRequest
from voicewire.streaming.server import RunningServer, create_app, running_server
from voicewire.streaming.settings import ServerSettings

pytestmark = pytest.mark.xdist_group("served")
DOCS = Path(__file__).resolve().parent.parent / "docs"
UPLOAD_BYTES = 100_000


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(upload_bytes=UPLOAD_BYTES), engine=real_engine()) as server:
        yield server
        wait_for_slots(server, 0, within_s=5)


# ---- the documents and the code


@pytest.mark.parametrize("made", [asyncapi, openapi], ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_committed_document_is_what_the_code_gives(made: Any) -> None:
    name = made.__name__.rpartition(".")[2]
    again = f"regenerate: python -m {made.__name__} > docs/{name}.json"
    assert (DOCS / f"{name}.json").read_text() == made.text(), again


def test_the_server_serves_them(server: RunningServer) -> None:
    for made, name in ((asyncapi, "asyncapi"), (openapi, "openapi")):
        status, document, headers = get(f"{server.http_url}/{name}.json")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert document == made.document()


def test_every_way_in_over_http_is_described() -> None:
    app = create_app(real_engine(), ServerSettings())
    served = {
        (route.path.replace(":path}", "}"), method.lower())
        for route in app.routes
        for method in getattr(route, "methods", None) or ()
        if method != "HEAD"
    }
    paths = openapi.document()["paths"]
    assert served == {(path, method) for path, item in paths.items() for method in item}


def test_every_reference_leads_somewhere() -> None:
    for document in (asyncapi.document(), openapi.document()):
        for target in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
            held = document
            for key in target.split("/"):
                held = held[key]


# ---- parameters, which are read by hand from strings


def refused(read: Callable[[list[tuple[str, str]]], object], given: dict[str, str]) -> bool:
    try:
        read(list(given.items()))
    except ParameterError:
        return True
    return False


PARAMETERS = {one["name"]: one["schema"] for one in openapi.listen_parameters()}
FIELDS = {
    name.removesuffix("[]"): schema.get("items", schema)
    for name, schema in openapi.transcription_form()["properties"].items()
    if name != "file"
}


@pytest.mark.parametrize(
    ("read", "known", "beside"),
    [
        (parse_query, PARAMETERS, {"sample_rate": "8000", "encoding": "linear16"}),
        (TranscriptionRequest.of, FIELDS, {"response_format": "verbose_json"}),
    ],
    ids=["listen", "transcriptions"],
)
def test_what_is_read_is_what_is_described(read: Any, known: dict[str, Any], beside: dict[str, str]) -> None:
    for name, schema in known.items():
        for value in edges(schema):
            assert not refused(read, beside | {name: value}), (name, value)
        for value in beyond(schema):
            assert refused(read, beside | {name: value}), (name, value)


def edges(schema: dict[str, Any]) -> list[str]:
    """Values that a schema takes, at its bounds."""
    if schema["type"] == "integer":
        return [str(schema["minimum"]), str(schema["maximum"])]
    return schema.get("enum") or ["x" * schema.get("minLength", 1), "x" * schema.get("maxLength", 100)]


def beyond(schema: dict[str, Any]) -> list[str]:
    """Values just outside."""
    if schema["type"] == "integer":
        return [str(schema["minimum"] - 1), str(schema["maximum"] + 1), "x"]
    if "enum" in schema:
        return ["x"]
    return ["x" * (schema["maxLength"] + 1), "x"] if "maxLength" in schema else []


# ---- REST, with a client that is made of the document


def wav(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, speech(seconds), 16_000, format="WAV")
    return file.getvalue()


RECORDINGS = st.sampled_from([wav(2.0), wav(0.0), b"", b"RIFF", bytes(UPLOAD_BYTES + 1)]) | st.binary(
    max_size=99
)
schemathesis.openapi.format("binary", RECORDINGS)
CHECKS = [
    about.status_code_conformance,
    about.content_type_conformance,
    about.response_schema_conformance,
    about.response_headers_conformance,
]
OPERATIONS: dict[str, Any] = {
    found.ok().definition.raw["operationId"]: found.ok()
    for found in schemathesis.openapi.from_dict(openapi.document()).get_all_operations()
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_server_answers_as_the_document_says(name: str, server: RunningServer) -> None:
    operation = OPERATIONS[name]

    @settings(max_examples=20 if operation.body else 4, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy())
    def ask(case: Any) -> None:
        case.validate_response(case.call(base_url=server.http_url, timeout=30), checks=CHECKS)

    ask()


@pytest.mark.parametrize(
    "form",
    [
        {"response_format": "json"},
        {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"]},
        {"response_format": "vtt"},
        {"stream": "true"},
    ],
    ids=str,
)
def test_a_transcription_is_as_the_document_says(form: dict[str, Any], server: RunningServer) -> None:
    case = OPERATIONS["transcribe"].Case(body={"file": wav(2.0), **form}, media_type="multipart/form-data")
    answer = case.call(base_url=server.http_url, timeout=30)
    assert answer.status_code == 200
    assert "rinting" in answer.text
    case.validate_response(answer, checks=CHECKS)


@pytest.mark.parametrize("language", ["e-US", "Ȃɓȼ", "en us"])
def test_what_names_no_language_is_refused_in_words(language: str, server: RunningServer) -> None:
    recording = wav(0.0)
    form = {"file": recording, "language": language}
    listen = {"query": {"language": language}, "body": recording, "media_type": "application/octet-stream"}
    for case in (
        OPERATIONS["listen"].Case(**listen),
        OPERATIONS["transcribe"].Case(body=form, media_type="multipart/form-data"),
    ):
        answer = case.call(base_url=server.http_url, timeout=30)
        assert answer.status_code == 400
        case.validate_response(answer, checks=CHECKS)


# ---- the native protocol, by a real session


def test_every_message_of_a_session_is_as_the_document_says(server: RunningServer) -> None:
    said = [
        START | {"resume": True},
        {"type": "configure", "endpoint_ms": 400},
        {"type": "ack", "received": 1},
    ]
    with connect(server.url, ping_interval=None, close_timeout=5, max_size=None) as websocket:
        for message in said:
            websocket.send(json.dumps(message))
        for piece in pieces(speech(5.0).tobytes() + bytes(64_000), 9600):
            websocket.send(piece)
        said += [{"type": "flush", "id": "turn"}, {"type": "keepalive"}, {"type": "close"}]
        for message in said[-3:]:
            websocket.send(json.dumps(message))
        told = receive_all(websocket)
    assert {"ready", "configured", "speech_started", "transcript", "endpoint", "flushed", "done"} <= types(
        told
    )
    for message in said:
        described("receive", message)
    for message in told:
        described("send", message)


def test_an_error_is_as_the_document_says(server: RunningServer) -> None:
    with connect(server.url, ping_interval=None, close_timeout=5) as websocket:
        websocket.send('{"type": "begin"}')
        [error] = receive_all(websocket)
    assert types([error]) == {"error"}
    described("send", error)


def types(messages: list[dict[str, Any]]) -> set[str]:
    return {message["type"] for message in messages}


def described(action: str, content: dict[str, Any]) -> None:
    """Validates a message against what the document has of its type, for one who receives or one who sends."""
    document = asyncapi.document()
    names = set()
    for operation in document["operations"].values():
        if operation["action"] == action:
            names |= {one["$ref"].rpartition("/")[2] for one in operation["messages"]}
        if action == "send":
            names |= {
                one["$ref"].rpartition("/")[2] for one in operation.get("reply", {}).get("messages", ())
            }
    messages = document["components"]["messages"]
    [payload] = [messages[name]["payload"] for name in names if messages[name]["name"] == content["type"]]
    jsonschema.Draft7Validator({**payload, "components": document["components"]}).validate(content)
