// Every input of inputs/ against a running server with a docker node.
//
//   CASEMATE_API=http://127.0.0.1:8090/api/v1 CASEMATE_API_KEY=phak_... TEST_IMAGE=busybox:1.36 \
//   node run.mjs BINARY [NAME…]
//
// The server listens on all addresses. Canaries are outside of every directory of the node: a directory, a service of the host, and a container, a
// volume, a network and an image of somebody else. Prints a line an input and a table. Exit 1 if one was not
// refused by name, or a canary was read or changed.

import { execFile } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { inputs } from "./inputs.mjs";

const [binary, ...only] = process.argv.slice(2);
const api = process.env.CASEMATE_API;
const image = process.env.TEST_IMAGE ?? "busybox:1.36";
const env = { ...process.env, CASEMATE_API_URL: api };
const AT_ONCE = 8;
const SECRET = `canary-${process.pid}-5f1e`;
const other = `esc-other-${process.pid}`;

const run = (program, args, timeout = 90_000) =>
  new Promise((resolve) => {
    execFile(program, args, { env, timeout, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ ok: !error, text: stdout + stderr, stdout: stdout.trim() });
    });
  });
const casemate = (...args) => run(binary, args);
async function docker(...args) {
  const done = await run("docker", args);
  if (!done.ok) throw new Error(`docker ${args.join(" ")}: ${done.text}`);
  return done.stdout;
}

// ---- canaries

const temp = fs.mkdtempSync(path.join(os.tmpdir(), "casemate-escapes-"));
const canary = path.join(temp, "canary");
const files = {
  secret: SECRET,
  env: `LEAKED=${SECRET}\n`,
  "compose.yml": `services:\n  other:\n    image: ${image}\n    environment: {LEAKED: ${SECRET}}\n`,
};
const asked = [];
const service = http.createServer((request, reply) => {
  asked.push(`${request.method} ${request.url}`);
  reply.end(SECRET);
});

async function plant() {
  fs.mkdirSync(canary);
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(canary, name), text);
  await new Promise((resolve) => service.listen(0, "0.0.0.0", resolve));
  await docker("network", "create", other);
  await docker("volume", "create", other);
  const write = `echo ${SECRET} > /v/secret; sleep 100000`;
  await docker("run", "-d", "--name", other, "--network", other, "-v", `${other}:/v`, image, "sh", "-c", write);
  const change = `LABEL casemate.vm=${other}`;
  await docker("commit", "--change", change, other, `${other}/private:1`);
}

/** What the canaries are now. */
async function look() {
  const names = fs.readdirSync(canary).sort();
  const container = await docker("inspect", other, "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Running}}");
  const volume = await docker("exec", other, "sh", "-c", "ls -A /v; cat /v/*");
  const format = "{{.Id}}{{range $id, $of := .Containers}} {{$id}}{{end}}";
  const network = await docker("network", "inspect", other, "--format", format);
  const built = await docker("image", "inspect", `${other}/private:1`, "--format", "{{.Id}}");
  const texts = names.map((name) => fs.readFileSync(path.join(canary, name), "utf8"));
  return JSON.stringify([names, texts, container, volume, network, built]);
}

async function uproot() {
  service.close();
  await run("docker", ["rm", "-f", "-v", other]);
  await run("docker", ["volume", "rm", "-f", other]);
  await run("docker", ["network", "rm", other]);
  await run("docker", ["rmi", "-f", `${other}/private:1`]);
  fs.rmSync(temp, { recursive: true, force: true });
}

// ---- one input

