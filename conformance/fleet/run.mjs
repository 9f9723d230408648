// The real phala CLI on a fleet of five emulated dstack hosts of different versions: one goes away, one
// hangs, one shows a VM that is gone.
//
//   node run.mjs CASEMATE DSTACK_DOUBLE DIR
//
// CASEMATE and DSTACK_DOUBLE are the programs, DIR a directory for this run. TEST_CLIENTS names the folder
// with the installed CLI. Last line: `N passed, N failed`. Exit 1 if any failed.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

const [casemate, double, dir] = process.argv.slice(2).map((arg) => path.resolve(arg));
const clients = process.env.TEST_CLIENTS ?? path.resolve("conformance/phala-cli");
const cli = path.join(clients, "node_modules", "phala", "dist", "index.js");
const SECOND = 1000;
const TOKEN = "fleet-token";
const COMPOSE = (tag) => `services:\n  web:\n    image: nginx:${tag}\n    ports: ["8080:80"]\n`;

const children = [];
const count = { passed: 0, failed: 0 };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function step(what, fn) {
  const start = Date.now();
  try {
    await fn();
    count.passed += 1;
    console.log(`ok - ${what} (${((Date.now() - start) / SECOND).toFixed(1)} s)`);
  } catch (error) {
    count.failed += 1;
    console.log(`NOT OK - ${what}\n${String(error.stack ?? error).replace(/^/gm, "    ")}`);
  }
}

async function eventually(what, fn, within = 30 * SECOND) {
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
    await sleep(100);
  }
}

const run = (file, args, env, cwd = dir) =>
  new Promise((resolve) => {
    execFile(file, args, { cwd, env, timeout: 120 * SECOND }, (error, stdout, stderr) => {
      resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr, text: stdout + stderr });
    });
  });

// A program in the background; resolves with the first line that it prints.
function start(file, args, env = {}) {
  const log = fs.openSync(path.join(dir, `${path.basename(file)}.log`), "a");
  const child = spawn(file, args, { cwd: dir, env: { PATH: process.env.PATH, HOME: dir, ...env }, stdio: ["ignore", "pipe", log] });
  children.push(child);
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (part) => {
      text += part;
      if (text.includes("\n")) resolve(text.split("\n")[0]);
    });
    child.on("exit", (code) => reject(new Error(`${file} ended with ${code}`)));
  });
}

const { hosts } = JSON.parse(await start(double, ["serve", "--hosts", "5", "--token", TOKEN, "--boot-ms", "800"]));
const data = path.join(dir, "data");
const token = path.join(data, "credentials", "token");
fs.mkdirSync(path.dirname(token), { recursive: true, mode: 0o700 });
fs.writeFileSync(token, TOKEN, { mode: 0o600 });
start(casemate, ["serve", "--data-dir", data, "--node", "none", "--listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0"]).catch(() => {});
const read = (name) => fs.readFileSync(path.join(data, name), "utf8").trim();
await eventually("casemate is ready", () => fs.existsSync(path.join(data, "api.url")));
const api = read("api.url");
const key = read("admin.key");
const environment = {
  PATH: process.env.PATH,
  HOME: dir,
  PHALA_CLOUD_DIR: path.join(dir, "credentials"),
  PHALA_CLOUD_API_PREFIX: api,
  PHALA_CLOUD_API_KEY: key,
  PHALA_DISABLE_UPDATE_CHECK: "1",
  CI: "1",
  NO_COLOR: "1",
};

async function phala(...args) {
  const result = await run(process.execPath, [cli, ...args], environment);
  if (result.code !== 0) throw new Error(`$ phala ${args.join(" ")}\nexit ${result.code}\n${result.text}`);
  return result.stdout;
}

async function json(...args) {
  const text = await phala(...args, "--json");
  return JSON.parse(text.slice(Math.max(0, text.indexOf("{"))));
}

async function request(method, route, body) {
  const headers = { "x-api-key": key, "content-type": "application/json" };
  const reply = await fetch(`${api}${route}`, { method, headers, body: body && JSON.stringify(body) });
  const text = await reply.text();
  return { status: reply.status, body: text ? JSON.parse(text) : undefined };
}

const faults = (host, list) =>
  fetch(`${hosts[host].url}/double/faults`, { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify(list) });

const state = async (id) => (await request("GET", `/cvms/${id}/state`)).body;
const runs = (cvm, within) => eventually(`${cvm.name} runs`, async () => (await state(cvm.vm_uuid)).status === "running", within);

// What the host itself says of its VMs.
async function vmsOf(host) {
  const reply = await fetch(`${hosts[host].url}/prpc/Status?json`, {
    method: "POST",
    headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" },
    body: "{}",
  });
  return (await reply.json()).vms;
}

