// Runs in a container: opens a connection to each address of $TARGETS, says so when each has sent something back, and
// when told to (a line on stdin), prints which of them still do. See probe.rs.
const LIMIT_MS = 2000;

function limit() {
  return new Promise((done) => setTimeout(() => done("timeout"), LIMIT_MS));
}

async function echo(connection) {
  await connection.write(new Uint8Array([1]));
  return (await connection.read(new Uint8Array(1))) === 1 ? "open" : "closed";
}

const held = await Promise.all(
  JSON.parse(Deno.env.get("TARGETS")).map(async ({ name, host, port }) => {
    const connection = await Deno.connect({ hostname: host, port });
    if (await echo(connection) !== "open") throw new Error(`${name} does not send back`);
    return [name, connection];
  }),
);
console.log("held");
await Deno.stdin.read(new Uint8Array(1));
const results = held.map(async ([name, connection]) => [name, await Promise.race([echo(connection), limit()])]);
console.log(JSON.stringify(Object.fromEntries(await Promise.all(results))));
Deno.exit(0);
