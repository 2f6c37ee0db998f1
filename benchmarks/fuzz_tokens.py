"""A million damaged, truncated and invented token streams: each is read, or refused by the error that says so.

    python -m benchmarks.fuzz_tokens
    python -m benchmarks.fuzz_tokens --inputs 10000000 --seed 7

Half of the inputs have right checksums, so that what lies behind them is reached. Ends with status 1 at the first
input that raises anything else, takes more than a second of computing, or makes more codes than its bytes can
hold, and prints it.
"""

import argparse
import random
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable

import numpy as np

from voicewire.codecs import Hello, TokenReader, Tokens, TokensError, TokenWriter
from voicewire.codecs.framing import SIGNATURE, framed

LONGEST_S = 1.0


def written(hello: Hello, seed: int) -> bytes:
    """A small stream of two bitrates."""
    rng = np.random.default_rng(seed)
    writer = TokenWriter(hello, record_s=0.1)
    data, frame = writer.begin(), 0
    for codebooks in (hello.codebooks, max(1, hello.codebooks // 2)):
        frames = int(rng.integers(1, 9))
        codes = rng.integers(0, 2**hello.bits, (frames, codebooks))
        samples = frames * hello.frame_samples
        data += writer.write(
            Tokens(
                hello.codec, hello.sample_rate, hello.frame_rate, codebooks, hello.bits, frame, samples, codes
            )
        )
        frame += frames
    return data + writer.end()


SAMPLES = [
    written(Hello("lyra_v2", "0f" * 32, 16_000, 320, 46, 4), 0),
    written(Hello("encodec_24khz", "f0" * 32, 24_000, 320, 32, 10), 1),
    written(Hello("words", "3c" * 32, 16_000, 640, 1, 13), 2),
]


def flipped(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 4)):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def overwritten(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    size = dice.choice((1, 2, 4, 8))
    value = dice.choice((0, 1, 2**31, 2**63, 2**64 - 1, dice.getrandbits(64)))
    data[start : start + size] = value.to_bytes(8, "little")[:size]


def cut(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def spliced(data: bytearray, dice: random.Random) -> None:
    other = dice.choice(SAMPLES)
    start, end = sorted(dice.randrange(len(other)) for _ in range(2))
    place = dice.randrange(len(data))
    data[place : place + dice.randrange(64)] = other[start:end]


def grown(data: bytearray, dice: random.Random) -> None:
    data += framed(bytes([dice.randrange(8)]) + dice.randbytes(dice.randrange(1, 60)))


def invented(data: bytearray, dice: random.Random) -> None:
    data[len(SIGNATURE) :] = dice.randbytes(dice.randrange(120))


CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flipped,
    overwritten,
    cut,
    spliced,
    grown,
    invented,
)


def resealed(data: bytearray) -> None:
    """Makes every checksum right again."""
    place = len(SIGNATURE)
    while place + 4 <= len(data):
        end = place + 4 + int.from_bytes(data[place : place + 4], "little")
        if end > len(data) - 4:
            return
        data[end : end + 4] = zlib.crc32(data[place:end]).to_bytes(4, "little")
        place = end + 4


def read(data: bytes, dice: random.Random) -> str:
    """What came of it: read whole, or the error's name. Raises AssertionError for too many codes."""
    reader, codes, began = TokenReader(), 0, time.thread_time()
    middle = dice.randrange(len(data) + 1)
    outcome = "whole"
    try:
        for piece in (data[:middle], data[middle:]):
            codes += sum(record.tokens.codes.size for record in reader.push(piece))
        reader.finish()
    except TokensError as error:
        outcome = type(error).__name__
    assert codes <= 8 * len(data), "more codes than the bytes can hold"
    assert time.thread_time() - began < LONGEST_S, "too slow"
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    outcomes: Counter[str] = Counter()
    began = time.monotonic()
    for _ in range(options.inputs):
        data = bytearray(dice.choice(SAMPLES))
        for change in dice.choices(CHANGES, k=dice.randint(1, 3)):
            if data:
                change(data, dice)
        if dice.random() < 0.5:
            resealed(data)
        try:
            outcomes[read(bytes(data), dice)] += 1
        except Exception as error:
            print(f"{type(error).__name__}: {error}\n{data.hex()}")
            return 1
    took_s = time.monotonic() - began
    told = ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
    print(f"{options.inputs} inputs in {took_s:.0f} s: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
