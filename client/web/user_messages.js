/** What goes wrong, in a sentence that says what to do. */

const MICROPHONE = {
  NotAllowedError:
    'Permission denied: this page may not use the microphone. ' +
    'Allow it in the browser’s address bar, then try again.',
  NotFoundError: 'No microphone: there is none on this device. Connect one, then try again.',
  NotReadableError:
    'The microphone cannot be opened: another program may be using it. ' +
    'Close that one, then try again.',
  OverconstrainedError: 'The chosen microphone is gone. Choose another one, then try again.',
};

const SESSION = {
  busy: 'Server busy: everyone who fits is talking already. Try again in a moment.',
  too_many: 'Too many connections from your address at once. Wait a moment, then try again.',
  unauthorized: 'This server wants a token, and this is not it. Type it in, then try again.',
  forbidden: 'Your token does not open this. Choose something else, or use another token.',
  room_has_mic:
    'Somebody is speaking into this room already. Choose another room, or listen to it.',
  room_has_user: 'Somebody is talking in this room already. Choose another one.',
  room_full: 'This room is full. Choose another one.',
  unknown_role: 'This server does not offer that. Choose something else.',
  time_over: 'The time that this server gives to one call is over.',
  idle: 'The server heard nothing for too long, and has hung up.',
  superseded: 'The call goes on in another window.',
  internal: 'The server failed: it is not your fault. Try again.',
  unreachable: 'There is no answer from the server. Is it running? Try again.',
};

export const NOT_HTTPS =
  'Not https: browsers give the microphone to secure pages only. ' +
  'Open this page by https://, or on the server’s own machine as http://localhost.';
export const TOO_OLD = 'This browser is too old for live sound: it has no AudioWorklet.';
export const MICROPHONE_LOST = 'The microphone is gone. Connect it again, or choose another one.';
export const RESUMING = 'Connection lost, resuming…';
export const RESUMED = 'The connection is back: the call goes on.';
export const RESTARTED = 'The connection is back, and a new call has begun.';
export const MIC_LEFT = 'Whoever spoke has left the room.';

/**
 * @param {Error} error of getUserMedia or of a session
 * @returns {string}
 */
export function sentence(error) {
  return MICROPHONE[error.name] ?? SESSION[error.name] ?? error.message;
}
