/** A watch that survives a broken stream: it opens the next one after the last event it has given. */

import { Code, ConnectError } from "@connectrpc/connect";

import type { Client } from "./client.js";
import { type Project, type ProjectEvent, ProjectState } from "./gen/supalove/v1/project_pb.js";

/** The server sends something every 15 s; a stream silent for three times that is dead. */
const SILENCE = 45_000;
/** Milliseconds before a broken stream is opened again. */
const PAUSE = 500;
/** Milliseconds from the first failure after which a stream that breaks again is given up. A message ends them. */
const PATIENCE = 60_000;
/** The stream broke, but the project may still be there. */
const INTERRUPTIONS = [
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.Canceled,
  Code.Aborted,
  Code.Unknown,
  Code.Internal,
];

/** One message of a watch; keep-alives are not given. */
export type WatchMessage = { case: "snapshot"; value: Project } | { case: "event"; value: ProjectEvent };

/** How to watch. */
export interface WatchOptions {
  /** The last event that is known: 0 (the default) gives all, `null` only new ones. */
  afterSeq?: bigint | null;
  /** Limit of the whole watch in milliseconds; at its end the error is DeadlineExceeded. */
  timeoutMs?: number;
}

/** See `Client.watchProject`. With `afterSeq: null`, a stream that breaks before its first event begins anew. */
export async function* watch(client: Client, projectRef: string, options: WatchOptions): AsyncGenerator<WatchMessage> {
  const end = Date.now() + (options.timeoutMs ?? Infinity);
  let afterSeq = options.afterSeq === null ? undefined : (options.afterSeq ?? 0n);
  let brokenSince: number | undefined;
  let refreshed = false;
  for (;;) {
    const token = client.tokens.accessToken;
    const stop = new AbortController();
    let removed = false;
    const listen = () => setTimeout(() => stop.abort(), Math.min(SILENCE, end - Date.now()));
    let timer = listen();
    try {
      // No time limit of Connect's: its timer would outlive a caller that stops early, and keep the process from ending.
      const stream = client.projects.watchProject({ projectRef, afterSeq }, { signal: stop.signal, timeoutMs: 0 });
      for await (const { message } of stream) {
        clearTimeout(timer);
        brokenSince = undefined;
        refreshed = false;
        if (message.case === "snapshot") removed = message.value.state === ProjectState.REMOVED;
        if (message.case === "event") afterSeq = message.value.seq;
        if (message.case === "snapshot" || message.case === "event") yield message;
        timer = listen();
      }
      if (removed) return;
    } catch (error) {
      let failure = ConnectError.from(error);
      brokenSince ??= Date.now();
      if (failure.code === Code.Unauthenticated && !refreshed) {
        try {
          if (await client.refresh(token)) {
            refreshed = true;
            continue;
          }
        } catch (error) {
          // A trade that is interrupted is tried again, like the stream.
          failure = ConnectError.from(error);
        }
      }
      if (Date.now() >= end) throw new ConnectError("the time of the watch is over", Code.DeadlineExceeded);
      if (Date.now() - brokenSince > PATIENCE || !INTERRUPTIONS.includes(failure.code)) throw failure;
    } finally {
      // A caller that stops early leaves neither a timer nor a stream behind.
      clearTimeout(timer);
      stop.abort();
    }
    await new Promise((wake) => setTimeout(wake, PAUSE));
  }
}
