// The ledger of delays: what goes in comes out, and adds up.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Ledger } from '../../client/web/latency.js';

const READY = {
  role: 'loopback',
  send: 'pcm',
  receive: ['pcm', 'codes'],
  send_rate: 16000,
  receive_rate: 16000,
  frame_ms: 80,
  delay_ms: { encode: 80, decode: 10 },
};
const DEVICES = { input: 0.01, output: 0.04 };

/** A call of 20 ms pieces, sent 11 ms after they were heard; a frame takes `way` seconds. */
function call(ready, way, overlap) {
  const ledger = new Ledger(ready);
  for (let piece = 0; piece < 200; piece++) {
    const now = piece * 0.02;
    ledger.sent((piece + 1) * 320, 320, 0.011, now);
    if (piece % 4 === 3) {
      const frame = (piece - 3) / 4;
      ledger.arrived(frame, frame ? 1280 : 1280 - overlap * 16000, now + way);
    }
  }
  ledger.pong(0.03);
  ledger.waited(0.09);
  return Object.fromEntries(
    ledger.parts(DEVICES).map(({ name, ms }) => [name, ms && Math.round(ms)]),
  );
}

test('every part is where it was spent', () => {
  assert.deepEqual(call(READY, 0.05, 0.01), {
    microphone: 10,
    capture: 11,
    frame: 80,
    network: 30,
    'encode, decode': 20,
    overlap: 10,
    buffer: 90,
    loudspeaker: 40,
  });
});

test('lookahead is the model’s delay, not the machine’s', () => {
  const ready = { ...READY, delay_ms: { encode: 80 + 160, decode: 160 + 15 } };
  const parts = call(ready, 0.05 + 0.32, 0.015);
  assert.deepEqual([parts.frame, parts['encode, decode'], parts.overlap], [400, 20, 15]);
});

test('what is not known is not made up', () => {
  const parts = new Ledger(READY).parts({ input: null, output: 0.04 });
  assert.deepEqual(
    parts.filter(({ ms }) => ms === null).map(({ name }) => name),
    ['microphone', 'capture', 'network', 'encode, decode', 'overlap', 'buffer'],
  );
});

test('who only listens has only that part of the way', () => {
  const ready = { ...READY, role: 'speaker', send: null };
  const names = new Ledger(ready).parts(DEVICES).map(({ name }) => name);
  assert.deepEqual(names, ['network', 'buffer', 'loudspeaker']);
});
