// Runs in the page before its own scripts, in tests: keeps what goes into the codec's Worker as
// `tapped.encoded` and what comes out of it as `tapped.decoded`, see tap.js.

tapped.encoded = [];
tapped.decoded = [];

const post = Worker.prototype.postMessage;
const decoding = new Set(); // ids of requests

Worker.prototype.postMessage = function (message, ...rest) {
  if (message.action === 'encode') tapped.encoded.push({ start: 0, samples: message.samples });
  if (message.action === 'load') this.addEventListener('message', ({ data }) => keep(data));
  if (['decode', 'flushDecoder'].includes(message.action)) decoding.add(message.id);
  return post.call(this, message, ...rest);
};

function keep({ id, result }) {
  if (decoding.delete(id)) tapped.decoded.push({ start: 0, samples: result.result });
}
