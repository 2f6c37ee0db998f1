"""Lyra's networks as TFLite files, rewritten: one run serves several streams, and their past is in our hands.

As published, a network keeps what it remembers in variables inside its interpreter: it serves one stream, and
nobody can save, restore or even clear it. Here every variable becomes an input (what the stream remembers) and an
output (what it remembers one frame later), and the first dimension grows from 1 to so many streams. All weights
and all other operations stay, so that what comes out is the same bit for bit; the functions say where it is not.
"""

import copy
from collections.abc import Iterable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Kind = schema.BuiltinOperator
_DTYPES = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT32: np.int32}
_ENCODE = 1  # the quantizer's file has two graphs: decode and encode


def encoder_graph(data: bytes, streams: int) -> bytes:
    """soundstream_encoder.tflite: samples (streams, 320) to features (streams, 1, 64)."""
    graph = Graph(data)
    graph.free_variables()
    return graph.packed(streams)


def quantizer_graph(data: bytes, streams: int) -> bytes:
    """quantizer.tflite, way in: features (streams, 1, 64) to codes (streams, 46)."""
    graph = Graph(data, _ENCODE)
    # It makes one-hot rows of the codes, weighs them by whether they are wanted, and finds the codes again.
    codes = [op.outputs[0] for op in graph.operators(Kind.ARG_MIN)]
    [pack] = graph.operators(Kind.PACK)
    pack.inputs, pack.builtinOptions.axis = np.array(codes, np.int32), 1
    graph.tensors[pack.outputs[0]].type = schema.TensorType.INT32
    graph.inputs = [
        tensor for tensor in graph.inputs if graph.tensors[tensor].name == b"encode_input_frames:0"
    ]
    graph.outputs = [pack.outputs[0]]
    return graph.packed(streams)


def decoder_graph(data: bytes, streams: int) -> bytes:
    """lyragan.tflite: features (streams, 1, 64) to taps (streams, 20, 1, 64), less its last addition.

    The last layer is a transposed convolution to one channel, on which LiteRT spends two thirds of its time. Here
    it is the same product of matrices as a plain convolution. What is left, 64 taps every 16 samples, adds up to
    samples; see `tap_bias`. The order of these additions differs from LiteRT's.
    """
    graph = Graph(data)
    graph.free_variables()
    last = graph.operators(Kind.TRANSPOSE_CONV)[-1]
    _, weights, features, _ = last.inputs
    taps = graph.constant(weights).transpose(1, 0, 2, 3)
    plain = graph.operators(Kind.CONV_2D)[-1]  # 1 x 1, stride 1, as this one is to be
    last.opcodeIndex, last.builtinOptionsType = plain.opcodeIndex, plain.builtinOptionsType
    last.builtinOptions = copy.copy(plain.builtinOptions)
    no_bias = np.zeros(len(taps), np.float32)
    added = [graph.add_constant(weights, values) for values in (taps, no_bias)]
    last.inputs = np.array([features, *added], np.int32)
    graph.outputs = [last.outputs[0]]
    return graph.packed(streams)


def tap_bias(data: bytes) -> float:
    """lyragan.tflite: what is added to every sample in the end."""
    graph = Graph(data)
    bias = graph.operators(Kind.TRANSPOSE_CONV)[-1].inputs[3]
    return float(graph.constant(bias)[0])


def codebooks(data: bytes) -> np.ndarray:
    """quantizer.tflite: float32 of shape (46 codebooks, 16 codes, 64 features), coarse first."""
    graph = Graph(data, _ENCODE)
    # The way in uses them in their order, each on what the ones before it left over.
    return np.concatenate([graph.constant(op.inputs[1]) for op in graph.operators(Kind.SQUARED_DIFFERENCE)])


