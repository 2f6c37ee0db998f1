"""EnCodec's layers as streams: each takes the next stretch of many streams and remembers what the one after needs.

Everything is laid out as (streams, rows, channels), a row being a moment, so that each layer is one matrix product
over all rows of all streams. A product gives a row the same bits whatever other rows there are, and so does
everything else here: a stream computes the same alone, in company, and in any cutting.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Turn:
    """The streams that are advanced together, and what they remember.

    Attributes:
        memory: by layer, (slots, rows, channels).
        slots: which of them take part, int64 of shape (streams,).
        begins: whether this is the beginning of all of them, which lies mirrored before itself.
        ends: whether it is their end, which is mirrored until the last frame is whole.
    """

    memory: dict[str, Tensor]
    slots: Tensor
    begins: bool = False
    ends: bool = False

    def recall(self, layer: str) -> Tensor:
        """(streams, rows, channels)"""
        return self.memory[layer][self.slots]

    def keep(self, layer: str, rows: Tensor) -> None:
        self.memory[layer][self.slots] = rows


class Product:
    """Rows times a matrix, plus a bias: (rows, inputs) to (rows, outputs), a row to the same bits in any company.

    Libraries sum a few rows in another order than many: oneDNN with packed weights does so for one row alone,
    plain products for up to eleven. So few are filled up.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._packed = _can_pack(weight)
        self._weight = (
            torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None) if self._packed else weight
        )
        self._bias = bias
        self._fewest_rows = 2 if self._packed else 16

    def __call__(self, rows: Tensor) -> Tensor:
        if len(rows) < self._fewest_rows:
            return self(filled(rows, self._fewest_rows))[: len(rows)]
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, "none", [], "")
        return F.linear(rows, self._weight, self._bias)

    def plus(self, rows: Tensor, other: Tensor) -> Tensor:
        """The product, and `other` of shape (rows, outputs) added to it."""
        if len(rows) < self._fewest_rows:
            both = (filled(rows, self._fewest_rows), filled(other, self._fewest_rows))
            return self.plus(*both)[: len(rows)]
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise.binary(rows, other, self._weight, self._bias, "add")
        return F.linear(rows, self._weight, self._bias) + other


