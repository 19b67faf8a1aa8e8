/**
 * The session of this browser. The refresh token is in a cookie that no script reads; the access token is in memory only.
 *
 * In: sign-ins, and calls that need a token. Out: the token, and whether somebody is signed in. All tabs share one token:
 * a lock lets one of them at a time trade the refresh token, and a channel tells the others.
 */

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { AuthService, type SessionTokens } from "@/gen/supalove/v1/auth_pb";

/** `lost`: it was signed in, and the session has ended here or in another tab. */
export type SessionState = "starting" | "in" | "out" | "lost";

interface Access {
  token: string;
  /** By the clock of this browser. */
  expiresAt: number;
  /** "usr_…". */
  user: string;
}

type News = { kind: "ask" } | { kind: "access"; access: Access } | { kind: "ended" };

/** A token that ends sooner is renewed before it is used. */
const MARGIN = 20_000;
/** How long another tab may take to hand over its token. */
const ANSWER = 120;
const LOCK = "supalove-refresh";

/** Without the interceptor of the session: a refresh would wait for itself. */
export const bareTransport = createGrpcWebTransport({
  baseUrl: "/",
  defaultTimeoutMs: 30_000,
  fetch: (input, init) => fetch(input, { ...init, credentials: "same-origin" }),
});
const auth = createClient(AuthService, bareTransport);

let access: Access | undefined;
let state: SessionState = "starting";
const listeners = new Set<() => void>();
const channel = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel("supalove-session");

channel?.addEventListener("message", ({ data }: MessageEvent<News>) => {
  if (data.kind === "ask" && access) tell({ kind: "access", access });
  if (data.kind === "ended" && state !== "starting") become(state === "in" ? "lost" : state, undefined);
  if (data.kind === "access") {
    // What this page shows belongs to the user before.
    if (access && access.user !== data.access.user && typeof location !== "undefined") location.reload();
    become("in", data.access);
  }
});

export function sessionState(): SessionState {
  return state;
}

export function onSession(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

let started: Promise<void> | undefined;

/** Finds out whether somebody is signed in: from another tab, else by the cookie. Rejects if the server does not answer. */
export function startSession(): Promise<void> {
  started ??= (async () => {
    tell({ kind: "ask" });
    await Promise.race([changed(), sleep(ANSWER)]);
    if (state === "starting") await refresh();
  })().catch((error) => {
    started = undefined;
    throw error;
  });
  return started;
}

/** Takes over the tokens of a session that has begun here. */
export function adopt(tokens: SessionTokens | undefined): void {
  const next = tokens && read(tokens);
  if (!next) return;
  become("in", next);
  tell({ kind: "access", access: next });
}

/** The access token of a call; empty without a session. */
export async function accessToken(): Promise<string> {
  if (access && access.expiresAt - MARGIN < Date.now()) await refresh(access.token);
  return access?.token ?? "";
}

/**
 * Trades the refresh token, unless another tab has done it. False if nobody is signed in any more.
 *
 * `refused` is the token that the server does not take.
 */
export async function refresh(refused = access?.token): Promise<boolean> {
  return await locked(async () => {
    if (access && access.token !== refused) return true;
    try {
      const { tokens } = await auth.refresh({});
      adopt(tokens);
      return true;
    } catch (error) {
      if (ConnectError.from(error).code !== Code.Unauthenticated) throw error;
      end();
      return false;
    }
  });
}

/** Ends the session in the interface of all tabs; the call that ends it on the server was made before, or was refused. */
export function end(): void {
  const was = state;
  become(was === "in" ? "lost" : "out", undefined);
  if (was === "in") tell({ kind: "ended" });
}

/** As after `end`, but by the user's own wish: the page goes to the sign-in. */
export function leave(): void {
  become("out", undefined);
  tell({ kind: "ended" });
}

function become(next: SessionState, held: Access | undefined): void {
  state = next;
  access = held;
  for (const listener of listeners) listener();
}

function tell(news: News): void {
  channel?.postMessage(news);
}

function changed(): Promise<void> {
  return new Promise((done) => {
    const stop = onSession(() => {
      stop();
      done();
    });
  });
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, milliseconds));
}

/** Pages without TLS on other hosts than loopback have no locks; the server takes a second use of a token within 10 s. */
async function locked(work: () => Promise<boolean>): Promise<boolean> {
  return navigator.locks ? await navigator.locks.request(LOCK, work) : await work();
}

/** The lifetime is that between the token's own times: the clock of this browser may be wrong. */
function read(tokens: SessionTokens): Access | undefined {
  const claims = claimsOf(tokens.accessToken);
  if (!claims) return undefined;
  return { token: tokens.accessToken, user: claims.sub, expiresAt: Date.now() + (claims.exp - claims.iat) * 1000 };
}

export function claimsOf(token: string): { sub: string; exp: number; iat: number } | undefined {
  const [, part = ""] = token.split(".");
  try {
    const { sub, exp, iat } = JSON.parse(atob(part.replaceAll("-", "+").replaceAll("_", "/")));
    return { sub: String(sub), exp: Number(exp), iat: Number(iat) };
  } catch {
    return undefined;
  }
}
