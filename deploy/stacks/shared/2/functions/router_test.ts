// Run inside the functions image, offline, beside the files that did not change (deploy/dev/test.sh):
//   deno test --no-lock --allow-all router_test.ts

import { type Config, isFunctionName, workerEnv } from "./config.ts";
import { entrance } from "./entrance.ts";
import { jwtVerifier } from "./jwt.ts";
import { router } from "./router.ts";
import { serveSockets } from "./sockets.ts";
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
    preflightMs: 10_000,
    stuckMs: 10_000,
    maxSockets: 4,
    disk: { tmp: functionsDir, tmpMib: 1000, cache: functionsDir, cacheMib: 1000 },
    idleMs: 60_000,
    maxWorkers: 2,
    heapMib: 64,
    memoryMib: 300,
    ...limits,
  };
  const workers = new Workers(config);
  const enter = await entrance(config, workers);
  const handle = router(config, workers, enter);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  serveSockets(listener, enter, workers, config);
  return {
    workers,
    sockets: `127.0.0.1:${listener.addr.port}`,
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

const preflight = {
  method: "OPTIONS",
  headers: { origin: "https://only.example", "access-control-request-method": "PUT" },
};

test("a preflight is the function's if it answers one, else empty for the gateway's default", async () => {
  const answering = (answer: string) => `Deno.serve((r) => r.method === "OPTIONS" ? ${answer} : new Response("in"))`;
  const functions = {
    own: answering(`new Response(null, { status: 200, headers: { "access-control-allow-origin": "https://only.example",
      "access-control-allow-credentials": "true", vary: "Origin" } })`),
    without: answering("new Response('no origin here')"),
    refusing: answering(
      "new Response('no', { status: 405, headers: { 'access-control-allow-origin': 'https://only.example' } })",
    ),
    throwing: answering("(() => { throw new Error('no') })()"),
    hanging: answering("new Promise(() => {})"),
    broken: "this is no typescript",
  };
  const { call, workers } = await setup(functions, open("own"), { preflightMs: 500, maxWorkers: 9 });
  const own = await call("/own", preflight);
  assertEquals([own.status, own.headers.get("access-control-allow-origin"), own.headers.get("vary")], [
    200,
    "https://only.example",
    "Origin",
  ]);
  assertEquals(own.headers.get("access-control-allow-credentials"), "true");
  for (const name of ["without", "refusing", "throwing", "hanging", "broken", "unknown"]) {
    const answer = await call(`/${name}`, preflight);
    assertEquals([name, answer.status, answer.headers.get("access-control-allow-origin"), await answer.text()], [
      name,
      204,
      null,
      "",
    ]);
  }
  // Without a preflight's headers it is a call like any other.
  assertEquals((await call("/refusing", { method: "OPTIONS" })).status, 405);
  workers.stop();
});

test("who comes through the gateway cannot ask for the router's health", async () => {
  const { call } = await setup({}, {});
  const headers = { "x-forwarded-prefix": "/functions/v1" };
  const unknown = await (await call("/unknown", { headers })).json();
  for (const path of ["/_internal/health", "/_internal\\health", "/_internal/health?x=1"]) {
    const answer = await call(path, { headers });
    assertEquals([answer.status, await answer.json()], [404, unknown]);
  }
});

/** What arrived on a WebSocket, one after the other. */
function listen(socket: WebSocket) {
  socket.binaryType = "arraybuffer";
  const arrived: unknown[] = [];
  let wake = () => {};
  const add = (one: unknown) => {
    arrived.push(one);
    wake();
  };
  socket.onopen = () => add(`open ${socket.protocol}`);
  socket.onmessage = ({ data }) => add(typeof data === "string" ? data : [...new Uint8Array(data)]);
  socket.onclose = ({ code, reason }) => add(`closed ${code} ${reason}`);
  socket.onerror = () => {};
  return async function next(): Promise<unknown> {
    while (arrived.length === 0) await new Promise<void>((done) => wake = done);
    return arrived.shift();
  };
}

const ECHO_SOCKET = `const closed = [];
Deno.serve((r) => {
  if (r.headers.get("upgrade") !== "websocket") return Response.json(closed);
  if (r.url.endsWith("/declines")) return new Response("not you", { status: 403 });
  if (r.url.endsWith("/dies")) Deno.exit(3);
  if (r.url.endsWith("/hangs")) return new Promise(() => {});
  const { socket, response } = Deno.upgradeWebSocket(r, { protocol: "chat" });
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => data === "end" ? socket.close(4001, "bye") : socket.send(data);
  socket.onclose = ({ code, reason }) => closed.push(code + " " + reason);
  return response;
})`;

test("a WebSocket is the function's: messages, sub-protocol, close codes; limits on answers do not end it", async () => {
  const { call, sockets, workers } = await setup({ chat: ECHO_SOCKET }, open("chat"), { answerMs: 700, idleMs: 300 });
  const socket = new WebSocket(`ws://${sockets}/chat/x?y=1`, ["other", "chat"]);
  const next = listen(socket);
  assertEquals(await next(), "open chat");
  socket.send("text");
  assertEquals(await next(), "text");
  // Longer than a worker may be idle and than an answer may take.
  await new Promise((done) => setTimeout(done, 1500));
  workers.sweep();
  const large = new Uint8Array(200_000).fill(7);
  socket.send(large);
  assertEquals((await next() as number[]).length, large.length);
  socket.send("end");
  assertEquals(await next(), "closed 4001 bye");
  const second = new WebSocket(`ws://${sockets}/chat`, ["chat"]);
  const nextOfSecond = listen(second);
  assertEquals(await nextOfSecond(), "open chat");
  second.close(4002, "enough");
  assertEquals(await nextOfSecond(), "closed 4002 enough");
  // The function has seen both ends.
  assertEquals(await (await call("/chat")).json(), ["4001 bye", "4002 enough"]);
  workers.stop();
});

test("a WebSocket is refused like any call, and what the function says instead arrives", async () => {
  const { call, sockets, workers } = await setup(
    { chat: ECHO_SOCKET, closed: ECHO_SOCKET },
    open("chat"),
    { answerMs: 700, maxSockets: 1 },
  );
  const upgrade = async (path: string, method = "GET") => {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(sockets.split(":")[1]) });
    const head = `${method} ${path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n` +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    await connection.write(new TextEncoder().encode(head));
    const answer = await new Response(connection.readable).text();
    return [answer.split(" ")[1], answer.slice(answer.indexOf("\r\n\r\n") + 4)];
  };
  const code = ([status, body]: string[]) => [status, JSON.parse(body).code];
  assertEquals(code(await upgrade("/unknown")), ["404", "NOT_FOUND"]);
  assertEquals(code(await upgrade("/")), ["400", "MISSING_FUNCTION_NAME"]);
  assertEquals(code(await upgrade("/chat", "POST")), ["400", "BAD_REQUEST"]);
  assertEquals(code(await upgrade("/closed")), ["401", "UNAUTHORIZED_NO_AUTH_HEADER"]);
  assertEquals(await upgrade("/chat/declines"), ["403", "not you"]);
  assertEquals(code(await upgrade("/chat/dies")), ["500", "WORKER_ERROR"]);
  assertEquals(code(await upgrade("/chat/hangs")), ["504", "WORKER_TIMEOUT"]);
  const socket = new WebSocket(`ws://${sockets}/chat`, ["chat"]);
  const next = listen(socket);
  assertEquals(await next(), "open chat");
  assertEquals(code(await upgrade("/chat")), ["503", "TOO_MANY_SOCKETS"]);
  // A worker's end is an open socket's end. Deno's client has no code where no close frame came.
  workers.stop();
  assertEquals(await next(), "closed 0 ");
  while (workers.count > 0) await new Promise((done) => setTimeout(done, 10));
  assertEquals((await call("/chat")).status, 200);
  workers.stop();
});

