/**
 * The one live stream of this browser. It runs in the shared worker, or in one of the tabs where there is none.
 *
 * In: what each tab wants to watch. Out: the stream's messages for all tabs, and whether the stream stands. After a break it
 * goes on behind the last event, so no event is lost or comes twice.
 */

import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { WatchRequestSchema, type WatchResponse, WatchResponseSchema, WatchService } from "@/gen/supalove/v1/watch_pb";
import { accessToken, refresh, sessionState, startSession } from "../session";
import { transport } from "../transport";
import { CHANNEL, type FromHub, type Subject, subjectKey, type ToHub, tabLock } from "./protocol";

/** The server sends something every 15 s; a stream silent for three times that is dead. */
const SILENCE = 45_000;
/** Several wishes of a page that opens come together. */
const GATHER = 30;
const PAUSES = [500, 1_000, 2_000, 4_000, 8_000];
/** Subscriptions of one call. */
const MOST = 100;

export class Hub {
  readonly #channel = new BroadcastChannel(CHANNEL);
  readonly #watches = createClient(WatchService, transport);
  /** What each tab wants. */
  readonly #wishes = new Map<string, Subject[]>();
  /** Behind which event each stream goes on. */
  readonly #seen = new Map<string, bigint>();
  /** The last snapshot of each stream, for tabs that come later. */
  readonly #snapshots = new Map<string, Uint8Array>();
  /** Streams that the server has ended: they are not asked for again until somebody wishes anew. */
  readonly #ended = new Set<string>();
  #open: { stop: AbortController; keys: string } | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;

  start(): void {
    this.#channel.addEventListener("message", ({ data }: MessageEvent<ToHub>) => this.#take(data));
    this.#tell({ kind: "hub" });
  }

  #take(message: ToHub): void {
    if (message.kind === "want") {
      if (!this.#wishes.has(message.tab)) this.#forgetWhenGone(message.tab);
      this.#wishes.set(message.tab, message.subjects);
      for (const key of message.subjects.map(subjectKey)) {
        this.#ended.delete(key);
        const snapshot = this.#snapshots.get(key);
        if (snapshot) this.#tell({ kind: "message", key, bytes: snapshot });
      }
      this.#schedule(GATHER);
    }
    if (message.kind === "now") {
      this.#failures = 0;
      this.#restart();
    }
  }

  /** A tab holds its lock as long as it lives. */
  #forgetWhenGone(tab: string): void {
    void navigator.locks?.request(tabLock(tab), () => {
      this.#wishes.delete(tab);
      this.#schedule(GATHER);
    });
  }

  #schedule(pause: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#follow(), pause);
  }

  #restart(): void {
    this.#open?.stop.abort();
    this.#open = undefined;
    this.#schedule(0);
  }

  #subjects(): Subject[] {
    const wanted = new Map<string, Subject>();
    for (const subject of [...this.#wishes.values()].flat()) wanted.set(subjectKey(subject), subject);
    return [...wanted]
      .filter(([key]) => !this.#ended.has(key))
      .map(([, subject]) => subject)
      .slice(0, MOST);
  }

  /** Opens the stream for what is wanted now, unless it stands already. */
  #follow(): void {
    const subjects = this.#subjects();
    const keys = subjects.map(subjectKey).sort().join(" ");
    if (this.#open?.keys === keys) return;
    this.#open?.stop.abort();
    this.#open = undefined;
    for (const key of this.#snapshots.keys()) if (!keys.includes(key)) this.#snapshots.delete(key);
    if (subjects.length === 0) return;
    const stop = new AbortController();
    this.#open = { stop, keys };
    this.#read(subjects, stop).then(
      () => this.#broke(stop),
      (error) => this.#broke(stop, error),
    );
  }

  async #read(subjects: Subject[], stop: AbortController): Promise<void> {
    await startSession();
    const token = await accessToken();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const listen = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), SILENCE);
    };
    const request = create(WatchRequestSchema, {
      subscriptions: subjects.map((stream) => ({ stream, afterSeq: this.#seen.get(subjectKey(stream)) })),
    });
    try {
      listen();
      for await (const answer of this.#watches.watch(request, { signal: stop.signal, timeoutMs: 0 })) {
        listen();
        if (this.#failures > 0 || answer.message.case === "snapshot") this.#stands();
        this.#pass(subjects, answer);
      }
    } catch (error) {
      if (ConnectError.from(error).code !== Code.Unauthenticated || stop.signal.aborted) throw error;
      // The token ended while the stream stood.
      if (!(await refresh(token))) throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #pass(subjects: Subject[], answer: WatchResponse): void {
    const subject = subjects[answer.subscription];
    const kind = answer.message.case;
    if (!subject || kind === undefined || kind === "keepAlive") return;
    const key = subjectKey(subject);
    this.#seen.set(key, answer.resumeSeq);
    const bytes = toBinary(WatchResponseSchema, answer);
    if (kind === "snapshot") this.#snapshots.set(key, bytes);
    if (kind === "end") {
      this.#ended.add(key);
      this.#snapshots.delete(key);
    }
    this.#tell({ kind: "message", key, bytes });
  }

  #stands(): void {
    this.#failures = 0;
    this.#tell({ kind: "stands" });
  }

  /** The stream has ended or broken; `stop` tells an old one from the one that stands. */
  #broke(stop: AbortController, error?: unknown): void {
    if (this.#open?.stop !== stop) return;
    this.#open = undefined;
    const code = error === undefined ? undefined : ConnectError.from(error).code;
    if (code === Code.Unauthenticated && sessionState() !== "in") {
      this.#waitForSession();
      return;
    }
    const pause = PAUSES[Math.min(this.#failures, PAUSES.length - 1)]!;
    // The first break is not told: a server that restarts, or a stream that has lasted its longest time, is back at once.
    if (this.#failures > 0) this.#tell({ kind: "broken", retryAt: Date.now() + pause });
    this.#failures += 1;
    this.#schedule(pause);
  }

  /** A tab that signs in says again what it wants. */
  #waitForSession(): void {
    this.#seen.clear();
    this.#snapshots.clear();
  }

  #tell(news: FromHub): void {
    this.#channel.postMessage(news);
  }
}
