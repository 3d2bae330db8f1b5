// Bytes on the wire, the websocket's headers included.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Traffic } from '../../client/web/traffic.js';

test('headers of websocket frames are counted, and the mask of what is sent', () => {
  const traffic = new Traffic();
  traffic.countSent(new ArrayBuffer(22)); // a frame of codes: 2 + 4 + 22
  traffic.countReceived(new ArrayBuffer(125));
  traffic.countReceived(new ArrayBuffer(126));
  traffic.countReceived(new ArrayBuffer(65536));
  traffic.countSent('ä');
  assert.deepEqual([traffic.sent, traffic.received], [28 + 8, 127 + 130 + 65546]);
});