test("a function that only computes is ended, with all its calls, while others answer", async () => {
  const { call, workers } = await setup({
    loop: `Deno.serve(async (r) => {
      if (r.url.endsWith("/wait")) return await new Promise(() => {});
      if (r.url.endsWith("/spin")) for (;;);
      return new Response("fresh");
    })`,
    other: "Deno.serve(() => new Response('here'))",
  }, { ...open("loop"), ...open("other") }, { stuckMs: 800 });
  assertEquals(await (await call("/other")).text(), "here");
  const waiting = call("/loop/wait");
  await new Promise((done) => setTimeout(done, 200));
  // A function that waits is none that computes.
  await workers.watch();
  assertEquals(workers.count, 2);
  const looping = call("/loop/spin");
  const watch = setInterval(() => workers.watch(), 100);
  assertEquals(await (await call("/other")).text(), "here");
  for (const answer of [await looping, await waiting]) {
    assertEquals([answer.status, (await answer.json()).code], [546, "WORKER_LIMIT"]);
  }
  clearInterval(watch);
  assertEquals(await (await call("/loop")).text(), "fresh");
  assertEquals(await (await call("/other")).text(), "here");
  workers.stop();
});

test("a function that fills its heap is ended and says why, while others answer", async () => {
  const { call, workers } = await setup({
    grow: `Deno.serve((r) => {
      if (!r.url.endsWith("/fill")) return new Response("fresh");
      const all = [];
      for (;;) all.push(new Array(10_000).fill(Math.random()));
    })`,
    other: "Deno.serve(() => new Response('here'))",
  }, { ...open("grow"), ...open("other") });
  const growing = call("/grow/fill");
  assertEquals(await (await call("/other")).text(), "here");
  const answer = await growing;
  assertEquals([answer.status, await answer.json()], [546, {
    code: "WORKER_LIMIT",
    message: "The function was ended: it used more than 64 MiB of JavaScript heap",
  }]);
  assertEquals(await (await call("/grow")).text(), "fresh");
  workers.stop();
});

