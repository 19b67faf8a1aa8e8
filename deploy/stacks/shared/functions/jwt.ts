// Checks the project's HS256 tokens.

/** Why a token is refused: a stable code and a sentence. */
export interface Refusal {
  code: string;
  message: string;
}

const invalid = (message: string): Refusal => ({ code: "UNAUTHORIZED_INVALID_JWT", message });

/** Seconds that clocks may differ. */
const LEEWAY = 30;

function decodeBase64Url(text: string): Uint8Array<ArrayBuffer> {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) throw new Error("not base64url");
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

function decodeObject(part: string): Record<string, unknown> {
  const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(decodeBase64Url(part)));
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("not an object");
  return value;
}

/** A verifier for one secret. It answers null for a good token. */
export async function jwtVerifier(secret: string) {
  const key = await crypto.subtle.importKey(
    "raw",
    new TextEncoder().encode(secret),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["verify"],
  );

  async function verifyToken(token: string): Promise<Refusal | null> {
    const parts = token.split(".");
    if (parts.length !== 3) return invalid("The token is no JWT");
    let header, claims, signature;
    try {
      header = decodeObject(parts[0]);
      claims = decodeObject(parts[1]);
      signature = decodeBase64Url(parts[2]);
    } catch {
      return invalid("The token is no JWT");
    }
    if (header.alg !== "HS256") return invalid("The token's algorithm is not HS256");
    const signed = new TextEncoder().encode(`${parts[0]}.${parts[1]}`);
    if (!await crypto.subtle.verify("HMAC", key, signature, signed)) {
      return invalid("The token's signature is wrong");
    }
    const now = Date.now() / 1000;
    if (claims.exp !== undefined && (typeof claims.exp !== "number" || claims.exp + LEEWAY <= now)) {
      return invalid("The token has expired");
    }
    if (claims.nbf !== undefined && (typeof claims.nbf !== "number" || claims.nbf - LEEWAY > now)) {
      return invalid("The token is not valid yet");
    }
    return null;
  }

  return function verifyRequest(request: Request): Promise<Refusal | null> {
    const authorization = request.headers.get("authorization");
    if (!authorization) {
      return Promise.resolve({ code: "UNAUTHORIZED_NO_AUTH_HEADER", message: "Missing authorization header" });
    }
    const [scheme, token, ...rest] = authorization.trim().split(/\s+/);
    if (scheme.toLowerCase() !== "bearer" || !token || rest.length > 0) {
      return Promise.resolve(invalid("The authorization header is not 'Bearer <token>'"));
    }
    return verifyToken(token);
  };
}
