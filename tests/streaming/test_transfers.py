from __future__ import annotations

import pytest
import torch

from xyt_stream.streaming.transfers import Transfers


@pytest.mark.device
def test_rows_reach_the_device_and_return(device):
    transfers = Transfers(device)
    rows = transfers.staging(2, 3)
    rows.fill_(7)
    there = transfers.up(rows)
    assert there.device.type == device.type
    assert device.type != "cpu" or there is rows  # nothing to copy
    back = transfers.staging(2, 3)
    arrival = transfers.down(there + 1, back)
    assert torch.equal(arrival.wait(), torch.full((2, 3), 8.0))
    assert arrival.rows is back
