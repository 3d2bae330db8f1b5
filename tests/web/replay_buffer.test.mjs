// The replay buffer of a resumable session, and when the receiver acknowledges.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { AckPolicy, ReplayBuffer } from '../../client/web/replay_buffer.js';

test('messages are kept in order until they are acknowledged', () => {
  const buffer = new ReplayBuffer(true);
  const messages = [0, 1, 2, 3].map((seq) => new ArrayBuffer(300000 + seq));
  messages.forEach((data, seq) => buffer.add(seq, data));
  assert.equal(buffer.bytes, 4 * 300000 + 6);
  buffer.acknowledge(null);
  assert.equal(buffer.unacknowledged.length, 4);
  buffer.acknowledge(1);
  assert.deepEqual(buffer.unacknowledged, messages.slice(2));
  assert.equal(buffer.bytes, 2 * 300000 + 5);
});

test('a session that cannot be resumed keeps nothing', () => {
  const buffer = new ReplayBuffer(false);
  buffer.add(0, new ArrayBuffer(2 << 20));
  assert.deepEqual([buffer.unacknowledged, buffer.bytes], [[], 0]);
});

test('an acknowledgement is due after 16 messages or 65,536 bytes', () => {
  const policy = new AckPolicy();
  const due = Array.from({ length: 32 }, () => policy.count(10));
  assert.deepEqual(due.map((yes, i) => yes && i).filter(Boolean), [15, 31]);
  assert.deepEqual([policy.count(65535), policy.count(1)], [false, true]);
});
