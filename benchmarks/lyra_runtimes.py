"""What runs Lyra v2 fastest: its files as published, as voicewire rewrites them, or layers in PyTorch.

    python -m benchmarks.lyra_runtimes --weights FOLDER

Encodes and decodes the same audio with each in turn, on one thread, round after round: 1 and 32 streams, in pieces
of 40, 80 and 240 ms. Prints the processor time for a second of one stream's audio, and the ratios within a round.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from rich.table import Table

from benchmarks.lyra_layers import Layers
from benchmarks.options import wide_console
from voicewire.codecs import load
from voicewire.codecs.codec import Codec
from voicewire.codecs.lyra_v2 import FILES

RATE, FRAME = 16_000, 320
STREAMS, PIECES_MS = (1, 32), (40, 80, 240)
ROUNDS = 9
ROUND_S = 0.96  # of audio, for each stream

HEADINGS = (
    "streams",
    "piece, ms",
    "way",
    "real-time factor",
    "least",
    "most",
    "to published",
    "least",
    "most",
)

Way = Callable[[np.ndarray], object]


class Published:
    """The files as they are: interpreters of one stream's own."""

    def __init__(self, folder: Path) -> None:
        self.nets = [Interpreter(str(folder / file.name), num_threads=1) for file in FILES]
        self.into_codes, self.from_codes = map(self.nets[1].get_signature_runner, ("encode", "decode"))
        for net in self.nets[::2]:
            net.allocate_tensors()

    def __call__(self, piece: np.ndarray) -> None:
        for frame in piece.reshape(-1, 1, FRAME):
            features = self.run(self.nets[0], frame)
            codes = self.into_codes(input_frames=features, num_quantizers=np.int32(46))["output_0"]
            self.run(self.nets[2], self.from_codes(encoding_indices=codes)["output_0"])

    @staticmethod
    def run(net: Interpreter, given: np.ndarray) -> np.ndarray:
        net.set_tensor(net.get_input_details()[0]["index"], given)
        net.invoke()
        made: np.ndarray = net.get_tensor(net.get_output_details()[0]["index"])
        return made


def published(folder: Path, streams: int) -> Way:
    """Takes pieces of shape (streams, samples), as all ways do."""
    each = [Published(folder) for _ in range(streams)]
    return lambda pieces: [one(piece) for one, piece in zip(each, pieces, strict=True)]


def rewritten(codec: Codec, streams: int) -> Way:
    encoders, decoders = codec.encoders(streams), codec.decoders(streams)
    for _ in range(streams):
        encoders.open()
        decoders.open()
    return lambda pieces: decoders.push(encoders.push(dict(enumerate(pieces))))


def layers() -> Way:
    both = Layers()
    return lambda pieces: both(torch.from_numpy(pieces[:, None]))


def factor(way: Way, audio: np.ndarray, piece: int) -> float:
    """Processor time over the length of the audio, (streams, samples), of one stream."""
    start = time.process_time()
    for place in range(0, audio.shape[1], piece):
        way(np.ascontiguousarray(audio[:, place : place + piece]))
    return (time.process_time() - start) / audio.size * RATE


def rows(streams: int, ways: dict[str, Way]) -> Iterator[tuple[str, ...]]:
    """Every size of piece, all ways in turn."""
    audio = np.random.default_rng(0).normal(0, 0.05, (streams, int(RATE * ROUND_S))).astype(np.float32)
    for piece_ms in PIECES_MS:
        piece = RATE * piece_ms // 1000
        rounds = [{name: factor(way, audio, piece) for name, way in ways.items()} for _ in range(ROUNDS)]
        for name in ways:
            factors = [one[name] for one in rounds]
            ratios = [one[name] / one["published"] for one in rounds]
            figures = (f"{of(factors):.4f}" for of in (median, min, max))
            ratio_figures = (f"{of(ratios):.2f}" for of in (median, min, max))
            yield str(streams), str(piece_ms), name, *figures, *ratio_figures


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lyra_runtimes", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--weights", type=Path, required=True, metavar="FOLDER", help="with Lyra's three files"
    )
    folder = parser.parse_args().weights
    torch.set_num_threads(1)
    codec = load("lyra_v2", folder)
    table = Table(*HEADINGS, title="Encoding and decoding at 9.2 kbit/s, 1 thread")
    for streams in STREAMS:
        ways = {
            "published": published(folder, streams),
            "rewritten": rewritten(codec, streams),
            "PyTorch": layers(),
        }
        for row in rows(streams, ways):
            table.add_row(*row)
    wide_console().print(table)


if __name__ == "__main__":
    main()
