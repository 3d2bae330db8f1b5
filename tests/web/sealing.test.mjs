// Frames sealed from end to end, against the same recorded bytes as Python's.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { OVERHEAD, SHORTEST_KEY, Sealing, makeKey } from '../../client/web/sealing.js';

const recorded = JSON.parse(readFileSync(new URL('../protocol/sealed.json', import.meta.url)));
const HEARING = { mic: 'speaker', user: 'model', loopback: 'loopback' };
const KEY = 'a key for these tests';
const FRAMES = Array.from({ length: 5 }, (_, n) => new Uint8Array(10).fill(n));

const bytes = (hex) => new Uint8Array(Buffer.from(hex, 'hex'));
const hex = (data) => Buffer.from(data).toString('hex');
const refusal = (pattern) => ({ name: 'bad_seal', message: pattern });

async function sealAll(sealing) {
  const sealed = [];
  for (const frame of FRAMES) sealed.push(await sealing.seal(frame));
  return sealed;
}

test('recorded frames open', async () => {
  for (const { speaker, room, sealed, frames } of recorded.streams) {
    const opener = new Sealing(recorded.key, HEARING[speaker], room);
    for (const [i, each] of sealed.entries()) {
      assert.equal(hex(await opener.open(bytes(each))), frames[i]);
    }
  }
});

test('frames are sealed as recorded, to the byte', async () => {
  for (const { speaker, room, stream, number, sealed, frames } of recorded.streams) {
    if (number) continue; // a stream begins with number 0
    const sealer = new Sealing(recorded.key, speaker, room);
    sealer.stream = bytes(stream);
    for (const [i, each] of frames.entries()) {
      assert.equal(hex(await sealer.seal(bytes(each))), sealed[i]);
    }
  }
});

test('a listener may come late and lose frames', async () => {
  const speaker = new Sealing(KEY, 'speaker', 'a');
  const sealed = await sealAll(new Sealing(KEY, 'mic', 'a'));
  assert.equal(sealed[0].length, 10 + OVERHEAD);
  for (const n of [1, 2, 4]) assert.deepEqual(await speaker.open(sealed[n]), FRAMES[n]);
});

test('altered, repeated and reordered frames are refused', async () => {
  const speaker = new Sealing(KEY, 'speaker', 'a');
  const sealed = await sealAll(new Sealing(KEY, 'mic', 'a'));
  const altered = (n, at) => sealed[n].map((byte, i) => (i === at ? byte ^ 1 : byte));
  for (const at of [0, 8, 12, 37]) {
    await assert.rejects(speaker.open(altered(0, at)), refusal(/cannot be opened/));
  }
  await speaker.open(sealed[0]);
  await speaker.open(sealed[2]);
  for (const n of [0, 1, 2]) await assert.rejects(speaker.open(sealed[n]), refusal(/again or out/));
  for (const at of [0, 8, 12, 37]) {
    await assert.rejects(speaker.open(altered(3, at)), refusal(/cannot be opened/));
  }
  const [later] = await sealAll(new Sealing(KEY, 'mic', 'a'));
  await speaker.open(later);
  await assert.rejects(speaker.open(sealed[3]), refusal(/again or out/));
});

test('another key, room or speaker is refused', async () => {
  const [sealed] = await sealAll(new Sealing(KEY, 'mic', 'a'));
  for (const [key, role, room] of [
    [`${KEY}!`, 'speaker', 'a'],
    [KEY, 'speaker', 'b'],
    [KEY, 'user', 'a'],
    [KEY, 'mic', 'a'],
  ]) {
    await assert.rejects(new Sealing(key, role, room).open(sealed), refusal(/cannot be opened/));
  }
});

test('keys are long enough, and different', () => {
  const keys = Array.from({ length: 20 }, makeKey);
  assert.equal(new Set(keys).size, 20);
  for (const key of keys) assert.match(key, /^[\w-]{22}$/);
  assert.ok(22 >= SHORTEST_KEY);
});
