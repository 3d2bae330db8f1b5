/** Hear the difference: records ten seconds, and plays original and decoded at a switch. */

import { codeFile, wavFile } from './sound_files.js';
import { Switcher } from './switcher.js';
import { Take } from './take.js';
import { userMessage } from './user_messages.js';

const SECONDS = 10;
const CHUNK = 0.02; // seconds of the sample that are sent at a time

export class Comparison {
  #busy = false;
  #stop = null; // ends the recording early
  /** @type {Switcher | null} */
  #switcher = null;
  #swapped = false; // whether A is the decoded sound, in a blind comparison

  /**
   * @param {Record<string, any>} elements record, sample, state, player, play, first, second, blind,
   *   reveal, original, decoded, codes
   * @param {string} url of the server's websocket
   * @param {() => Promise<{token: string, codec: any, sound: any, devices: any}>} prepare called in
   *   a click handler
   */
  constructor(elements, url, prepare) {
    Object.assign(this, elements);
    this.url = url;
    this.prepare = prepare;
    this.record.addEventListener('click', () => void this.#run((take, sound, devices) =>
      this.#fromMicrophone(take, sound, devices)));
    this.sample.addEventListener('click', () => void this.#run((take, sound) =>
      this.#fromFile(take, sound)));
    this.play.addEventListener('click', () => this.#toggle());
    for (const radio of [this.first, this.second]) {
      radio.addEventListener('change', () => this.#choose());
    }
    this.blind.addEventListener('change', () => this.#shuffle());
    this.reveal.addEventListener('click', () => this.#name(true));
  }

  /** Records or reads a clip and sends it through the codec. */
  async #run(feed) {
    if (this.#busy) return this.#stop?.();
    this.#busy = true;
    this.#switcher?.stop();
    this.player.hidden = true;
    let sound = null;
    try {
      const prepared = await this.prepare();
      sound = prepared.sound;
      const take = new Take(this.url, prepared.token, prepared.codec);
      const ready = await take.begun;
      const frameSamples = Math.round((ready.model.input_rate * ready.frame_ms) / 1e3);
      await Promise.race([feed(take, sound, prepared.devices), take.done]);
      this.#say('Coding…');
      take.end();
      await this.#show(await take.done, frameSamples);
    } catch (error) {
      this.#say(userMessage(error));
    } finally {
      this.#busy = false;
      this.#stop = null;
      this.record.textContent = 'Record ten seconds';
      await sound?.close();
    }
  }

  async #fromMicrophone(take, sound, devices) {
    await sound.openMicrophone(devices);
    await sound.load();
    this.record.textContent = 'Stop';
    let left = SECONDS;
    this.#say(`Speak: ${left} s`);
    await new Promise((resolve) => {
      const timer = setInterval(() => {
        left -= 1;
        this.#say(`Speak: ${left} s`);
        if (left <= 0) this.#stop?.();
      }, 1e3);
      this.#stop = () => {
        clearInterval(timer);
        resolve(undefined);
      };
      sound.capture(16_000, ({ samples }) => take.push(samples));
    });
    sound.stopCapture();
  }

  async #fromFile(take, sound) {
    this.#say('The sample goes through the codec…');
    const answer = await fetch(new URL('sample.flac', import.meta.url));
    const context = new OfflineAudioContext(1, 1, 16_000); // decodes to this rate
    const buffer = await context.decodeAudioData(await answer.arrayBuffer());
    void sound; // it is not captured
    const all = Int16Array.from(buffer.getChannelData(0), (x) => Math.round(x * 32767));
    const size = CHUNK * 16_000;
    const began = performance.now();
    for (let at = 0; at < all.length; at += size) {
      take.push(all.slice(at, at + size));
      const due = began + (1e3 * (at + size)) / 16_000;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
    }
  }

  async #show(recording, frameSamples) {
    const { original, decoded, rate, frames, model } = recording;
    if (!frames.length) throw new Error('Nothing was recorded. Try again.');
    this.#switcher = new Switcher(
      [original, model.input_rate],
      [decoded, rate],
      (playing) => (this.play.textContent = playing ? 'Pause' : 'Play'),
    );
    offer(this.original, wavFile(original, model.input_rate));
    offer(this.decoded, wavFile(decoded, rate));
    offer(this.codes, codeFile(frames, original.length, model, frameSamples));
    const bytes = Math.ceil((frames.length * model.codebooks * 10) / 8);
    const seconds = (original.length / model.input_rate).toFixed(1);
    this.#say(
      `${seconds} s: ${(2 * original.length).toLocaleString('en')} bytes of sound, ` +
        `${bytes.toLocaleString('en')} bytes of codes.`,
    );
    this.player.hidden = false;
    this.#shuffle();
  }

  #toggle() {
    if (this.#switcher?.playing) this.#switcher.stop();
    else this.#switcher?.play();
  }

  #choose() {
    this.#switcher?.choose(this.second.checked !== this.#swapped ? 1 : 0);
  }

  /** Blind, chance decides which of the two is which. */
  #shuffle() {
    this.#swapped = this.blind.checked && Math.random() < 0.5;
    this.#name(!this.blind.checked);
    this.#choose();
  }

  #name(known) {
    const names = this.#swapped ? ['decoded', 'original'] : ['original', 'decoded'];
    [this.first, this.second].forEach((radio, i) => {
      const letter = 'AB'[i];
      radio.nextElementSibling.textContent = known && this.blind.checked
        ? `${letter}: ${names[i]}`
        : known ? names[i] : letter;
    });
    this.reveal.hidden = known;
  }

  #say(text) {
    this.state.textContent = text;
  }
}

/** Lets a link download these bytes. */
function offer(link, bytes) {
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob([bytes]));
}
