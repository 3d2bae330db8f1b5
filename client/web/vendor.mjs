// `make web` runs this after `npm ci`: it puts the WebAssembly runtime into runtime/, from where the
// server gives it to the page, and lists the files with their SHA-256 in runtime/runtime.json. Beside
// each file lies one that ends in .gz: its pieces, each compressed, one behind the other.

import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const here = fileURLToPath(new URL('.', import.meta.url));
const from = join(here, 'node_modules', 'onnxruntime-web');
const to = join(here, 'runtime');
const FILES = { script: 'ort.wasm.bundle.min.mjs', wasm: 'ort-wasm-simd-threaded.wasm' };
const PIECE = 1 << 19; // bytes, as in page_codec.py
const LICENSE = `onnxruntime-web, Copyright (c) Microsoft Corporation, under the MIT License:

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense,
and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so,
subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN
NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY,
WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
`;

const { version } = JSON.parse(readFileSync(join(from, 'package.json'), 'utf8'));
rmSync(to, { recursive: true, force: true });
mkdirSync(to);
const listed = { version, piece: PIECE };
for (const [role, file] of Object.entries(FILES)) {
  copyFileSync(join(from, 'dist', file), join(to, file));
  const bytes = readFileSync(join(to, file));
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const packed = [];
  for (let start = 0; start < bytes.length; start += PIECE) {
    packed.push(gzipSync(bytes.subarray(start, start + PIECE), { level: 9 }));
  }
  writeFileSync(join(to, `${file}.gz`), Buffer.concat(packed));
  listed[role] = { file, sha256, packed: packed.map(({ length }) => length) };
}
writeFileSync(join(to, 'LICENSE'), LICENSE);
writeFileSync(join(to, 'runtime.json'), `${JSON.stringify(listed, null, 2)}\n`); // last: all is there
console.log(`onnxruntime-web ${version} is in client/web/runtime`);
