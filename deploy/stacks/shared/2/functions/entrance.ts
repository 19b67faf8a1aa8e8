// Who may call which function: the checks before a worker gets a request, of whatever kind.

import { type Config, functionSettings } from "./config.ts";
import { jwtVerifier } from "./jwt.ts";
import { BootError, type Worker, type Workers } from "./workers.ts";

/** Why a request gets no worker. */
export interface Refusal {
  status: number;
  code: string;
  message: string;
}

/** A worker, which the caller must release, or the reason why there is none. */
export type Admission = { worker: Worker } | { refusal: Refusal };

export type Entrance = (request: Request) => Promise<Admission>;

/** The checks, with this configuration. */
export async function entrance(config: Config, workers: Workers): Promise<Entrance> {
  const verify = await jwtVerifier(config.jwtSecret);
  const refusal = (status: number, code: string, message: string) => ({ refusal: { status, code, message } });
  return async (request) => {
    const name = new URL(request.url).pathname.split("/", 2)[1];
    if (!name) return refusal(400, "MISSING_FUNCTION_NAME", "The path names no function");
    const settings = await functionSettings(config.functionsDir, name);
    if (!settings) return refusal(404, "NOT_FOUND", "There is no function of this name");
    // A preflight carries no token.
    if (settings.verify_jwt && request.method !== "OPTIONS") {
      const refused = await verify(request);
      if (refused) return refusal(401, refused.code, refused.message);
    }
    try {
      return { worker: await workers.acquire(name, settings.version) };
    } catch (error) {
      if (!(error instanceof BootError)) throw error;
      return refusal(503, "BOOT_ERROR", error.message);
    }
  };
}

/** What went wrong with a worker that ended while it had a request. */
export function endedRefusal(worker: Worker): Refusal {
  const { endedBecause } = worker;
  if (endedBecause) return { status: 546, code: "WORKER_LIMIT", message: `The function was ended: ${endedBecause}` };
  return { status: 500, code: "WORKER_ERROR", message: "The function crashed; its log has the details" };
}
