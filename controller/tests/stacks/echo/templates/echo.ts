// Stands in for a service: answers with what arrived, byte for byte.
//
// In:  HTTP/1.1 on every port that the gateway knows, read from the bare socket, since a server library
//      would normalise the path.
// Out: JSON {service, port, line, headers, bytes, checksum}; a character of `line` is a byte. With CORS
//      headers that the gateway must replace, except those of functions.

const PORTS = [3000, 4000, 5000, 9000, 9001, 9999];
const CHUNK_BYTES = 65_536;

/** The stream's next bytes; null at its end. */
type Read = () => Promise<Uint8Array | null>;

interface Head {
  line: string;
  headers: Record<string, string>;
  /** What came of the body with the head. */
  rest: Uint8Array;
}

function text(bytes: Uint8Array): string {
  let all = "";
  for (const byte of bytes) all += String.fromCharCode(byte);
  return all;
}

async function readHead(read: Read): Promise<Head | null> {
  let bytes = new Uint8Array();
  for (;;) {
    const chunk = await read();
    if (!chunk) return null;
    bytes = new Uint8Array([...bytes, ...chunk]);
    const all = text(bytes);
    const end = all.indexOf("\r\n\r\n");
    if (end < 0) continue;
    const [line, ...fields] = all.slice(0, end).split("\r\n");
    const headers = Object.fromEntries(fields.map((field) => {
      const colon = field.indexOf(":");
      return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()];
    }));
    return { line, headers, rest: bytes.slice(end + 4) };
  }
}

/** Reads `length` bytes of body: how many came and their checksum, (sum * 31 + byte) modulo 2^32. */
async function readBody(read: Read, first: Uint8Array, length: number) {
  let bytes = 0, checksum = 0;
  for (let chunk: Uint8Array | null = first; chunk; chunk = bytes < length ? await read() : null) {
    bytes += chunk.length;
    for (const byte of chunk) checksum = (Math.imul(checksum, 31) + byte) >>> 0;
  }
  return { bytes, checksum };
}

async function answer(connection: Deno.TcpConn) {
  const buffer = new Uint8Array(CHUNK_BYTES);
  const read: Read = async () => {
    const count = await connection.read(buffer);
    return count === null ? null : buffer.slice(0, count);
  };
  const head = await readHead(read);
  if (!head) return;
  const { line, headers, rest } = head;
  const body = await readBody(read, rest, Number(headers["content-length"] ?? 0));
  const service = Deno.env.get("SERVICE");
  const json = JSON.stringify({ service, port: connection.localAddr.port, line, headers, ...body });
  const content = new TextEncoder().encode(json);
  const lines = [
    "HTTP/1.1 200 OK",
    "content-type: application/json",
    `content-length: ${content.length}`,
    "access-control-allow-origin: http://upstream",
    "access-control-allow-credentials: true",
    "connection: close",
  ];
  const bytes = new Uint8Array([...new TextEncoder().encode(lines.join("\r\n") + "\r\n\r\n"), ...content]);
  for (let sent = 0; sent < bytes.length;) sent += await connection.write(bytes.subarray(sent));
}

async function serve(port: number) {
  for await (const connection of Deno.listen({ port })) {
    // A connection that breaks is the client's affair.
    answer(connection).catch(() => {}).finally(() => connection.close());
  }
}

await Promise.all(PORTS.map(serve));
