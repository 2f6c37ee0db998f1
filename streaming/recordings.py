"""Whole recordings through a session: any file that FFmpeg opens, fed as fast as the recogniser takes it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from io import BytesIO

import av
import numpy as np
from starlette.requests import ClientDisconnect

from voicewire.streaming.errors import DecodingError, SessionError
from voicewire.streaming.live import LiveSession
from voicewire.streaming.messages import Close, Error, ErrorCode, ServerMessage

RATE = 16_000

# What a stranger's file may be. Playlists and the like are not among them: they make FFmpeg open other files.
_FORMATS = (
    "aac,ac3,aiff,amr,asf,au,avi,caf,eac3,flac,flv,matroska,mov,mp3,mp4,mpeg,mpegts,ogg,w64,wav,webm,wv"
)
_PIECE_BYTES = 32_000


async def bounded(chunks: AsyncIterator[bytes], most_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body of a request, piece by piece. Raises SessionError where it is too long, or never whole."""
    left = most_bytes
    try:
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise SessionError(
                    ErrorCode.MESSAGE_TOO_BIG, f"more than {most_bytes} bytes: send shorter recordings"
                )
            yield chunk
    except ClientDisconnect as error:
        raise SessionError(ErrorCode.BAD_AUDIO, "the recording broke off") from error


def decoded(data: bytes) -> Iterator[bytes]:
    """A file's first audio track as pieces of 16-bit samples of one channel at 16 kHz. Raises DecodingError."""
    try:
        # Nothing but the bytes themselves may be opened.
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
        with av.open(BytesIO(data), mode="r", options=options) as container:
            if not container.streams.audio:
                raise DecodingError("this file has no audio track")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            for packet in container.demux(container.streams.audio[0]):
                with contextlib.suppress(av.InvalidDataError):  # one bad packet of many
                    for frame in packet.decode():
                        yield from _samples(resampler, frame)
            yield from _samples(resampler, None)
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, DecodingError):
            raise
        raise DecodingError(
            "this is no recording that can be read: send WAV, FLAC, MP3, MP4, Ogg or WebM"
        ) from error


def pieces_of(data: bytes) -> Iterator[bytes]:
    """Audio without a header, cut for the session; a sample is never cut in two."""
    return (data[start : start + _PIECE_BYTES] for start in range(0, len(data), _PIECE_BYTES))


async def transcribed(
    live: LiveSession, pieces: Iterator[bytes], gone: Callable[[], Awaitable[bool]]
) -> AsyncIterator[ServerMessage]:
    """What a session that was started says of a recording, until the end.

    Args:
        pieces: the audio, made in a thread of its own, as decoding takes time.
        gone: whether the client has hung up.

    Raises SessionError where the session ends otherwise than by its proper end.
    """
    feeder = asyncio.create_task(_feed(live, pieces, gone), name="voicewire-recording")
    try:
        while (message := await live.take()) is not None:
            if isinstance(message, Error):
                raise SessionError(message.code, message.message)
            if not isinstance(message, bytes):
                yield message
    finally:
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)


async def _feed(live: LiveSession, pieces: Iterator[bytes], gone: Callable[[], Awaitable[bool]]) -> None:
    try:
        while not live.closed:
            await live.hearing()
            piece = await asyncio.to_thread(next, pieces, None)
            if piece is None:
                live.put(Close())
                return
            if await gone():
                live.client_left()
                return
            live.put_bytes(piece)
    except DecodingError as error:
        live.fail(ErrorCode.BAD_AUDIO, str(error))


def _samples(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> Iterator[bytes]:
    for part in resampler.resample(frame):
        yield np.ascontiguousarray(part.to_ndarray()).tobytes()
