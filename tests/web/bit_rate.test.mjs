import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BitRate } from '../../client/web/bit_rate.js';

function rateOf(arrivals, now) {
  const rate = new BitRate();
  rate.begin(80);
  for (const [time, frames] of arrivals) rate.add(frames, time);
  return rate.at(now ?? arrivals[arrivals.length - 1][0]);
}

test('frames in real time are a thousand bits a second, however they come', () => {
  const steady = Array.from({ length: 100 }, (_, i) => [0.08 * i, 1]);
  const pairs = Array.from({ length: 50 }, (_, i) => [0.16 * i, 2]);
  const late = steady.map(([time, frames], i) => [time + (i % 5 ? 0 : 0.05), frames]);
  assert.equal(Math.round(rateOf(steady)), 1000);
  assert.equal(Math.round(rateOf(pairs)), 1000);
  assert.ok(Math.abs(rateOf(late) - 1000) < 20);
});

test('it is unknown at first, and nothing in a pause', () => {
  assert.equal(new BitRate().at(0), null);
  assert.equal(rateOf([[0, 1], [0.08, 1]]), null);
  const speech = Array.from({ length: 20 }, (_, i) => [0.08 * i, 1]);
  assert.equal(rateOf(speech, 10), 0);
  assert.equal(rateOf([...speech, [10, 1], [10.08, 1]]), null);
});