const nodes = [];
for (const [at, host] of hosts.entries()) {
  await step(`casemate admin node add: dstack-vmm ${host.version}`, async () => {
    const name = `rack-${at}`;
    const args = ["admin", "node", "add", name, "--kind", "dstack", "--url", host.url, "--tee", "none", "--disk-gb", "500"];
    const added = await run(casemate, [...args, "--token-file", token, "--json"], { PATH: process.env.PATH, CASEMATE_DATA_DIR: data });
    assert.equal(added.code, 0, added.text);
    const node = JSON.parse(added.stdout);
    assert.equal(node.version, host.version);
    nodes[at] = node;
  });
}

const cvms = [];
async function deploy(at, name, tag = "1.27") {
  fs.writeFileSync(path.join(dir, "docker-compose.yml"), COMPOSE(tag));
  const made = await json("deploy", "-c", "docker-compose.yml", "-n", name, "--node-id", String(nodes[at].id));
  return { name, at, vm_uuid: made.vm_uuid, app_id: made.app_id };
}

for (const at of hosts.keys()) {
  await step(`phala deploy on ${hosts[at].version}: it boots the document that was promised`, async () => {
    cvms[at] = await deploy(at, `fleet-${at}`);
    await runs(cvms[at]);
    const [vm] = await vmsOf(at);
    assert.equal(vm.name, `fleet-${at}.${cvms[at].vm_uuid}`);
    const { body } = await request("GET", `/cvms/${cvms[at].vm_uuid}/compose_file`);
    assert.equal(JSON.parse(vm.configuration.compose_file).docker_compose_file, body.docker_compose_file);
  });
}

for (const at of [0, 2, 4]) {
  await step(`phala deploy --cvm-id on ${hosts[at].version}: another document, the same VM`, async () => {
    const [before] = await vmsOf(at);
    fs.writeFileSync(path.join(dir, "docker-compose.yml"), COMPOSE("1.28"));
    await phala("deploy", "--cvm-id", cvms[at].vm_uuid, "-c", "docker-compose.yml", "--wait");
    const [after] = await vmsOf(at);
    assert.equal(after.id, before.id);
    assert.match(JSON.parse(after.configuration.compose_file).docker_compose_file, /nginx:1\.28/);
    await runs(cvms[at]);
  });
}

await step("phala cvms replicate: another VM of the app, on another host", async () => {
  const made = await json("cvms", "replicate", cvms[2].vm_uuid, "--node-id", String(nodes[3].id));
  const replica = made.cvm ?? made;
  await eventually("the replica is on its host", async () => (await vmsOf(3)).some((vm) => vm.name.includes(replica.vm_uuid)));
  await runs({ name: "the replica", vm_uuid: replica.vm_uuid });
  await phala("cvms", "delete", replica.vm_uuid, "-f");
  await eventually("the replica is gone", async () => (await vmsOf(3)).length === 1);
});

await step("a host that hangs and one that is away delay no other", async () => {
  await faults(1, ["hangs"]);
  await faults(3, ["away"]);
  const start = Date.now();
  const other = await deploy(4, "while-others-are-away");
  await runs(other, 20 * SECOND);
  console.log(`    deployed and running in ${((Date.now() - start) / SECOND).toFixed(1)} s`);
  await phala("cvms", "delete", other.vm_uuid, "-f");
});

await step("what is asked of a host that is away waits, with its cause, and is done when it is back", async () => {
  const { status } = await request("POST", `/cvms/${cvms[3].vm_uuid}/restart`, {});
  assert.ok(status < 300, `status ${status}`);
  await eventually("it says what it waits for", async () => {
    const { waiting_for: waiting } = await state(cvms[3].vm_uuid);
    return waiting?.cause?.length > 0;
  }, 60 * SECOND);
  await faults(3, []);
  await runs(cvms[3], 60 * SECOND);
  await faults(1, []);
  await eventually("the one that hung answers", async () => (await request("GET", "/admin/nodes/rack-1")).body.reachable, 60 * SECOND);
  await runs(cvms[1]);
});

await step("a VM that its host still shows is not said to be deleted", async () => {
  await faults(2, ["shows_gone"]);
  await phala("cvms", "delete", cvms[2].vm_uuid, "-f");
  await sleep(3 * SECOND);
  const shown = await request("GET", `/cvms/${cvms[2].vm_uuid}`);
  assert.equal(shown.status, 200, "it is still there for its owner");
  await faults(2, []);
  await eventually("it is gone", async () => (await request("GET", `/cvms/${cvms[2].vm_uuid}`)).status === 404);
});

await step("phala cvms delete: nothing is left on any host", async () => {
  for (const at of [0, 1, 3, 4]) await phala("cvms", "delete", cvms[at].vm_uuid, "-f");
  for (const at of hosts.keys()) await eventually(`rack-${at} is empty`, async () => (await vmsOf(at)).length === 0);
});

for (const child of children) child.removeAllListeners("exit").kill();
console.log(`${count.passed} passed, ${count.failed} failed`);
process.exit(count.failed ? 1 : 0);
