// Tells the caller which role the token has. The router has checked the token before (verify_jwt).

Deno.serve((request) => {
  const token = request.headers.get("authorization")!.trim().split(/\s+/)[1];
  const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
  const claims = JSON.parse(new TextDecoder().decode(bytes));
  return Response.json({ role: claims.role, user: claims.sub ?? null });
});
