// Prints the first load of each page: the scripts and styles that its exported HTML names, gzipped.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const out = new URL("../out/", import.meta.url).pathname;
const sizes = new Map();
const gzipped = (file) => {
  if (!sizes.has(file)) sizes.set(file, existsSync(file) ? gzipSync(readFileSync(file)).length : 0);
  return sizes.get(file);
};
const kB = (bytes) => `${(bytes / 1000).toFixed(0).padStart(4)} kB`;

process.stdout.write("first load, gzip:  script   style  page\n");
const pages = readdirSync(out, { recursive: true }).filter((file) => file.endsWith(".html"));
for (const page of pages.sort()) {
  const html = readFileSync(out + page, "utf8");
  const named = (pattern) => [...new Set([...html.matchAll(pattern)].map(([, path]) => path))];
  const sum = (paths) => paths.reduce((total, path) => total + gzipped(out + path.slice(1)), 0);
  const scripts = sum(named(/<script[^>]* src="([^"]+\.js)"(?![^>]*noModule)/g));
  const styles = sum(named(/<link[^>]* href="([^"]+\.css)"/g));
  process.stdout.write(`${" ".repeat(18)}${kB(scripts)} ${kB(styles)}  /${page.replace(/(index)?\.html$/, "")}\n`);
}
