// When a codec counts as too slow for good.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Backlog } from '../../client/web/backlog.js';

/** The second at which `waiting`, seconds of sound by the second, counts as too much; or null. */
function found(waiting, seconds = 60) {
  const backlog = new Backlog();
  for (let now = 0; now < seconds; now += 0.02) {
    if (backlog.grows(waiting(now), now)) return now;
  }
  return null;
}

test('a codec half as fast as sound is found within seconds', () => {
  const at = found((now) => now / 2);
  assert.ok(at > 2 && at < 4, String(at));
});

test('a codec that keeps up is never found', () => {
  assert.equal(found(() => 0.2), null);
});

test('a moment in which much waits is forgiven, again and again', () => {
  assert.equal(found((now) => Math.max(0, 1.5 - (now % 4))), null);
});

test('sound that is dropped because too much waits changes nothing', () => {
  assert.ok(found((now) => Math.min(1.5, now)) < 4);
});
