// The latency tracker: its stages are those put in, and they add up.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { LatencyTracker } from '../../client/web/latency.js';

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
  const tracker = new LatencyTracker(ready);
  for (let piece = 0; piece < 200; piece++) {
    const now = piece * 0.02;
    tracker.sent((piece + 1) * 320, 320, 0.011, now);
    if (piece % 4 === 3) {
      const frame = (piece - 3) / 4;
      tracker.arrived(frame, frame ? 1280 : 1280 - overlap * 16000, now + way);
    }
  }
  tracker.pong(0.03, coding);
  tracker.waited(0.09);
  return Object.fromEntries(
    tracker.stages(DEVICES).map(({ name, ms }) => [name, ms && Math.round(ms)]),
  );
}

test('each stage gets its own time', () => {
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

test('lookahead counts as the frame, not as computing', () => {
  const ready = { ...READY, delay_ms: { encode: 80 + 160, decode: 160 + 15 } };
  const parts = call(ready, 0.05 + 0.32, 0.015);
  const { frame, queue, encode, decode, overlap } = parts;
  assert.deepEqual([frame, queue, encode, decode, overlap], [400, 10, 4, 6, 15]);
});

test('unknown stages are null', () => {
  const parts = new LatencyTracker(READY).stages({ input: null, output: 0.04 });
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

test('the model comes between encode and decode', () => {
  const parts = call({ ...READY, role: 'user' }, 0.05, 0.01);
  assert.deepEqual(Object.keys(parts).slice(3, 7), ['network', 'encode', 'model', 'decode']);
  assert.deepEqual([parts.encode, parts.model, parts.decode], [4, 10, 6]);
});

test('the stages never exceed the whole', () => {
  const { queue, encode, decode } = call(READY, 0.05, 0.01, { encode: 10, decode: 30 });
  assert.deepEqual([queue, encode, decode], [0, 5, 15]);
  const all = call(READY, 0.02, 0.01, { encode: 0, decode: 0 }); // quicker than the ping
  assert.deepEqual([all.queue, all.encode, all.decode], [0, 0, 0]);
});

test('a listener has only the stages of its half', () => {
  const ready = { ...READY, role: 'speaker', send: null };
  const names = new LatencyTracker(ready).stages(DEVICES).map(({ name }) => name);
  assert.deepEqual(names, ['network', 'buffer', 'loudspeaker']);
});

test('a codec in the browser is a stage of its half', () => {
  const of = (ready) => {
    const tracker = new LatencyTracker({ ...READY, codec_here: true, ...ready });
    tracker.pong(0.03, { encode: 4, decode: 6 });
    return Object.fromEntries(tracker.stages(DEVICES).map(({ name, ms }) => [name, ms]));
  };
  const speaker = of({ role: 'speaker', send: null });
  assert.deepEqual(Object.keys(speaker), ['network', 'decode', 'buffer', 'loudspeaker']);
  assert.equal(speaker.decode, 6);
  const mic = of({ role: 'mic', receive: [] });
  assert.deepEqual(Object.keys(mic), ['microphone', 'capture', 'frame', 'encode', 'network']);
  assert.equal(mic.encode, 4);
});
