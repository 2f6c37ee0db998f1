"""What EnCodec costs as a stream, beside Meta's own package, which has to hear the second before each piece again.

    python -m benchmarks.encodec_speed

Encodes and decodes at 6 kbit/s on one thread, round after round: 1 and 32 streams, in pieces of 40, 80 and 240 ms;
and one recording as a whole. The weights are random, as in the tests: time does not depend on their values. Prints
the processor time for a second of one stream's audio, and the ratios within a round.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import torch
from rich.table import Table

from benchmarks.options import wide_console
from tests.encodec_oracles import meta
from tests.encodec_weights import random_weights
from voicewire.codecs.encodec_24khz import Encodec24khz, load

RATE, FRAME = 24_000, 320
STREAMS, PIECES_MS = (1, 32), (40, 80, 240)
CODEBOOKS, KBPS = 8, 6.0
CONTEXT = RATE  # samples that the package hears again
ROUNDS = 7
ROUND_S = 0.72  # of audio in pieces, for each stream
WHOLE_S = 10

HEADINGS = ("way", "streams", "piece", "real-time factor", "package", "voicewire / package")

Way = Callable[[], float]
"""Does some work, and gives the seconds of processor time that a second of one stream's audio took."""


def factor(work: Callable[[], object], audio_s: float) -> float:
    start = time.thread_time()
    work()
    return (time.thread_time() - start) / audio_s


def speech(streams: int, samples: int) -> np.ndarray:
    """Noise, which costs what speech costs."""
    return np.random.default_rng(0).normal(0, 0.05, (streams, samples)).astype(np.float32)


def streamed(codec: Encodec24khz, streams: int, piece: int) -> tuple[Way, Way]:
    """Encoding and decoding of the next pieces of streams that have begun."""
    encoders, decoders = codec.encoders(streams), codec.decoders(streams)
    pieces = round(ROUND_S * RATE) // piece
    audio = [dict(enumerate(part)) for part in np.split(speech(streams, pieces * piece), pieces, axis=1)]
    for _ in range(streams):
        encoders.open(CODEBOOKS)
        decoders.open()
    beginning = dict(enumerate(speech(streams, 10 * FRAME)))
    decoders.push(encoders.push(beginning))
    tokens = []

    def encode() -> None:
        tokens[:] = [encoders.push(part) for part in audio]

    def decode() -> None:
        for part in tokens:
            decoders.push(part)

    seconds = streams * pieces * piece / RATE
    return lambda: factor(encode, seconds), lambda: factor(decode, seconds)


@torch.no_grad()
def heard_again(streams: int, piece: int, context: int = CONTEXT) -> tuple[Way, Way]:
    """Meta's model over one piece of each stream, with what came before it."""
    model = meta()
    model.set_target_bandwidth(KBPS)
    audio = torch.from_numpy(speech(streams, context + piece))[:, None]
    codes = model.encode(audio)

    def within(work: Callable[[], object]) -> Way:
        return torch.no_grad()(lambda: factor(work, streams * piece / RATE))

    return within(lambda: model.encode(audio)), within(lambda: model.decode(codes))


def whole(codec: Encodec24khz) -> tuple[tuple[Way, Way], tuple[Way, Way]]:
    """One recording in one call: here, and by Meta's model."""
    [audio] = speech(1, WHOLE_S * RATE)
    tokens = codec.encode(audio, CODEBOOKS)
    ours = (
        lambda: factor(lambda: codec.encode(audio, CODEBOOKS), WHOLE_S),
        lambda: factor(lambda: codec.decode(tokens), WHOLE_S),
    )
    return ours, heard_again(1, WHOLE_S * RATE, context=0)


def rows(codec: Encodec24khz) -> Iterator[tuple[str, ...]]:
    """Every size of batch and of piece, and the whole, each beside the package in turn."""
    for streams in STREAMS:
        for piece_ms in PIECES_MS:
            piece = piece_ms * RATE // 1000
            pair = streamed(codec, streams, piece), heard_again(streams, piece)
            yield from compared(str(streams), f"{piece_ms} ms", *pair)
    yield from compared("1", "whole", *whole(codec))


def compared(
    streams: str, piece: str, ours: tuple[Way, Way], package: tuple[Way, Way]
) -> Iterator[tuple[str, ...]]:
    rounds = [[way() for way in (*ours, *package)] for _ in range(ROUNDS)]
    for place, name in enumerate(("encode", "decode")):
        mine, theirs = ([one[place + at] for one in rounds] for at in (0, 2))
        ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
        yield name, streams, piece, spread(mine), spread(theirs), spread(ratios)


def spread(figures: list[float]) -> str:
    return f"{median(figures):.3f} ({min(figures):.3f}-{max(figures):.3f})"


def main() -> None:
    torch.set_num_threads(1)
    table = Table(
        *HEADINGS, title=f"EnCodec at {KBPS:g} kbit/s, 1 thread: median of {ROUNDS} rounds (least-most)"
    )
    for row in rows(load(random_weights())):
        table.add_row(*row)
    wide_console().print(table)


if __name__ == "__main__":
    main()
