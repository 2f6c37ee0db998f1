"""Wyoming, the protocol of Home Assistant's voice services, over native sessions: one for each utterance.

A connection may ask what there is (`describe`) and speak as often as it likes; a session begins with its audio and
ends with its transcript.
"""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voicewire.streaming.errors import SessionError
from voicewire.streaming.messages import (
    Close,
    Done,
    Error,
    ErrorCode,
    Ready,
    SampleRate,
    ServerMessage,
    Start,
    TranscriptMessage,
)
from voicewire.streaming.protocols.cutting import WholeSamples
from voicewire.streaming.protocols.facade import Reply, Step
from voicewire.streaming.protocols.language import LanguageTag, code_of
from voicewire.streaming.protocols.wyoming_frames import VERSION, Event, FrameReader

_ATTRIBUTION = {"name": "voicewire", "url": "https://github.com/openai/whisper"}
_ONLY_WIDTH = 2


class _Transcribe(BaseModel):
    model_config = ConfigDict(extra="ignore")

    language: LanguageTag | None = None


class _AudioFormat(BaseModel):
    """What `audio-start` and every `audio-chunk` say."""

    model_config = ConfigDict(extra="ignore")

    rate: SampleRate
    width: int = Field(ge=_ONLY_WIDTH, le=_ONLY_WIDTH)
    channels: int = Field(ge=1, le=2)


class Wyoming:
    """One connection.

    Args:
        model: the name of the model that listens.
        languages: those that it is offered for.
        most_payload_bytes: security limit: bytes of one event's audio.
    """

    def __init__(self, model: str, languages: tuple[str, ...], most_payload_bytes: int) -> None:
        self._model = model
        self._languages = languages
        self._frames = FrameReader(most_payload_bytes)
        self._language = languages[0]
        self._speaking = False
        self._failed = False
        self._samples = WholeSamples("pcm_s16le")
        self._text: list[str] = []

    # ---- from the client

    def begin(self) -> Iterator[Step]:
        yield from ()

    def receive_text(self, text: str) -> Iterator[Step]:
        raise SessionError(ErrorCode.BAD_MESSAGE, "this protocol is one of bytes")

    def receive_bytes(self, data: bytes) -> Iterator[Step]:
        for event in self._frames.push(data):
            yield from self._event(event)

    def _event(self, event: Event) -> Iterator[Step]:
        match event.type:
            case "describe":
                yield _reply(self._info())
            case "ping":
                text = event.data.get("text")
                yield _reply(Event("pong", {"text": text} if isinstance(text, str) else {}))
            case "transcribe":
                self._transcribe(event)
            case "audio-start":
                self._failed = False
                yield from self._start(event)
            # The rest of an utterance that failed belongs to nothing.
            case "audio-chunk" if not self._failed:
                yield from self._start(event)
                yield self._samples.cut(event.payload)
            case "audio-stop" if self._speaking:
                self._speaking = False
                yield Close()

    def _transcribe(self, event: Event) -> None:
        try:
            language = _Transcribe.model_validate(event.data).language
        except ValidationError as error:
            raise SessionError(ErrorCode.BAD_MESSAGE, "a language that is none") from error
        self._language = code_of(language or self._languages[0])

    def _start(self, event: Event) -> Iterator[Step]:
        if self._speaking:
            return
        try:
            audio = _AudioFormat.model_validate(event.data)
        except ValidationError as error:
            raise SessionError(
                ErrorCode.UNSUPPORTED_SETTING, "send 16-bit samples, 8000 to 48000 Hz, mono or stereo"
            ) from error
        self._speaking = True
        self._text = []
        self._samples = WholeSamples("pcm_s16le", audio.channels)
        yield Start(
            encoding="pcm_s16le", sample_rate=audio.rate, channels=audio.channels, language=self._language
        )

    # ---- from the session

    def tell(self, message: ServerMessage) -> Iterator[Step]:
        match message:
            case Ready():
                yield _reply(Event("transcript-start", {"language": self._language}))
            case TranscriptMessage() if message.text:
                # Clients append the pieces as they are.
                piece = message.text if self._text else message.text.lstrip()
                self._text.append(piece)
                yield _reply(Event("transcript-chunk", {"text": piece}))
            case Done():
                text = "".join(self._text)
                yield _reply(Event("transcript", {"text": text, "language": self._language}))
                yield _reply(Event("transcript-stop"))
            case Error():
                self._speaking, self._failed = False, True
                yield _reply(Event("error", {"text": message.message, "code": message.code.value}))

    def _info(self) -> Event:
        common = {"attribution": _ATTRIBUTION, "installed": True, "version": VERSION}
        model = {
            "name": self._model,
            "description": f"Whisper {self._model}, made causal",
            "languages": list(self._languages),
            **common,
        }
        program = {
            "name": "voicewire",
            "description": "streaming speech recognition",
            "models": [model],
            "supports_transcript_streaming": True,
            "requires_external_vad": True,
            **common,
        }
        return Event("info", {"asr": [program]})


def _reply(event: Event) -> Reply:
    return Reply(event.to_bytes())
