// The verifier's page in a real browser: bundles are chosen as a person chooses them, and what the page says is read.
// Usage: node browser.mjs PAGE-URL BUNDLE ROOT-PEM POLICY [SCREENSHOT]
// Needs chromium, and puppeteer-core (npm i --no-save puppeteer-core).
import { readFileSync, writeFileSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";
import puppeteer from "puppeteer-core";

const [url, bundle, root, policy, screenshot] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
const page = await browser.newPage();
await page.setViewport({ width: 1200, height: 1500 });
const requests = [];
const problems = [];
page.on("request", (request) => requests.push(request.url()));
page.on("pageerror", (error) => problems.push(String(error)));
page.on("console", (message) => ["error", "warn"].includes(message.type()) && problems.push(message.text()));
await page.goto(url);
await page.waitForSelector("#run:not([disabled])");
const loaded = requests.length;
// The page says that it works offline.
await page.setOfflineMode(true);

async function verdict(file) {
  await (await page.$("#bundle")).uploadFile(file);
  await page.$eval("#outcome", (outcome) => (outcome.textContent = ""));
  await page.click("#run");
  await page.waitForFunction(() => document.querySelector("#outcome").textContent !== "");
  return page.evaluate(() => ({
    outcome: document.querySelector("#outcome").textContent,
    claims: Object.fromEntries(
      [...document.querySelectorAll("#claims tbody tr")].map((row) => [
        row.cells[0].textContent,
        { state: row.cells[1].textContent, because: row.cells[3].textContent },
      ]),
    ),
  }));
}

await (await page.$("#roots")).uploadFile(root);
await page.$eval("#policy", (area, text) => (area.value = text), readFileSync(policy, "utf8"));
const good = await verdict(bundle);
console.log(good.outcome);
console.table(good.claims);
assert.match(good.outcome, /^Simulated: every required claim holds/);
assert.equal(good.claims["hardware"].state, "simulated");
if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });

// One hex digit of the quote is another.
const text = JSON.parse(readFileSync(bundle, "utf8"));
const digit = text.tdx.quote.at(700);
text.tdx.quote = text.tdx.quote.slice(0, 700) + (digit === "0" ? "1" : "0") + text.tdx.quote.slice(701);
const changed = join(mkdtempSync(join(tmpdir(), "verify-")), "changed.json");
writeFileSync(changed, JSON.stringify(text));
const bad = await verdict(changed);
console.log(bad.outcome);
assert.match(bad.outcome, /^Not verified: a claim failed/);
if (screenshot) await page.screenshot({ path: screenshot.replace(/\.png$/, "-failed.png"), fullPage: true });

assert.deepEqual(problems, []);
const later = requests.slice(loaded).filter((request) => !request.startsWith("data:"));
assert.deepEqual(later, [], "the page asked for something");
console.log(`${requests.length} request(s) to load the page, none to verify`);
await browser.close();
