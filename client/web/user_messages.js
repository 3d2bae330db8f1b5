/** The page's messages to the user: each says what happened and what to do. */

const MICROPHONE = {
  NotAllowedError:
    'Permission denied: this page may not use the microphone. ' +
    'Allow it in the browser’s address bar, then try again.',
  NotFoundError: 'No microphone: there is none on this device. Connect one, then try again.',
  NotReadableError:
    'The microphone cannot be opened: another program may be using it. ' +
    'Close that program, then try again.',
  OverconstrainedError: 'The chosen microphone is gone. Choose another one, then try again.',
};

const LOCAL = ['localhost', '127.0.0.1', '[::1]'];

const SESSION = {
  too_many: 'Too many connections from your address at once. Wait a moment, then try again.',
  unauthorized: 'This server requires a token. Enter it, then try again.',
  forbidden: 'Your token does not allow this. Choose another mode, or use another token.',
  room_has_mic:
    'This room has a microphone already. Choose another room, or listen to this one.',
  room_has_user: 'This room has a user already. Choose another room.',
  room_sealed: 'This room is encrypted: open its link, or enter its key.',
  room_not_sealed: 'This room is not encrypted: leave the key out, or choose another room.',
  room_full: 'This room is full. Choose another room.',
  unknown_role: 'This server does not offer this mode. Choose another one.',
  wrong_model: 'The codes of this page and of the server belong to different models. Load it again.',
  no_codec: 'This server has no codec of its own: it serves clients that have one.',
  time_over: 'The call has reached the longest time that this server allows.',
  idle: 'The server received nothing for too long and has ended the call.',
  superseded: 'The call continues in another window.',
  internal: 'The server failed. Try again.',
  unreachable: 'There is no answer from the server. Is it running? Try again.',
};

export const NOT_HTTPS =
  'Not https: browsers allow the microphone on secure pages only. ' +
  'Open this page with https://, or on the server’s own machine as http://localhost.';
export const TOO_OLD = 'This browser is too old for live sound: it has no AudioWorklet.';
export const ENCRYPTED = 'It is encrypted from end to end.';
export const MICROPHONE_LOST =
  'The microphone was disconnected. Connect it again, or choose another one.';
export const RESUMING = 'Connection lost, resuming…';
export const RESUMED = 'The connection is back: the call goes on.';
export const RESTARTED = 'The connection is back, and a new call has begun.';
export const SPEAKER_LEFT = 'The speaker has left the room. Waiting for the next one…';
export const MUTED = 'You are muted: nobody hears you until you press Mute again.';

/** @param {string} room */
export const listening = (room) => `You are listening to the room “${room}”.`;

/**
 * What the user can do now, by the role of the session that has begun.
 * @param {any} ready
 * @returns {string}
 */
export function liveMessage({ role, room }) {
  if (role === 'loopback') return 'Speak: you hear yourself through 1000 bits a second.';
  if (role === 'user') return 'Speak: the model listens, and answers.';
  if (role === 'speaker') return `${listening(room)} Nobody is speaking there yet.`;
  return `You are speaking into the room “${room}”.`;
}

/** @param {number} count of listeners in the room of this microphone */
export function listenersMessage(count) {
  if (!count) return 'Nobody listens yet.';
  return count === 1 ? 'One listener hears you.' : `${count} listeners hear you.`;
}

/**
 * The message for a notice of the server's.
 * @param {{name: string, message: string}} notice
 * @param {string} host the server's
 * @returns {string}
 */
export function noticeMessage({ name, message }, host) {
  if (name !== 'too_slow') return message;
  const computer = LOCAL.includes(host) ? 'This computer' : 'The server’s computer';
  return `${computer} is too slow for the codec: the oldest sound is left out.`;
}

/**
 * The message for an error.
 * @param {Error} error of getUserMedia or of a session
 * @returns {string}
 */
export function userMessage(error) {

  if (error.name === 'busy') return `Server busy. ${error.message}`; // the server says why
  return MICROPHONE[error.name] ?? SESSION[error.name] ?? error.message;
}
