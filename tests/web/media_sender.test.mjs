// A session's sender says that it lags before it drops media.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MediaSender } from '../../client/web/media_sender.js';

const READY = { send_rate: 16000, frame_ms: 80, resume: {}, model: { codebooks: 8, codebook_size: 1024 } };

for (const [name, send] of [
  ['sound', (sender) => sender.sendPcm(new Int16Array(320))],
  ['codes', (sender) => sender.sendCodes([new Uint16Array(8)])],
]) {
  test(`a sender of ${name} lags before it drops, and not before an acknowledgement is due`, () => {
    const sent = [];
    const sender = new MediaSender(READY, (data) => sent.push(data), () => 0);
    assert.equal(sender.lags, false);
    while (!sender.lags) assert.equal(send(sender), true);
    const lagged = sent.length;
    assert.ok(lagged > 16, `after ${lagged}`);
    while (send(sender));
    assert.ok(sent.length > 1.5 * lagged, `${sent.length} after ${lagged}`);
    sender.replayBuffer.acknowledge(sent.length - 1);
    assert.equal(sender.lags, false);
  });
}
