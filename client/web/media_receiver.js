/** Checks the media of one session, unpacks them, and acknowledges them. */

import {
  CODES,
  GAP,
  PCM,
  ProtocolError,
  SEALED,
  readMedia,
  unpackCodes,
  unpackSamples,
} from './protocol.js';
import { AckPolicy } from './replay_buffer.js';

const KINDS = { [PCM]: 'pcm', [CODES]: 'codes', [SEALED]: 'sealed' }; // as in `hello`

export class MediaReceiver {
  #ready;
  #wanted;
  #listener;
  #acknowledge;
  #ackPolicy = new AckPolicy();

  /**
   * @param {any} ready the server's
   * @param {string[] | null} wanted kinds that the client has asked for
   * @param {import('./session.js').SessionListener} listener gets the media
   * @param {(seq: number) => void} acknowledge sends the number of the latest message
   */
  constructor(ready, wanted, listener, acknowledge) {
    this.#ready = ready;
    this.#wanted = wanted;
    this.#listener = listener;
    this.#acknowledge = acknowledge;
    this.received = 0; // messages
  }

  /**
   * Takes a message.
   * @param {ArrayBuffer} data
   * @throws {ProtocolError} it is not the next one, or of a kind that was not asked for
   */
  receive(data) {
    const { kind, flags, seq, frame, payload } = readMedia(data);
    if (seq !== this.received) {
      throw new ProtocolError('bad_sequence', 'A message was lost, repeated or numbered wrongly.');
    }
    this.received += 1;
    // A server that sends anything else could slip in what nobody has sealed.
    if (KINDS[kind] && !this.#wanted?.includes(KINDS[kind])) {
      throw new ProtocolError('not_allowed', `This call does not receive ${KINDS[kind]}.`);
    }
    const gap = (flags & GAP) > 0;
    if (kind === PCM) {
      this.#listener.pcm({ frame, samples: unpackSamples(payload), gap });
    } else if (kind === CODES) {
      this.#listener.codes({ frame, frames: unpackCodes(payload, this.#ready.model), gap });
    } else if (kind === SEALED) {
      this.#listener.sealed?.({ frame, payload, gap });
    }
    const acknowledges = this.#ready.resume !== null; // otherwise the server keeps nothing
    if (acknowledges && this.#ackPolicy.count(data.byteLength)) this.#acknowledge(seq);
  }
}
