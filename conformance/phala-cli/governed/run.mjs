// Apps that contracts govern, through the real phala CLI and JavaScript SDK: a local chain with the doubles
// of contracts/, a Casemate with simulated nodes whose KMS a contract there governs, and a recorder between
// the clients and Casemate.
//
//   TEST_ANVIL=… node governed/run.mjs path/to/casemate path/to/an/empty/directory
//
// Every module gets `world`: what it needs to deploy, ask and wait. At the end the recording of all requests
// is searched: no private key ever went to Casemate. Last line: `N passed, N failed`. Exit 1 if any failed.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { createClient } from "@phala/cloud";
import { start as startChain } from "../../../contracts/chain.mjs";
import { deploy } from "./deploy.mjs";
import { devices } from "./devices.mjs";
import { record } from "./recorder.mjs";
import { updates } from "./updates.mjs";

const SECOND = 1000;
const SOON = 30 * SECOND; // the most anything may take
const here = path.dirname(fileURLToPath(import.meta.url));
const cliPath = path.join(here, "..", "node_modules", "phala", "dist", "index.js");
const [, , binary, dataDir] = process.argv;
if (!binary || !dataDir) {
  console.error("usage: node governed/run.mjs path/to/casemate path/to/an/empty/directory");
  process.exit(2);
}

// ---------------------------------------------------------------- the runner

const count = { passed: 0, failed: 0, skipped: 0 };
const broken = new Set();

// step("group", "what holds", fn): after a failure of a `must` step the rest of its group is skipped.
async function step(group, what, fn, { must = false } = {}) {
  const name = `${group}: ${what}`;
  if (broken.has(group)) {
    count.skipped += 1;
    console.log(`skipped - ${name}`);
    return;
  }
  const start = Date.now();
  const took = () => `${((Date.now() - start) / SECOND).toFixed(1)} s`;
  try {
    await fn();
    count.passed += 1;
    console.log(`ok - ${name} (${took()})`);
  } catch (error) {
    count.failed += 1;
    if (must) broken.add(group);
    console.log(`NOT OK - ${name} (${took()})`);
    console.log(describe(error).replace(/^/gm, "    "));
  }
}

function describe(error) {
  if (!(error instanceof Error)) return String(error);
  const lines = [error.stack ?? error.message];
  for (const key of ["status", "errorCode", "detail", "issues", "data"]) {
    if (error[key] !== undefined) lines.push(`${key}: ${JSON.stringify(error[key], null, 1)}`);
  }
  if (error.cause) lines.push(`caused by: ${describe(error.cause)}`);
  return lines.join("\n");
}

