import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Dialogue, SLOT, slotOf, speakingText } from '../../client/web/dialogue.js';

const LOUD = new Int16Array(320).fill(3000);
const QUIET = new Int16Array(320);
const CODES = new Uint16Array(8);

/** The user speaks for `seconds`, in blocks of 20 ms. */
function speak(dialogue, from, seconds, samples = LOUD) {
  for (let at = 0; at < seconds; at += 0.02) dialogue.heard(samples, from + at);
}

test('the answer is timed from the last sound of the user to the first of the model', () => {
  const dialogue = new Dialogue(60);
  speak(dialogue, 10, 1);
  speak(dialogue, 11, 0.5, QUIET);
  assert.equal(dialogue.answerMs, null);
  dialogue.answered([CODES], 11.58);
  assert.ok(Math.abs(dialogue.answerMs - 600) < 25);
  dialogue.answered([CODES], 11.66); // the same answer goes on
  assert.ok(Math.abs(dialogue.answerMs - 600) < 25);
});

test('a noise is no utterance, and silence none at all', () => {
  const dialogue = new Dialogue(60);
  speak(dialogue, 10, 0.06);
  dialogue.answered([CODES], 11);
  assert.equal(dialogue.answerMs, null);
});

test('both lanes lie on one clock, however the frames come', () => {
  const dialogue = new Dialogue(60);
  const now = 100 * SLOT + 0.01;
  dialogue.said([CODES, CODES], now);
  dialogue.answered([CODES, CODES, CODES], now);
  assert.deepEqual([99, 100, 101].map((n) => !!dialogue.at(n)?.said), [true, true, false]);
  assert.deepEqual([99, 100, 102].map((n) => !!dialogue.at(n)?.answered), [false, true, true]);
  dialogue.interrupted(now);
  assert.ok(dialogue.at(100).cut);
  assert.deepEqual([100, 101, 102].map((n) => !!dialogue.at(n)?.answered), [true, false, false]);
});

test('it says who speaks', () => {
  const dialogue = new Dialogue(60);
  assert.equal(speakingText(dialogue.speaking(10)), 'Nobody speaks.');
  speak(dialogue, 10, 1);
  assert.equal(speakingText(dialogue.speaking(11)), 'You speak.');
  dialogue.answered([CODES], 11);
  assert.equal(speakingText(dialogue.speaking(11)), 'Both speak.');
  dialogue.answered([CODES], 12);
  assert.equal(speakingText(dialogue.speaking(12)), 'The model speaks.');
});

test('it forgets what is long ago', () => {
  const dialogue = new Dialogue(1);
  dialogue.answered([CODES], 10);
  dialogue.heard(QUIET, 20);
  assert.equal(dialogue.at(slotOf(10)), undefined);
});
