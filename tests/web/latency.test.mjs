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

const CODING = { encode: 4, decode: 6 };

/** A call of 20 ms pieces, sent 11 ms after they were heard; a frame takes `way` seconds. */
function call(ready, way, overlap, coding = CODING) {
  const ledger = new Ledger(ready);
  for (let piece = 0; piece < 200; piece++) {
    const now = piece * 0.02;
    ledger.sent((piece + 1) * 320, 320, 0.011, now);
    if (piece % 4 === 3) {
      const frame = (piece - 3) / 4;
      ledger.arrived(frame, frame ? 1280 : 1280 - overlap * 16000, now + way);
    }
  }
  ledger.pong(0.03, coding);
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
    queue: 10,
    encode: 4,
    decode: 6,
    overlap: 10,
    buffer: 90,
    loudspeaker: 40,
  });
});

test('lookahead is the model’s delay, not the machine’s', () => {
  const ready = { ...READY, delay_ms: { encode: 80 + 160, decode: 160 + 15 } };
  const parts = call(ready, 0.05 + 0.32, 0.015);
  const { frame, queue, encode, decode, overlap } = parts;
  assert.deepEqual([frame, queue, encode, decode, overlap], [400, 10, 4, 6, 15]);
});

test('what is not known is not made up', () => {
  const parts = new Ledger(READY).parts({ input: null, output: 0.04 });
  assert.deepEqual(
    parts.filter(({ ms }) => ms === null).map(({ name }) => name),
    [
      ...['microphone', 'capture', 'network', 'queue', 'encode', 'decode', 'overlap'],
      'buffer',
    ],
  );
  const { queue, encode, network } = call(READY, 0.05, 0.01, null);
  assert.deepEqual([queue, encode, network], [null, null, 30]);
});

test('a model’s time is between hearing and speaking', () => {
  const parts = call({ ...READY, role: 'user' }, 0.05, 0.01);
  assert.deepEqual(Object.keys(parts).slice(3, 7), ['network', 'encode', 'model', 'decode']);
  assert.deepEqual([parts.encode, parts.model, parts.decode], [4, 10, 6]);
});

test('the parts are never more than the whole', () => {
  const { queue, encode, decode } = call(READY, 0.05, 0.01, { encode: 10, decode: 30 });
  assert.deepEqual([queue, encode, decode], [0, 5, 15]);
  const all = call(READY, 0.02, 0.01, { encode: 0, decode: 0 }); // quicker than the ping
  assert.deepEqual([all.queue, all.encode, all.decode], [0, 0, 0]);
});

test('who only listens has only that part of the way', () => {
  const ready = { ...READY, role: 'speaker', send: null };
  const names = new Ledger(ready).parts(DEVICES).map(({ name }) => name);
  assert.deepEqual(names, ['network', 'buffer', 'loudspeaker']);
});
