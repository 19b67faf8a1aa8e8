import { expect, it } from "vitest";
import { reservedOf, shareOf } from "./capacity";

it("says what is reserved with its limit", () => {
  const used = { cpuMillis: 1200, memoryMib: 2048, diskMib: 7680n, slots: 6 };
  const capacity = { cpuMillis: 64000, memoryMib: 18432, diskMib: 61440n, slots: 40 };
  expect(reservedOf(used, capacity).map(({ text }) => text)).toEqual([
    "1.2 of 64 cores",
    "2 of 18 GB",
    "7.5 of 60 GB",
    "6 of 40",
  ]);
});

it("is nothing of nothing for a cluster without nodes", () => {
  expect(reservedOf(undefined, undefined).map(({ text }) => text)).toEqual(["0 of 0 cores", "0 of 0 B", "0 of 0 B", "0 of 0"]);
});

it("has shares from 0 to 1", () => {
  expect(shareOf(1, 4)).toBe(0.25);
  expect(shareOf(9, 4)).toBe(1);
  expect(shareOf(0, 0)).toBe(0);
  expect(shareOf(1, 0)).toBe(1);
});
