"""Writes models with the inputs and outputs of Lyra's, small enough to reason about.

The encoder projects each 20 ms on 46 cosines, the quantizer rounds each projection to 4 bits, and
the decoder adds the cosines up, `lag` samples late.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FRAME, FEATURES, BITS = 320, 46, 4
STEP = 0.25  # of the quantizer


class Graph:
    """Collects the tensors and operators of one subgraph."""

    def __init__(self, schema: Any, buffers: list[Any], codes: list[Any]) -> None:
        self.schema, self.buffers, self.codes = schema, buffers, codes
        self.tensors: list[Any] = []
        self.operators: list[Any] = []

    def tensor(self, shape: list[int], kind: str, values: npt.NDArray[Any] | None = None) -> int:
        buffer = 0
        if values is not None:
            data = list(values.tobytes())
            self.buffers.append(self.schema.BufferT(data=data))
            buffer = len(self.buffers) - 1
        kind = getattr(self.schema.TensorType, kind)
        name = f"t{len(self.tensors)}"
        self.tensors.append(self.schema.TensorT(shape=shape, type=kind, buffer=buffer, name=name))
        return len(self.tensors) - 1

    def number(self, value: float) -> int:
        return self.tensor([1], "FLOAT32", np.array([value], np.float32))

    def add(self, name: str, inputs: list[int], shape: list[int], kind: str = "FLOAT32") -> int:
        code = getattr(self.schema.BuiltinOperator, name)
        self.codes.append(
            self.schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code)
        )
        made = self.tensor(shape, kind)
        options = {"FULLY_CONNECTED": "FullyConnectedOptions", "ADD": "AddOptions"}
        options |= {"MUL": "MulOptions", "CAST": "CastOptions", "RESHAPE": "ReshapeOptions"}
        extra: dict[str, Any] = {}
        if name in options:
            extra["builtinOptionsType"] = getattr(self.schema.BuiltinOptions, options[name])
            extra["builtinOptions"] = getattr(self.schema, options[name] + "T")()
            if name == "RESHAPE":
                extra["builtinOptions"].newShape = shape
        self.operators.append(
            self.schema.OperatorT(
                opcodeIndex=len(self.codes) - 1, inputs=inputs, outputs=[made], **extra
            )
        )
        return made


class File:
    """Collects the subgraphs of one model file."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.buffers, self.codes = [schema.BufferT()], []
        self.graphs: list[Any] = []
        self.signatures: list[Any] = []

    def graph(self) -> Graph:
        return Graph(self.schema, self.buffers, self.codes)

    def close(self, graph: Graph, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        key = "encode" if not self.graphs else "decode"
        self.graphs.append(
            self.schema.SubGraphT(
                tensors=graph.tensors,
                inputs=[*inputs.values()],
                outputs=[*outputs.values()],
                operators=graph.operators,
                name=key,
            )
        )
        maps = [
            [self.schema.TensorMapT(name=name, tensorIndex=place) for name, place in each.items()]
            for each in (inputs, outputs)
        ]
        self.signatures.append(
            self.schema.SignatureDefT(
                inputs=maps[0],
                outputs=maps[1],
                signatureKey=key,
                subgraphIndex=len(self.graphs) - 1,
            )
        )

    def write(self, path: Path) -> None:
        import flatbuffers

        model = self.schema.ModelT(
            version=3,
            operatorCodes=self.codes,
            subgraphs=self.graphs,
            description="",
            buffers=self.buffers,
            signatureDefs=self.signatures,
        )
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))


def basis() -> npt.NDArray[np.float32]:
    """Returns orthonormal cosines [features, samples], up to 1.1 kHz."""
    time = np.arange(FRAME) + 0.5
    waves = np.cos(np.pi / FRAME * np.arange(FEATURES)[:, None] * time)
    return (waves / np.linalg.norm(waves, axis=1, keepdims=True)).astype(np.float32)


def write_models(folder: Path, schema: Any, *, lag: int = 0) -> None:
    """Writes the three files into a folder."""
    _linear(schema, basis(), folder / "soundstream_encoder.tflite")
    _linear(schema, np.roll(basis(), lag, axis=1).T.copy(), folder / "lyragan.tflite")
    file = File(schema)
    graph = file.graph()
    count = graph.tensor([1], "INT32")
    features = graph.tensor([1, 1, FEATURES], "FLOAT32")
    x = graph.add("MUL", [features, graph.number(1 / STEP)], [1, 1, FEATURES])
    x = graph.add("ADD", [x, graph.number(8.0)], [1, 1, FEATURES])
    x = graph.add("ROUND", [x], [1, 1, FEATURES])
    x = graph.add("MAXIMUM", [x, graph.number(0.0)], [1, 1, FEATURES])
    x = graph.add("MINIMUM", [x, graph.number(15.0)], [1, 1, FEATURES])
    x = graph.add("CAST", [x], [1, 1, FEATURES], "INT32")
    indices = graph.add("RESHAPE", [x], [FEATURES, 1, 1], "INT32")
    bits = graph.tensor([1], "INT32", np.array([BITS], np.int32))
    file.close(
        graph,
        {"num_quantizers": count, "input_frames": features},
        {"output_0": indices, "output_1": bits},
    )
    graph = file.graph()
    indices = graph.tensor([FEATURES, 1, 1], "INT32")
    x = graph.add("CAST", [indices], [FEATURES, 1, 1])
    known = graph.add("ADD", [x, graph.number(1.0)], [FEATURES, 1, 1])
    known = graph.add("MINIMUM", [known, graph.number(1.0)], [FEATURES, 1, 1])
    x = graph.add("ADD", [x, graph.number(-8.0)], [FEATURES, 1, 1])
    x = graph.add("MUL", [x, graph.number(STEP)], [FEATURES, 1, 1])
    x = graph.add("MUL", [x, known], [FEATURES, 1, 1])
    x = graph.add("RESHAPE", [x], [1, 1, FEATURES])
    file.close(graph, {"encoding_indices": indices}, {"output_0": x})
    file.write(folder / "quantizer.tflite")


def _linear(schema: Any, weights: npt.NDArray[np.float32], path: Path) -> None:
    file = File(schema)
    graph = file.graph()
    source = graph.tensor([1, weights.shape[1]], "FLOAT32")
    held = graph.tensor([*weights.shape], "FLOAT32", weights)
    made = graph.add("FULLY_CONNECTED", [source, held, -1], [1, weights.shape[0]])
    file.close(graph, {"x": source}, {"y": made})
    file.write(path)
