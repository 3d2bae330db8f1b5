"""Runs an exported model in onnxruntime, without torch.

from xyt_stream.edge import EdgeDecoder, EdgeEncoder
encoder, decoder = EdgeEncoder(), EdgeDecoder()
codes = encoder.push(pcm)    # float32 [samples] at 16 kHz -> int64 [8, new frames]
sound = decoder.push(codes)  # -> float32 [new samples]
"""

from __future__ import annotations

from xyt_stream.edge.streams import EdgeDecoder, EdgeEncoder

__all__ = ["EdgeDecoder", "EdgeEncoder"]
