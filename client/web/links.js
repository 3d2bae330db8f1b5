/** Reads and writes links to the page: what they name lies behind the #, which browsers do not send. */

/**
 * @typedef {object} Link
 * @property {string | null} room
 * @property {string | null} token
 * @property {string | null} key of an encrypted room
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
  const [token, key] = ['token', 'key'].map((name) => values.get(name) || null);
  return { room, token, key, mode: mode ?? (room ? 'speaker' : null) };
}

/**
 * The address of a page that listens to a room.
 * @param {URL} page
 * @param {string} room
 * @param {string} token empty: without one
 * @param {string} [key] of an encrypted room; empty: it is not encrypted
 * @returns {string}
 */
export function roomLink(page, room, token, key = '') {
  const link = new URL(page);
  const values = new URLSearchParams({ room, ...(token && { token }), ...(key && { key }) });
  link.hash = values.toString();
  return link.href;
}
