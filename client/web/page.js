/** Connects the page's controls and displays to a call. */

import { Call, MODES } from './call.js';
import { CodecControls } from './codec_controls.js';
import { showStages } from './figures.js';
import { readLink } from './links.js';
import { Meter } from './meters.js';
import { Picture } from './picture.js';
import { codeBits, frameBytes } from './protocol.js';
import { RoomControls } from './room_controls.js';
import { Sound, listDevices } from './sound.js';
import { TrafficPicture } from './traffic.js';
import { ENCRYPTED, NOT_HTTPS, TOO_OLD, userMessage } from './user_messages.js';

const FIGURES_INTERVAL = 500; // ms between updates of the figures: slow enough to read
const PAUSE = 2000; // ms without codes that count as a pause
const RATE_FRAMES = 50; // frames that the bit rate is averaged over

/** @returns {any} */
const element = (id) => document.getElementById(id);
const modes = /** @type {HTMLFieldSetElement} */ (document.querySelector('.modes'));
const motion = matchMedia('(prefers-reduced-motion: reduce)');
const still = () => motion.matches; // whether the user prefers reduced motion

const server = new URL('.', location.href);
const socket = new URL(server);
socket.protocol = server.protocol === 'https:' ? 'wss:' : 'ws:';

const latency = { total: element('total'), bar: element('bar'), parts: element('parts') };
const picture = new Picture(element('picture'), still);
const meters = [
  new Meter(element('in-level'), element('in-spectrum'), still, element('ring')),
  new Meter(element('out-level'), element('out-spectrum'), still),
];

const codecs = new CodecControls(
  server,
  { select: element('codec'), progress: element('download'), note: element('codec-note') },
  say,
);
const rooms = new RoomControls(
  {
    room: element('room'),
    key: element('key'),
    token: element('token'),
    link: element('link'),
    roomField: element('room-field'),
    keyField: element('key-field'),
  },
  say,
);
const wire = new TrafficPicture(element('traffic'), ({ sent, received }) => {
  const text = (bytes) => Math.round(bytes).toLocaleString('en');
  element('sent').textContent = text(sent);
  element('received').textContent = text(received);
});

/** @type {Call | null} */
let call = null;
/** @type {number[]} ms at which the latest frames arrived */
let arrivals = [];
let frameBits = 0;

const mode = () => element('talk').elements.mode.value;

/**
 * Shows a message below the button.
 * @param {string} text
 * @param {boolean} [isError]
 */
function say(text, isError = false) {
  const status = element('status');
  status.dataset.kind = isError ? 'error' : '';
  status.textContent = text;
}

/**
 * Shows the controls of a state.
 * @param {'idle' | 'waiting' | 'live'} state
 */
function show(state) {
  element('button').dataset.state = state;
  const speaks = MODES[mode()].speaks;
  element('verb').textContent = state !== 'idle' ? 'Stop' : speaks ? 'Speak' : 'Listen';
  element('mute').disabled = state !== 'live';
  element('mute').hidden = !speaks;
  element('interrupt').hidden = state !== 'live' || MODES[mode()].role !== 'user';
  modes.disabled = state !== 'idle';
  element('token').disabled = state !== 'idle';
  element('codec').disabled = state !== 'idle';
  rooms.show(MODES[mode()].room, state === 'idle');
}

function chosenDevices() {
  return {
    microphone: element('microphone').value,
    loudspeaker: element('loudspeaker').value,
    echoCancellation: element('echo').checked,
  };
}

async function start() {
  const { speaks, receive, room: inRoom } = MODES[mode()];
  if (speaks && !navigator.mediaDevices?.getUserMedia) return say(NOT_HTTPS, true);
  if (!('AudioWorkletNode' in window)) return say(isSecureContext ? TOO_OLD : NOT_HTTPS, true);
  const key = inRoom ? rooms.secret : '';
  if (key && rooms.refusal) return say(rooms.refusal, true);
  show('waiting');
  element('button').focus(); // the field that had the focus may be disabled now
  const sound = new Sound();
  const taken = await codecs.take({ speaks, hears: receive !== null, sealed: key !== '' });
  if (!taken || taken.refusal) {
    void sound.close();
    if (taken) show('idle');
    return taken && say(taken.refusal, true);
  }
  say(speaks ? 'Waiting for the microphone…' : 'Connecting…');
  arrivals = [];
  const options = {
    mode: mode(),
    room: rooms.name,
    key: key || null,
    token: element('token').value,
    devices: chosenDevices(),
    codec: taken.codec,
  };
  call = new Call(socket.href, options, sound, {
    live,
    say,
    codes,
    over: (error) => {
      call = null;
      for (const meter of meters) meter.watch(null);
      wire.watch(null);
      element('mute').setAttribute('aria-pressed', 'false');
      show('idle');
      if (error) say(userMessage(error), true);
      if (error?.name === 'unauthorized') {
        element('token-field').hidden = false;
        element('token').focus();
      }
    },
  });
}

