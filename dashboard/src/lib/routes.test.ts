import { describe, expect, it } from "vitest";
import { placeOf, safeNext } from "./routes";

describe("paths", () => {
  it("say where one is", () => {
    expect(placeOf("/o/lumen")).toEqual({ space: "organization", slug: "lumen", page: "" });
    expect(placeOf("/o/lumen/members/")).toEqual({ space: "organization", slug: "lumen", page: "members" });
    expect(placeOf("/p/qjxwnbtkzrmaplvdyoeh/logs")).toEqual({ space: "project", ref: "qjxwnbtkzrmaplvdyoeh", page: "logs" });
    expect(placeOf("/platform/clusters/eu-fra")).toEqual({ space: "platform", page: "clusters/eu-fra" });
    expect(placeOf("/account")).toEqual({ space: "account" });
    expect(placeOf("/")).toEqual({ space: "none" });
    expect(placeOf("/o/%E0%A4%A")).toEqual({ space: "organization", slug: "%E0%A4%A", page: "" });
  });

  it("of other sites are not followed after a sign-in", () => {
    for (const bad of ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", null]) {
      expect(safeNext(bad)).toBe("/");
    }
    expect(safeNext("/o/lumen?x=1")).toBe("/o/lumen?x=1");
  });
});
