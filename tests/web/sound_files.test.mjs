import assert from 'node:assert/strict';
import { test } from 'node:test';

import { codeFile, wavFile } from '../../client/web/sound_files.js';

test('a WAV file names its rate and holds its samples', () => {
  const bytes = wavFile(Int16Array.from([1, -2, 32767]), 16000);
  const view = new DataView(bytes.buffer);
  assert.equal(bytes.length, 50);
  assert.equal(new TextDecoder().decode(bytes.subarray(0, 4)), 'RIFF');
  assert.deepEqual([4, 40].map((at) => view.getUint32(at, true)), [42, 6]);
  assert.equal(view.getUint32(24, true), 16000);
  assert.deepEqual([44, 46, 48].map((at) => view.getInt16(at, true)), [1, -2, 32767]);
});

test('a code file ends with the checksum of what comes before', () => {
  const model = { name: 'm', hash: 'ab', codebooks: 8, codebook_size: 1024, input_rate: 16000 };
  const bytes = codeFile([Uint16Array.from([0, 1, 2, 3, 4, 5, 6, 1023])], 1280, model, 1280);
  assert.equal(bytes.length, 30 + 2 + 3 + 10 + 4);
  assert.deepEqual([...bytes.subarray(0, 6)], [0x58, 0x59, 0x54, 0, 1, 8]);
  const view = new DataView(bytes.buffer);
  assert.equal(view.getBigUint64(18, true), 1280n);
  assert.equal(view.getUint32(26, true), 1);
});
