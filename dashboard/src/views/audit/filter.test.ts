import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import { expect, it } from "vitest";
import { filterOf, isFiltered, NO_FILTER, searchOf, shapeOf } from "./filter";

it("is in the address, and comes back from it", () => {
  const shape = { ...NO_FILTER, actor: "usr_1", range: "7" };
  expect(searchOf(shape)).toBe("?actor=usr_1&range=7");
  expect(shapeOf(searchOf(shape))).toEqual(shape);
  expect(searchOf(NO_FILTER)).toBe("");
});

it("knows whether it filters", () => {
  expect(isFiltered(NO_FILTER)).toBe(false);
  expect(isFiltered({ ...NO_FILTER, outcome: "OK" })).toBe(true);
});

it("asks from a number of days back", () => {
  const day = 86_400_000;
  const { startTime } = filterOf({ ...NO_FILTER, range: "2" }, 10 * day);
  expect(timestampMs(startTime as Timestamp)).toBe(8 * day);
  expect(filterOf(NO_FILTER, 10 * day).startTime).toBeUndefined();
  expect(filterOf({ ...NO_FILTER, range: "soon" }, 10 * day).startTime).toBeUndefined();
});
