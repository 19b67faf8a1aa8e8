// Run inside the functions image, offline:
//   deno test --no-lock --allow-net --allow-env --allow-read --allow-write=/tmp --allow-run=deno router_test.ts

import { type Config, isFunctionName, workerEnv } from "./config.ts";
import { jwtVerifier } from "./jwt.ts";
import { router } from "./router.ts";
import { Workers } from "./workers.ts";

const SECRET = "a-secret-of-at-least-thirty-two-characters";

function assertEquals(actual: unknown, expected: unknown): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`expected ${b}, got ${a}`);
}

function base64Url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function token(claims: object, secret = SECRET, header: object = { alg: "HS256", typ: "JWT" }): Promise<string> {
  const encode = (value: object) => base64Url(new TextEncoder().encode(JSON.stringify(value)));
  const signed = `${encode(header)}.${encode(claims)}`;
  const key = await crypto.subtle.importKey(
    "raw",
    new TextEncoder().encode(secret),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign"],
  );
  return `${signed}.${base64Url(new Uint8Array(await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(signed))))}`;
}

const withToken = (value: string) => ({ headers: { authorization: `Bearer ${value}` } });
const inOneHour = () => Math.floor(Date.now() / 1000) + 3600;

/** A router over functions written to a fresh directory. */
async function setup(functions: Record<string, string>, manifest: object, limits: Partial<Config> = {}) {
  const functionsDir = await Deno.makeTempDir({ dir: "/tmp" });
  for (const [name, code] of Object.entries(functions)) {
    await Deno.mkdir(`${functionsDir}/${name}`);
    await Deno.writeTextFile(`${functionsDir}/${name}/index.ts`, code);
  }
  await Deno.writeTextFile(`${functionsDir}/manifest.json`, JSON.stringify(manifest));
  const config: Config = {
    functionsDir,
    jwtSecret: SECRET,
    workerEnv: { GREETING: "hi" },
    bootMs: 10_000,
    answerMs: 10_000,
    idleMs: 60_000,
    maxWorkers: 2,
    heapMib: 64,
    ...limits,
  };
  const workers = new Workers(config);
  const handle = await router(config, workers);
  return {
    workers,
    call: (path: string, init?: RequestInit) => handle(new Request(`http://gateway${path}`, init)),
  };
}

/** Children are ended at the end of each test; their exit is not waited for. */
function test(name: string, run: () => Promise<void>): void {
  Deno.test({ name, fn: run, sanitizeOps: false, sanitizeResources: false });
}

const open = (name: string) => ({ [name]: { verify_jwt: false } });

test("tokens: good, missing, wrong, expired, other algorithm", async () => {
  const verify = await jwtVerifier(SECRET);
  const code = async (init?: RequestInit) => (await verify(new Request("http://x/", init)))?.code ?? "ok";
  assertEquals(await code(withToken(await token({ role: "anon", exp: inOneHour() }))), "ok");
  assertEquals(await code(withToken(await token({ role: "anon" }))), "ok");
  assertEquals(await code(), "UNAUTHORIZED_NO_AUTH_HEADER");
  assertEquals(await code({ headers: { authorization: "Basic abc" } }), "UNAUTHORIZED_INVALID_JWT");
  assertEquals(await code(withToken("a.b")), "UNAUTHORIZED_INVALID_JWT");
  assertEquals(await code(withToken(await token({ exp: inOneHour() }, "another secret"))), "UNAUTHORIZED_INVALID_JWT");
  assertEquals(await code(withToken(await token({ exp: 1 }))), "UNAUTHORIZED_INVALID_JWT");
  assertEquals(await code(withToken(await token({ exp: "soon" }))), "UNAUTHORIZED_INVALID_JWT");
  assertEquals(await code(withToken(await token({ nbf: inOneHour() }))), "UNAUTHORIZED_INVALID_JWT");
  assertEquals(await code(withToken(await token({}, SECRET, { alg: "none" }))), "UNAUTHORIZED_INVALID_JWT");
});

test("function names", () => {
  for (const good of ["hello", "a", "send-mail_2"]) assertEquals(isFunctionName(good), true);
  for (const bad of ["", "_internal", ".", "..", "a/b", "a%2Fb", "a.ts"]) assertEquals(isFunctionName(bad), false);
  return Promise.resolve();
});

test("secrets cannot take reserved names", () => {
  const env = workerEnv(
    { SUPABASE_URL: "http://kong:8000", JWT_SECRET: "x" },
    { SUPABASE_URL: "http://evil", SUPABASE_X: "1", DENO_DIR: "/", KEY: "v" },
  );
  assertEquals(env, { KEY: "v", SUPABASE_URL: "http://kong:8000" });
  return Promise.resolve();
});

test("answers without a worker: 400, 404, 401, health", async () => {
  const { call, workers } = await setup({ closed: "Deno.serve(() => new Response('in'))" }, {});
  assertEquals((await call("/")).status, 400);
  const unknown = await call("/nothing/here");
  assertEquals([unknown.status, (await unknown.json()).code], [404, "NOT_FOUND"]);
  const refused = await call("/closed");
  assertEquals([refused.status, (await refused.json()).code], [401, "UNAUTHORIZED_NO_AUTH_HEADER"]);
  assertEquals((await call("/_internal/health")).status, 200);
  assertEquals(workers.count, 0);
});

