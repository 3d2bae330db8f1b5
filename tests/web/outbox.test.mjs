// What is kept for a resumed session, and when receipt is told.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Outbox, Receipts } from '../../client/web/outbox.js';

test('what is not acknowledged is kept, in order', () => {
  const outbox = new Outbox(true);
  const messages = [0, 1, 2, 3].map((seq) => new ArrayBuffer(300000 + seq));
  messages.forEach((data, seq) => outbox.add(seq, data));
  assert.equal(outbox.bytes, 4 * 300000 + 6);
  outbox.acknowledged(null);
  assert.equal(outbox.unsent.length, 4);
  outbox.acknowledged(1);
  assert.deepEqual(outbox.unsent, messages.slice(2));
  assert.equal(outbox.bytes, 2 * 300000 + 5);
});

test('a session that cannot be resumed keeps nothing', () => {
  const outbox = new Outbox(false);
  outbox.add(0, new ArrayBuffer(2 << 20));
  assert.deepEqual([outbox.unsent, outbox.bytes], [[], 0]);
});

test('receipt is told for 16 messages or 65,536 bytes', () => {
  const receipts = new Receipts();
  const told = Array.from({ length: 32 }, () => receipts.took(10));
  assert.deepEqual(told.map((yes, i) => yes && i).filter(Boolean), [15, 31]);
  assert.deepEqual([receipts.took(65535), receipts.took(1)], [false, true]);
});
