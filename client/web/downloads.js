/** Fetches the codec's large files in pieces, and keeps them in the browser's cache. */

const CACHE = 'xyt-codec';
const AT_ONCE = 4; // pieces that are fetched at the same time
const ATTEMPTS = 4; // of each piece
const FIRST_WAIT = 500; // ms before the second attempt; each later one waits twice as long

/**
 * @typedef {object} ListedFile as in codec.json
 * @property {string} address below the page's own
 * @property {number} bytes
 * @property {string} sha256 hexadecimal
 */

/**
 * The contents of files, from the cache or from the server. Files of earlier versions are dropped
 * from the cache.
 * @template {string} Role
 * @param {Record<Role, ListedFile>} files
 * @param {string} base the page's own address
 * @param {number} piece bytes in a piece
 * @param {(done: number) => void} progress called with the bytes that have come so far
 * @returns {Promise<Record<Role, Uint8Array>>}
 * @throws {Error} the server is unreachable, or a file is not the listed one
 */
export async function fetchFiles(files, base, piece, progress) {
  const cache = await openCache();
  const current = Object.values(files).map(({ address }) => new URL(address, base).href);
  for (const { url } of (await cache?.keys()) ?? []) {
    if (!current.includes(url)) await cache.delete(url);
  }
  let done = 0;
  const count = (bytes) => progress((done += bytes));
  const contents = {};
  for (const [role, file] of Object.entries(files)) {
    contents[role] = await contentsOf(file, base, piece, cache, count);
  }
  return /** @type {Record<Role, Uint8Array>} */ (contents);
}

/** The cache; null where the browser allows none, as in some private windows. */
async function openCache() {
  try {
    return await caches.open(CACHE);
  } catch {
    return null;
  }
}

async function contentsOf(file, base, piece, cache, count) {
  const url = new URL(file.address, base).href;
  const kept = await cache?.match(url);
  if (kept) {
    const bytes = new Uint8Array(await kept.arrayBuffer());
    if (await isListed(bytes, file)) {
      count(bytes.length);
      return bytes;
    }
  }
  const bytes = await download(url, file.bytes, piece, count);
  if (!(await isListed(bytes, file))) {
    throw new Error('A file of the codec is not the listed one: load the page again.');
  }
  try {
    await cache?.put(url, new Response(bytes));
  } catch {
    // The browser has no space for it: it is fetched again next time.
  }
  return bytes;
}

async function download(url, size, piece, count) {
  const bytes = new Uint8Array(size);
  let next = 0;
  const worker = async () => {
    while (next * piece < size) {
      const number = next++;
      const part = await fetchPiece(`${url}?piece=${number}`);
      if (part.length !== Math.min(piece, size - number * piece)) {
        throw new Error('A file of the codec has another size than listed: load the page again.');
      }
      bytes.set(part, number * piece);
      count(part.length);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return bytes;
}

async function fetchPiece(url) {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(url);
      if (!response.ok) throw new Error(`The server answers ${response.status} for ${url}.`);
      return new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, FIRST_WAIT * 2 ** (attempt - 1)));
    }
  }
}

async function isListed(bytes, { bytes: size, sha256 }) {
  if (bytes.length !== size) return false;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return sha256 === Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