class Graph:
    """One graph of a TFLite file, to be changed.

    Attributes:
        inputs, outputs: numbers of tensors.
        tensors: of the graph, by number.
    """

    def __init__(self, data: bytes, number: int = 0) -> None:
        self._model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
        self._graph: Any = self._model.subgraphs[number]
        self._pasts: list[tuple[int, int]] = []
        self.tensors: list[Any] = self._graph.tensors
        self.inputs: list[int] = list(self._graph.inputs)
        self.outputs: list[int] = list(self._graph.outputs)

    def operators(self, kind: int) -> list[Any]:
        """Those of one kind, in the order in which they run."""
        return [op for op in self._graph.operators if self._kind(op) == kind]

    def constant(self, tensor: int) -> np.ndarray:
        """The values of a tensor that the file holds."""
        found = self.tensors[tensor]
        values = np.frombuffer(bytes(self._model.buffers[found.buffer].data), _DTYPES[found.type])
        return values.reshape(found.shape)

    def add_constant(self, like: int, values: np.ndarray) -> int:
        """A new tensor of that one's type; gives its number."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        tensor = copy.copy(self.tensors[like])
        tensor.shape, tensor.buffer = np.array(values.shape, np.int32), len(self._model.buffers) - 1
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def free_variables(self) -> None:
        """Each variable becomes an input and an output."""
        names = {op.outputs[0]: op.builtinOptions.sharedName for op in self.operators(Kind.VAR_HANDLE)}
        read = {names[op.inputs[0]]: op.outputs[0] for op in self.operators(Kind.READ_VARIABLE)}
        written = {names[op.inputs[0]]: op.inputs[1] for op in self.operators(Kind.ASSIGN_VARIABLE)}
        self._pasts = [(read[name], written[name]) for name in sorted(read)]

    def packed(self, streams: int) -> bytes:
        """The file that has this graph alone, for so many streams, without what leads to no output.

        Its inputs are `inputs` and, where variables were freed, what each stream remembers; so are its outputs.
        """
        heard = {tensor for op in self._leading_to(self.outputs) for tensor in op.inputs}
        pasts = [(before, after) for before, after in self._pasts if before in heard]
        graph = self._graph
        graph.inputs = np.array([*self.inputs, *(before for before, _ in pasts)], np.int32)
        graph.outputs = np.array([*self.outputs, *(after for _, after in pasts)], np.int32)
        variables = (Kind.VAR_HANDLE, Kind.READ_VARIABLE)
        graph.operators = [op for op in self._leading_to(graph.outputs) if self._kind(op) not in variables]
        self._widen(streams)
        self._model.subgraphs, self._model.signatureDefs, self._model.metadata = [graph], None, None
        builder = flatbuffers.Builder()
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _leading_to(self, tensors: Iterable[int]) -> list[Any]:
        """The operators that these tensors come from, in the order in which they run."""
        needed, found = set(tensors), []
        for op in reversed(self._graph.operators):
            if needed.intersection(op.outputs):
                needed.update(op.inputs)
                found.append(op)
        return found[::-1]

    def _widen(self, streams: int) -> None:
        """Inputs and constants of one stream become those of so many; all other shapes follow from them."""
        for number in self._graph.inputs:
            tensor = self.tensors[number]
            tensor.shape = np.array([streams, *tensor.shape[1:]], np.int32)
        for op in self._graph.operators:
            kind, op.inputs = self._kind(op), op.inputs.copy()  # a list that was read cannot be written to
            if kind in (Kind.TRANSPOSE_CONV, Kind.RESHAPE):
                place = 1 if kind == Kind.RESHAPE else 0
                shape = self.constant(op.inputs[place])
                op.inputs[place] = self.add_constant(
                    op.inputs[place], np.array([streams, *shape[1:]], np.int32)
                )
            if kind == Kind.RESHAPE:
                op.builtinOptions, op.builtinOptionsType = None, 0  # holds the old shape again
            if kind == Kind.CONCATENATION:
                for place, tensor in enumerate(op.inputs):
                    if self._is_constant(tensor):
                        values = np.repeat(self.constant(tensor), streams, axis=0)
                        op.inputs[place] = self.add_constant(tensor, values)

    def _kind(self, op: Any) -> int:
        code = self._model.operatorCodes[op.opcodeIndex]
        return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))

    def _is_constant(self, tensor: int) -> bool:
        data = self._model.buffers[self.tensors[tensor].buffer].data
        return data is not None and len(data) > 0
