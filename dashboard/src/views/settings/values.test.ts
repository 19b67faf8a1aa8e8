import { expect, test } from "vitest";
import { commas, fromMegabytes, lines, maskOf, toMegabytes, VARIABLE } from "./values";

test("lists are read from a line or from lines, without blanks", () => {
  expect(commas(" public, graphql ,")).toEqual(["public", "graphql"]);
  expect(lines("https://a.example\n\n  https://b.example/**  ")).toEqual(["https://a.example", "https://b.example/**"]);
});

test("sizes of files keep their bytes", () => {
  expect(fromMegabytes(50)).toBe(52_428_800n);
  expect(toMegabytes(52_428_800n)).toBe(50);
});

test("masks have the spelling of the proto", () => {
  expect(maskOf("fileSizeLimitBytes")).toBe("file_size_limit_bytes");
});

test("names of variables", () => {
  expect(VARIABLE.test("PAYMENT_KEY")).toBe(true);
  expect(VARIABLE.test("1KEY")).toBe(false);
  expect(VARIABLE.test("A-B")).toBe(false);
});