def _can_pack(weight: Tensor) -> bool:
    return (
        weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


def filled(rows: Tensor, count: int) -> Tensor:
    """Rows of any content until there are `count`."""
    return torch.cat([rows, rows[:1].expand(count - len(rows), -1)])


def elu(x: Tensor) -> Tensor:
    """torch's own takes another exponential where a vector of the processor is not full: other bits."""
    negative = x.clamp(max=0).expm1_()
    return x.clamp(min=0).add_(negative)


def mirrored(x: Tensor, left: int, right: int) -> Tensor:
    """Rows (streams, rows, channels) with so many more at both ends, mirrored at the outermost row.

    Where there are too few to mirror, silence follows them first, as EnCodec has it.
    """
    missing = max(0, max(left, right) + 1 - x.shape[1])
    longer = F.pad(x.mT, (0, missing))
    return F.pad(longer, (left, right), mode="reflect")[..., : left + x.shape[1] + right].mT.contiguous()


class Convolution:
    """A causal convolution over rows.

    Args:
        name: under which it remembers the rows that the next window begins with.
        weight: (outputs, inputs, kernel)
        bias: (outputs,)
        stride: rows from one window to the next.
        together: so many windows are one row of a wider product, whose matrix is filled up with zeros.
        mirrors: whether a beginning is mirrored; otherwise there is silence before it.
    """

    def __init__(
        self,
        name: str,
        weight: Tensor,
        bias: Tensor,
        stride: int = 1,
        together: int = 1,
        mirrors: bool = True,
    ) -> None:
        outputs, inputs, kernel = weight.shape
        self.name, self.remembered = name, (kernel - stride, inputs)
        self._stride, self._together, self._mirrors = stride, together, mirrors
        self._outputs = outputs
        self._hop = stride * together
        self._window = self._hop - stride + kernel
        matrix = weight.new_zeros(together, outputs, self._window, inputs)
        for place in range(together):
            matrix[place, :, place * stride : place * stride + kernel] = weight.mT
        self._product = Product(matrix.reshape(together * outputs, -1), bias.repeat(together))

    def __call__(self, x: Tensor, turn: Turn) -> Tensor:
        """(streams, rows, inputs) to (streams, rows / stride, outputs), rounded up at the end of a stream."""
        streams, rows, inputs = x.shape
        made = -(-rows // self._stride)
        past, after = self.remembered[0], made * self._stride - rows
        if turn.begins and self._mirrors:
            x = mirrored(x, past, after)
        else:
            x = torch.cat([turn.recall(self.name), x], dim=1)
            if after:
                x = mirrored(x, 0, after)
        if not turn.ends:
            turn.keep(self.name, x[:, x.shape[1] - past :])
        count = -(-made // self._together)
        if count * self._together > made:  # never in a whole frame
            x = F.pad(x, (0, 0, 0, (count * self._together - made) * self._stride))
        windows = x.as_strided(
            (streams, count, self._window * inputs), (x.stride(0), self._hop * inputs, 1), x.storage_offset()
        )
        y = self._product(windows.reshape(streams * count, -1))
        return y.view(streams, count * self._together, self._outputs)[:, :made]


class Expansion:
    """A transposed convolution whose kernel is two strides long, as a causal one over pairs of rows.

    Args:
        name: under which it remembers the last row.
        weight: (inputs, outputs, 2 * stride)
        bias: (outputs,)
    """

    def __init__(self, name: str, weight: Tensor, bias: Tensor) -> None:
        inputs, self._outputs, kernel = weight.shape
        self._stride = kernel // 2
        now, before = weight.permute(2, 1, 0).reshape(2, self._stride * self._outputs, inputs)
        pairs = torch.stack([before, now], dim=-1)
        self._pairs = Convolution(name, pairs, bias.repeat(self._stride), mirrors=False)
        self.name, self.remembered = name, self._pairs.remembered

    def __call__(self, x: Tensor, turn: Turn) -> Tensor:
        """(streams, rows, inputs) to (streams, rows * stride, outputs)"""
        return self._pairs(x, turn).view(x.shape[0], x.shape[1] * self._stride, self._outputs)


class Residual:
    """Two convolutions, of which the first remembers, beside one that leads past them."""

    def __init__(self, name: str, weights: Weights) -> None:
        self._narrow = Convolution(name, weights[f"{name}.block.1.weight"], weights[f"{name}.block.1.bias"])
        self.name, self.remembered = name, self._narrow.remembered
        branches = (f"{name}.block.3", f"{name}.shortcut")
        self._widen = Product(
            torch.cat([weights[f"{branch}.weight"] for branch in branches], dim=1).flatten(1),
            torch.stack([weights[f"{branch}.bias"] for branch in branches]).sum(0),
        )

    def __call__(self, x: Tensor, turn: Turn) -> Tensor:
        streams, rows, channels = x.shape
        hidden = elu(self._narrow(elu(x), turn))
        both = torch.cat([hidden, x], dim=-1)
        return self._widen(both.view(streams * rows, -1)).view(streams, rows, channels)


class Lstm:
    """An LSTM of some layers with a way past them; it remembers their states.

    The gates' halves are folded into the weights, since sigmoid(x) is (1 + tanh(x / 2)) / 2: all four gates are
    then one tanh.
    """

    def __init__(self, name: str, weights: Weights, layers: int) -> None:
        self.name = name
        self._layers = [_cell(f"{name}.lstm", layer, weights) for layer in range(layers)]
        self._width = weights[f"{name}.lstm.weight_hh_l0"].shape[1]
        self.remembered = (2 * layers, self._width)

    def __call__(self, x: Tensor, turn: Turn) -> Tensor:
        """(streams, rows, channels) to the same."""
        streams, rows, width = x.shape
        states = list(turn.recall(self.name).unbind(1))
        inputs = y = x.transpose(0, 1).reshape(rows * streams, width)
        for layer, (first, again) in enumerate(self._layers):
            gates = first(y).view(rows, streams, 4 * width)
            hidden, cell = states[2 * layer : 2 * layer + 2]
            heard = []
            for row in gates:
                hidden, cell = self._step(again.plus(hidden, row), cell)
                heard.append(hidden)
            states[2 * layer : 2 * layer + 2] = hidden, cell
            y = torch.cat(heard)
        turn.keep(self.name, torch.stack(states, dim=1))
        return (y + inputs).view(rows, streams, width).transpose(0, 1)

    def _step(self, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        width = self._width
        gates.tanh_()
        gates[:, : 3 * width].mul_(0.5).add_(0.5)
        enter, forget, leave, new = gates.split(width, dim=1)
        cell = (forget * cell).add_(enter * new)
        return leave * cell.tanh(), cell


def _cell(name: str, layer: int, weights: Weights) -> tuple[Product, Product]:
    """The products with the input and with the state before; torch's order of gates is in, forget, new, out."""

    def reordered(rows: Tensor) -> Tensor:
        enter, forget, new, leave = rows.chunk(4)
        return torch.cat([enter / 2, forget / 2, leave / 2, new])

    first, again, bias, more = (
        reordered(weights[f"{name}.{part}_l{layer}"])
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return Product(first, bias + more), Product(again, None)
