/** Supalove's public API: a client that keeps its session, errors with their details, watches that go on after a break. */

export { Client, type CreateProject, type Tokens } from "./client.js";
export { explain, type FieldViolation, type Problem } from "./errors.js";
export type { Subscription, WatchMessage, WatchOptions } from "./watch.js";
export { Code, ConnectError } from "@connectrpc/connect";
