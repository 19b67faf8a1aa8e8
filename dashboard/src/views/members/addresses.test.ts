import { describe, expect, it } from "vitest";
import { addressesIn, isAddress } from "./addresses";

describe("addressesIn", () => {
  it("splits at commas, semicolons, spaces and lines", () => {
    expect(addressesIn("a@x.example, b@x.example;c@x.example\nd@x.example e@x.example")).toEqual([
      "a@x.example",
      "b@x.example",
      "c@x.example",
      "d@x.example",
      "e@x.example",
    ]);
  });
  it("takes the address of a pasted name", () => {
    expect(addressesIn("Kim Lund <kim@x.example>, Noor <Noor@X.example>")).toEqual(["kim@x.example", "noor@x.example"]);
  });
  it("names nobody twice", () => {
    expect(addressesIn("a@x.example A@x.example")).toEqual(["a@x.example"]);
  });
  it("of nothing is nothing", () => {
    expect(addressesIn("  ,; ")).toEqual([]);
  });
});

describe("isAddress", () => {
  it("wants something before and behind the @", () => {
    expect(isAddress("kim@x.example")).toBe(true);
    expect(isAddress("kim@localhost")).toBe(true);
    expect(isAddress("kim@")).toBe(false);
    expect(isAddress("kim")).toBe(false);
  });
});
