// WebSockets of functions. The gateway sends upgrades to a port of their own, where the bytes go to the worker as they
// came and back as they are: sub-protocols, extensions, binary frames and close codes are the function's and the
// client's affair. The limits on answers do not end an open socket; its worker's end does.
//
// In:  HTTP/1.1 requests with Upgrade: websocket, from the gateway.
// Out: what the function answers, 101 or not; or JSON {code, message} as the router has it, and 503 for too many.

import type { Config } from "./config.ts";
import { endedRefusal, type Entrance, type Refusal } from "./entrance.ts";
import type { Worker, Workers } from "./workers.ts";

const HEAD_BYTES = 128 * 1024;
const HEAD_MS = 10_000;
/** What one side may still say when the other has ended. */
const LAST_WORDS_MS = 10_000;
const CHUNK_BYTES = 16 * 1024;

interface Head {
  request: Request;
  /** All that was read: the head, and what came with it. */
  bytes: Uint8Array;
}

async function writeAll(to: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await to.write(bytes.subarray(sent));
}

function after(ms: number, act: () => void): { cancel: () => void } {
  const timer = setTimeout(act, ms);
  return { cancel: () => clearTimeout(timer) };
}

/** Null if the peer ends, or says what is no request. */
async function readHead(from: Deno.Conn): Promise<Head | null> {
  const buffer = new Uint8Array(HEAD_BYTES);
  let length = 0;
  let text = "";
  while (length < buffer.length) {
    const count = await from.read(buffer.subarray(length));
    if (count === null) return null;
    // A character is a byte, as in headers; TextDecoder's latin1 is another character set.
    for (const byte of buffer.subarray(length, length + count)) text += String.fromCharCode(byte);
    length += count;
    const end = text.indexOf("\r\n\r\n");
    if (end < 0) continue;
    const [line, ...fields] = text.slice(0, end).split("\r\n");
    const [method, target] = line.split(" ");
    const headers = new Headers();
    for (const field of fields) {
      const colon = field.indexOf(":");
      if (colon < 1) return null;
      headers.append(field.slice(0, colon), field.slice(colon + 1).trim());
    }
    // Only GET upgrades; a body would be taken for frames.
    if (method !== "GET" || !target?.startsWith("/")) return null;
    return { request: new Request(`http://gateway${target}`, { headers }), bytes: buffer.slice(0, length) };
  }
  return null;
}

async function refuse(client: Deno.Conn, { status, code, message }: Refusal): Promise<void> {
  const body = new TextEncoder().encode(JSON.stringify({ code, message }));
  const head = `HTTP/1.1 ${status} Refused\r\ncontent-type: application/json\r\n` +
    `content-length: ${body.length}\r\nconnection: close\r\n\r\n`;
  await writeAll(client, new TextEncoder().encode(head));
  await writeAll(client, body);
}

/** Copies until `from` ends, then says so to `to`. */
async function copy(from: Deno.Conn, to: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (;;) {
    const count = await from.read(buffer);
    if (count === null) break;
    await writeAll(to, buffer.subarray(0, count));
  }
  await to.closeWrite();
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // It is closed.
  }
}

/** Both directions, until both have ended or one breaks. */
async function relay(client: Deno.TcpConn, upstream: Deno.TcpConn): Promise<void> {
  let last: { cancel: () => void } | undefined;
  const shut = () => {
    close(client);
    close(upstream);
  };
  const direction = (from: Deno.TcpConn, to: Deno.TcpConn) =>
    copy(from, to).then(() => last ??= after(LAST_WORDS_MS, shut), shut);
  await Promise.all([direction(client, upstream), direction(upstream, client)]);
  last?.cancel();
}

/** Sends the request to the worker and waits for the first bytes of its answer. */
async function firstAnswer(upstream: Deno.TcpConn, head: Head, ms: number): Promise<Uint8Array | null | "late"> {
  const late = Promise.withResolvers<"late">();
  const timer = after(ms, () => late.resolve("late"));
  const buffer = new Uint8Array(CHUNK_BYTES);
  try {
    await writeAll(upstream, head.bytes);
    const read = upstream.read(buffer);
    // Cut short by `close`, should it be late.
    read.catch(() => {});
    const count = await Promise.race([read, late.promise]);
    return typeof count === "number" ? buffer.subarray(0, count) : count;
  } catch {
    return null;
  } finally {
    timer.cancel();
  }
}

async function callWorker(client: Deno.TcpConn, head: Head, worker: Worker, workers: Workers, config: Config) {
  let upstream;
  try {
    upstream = await Deno.connect({ hostname: "127.0.0.1", port: worker.port });
    upstream.setNoDelay(true);
    const answer = await firstAnswer(upstream, head, config.answerMs);
    if (answer === "late") {
      workers.retire(worker);
      const message = `The function did not answer within ${config.answerMs / 1000} s`;
      return await refuse(client, { status: 504, code: "WORKER_TIMEOUT", message });
    }
    if (answer === null) {
      await workers.ended(worker);
      return await refuse(client, endedRefusal(worker));
    }
    await writeAll(client, answer);
    await relay(client, upstream);
  } catch (error) {
    if (upstream) return;
    console.error(`function ${worker.name}: ${error instanceof Error ? error.message : error}`);
    await workers.ended(worker);
    await refuse(client, endedRefusal(worker));
  } finally {
    if (upstream) close(upstream);
    workers.release(worker);
  }
}

/** Serves a listener for as long as it is open. */
export async function serveSockets(listener: Deno.TcpListener, enter: Entrance, workers: Workers, config: Config) {
  let open = 0;
  const serve = async (client: Deno.TcpConn) => {
    client.setNoDelay(true);
    const timer = after(HEAD_MS, () => close(client));
    const head = await readHead(client).finally(timer.cancel);
    if (!head) return await refuse(client, { status: 400, code: "BAD_REQUEST", message: "This is no WebSocket" });
    if (open >= config.maxSockets) {
      const message = `The functions have ${config.maxSockets} open WebSockets, and take no more`;
      return await refuse(client, { status: 503, code: "TOO_MANY_SOCKETS", message });
    }
    open += 1;
    try {
      const admission = await enter(head.request);
      if ("refusal" in admission) return await refuse(client, admission.refusal);
      await callWorker(client, head, admission.worker, workers, config);
    } finally {
      open -= 1;
    }
  };
  for await (const client of listener) {
    // A connection that breaks is the client's affair.
    serve(client).catch(() => {}).finally(() => close(client));
  }
}
