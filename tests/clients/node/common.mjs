// The common part of the scripts for Node; the report is that of scripts/common.py.

import { readFileSync } from "node:fs";

export const RATE = 24000; // Hz, 16 bits, mono
export const URL_OF_SERVER = process.env.XYT_URL;
export const SPEECH = readFileSync(process.env.XYT_SPEECH);
export const PAUSE = Buffer.alloc(2 * 0.3 * RATE);
export const SILENCE = Buffer.alloc(2 * RATE);
const CHUNK = (2 * RATE) / 50; // bytes of 20 ms
const SPEED = 1; // times real time that microphones run at here
const PATIENCE = 1000 * (process.env.XYT_PATIENCE ?? 60); // ms until a reply must have come

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Report {
  errors = [];
  #heard = {};
  #step = "";

  // What is heard from now on belongs to this step.
  begin(step) {
    this.#step = step;
    this.#heard[step] = 0;
  }

  // So many bytes of sound were heard.
  hear(bytes) {
    this.#heard[this.#step] += bytes / 2 / RATE;
  }

  get seconds() {
    return this.#heard[this.#step];
  }

  error(error) {
    const text = error instanceof Error ? `${error}` : JSON.stringify(error);
    this.errors.push(`${this.#step}: ${text}`);
  }

  print() {
    console.log(JSON.stringify({ heard: this.#heard, errors: this.errors }));
  }
}

// Gives the sounds as a microphone does, 20 ms at a time.
export async function say(append, ...sounds) {
  const sound = Buffer.concat(sounds);
  const began = Date.now();
  for (let start = 0; start < sound.length; start += CHUNK) {
    append(sound.subarray(start, start + CHUNK));
    const due = began + ((start + CHUNK) / 2 / RATE / SPEED) * 1000;
    await sleep(Math.max(0, due - Date.now()));
  }
}

export async function until(condition, what) {
  const deadline = Date.now() + PATIENCE;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited for ${what}`);
    await sleep(20);
  }
}

export async function run(main) {
  const report = new Report();
  try {
    await main(report);
  } catch (error) {
    report.error(error);
    console.error(error);
  }
  report.print();
  process.exit(0);
}
