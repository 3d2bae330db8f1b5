// The OpenAI SDK for JavaScript, which speaks wss:// only.

import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { PAUSE, Report, SILENCE, SPEECH, URL_OF_SERVER, run, say, until } from "./common.mjs";

const message = (role, type, text, ids = {}) => ({
  type: "message",
  role,
  content: [{ type, text }],
  ...ids,
});

await run(async (report) => {
  const client = new OpenAI({ apiKey: "any", baseURL: URL_OF_SERVER.replace("ws", "http") });
  const rt = await OpenAIRealtimeWS.create(client, { model: "any" });
  const came = {};
  const last = {};
  rt.on("event", (event) => {
    came[event.type] = (came[event.type] ?? 0) + 1;
    last[event.type] = event;
    if (event.type === "response.output_audio.delta") {
      report.hear(Buffer.from(event.delta, "base64").length);
    }
  });
  rt.on("error", (error) => report.error(error));
  const count = (type) => came[type] ?? 0;
  const next = async (type, before) => {
    await until(() => count(type) > before, type);
    return last[type];
  };
  const speak = (...sounds) =>
    say((chunk) => rt.send({ type: "input_audio_buffer.append", audio: chunk.toString("base64") }), ...sounds);

  report.begin("context");
  await next("session.created", 0);
  rt.send({ type: "conversation.item.create", item: message("system", "input_text", "Hello", { id: "one" }) });
  rt.send({ type: "conversation.item.create", item: message("user", "input_text", "Hello", { id: "two" }) });
  await next("conversation.item.done", 1);

  let reply;
  for (const step of ["first turn", "second turn"]) {
    report.begin(step);
    const before = count("response.done");
    await speak(SPEECH, SILENCE);
    reply = (await next("response.done", before)).response.output[0].id;
  }
  rt.send({ type: "conversation.item.truncate", item_id: reply, content_index: 0, audio_end_ms: 60000 });
  await next("conversation.item.truncated", 0);

  report.begin("interruption");
  const done = count("response.done");
  const deltas = count("response.output_audio.delta");
  await speak(SPEECH, SILENCE);
  await next("response.output_audio.delta", deltas);
  await speak(SPEECH);
  await next("response.done", done);
  report.begin("interruption");
  await speak(SILENCE);
  await next("response.done", done + 1);

  report.begin("push to talk");
  rt.send({ type: "session.update", session: { type: "realtime", audio: { input: { turn_detection: null } } } });
  await speak(SPEECH, PAUSE, SPEECH);
  rt.send({ type: "input_audio_buffer.commit" });
  rt.send({ type: "response.create" });
  await next("response.done", done + 2);

  report.begin("history");
  rt.send({ type: "conversation.item.retrieve", item_id: reply });
  await next("conversation.item.retrieved", 0);
  rt.send({ type: "conversation.item.delete", item_id: reply });
  await next("conversation.item.deleted", 0);
  rt.send({
    type: "conversation.item.create",
    item: message("user", "input_text", "Hello", { id: "late" }),
    previous_item_id: "one",
  });
  await until(() => last["conversation.item.added"].item.id === "late", "the item");
  rt.close();
});
