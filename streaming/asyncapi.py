"""The native protocol as an AsyncAPI document, made of the messages' models: docs/asyncapi.json.

`python -m voicewire.streaming.asyncapi` prints it. The operations are the server's: what it receives and sends.
"""

import json
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from voicewire.streaming import messages
from voicewire.streaming.messages import PROTOCOL_VERSION

_ABOUT = """\
One websocket is one session. It begins with `start`, or with `resume` where a connection was lost; audio follows
in binary messages, and words come as they are spoken. docs/protocol.md tells the order of things, every code and
every limit. Fields that a client does not know are to be ignored. A handshake may be refused with an HTTP status:
these are in the OpenAPI document of the same server. Keys are needed only where the server was started with
`api_keys`."""

# What answers a client's message, besides an `error`.
_ANSWERS: dict[type[BaseModel], type[BaseModel]] = {
    messages.Start: messages.Ready,
    messages.Resume: messages.Resumed,
    messages.Configure: messages.Configured,
    messages.Flush: messages.FlushedMessage,
    messages.Close: messages.Done,
}
_SENT, _RECEIVED = (
    get_args(get_args(union)[0]) for union in (messages.ServerMessage, messages.ClientMessage)
)
_CHANNEL = "#/channels/session"


def document() -> dict[str, Any]:
    """AsyncAPI 3.0; the schemas lie in `components/schemas`, by the models' names."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "voicewire native protocol",
            "version": str(PROTOCOL_VERSION),
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "here": {
                "host": "{host}",
                "protocol": "ws",
                "variables": {"host": {"default": "127.0.0.1:8765", "description": "name and port"}},
                "security": [_pointer("securitySchemes", name) for name in ("bearer", "header")],
            }
        },
        "channels": {
            "session": {
                "address": "/v1/stream",
                "description": "With `?resume` in the URL a connection begins with `resume` and takes no slot.",
                "messages": {name: _pointer("messages", name) for name in _messages()},
                "bindings": {"ws": {"method": "GET", "query": _QUERY}},
            }
        },
        "operations": _operations(),
        "components": {
            "messages": _messages(),
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "httpApiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def text() -> str:
    """The content of docs/asyncapi.json."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


_QUERY = {
    "type": "object",
    "properties": {"resume": {"type": "string", "description": "present; the server's name, or nothing"}},
}
_BINARY: dict[str, tuple[str, str]] = {
    "Audio": (
        "audio",
        "Audio in the encoding that `start` named, or records of tokens, cut anywhere it allows.",
    ),
    "Tokens": ("tokens", "Whole records of codec tokens, where `outputs` asked for them: docs/tokens.md."),
}


def _messages() -> dict[str, Any]:
    """What may be sent by either side, by the models' names; `name` is the `type` on the wire."""
    texts = {model.__name__: _message(model) for model in (*_RECEIVED, *_SENT)}
    binary = {
        key: {
            "name": name,
            "summary": summary,
            "contentType": "application/octet-stream",
            "payload": {"type": "string", "format": "binary"},
        }
        for key, (name, summary) in _BINARY.items()
    }
    return texts | binary


def _message(model: type[BaseModel]) -> dict[str, Any]:
    summary = (model.__doc__ or "").partition("\n")[0]
    return {
        "name": model.model_fields["type"].default,
        **({"summary": summary} if summary else {}),
        "payload": _pointer("schemas", model.__name__),
    }


def _operations() -> dict[str, Any]:
    """One for each message of a client's, with what answers it, and one for all that comes unasked."""
    found: dict[str, Any] = {}
    for model in _RECEIVED:
        operation = _operation("receive", [model.__name__])
        if model in _ANSWERS:
            answers = [_ANSWERS[model].__name__, messages.Error.__name__]
            operation["reply"] = {
                "channel": {"$ref": _CHANNEL},
                "messages": [_here(name) for name in answers],
            }
        found[f"take_{model.model_fields['type'].default}"] = operation
    found["take_audio"] = _operation("receive", ["Audio"])
    unasked = [model.__name__ for model in _SENT if model not in _ANSWERS.values()]
    found["tell"] = _operation("send", [*unasked, "Tokens"])
    return found


def _operation(action: str, names: list[str]) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": _CHANNEL}, "messages": [_here(name) for name in names]}


def _schemas() -> dict[str, Any]:
    _, schema = TypeAdapter.json_schemas(
        [
            *((model.__name__, "validation", TypeAdapter(model)) for model in _RECEIVED),
            *((model.__name__, "serialization", TypeAdapter(model)) for model in _SENT),
        ],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Any] = schema["$defs"]
    return schemas


def _pointer(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _here(name: str) -> dict[str, str]:
    """A message as the channel has it: operations may name no other."""
    return {"$ref": f"{_CHANNEL}/messages/{name}"}


if __name__ == "__main__":
    print(text(), end="")
