// Takes a picture of pages at 1440 and 390 px, light and dark, in a real browser, and prints console errors, failed requests
// and sideways scroll.
//
// Usage: pictures.mjs NAME=/path ...   pictures/NAME-light-1440.png and so on
//        BASE=http://127.0.0.1:3000 EMAIL=… PASSWORD=… (to sign in first; empty: signed out)  CHROMIUM=/usr/bin/chromium
//        ONLY=light-1440,dark-390  FULL=1 (the whole page)
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

const { BASE = "http://127.0.0.1:3000", EMAIL, PASSWORD, CHROMIUM = "/usr/bin/chromium", ONLY, FULL } = process.env;
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
const context = await browser.newContext({ baseURL: BASE });
const page = await context.newPage();
page.on("console", (message) => message.type() === "error" && say(`console: ${message.text()}`));
page.on("pageerror", (error) => say(`error: ${error.message}`));
page.on("requestfailed", (request) => {
  const reason = request.failure()?.errorText;
  if (reason !== "net::ERR_ABORTED") say(`failed: ${request.url()} ${reason}`);
});
mkdirSync("pictures", { recursive: true });
if (EMAIL) {
  await page.goto("/sign-in");
  await page.getByLabel("E-mail address").fill(EMAIL);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL((url) => url.pathname !== "/sign-in");
}
for (const argument of process.argv.slice(2)) {
  const at = argument.indexOf("=");
  const name = argument.slice(0, at);
  for (const theme of ["light", "dark"]) {
    for (const [width, height] of [
      [1440, 900],
      [390, 844],
    ]) {
      if (ONLY && !ONLY.split(",").includes(`${theme}-${width}`)) continue;
      await page.setViewportSize({ width, height });
      await page.evaluate((theme) => localStorage.setItem("supalove-theme", theme), theme).catch(() => {});
      await page.goto(argument.slice(at + 1));
      await page.evaluate((theme) => localStorage.setItem("supalove-theme", theme), theme);
      await page.reload();
      // Streams never end, so there is no idle network; busy parts say when they are done.
      await page
        .locator("[aria-busy=true]")
        .first()
        .waitFor({ state: "detached", timeout: 15_000 })
        .catch(() => {});
      await page.waitForTimeout(700);
      const sideways = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      if (sideways) say(`${name} ${theme} ${width}: scrolls sideways`);
      const path = `pictures/${name}-${theme}-${width}.png`;
      await page.screenshot({ path, fullPage: Boolean(FULL) });
      say(path);
    }
  }
}
await browser.close();

function say(text) {
  process.stdout.write(`${text}\n`);
}
