import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readLink, roomLink } from '../../client/web/links.js';

test('a link of a room is read as it was written', () => {
  const page = new URL('https://192.0.2.1:8765/xyt/');
  for (const room of ['kitchen', 'Küche & Flur', 'a=b#c+d', '台所']) {
    const link = new URL(roomLink(page, room, 's3cret'));
    assert.equal(link.origin + link.pathname + link.search, page.href);
    const read = { room, token: 's3cret', key: null, mode: 'speaker' };
    assert.deepEqual(readLink(link.hash), read);
    const encrypted = new URL(roomLink(page, room, 's3cret', 'a key + more = enough?'));
    assert.deepEqual(readLink(encrypted.hash), { ...read, key: 'a key + more = enough?' });
  }
  assert.equal(roomLink(page, 'kitchen', ''), 'https://192.0.2.1:8765/xyt/#room=kitchen');
});

test('what a link does not name or names wrongly is left out', () => {
  const nothing = { room: null, token: null, key: null, mode: null };
  for (const hash of ['', '#', '#room=', '#token=&mode=', '#mode=singer', '#a=b']) {
    assert.deepEqual(readLink(hash), nothing);
  }
  assert.equal(readLink('#room=kitchen&mode=mic').mode, 'mic');
  assert.equal(readLink(`#room=${'k'.repeat(100)}`).room.length, 64);
});
