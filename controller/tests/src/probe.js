// Runs in a container: tries every address of $TARGETS at once and prints what came of it. See probe.rs.
const LIMIT_MS = 2000;
const outcomes = { Error: "unresolved", ConnectionRefused: "refused", TimedOut: "timeout" };

async function tcp({ host, port }) {
  const connection = await Deno.connect({ hostname: host, port });
  const { hostname } = connection.remoteAddr;
  connection.close();
  return `open ${hostname}`;
}

async function udp({ host, port }) {
  const socket = Deno.listenDatagram({ hostname: "0.0.0.0", port: 0, transport: "udp" });
  await socket.send(new Uint8Array([1]), { transport: "udp", hostname: host, port });
  const [, from] = await socket.receive();
  return `open ${from.hostname}`;
}

async function attempt(target) {
  try {
    return await (target.udp ? udp(target) : tcp(target));
  } catch (error) {
    return outcomes[error.name] ?? error.name;
  }
}

function limit() {
  return new Promise((done) => setTimeout(() => done("timeout"), LIMIT_MS));
}

const targets = JSON.parse(Deno.env.get("TARGETS"));
const results = targets.map(async (target) => [target.name, await Promise.race([attempt(target), limit()])]);
console.log(JSON.stringify(Object.fromEntries(await Promise.all(results))));
Deno.exit(0);
