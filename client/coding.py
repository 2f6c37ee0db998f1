"""Recordings to codec tokens and back, in this process.

The codecs are imported when they are called, so that a bare install, which lacks what they need, can load this.
"""

import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import soundfile

from voicewire.client.audio_files import STDIN, AudioFile, Block
from voicewire.client.errors import CommandError
from voicewire.client.local import Heard, server_packages
from voicewire.client.pcm import pcm_bytes

if TYPE_CHECKING:
    from voicewire.codecs import Codec, TokenFile, TokenPipe

EXTRAS = "server,codecs"
# A pipe's length is not known when its header is written; readers take the largest number for that.
UNKNOWN_BYTES = 2**32 - 1


class SoundWriter(Protocol):
    """Where decoded samples go."""

    def write(self, samples: Block) -> None: ...


def load_codec(name: str, weights: Path | None) -> "Codec":
    """Raises CommandError where it cannot be had, MissingPackageError where packages are missing."""
    with server_packages(EXTRAS):
        from voicewire import codecs

        return codecs.load(name, weights)


def codebooks_of(codec: "Codec", kbps: float | None) -> int:
    """Codes per frame at this bitrate; None is the highest there is. Raises CommandError."""
    with server_packages(EXTRAS):
        from voicewire.codecs import codebooks_at

        return codec.codebooks if kbps is None else codebooks_at(codec, kbps)


def encode(
    audio: AudioFile,
    codec: "Codec",
    codebooks: int,
    write: Callable[[bytes], object],
    live: bool,
    heard: Heard,
) -> None:
    """The tokens of a recording, as they become certain.

    Args:
        write: takes the bytes.
        live: each block's tokens at once, at more bytes.
        heard: told how many seconds have been dealt with.

    Raises:
        AudioFileError: the file turns out to be damaged.
        CommandError: the codec fails.
    """
    with server_packages(EXTRAS):
        from voicewire.codecs import Hello, TokenWriter, encoder_stream
        from voicewire.codecs.framing import RECORD_S

        stream = encoder_stream(codec, codebooks)
        writer = TokenWriter(Hello.of(codec), 0.0 if live else RECORD_S)
        write(writer.begin())
        for block in resampled(audio, codec.sample_rate):
            write(writer.write(stream.push(block)))
            heard(len(block) / codec.sample_rate)
        write(writer.write(stream.flush()) + writer.end())


def resampled(audio: AudioFile, sample_rate: int) -> Iterator[Block]:
    """The recording at this rate, exactly `round(samples * sample_rate / audio.sample_rate)` samples of it."""
    if audio.sample_rate == sample_rate:
        yield from audio.blocks()
        return
    import soxr

    stream = soxr.ResampleStream(audio.sample_rate, sample_rate, 1, dtype="float32")
    taken = given = 0
    for block in audio.blocks():
        part = stream.resample_chunk(block)
        taken, given = taken + len(block), given + len(part)
        yield part
    # soxr rounds the end its own way, now and then a sample short, so it is given some silence to end in.
    rest = stream.resample_chunk(np.zeros(audio.sample_rate // 100 + 1, np.float32), last=True)
    yield rest[: round(taken * sample_rate / audio.sample_rate) - given]


@contextmanager
def open_tokens(path: str) -> "Iterator[TokenFile | TokenPipe]":
    """A file of tokens, or standard input. Raises CommandError where it is none, or cannot be read."""
    with server_packages(EXTRAS), ExitStack() as stack:
        from voicewire.codecs import TokenFile, TokenPipe

        try:
            opened = TokenPipe(sys.stdin.buffer) if path == STDIN else stack.enter_context(TokenFile(path))
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror or error}") from error
        yield opened


def decode(
    tokens: "TokenFile | TokenPipe",
    codec: "Codec",
    start_s: float,
    duration_s: float | None,
    write: Callable[[Block], object],
    heard: Heard,
) -> str | None:
    """The sound of tokens from a moment on.

    Args:
        write: takes the samples.
        heard: told how many seconds have been written.

    Returns:
        What is wrong with the tokens, where they are cut short or damaged: all before that has been written.

    Raises:
        CommandError: the codec cannot read them, or has no sound.
    """
    with server_packages(EXTRAS):
        from voicewire.codecs import DamagedTokensError

        try:
            for samples in tokens.sound(codec, start_s, duration_s):
                write(samples)
                heard(len(samples) / codec.sample_rate)
        except DamagedTokensError as error:
            return str(error)
    return None


@contextmanager
def open_sound(path: Path, sample_rate: int) -> Iterator[SoundWriter]:
    """A sound file in the format that its suffix names, of one channel."""
    try:
        with soundfile.SoundFile(path, "w", samplerate=sample_rate, channels=1) as file:
            yield file
    except (TypeError, soundfile.SoundFileError) as error:
        raise CommandError(
            f"{path} cannot be written ({error}): take a name in .wav, .flac or .ogg"
        ) from error


class SoundPipe:
    """Standard output as a WAV file of 16-bit samples whose end is not known, or as such samples alone."""

    def __init__(self, sample_rate: int, *, raw: bool) -> None:
        self._file = sys.stdout.buffer
        if not raw:
            self._file.write(_wav_header(sample_rate))

    def write(self, samples: Block) -> None:
        self._file.write(pcm_bytes(samples, "pcm_s16le"))
        self._file.flush()


def _wav_header(sample_rate: int) -> bytes:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", UNKNOWN_BYTES, b"WAVE")
    return head + form + struct.pack("<4sI", b"data", UNKNOWN_BYTES)
