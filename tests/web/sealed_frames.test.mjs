// The frames of a message, sealed by one session and opened by another.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { SealedFrames } from '../../client/web/sealed_frames.js';

const MODEL = { codebooks: 8, codebook_size: 1024 };
const FRAMES = Array.from({ length: 3 }, (_, n) => new Uint16Array(8).fill(300 * n));

const made = (role) => new SealedFrames('a key for these tests', role, 'den', MODEL);

async function message() {
  const sealed = await made('mic').seal(FRAMES);
  return Uint8Array.from(sealed.flatMap((each) => [...each]));
}

test('all frames of a message come back', async () => {
  const [payload, speaker] = [await message(), made('speaker')];
  assert.equal(speaker.count(payload), FRAMES.length);
  assert.deepEqual(await speaker.open(payload), FRAMES);
});

test('a part of a frame is refused', async () => {
  const payload = await message();
  assert.throws(() => made('speaker').count(payload.subarray(1)), { name: 'bad_codes' });
});