/** Deploys with a pre-launch script, which the command does not take. */
async function deployWithScript(name, one) {
  const post = async (route, body) => {
    const headers = { "x-api-key": process.env.CASEMATE_API_KEY, "content-type": "application/json" };
    const reply = await fetch(api + route, { method: "POST", headers, body: JSON.stringify(body) });
    const json = await reply.json();
    if (!reply.ok) throw new Error(JSON.stringify(json));
    return json;
  };
  const compose_file = { name, docker_compose_file: one.text, pre_launch_script: one.script };
  try {
    const provisioned = await post("/cvms/provision", { name, instance_type: "tdx.small", compose_file });
    const { app_id, compose_hash } = provisioned;
    await post("/cvms", { app_id, compose_hash });
  } catch (error) {
    return { ok: false, text: error.message };
  }
  const end = Date.now() + 60_000;
  for (;;) {
    const cvm = JSON.parse((await casemate("cvms", "get", name, "--json")).stdout);
    if (cvm.status === "running") return { ok: true, text: "" };
    if (cvm.failure || cvm.status === "error") return { ok: false, text: JSON.stringify(cvm.failure) };
    if (Date.now() > end) return { ok: false, text: `still ${cvm.status}` };
    await pause(150);
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function deploy(name, one) {
  const dir = path.join(temp, one.name);
  const wait = ["--wait", "--timeout", "60"];
  fs.mkdirSync(dir, { recursive: true });
  const file = path.join(dir, "docker-compose.yml");
  fs.writeFileSync(file, one.text);
  const variables = one.env.flatMap((variable) => ["-e", variable]);
  let done = one.script
    ? await deployWithScript(name, one)
    : await casemate("deploy", file, "--name", name, ...variables, ...wait);
  if (one.then && done.ok) {
    await probed(name);
    fs.writeFileSync(file, one.then);
    done = await casemate("deploy", file, "--cvm-id", name, "--yes", ...wait);
  }
  if (one.restart && done.ok) {
    await probed(name);
    done = await casemate("cvms", "restart", name, "--wait");
  }
  return done;
}

const shown = async (name) => (await casemate("cvms", "logs", name, "--tail", "500")).text;

/** Waits until every container of web has done what it does; returns what was printed. */
async function probed(name) {
  const end = Date.now() + 20_000;
  for (;;) {
    const log = await shown(name);
    if (log.includes("probed")) return log;
    if (Date.now() > end) throw new Error(`it does not probe: ${log.slice(0, 300)}`);
    await pause(200);
  }
}

async function attack(one) {
  const name = `e-${one.name}`.slice(0, 60);
  let done = await deploy(name, one);
  while (/0 vCPU free/.test(done.text)) {
    // The others take up the whole node.
    await pause(500);
    done = await deploy(name, one);
  }
  try {
    if (done.text.includes(SECRET)) throw new Error(`the canary was read: ${done.text}`);
    if (one.refused) {
      if (done.ok) throw new Error("it was accepted");
      const missing = one.refused.find((text) => !done.text.includes(text));
      if (missing !== undefined) throw new Error(`no ${missing} in: ${done.text}`);
      const cvm = await casemate("cvms", "get", name, "--json");
      if (!cvm.ok) return "provision";
      // What ran before an update runs again.
      if (one.then) return "boot";
      const id = JSON.parse(cvm.stdout).vm_uuid;
      const running = await docker("ps", "-q", "--filter", `label=casemate.cvm=${id}`);
      if (running) throw new Error("something runs");
      return "boot";
    }
    if (!done.ok) throw new Error(done.text);
    const log = await probed(name);
    if (log.includes(SECRET)) throw new Error(`the canary was read: ${log}`);
    if (/reached \d/.test(log)) throw new Error(`a service of the host was reached: ${log}`);
    return "harmless";
  } finally {
    const deleted = await casemate("cvms", "delete", name, "--yes");
    if (deleted.ok) while ((await casemate("cvms", "get", name)).ok) await pause(200);
  }
}

// ---- all of them

await plant();
const words = {
  IMAGE: image,
  IMAGE_ID: await docker("image", "inspect", image, "--format", "{{.Id}}"),
  CANARY: canary,
  OTHER: other,
  PORT: String(service.address().port),
  API: new URL(api).port,
  HOST: Object.values(os.networkInterfaces())
    .flat()
    .filter((one) => one.family === "IPv4" && !one.internal)
    .map((one) => one.address)
    .slice(0, 3)
    .join(" "),
  DEEP: `${"[".repeat(200)}1${"]".repeat(200)}`,
};
words.IMAGE_SHORT_ID = words.IMAGE_ID.replace("sha256:", "").slice(0, 12);
const before = await look();
const all = inputs(words);
const queue = all.filter((one) => only.length === 0 || only.includes(one.name));
const outcomes = {};
let failed = 0;
async function worker() {
  for (let one = queue.shift(); one; one = queue.shift()) {
    const began = Date.now();
    const count = (outcomes[one.kind] ??= { provision: 0, boot: 0, harmless: 0, failed: 0 });
    try {
      const outcome = await attack(one);
      count[outcome]++;
      console.log(`ok - ${one.name}: ${outcome} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } catch (error) {
      count.failed++;
      failed++;
      console.log(`NOT OK - ${one.name}: ${error.message}`);
    }
  }
}
const began = Date.now();
await Promise.all(Array.from({ length: AT_ONCE }, worker));
const after = await look();
await uproot();

console.log("kind            refused at provision  at boot  harmless  failed");
for (const [kind, count] of Object.entries(outcomes).sort()) {
  const cells = [count.provision, count.boot, count.harmless, count.failed];
  console.log(`${kind.padEnd(16)}${cells.map((cell, at) => String(cell).padStart([20, 9, 10, 8][at])).join("")}`);
}
if (after !== before) {
  failed++;
  console.log(`NOT OK - canaries before: ${before}\n  after: ${after}`);
}
if (asked.length) {
  failed++;
  console.log(`NOT OK - the service of the host was asked: ${asked.join(", ")}`);
}
const total = Object.values(outcomes).flatMap((count) => Object.values(count)).reduce((sum, one) => sum + one, 0);
console.log(`${total} inputs in ${Math.round((Date.now() - began) / 1000)} s, ${failed} failed`);
process.exit(failed ? 1 : 0);
