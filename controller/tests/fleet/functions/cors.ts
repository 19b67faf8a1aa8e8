// Decides about CORS itself, preflights included.
const headers = {
  "access-control-allow-origin": "https://only.example",
  "access-control-allow-credentials": "true",
  "access-control-expose-headers": "x-mine",
  vary: "Origin",
};

Deno.serve((request) => {
  if (request.method !== "OPTIONS") return new Response("{}", { headers });
  const preflight = { "access-control-allow-methods": "PUT", "access-control-allow-headers": "x-own", "access-control-max-age": "7" };
  return new Response(null, { status: 204, headers: { ...headers, ...preflight } });
});
