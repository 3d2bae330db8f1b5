// Runs in the page before its own scripts, in tests: `tapped` gets what the microphone gave to the
// page and what its playback worklet played, as {start, rate, samples} on the audio thread's clock.

globalThis.tapped = { heard: [], played: [] };

const connect = AudioNode.prototype.connect;

AudioNode.prototype.connect = function (to, ...rest) {
  if (this instanceof AudioWorkletNode && to instanceof AnalyserNode) void tap(this, 'played');
  if (this instanceof AnalyserNode && to instanceof AudioWorkletNode) void tap(this, 'heard');
  return connect.call(this, to, ...rest);
};

async function tap(node, name) {
  await node.context.audioWorklet.addModule('/tap-worklet.js');
  const recorder = new AudioWorkletNode(node.context, 'tap');
  const rate = node.context.sampleRate;
  recorder.port.onmessage = ({ data }) => tapped[name].push({ rate, ...data });
  connect.call(node, recorder);
  connect.call(recorder, node.context.destination);
}

/** What was tapped since the beginning: its first sample's number, Hz, and base64 of int16. */
globalThis.recording = (name) => {
  const pieces = tapped[name];
  const bytes = pieces.flatMap(({ samples }) => {
    const steps = Int16Array.from(samples, (x) => Math.max(-32768, Math.min(32767, x * 32768)));
    return [String.fromCharCode(...new Uint8Array(steps.buffer))];
  });
  const { start, rate } = pieces[0] ?? { start: 0, rate: 0 };
  return { start, rate, base64: btoa(bytes.join('')) };
};
