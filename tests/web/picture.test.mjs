// The colours of codes.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { colourOf } from '../../client/web/picture.js';

test('each code of a row has a unique colour', () => {
  for (let row = 0; row < 8; row++) {
    const colours = Array.from({ length: 1024 }, (_, code) => colourOf(row, code).join());
    assert.equal(new Set(colours).size, 1024, `row ${row}`);
  }
});
