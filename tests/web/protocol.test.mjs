// The page's protocol code, against the same recorded bytes as Python's.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import {
  CODES,
  GAP,
  PCM,
  codeBits,
  frameBytes,
  packCodes,
  packSamples,
  readControl,
  readMedia,
  unpackCodes,
  unpackSamples,
  writeControl,
  writeMedia,
} from '../../client/web/protocol.js';

const recorded = JSON.parse(readFileSync(new URL('../protocol/wire.json', import.meta.url)));
const MODEL = { codebooks: 8, codebook_size: 1024 };
const SPOKEN = [
  ...['hello', 'ready', 'end', 'ack', 'ping', 'pong', 'notice', 'error', 'clear', 'cleared'],
];

const bytes = (hex) => new Uint8Array(Buffer.from(hex, 'hex')).buffer;
const hex = (data) => Buffer.from(data).toString('hex');

test('control messages are decoded as recorded', () => {
  const known = new Set();
  for (const { name, text, message } of [...recorded.control, ...recorded.readable]) {
    const read = readControl(text);
    // Of others' conversations the page knows nothing.
    if (!SPOKEN.includes(message.type)) assert.equal(read, null, name);
    else
      for (const [field, value] of Object.entries(read))
        assert.deepEqual(value, message[field], name);
    if (read) known.add(read.type);
  }
  assert.deepEqual([...known].sort(), [...SPOKEN].sort());
});

test('client messages are encoded as recorded, to the byte', () => {
  const written = recorded.control.filter(
    ({ from, message }) => from !== 'server' && SPOKEN.includes(message.type),
  );
  assert.ok(written.length >= 5);
  for (const { name, text, message } of written) {
    assert.equal(writeControl(message.type, message), text, name);
  }
});

test('fields with a default may be left out', () => {
  const shortest = JSON.parse(writeControl('hello', { role: 'encode' }));
  assert.deepEqual(
    shortest,
    recorded.readable.find(({ name }) => name === 'hello, shortest').message,
  );
  assert.throws(() => writeControl('hello', {}), { name: 'bad_message' });
});

test('media are decoded and encoded as recorded, to the byte', () => {
  for (const media of recorded.media) {
    const { name, kind, flags, seq, frame } = media;
    const read = readMedia(bytes(media.hex));
    const expected = { kind: kind === 'pcm' ? PCM : CODES, flags, seq, frame };
    assert.deepEqual({ ...read, payload: null }, { ...expected, payload: null }, name);
    assert.equal((read.flags & GAP) > 0, name.includes('gap'));
    if (kind === 'pcm') {
      const samples = unpackSamples(read.payload);
      assert.deepEqual([...samples], media.samples, name);
      assert.equal(
        hex(writeMedia({ ...expected, payload: packSamples(samples) })),
        media.hex,
        name,
      );
    } else {
      const frames = unpackCodes(read.payload, MODEL);
      const streams = media.codes.map((_, codebook) => frames.map((codes) => codes[codebook]));
      assert.deepEqual(streams, media.codes, name);
      const payload = packCodes(frames, MODEL);
      assert.equal(hex(writeMedia({ ...expected, payload })), media.hex, name);
    }
  }
});

test('unknown messages are ignored, invalid ones refused', () => {
  for (const { name, text, hex } of recorded.ignored) {
    if (text) assert.ok([null, ...SPOKEN].includes(readControl(text)?.type ?? null), name);
    else assert.ok(![PCM, CODES].includes(readMedia(bytes(hex)).kind), name);
  }
  for (const { name, text, hex } of recorded.bad) {
    const read = () => (hex === undefined ? readControl(text) : readMedia(bytes(hex)));
    assert.throws(read, { name: 'bad_message' }, name);
  }
  assert.throws(() => unpackSamples(new Uint8Array(3)), { name: 'bad_audio' });
  assert.throws(() => unpackCodes(new Uint8Array(11), MODEL), { name: 'bad_codes' });
  const big = { codebooks: 8, codebook_size: 1000 };
  assert.throws(() => unpackCodes(new Uint8Array(10).fill(255), big), { name: 'bad_codes' });
});

test('eight codebooks of 1024 take 1000 bits a second', () => {
  assert.equal(codeBits(1024), 10);
  assert.deepEqual([1, 2, 1000, 1025].map(codeBits), [1, 1, 10, 11]);
  assert.equal(frameBytes(8, 10) * 8 * 12.5, 1000);
});