// Polls until fn returns something true. What it threw last is the reason given.
async function eventually(what, fn, within = SOON) {
  const end = Date.now() + within;
  let last;
  for (;;) {
    try {
      const value = await fn();
      if (value) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`not within ${within / SECOND} s: ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function execute(file, args, options) {
  return new Promise((resolve) => {
    execFile(file, args, { timeout: 120 * SECOND, maxBuffer: 1 << 26, ...options }, (error, stdout, stderr) => {
      resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr });
    });
  });
}

const transcript = (args, { code, stdout, stderr }) =>
  `$ ${args.join(" ")}\nexit: ${code}\nstdout: ${stdout || "(none)"}\nstderr: ${stderr || "(none)"}`;

// -------------------------------------------------------------- the processes

// A query in the address of an endpoint stands for a key: it must not show up anywhere.
const RPC_SECRET = `rpc-${randomBytes(12).toString("hex")}`;

async function serve(chain) {
  fs.mkdirSync(dataDir, { recursive: true });
  const config = path.join(dataDir, "casemate.toml");
  const add = ["--chain", "base", "--chain-id", String(chain.chain_id), "--rpc-url", `${chain.rpc}/?key=${RPC_SECRET}`];
  const contract = ["--slug", "kms-base-1", "--address", chain.kms_contract];
  const args = ["admin", "kms", "add", "--config", config, ...add, ...contract];
  const added = await execute(binary, args, {});
  assert.equal(added.code, 0, transcript(["casemate", ...args], added));
  const log = fs.openSync(path.join(dataDir, "serve.log"), "w");
  const listen = ["--listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0"];
  const server = spawn(binary, ["serve", ...listen, "--node", "sim", "--data-dir", dataDir, "--config", config], {
    stdio: ["ignore", log, log],
  });
  const read = (name) => fs.readFileSync(path.join(dataDir, name), "utf8").trim();
  await eventually("casemate serve is ready", () => {
    if (server.exitCode !== null) throw new Error(read("serve.log"));
    return fs.existsSync(path.join(dataDir, "api.url"));
  });
  return { server, config, api: read("api.url"), apiKey: read("admin.key") };
}

const ended = (child) =>
  new Promise((resolve) => {
    if (!child || child.exitCode !== null) return resolve();
    child.on("exit", resolve);
    child.kill("SIGTERM");
  });

// ------------------------------------------------------------------ the story

const temp = fs.mkdtempSync(path.join(os.tmpdir(), "casemate-governed-"));
const COMPOSE = "services:\n  web:\n    image: busybox:1.36\n    command: [\"sleep\", \"1000\"]\n    ports: [\"8080:80\"]\n";

async function main() {
  const chain = await startChain({});
  let server;
  let recorder;
  try {
    const started = await serve(chain);
    server = started.server;
    recorder = await record(started.api);
    const world = makeWorld(chain, recorder, started);
    await allowNodes(world);
    await operator(world);
    await deploy(world);
    await devices(world);
    await updates(world);
    await nothingLeaks(world);
  } finally {
    await ended(server);
    recorder?.close();
    chain.stop();
    fs.rmSync(temp, { recursive: true, force: true });
  }
  console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
  return count.failed + count.skipped === 0 ? 0 : 1;
}

function makeWorld(chain, recorder, { config, apiKey, api }) {
  // The first account is the operator's; users have one each.
  const [, user, other] = chain.accounts;
  const run = randomBytes(4).toString("hex");
  const environment = {
    PATH: process.env.PATH,
    HOME: temp,
    PHALA_CLOUD_DIR: path.join(temp, "credentials"),
    PHALA_CLOUD_API_PREFIX: recorder.url,
    PHALA_CLOUD_API_KEY: apiKey,
    PHALA_DISABLE_UPDATE_CHECK: "1",
    CI: "1",
    NO_COLOR: "1",
  };
  const world = { assert, step, eventually, chain, recorder, binary, config, dataDir, api, apiKey, run, user, other, SOON };
  world.client = createClient({ baseURL: recorder.url, apiKey, version: "2026-01-21" });
  world.execute = execute;
  world.transcript = transcript;

  // A directory with a compose file of its own.
  world.project = (name, text = COMPOSE) => {
    const dir = path.join(temp, name);
    fs.mkdirSync(dir, { recursive: true });
    fs.writeFileSync(path.join(dir, "compose.yml"), text);
    return dir;
  };
  world.COMPOSE = COMPOSE;
  world.phalaRaw = (args, cwd = temp) => execute(process.execPath, [cliPath, ...args], { cwd, env: environment });
  world.phala = async (args, cwd) => {
    const result = await world.phalaRaw(args, cwd);
    assert.equal(result.code, 0, transcript(["phala", ...args], result));
    return result;
  };
  // `deploy --json` says other things before its document, which is the last one.
  world.phalaJson = async (args, cwd) => {
    const result = await world.phala([...args, "--json"], cwd);
    const at = result.stdout.lastIndexOf("\n{");
    return JSON.parse(result.stdout.slice(at < 0 ? result.stdout.indexOf("{") : at));
  };
  // What the CLI needs to sign; the key must never leave this machine.
  world.signer = (account = user) => ["--private-key", account.private_key, "--rpc-url", chain.rpc];
  world.raw = async (where, { method = "GET", version = "2026-01-21", body } = {}) => {
    const headers = { "x-api-key": apiKey, "x-phala-version": version, "content-type": "application/json" };
    const reply = await fetch(`${recorder.url}${where}`, { method, headers, body: body && JSON.stringify(body) });
    const text = await reply.text();
    const retryAfter = reply.headers.get("retry-after");
    return { status: reply.status, retryAfter, body: text ? JSON.parse(text) : undefined };
  };
  world.detail = async (id) => (await world.raw(`/cvms/${id}`)).body;
  world.running = (id) =>
    eventually(`${id} runs`, async () => {
      const { status } = await world.detail(id);
      if (status !== "running") throw new Error(`it is ${status}`);
      return true;
    });
  // One word that a contract returns.
  world.view = async (to, selector, ...words) => {
    const data = `0x${selector}${words.map((word) => word.replace(/^0x/, "").padStart(64, "0")).join("")}`;
    return chain.call("eth_call", { to, data }, "latest");
  };
  return world;
}

// What the operator of a KMS contract does before anybody deploys: OS images and hosts.
async function allowNodes({ chain, raw }) {
  const [{ address }] = chain.accounts;
  const { body } = await raw("/teepods/available");
  const word = (hex) => hex.replace(/^0x/, "").padStart(64, "0");
  const hashes = new Set(body.nodes.flatMap((node) => node.images.map((image) => image.os_image_hash)));
  for (const hash of hashes) await chain.send(address, chain.kms_contract, `0x06a3ae96${word(hash)}`);
  for (const node of body.nodes) await chain.send(address, chain.kms_contract, `0x4d5922a1${word(node.device_id)}`);
}

// `casemate admin kms check` against the real chain.
async function operator({ step, config, dataDir: dir, chain }) {
  const check = async (args) => {
    const all = ["admin", "kms", "check", "--config", config, "--data-dir", dir, ...args];
    return { ...(await execute(binary, all, {})), all };
  };
  await step("operator", "casemate admin kms check: chain, contract and images", async () => {
    const said = await check(["--json"]);
    assert.equal(said.code, 0, transcript(["casemate", ...said.all], said));
    const report = JSON.parse(said.stdout);
    const [{ endpoints, chain_id }] = report.chains;
    assert.equal(chain_id, chain.chain_id);
    assert.ok(endpoints[0].block > 0, JSON.stringify(endpoints));
    const [contract] = report.contracts;
    assert.equal(contract.address, chain.kms_contract.toLowerCase());
    assert.equal(contract.exists, true);
    // The devices that a KMS contract lists are hosts of the KMS, not of apps.
    assert.equal(contract.devices, undefined);
    for (const address of [contract.owner, contract.app_implementation]) {
      assert.match(address, /^0x[0-9a-f]{40}$/, JSON.stringify(contract));
    }
    assert.ok(contract.os_images.length > 0 && contract.os_images.every((one) => one.allowed));
    assert.deepEqual(report.problems, []);
  });
  await step("operator", "casemate admin kms add refuses a contract that is none, and writes nothing", async () => {
    const before = fs.readFileSync(config, "utf8");
    const nobody = `0x${"12".repeat(20)}`;
    const args = ["admin", "kms", "add", "--config", config, "--chain", "base", "--slug", "kms-base-2", "--address", nobody];
    const said = await execute(binary, args, {});
    assert.equal(said.code, 1, transcript(["casemate", ...args], said));
    assert.match(said.stderr, new RegExp(nobody), said.stderr);
    assert.equal(fs.readFileSync(config, "utf8"), before);
  });
}

// No private key in any request, and the key of the endpoint nowhere that anybody sees.
async function nothingLeaks({ step, recorder, chain, raw, dataDir: dir }) {
  await step("secrets", "no request to Casemate had a private key in it", async () => {
    const keys = chain.accounts.map(({ private_key }) => private_key.replace(/^0x/, "").toLowerCase());
    const requests = recorder.requests();
    assert.ok(requests.length > 20, `${requests.length} requests were recorded`);
    for (const { line, headers, body } of requests) {
      const text = `${line}\n${headers}\n${body}`.toLowerCase();
      for (const key of keys) assert.ok(!text.includes(key), `a private key is in ${line}`);
      assert.ok(!/private.?key|mnemonic/.test(text), line);
    }
  });
  await step("secrets", "no reply and no log line has the address of an endpoint", async () => {
    for (const where of ["/kms", "/kms/kms-base-1/info", "/kms/on-chain/base", "/teepods/available"]) {
      assert.equal((await raw(where)).status, 200, where);
    }
    for (const { line, reply } of recorder.requests()) {
      assert.ok(!reply.includes(RPC_SECRET), `the endpoint is in the reply to ${line}`);
    }
    const log = fs.readFileSync(path.join(dir, "serve.log"), "utf8");
    assert.ok(!log.includes(RPC_SECRET), "the endpoint is in the log");
  });
}

process.exitCode = await main();
