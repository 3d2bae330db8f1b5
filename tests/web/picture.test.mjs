// A colour tells its code.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { colourOf } from '../../client/web/picture.js';

test('in every row every code has a colour of its own', () => {
  for (let row = 0; row < 8; row++) {
    const colours = Array.from({ length: 1024 }, (_, code) => colourOf(row, code).join());
    assert.equal(new Set(colours).size, 1024, `row ${row}`);
  }
});
