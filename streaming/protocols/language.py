"""Languages as other protocols name them, such as en-US; Whisper has the first part alone."""

import re
from typing import Annotated

from pydantic import Field

from voicewire.streaming.errors import ParameterError

_TAG = r"^[A-Za-z]{2,20}([-_][A-Za-z0-9]{1,8})*$"
LanguageTag = Annotated[str, Field(min_length=2, max_length=20, pattern=_TAG)]


def tag_of(value: str) -> str:
    """The value itself. Raises ParameterError where it names no language."""
    if len(value) > 20 or not re.fullmatch(_TAG, value):
        raise ParameterError("language", f"{value[:40]!r} is no language: use a code such as en-US")
    return value


def code_of(tag: str) -> str:
    """As Whisper has it: `en` of en-US and of en_US."""
    return tag.replace("_", "-").partition("-")[0].lower()
