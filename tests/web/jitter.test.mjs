// The page's jitter buffer in the simulations of tests/client/test_jitter.py.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { JitterBuffer } from '../../client/web/jitter.js';

const RATE = 16000;
const PACKET = 1280; // 80 ms
const BLOCK = 320; // 20 ms

const buffer = (options) => new JitterBuffer(1000, { limit: 1, ...options });
const sound = (count, start = 0) => Float32Array.from({ length: count }, (_, i) => start + i);

/** @returns {number[]} what was played, without the silence behind it */
function pull(jitter, count) {
  const out = new Float32Array(count);
  const filled = jitter.pull(out);
  assert.ok(out.subarray(filled).every((sample) => sample === 0));
  return [...out.subarray(0, filled)];
}

test('playing begins at the target', () => {
  const jitter = buffer();
  jitter.push(sound(99));
  assert.deepEqual(pull(jitter, 10), []);
  assert.equal(jitter.depth, 0.099);
  jitter.push(sound(1, 99));
  assert.deepEqual([...pull(jitter, 60), ...pull(jitter, 40)], [...sound(100)]);
  assert.equal(jitter.underruns, 0);
});

test('an underrun plays the rest and raises the target', () => {
  const jitter = buffer();
  jitter.push(sound(120));
  assert.deepEqual(pull(jitter, 150).slice(0, 120), [...sound(120)]);
  assert.equal(jitter.underruns, 1);
  assert.ok(Math.abs(jitter.target - 0.14) < 1e-9);
  jitter.push(sound(139, 120));
  pull(jitter, 1000); // what stands in
  assert.equal(jitter.depth, 0.139);
  assert.equal(jitter.underruns, 1); // silence goes on: it is the same one
  jitter.push(sound(1, 259));
  assert.equal(pull(jitter, 20).at(-1), 139);
});

test('beyond the limit the oldest is dropped', () => {
  const jitter = buffer({ limit: 0.2 });
  jitter.push(sound(150));
  jitter.push(sound(150, 150));
  assert.deepEqual([jitter.depth, jitter.dropped], [0.2, 100]);
  assert.deepEqual(pull(jitter, 200), [...sound(200, 100)]);
  jitter.push(sound(500));
  assert.equal(jitter.dropped, 100 + 300);
});

test('finish plays a rest below the target', () => {
  const jitter = buffer();
  jitter.push(sound(5));
  assert.deepEqual(pull(jitter, 10), []);
  jitter.finish();
  assert.ok(!jitter.done);
  assert.deepEqual(pull(jitter, 10), [0, 1, 2, 3, 4]);
  assert.ok(jitter.done);
  assert.equal(jitter.underruns, 0);
});

/** A call: packets of a tone arrive at these times, ms, and a card asks for 20 ms each 20 ms. */
function simulate(arrivals, seconds = Math.round(Math.max(...arrivals)) / 1e3) {
  const tone = Float32Array.from({ length: arrivals.length * PACKET }, (_, n) =>
    Math.trunc(8000 * Math.sin((2 * Math.PI * 220 * n) / RATE)),
  );
  const jitter = new JitterBuffer(RATE);
  const played = new Float32Array(Math.ceil((seconds * 1e3) / 20) * BLOCK);
  const depths = [];
  let given = 0;
  for (let now = 0; now < seconds * 1e3; now += 20) {
    for (; given < arrivals.length && arrivals[given] <= now; given++) {
      jitter.push(tone.subarray(given * PACKET, (given + 1) * PACKET));
    }
    jitter.pull(played.subarray((now / 20) * BLOCK, (now / 20 + 1) * BLOCK));
    depths.push(jitter.depth);
  }
  return { jitter, played, depths };
}

/** Arrivals every 80 ms, each later by some ms; TCP keeps their order. */
function even(late) {
  let last = 0;
  return late.map((ms, packet) => (last = Math.max(last, 80 * packet + ms)));
}

const repeated = (values, count) =>
  Array.from({ length: count }, (_, i) => values[i % values.length]);
const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;
const jump = (played) =>
  played.reduce((most, x, i) => Math.max(most, i && Math.abs(x - played[i - 1])), 0);

// Lateness in ms of successive packets over a home's wireless network, and over a train's.
const HOME = [
  4, 3, 6, 2, 3, 18, 5, 3, 4, 2, 3, 9, 27, 4, 3, 5, 2, 6, 3, 4, 12, 3, 2, 5, 31, 8, 3, 4,
];
const TRAIN = [
  40, 62, 55, 180, 130, 60, 48, 71, 240, 310, 260, 190, 120, 66, 58, 49, 90, 130, 75, 52,
];

for (const [name, late, underruns] of [
  ['a home', HOME, 0],
  ['a train', TRAIN, 6],
]) {
  test(`recorded networks: ${name}`, () => {
    const { jitter, played, depths } = simulate(even(repeated(late, 1500)));
    assert.ok(jitter.underruns <= underruns);
    const after = depths.slice(depths.length / 2).sort((a, b) => a - b);
    assert.ok(after[after.length >> 1] <= Math.max(...late) / 1e3 + 0.1 + 0.1);
    assert.ok(jump(played) < 3000);
  });
}

