"""The query of Deepgram's `/v1/listen`, read: what is meant for this server, and nothing of what is not.

Deepgram has some fifty parameters. Those that would change what is heard or when are honoured, and refused where
they are wrong; the rest (smart formatting of numbers, redaction, tags, billing) are ignored.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from voicewire.asr.errors import SettingsError
from voicewire.asr.settings import StreamSettings
from voicewire.streaming.errors import ParameterError
from voicewire.streaming.messages import Encoding
from voicewire.streaming.protocols.language import code_of, tag_of

ENCODINGS: dict[str, Encoding] = {
    "linear16": "pcm_s16le",
    "linear32": "pcm_f32le",
    "mulaw": "mulaw",
    "alaw": "alaw",
    "opus": "opus",
    "ogg-opus": "ogg_opus",
    "flac": "flac",
}
# These carry their own rate; the native `start` wants one all the same.
_OWN_RATE = frozenset(("opus", "ogg_opus", "flac"))
_COMPRESSED_RATE = 48_000

# Deepgram ends an utterance after 10 ms of silence where nothing is said, which is in the middle of a sentence.
_ENDPOINT_MS = 300
_SHORTEST_MS, _LONGEST_MS = 200, 10_000
_DEFAULT_MODEL = "general"


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """What a client asks for.

    Attributes:
        model: as the client names it; there is one model, so it is only said back.
        language: as the client names it, for what is said back.
        encoding: None where the audio has a header that says so.
        sample_rate, channels: of raw audio.
        interim: whether interim results are wanted.
        formatted: whether transcripts have punctuation and capitals.
        endpoint_ms: silence that ends an utterance.
        endpoints: whether `speech_final` is ever true.
        utterance_end_s: silence after a word that is told as UtteranceEnd; None for never.
        vad_events: whether SpeechStarted is told.
        utterances: whether an answer about a file has its utterances.
        keyterms: names and terms that are likely to be said.
    """

    model: str = _DEFAULT_MODEL
    language: str = "en"
    encoding: Encoding | None = None
    sample_rate: int = _COMPRESSED_RATE
    channels: int = 1
    interim: bool = False
    formatted: bool = False
    endpoint_ms: int = _ENDPOINT_MS
    endpoints: bool = True
    utterance_end_s: float | None = None
    vad_events: bool = False
    utterances: bool = False
    keyterms: tuple[str, ...] = ()

    @property
    def language_code(self) -> str:
        """As Whisper has it. Deepgram's `multi` means several languages, of which English is the likeliest."""
        code = code_of(self.language)
        return "en" if code == "multi" else code


def parse_query(query: Iterable[tuple[str, str]]) -> ListenOptions:
    """Raises ParameterError. Of a parameter that comes several times the last one holds, but keyterms add up."""
    pairs = list(query)
    given = dict(pairs)
    encoding = _encoding(given.get("encoding"))
    interim = _flag(given, "interim_results")
    endpoint_ms, endpoints = _endpointing(given.get("endpointing"))
    return ListenOptions(
        model=given.get("model") or _DEFAULT_MODEL,
        language=tag_of(given.get("language") or "en"),
        encoding=encoding,
        sample_rate=_sample_rate(given.get("sample_rate"), encoding),
        channels=_channels(given),
        interim=interim,
        formatted=_flag(given, "punctuate") or _flag(given, "smart_format"),
        endpoint_ms=endpoint_ms,
        endpoints=endpoints,
        utterance_end_s=_utterance_end(given.get("utterance_end_ms"), interim),
        vad_events=_flag(given, "vad_events"),
        utterances=_flag(given, "utterances"),
        keyterms=_keyterms(pairs),
    )


def _encoding(value: str | None) -> Encoding | None:
    if not value:
        return None
    if value not in ENCODINGS:
        raise ParameterError("encoding", f"{_said(value)} is not known here: use {', '.join(ENCODINGS)}")
    return ENCODINGS[value]


def _sample_rate(value: str | None, encoding: Encoding | None) -> int:
    if encoding is None or encoding in _OWN_RATE:
        return _COMPRESSED_RATE
    if value is None:
        raise ParameterError("sample_rate", "missing: raw audio does not say what rate it has")
    return _number("sample_rate", value, 8_000, 48_000)


def _channels(given: dict[str, str]) -> int:
    channels = _number("channels", given.get("channels", "1"), 1, 2)
    if channels > 1 and _flag(given, "multichannel"):
        raise ParameterError(
            "multichannel", "channels are not told apart here: open a connection for each, or leave it out"
        )
    return channels


def _endpointing(value: str | None) -> tuple[int, bool]:
    """Milliseconds within what the recogniser can do, and whether endpoints are to be told."""
    if value is None or value.lower() == "true":
        return _ENDPOINT_MS, True
    if value.lower() == "false":
        return _ENDPOINT_MS, False
    asked = _number("endpointing", value, 0, 3_600_000)
    return min(max(asked, _SHORTEST_MS), _LONGEST_MS), True


def _utterance_end(value: str | None, interim: bool) -> float | None:
    if value is None or value.lower() == "false":
        return None
    milliseconds = _number("utterance_end_ms", value, 1000, 5000)
    if not interim:
        raise ParameterError("utterance_end_ms", "it needs interim_results=true")
    return milliseconds / 1000


def _keyterms(pairs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Of both names that Deepgram has for them; how strongly a keyword is wished for (`:2`) is not looked at."""
    terms = [
        value.partition(":")[0] if name == "keywords" else value
        for name, value in pairs
        if name in ("keyterm", "keywords") and value
    ]
    try:
        return StreamSettings(keyterms=tuple(terms)).keyterms
    except SettingsError as error:
        raise ParameterError("keyterm", str(error)) from error


def _number(name: str, value: str, low: int, high: int) -> int:
    # int() would take the digits of every script, and underscores.
    if value.isascii() and value.isdigit() and len(value) <= 9 and low <= int(value) <= high:
        return int(value)
    raise ParameterError(name, f"{_said(value)} is not a whole number from {low} to {high}")


def _flag(given: dict[str, str], name: str) -> bool:
    value = given.get(name, "false").lower()
    if value not in ("true", "false"):
        raise ParameterError(name, f"{_said(value)} is neither true nor false")
    return value == "true"


def _said(value: str) -> str:
    return repr(value[:40])
