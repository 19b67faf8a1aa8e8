import { describe, expect, it } from "vitest";
import { exact, inWords, relative } from "./time";

const now = new Date(2026, 10, 30, 14, 0, 0).getTime();
const ago = (milliseconds: number) => relative(now - milliseconds, now);
const S = 1000;
const H = 3600 * S;

describe("times", () => {
  it("are told as people tell them", () => {
    expect(ago(2 * S)).toBe("now");
    expect(ago(38 * S)).toBe("38 s ago");
    expect(ago(5 * 60 * S)).toBe("5 min ago");
    expect(ago(3 * H)).toBe("3 h ago");
    expect(ago(20 * H)).toBe("yesterday");
    expect(ago(5 * 24 * H)).toBe("5 days ago");
    expect(ago(40 * 24 * H)).toBe("21 Oct");
    expect(ago(400 * 24 * H)).toBe("26 Oct 2025");
  });

  it("lie ahead, too", () => {
    expect(relative(now + 3 * H, now)).toBe("in 3 h");
    expect(relative(now + 30 * H, now)).toBe("tomorrow");
    expect(relative(now + 7 * 24 * H, now)).toBe("in 7 days");
  });

  it("are exact with their zone", () => {
    expect(exact(now)).toMatch(/^30 Nov 2026, 14:00:00 \S+/);
  });

  it("have spans", () => {
    expect([inWords(41 * S), inWords(90 * 60 * S), inWords(7 * 24 * H)]).toEqual(["41 s", "1 h 30 min", "7 days"]);
  });
});
