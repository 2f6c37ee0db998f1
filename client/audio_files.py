"""Audio from files and standard input: any format that soundfile or PyAV reads, as blocks of float32: mono, or the
channels apart.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

import av
import numpy as np
import numpy.typing as npt
import soundfile

from voicewire.client.errors import AudioFileError
from voicewire.streaming.messages import Encoding

Block: TypeAlias = npt.NDArray[np.float32]

STDIN = "-"
BLOCK_S = 0.5
# A jump of the container's own times by more than this is silence that was not stored, and becomes silence here:
# words keep the times that a player shows. A jump beyond the second bound is taken for damage.
GAP_S = 0.1
LONGEST_GAP_S = 3600.0
# libsndfile's reader of these writes its complaints to standard error, so FFmpeg has them.
MPEG_SUFFIXES = frozenset((".mp1", ".mp2", ".mp3", ".mpga"))


class _Reader(Protocol):
    """One way of reading; `pieces` may raise AudioFileError or the library's own errors.

    Pieces are (samples, channels), any number of samples.
    """

    sample_rate: int
    channels: int
    duration_s: float | None

    def pieces(self) -> Iterator[Block]: ...
    def close(self) -> None: ...


class AudioFile(AbstractContextManager["AudioFile"]):
    """An open file; `open_audio` makes it.

    Attributes:
        name: the file as it was named.
        encoding: as which its blocks are sent.
        sample_rate: of the samples that `blocks` gives, in Hz.
        channels: how many the file has.
        duration_s: as the file states it; None where it does not.
    """

    encoding: Encoding = "pcm_s16le"

    def __init__(self, name: str, reader: _Reader, sample_rate: int) -> None:
        self.name = name
        self.sample_rate = sample_rate
        self.channels = reader.channels
        self.duration_s = reader.duration_s
        self._reader = reader

    def blocks(self, block_s: float = BLOCK_S) -> Iterator[Block]:
        """The samples from where reading stands, in blocks of `block_s` seconds (the last one is shorter).

        Each block is ``(samples,)`` float32 from -1 to 1, the average of the channels. Raises AudioFileError where
        the file is damaged, or holds no sound at all.
        """
        pieces = (piece.mean(axis=1, dtype=np.float32) for piece in self._reader.pieces())
        yield from self._cut(pieces, block_s)

    def channel_blocks(self, block_s: float = BLOCK_S) -> Iterator[Block]:
        """As `blocks`, with the channels apart: each block is ``(channels, samples)``."""
        for block in self._cut(self._reader.pieces(), block_s):
            yield np.ascontiguousarray(block.T)

    def _cut(self, pieces: Iterable[Block], block_s: float) -> Iterator[Block]:
        """Pieces at the file's own rate, whose first axis is time, as blocks at ours."""
        if self.sample_rate != self._reader.sample_rate:
            pieces = _resampled(pieces, self._reader.sample_rate, self.sample_rate)
        empty = True
        try:
            for block in _recut(pieces, max(1, round(block_s * self.sample_rate))):
                empty = False
                # A file of floats may hold anything; what is no number is silence.
                yield np.nan_to_num(block, posinf=0.0, neginf=0.0)
        except _LIBRARY_ERRORS as error:
            raise AudioFileError(f"{self.name} is damaged: {_reason(error)}") from error
        if empty:
            raise AudioFileError(f"{self.name} holds no sound: its audio track is empty")

    def seconds_of(self, block: Block) -> float:
        return len(block) / self.sample_rate

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_audio(
    path: str | Path,
    *,
    raw_rate: int | None = None,
    rates: tuple[int, int] = (1, 1_000_000),
    track: int | None = None,
) -> AudioFile:
    """Opens a file, an audio track of a video, or standard input::

        with open_audio("talk.mp4") as audio:
            for block in audio.blocks():
                ...                      # (samples,) float32 at audio.sample_rate

    Args:
        path: the file, or ``-`` for standard input.
        raw_rate: the input has no header: it is signed 16-bit little-endian samples of one channel at this rate.
        rates: audio at a rate outside these bounds is resampled to 16 kHz.
        track: which of the audio tracks, from 1 on; None is the first.

    Raises:
        AudioFileError: there is no such file, track, or it is not audio; the message says why.
    """
    name = "standard input" if str(path) == STDIN else str(path)
    reader = _open_reader(path, name, raw_rate, track)
    low, high = rates
    return AudioFile(name, reader, reader.sample_rate if low <= reader.sample_rate <= high else 16_000)


