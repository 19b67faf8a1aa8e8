import { expect, it } from "vitest";
import { actOf, hex, outcomeShown } from "./words";

it("reads methods as acts", () => {
  expect(actOf("/supalove.v1.ProjectService/CreateProject")).toBe("Create project");
  expect(actOf("projects.purge")).toBe("projects.purge");
});

it("says what came of an act", () => {
  expect(outcomeShown("OK").kind).toBe("ok");
  expect(outcomeShown("PermissionDenied")).toEqual({ word: "Permission denied", icon: "fail", kind: "warn" });
  expect(outcomeShown("WRONG_PASSWORD").word).toBe("WRONG_PASSWORD");
});

it("writes hashes in hexadecimal", () => {
  expect(hex(new Uint8Array([0, 15, 255]))).toBe("000fff");
});
