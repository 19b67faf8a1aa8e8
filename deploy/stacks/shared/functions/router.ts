// Routes calls of edge functions: /{name}/… goes to the worker of that function.
//
// In:  HTTP on port 9000, behind the gateway that stripped /functions/v1.
// Out: the function's own answer, or JSON {code, message}: 400 no name, 404 unknown, 401 token refused,
//      503 not started, 500 crashed, 504 no answer in time.

import { type Config, functionSettings, loadConfig } from "./config.ts";
import { jwtVerifier } from "./jwt.ts";
import { BootError, type Worker, Workers } from "./workers.ts";

const PORT = 9000;
const SWEEP_MS = 15_000;

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
    return refuse(500, "WORKER_ERROR", "The function crashed; its log has the details");
  } finally {
    clearTimeout(timer);
  }
}

/** The handler of all requests. */
export async function router(config: Config, workers: Workers): Promise<(request: Request) => Promise<Response>> {
  const verify = await jwtVerifier(config.jwtSecret);
  return async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/_internal/health") return Response.json({ status: "ok", workers: workers.count });

    const name = pathname.split("/", 2)[1];
    if (!name) return refuse(400, "MISSING_FUNCTION_NAME", "The path names no function");
    const settings = await functionSettings(config.functionsDir, name);
    if (!settings) return refuse(404, "NOT_FOUND", "There is no function of this name");
    // A preflight carries no token.
    if (settings.verify_jwt && request.method !== "OPTIONS") {
      const refusal = await verify(request);
      if (refusal) return refuse(401, refusal.code, refusal.message);
    }
    let worker;
    try {
      worker = await workers.acquire(name, settings.version);
    } catch (error) {
      if (!(error instanceof BootError)) throw error;
      return refuse(503, "BOOT_ERROR", error.message);
    }
    return callWorker(request, worker, workers, config.answerMs);
  };
}

if (import.meta.main) {
  const config = await loadConfig();
  const workers = new Workers(config);
  setInterval(() => workers.sweep(), SWEEP_MS);
  const server = Deno.serve({
    port: PORT,
    hostname: "0.0.0.0",
    onListen: () => console.log(`functions router listens on ${PORT}`),
    onError: (error) => {
      console.error(error);
      return refuse(500, "ROUTER_ERROR", "The functions router failed");
    },
  }, await router(config, workers));
  Deno.addSignalListener("SIGTERM", () => {
    workers.stop();
    server.shutdown();
    Deno.exit(0);
  });
}
