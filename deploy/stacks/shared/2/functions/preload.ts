// Loaded into every worker before the function: what supabase/edge-runtime offers and plain Deno lacks.

const serve = Deno.serve;

/** An exception in a handler answers 500 JSON unless the function has its own `onError`. */
function onError(error: unknown): Response {
  console.error(error);
  return Response.json(
    { code: "WORKER_ERROR", message: "The function threw an error; its log has the details" },
    { status: 500 },
  );
}

// Deno.serve(handler), Deno.serve(options, handler), Deno.serve({ handler, ...options })
function serveWithJsonErrors(...args: unknown[]) {
  const [first, second] = args;
  const options = typeof first === "function" ? {} : first as object;
  const handler = typeof first === "function" ? first : second;
  const merged = { onError, onListen: () => {}, ...options, ...(handler ? { handler } : {}) };
  return serve(merged as Deno.ServeTcpOptions & Deno.ServeInit<Deno.NetAddr>);
}
Object.defineProperty(Deno, "serve", { value: serveWithJsonErrors, configurable: true, writable: true });

// Answers the router for as long as the event loop turns: a worker that only computes is ended.
const alivePort = Number(Deno.env.get("SUPALOVE_ALIVE_PORT"));
Deno.env.delete("SUPALOVE_ALIVE_PORT");
const alive = Deno.listen({ hostname: "127.0.0.1", port: alivePort });
// It must not keep a function running that has nothing left to do.
alive.unref();
(async () => {
  for await (const router of alive) {
    await router.write(new Uint8Array([1])).catch(() => {});
    router.close();
  }
})();

// Ends before the whole service is short of memory: then the kernel would slow everybody down for long before it ends one.
const memoryMib = Number(Deno.env.get("SUPALOVE_MEMORY_MIB"));
Deno.env.delete("SUPALOVE_MEMORY_MIB");
const { exit, memoryUsage } = Deno;
Deno.unrefTimer(setInterval(() => {
  // The code is known to workers.ts.
  if (memoryUsage().rss > memoryMib * 1024 * 1024) exit(99);
}, 100));

// Background work simply goes on: a worker lives until it is idle.
Object.defineProperty(globalThis, "EdgeRuntime", {
  value: { waitUntil: (work: Promise<unknown>) => void Promise.resolve(work).catch(console.error) },
  configurable: true,
});