def _open_reader(path: str | Path, name: str, raw_rate: int | None, track: int | None) -> _Reader:
    if str(path) == STDIN:
        pipe = _Pipe(sys.stdin.fileno(), closes=False)
        return _RawReader(pipe, raw_rate) if raw_rate else _open_container(pipe, name, track or 1)
    path = Path(path)
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise AudioFileError(f"{name} is empty")
    except IsADirectoryError as error:
        raise AudioFileError(f"{name} is a folder, not a file") from error
    except OSError as error:
        raise AudioFileError(f"{name} cannot be read: {error.strerror or error}") from error
    if raw_rate:
        return _RawReader(_Pipe(path), raw_rate)
    # libsndfile knows no tracks.
    if path.suffix.lower() not in MPEG_SUFFIXES and (track or 1) == 1:
        try:
            return _SoundFileReader(soundfile.SoundFile(path))
        except (
            soundfile.SoundFileError,
            TypeError,
        ):  # TypeError: a name in .raw, which says nothing of its rate
            pass
    return _open_container(path.resolve(), name, track or 1)


class _SoundFileReader:
    def __init__(self, sound: soundfile.SoundFile) -> None:
        self._sound = sound
        self.sample_rate, self.channels = int(sound.samplerate), int(sound.channels)
        # libsndfile says the largest number there is where it cannot know.
        known = 0 < sound.frames < 2**62
        self.duration_s: float | None = sound.frames / sound.samplerate if known else None

    def pieces(self) -> Iterator[Block]:
        while len(block := self._sound.read(self.sample_rate // 2, dtype="float32", always_2d=True)):
            yield block

    def close(self) -> None:
        self._sound.close()


class _RawReader:
    """Samples without a header: signed, 16 bits, little-endian, one channel."""

    def __init__(self, file: "_Pipe", sample_rate: int) -> None:
        self._file = file
        self.sample_rate, self.channels = sample_rate, 1
        self.duration_s: float | None = None

    def pieces(self) -> Iterator[Block]:
        odd = b""
        while data := self._file.read(64 * 1024):
            data = odd + data
            whole = len(data) // 2 * 2
            odd = data[whole:]
            yield np.frombuffer(data[:whole], "<i2").astype(np.float32)[:, None] / np.float32(32768.0)

    def close(self) -> None:
        self._file.close()


class _Pipe:
    """A file that gives what has come instead of waiting until a whole buffer is full, and does not seek."""

    def __init__(self, file: Path | int, *, closes: bool = True) -> None:
        self._file = FileIO(file, closefd=closes)

    def read(self, size: int) -> bytes:
        return self._file.read(size) or b""

    def close(self) -> None:
        self._file.close()


def _open_container(source: Path | _Pipe, name: str, track: int) -> "_ContainerReader":
    try:
        container = av.open(str(source) if isinstance(source, Path) else source, mode="r")
    except _LIBRARY_ERRORS as error:
        raise AudioFileError(f"{name} is not audio that can be read: {_reason(error)}") from error
    tracks = len(container.streams.audio)
    if tracks < track:
        container.close()
        raise AudioFileError(
            f"{name} has no audio track {track}: the last one is {tracks}"
            if tracks
            else f"{name} has no audio track"
        )
    try:
        return _ContainerReader(container, container.streams.audio[track - 1])
    except _LIBRARY_ERRORS as error:
        container.close()
        raise AudioFileError(f"{name} is not audio that can be read: {_reason(error)}") from error


class _ContainerReader:
    """An audio track of anything that FFmpeg opens."""

    def __init__(self, container: Any, stream: Any) -> None:
        self._container = container
        self._stream = stream
        self.sample_rate = int(self._stream.codec_context.sample_rate)
        self.channels = int(self._stream.codec_context.channels)
        if self.sample_rate <= 0:
            raise ValueError("its audio track states no sample rate")
        self.duration_s: float | None = None
        if self._stream.duration is not None:
            self.duration_s = float(self._stream.duration * self._stream.time_base)
        elif container.duration:
            self.duration_s = container.duration / av.time_base

    def pieces(self) -> Iterator[Block]:
        start_s = Fraction(self._container.start_time or 0, av.time_base)
        position = 0
        planar: Any = None
        shape: tuple[object, ...] = ()
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                continue  # one bad packet of many; its time is filled with silence below
            for frame in frames:
                if (frame.format.name, frame.layout.name, frame.sample_rate) != shape:
                    shape = (frame.format.name, frame.layout.name, frame.sample_rate)
                    planar = av.AudioResampler(format="fltp", layout=frame.layout, rate=self.sample_rate)
                if frame.pts is not None:
                    due = int((frame.pts * frame.time_base - start_s) * self.sample_rate)
                    if GAP_S < (due - position) / self.sample_rate < LONGEST_GAP_S:
                        yield from self._silence(due - position)
                        position = due
                for part in planar.resample(frame):
                    block: Block = part.to_ndarray().T
                    position += len(block)
                    yield block

    def _silence(self, samples: int) -> Iterator[Block]:
        for start in range(0, samples, self.sample_rate):
            yield np.zeros((min(self.sample_rate, samples - start), self.channels), np.float32)

    def close(self) -> None:
        self._container.close()


_LIBRARY_ERRORS = (soundfile.SoundFileError, av.FFmpegError, ValueError, EOFError)


def _reason(error: Exception) -> str:
    """The library's words without its own prefixes and the file's name, which the message has already."""
    if isinstance(error, av.FFmpegError):
        return str(error.strerror).lower()
    return str(getattr(error, "error_string", error)).rstrip(".")


def _recut(pieces: Iterable[Block], block_samples: int) -> Iterator[Block]:
    """Pieces of any length as blocks of one length; the last may be shorter."""
    waiting: list[Block] = []
    length = 0
    for piece in pieces:
        waiting.append(piece)
        length += len(piece)
        if length >= block_samples:
            joined = np.concatenate(waiting)
            whole = length // block_samples * block_samples
            for start in range(0, whole, block_samples):
                yield joined[start : start + block_samples]
            waiting, length = [joined[whole:]], length - whole
    if length:
        yield np.concatenate(waiting)


def _resampled(pieces: Iterable[Block], source_rate: int, target_rate: int) -> Iterator[Block]:
    """By FFmpeg's resampler, which a bare install has."""
    resampler: Any = None
    position = 0

    def converted(frame: Any, shape: tuple[int, ...]) -> Iterator[Block]:
        for part in resampler.resample(frame):
            yield part.to_ndarray().reshape(-1, *shape)

    shape: tuple[int, ...] = ()
    for piece in pieces:
        if not len(piece):
            continue
        if resampler is None:
            shape = piece.shape[1:]
            layout = _layout(*shape)
            resampler = av.AudioResampler(format="flt", layout=layout, rate=target_rate)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(piece).reshape(1, -1), format="flt", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = source_rate, position, Fraction(1, source_rate)
        position += len(piece)
        yield from converted(frame, shape)
    if resampler is not None:
        yield from converted(None, shape)


def _layout(channels: int = 1) -> str:
    """FFmpeg's name of so many channels."""
    return {1: "mono", 2: "stereo"}.get(channels, f"{channels}c")
