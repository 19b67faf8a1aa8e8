import { expect, it } from "vitest";
import { notEmpty } from "./messages";

it("says what keeps an organization from being deleted", () => {
  expect(notEmpty(0, 0)).toBe("");
  expect(notEmpty(1, 0)).toMatch(/^It still has 1 project\. Delete it first/);
  expect(notEmpty(2, 1)).toMatch(/^It still has 2 projects and 1 private cluster\. Delete them first/);
});
