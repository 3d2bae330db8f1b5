/** Shows what the server says about itself: its models, and whether it asks for a token. */

import { codeBits } from './protocol.js';

/**
 * Fetches the server's description and shows it. A proxy may hide it; then nothing is shown, and
 * the session reports what is missing.
 * @param {URL} server the page's own address
 * @param {string} token '' for none
 * @param {{tokenField: HTMLElement, conversation: HTMLElement, duplexModel: HTMLElement,
 *   model: HTMLElement, saving: HTMLElement}} elements
 */
export async function showServerInfo(server, token, elements) {
  const { tokenField, conversation, duplexModel, model, saving } = elements;
  let info;
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch(new URL('info', server), { headers });
    if (answer.status === 401) tokenField.hidden = false;
    info = await answer.json();
  } catch {
    return;
  }
  tokenField.hidden = !info.token_needed;
  conversation.hidden = !info.duplex;
  if (info.duplex_model) duplexModel.textContent = info.duplex_model;
  const { name, hash, input_rate, codebooks, codebook_size } = info.model;
  const bits = codebooks * codeBits(codebook_size) * (1e3 / info.frame_ms);
  const sound = (16 * input_rate).toLocaleString('en');
  model.textContent = `Model ${name}, ${hash.slice(0, 12)}.`;
  saving.textContent =
    `Each column is one frame of ${codebooks} codes: ${Math.round(bits)} bits a second in all; ` +
    `uncompressed sound takes ${sound}.`;
}
