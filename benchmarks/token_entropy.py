"""What an entropy coder could save on codec tokens: the cost of every code under models that learn as they go.

    python -m benchmarks.token_entropy --data dev-00.tar --weights lyra_v2=FOLDER --minutes 5

The cost of a code is minus the logarithm of the probability that the model gave it before it was seen; a range
coder comes within a thousandth of it. Probabilities are whole counts, as such a coder would hold them.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import soxr

from benchmarks.codec_choice import add_codecs, named_codecs
from benchmarks.markdown_table import markdown_table
from benchmarks.speech_tars import SpeechTar
from voicewire.codecs import Codec, kbps
from voicewire.codecs.framing import RECORD_S

# The most that is known of a code beforehand; each model is one of these.
ALONE, BEFORE = "each codebook by itself", "given the codebook's last code"
# A count goes up by so much for each code that is seen, from 1 at the beginning, and all are halved at the limit.
STEP, LIMIT = 24, 2**14


class Counts:
    """An adaptive model of codes, of shape (codebooks, contexts, symbols)."""

    def __init__(self, codebooks: int, contexts: int, symbols: int) -> None:
        self._counts = np.ones((codebooks, contexts, symbols), np.uint32)
        self._rows = np.arange(codebooks)

    def cost(self, codes: np.ndarray, contexts: np.ndarray) -> float:
        """Bits of one frame, codes and contexts of shape (codebooks,), which are then learned."""
        seen = self._counts[self._rows, contexts]
        bits = np.log2(seen.sum(axis=1) / seen[self._rows, codes]).sum()
        seen[self._rows, codes] += STEP
        full = seen.sum(axis=1) > LIMIT
        seen[full] = (seen[full] + 1) // 2
        self._counts[self._rows, contexts] = seen
        return float(bits)


def saving(codes: np.ndarray, bits: int, model: str, restart: int) -> float:
    """The share of the bare bits that is saved where the model begins anew every `restart` frames."""
    codebooks = codes.shape[1]
    contexts = 2**bits if model == BEFORE else 1
    cost = 0.0
    for start in range(0, len(codes), restart):
        counts, last = Counts(codebooks, contexts, 2**bits), np.zeros(codebooks, np.int64)
        for frame in codes[start : start + restart]:
            cost += counts.cost(frame, last)
            last = frame if model == BEFORE else last
    return 1 - cost / (codes.size * bits)


def tokens_of(codec: Codec, codebooks: int, tar: Path, minutes: float) -> np.ndarray:
    """Codes of shape (frames, codebooks), clip after clip."""
    found, left = [], minutes * 60
    for clip in SpeechTar(tar).clips():
        samples = soxr.resample(clip.samples, 16_000, codec.sample_rate).astype(np.float32)
        found.append(codec.encode(samples, codebooks).codes)
        left -= clip.duration
        if left <= 0:
            break
    return np.concatenate(found).astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="TAR", help="speech")
    parser.add_argument("--minutes", type=float, default=5.0, help="of it; default %(default)s")
    add_codecs(parser)
    args = parser.parse_args()
    found, left_out = named_codecs(args)
    rows = []
    for codec in found:
        for codebooks in codec.choices:
            codes = tokens_of(codec, codebooks, args.data, args.minutes)
            for model in (ALONE, BEFORE):
                restarts = (round(RECORD_S * codec.frame_rate), len(codes))
                shares = (saving(codes, codec.bits, model, restart) for restart in restarts)
                rate = f"{kbps(codec, codebooks):g}"
                rows.append([codec.name, rate, model, *(f"{100 * share:.1f} %" for share in shares)])
    headings = [
        "codec",
        "kbps",
        "model",
        f"anew every {RECORD_S:g} s",
        f"once in {math.ceil(args.minutes)} min",
    ]
    print(markdown_table(headings, rows, left=3), end="")
    for name, why in left_out.items():
        print(f"{name} is left out: {why}")


if __name__ == "__main__":
    main()
