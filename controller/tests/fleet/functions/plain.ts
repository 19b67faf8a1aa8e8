// Knows no OPTIONS and no CORS. /fill takes memory until it is ended, /tmp fills the temporary folder.
async function fillTmp(): Promise<string> {
  const file = await Deno.create("/tmp/large");
  try {
    for (;;) await file.write(new Uint8Array(1 << 20).fill(1));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    file.close();
  }
}

Deno.serve(async (request) => {
  const { pathname } = new URL(request.url);
  if (request.method === "OPTIONS") return new Response("no", { status: 405 });
  if (pathname === "/plain/expose") return new Response("{}", { headers: { "access-control-expose-headers": "x-mine" } });
  if (pathname === "/plain/tmp") return new Response(await fillTmp());
  if (pathname === "/plain/write") await Deno.writeFile("/tmp/small", new Uint8Array(1 << 20).fill(1));
  const all: Uint8Array[] = [];
  while (pathname === "/plain/fill") {
    // Outside of the heap of JavaScript, whose limit would end it first.
    all.push(new Uint8Array(32 << 20).fill(1));
    await new Promise((done) => setTimeout(done, 1));
  }
  return Response.json({ here: true });
});
