/** Watches that survive a broken stream: they open the next one after the last event they have given. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { type CallOptions, Code, ConnectError } from "@connectrpc/connect";

import type { Client } from "./client.js";
import { type Project, type ProjectEvent, ProjectState } from "./gen/supalove/v1/project_pb.js";
import type { WatchResponse, WatchSubscriptionSchema } from "./gen/supalove/v1/watch_pb.js";

/** The server sends something every 15 s; a stream silent for three times that is dead. */
const SILENCE = 45_000;
/** Milliseconds before a broken stream is opened again. */
const PAUSE = 500;
/** Milliseconds from the first failure after which a stream that breaks again is given up. A message ends them. */
const PATIENCE = 60_000;
/** The stream broke, but what is watched may still be there. */
const INTERRUPTIONS = [
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.Canceled,
  Code.Aborted,
  Code.Unknown,
  Code.Internal,
];

/** One message of a watch of one project; keep-alives are not given. */
export type WatchMessage = { case: "snapshot"; value: Project } | { case: "event"; value: ProjectEvent };

/** How to watch one project. */
export interface WatchOptions {
  /** The last event that is known: 0 (the default) gives all, `null` only new ones. */
  afterSeq?: bigint | null;
  /** Limit of the whole watch in milliseconds; at its end the error is DeadlineExceeded. */
  timeoutMs?: number;
}

/** One object to watch: `{ stream: { case: "projectRef", value: ref }, afterSeq: 0n }`. */
export type Subscription = MessageInitShape<typeof WatchSubscriptionSchema>;

/** See `Client.watchProject`. With `afterSeq: null`, a stream that breaks before its first event begins anew. */
export function watch(client: Client, projectRef: string, options: WatchOptions): AsyncGenerator<WatchMessage> {
  let afterSeq = options.afterSeq === null ? undefined : (options.afterSeq ?? 0n);
  let removed = false;
  return messages(client, options.timeoutMs, {
    open: (options) => client.projects.watchProject({ projectRef, afterSeq }, options),
    take: ({ message }) => {
      if (message.case === "snapshot") removed = message.value.state === ProjectState.REMOVED;
      if (message.case === "event") afterSeq = message.value.seq;
      return message.case === "snapshot" || message.case === "event" ? message : undefined;
    },
    isOver: () => removed,
  });
}

/** See `Client.watch`. `subscription` of a message is the index in `subscriptions`. */
export function watchMany(
  client: Client,
  subscriptions: Subscription[],
  timeoutMs: number | undefined,
): AsyncGenerator<WatchResponse> {
  const known = [...subscriptions];
  const going = new Set(known.keys());
  /** Index of each subscription of the open stream. */
  let indices: number[] = [];
  return messages(client, timeoutMs, {
    open: (options) => {
      indices = [...going];
      return client.watches.watch({ subscriptions: indices.map((index) => known[index]!) }, options);
    },
    take: (answer) => {
      const kind = answer.message.case;
      if (kind === undefined || kind === "keepAlive") return undefined;
      const index = indices[answer.subscription]!;
      known[index] = { ...known[index]!, afterSeq: answer.resumeSeq };
      if (kind === "end") going.delete(index);
      return { ...answer, subscription: index };
    },
    isOver: () => going.size === 0,
  });
}

/** How a watch opens its streams, and what it makes of their messages. */
interface Streams<Answer, Message> {
  open(options: CallOptions): AsyncIterable<Answer>;
  /** What the caller gets of it. */
  take(answer: Answer): Message | undefined;
  /** True if there is no more once a stream has ended. */
  isOver(): boolean;
}

async function* messages<Answer, Message>(
  client: Client,
  timeoutMs: number | undefined,
  streams: Streams<Answer, Message>,
): AsyncGenerator<Message> {
  const end = Date.now() + (timeoutMs ?? Infinity);
  let brokenSince: number | undefined;
  let refreshed = false;
  for (;;) {
    const token = client.tokens.accessToken;
    const stop = new AbortController();
    const listen = () => setTimeout(() => stop.abort(), Math.min(SILENCE, end - Date.now()));
    let timer = listen();
    try {
      // No time limit of Connect's: its timer would outlive a caller that stops early, and keep the process from ending.
      for await (const answer of streams.open({ signal: stop.signal, timeoutMs: 0 })) {
        clearTimeout(timer);
        brokenSince = undefined;
        refreshed = false;
        const message = streams.take(answer);
        if (message !== undefined) yield message;
        timer = listen();
      }
      if (streams.isOver()) return;
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
