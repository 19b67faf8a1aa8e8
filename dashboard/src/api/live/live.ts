/**
 * This tab's end of the live stream: what its pages watch, and what came.
 *
 * The hub runs in a shared worker. Where there is none, the tab that holds the lock runs it; without locks every tab has its
 * own.
 */

import { fromBinary } from "@bufbuild/protobuf";
import { type WatchResponse, WatchResponseSchema } from "@/gen/supalove/v1/watch_pb";
import { uuid } from "../uuid";
import { Hub } from "./hub";
import { CHANNEL, type FromHub, HUB_LOCK, type Subject, subjectKey, type ToHub, tabLock } from "./protocol";

/** Whether the stream stands; `since` says from when what is shown is, if it does not. */
export type Connection = { stands: true } | { stands: false; since: number; retryAt: number };

type Listener = (subject: string, message: WatchResponse["message"]) => void;

const tab = uuid();
const wanted = new Map<string, { subject: Subject; times: number }>();
const messages = new Set<Listener>();
const connections = new Set<() => void>();
let connection: Connection = { stands: true };
let channel: BroadcastChannel | undefined;
let saying: ReturnType<typeof setTimeout> | undefined;

/** Watches until the returned function is called. */
export function watch(subject: Subject): () => void {
  start();
  const key = subjectKey(subject);
  const held = wanted.get(key) ?? { subject, times: 0 };
  wanted.set(key, { subject, times: held.times + 1 });
  if (held.times === 0) sayLater();
  return () => {
    const now = wanted.get(key);
    if (!now) return;
    if (now.times > 1) wanted.set(key, { subject, times: now.times - 1 });
    else {
      wanted.delete(key);
      sayLater();
    }
  };
}

export function onMessage(listener: Listener): () => void {
  messages.add(listener);
  return () => messages.delete(listener);
}

export function currentConnection(): Connection {
  return connection;
}

export function onConnection(listener: () => void): () => void {
  connections.add(listener);
  return () => connections.delete(listener);
}

/** Tries at once to connect again. */
export function tryNow(): void {
  post({ kind: "now" });
}

/** After a sign-in: the hub has forgotten everything. */
export function sayWishes(): void {
  if (channel) post({ kind: "want", tab, subjects: [...wanted.values()].map(({ subject }) => subject) });
}

function sayLater(): void {
  clearTimeout(saying);
  // A page that is left and one that comes often want the same.
  saying = setTimeout(sayWishes, 20);
}

function start(): void {
  if (channel) return;
  channel = new BroadcastChannel(CHANNEL);
  channel.addEventListener("message", ({ data }: MessageEvent<FromHub | ToHub>) => take(data));
  void navigator.locks?.request(tabLock(tab), () => new Promise<never>(() => {}));
  addEventListener("online", tryNow);
  runHub();
}

function runHub(): void {
  if (typeof SharedWorker !== "undefined" && navigator.locks) {
    const worker = new SharedWorker(new URL("./worker.ts", import.meta.url), { type: "module", name: "supalove-live" });
    worker.addEventListener("error", runHubHere);
  } else runHubHere();
}

function runHubHere(): void {
  const run = () => {
    new Hub().start();
    return new Promise<never>(() => {});
  };
  if (navigator.locks) void navigator.locks.request(HUB_LOCK, run);
  else void run();
}

function take(news: FromHub | ToHub): void {
  if (news.kind === "hub") sayWishes();
  if (news.kind === "message" && wanted.has(news.key)) {
    const { message } = fromBinary(WatchResponseSchema, news.bytes);
    for (const listener of messages) listener(news.key, message);
  }
  if (news.kind === "stands" && !connection.stands) become({ stands: true });
  if (news.kind === "broken") {
    const since = connection.stands ? Date.now() : connection.since;
    become({ stands: false, since, retryAt: news.retryAt });
  }
}

function become(next: Connection): void {
  connection = next;
  for (const listener of connections) listener();
}

function post(message: ToHub): void {
  channel?.postMessage(message);
}
