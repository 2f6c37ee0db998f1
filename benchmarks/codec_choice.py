"""Which codecs a benchmark measures: those that are asked for, make sound and have their weights."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from voicewire import codecs
from voicewire.codecs import Codec, CodecError, UnknownCodecError


def load_codecs(names: Sequence[str], weights: Mapping[str, Path]) -> tuple[list[Codec], dict[str, str]]:
    """The codecs that sound and can be loaded, and why the others are left out. Raises UnknownCodecError."""
    found, left_out = [], {}
    for name in names:
        try:
            codec = codecs.load(name, weights.get(name))
        except UnknownCodecError:
            raise
        except CodecError as error:
            left_out[name] = str(error)
            continue
        if codec.sounds:
            found.append(codec)
        else:
            left_out[name] = "its tokens hold words, and no sound"
    return found, left_out


def add_codecs(parser: argparse.ArgumentParser) -> None:
    """What the benchmarks of codecs can be told about them."""
    parser.add_argument("--codecs", nargs="*", metavar="NAME", help="default: all that make sound")
    parser.add_argument(
        "--weights", nargs="*", default=[], metavar="NAME=PATH", help="of codecs whose weights lie elsewhere"
    )


def named_codecs(args: argparse.Namespace) -> tuple[list[Codec], dict[str, str]]:
    """The codecs that the command line asks for, as `load_codecs` gives them."""
    weights = {name: Path(path) for name, _, path in (pair.partition("=") for pair in args.weights)}
    return load_codecs(codecs.available() if args.codecs is None else args.codecs, weights)
