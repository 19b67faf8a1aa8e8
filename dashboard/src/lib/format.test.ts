import { describe, expect, it } from "vitest";
import { bytes, bytesOf, cores, mebibytes, percent } from "./format";
import { count, initials, list, sentence } from "./words";

describe("numbers", () => {
  it("have their unit", () => {
    expect([bytes(0), bytes(840 * 1024), bytes(2.4 * 1024 ** 3)]).toEqual(["0 B", "840 kB", "2.4 GB"]);
    expect([mebibytes(512), mebibytes(2048)]).toEqual(["512 MB", "2 GB"]);
    expect([cores(250), cores(1000), percent(0.184)]).toEqual(["0.25 cores", "1 core", "18 %"]);
  });

  it("carry their limit, in its unit", () => {
    expect(bytesOf(1.2 * 1024 ** 3, 2 * 1024 ** 3)).toBe("1.2 of 2 GB");
    expect(bytesOf(64.3 * 1024 ** 2, 256 * 1024 ** 2)).toBe("64 of 256 MB");
  });
});

describe("words", () => {
  it("agree with their number", () => {
    expect([count(1, "project"), count(1200, "project"), count(2, "copy", "copies")]).toEqual([
      "1 project",
      "1,200 projects",
      "2 copies",
    ]);
    expect(list(["a", "b", "c"])).toBe("a, b and c");
  });

  it("make sentences of the server's messages", () => {
    expect(sentence("the name is taken")).toBe("The name is taken.");
    expect(sentence("site_url is no URL")).toBe("site_url is no URL.");
    expect(sentence("")).toBe("");
  });

  it("are shortened for avatars", () => {
    expect([initials("Mara Okafor"), initials("lumen"), initials("👩‍🚀 x"), initials("")]).toEqual(["MO", "L", "👩X", "?"]);
  });
});
