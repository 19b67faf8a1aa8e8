// A first function: greets whom ?name= or the JSON body's `name` says. Open to everyone.

async function nameOf(request: Request): Promise<string> {
  const fromQuery = new URL(request.url).searchParams.get("name");
  if (fromQuery) return fromQuery;
  const body = await request.json().catch(() => null);
  return typeof body?.name === "string" && body.name ? body.name : "world";
}

Deno.serve(async (request) => {
  return Response.json({ message: `Hello, ${await nameOf(request)}!` });
});
