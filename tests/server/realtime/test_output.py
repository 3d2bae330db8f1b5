from __future__ import annotations

import numpy as np

from xyt_stream.server.engine.slot_stream import DecodedFrame
from xyt_stream.server.realtime.output import OutputSplitter


def test_sound_is_split_by_the_frame_it_belongs_to():
    outputs = []
    splitter = OutputSplitter(
        10,
        on_output=lambda *output: outputs.append(output),
        on_failure=lambda: outputs.append("failed"),
    )
    stream = np.arange(60, dtype=np.float32)
    delay = 3  # samples by which sound lags behind its frame
    for index in range(5):
        if index in (1, 2, 4):
            splitter.on_codes(index, np.zeros(8, np.int64))
        start, stop = max(0, index * 10 - delay), (index + 1) * 10 - delay
        splitter.on_audio(DecodedFrame(index, stream[start:stop], start, None))
    splitter.on_error()
    assert outputs.pop() == "failed"
    spoken = [value for _, speaks, values in outputs if speaks for value in values]
    quiet = [value for _, speaks, values in outputs if not speaks for value in values]
    assert spoken == [*range(10, 30), *range(40, 47)]
    assert quiet == [*range(10), *range(30, 40)]
    indices = [index for index, _, _ in outputs]
    assert indices == sorted(indices)
    assert set(indices) == set(range(5))
