"""Transcription without a server: what is wanted of recordings, what answers it, and what that needs installed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from voicewire.client.audio_files import AudioFile
from voicewire.client.errors import CommandError, MissingPackageError
from voicewire.streaming.messages import WordItem
from voicewire.streaming.subtitles.transcripts import TimedTranscript

if TYPE_CHECKING:
    from voicewire.asr.events import Word

SAMPLE_RATE = 16_000
# What the recogniser's resampler takes; a recording at another rate is read at 16 kHz.
RATES = (8_000, 48_000)
# Instead of a language: Whisper finds out by itself, offline only.
DETECT = "auto"

# Told how many seconds of the file have been dealt with since it was told before.
Heard = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model to load, and how to run it; the words are those of `voicewire.asr`."""

    model: str = "base"
    adapter: str = "default"
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of each recording.

    Attributes:
        language: that is spoken, as Whisper's code; "auto" has it found out, offline only.
        translate: English, whatever is spoken; offline only.
        channels: the channels are transcribed apart, since each is a speaker's.
        speakers: their names, channel by channel; none are "Speaker 1" and so on.
        skip_silence: long silences are not given to the model; offline only.
        keyterms: names and terms that are likely to be said; streaming only.
    """

    language: str = "en"
    translate: bool = False
    channels: bool = False
    speakers: tuple[str, ...] = ()
    skip_silence: bool = True
    keyterms: tuple[str, ...] = ()

    def speakers_of(self, audio: AudioFile) -> tuple[str, ...]:
        """A name for each channel, none where they are mixed. Raises CommandError for too few names or many."""
        if not self.channels or (audio.channels == 1 and not self.speakers):
            return ()
        if self.speakers and len(self.speakers) != audio.channels:
            raise CommandError(
                f"{audio.name} has {audio.channels} channel{'s' * (audio.channels > 1)}, "
                f"not one for each of {', '.join(self.speakers)}"
            )
        return self.speakers or tuple(f"Speaker {number + 1}" for number in range(audio.channels))


class LocalTranscriber(Protocol):
    """A loaded model that transcribes recordings, one for each thread that asks."""

    def transcribe(self, audio: AudioFile, heard: Heard) -> TimedTranscript:
        """Raises AudioFileError where the file turns out to be damaged, CommandError where the model fails."""

    def close(self) -> None:
        """Ends it, when nothing is asked of it any more."""

    def kill(self) -> None:
        """Ends it at once: whoever waits for a transcript gets a CommandError."""


@contextmanager
def server_packages(extras: str = "server,weights") -> Iterator[None]:
    """Turns what the other rooms raise into errors of the client, which say what to do.

    Args:
        extras: what brings the packages that are needed inside.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"this needs the package {error.name}, which the client alone does not bring: "
            f"pip install 'voicewire[{extras}]'"
        ) from error
    except Exception as error:
        # By name: their classes cannot be imported where their packages are missing.
        if {base.__name__ for base in type(error).__mro__} & {"AsrError", "CodecError", "StreamingError"}:
            raise CommandError(str(error)) from error
        raise


def word_item(word: "Word") -> WordItem:
    """The recogniser's word as that of the protocol."""
    return WordItem(
        word=word.text,
        start=word.start_s,
        end=word.end_s,
        probability=word.probability,
        emitted=word.emitted_s,
    )
