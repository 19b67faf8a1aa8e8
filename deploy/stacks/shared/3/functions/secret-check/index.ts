// Tells a server of the project which value a secret has, by its SHA-256: ?name=MY_SECRET. The router has checked the token
// before (verify_jwt); only the service_role key gets an answer.

function role(request: Request): unknown {
  const token = request.headers.get("authorization")!.trim().split(/\s+/)[1];
  const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes)).role;
}

function refuse(status: number, code: string, message: string): Response {
  return Response.json({ code, message }, { status });
}

Deno.serve(async (request) => {
  if (role(request) !== "service_role") {
    return refuse(403, "SERVICE_ROLE_ONLY", "Only the service_role key may ask for secrets");
  }
  const name = new URL(request.url).searchParams.get("name") ?? "";
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
    return refuse(400, "NAME_INVALID", "?name= must be the name of a secret");
  }
  const value = Deno.env.get(name);
  if (value === undefined) return refuse(404, "NO_SUCH_SECRET", "The functions have no secret of this name");
  const bytes = new TextEncoder().encode(value);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const sha256 = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return Response.json({ name, bytes: bytes.length, sha256 });
});
