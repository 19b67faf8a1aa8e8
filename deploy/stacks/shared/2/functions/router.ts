// Routes calls of edge functions: /{name}/… goes to the worker of that function.
//
// In:  HTTP on port 9000, behind the gateway that stripped /functions/v1.
// Out: the function's own answer, or JSON {code, message}: 400 no name, 404 unknown, 401 token refused,
//      503 not started, 500 crashed, 504 no answer in time, 546 ended for what it used.

import { type Config, loadConfig } from "./config.ts";
import { endedRefusal, entrance, type Entrance } from "./entrance.ts";
import { serveSockets } from "./sockets.ts";
import { type Worker, Workers } from "./workers.ts";

const PORT = 9000;
const SOCKETS_PORT = 9001;
const SWEEP_MS = 15_000;
const WATCH_MS = 5_000;

function refuse(status: number, code: string, message: string): Response {
  return Response.json({ code, message }, { status });
}

/** The request as the worker gets it: same method, path, headers and streamed body. */
function workerRequest(request: Request, worker: Worker, signal: AbortSignal): Request {
  const url = new URL(request.url);
  const headers = new Headers(request.headers);
  // The router compresses for the client; a second pass between the two would only cost time.
  headers.set("accept-encoding", "identity");
  for (const hop of ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"]) {
    headers.delete(hop);
  }
  return new Request(`http://127.0.0.1:${worker.port}${url.pathname}${url.search}`, {
    method: request.method,
    headers,
    body: request.body,
    redirect: "manual",
    signal,
  });
}

/** The answer's body, with `done` called once when it ends, fails or is not wanted any more. */
function bodyUntilDone(body: ReadableStream<Uint8Array>, done: () => void): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done: end, value } = await reader.read();
        if (!end) return controller.enqueue(value);
        done();
        controller.close();
      } catch (error) {
        done();
        controller.error(error);
      }
    },
    cancel(reason) {
      done();
      return reader.cancel(reason);
    },
  });
}

async function callWorker(request: Request, worker: Worker, workers: Workers, answerMs: number): Promise<Response> {
  let released = false;
  const release = () => {
    if (!released) workers.release(worker);
    released = true;
  };
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), answerMs);
  try {
    const signal = AbortSignal.any([request.signal, late.signal]);
    const answer = await fetch(workerRequest(request, worker, signal));
    if (!answer.body) {
      release();
      return answer;
    }
    return new Response(bodyUntilDone(answer.body, release), answer);
  } catch (error) {
    release();
    if (late.signal.aborted) {
      // It may hang for good: later calls get a new worker.
      workers.retire(worker);
      return refuse(504, "WORKER_TIMEOUT", `The function did not answer within ${answerMs / 1000} s`);
    }
    if (request.signal.aborted) return refuse(499, "CLIENT_CLOSED_REQUEST", "The client went away");
    console.error(`function ${worker.name}: ${error instanceof Error ? error.message : error}`);
    await workers.ended(worker);
    const { status, code, message } = endedRefusal(worker);
    return refuse(status, code, message);
  } finally {
    clearTimeout(timer);
  }
}

function isPreflight(request: Request): boolean {
  const { headers } = request;
  return request.method === "OPTIONS" && (headers.has("origin") || headers.has("access-control-request-method"));
}

/** The function's answer to a preflight, if it is one; else an empty one, to which the gateway adds its default. */
async function preflight(request: Request, enter: Entrance, workers: Workers, config: Config): Promise<Response> {
  const admission = await enter(request);
  if ("worker" in admission) {
    const ms = Math.min(config.preflightMs, config.answerMs);
    const answer = await callWorker(request, admission.worker, workers, ms);
    if (answer.ok && answer.headers.has("access-control-allow-origin")) return answer;
    await answer.body?.cancel();
  }
  return new Response(null, { status: 204 });
}

/** The handler of all requests but WebSockets. */
export function router(config: Config, workers: Workers, enter: Entrance): (request: Request) => Promise<Response> {
  return async (request) => {
    const { pathname } = new URL(request.url);
    // For the probe alone: the gateway says of each of its requests where it came in.
    if (pathname === "/_internal/health" && !request.headers.has("x-forwarded-prefix")) {
      return Response.json({ status: "ok", workers: workers.count });
    }
    if (isPreflight(request)) return preflight(request, enter, workers, config);
    const admission = await enter(request);
    if ("worker" in admission) return callWorker(request, admission.worker, workers, config.answerMs);
    const { status, code, message } = admission.refusal;
    return refuse(status, code, message);
  };
}

if (import.meta.main) {
  const config = await loadConfig();
  const workers = new Workers(config);
  const enter = await entrance(config, workers);
  // The cache outlives a router; nobody waits for it.
  workers.guardDisk();
  setInterval(() => workers.sweep(), SWEEP_MS);
  setInterval(() => workers.watch(), WATCH_MS);
  setInterval(() => workers.count > 0 && workers.guardDisk(), SWEEP_MS);
  serveSockets(Deno.listen({ port: SOCKETS_PORT, hostname: "0.0.0.0" }), enter, workers, config);
  const server = Deno.serve({
    port: PORT,
    hostname: "0.0.0.0",
    onListen: () => console.log(`functions router listens on ${PORT}, for WebSockets on ${SOCKETS_PORT}`),
    onError: (error) => {
      console.error(error);
      return refuse(500, "ROUTER_ERROR", "The functions router failed");
    },
  }, router(config, workers, enter));
  Deno.addSignalListener("SIGTERM", () => {
    workers.stop();
    server.shutdown();
    Deno.exit(0);
  });
}