for (const [stall, back] of [
  [0.3, 2],
  [0.6, 3],
  [1.5, 8],
]) {
  test(`what a stall of ${stall} s lets through does not stay as delay`, () => {
    const late = Array.from({ length: 600 }, (_, i) => (i === 100 ? stall * 1000 : 5));
    const { jitter, played, depths } = simulate(even(late));
    const before = mean(depths.slice(300, 400));
    const over = Math.round((8 + stall) * 50);
    const after = over + back * 50;
    assert.ok(Math.max(...depths.slice(over, over + 20)) > stall - 0.2);
    assert.ok(mean(depths.slice(after, after + 50)) < before + 0.1);
    assert.ok(mean(depths.slice(-100)) < before + 0.05);
    assert.equal(jitter.underruns, 1);
    assert.ok(jump(played) < 3000);
  });
}

test('the target stays at steady jitter', () => {
  const { jitter, depths } = simulate(even(repeated([240, 160, 80, 0], 4000)));
  assert.equal(jitter.underruns, 0);
  assert.ok(mean(depths) < 0.2);
});

test('the target covers repeated stalls', () => {
  const late = Array.from({ length: 7500 }, (_, i) => (i % 125 ? 5 : 400));
  const half = simulate(even(late.slice(0, 3750))).jitter.underruns;
  const { jitter } = simulate(even(late));
  assert.ok(half <= 12);
  assert.ok(jitter.underruns <= half + 3);
});

test('stable arrivals end with a low depth', () => {
  const { jitter, played, depths } = simulate(even(repeated([0], 1500)));
  assert.equal(jitter.underruns, 0);
  assert.ok(jitter.skipped > 0);
  assert.ok(mean(depths.slice(-500)) <= mean(depths.slice(50, 500)));
  assert.ok(Math.max(...depths.slice(-500)) <= 0.18);
  assert.ok(jump(played) < 3000);
});

test('the depth grows with jitter and shrinks after it', () => {
  const bad = Array.from({ length: 400 }, (_, i) => (i % 20 ? 5 : 400));
  const late = [...repeated([0], 100), ...bad, ...repeated([0], 3000)];
  const { jitter, depths } = simulate(even(late));
  assert.ok(Math.max(...depths.slice(1600, 2000)) > 0.3);
  assert.ok(mean(depths.slice(-500)) < 0.2);
  assert.ok(jitter.underruns >= 1 && jitter.underruns <= 12);
});

test('random arrivals never click', () => {
  let seed = 7;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const late = Array.from({ length: 600 }, () =>
    random() < 0.02 ? 100 + 1900 * random() : -15 * Math.log(random()),
  );
  const { jitter, played, depths } = simulate(even(late));
  assert.ok(jitter.underruns > 0);
  assert.ok(Math.max(...depths) <= 2);
  assert.ok(jump(played) < 9000);
  assert.ok(jitter.target <= 1);
});

test('late audio is concealed by a fade-out', () => {
  const jitter = new JitterBuffer(RATE);
  const tone = Float32Array.from({ length: 4 * PACKET }, (_, n) => 8000 * Math.sin(n / 10));
  jitter.push(tone);
  pull(jitter, 4 * PACKET - 100);
  const late = pull(jitter, BLOCK);
  assert.equal(late.length, BLOCK);
  assert.ok(Math.max(...late.slice(100, 200).map(Math.abs)) > 4000);
  const gone = [...pull(jitter, BLOCK), ...pull(jitter, BLOCK)];
  assert.ok(Math.max(...gone.slice(-50).map(Math.abs)) < 500);
  assert.ok(jump([...tone.subarray(0, -100), ...late, ...gone]) < 2000);
});

test('clear fades out and starts filling again', () => {
  const jitter = new JitterBuffer(RATE);
  jitter.push(new Float32Array(3 * PACKET).fill(8000));
  pull(jitter, BLOCK);
  const fade = RATE / 200;
  assert.equal(jitter.clear(), 3 * PACKET - BLOCK - fade);
  const out = pull(jitter, BLOCK);
  assert.deepEqual([out.length, out[0], out.at(-1)], [fade, 8000, 0]);
  assert.ok(out.every((x, i) => !i || x <= out[i - 1]));
  assert.deepEqual([pull(jitter, BLOCK).length, jitter.depth, jitter.underruns], [0, 0, 0]);
  jitter.push(new Float32Array(3 * PACKET).fill(500));
  assert.equal(pull(jitter, BLOCK).at(-1), 500);
});

test('clear before playing plays nothing', () => {
  const jitter = new JitterBuffer(RATE);
  jitter.push(new Float32Array(BLOCK).fill(8000));
  assert.equal(jitter.clear(), BLOCK);
  assert.deepEqual(pull(jitter, BLOCK), []);
});

test('a gap is crossfaded', () => {
  const jitter = new JitterBuffer(RATE);
  jitter.push(new Float32Array(PACKET).fill(10000));
  jitter.push(new Float32Array(PACKET).fill(-10000), true);
  assert.ok(jump(pull(jitter, 2 * PACKET)) < 1000);
});