test("a call reaches the function with path, method, headers and body; OPTIONS needs no token", async () => {
  const { call, workers } = await setup({
    echo: `Deno.serve({ port: 4321 }, async (r) => {
      const url = new URL(r.url);
      return Response.json({ path: url.pathname + url.search, method: r.method, x: r.headers.get("x-a"),
        body: await r.text(), greeting: Deno.env.get("GREETING"), secret: Deno.env.get("JWT_SECRET") ?? null });
    })`,
  }, {});
  const options = await call("/echo/x", { method: "OPTIONS" });
  assertEquals([options.status, (await options.json()).method], [200, "OPTIONS"]);
  const answer = await call("/echo/a%2Fb//c?x=1&y=%20", {
    method: "POST",
    body: "data",
    headers: { "x-a": "1", authorization: `Bearer ${await token({ role: "anon", exp: inOneHour() })}` },
  });
  assertEquals(await answer.json(), {
    path: "/echo/a%2Fb//c?x=1&y=%20",
    method: "POST",
    x: "1",
    body: "data",
    greeting: "hi",
    secret: null,
  });
  assertEquals(workers.count, 1);
  workers.stop();
});

test("an exception is 500 JSON and the worker lives on", async () => {
  const { call, workers } = await setup({ bad: "Deno.serve(() => { throw new Error('no') })" }, open("bad"));
  const answer = await call("/bad");
  assertEquals([answer.status, (await answer.json()).code], [500, "WORKER_ERROR"]);
  assertEquals(workers.count, 1);
  workers.stop();
});

test("a function that cannot start is 503", async () => {
  const { call } = await setup({ broken: "this is no typescript" }, open("broken"));
  const answer = await call("/broken");
  assertEquals([answer.status, (await answer.json()).code], [503, "BOOT_ERROR"]);
});

test("a crash is 500 and the next call starts a new worker", async () => {
  const { call, workers } = await setup({
    crash: `Deno.serve((r) => { if (r.url.endsWith("/die")) Deno.exit(3); return new Response(String(Deno.pid)); })`,
  }, open("crash"));
  const first = await (await call("/crash/x")).text();
  assertEquals((await call("/crash/die")).status, 500);
  const second = await call("/crash/x");
  assertEquals(second.status, 200);
  assertEquals(await second.text() === first, false);
  workers.stop();
});

test("no answer in time is 504; the next call gets another worker", async () => {
  const { call, workers } = await setup({
    slow: `Deno.serve((r) => r.url.endsWith("/wait") ? new Promise(() => {}) : new Response("quick"))`,
  }, open("slow"), { answerMs: 1500 });
  const answer = await call("/slow/wait");
  assertEquals([answer.status, (await answer.json()).code], [504, "WORKER_TIMEOUT"]);
  assertEquals(await (await call("/slow/now")).text(), "quick");
  workers.stop();
});

test("simultaneous first calls share one worker; streams flow before they end", async () => {
  const { call, workers } = await setup({
    stream: `Deno.serve((r) => {
      if (!r.url.endsWith("/stream")) return new Response(String(Deno.pid));
      return new Response(new ReadableStream({ async start(c) {
        c.enqueue(new TextEncoder().encode("one"));
        await new Promise((done) => setTimeout(done, 600));
        c.enqueue(new TextEncoder().encode("two")); c.close();
      }}));
    })`,
  }, open("stream"));
  const pids = await Promise.all([1, 2, 3, 4].map(async () => (await call("/stream/pid")).text()));
  assertEquals(new Set(pids).size, 1);
  const reader = (await call("/stream/stream")).body!.getReader();
  const started = performance.now();
  const chunk = await reader.read();
  assertEquals([new TextDecoder().decode(chunk.value), performance.now() - started < 400], ["one", true]);
  assertEquals(new TextDecoder().decode((await reader.read()).value), "two");
  await reader.cancel();
  workers.stop();
});

test("idle workers end, and make room for others", async () => {
  const code = "Deno.serve(() => new Response('ok'))";
  const { call, workers } = await setup(
    { a: code, b: code, c: code },
    { ...open("a"), ...open("b"), ...open("c") },
  );
  for (const name of ["a", "b", "c"]) assertEquals(await (await call(`/${name}`)).text(), "ok");
  await new Promise((done) => setTimeout(done, 300));
  assertEquals(workers.count, 2);
  workers.sweep(Date.now() + 61_000);
  await new Promise((done) => setTimeout(done, 300));
  assertEquals(workers.count, 0);
});

test("a function can neither read the router's files nor run programs", async () => {
  const { call, workers } = await setup({
    nosy: `Deno.serve(async () => {
      const attempts = [() => Deno.readTextFile("/etc/passwd"), () => Deno.readTextFile("/app/secrets.json"),
        () => Deno.readDir("/functions").next?.() ?? Array.fromAsync(Deno.readDir("/functions")),
        () => new Deno.Command("deno").output()];
      const names = [];
      for (const attempt of attempts) names.push(await Promise.resolve().then(attempt).then(() => "allowed", (e) => e.name));
      return Response.json(names);
    })`,
  }, open("nosy"));
  assertEquals(await (await call("/nosy")).json(), ["NotCapable", "NotCapable", "NotCapable", "NotCapable"]);
  workers.stop();
});
