/** The fields of a room: its name, its key, and the link that leads others into it. */

import { roomLink } from './links.js';
import { SHORTEST_KEY, makeKey } from './sealing.js';

const KEY_TOO_SHORT = `A room’s key has at least ${SHORTEST_KEY} characters.`;

export class RoomControls {
  /**
   * @param {{room: HTMLInputElement, key: HTMLInputElement, token: HTMLInputElement,
   *   link: HTMLButtonElement, roomField: HTMLElement, keyField: HTMLElement}} elements
   * @param {(text: string, isError?: boolean) => void} say
   */
  constructor(elements, say) {
    Object.assign(this, elements);
    this.say = say;
    this.link.addEventListener('click', () => void this.#copyLink());
  }

  get name() {
    return this.room.value;
  }

  set name(name) {
    this.room.value = name;
  }

  /** The key; '' for a room that is not encrypted. */
  get secret() {
    return this.key.value;
  }

  set secret(key) {
    this.key.value = key;
  }

  /** Why a call with this key cannot begin; null: it can. */
  get refusal() {
    return this.secret && this.secret.length < SHORTEST_KEY ? KEY_TOO_SHORT : null;
  }

  /**
   * Shows the fields.
   * @param {boolean} used whether the mode has a room
   * @param {boolean} enabled
   */
  show(used, enabled) {
    this.roomField.hidden = this.keyField.hidden = this.link.hidden = !used;
    this.room.disabled = this.key.disabled = !enabled || !used;
  }

  /** A link with a key: a new one if there is none, unless a call runs without. */
  async #copyLink() {
    if (this.key.disabled && !this.secret) {
      this.say('This call is not encrypted: stop it first.');
      return;
    }
    this.secret ||= makeKey();
    const url = roomLink(new URL(location.href), this.name, this.token.value, this.secret);
    history.replaceState(null, '', url);
    try {
      await navigator.clipboard.writeText(url);
      this.say('The link is copied: who has it hears this room, and the server does not.');
    } catch {
      this.say('The link is this page’s address now: who has it hears this room.');
    }
  }
}
