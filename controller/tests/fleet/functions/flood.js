// Runs in a project's container: opens as many connections to the gateway as it is told, each with half a header, and
// opens a new one for each that is closed. Says "full" when it has tried all; ends with its stdin.
const wanted = Number(Deno.args[0]);
const half = new TextEncoder().encode("GET /health HTTP/1.1\r\nHost: x\r\nX-Half: ");
let tried = 0;

async function hold() {
  for (;;) {
    try {
      const connection = await Deno.connect({ hostname: "kong", port: 8000 });
      try {
        await connection.write(half);
        if (++tried === wanted) console.log("full");
        while (await connection.read(new Uint8Array(512)) !== null);
      } finally {
        connection.close();
      }
    } catch {
      // Refused, or cut: once more, as an attacker would.
      if (++tried === wanted) console.log("full");
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

for (let number = 0; number < wanted; number++) hold();
while (await Deno.stdin.read(new Uint8Array(64)) !== null);
Deno.exit(0);