/** Shows that the session has begun. */
function live(ready) {
  show('live');
  wire.watch(call.traffic);
  say(
    {
      loopback: 'Speak: you hear yourself through 1000 bits a second.',
      user: 'Speak: the model listens, and answers.',
      mic: `You are speaking into the room “${ready.room}”.`,
      speaker: `You are listening to the room “${ready.room}”.`,
    }[ready.role] + (call.options.key ? ` ${ENCRYPTED}` : ''),
  );
  const { codebooks, codebook_size } = ready.model;
  frameBits = 8 * frameBytes(codebooks, codeBits(codebook_size));
  const [input, output] = [call.sound.input, call.sound.output];
  meters[0].watch(MODES[mode()].speaks ? input : null);
  meters[1].watch(ready.receive.includes('pcm') ? output : null);
  element('numbers').replaceChildren(
    ...Array.from({ length: codebooks }, () => document.createElement('li')),
  );
  picture.clear();
  for (const meter of meters) meter.clear();
  void showDevices();
}

/**
 * Shows codes.
 * @param {Uint16Array[]} frames
 */
function codes(frames) {
  picture.add(frames);
  const latest = frames[frames.length - 1];
  [...element('numbers').children].forEach((item, codebook) => {
    item.textContent = String(latest[codebook]);
  });
  arrivals.push(...frames.map(() => performance.now()));
  arrivals = arrivals.slice(-RATE_FRAMES);
}

/** Updates the bit rate, the latency and the state of the jitter buffer. */
function showFigures() {
  if (!call) return;
  const latest = arrivals[arrivals.length - 1];
  const rate = (frameBits * (arrivals.length - 1)) / ((latest - arrivals[0]) / 1e3);
  if (performance.now() - latest > PAUSE)
    arrivals = []; // the model is silent
  else if (arrivals.length > 5) element('bits').textContent = String(10 * Math.round(rate / 10));
  if (!arrivals.length) element('bits').textContent = '0';
  const stages = call.latency();
  if (!stages.length) return;
  showStages(latency, stages);
  const { target, underruns } = call.buffer;
  if (target) {
    const count = ['no underruns', '1 underrun'][underruns] ?? `${underruns} underruns`;
    element('buffer').textContent =
      `Jitter buffer: target ${Math.round(target * 1e3)} ms; ${count} so far.`;
  }
}

/** Fills the device lists; names are known once the user has allowed the microphone. */
async function showDevices() {
  const { microphones, loudspeakers } = await listDevices();
  element('loudspeaker-field').hidden = !loudspeakers.length;
  for (const [id, found] of Object.entries({
    microphone: microphones,
    loudspeaker: loudspeakers,
  })) {
    const chosen = element(id).value;
    const named = found.filter(({ deviceId }) => deviceId !== 'default');
    const options = named.map(({ label, deviceId }) => new Option(label, deviceId));
    element(id).replaceChildren(new Option('Default', ''), ...options);
    element(id).value = named.some(({ deviceId }) => deviceId === chosen) ? chosen : '';
  }
}

async function showServer() {
  let info;
  const token = element('token').value;
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch(new URL('info', server), { headers });
    if (answer.status === 401) element('token-field').hidden = false;
    info = await answer.json();
  } catch {
    return; // a proxy may hide it; the session will then report what is missing
  }
  element('token-field').hidden = !info.token_needed;
  element('conversation').hidden = !info.duplex;
  const { name, hash, input_rate, codebooks, codebook_size } = info.model;
  const bits = codebooks * codeBits(codebook_size) * (1e3 / info.frame_ms);
  const sound = (16 * input_rate).toLocaleString('en');
  element('model').textContent = `Model ${name}, ${hash.slice(0, 12)}.`;
  element('saving').textContent =
    `Each column is one frame of ${codebooks} codes: ${Math.round(bits)} bits a second in all; ` +
    `uncompressed sound takes ${sound}.`;
}

element('talk').addEventListener('submit', (event) => {
  event.preventDefault();
  if (codecs.waiting) {
    codecs.cancel();
    show('idle');
    return say('');
  }
  if (!call) return void start();
  say('');
  call.stop();
});
element('mute').addEventListener('click', () => {
  call.muted = !call.muted;
  element('mute').setAttribute('aria-pressed', String(call.muted));
});
element('interrupt').addEventListener('click', () => call.interrupt());
modes.addEventListener('change', () => {
  say('');
  show('idle');
});
for (const id of ['microphone', 'loudspeaker', 'echo']) {
  element(id).addEventListener('change', () => void call?.use(chosenDevices()));
}
navigator.mediaDevices?.addEventListener('devicechange', () => void showDevices());
setInterval(showFigures, FIGURES_INTERVAL);

/** Takes mode, room and token from the page's address. */
function followLink() {
  const { room, token, key, mode } = readLink(location.hash);
  if (call || codecs.waiting) return;
  if (mode) element('talk').elements.mode.value = mode;
  if (room) Object.assign(rooms, { name: room, secret: key ?? '' });
  if (token) element('token').value = token;
  show('idle');
}
addEventListener('hashchange', followLink);

followLink();
if (!isSecureContext) say(NOT_HTTPS, true);
void showServer();
void showDevices();

