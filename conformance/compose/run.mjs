// Every row of cases.mjs with the casemate binary against a running server.
//
//   CASEMATE_API=http://127.0.0.1:8090/api/v1 CASEMATE_API_KEY=phak_... CASEMATE_GATEWAY=http://127.0.0.1:8091 \
//   node run.mjs BINARY docker|sim [NAME…]
//
// Prints a line a row and `N passed, N failed`. Exit 1 if any failed.

import { execFile } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { cases } from "./cases.mjs";

const [binary, kind, ...only] = process.argv.slice(2);
const gateway = new URL(process.env.CASEMATE_GATEWAY);
const env = { ...process.env, CASEMATE_API_URL: process.env.CASEMATE_API };
const temp = fs.mkdtempSync(path.join(os.tmpdir(), "casemate-compose-"));
const AT_ONCE = 4;

const casemate = (...args) =>
  new Promise((resolve) => {
    execFile(binary, args, { env, timeout: 90_000 }, (error, stdout, stderr) => {
      resolve({ ok: !error, text: stdout + stderr, stdout });
    });
  });

const get = (host) =>
  new Promise((resolve, reject) => {
    const request = http.get({ host: gateway.hostname, port: gateway.port, headers: { host }, timeout: 5000 }, (reply) => {
      let body = "";
      reply.on("data", (part) => (body += part)).on("end", () => resolve({ status: reply.statusCode, body }));
    });
    request.on("error", reject).on("timeout", () => request.destroy(new Error("timeout")));
  });

async function eventually(what, ask, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const [done, seen] = await ask();
    if (done) return seen;
    if (Date.now() > end) throw new Error(`${what}: ${seen}`);
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

function expect(text, patterns) {
  for (const pattern of patterns) {
    if (!new RegExp(pattern, "s").test(text)) throw new Error(`no ${pattern} in: ${text}`);
  }
}

async function info(name) {
  const shown = await casemate("cvms", "get", name, "--json");
  if (!shown.ok) throw new Error(shown.text);
  return JSON.parse(shown.stdout);
}

async function ended(name, { state, cause }) {
  await eventually(`state ${state}`, async () => {
    const cvm = await info(name);
    const why = cvm.failure?.cause ?? "";
    return [cvm.status === state && new RegExp(cause, "s").test(why), `${cvm.status}: ${why}`];
  });
}

async function row(one) {
  const dir = path.join(temp, one.name);
  fs.mkdirSync(dir);
  for (const [file, text] of Object.entries(one.files)) fs.writeFileSync(path.join(dir, file), text);
  const name = `c-${one.name}`.slice(0, 60);
  const done = await casemate("deploy", dir, "--name", name, "--wait", "--timeout", "80");
  try {
    if (one.note) expect(done.text, [one.note]);
    if (one.refused) {
      if (done.ok) throw new Error("it was accepted");
      expect(done.text, one.refused);
      for (const pattern of one.never ?? []) if (done.text.includes(pattern)) throw new Error(`${pattern} in: ${done.text}`);
      if ((await casemate("cvms", "get", name)).ok) throw new Error("something was made");
      return;
    }
    const wanted = kind === "docker" ? (one.docker ?? {}) : {};
    if (wanted.state) {
      // A service that needs longer than a boot's last look to end (a busy machine) is a later fault.
      if (!done.ok) expect(done.text, [wanted.cause]);
      return await ended(name, wanted);
    }
    if (!done.ok) throw new Error(done.text);
    const cvm = await info(name);
    for (const [port, pattern] of Object.entries(wanted.page ?? {})) {
      const host = `${cvm.app_id.replace(/^app_/, "")}-${port}.localhost`;
      await eventually(`page ${port}`, async () => {
        const { status, body } = await get(host);
        return [status === 200 && new RegExp(pattern).test(body), `${status} ${body}`];
      });
    }
    if (kind === "docker" && one.ports) {
      const urls = JSON.stringify(cvm.endpoints ?? cvm.public_urls ?? cvm);
      const ports = [...new Set([...urls.matchAll(/-(\d+)\.localhost/g)].map((found) => Number(found[1])))];
      if (ports.sort().join() !== one.ports.join()) throw new Error(`URLs of ports ${ports}, not ${one.ports}`);
    }
    if (wanted.later) await ended(name, wanted.later);
  } finally {
    if (!one.refused) await casemate("cvms", "delete", name, "--yes");
  }
}

const count = { passed: 0, failed: 0 };
const queue = cases.filter((one) => only.length === 0 || only.includes(one.name));
async function worker() {
  for (let one = queue.shift(); one; one = queue.shift()) {
    const began = Date.now();
    try {
      await row(one);
      count.passed++;
      console.log(`ok - ${one.name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } catch (error) {
      count.failed++;
      console.log(`NOT OK - ${one.name}: ${error.message}`);
    }
  }
}
await Promise.all(Array.from({ length: AT_ONCE }, worker));
fs.rmSync(temp, { recursive: true, force: true });
console.log(`${kind}: ${count.passed} passed, ${count.failed} failed`);
process.exit(count.failed ? 1 : 0);
