/**
 * Hear the difference: records ten seconds, plays original and decoded at a switch, and decodes
 * again from fewer codebooks.
 */

import { FewerCodebooks, firstOf } from './fewer_codebooks.js';
import { codeBits } from './protocol.js';
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
  /** @type {FewerCodebooks | null} */
  #fewer = null;
  #frameSamples = 0;
  #shown = 0; // codebooks that are heard
  #decoding = false;
  #swapped = false; // whether A is the decoded sound, in a blind comparison

  /**
   * @param {Record<string, any>} elements record, sample, state, player, play, first, second, blind,
   *   reveal, original, decoded, codes, codebooks, bits
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
    this.codebooks.addEventListener('input', () => void this.#decodeAgain());
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
      this.#frameSamples = Math.round((ready.model.input_rate * ready.frame_ms) / 1e3);
      await Promise.race([feed(take, sound, prepared.devices), take.done]);
      this.#say('Coding…');
      take.end();
      const recording = await take.done;
      this.#fewer = new FewerCodebooks(recording, this.url, prepared.token, prepared.codec);
      this.#show(recording);
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

  #show({ original, decoded, rate, frames, model }) {
    if (!frames.length) throw new Error('Nothing was recorded. Try again.');
    this.#switcher = new Switcher(
      [original, model.input_rate],
      [decoded, rate],
      (playing) => (this.play.textContent = playing ? 'Pause' : 'Play'),
    );
    offer(this.original, wavFile(original, model.input_rate));
    this.codebooks.max = this.codebooks.value = String(model.codebooks);
    this.#hear(model.codebooks, decoded);
    this.player.hidden = false;
    this.#shuffle();
  }

  /** Decodes from as many codebooks as the slider says; while it moves, what was heard goes on. */
  async #decodeAgain() {
    this.#tellRate();
    if (this.#decoding) return;
    this.#decoding = true;
    const fewer = this.#fewer;
    const wanted = () => Number(this.codebooks.value);
    try {
      while (fewer === this.#fewer && wanted() !== this.#shown) {
        const count = wanted();
        this.#say('Decoding…');
        const sound = await fewer.decode(count);
        if (fewer !== this.#fewer) break;
        this.#switcher?.replace(1, sound);
        this.#hear(count, sound);
      }
    } catch (error) {
      this.codebooks.value = String(this.#shown);
      this.#tellRate();
      this.#say(userMessage(error));
    } finally {
      this.#decoding = false;
    }
  }

  /** What is heard now, in files and in words. */
  #hear(count, decoded) {
    const { original, rate, frames, model } = this.#fewer.recording;
    this.#shown = count;
    offer(this.decoded, wavFile(decoded, rate));
    const part = { ...model, codebooks: count };
    offer(this.codes, codeFile(firstOf(frames, count), original.length, part, this.#frameSamples));
    const bits = frames.length * count * codeBits(model.codebook_size);
    const seconds = (original.length / model.input_rate).toFixed(1);
    this.#say(
      `${seconds} s: ${(2 * original.length).toLocaleString('en')} bytes of sound, ` +
        `${Math.ceil(bits / 8).toLocaleString('en')} bytes of codes (${count} of ${model.codebooks} codebooks).`,
    );
    this.#tellRate();
  }

  #tellRate() {
    const { model } = this.#fewer.recording;
    const count = Number(this.codebooks.value);
    const frames = model.input_rate / this.#frameSamples; // a second
    const bits = Math.round(count * codeBits(model.codebook_size) * frames);
    const text = `${count} of ${model.codebooks}: ${bits.toLocaleString('en')} bits a second`;
    this.bits.textContent = text;
    this.codebooks.setAttribute('aria-valuetext', text);
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
