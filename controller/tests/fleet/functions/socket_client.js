// Runs in a project's container, speaks with the function "chat" through the gateway. Out: "silent" when it begins to
// say nothing, and a JSON list of what came.
const socket = new WebSocket("ws://kong:8000/functions/v1/chat?apikey=none", ["other", "chat"]);
socket.binaryType = "arraybuffer";
const arrived = [];
let wake = () => {};
const add = (one) => {
  arrived.push(one);
  wake();
};
socket.onopen = () => add(`open ${socket.protocol}`);
socket.onmessage = ({ data }) => add(typeof data === "string" ? data : `${data.byteLength} bytes`);
socket.onclose = ({ code, reason }) => add(`closed ${code} ${reason}`);
const until = async (count) => {
  while (arrived.length < count && !String(arrived.at(-1)).startsWith("closed")) {
    await new Promise((done) => wake = done);
  }
};
await until(1);
socket.send("text");
await until(2);
console.log("silent");
// Longer than the test's limits for answers, idle workers and the gateway's silence.
await new Promise((done) => setTimeout(done, Number(Deno.args[0])));
socket.send(new Uint8Array(200000));
await until(3);
socket.send("end");
await until(4);
console.log(JSON.stringify(arrived));
Deno.exit(0);
