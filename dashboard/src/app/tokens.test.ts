import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const css = readFileSync(new URL("./tokens.css", import.meta.url), "utf8");

/** `--name: light-dark(oklch(l c h), oklch(l c h))` of tokens.css. */
function token(name: string): [number, number] {
  const line = new RegExp(`--${name}: light-dark\\(oklch\\(([^)]+)\\), oklch\\(([^)]+)\\)\\)`).exec(css);
  if (!line) throw new Error(`no token ${name}`);
  return [luminance(line[1]!), luminance(line[2]!)];
}

/** Relative luminance (WCAG 2) of OKLCH. */
function luminance(oklch: string): number {
  const [l, c, h] = oklch.trim().split(/\s+/).map(Number) as [number, number, number];
  const a = c * Math.cos((h * Math.PI) / 180);
  const b = c * Math.sin((h * Math.PI) / 180);
  const L = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const M = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const S = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const rgb = [
    4.0767416621 * L - 3.3077115913 * M + 0.2309699292 * S,
    -1.2684380046 * L + 2.6097574011 * M - 0.3413193965 * S,
    -0.0041960863 * L - 0.7034186147 * M + 1.707614701 * S,
  ].map((channel) => Math.min(1, Math.max(0, channel)));
  return 0.2126 * rgb[0]! + 0.7152 * rgb[1]! + 0.0722 * rgb[2]!;
}

const ratio = (one: number, other: number) => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
const PLANES = ["canvas", "surface", "raised", "sunken"];
const FILLS = ["hover", "selected"];
const STATES = ["ok", "busy", "warn", "bad", "idle"];

function expectContrast(front: string, back: string, least: number) {
  const [light, dark] = token(front);
  const [lightBack, darkBack] = token(back);
  expect(ratio(light, lightBack), `${front} on ${back}, light`).toBeGreaterThanOrEqual(least);
  expect(ratio(dark, darkBack), `${front} on ${back}, dark`).toBeGreaterThanOrEqual(least);
}

describe("the tokens", () => {
  it("give text 4.5:1 on every plane", () => {
    for (const front of ["text", "text-2", "text-3", "link", "brand"]) {
      for (const back of [...PLANES, ...FILLS]) expectContrast(front, back, 4.5);
    }
    for (const state of STATES) {
      expectContrast(state, "surface", 4.5);
      expectContrast(state, `${state}-soft`, 4.5);
    }
    expectContrast("on-primary", "primary", 4.5);
  });

  it("give edges, icons and the focus ring 3:1", () => {
    for (const back of PLANES) {
      expectContrast("control", back, 3);
      for (const state of STATES) expectContrast(`${state}-dot`, back, 3);
    }
    for (const back of ["canvas", "surface", "raised"]) expectContrast("ring", back, 3);
  });

  it("are the only colours and lengths that components write", () => {
    const folder = new URL("..", import.meta.url).pathname;
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" });
    for (const file of files.filter((name) => name.endsWith(".tsx") && !name.startsWith("gen/"))) {
      const found = readFileSync(folder + file, "utf8").match(/"#[0-9a-f]{3,8}"|\brgba?\(|\boklch\(|-\[[\d.]+px\]/i);
      expect(found?.[0], file).toBeUndefined();
    }
  });
});
