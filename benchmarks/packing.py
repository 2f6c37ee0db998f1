"""What packing linear layers saves: the same bfloat16 product from plain and from packed weights, in turn.

    python -m benchmarks.packing

The weights of a few dozen layers are gone through round after round, so that they come from memory as in a model.
"""

import time
from collections.abc import Callable
from itertools import cycle
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from voicewire.asr.packed import PackedLinear, can_pack

SHAPES = ((512, 1536), (512, 512), (512, 2048), (2048, 512), (512, 51865))
ROWS = (1, 4, 15, 60)
ROUNDS = 7
ROUND_S = 0.05


def seconds(run: Callable[[], Tensor]) -> float:
    """Of one call, over a round."""
    start, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < ROUND_S or calls == 0:
        run()
        calls += 1
    return elapsed / calls


@torch.inference_mode()
def compare(inputs: int, outputs: int, rows: int) -> tuple[float, list[float]]:
    """Seconds with plain weights, and the ratios packed / plain, round by round."""
    layers = [nn.Linear(inputs, outputs).to(torch.bfloat16) for _ in range(24 if outputs < 10_000 else 2)]
    plain, packed = cycle(layers), cycle([PackedLinear(layer.weight, layer.bias) for layer in layers])
    x = torch.randn(rows, inputs).to(torch.bfloat16)
    pairs = [(seconds(lambda: next(plain)(x)), seconds(lambda: next(packed)(x))) for _ in range(ROUNDS)]
    return median(before for before, _ in pairs), sorted(after / before for before, after in pairs)


def main() -> None:
    torch.set_num_threads(1)
    if not can_pack(torch.bfloat16, torch.device("cpu")):
        raise SystemExit("this torch cannot pack linear layers")
    table = Table(
        "layer", "rows", "plain, ms", "packed / plain: median", "least", "most", title="1 thread, bfloat16"
    )
    for inputs, outputs in SHAPES:
        for rows in ROWS:
            before, ratios = compare(inputs, outputs, rows)
            row = (
                f"{before * 1e3:.3f}",
                *(f"{ratio:.2f}" for ratio in (median(ratios), ratios[0], ratios[-1])),
            )
            table.add_row(f"{inputs} x {outputs}", str(rows), *row)
    Console().print(table)


if __name__ == "__main__":
    main()
