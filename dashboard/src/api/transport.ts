/** Calls of the session: each carries the access token; one that is refused for its token is made again with a new one. */

import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { accessToken, refresh } from "./session";

const withSession: Interceptor = (next) => async (request) => {
  const token = await accessToken();
  sign(request.header, token);
  try {
    return await next(request);
  } catch (error) {
    // A stream is opened again by who reads it.
    if (request.stream || ConnectError.from(error).code !== Code.Unauthenticated) throw error;
    if (!(await refresh(token))) throw error;
    sign(request.header, await accessToken());
    return await next(request);
  }
};

export const transport = createGrpcWebTransport({
  baseUrl: "/",
  defaultTimeoutMs: 30_000,
  interceptors: [withSession],
  // SignOut takes the cookie away.
  fetch: (input, init) => fetch(input, { ...init, credentials: "same-origin" }),
});

function sign(header: Headers, token: string): void {
  if (token) header.set("authorization", `Bearer ${token}`);
}
