// Answers on a WebSocket what arrives there; "end" closes it. Its calls tell how sockets were closed.
const closed: string[] = [];

Deno.serve((request) => {
  if (request.headers.get("upgrade") !== "websocket") return Response.json(closed);
  const { socket, response } = Deno.upgradeWebSocket(request, { protocol: "chat" });
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => data === "end" ? socket.close(4001, "bye") : socket.send(data);
  socket.onclose = ({ code, reason }) => closed.push(`${code} ${reason}`);
  return response;
});
