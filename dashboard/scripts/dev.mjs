// `npm run dev` and `npm run preview`: pages and the API on one port, as the controller serves them, so that the refresh
// cookie and the check of the origin work as in production.
//
// Usage: dev.mjs [--built]   without: Next's development server; with: what `npm run build` wrote to out/
//        PORT=3000 SUPALOVE_API=http://127.0.0.1:8000
import { spawn } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import http from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const port = Number(process.env.PORT ?? 3000);
const api = new URL(process.env.SUPALOVE_API ?? "http://127.0.0.1:8000");
const built = process.argv.includes("--built");
const pages = new URL(`http://127.0.0.1:${port + 1}`);
const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".ico": "image/x-icon",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".txt": "text/x-component; charset=utf-8",
  ".woff2": "font/woff2",
};

/** Paths of the controller: gRPC methods and its own routes. */
const isApi = (path) => /^\/supalove\.v1\.|^\/(healthz|version)$|^\/\.well-known\//.test(path);

function proxy(target, request, response) {
  const onward = http.request(
    { host: target.hostname, port: target.port, path: request.url, method: request.method, headers: request.headers },
    (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      response.flushHeaders();
      answer.pipe(response);
    },
  );
  onward.on("error", () => {
    if (!response.headersSent) response.writeHead(502, { "content-type": "text/plain" });
    response.end();
  });
  response.on("close", () => onward.destroy());
  request.pipe(onward);
}

/** The file for a path: a segment that the export does not have is the placeholder `_`. */
function fileFor(path) {
  let folder = join(root, "out");
  const segments = decodeURIComponent(path).split("/").filter(Boolean);
  if (segments.some((segment) => segment.startsWith("."))) return undefined;
  if (segments.length === 0) segments.push("index.html");
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1;
    const ends = last ? [segment, `${segment}.html`, `_${extname(segment)}`, "_.html"] : [segment, "_"];
    const found = ends
      .map((end) => join(folder, end))
      .find((file) => existsSync(file) && statSync(file).isDirectory() !== last);
    if (!found) return undefined;
    folder = found;
  }
  return folder;
}

async function serveFile(request, response) {
  const file = fileFor(new URL(request.url, "http://x").pathname);
  const name = file ?? join(root, "out", "404.html");
  const body = await readFile(name);
  response.writeHead(file ? 200 : 404, { "content-type": TYPES[extname(name)] ?? "application/octet-stream" });
  response.end(body);
}

if (!built) {
  const next = join(root, "node_modules/next/dist/bin/next");
  const child = spawn(process.execPath, [next, "dev", "--port", pages.port, "--hostname", pages.hostname], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, NEXT_TELEMETRY_DISABLED: "1" },
  });
  child.on("exit", (code) => process.exit(code ?? 1));
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
}

const server = http.createServer((request, response) => {
  if (isApi(request.url)) proxy(api, request, response);
  else if (built) serveFile(request, response).catch(() => response.writeHead(500).end());
  else proxy(pages, request, response);
});
// The development server's own channel.
server.on("upgrade", (request, socket, head) => {
  const onward = http.request({ host: pages.hostname, port: pages.port, path: request.url, headers: request.headers });
  onward.on("upgrade", (answer, other, first) => {
    const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}`);
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join("\r\n")}\r\n\r\n`);
    // What came in one packet with the heads.
    socket.write(first);
    other.write(head);
    other.pipe(socket).pipe(other);
    other.on("error", () => socket.destroy());
    socket.on("error", () => other.destroy());
  });
  onward.on("error", () => socket.destroy());
  onward.end();
});
server.listen(port, "127.0.0.1", () => process.stdout.write(`http://127.0.0.1:${port} with the API of ${api.origin}\n`));
