/** Reads and writes links to the page: what they name lies behind the #, which browsers do not send. */

/**
 * @typedef {object} Link
 * @property {string | null} room
 * @property {string | null} token
 * @property {'mic' | 'speaker' | null} mode null: the page's own choice
 */

const LONGEST_ROOM = 64; // characters, as in docs/protocol.md

/**
 * Reads the part of an address from the # on; what it does not know is left out.
 * @param {string} hash
 * @returns {Link}
 */
export function readLink(hash) {
  const values = new URLSearchParams(hash.replace(/^#/, ''));
  const room = (values.get('room') ?? '').slice(0, LONGEST_ROOM) || null;
  const named = values.get('mode');
  const mode = named === 'mic' || named === 'speaker' ? named : null;
  return { room, token: values.get('token') || null, mode: mode ?? (room ? 'speaker' : null) };
}

/**
 * The address of a page that listens to a room.
 * @param {URL} page
 * @param {string} room
 * @param {string} token empty: without one
 * @returns {string}
 */
export function roomLink(page, room, token) {
  const link = new URL(page);
  const values = new URLSearchParams(token ? { room, token } : { room });
  link.hash = values.toString();
  return link.href;
}
