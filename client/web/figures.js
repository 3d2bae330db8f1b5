/** Shows the stages of the latency as a bar and a list: a stage has one colour in every mode. */

/** What the stages of a session together are: the way that it measures. */
export const WAYS = {
  loopback: 'From your microphone to your loudspeaker, through the server and back.',
  user: 'From your microphone to the model, and from its answer to your loudspeaker.',
  mic: 'From your microphone to the server. The listeners’ half of the way is theirs to measure.',
  speaker: 'From the server to your loudspeaker. The speaker’s half of the way comes before.',
};

/** What each part of the latency is. */
const PARTS = {
  microphone: 'what the browser says that the microphone takes',
  capture: 'until a piece of sound, 20 ms, is sent',
  frame: 'sound is encoded 80 ms at a time, so the beginning of a frame waits for its end',
  network: 'to the server and back, or one way where sound goes one way',
  queue: 'until it is the frame’s turn in the codec',
  model: 'until the speech model has answered',
  encode: 'from sound to codes',
  decode: 'from codes to sound',
  overlap: 'each frame fades into the next one',
  buffer: 'sound kept ready, so that what comes unevenly is played evenly',
  loudspeaker: 'what the browser says that the loudspeaker takes',
};

const MORE_THAN_NEEDED = 0.08; // s above the target of which the page speaks

/**
 * The state of the jitter buffer in words.
 * @param {{wait: number, target: number, underruns: number}} buffer
 * @returns {string} empty: nothing was buffered yet
 */
export function bufferText({ wait, target, underruns }) {
  if (!target) return '';
  const ms = (seconds) => Math.round(seconds * 1e3);
  const count = ['has never run dry', 'ran dry once'][underruns] ?? `ran dry ${underruns} times`;
  const more = wait - target;
  const excess =
    more > MORE_THAN_NEEDED
      ? ` It holds ${ms(more)} ms more than it needs now, and gives that up little by little.`
      : '';
  return `The jitter buffer aims at ${ms(target)} ms and ${count}.${excess}`;
}

/**
 * @param {{total: HTMLElement, bar: HTMLElement, parts: HTMLElement}} elements
 * @param {import('./latency.js').Stage[]} stages
 */
export function showStages({ total, bar, parts }, stages) {
  // The stages are rounded before they are summed, so that the shown figures add up.
  const shown = stages.map(({ name, ms }) => ({ name, ms: ms === null ? null : Math.round(ms) }));
  const known = shown.every(({ ms, name }) => ms !== null || name === 'microphone');
  const sum = shown.reduce((all, { ms }) => all + (ms ?? 0), 0);
  total.textContent = known ? String(sum) : '–';
  bar.replaceChildren(...shown.map(({ name, ms }) => segment(ms ?? 0, name)));
  parts.replaceChildren(...shown.map(({ name, ms }) => term(name, ms)));
}

function segment(ms, name) {
  const span = document.createElement('span');
  span.dataset.part = name;
  span.style.flexGrow = String(ms);
  return span;
}

function term(name, ms) {
  const [row, dt, dd] = ['div', 'dt', 'dd'].map((tag) => document.createElement(tag));
  row.dataset.part = name;
  row.title = PARTS[name];
  dt.textContent = name;
  dd.textContent = ms === null ? 'unknown' : `${ms} ms`;
  row.append(dt, dd);
  return row;
}
