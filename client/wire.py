"""The protocol's messages as text, with the client's errors instead of pydantic's."""

import logging
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from voicewire.client.errors import ProtocolError, SettingError
from voicewire.streaming.messages import ServerMessage, parse_server_message

logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], **values: object) -> Model:
    """The message with these values; SettingError names every value outside the protocol's limits."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = (f"{item['loc'][-1]}: {item['msg']}, not {item['input']!r}" for item in error.errors())
        raise SettingError("; ".join(problems)) from error


def parsed(text: str) -> ServerMessage | None:
    """What the server said; None for a kind of message that this version does not know.

    Raises ProtocolError for anything that is not in the protocol.
    """
    try:
        return parse_server_message(text)
    except ValidationError as error:
        if any(item["type"] == "union_tag_invalid" for item in error.errors()):
            logger.debug("a message of an unknown type was passed over: %.200s", text)
            return None
        raise ProtocolError(f"the server sent what is not in the protocol: {text[:200]!r}") from error
