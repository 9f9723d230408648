// Login by device code through the real CLI: `phala login` waits, the code is approved, and the key that it got works.
//
//   CASEMATE_API=http://127.0.0.1:8090/api/v1 CASEMATE_API_KEY=phak_... node login.mjs
//
// Needs a server and an operator's key; no node. Last line: `N passed, N failed`. Exit 1 if any failed.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { createClient, getCurrentUser, getWorkspace, listWorkspaces } from "@phala/cloud";

const here = path.dirname(fileURLToPath(import.meta.url));
const api = process.env.CASEMATE_API?.replace(/\/$/, "");
const apiKey = process.env.CASEMATE_API_KEY;
assert.ok(api && apiKey, "set CASEMATE_API and CASEMATE_API_KEY");

const SOON = 60_000; // the most anything here may take
const cli = path.join(here, "node_modules", "phala", "dist", "index.js");
const temp = fs.mkdtempSync(path.join(os.tmpdir(), "casemate-login-"));
// A home of its own, and no key but the one of the login.
const env = {
  PATH: process.env.PATH,
  HOME: temp,
  PHALA_CLOUD_DIR: path.join(temp, "credentials"),
  PHALA_CLOUD_API_PREFIX: api,
  PHALA_DISABLE_UPDATE_CHECK: "1",
  CI: "1",
  NO_COLOR: "1",
};

const count = { passed: 0, failed: 0 };
async function step(what, fn) {
  try {
    await fn();
    count.passed += 1;
    console.log(`ok - ${what}`);
  } catch (error) {
    count.failed += 1;
    console.log(`NOT OK - ${what}\n${error.stack}`);
  }
}

const phala = (...args) =>
  new Promise((resolve) => {
    execFile(process.execPath, [cli, ...args], { cwd: temp, env, timeout: SOON }, (error, stdout, stderr) => {
      resolve({ code: error ? (error.code ?? error.signal) : 0, text: stdout + stderr });
    });
  });

const post = (route, body) =>
  fetch(`${api}${route}`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": apiKey },
    body: JSON.stringify(body),
  });

// Starts `phala login` and decides about its code as soon as it is shown.
function login(decide, ...args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [cli, "login", "--no-open", ...args], { cwd: temp, env, timeout: SOON });
    let text = "";
    let decided;
    const read = (chunk) => {
      text += chunk;
      const code = text.match(/\b[B-Z]{4}-[B-Z]{4}\b/)?.[0];
      if (code && !decided) decided = decide(code).catch(reject);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("close", async (code) => {
      await decided;
      resolve({ code, text });
    });
  });
}

const approve = async (user_code) => {
  const reply = await post("/casemate/auth/device/decide", { user_code });
  assert.equal(reply.status, 200, await reply.text());
};
const deny = async (user_code) => {
  const reply = await post("/casemate/auth/device/decide", { user_code, deny: true });
  assert.equal(reply.status, 200, await reply.text());
};

await step("without a key `phala status` says so", async () => {
  const { code, text } = await phala("status");
  assert.ok(code !== 0 || /not (logged in|authenticated)|no .*(key|token)/i.test(text), text);
});
await step("a denied login ends with an error", async () => {
  const { code, text } = await login(deny);
  assert.notEqual(code, 0, text);
  assert.match(text, /denied/i);
});
await step("an approved login ends with a profile", async () => {
  const { code, text } = await login(approve);
  assert.equal(code, 0, text);
});
await step("`phala whoami` and `phala status` know the user and the workspace", async () => {
  for (const command of ["whoami", "status"]) {
    const { code, text } = await phala(command);
    assert.equal(code, 0, text);
    assert.match(text, /admin/);
  }
});
await step("`phala profiles` lists the workspace", async () => {
  const { code, text } = await phala("profiles");
  assert.equal(code, 0, text);
  assert.match(text, /default/);
});
await step("the key of a login reads CVMs and makes no keys", async () => {
  const { code, text } = await phala("cvms", "list");
  assert.equal(code, 0, text);
  const printed = await login(approve, "--print-token");
  assert.equal(printed.code, 0, printed.text);
  const token = printed.text.match(/phak_[\w-]{43}/)?.[0];
  assert.ok(token, printed.text);
  const reply = await fetch(`${api}/tokens`, { headers: { "x-api-key": token } });
  assert.equal(reply.status, 403);
  assert.equal((await reply.json()).details[0].value, "keys");
});
await step("the SDK parses the user, in each version, and the workspaces", async () => {
  for (const version of ["2025-10-28", "2026-01-21"]) {
    await getCurrentUser(createClient({ baseURL: api, apiKey, version }));
  }
  const client = createClient({ baseURL: api, apiKey, version: "2026-01-21" });
  const { data } = await listWorkspaces(client);
  assert.equal(data[0].role, "owner");
  assert.deepEqual(await getWorkspace(client, data[0].slug), data[0]);
});
await step("`phala logout` forgets it", async () => {
  const { code, text } = await phala("logout");
  assert.equal(code, 0, text);
  const after = await phala("whoami");
  assert.doesNotMatch(after.text, /admin@/);
});

fs.rmSync(temp, { recursive: true });
console.log(`${count.passed} passed, ${count.failed} failed`);
process.exit(count.failed ? 1 : 0);