test("what functions write stays bounded: the largest temporary files go, and all of a cache that is too large", async () => {
  const [tmp, cache] = [await Deno.makeTempDir({ dir: "/tmp" }), await Deno.makeTempDir({ dir: "/tmp" })];
  const write = async (path: string, mib: number) => await Deno.writeFile(path, new Uint8Array(mib << 20).fill(1));
  const names = async (folder: string) => (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
  const { call, workers } = await setup(
    { any: "Deno.serve(() => new Response(String(Deno.pid)))" },
    open("any"),
    { disk: { tmp, tmpMib: 4, cache, cacheMib: 2 } },
  );
  await write(`${tmp}/small`, 1);
  await Deno.mkdir(`${tmp}/deep`);
  await write(`${tmp}/deep/middle`, 2);
  await write(`${cache}/import`, 1);
  const first = await (await call("/any")).text();
  await workers.guardDisk();
  assertEquals([await names(tmp), await names(`${tmp}/deep`), await names(cache)], [["deep", "small"], ["middle"], ["import"]]);
  assertEquals(await (await call("/any")).text(), first);
  await write(`${tmp}/large`, 3);
  await write(`${cache}/more`, 2);
  await workers.guardDisk();
  assertEquals([await names(tmp), await names(`${tmp}/deep`), await names(cache)], [["deep", "small"], [], []]);
  // The worker may have held removed files open: there is a new one.
  assertEquals(await (await call("/any")).text() === first, false);
  workers.stop();
});

test("so do folders that are empty: too many are removed like files", async () => {
  const [tmp, cache] = [await Deno.makeTempDir({ dir: "/tmp" }), await Deno.makeTempDir({ dir: "/tmp" })];
  const { workers } = await setup({}, open("any"), { disk: { tmp, tmpMib: 4, cache, cacheMib: 2 } });
  for (let number = 0; number < 20_000; number++) Deno.mkdirSync(`${tmp}/${number}`);
  await Deno.mkdir(`${cache}/import`);
  await workers.guardDisk();
  assertEquals([await Array.fromAsync(Deno.readDir(tmp)), (await Array.fromAsync(Deno.readDir(cache))).length], [[], 1]);
  workers.stop();
});
