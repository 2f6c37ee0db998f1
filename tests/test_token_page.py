"""What docs/tokens.md says of the format, held to the code."""

import io
import re
from pathlib import Path

import numpy as np

from voicewire.codecs import Hello, Tokens, TokenWriter, read_tokens

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "tokens.md").read_text()


def test_the_example_is_what_is_written_and_read() -> None:
    dump = re.findall(r"^[0-9a-f]{4}  ([0-9a-f ]+)$", PAGE, re.MULTILINE)
    data = bytes.fromhex("".join(dump))
    hello = Hello("tiny", "0123456789abcdef" * 4, 16_000, 320, 4, 5)
    codes = np.array([[1, 2, 3, 4], [31, 30, 29, 28]])
    writer = TokenWriter(hello)
    tokens = Tokens("tiny", 16_000, 50.0, 4, 5, 0, 600, codes)
    assert writer.begin() + writer.write(tokens) + writer.end() == data
    [record] = read_tokens(io.BytesIO(data))
    assert np.array_equal(record.tokens.codes, codes)
    assert record.tokens.samples == 600
    assert data[0x54:0x59].hex(" ") in PAGE
