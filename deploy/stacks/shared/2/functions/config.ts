// What the router is told: environment and the files beside it.

/** Limits and values the router works with. */
export interface Config {
  /** Where the functions lie, one directory each. */
  functionsDir: string;
  /** HS256 secret of the project's tokens, used as text. */
  jwtSecret: string;
  /** Environment of every worker. */
  workerEnv: Record<string, string>;
  /** Milliseconds a new worker may take until it listens (first start: downloads). */
  bootMs: number;
  /** Milliseconds until a function must have begun its answer. */
  answerMs: number;
  /** Milliseconds that a function has for a preflight, before the gateway's default is the answer. */
  preflightMs: number;
  /** Milliseconds that a worker may compute without coming back to its event loop. */
  stuckMs: number;
  /** WebSockets at a time. */
  maxSockets: number;
  /** What functions write: temporary files and the cache of imports. */
  disk: { tmp: string; tmpMib: number; cache: string; cacheMib: number };
  /** Milliseconds without a request after which a worker ends. */
  idleMs: number;
  /** Workers at a time. */
  maxWorkers: number;
  /** MiB of JavaScript heap per worker. */
  heapMib: number;
  /** MiB of memory per worker, buffers outside the heap too. */
  memoryMib: number;
}

/** How one function runs; `functions/manifest.json` holds them by name. */
export interface FunctionSettings {
  /** Refuse calls without a valid token of the project. */
  verify_jwt: boolean;
  /** Another value starts a new worker; requests in flight end on the old one. */
  version: string;
}

/** Names the platform sets; a function's secret cannot take one of them. */
const RESERVED = [
  "SUPABASE_URL",
  "SUPABASE_PUBLIC_URL",
  "SUPABASE_ANON_KEY",
  "SUPABASE_SERVICE_ROLE_KEY",
  "SUPABASE_DB_URL",
];

/** The worker's environment: the reserved names, then secrets that do not pretend to be one. */
export function workerEnv(
  env: Record<string, string>,
  secrets: Record<string, string>,
): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(secrets)) {
    if (!name.startsWith("SUPABASE_") && !name.startsWith("DENO_")) result[name] = value;
  }
  for (const name of RESERVED) {
    if (env[name] !== undefined) result[name] = env[name];
  }
  return result;
}

/** Reads the configuration; throws when something required is missing. */
export async function loadConfig(): Promise<Config> {
  const env = Deno.env.toObject();
  if (!env.JWT_SECRET) throw new Error("JWT_SECRET is not set");
  const secrets = JSON.parse(await Deno.readTextFile(new URL("./secrets.json", import.meta.url)));
  return {
    functionsDir: "/functions",
    jwtSecret: env.JWT_SECRET,
    workerEnv: workerEnv(env, secrets),
    bootMs: 30_000,
    answerMs: 150_000,
    preflightMs: 10_000,
    stuckMs: 30_000,
    maxSockets: 500,
    // Below the 64 MiB of the service's tmpfs, and what the release counts for its disk.
    disk: { tmp: "/tmp", tmpMib: 48, cache: "/deno-dir", cacheMib: 256 },
    idleMs: 300_000,
    maxWorkers: 8,
    heapMib: 150,
    memoryMib: 300,
  };
}

/** A directory name that can be a function. Keeps `.`, `/` and `_internal` out. */
export function isFunctionName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/.test(name);
}

/** A function's settings, or null if there is none of that name. No entry in the manifest: the defaults. */
export async function functionSettings(
  functionsDir: string,
  name: string,
): Promise<FunctionSettings | null> {
  if (!isFunctionName(name)) return null;
  const file = await Deno.stat(`${functionsDir}/${name}/index.ts`).catch(() => null);
  if (!file?.isFile) return null;
  const manifest = JSON.parse(
    await Deno.readTextFile(`${functionsDir}/manifest.json`).catch(() => "{}"),
  );
  const entry = Object.hasOwn(manifest, name) ? manifest[name] : {};
  return {
    verify_jwt: entry.verify_jwt !== false,
    version: String(entry.version ?? file.mtime?.getTime() ?? ""),
  };
}
