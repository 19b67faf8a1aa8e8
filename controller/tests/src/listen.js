// Runs in a container: sends back what it gets over TCP and UDP on every address of $LISTEN. See isolation.rs.
async function tcp(hostname, port) {
  for await (const connection of Deno.listen({ hostname, port })) {
    connection.readable.pipeTo(connection.writable).catch(() => {});
  }
}

async function udp(hostname, port) {
  const socket = Deno.listenDatagram({ hostname, port, transport: "udp" });
  for await (const [data, from] of socket) await socket.send(data, from);
}

const running = Deno.env.get("LISTEN").split(",").flatMap((address) => {
  const [host, port] = address.split(":");
  return [tcp(host, Number(port)), udp(host, Number(port))];
});
console.log("listening");
await Promise.all(running);
