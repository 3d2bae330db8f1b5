// Silence in a conversation: which frames of the clock have no codes.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { AnswerClock } from '../../client/web/answer_clock.js';

/** A conversation in which the model answers the frames of `spoken`, each `delay` s after it. */
function played(frames, spoken, delay) {
  const clock = new AnswerClock();
  const timeline = []; // of each played frame: silent or not, and when
  const silence = (count, now) => {
    for (let i = 0; i < count; i++) timeline.push({ silent: true, now });
  };
  for (let tick = 0; tick < frames * 8; tick++) {
    const now = tick * 0.01;
    if (tick % 8 === 0) clock.sent(now);
    const answered = Math.round((now - delay) / 0.08);
    const isDue = answered >= 0 && Math.abs(answered * 0.08 + delay - now) < 0.004;
    if (isDue && spoken(answered)) {
      silence(clock.arrived(answered, 1, now), now);
      timeline.push({ silent: false, frame: answered, now });
    }
    if (tick % 8 === 0) silence(clock.overdue(now), now);
  }
  return timeline;
}

test('every frame is played once, in its place', () => {
  const timeline = played(100, (frame) => frame % 30 < 10, 0.12);
  timeline.forEach(({ silent, frame }, i) => {
    assert.equal(silent, i % 30 >= 10, `frame ${i}`);
    if (!silent) assert.equal(frame, i);
  });
  assert.ok(timeline.length >= 95);
});

test('silence comes as late as answers do, and no later', () => {
  const timeline = played(200, (frame) => frame < 50 || frame >= 150, 0.12);
  const late = timeline.map(({ now }, i) => now - i * 0.08);
  for (const seconds of late.slice(60, 140)) assert.ok(seconds > 0.1 && seconds <= 0.12 + 0.13);
});

test('a model that never speaks is silence all along', () => {
  const timeline = played(50, () => false, 0);
  assert.ok(timeline.length >= 45 && timeline.every(({ silent }) => silent));
});

test('answers after their silence make nothing else silent', () => {
  const clock = new AnswerClock();
  for (let frame = 0; frame < 10; frame++) clock.sent(frame * 0.08);
  assert.equal(clock.overdue(2), 10);
  assert.equal(clock.arrived(4, 1, 2.1), 0);
  assert.equal(clock.arrived(5, 1, 2.2), 0);
  clock.sent(2.3);
  assert.equal(clock.arrived(12, 2, 2.4), 2);
});
