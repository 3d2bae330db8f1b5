/** Connects the page's controls and displays to a call. */

import { BitRate } from './bit_rate.js';
import { Call, MODES } from './call.js';
import { Comparison } from './comparison.js';
import { CodecControls } from './codec_controls.js';
import { DeviceControls } from './device_controls.js';
import { DialoguePicture } from './dialogue_picture.js';
import { WAYS, bufferText, showStages } from './figures.js';
import { readLink } from './links.js';
import { Meter } from './meters.js';
import { Picture } from './picture.js';
import { codeBits, frameBytes } from './protocol.js';
import { RoomControls } from './room_controls.js';
import { showServerInfo } from './server_info.js';
import { Sharing } from './sharing.js';
import { Sound } from './sound.js';
import { TrafficPicture } from './traffic.js';
import { ENCRYPTED, MUTED, NOT_HTTPS, TOO_OLD, listenersMessage, liveMessage, userMessage } from './user_messages.js';

const FIGURES_INTERVAL = 500; // ms between updates of the figures: slow enough to read

/** @returns {any} */
const element = (id) => document.getElementById(id);
const modes = /** @type {HTMLFieldSetElement} */ (document.querySelector('#talk .modes'));
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
const devices = new DeviceControls(
  {
    microphone: element('microphone'),
    loudspeaker: element('loudspeaker'),
    echo: element('echo'),
    loudspeakerField: element('loudspeaker-field'),
  },
  () => void call?.use(devices.chosen),
);
new Sharing(
  {
    button: element('share'),
    dialog: element('sharing'),
    canvas: element('qr'),
    anchor: element('shared'),
    unreachable: element('unreachable'),
    close: element('shared-close'),
  },
  server,
  () => ({ room: rooms.name, token: element('token').value, key: rooms.secret }),
);
new Comparison(
  {
    record: element('record'),
    sample: element('sample'),
    state: element('comparing'),
    player: element('player'),
    play: element('play'),
    first: element('first'),
    second: element('second'),
    blind: element('blind'),
    reveal: element('reveal'),
    original: element('original-file'),
    decoded: element('decoded-file'),
    codes: element('codes-file'),
    codebooks: element('codebooks'),
    bits: element('codebooks-bits'),
  },
  socket.href,
  async () => {
    if (call) throw new Error('End the call first.');
    const sound = new Sound();
    const taken = await codecs.take({ speaks: true, hears: true, sealed: false });
    if (!taken || taken.refusal) {
      await sound.close();
      throw new Error(taken?.refusal ?? 'Given up.');
    }
    return { token: element('token').value, codec: taken.codec, sound, devices: devices.chosen };
  },
);
const wire = new TrafficPicture(element('traffic'), ({ sent, received }) => {
  const text = (bytes) => Math.round(bytes).toLocaleString('en');
  element('sent').textContent = text(sent);
  element('received').textContent = text(received);
});

/** @type {Call | null} */
let call = null;
const rate = new BitRate();
const dialogue = new DialoguePicture({
  canvas: element('lanes'),
  speaking: element('speaking'),
  answer: element('answer'),
});
let liveText = ''; // the message of the call that goes on, unless it is muted

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
  element('dialogue').hidden = mode() !== 'conversation';
  element('listeners').hidden = mode() !== 'mic' || state !== 'live';
  element('share').hidden = !MODES[mode()].room;
  element('hint').hidden = !speaks || !MODES[mode()].receive;
  element('way').textContent = WAYS[MODES[mode()].role];
}

/** Begins a call in the chosen mode; says why if there can be none. */
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
  const options = {
    mode: mode(),
    room: rooms.name,
    key: key || null,
    token: element('token').value,
    devices: devices.chosen,
    codec: taken.codec,
  };
  call = new Call(socket.href, options, sound, {
    live,
    say,
    codes,
    spoke: (samples) => dialogue.heard(samples),
    said: (frames) => dialogue.said(frames),
    listeners: (count) => (element('listeners').textContent = listenersMessage(count)),
    moved: () => codecs.moved(),
    cut: () => dialogue.interrupted(),
    over,
  });
}

/**
 * Shows that the call has ended.
 * @param {Error | null} error the reason; null: the user or the server has ended it
 */
function over(error) {
  call = null;
  for (const meter of meters) meter.watch(null);
  wire.watch(null);
  dialogue.end();
  element('mute').setAttribute('aria-pressed', 'false');
  show('idle');
  if (error) say(userMessage(error), true);
  if (error?.name === 'unauthorized') {
    element('token-field').hidden = false;
    element('token').focus();
  }
}

/** Shows that the session has begun. */
function live(ready) {
  show('live');
  wire.watch(call.traffic);
  if (ready.role === 'user') dialogue.begin();
  element('listeners').textContent = '';
  liveText = liveMessage(ready) + (call.options.key ? ` ${ENCRYPTED}` : '');
  say(call.muted ? MUTED : liveText);
  const { codebooks, codebook_size } = ready.model;
  rate.begin(8 * frameBytes(codebooks, codeBits(codebook_size)));
  const [input, output] = [call.sound.input, call.sound.output];
  meters[0].watch(MODES[mode()].speaks ? input : null);
  meters[1].watch(ready.receive.includes('pcm') ? output : null);
  element('numbers').replaceChildren(
    ...Array.from({ length: codebooks }, () => document.createElement('li')),
  );
  picture.clear();
  for (const meter of meters) meter.clear();
  void devices.show();
}

/**
 * Shows codes.
 * @param {Uint16Array[]} frames
 */
function codes(frames) {
  picture.add(frames);
  dialogue.answered(frames);
  const latest = frames[frames.length - 1];
  [...element('numbers').children].forEach((item, codebook) => {
    item.textContent = String(latest[codebook]);
  });
  rate.add(frames.length, performance.now() / 1e3);
}

/** Updates the bit rate, the latency and the state of the jitter buffer. */
function showFigures() {
  if (!call) return;
  const bits = rate.at(performance.now() / 1e3);
  element('bits').textContent = bits === null ? '–' : String(10 * Math.round(bits / 10));
  const stages = call.latency();
  if (!stages.length) return;
  showStages(latency, stages);
  element('buffer').textContent = bufferText(call.buffer);
  element('buffer').dataset.underruns = String(call.buffer.underruns);
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
  say(call.muted ? MUTED : liveText);
});
element('interrupt').addEventListener('click', () => call.interrupt());
modes.addEventListener('change', () => {
  say('');
  show('idle');
});
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
void showServerInfo(server, element('token').value, {
  tokenField: element('token-field'),
  conversation: element('conversation'),
  duplexModel: element('lane-model'),
  model: element('model'),
  saving: element('saving'),
});

