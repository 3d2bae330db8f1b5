// Resampling: tones stay, higher ones are filtered out, chunking changes nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Resampler } from '../../client/web/resample.js';

const tone = (hertz, rate, seconds = 0.5) =>
  Float32Array.from({ length: Math.round(rate * seconds) }, (_, n) =>
    Math.sin((2 * Math.PI * hertz * n) / rate),
  );

function through(from, to, samples, piece = 128) {
  const resampler = new Resampler(from, to);
  const out = [];
  for (let at = 0; at < samples.length; at += piece) {
    out.push(...resampler.push(samples.subarray(at, at + piece)));
  }
  return { out, lag: resampler.lag };
}

const decibels = (power) => 10 * Math.log10(power + 1e-20);
const power = (samples) => samples.reduce((sum, x) => sum + x * x, 0) / samples.length;

for (const [from, to] of [
  [48000, 16000],
  [44100, 16000],
  [16000, 48000],
  [16000, 44100],
  [24000, 96000],
  [192000, 16000],
]) {
  test(`${from} Hz to ${to} Hz`, () => {
    const { out, lag } = through(from, to, tone(1000, from));
    const due = Math.round(to * (0.5 - lag));
    assert.ok(Math.abs(out.length - due) <= 1 + to / from, `${out.length} of ${due}`);
    assert.ok(lag < 0.004);
    // Sample n stands for the moment n / to; at first the filter still hears the silence before.
    const calm = Math.round(2 * lag * to);
    const wrong = out.map((x, n) => x - Math.sin((2 * Math.PI * 1000 * n) / to)).slice(calm);
    assert.ok(decibels(power(wrong)) < -70, `${decibels(power(wrong))} dB`);
  });
}

test('frequencies above the lower rate are filtered out', () => {
  const { out } = through(48000, 16000, tone(9000, 48000));
  assert.ok(decibels(power(out.slice(400))) < -70);
});

test('chunking does not change the output', () => {
  const samples = tone(700, 44100);
  assert.deepEqual(
    through(44100, 16000, samples, 128).out,
    through(44100, 16000, samples, 5000).out,
  );
});

test('equal rates pass unchanged', () => {
  const samples = tone(700, 16000);
  const { out, lag } = through(16000, 16000, samples);
  assert.deepEqual(out, [...samples]);
  assert.equal(lag, 0);
});
