import { describe, expect, it } from "vitest";
import { claimsOf } from "./session";

const token = (claims: object) => `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.y`;

describe("an access token", () => {
  it("says whose it is and how long it lives", () => {
    expect(claimsOf(token({ sub: "usr_1", iat: 100, exp: 1000, note: "ü?>" }))).toEqual({ sub: "usr_1", iat: 100, exp: 1000 });
  });

  it("that is none is no session", () => {
    expect(claimsOf("")).toBeUndefined();
    expect(claimsOf("a.b.c")).toBeUndefined();
  });
});
