"""The protocol's models, their schema, and the document about them: none may say what another does not."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from pydantic import BaseModel, ValidationError

from voicewire.streaming import messages
from voicewire.streaming.messages import (
    CLOSE_CODES,
    WARNINGS,
    ErrorCode,
    json_schema,
    parse_client_message,
    parse_server_message,
    schema_text,
)
from voicewire.streaming.settings import ServerSettings

DOCS = Path(__file__).resolve().parent.parent / "docs"
PROSE = (DOCS / "protocol.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PROSE, re.DOTALL)]
TRANSCRIPT = re.findall(r"```transcript\n(.*?)```", PROSE, re.DOTALL)[0].splitlines()


def models_of(union: Any) -> list[type[BaseModel]]:
    return list(get_args(get_args(union)[0]))


CLIENT, SERVER = models_of(messages.ClientMessage), models_of(messages.ServerMessage)
CLIENT_TYPES = {model.model_fields["type"].default for model in CLIENT}


def validator(root: str) -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{root}", "$defs": schema["$defs"]})


def section(title: str) -> str:
    """The prose below one heading, up to the next of its rank."""
    match = re.search(rf"^### `?{title}`?\n(.*?)(?=^##|\Z)", PROSE, re.MULTILINE | re.DOTALL)
    assert match, f"no section {title}"
    return match[1]


# ---- the document


def test_there_is_an_example_of_every_message() -> None:
    shown = {example["type"] for example in EXAMPLES}
    assert shown == {model.model_fields["type"].default for model in [*CLIENT, *SERVER]}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["type"])
def test_the_document_s_examples_are_messages(example: dict[str, Any]) -> None:
    of_client = example["type"] in CLIENT_TYPES
    parse = parse_client_message if of_client else parse_server_message
    message = parse(json.dumps(example))
    validator("ClientMessage" if of_client else "ServerMessage").validate(example)
    # Nothing is in the example that the model passes over, and nothing is left out.
    assert message.model_dump(mode="json", exclude_unset=True) == example
    if not of_client:
        assert message.model_fields_set == set(type(message).model_fields)


def test_the_document_s_session_is_one() -> None:
    spoken: list[str] = []
    numbers = []
    for line in TRANSCRIPT:
        who, content = line[:3], line[3:]
        if content.startswith("("):
            continue
        fields = json.loads(content)
        if who == "C: ":
            parse_client_message(content)
            continue
        parse_server_message(content)
        numbers += [fields["seq"]] if "seq" in fields else []
        if fields["type"] == "transcript":
            assert fields["text"] == "".join(word["word"] for word in fields["words"])
            assert fields["tail_text"] == "".join(word["word"] for word in fields["tail"])
            received, processed = fields["audio_received"], fields["audio_processed"]
            assert fields["buffered_ms"] == round(1000 * (received - processed))
            spoken += [word["word"] for word in fields["words"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert fields["totals"]["words"] == len(spoken)


@pytest.mark.parametrize("model", [*CLIENT, *SERVER], ids=lambda model: model.__name__)
def test_every_field_is_documented(model: type[BaseModel]) -> None:
    prose = section(model.model_fields["type"].default)
    nested = [field.annotation for field in model.model_fields.values()]
    for name in model.model_fields:
        assert f"`{name}`" in prose, name
    for kind in nested:
        if isinstance(kind, type) and issubclass(kind, BaseModel) and model.__name__ != "Configured":
            for name in kind.model_fields:
                assert f"`{name}`" in prose, name


def test_every_field_of_a_word_is_documented() -> None:
    for name in messages.WordItem.model_fields:
        assert f"`{name}`" in section("transcript")


def test_every_encoding_is_documented() -> None:
    for encoding in get_args(messages.Encoding):
        assert f"`{encoding}`" in section("Audio")


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_is_documented_with_what_follows(code: ErrorCode) -> None:
    rows = [line.split("|") for line in PROSE.splitlines() if line.startswith(f"| `{code}` | ")]
    assert len(rows) == 1
    _, _, ends, close_code, cause, remedy, _ = (cell.strip() for cell in rows[0])
    assert cause
    assert remedy
    if code in WARNINGS:
        assert (ends, close_code) == ("no: a warning", "")
        assert code not in CLOSE_CODES
    else:
        assert ends.startswith(("at once", "after the words"))
        assert int(close_code) == CLOSE_CODES[code]


def test_every_limit_is_documented_with_its_default() -> None:
    prose = PROSE[PROSE.index("\n## Limits") : PROSE.index("\n## Pace")]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", prose, re.MULTILINE))
    told = set(re.findall(r"^\| `(\w+)` .*\| yes \|$", prose, re.MULTILINE))
    fields = list(ServerSettings.model_fields)
    limits = fields[fields.index("max_sessions") :]
    assert set(rows) == set(limits)
    for name, default in rows.items():
        assert float(default) == ServerSettings.model_fields[name].default
    assert told == set(messages.Limits.model_fields)


# ---- the schema


def test_the_schema_in_the_documents_is_the_models() -> None:
    written = (DOCS / "protocol.schema.json").read_text()
    assert written == schema_text(), (
        "regenerate: python -m voicewire.streaming.messages > docs/protocol.schema.json"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "start", "encoding": "pcm_s16le"},
        {"encoding": "pcm_s16le", "sample_rate": 16_000},
        {"type": "start", "encoding": "pcm_s16le", "sample_rate": 16_000, "colour": "blue"},
        {"type": "start", "encoding": "mp3", "sample_rate": 16_000},
        {"type": "start", "encoding": "opus", "sample_rate": 96_000},
        {"type": "configure", "chunk_ms": 110},
        {"type": "flush", "id": ["x"]},
        {"type": "begin"},
        [],
    ],
    ids=str,
)
def test_schema_and_models_refuse_the_same(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        parse_client_message(json.dumps(wrong))
    with pytest.raises(jsonschema.ValidationError):
        validator("ClientMessage").validate(wrong)


# ---- the models


def test_client_messages_are_strict() -> None:
    with pytest.raises(ValidationError):
        parse_client_message('{"type": "start", "encoding": "opus", "sample_rate": "48000"}')
    with pytest.raises(ValidationError):
        parse_client_message('{"type": "start", "encoding": "opus", "sample_rate": 48000, "interim": 1}')


def test_server_messages_may_grow() -> None:
    later = {"type": "speech_started", "seq": 1, "time": 0.5, "loudness": 3}
    assert parse_server_message(json.dumps(later)) == messages.SpeechStartedMessage(seq=1, time=0.5)


def test_every_code_closes_or_warns() -> None:
    assert set(CLOSE_CODES) | WARNINGS == set(ErrorCode)
    assert not set(CLOSE_CODES) & WARNINGS
    # RFC 6455, 7.4: what a server may send, and what the registry has for it.
    assert set(CLOSE_CODES.values()) <= {1007, 1008, 1009, 1011, 1012, 1013}
