// OpenAI's agents for JavaScript: a realtime session over a websocket.

import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession } from "@openai/agents/realtime";
import { PAUSE, SILENCE, SPEECH, URL_OF_SERVER, run, say, until } from "./common.mjs";

await run(async (report) => {
  const agent = new RealtimeAgent({ name: "parrot", instructions: "Say again what you hear." });
  const came = {};
  const count = (type) => came[type] ?? 0;
  const open = async (turnDetection) => {
    const transport = new OpenAIRealtimeWebSocket({ url: `${URL_OF_SERVER}/realtime?model=any` });
    const session = new RealtimeSession(agent, {
      transport,
      tracingDisabled: true,
      config: { audio: { input: { turnDetection } } },
    });
    session.on("audio", (event) => report.hear(event.data.byteLength));
    session.on("error", (error) => report.error(error));
    session.on("history_added", () => (came.history_added = count("history_added") + 1));
    let item;
    let interrupted;
    session.on("transport_event", (event) => {
      came[event.type] = count(event.type) + 1;
      if (event.type === "input_audio_buffer.speech_started") interrupted = item;
      if (event.type !== "response.output_audio.delta") return;
      item = event.item_id;
      if (item === interrupted) report.error("more audio of an item after its interruption");
    });
    await session.connect({ apiKey: "any" });
    return session;
  };
  const exact = (chunk) => chunk.buffer.slice(chunk.byteOffset, chunk.byteOffset + chunk.byteLength);

  report.begin("context");
  const session = await open({ type: "server_vad" });
  const speak = (...sounds) => say((chunk) => session.sendAudio(exact(chunk)), ...sounds);
  session.sendMessage("Say hello!");
  await until(() => count("history_added"), "the message in the history");
  await speak(SILENCE);
  for (const step of ["first turn", "second turn"]) {
    report.begin(step);
    const done = count("response.done");
    await speak(SPEECH, SILENCE);
    await until(() => report.seconds > 1.5 && count("response.done") > done, "a reply");
    await until(() => count("response.created") === count("response.done"), "its end");
  }

  report.begin("interruption");
  await speak(SPEECH, SILENCE);
  await until(() => report.seconds > 0.2, "a reply to interrupt");
  const started = count("input_audio_buffer.speech_started");
  await speak(SPEECH);
  await until(() => count("input_audio_buffer.speech_started") > started, "speech_started");
  report.begin("interruption");
  await speak(SILENCE);
  await until(() => report.seconds > 1.5, "a reply");

  report.begin("truncation");
  await speak(SPEECH, SILENCE);
  await until(() => report.seconds > 0.2, "a reply to interrupt");
  const truncated = count("conversation.item.truncated");
  session.interrupt();
  await until(() => count("conversation.item.truncated") > truncated, "truncated");

  report.begin("history");
  const deleted = count("conversation.item.deleted");
  session.updateHistory((history) => history.slice(1));
  await until(() => count("conversation.item.deleted") > deleted, "deleted");
  session.close();

  const manual = await open(null);
  for (let turn = 0; turn < 2; turn++) {
    report.begin("push to talk");
    const done = count("response.done");
    await say((chunk) => manual.sendAudio(exact(chunk)), SPEECH, PAUSE, SPEECH);
    manual.transport.sendEvent({ type: "input_audio_buffer.commit" });
    manual.transport.sendEvent({ type: "response.create" });
    await until(() => count("response.done") > done, "a reply");
  }
  manual.close();
});
