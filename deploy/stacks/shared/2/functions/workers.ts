// One child process per function: started on the first call, ended when idle, replaced when it died,
// stopped answering, only computes, used too much memory or has a new version.

import type { Config } from "./config.ts";

/** A function that did not start; the caller answers 503. */
export class BootError extends Error {}

/** A running child. */
export interface Worker {
  name: string;
  version: string;
  port: number;
  /** Where it answers while its event loop turns. */
  alivePort: number;
  /** When it last did. */
  aliveAt: number;
  /** Requests it is answering. */
  active: number;
  lastUsed: number;
  /** Takes no new requests; ends after the last one. */
  retired: boolean;
  /** It has begun to take requests. */
  listens: boolean;
  /** Ended from here. */
  killed: boolean;
  exited: boolean;
  /** A limit that ended it; empty while it runs, and if it ended by itself. */
  endedBecause: string;
  process: Deno.ChildProcess;
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

/** How V8 ends a process whose heap is full. */
const V8_ENDS = ["SIGTRAP", "SIGABRT", "SIGILL"];
/** How preload.ts ends a worker that has too much memory. */
const MEMORY_EXIT = 99;
/** Until it is known that a worker ended that has dropped a connection. */
const ENDED_MS = 1000;
const GUARD_MS = 30_000;

/** Whether an event loop turns: the kernel takes the connection, but only the loop sends the byte. */
async function answers(port: number, limitMs: number): Promise<boolean> {
  let connection: Deno.TcpConn | undefined;
  const timer = setTimeout(() => connection?.close(), limitMs);
  try {
    connection = await Deno.connect({ hostname: "127.0.0.1", port });
    return await connection.read(new Uint8Array(1)) === 1;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
    try {
      connection?.close();
    } catch {
      // The timer closed it.
    }
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function accepts(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}

/** Arguments of a child. It may use the network, read its own code and the import cache, write to /tmp. */
export function workerArguments(config: Config, name: string): string[] {
  const directory = `${config.functionsDir}/${name}`;
  return [
    "run",
    "--quiet",
    "--no-prompt",
    "--no-lock",
    "--allow-net",
    "--allow-env",
    "--allow-import",
    `--allow-read=${directory},/deno-dir,/tmp`,
    "--allow-write=/tmp",
    `--v8-flags=--max-old-space-size=${config.heapMib}`,
    `--preload=${new URL("./preload.ts", import.meta.url).pathname}`,
    `${directory}/index.ts`,
  ];
}

/** All children of the router. */
export class Workers {
  readonly #config: Config;
  readonly #running = new Map<string, Promise<Worker>>();
  readonly #alive = new Set<Worker>();
  #guarding = false;

  constructor(config: Config) {
    this.#config = config;
  }

  /** How many children there are. */
  get count(): number {
    return this.#alive.size;
  }

  /** A worker that listens; the caller must `release` it. Throws BootError. */
  async acquire(name: string, version: string): Promise<Worker> {
    const started = this.#running.get(name);
    if (started) {
      const worker = await started;
      if (!worker.exited && !worker.retired && worker.version === version) return this.#take(worker);
      this.retire(worker);
      // Another request may have replaced it while this one waited.
      if (this.#running.get(name) !== started && this.#running.has(name)) return this.acquire(name, version);
    }
    const start = this.#start(name, version);
    this.#running.set(name, start);
    try {
      return this.#take(await start);
    } catch (error) {
      if (this.#running.get(name) === start) this.#running.delete(name);
      throw error;
    }
  }

  /** The request is over. */
  release(worker: Worker): void {
    worker.active -= 1;
    worker.lastUsed = Date.now();
    if (worker.retired && worker.active === 0) this.#kill(worker);
  }

  /** No new requests go there; it ends when the last one has, or after the answer limit. */
  retire(worker: Worker): void {
    if (worker.retired) return;
    worker.retired = true;
    if (worker.active === 0) return this.#kill(worker);
    const timer = setTimeout(() => this.#kill(worker), this.#config.answerMs);
    Deno.unrefTimer(timer);
  }

  /** Ends what has been idle for long. Called by a timer. */
  sweep(now = Date.now()): void {
    for (const worker of this.#alive) {
      if (worker.active === 0 && now - worker.lastUsed >= this.#config.idleMs) this.retire(worker);
    }
  }

  /** Asks each whether its event loop turns, and ends what has only computed for long. Called by a timer. */
  async watch(): Promise<void> {
    await Promise.all([...this.#alive].filter((worker) => worker.listens).map(async (worker) => {
      if (await answers(worker.alivePort, this.#config.stuckMs)) {
        worker.aliveAt = Date.now();
      } else if (Date.now() - worker.aliveAt >= this.#config.stuckMs) {
        this.#end(worker, `it computed for ${this.#config.stuckMs / 1000} s without a pause`);
      }
    }));
  }

  /** Removes files of functions that take too much room. Called by a timer. */
  async guardDisk(): Promise<void> {
    if (this.#guarding) return;
    this.#guarding = true;
    try {
      const guard = new Deno.Command("deno", {
        args: [
          "run",
          "--quiet",
          "--no-prompt",
          "--no-lock",
          "--allow-all",
          new URL("./guard.ts", import.meta.url).pathname,
          JSON.stringify(this.#config.disk),
        ],
        stdin: "null",
        stderr: "inherit",
        signal: AbortSignal.timeout(GUARD_MS),
      });
      const { success, stdout } = await guard.output();
      if (!success) return console.error("functions: what they wrote to disk could not be looked at");
      if (!JSON.parse(new TextDecoder().decode(stdout)).cacheRemoved) return;
      // They may hold removed files open, whose room is free only when they end.
      for (const worker of this.#alive) this.retire(worker);
    } catch (error) {
      // Too many processes, say. The next look may succeed.
      console.error(`functions: what they wrote to disk could not be looked at: ${error}`);
    } finally {
      this.#guarding = false;
    }
  }

  /** Waits until it is known why a worker ended; it may be about to. */
  async ended(worker: Worker): Promise<void> {
    const deadline = Date.now() + ENDED_MS;
    while (!worker.exited && Date.now() < deadline) await sleep(10);
  }

  /** Ends all children. */
  stop(): void {
    for (const worker of this.#alive) this.#kill(worker);
  }

  #take(worker: Worker): Worker {
    worker.active += 1;
    worker.lastUsed = Date.now();
    return worker;
  }

  #kill(worker: Worker): void {
    worker.killed = true;
    if (!worker.exited) worker.process.kill("SIGKILL");
  }

  /** Ends it now, whatever it does, and says why to the log and to its callers. */
  #end(worker: Worker, because: string): void {
    if (worker.exited || worker.endedBecause) return;
    worker.endedBecause = because;
    console.error(`function ${worker.name}: ended: ${because}`);
    worker.retired = true;
    this.#kill(worker);
  }

  /** Why a child ended that nobody here ended. */
  #exited(worker: Worker, status: Deno.CommandStatus): void {
    worker.exited = true;
    this.#alive.delete(worker);
    if (worker.killed) return;
    if (status.code === MEMORY_EXIT) {
      worker.endedBecause = `it used more than ${this.#config.memoryMib} MiB of memory`;
    } else if (status.signal === "SIGKILL") {
      worker.endedBecause = "the memory of the functions was used up";
    } else if (status.signal !== null && V8_ENDS.includes(status.signal)) {
      worker.endedBecause = `it used more than ${this.#config.heapMib} MiB of JavaScript heap`;
    }
    console.error(`function ${worker.name}: worker ended (code ${status.code}) ${worker.endedBecause}`.trim());
  }

  /** Room for one more, if need be by ending the one that has been idle for longest. */
  #makeRoom(): void {
    if (this.#alive.size < this.#config.maxWorkers) return;
    const idle = [...this.#alive].filter((worker) => worker.active === 0)
      .sort((a, b) => a.lastUsed - b.lastUsed);
    if (idle.length === 0) throw new BootError("All function workers are busy");
    this.retire(idle[0]);
  }

  async #start(name: string, version: string): Promise<Worker> {
    this.#makeRoom();
    const port = freePort();
    const alivePort = freePort();
    const process = new Deno.Command("deno", {
      args: workerArguments(this.#config, name),
      clearEnv: true,
      env: {
        ...this.#config.workerEnv,
        PATH: "/usr/bin",
        HOME: "/tmp",
        DENO_DIR: "/deno-dir",
        DENO_NO_UPDATE_CHECK: "1",
        // Overrides the address of the function's own Deno.serve call, even an explicit one.
        DENO_SERVE_ADDRESS: `tcp:127.0.0.1:${port}`,
        // Read and taken away by preload.ts.
        SUPALOVE_ALIVE_PORT: String(alivePort),
        SUPALOVE_MEMORY_MIB: String(this.#config.memoryMib),
      },
      cwd: "/tmp",
      stdin: "null",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
    const worker: Worker = {
      name,
      version,
      port,
      alivePort,
      aliveAt: Date.now(),
      active: 0,
      lastUsed: Date.now(),
      retired: false,
      listens: false,
      killed: false,
      exited: false,
      endedBecause: "",
      process,
    };
    this.#alive.add(worker);
    process.status.then((status) => this.#exited(worker, status));
    await this.#listening(worker);
    worker.listens = true;
    worker.aliveAt = Date.now();
    return worker;
  }

  async #listening(worker: Worker): Promise<void> {
    const deadline = Date.now() + this.#config.bootMs;
    while (!worker.exited && Date.now() < deadline) {
      if (await accepts(worker.port)) return;
      await sleep(10);
    }
    const ended = worker.exited;
    this.retire(worker);
    throw new BootError(
      ended ? "The function ended before it listened; its log has the details" : "The function did not start in time",
    );
  }
}
