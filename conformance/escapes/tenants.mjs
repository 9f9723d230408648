// Three tenants on one docker node. One has a fork bomb, a log that never ends, four scripts that sleep and 2,000
// connections that are half open; the second serves a page; how long does the third wait for its deployment?
//
//   CASEMATE_API=… CASEMATE_API_KEY=… CASEMATE_GATEWAY=… CASEMATE_DATA_DIR=… TEST_IMAGE=busybox:1.36 \
//   node tenants.mjs BINARY
//
// Prints the times. Exit 1 if the deployment fails or needs more than a minute.

import { execFile } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";

const [binary] = process.argv.slice(2);
const api = process.env.CASEMATE_API;
const gateway = new URL(process.env.CASEMATE_GATEWAY);
const image = process.env.TEST_IMAGE ?? "busybox:1.36";
const env = { ...process.env, CASEMATE_API_URL: api };
const LIMIT_S = 60;
const SLEEPERS = 4;
const HALF_OPEN = 1000;

const temp = fs.mkdtempSync(path.join(os.tmpdir(), "casemate-tenants-"));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const casemate = (...args) =>
  new Promise((resolve) => {
    execFile(binary, args, { env, timeout: 120_000, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ ok: !error, text: stdout + stderr, stdout });
    });
  });

async function deploy(name, text, ...args) {
  const file = path.join(temp, `${name}.yml`);
  fs.writeFileSync(file, text);
  const began = Date.now();
  const done = await casemate("deploy", file, "--name", name, ...args);
  if (!done.ok) throw new Error(`${name}: ${done.text}`);
  return (Date.now() - began) / 1000;
}

const wait = ["--wait", "--timeout", String(2 * LIMIT_S)];

async function remove(name) {
  const deleted = await casemate("cvms", "delete", name, "--yes");
  while (deleted.ok && (await casemate("cvms", "get", name)).ok) await pause(300);
}

async function post(route, body) {
  const headers = { "x-api-key": process.env.CASEMATE_API_KEY, "content-type": "application/json" };
  const reply = await fetch(api + route, { method: "POST", headers, body: JSON.stringify(body) });
  if (!reply.ok) throw new Error(await reply.text());
  return reply.json();
}

const info = async (name) => JSON.parse((await casemate("cvms", "get", name, "--json")).stdout);

/** A page of an app through the gateway, and how long it took. */
function page(app) {
  const began = Date.now();
  return new Promise((resolve, reject) => {
    const headers = { host: `${app}-8080.localhost` };
    const request = http.get({ host: gateway.hostname, port: gateway.port, headers, timeout: 20_000, agent: false }, (reply) => {
      reply.resume().on("end", () => (reply.statusCode === 200 ? resolve(Date.now() - began) : reject(new Error(`status ${reply.statusCode}`))));
    });
    request.on("error", reject).on("timeout", () => request.destroy(new Error("no answer")));
  });
}

/** Connections on which half a request was sent. */
async function halfOpen(target, text) {
  const all = [];
  for (let at = 0; at < HALF_OPEN; at++) {
    const socket = net.connect(target);
    socket.on("error", () => {}).write(text);
    all.push(socket);
    if (at % 100 === 99) await pause(10);
  }
  return all;
}

const app = (command) => `services:
  web:
    image: '${image}'
    command: [sh, -c, '${command}']
    ports: ['8080:80']
    stop_grace_period: 1s
`;
const serves = app("mkdir /w; echo page > /w/index.html; exec httpd -f -p 80 -h /w");
const attack = `services:
  bomb:
    image: '${image}'
    command: [sh, -c, 'b() { b | b & }; while :; do b; sleep 1; done']
    stop_grace_period: 1s
    restart: always
  log:
    image: '${image}'
    command: [sh, -c, 'while :; do echo full of it, full of it, full of it, full of it, full of it; done']
    stop_grace_period: 1s
  web:
    image: '${image}'
    command: [sh, -c, 'mkdir /w; exec httpd -f -p 80 -h /w']
    ports: ['8080:80']
    volumes: ['/var/run/dstack.sock:/var/run/dstack.sock']
    stop_grace_period: 1s
`;

const vms = path.join(process.env.CASEMATE_DATA_DIR, "nodes/docker/vms");

/** The node's id of a CVM. */
const vmOf = (cvm) =>
  fs.readdirSync(vms).find((vm) => {
    const manifest = path.join(vms, vm, "manifest.json");
    return fs.existsSync(manifest) && fs.readFileSync(manifest, "utf8").includes(cvm.vm_uuid);
  });

/** How many processes a CVM has, where its limits apply as a whole. */
function processes(vm) {
  const files = [`/sys/fs/cgroup/pids/casemate/${vm}/pids.current`, `/sys/fs/cgroup/casemate/${vm}/pids.current`];
  const file = files.find((one) => fs.existsSync(one));
  return file ? fs.readFileSync(file, "utf8").trim() : "unknown";
}

const names = ["tenant-two", "tenant-three", "tenant-one"];
const sleepers = Array.from({ length: SLEEPERS }, (_, at) => `tenant-one-sleeps-${at}`);
let failed = false;
try {
  await deploy("tenant-two", serves, ...wait);
  const two = await info("tenant-two");
  const alone = await deploy("tenant-three", serves, ...wait);
  const calm = await page(two.app_id);
  await remove("tenant-three");

  for (const name of sleepers) {
    const compose_file = { name, docker_compose_file: serves, pre_launch_script: "sleep 600" };
    const { app_id, compose_hash } = await post("/cvms/provision", { name, instance_type: "tdx.small", compose_file });
    await post("/cvms", { app_id, compose_hash });
  }
  await deploy("tenant-one", attack);
  for (let at = 0; (await info("tenant-one")).status === "starting" && at < 100; at++) await pause(200);
  const one = await info("tenant-one");
  const half = `GET / HTTP/1.1\r\nHost: ${one.app_id}-8080.localhost\r\nX-`;
  const vm = vmOf(one);
  // The agent's socket as the containers see it.
  const agent = path.join(vms, vm, "run/dstack.sock");
  const open = [
    ...(await halfOpen({ path: agent }, "POST /prpc/Info HTTP/1.1\r\nContent-Le")),
    ...(await halfOpen({ host: gateway.hostname, port: Number(gateway.port) }, half)),
  ];
  await pause(3000);

  const attacked = await deploy("tenant-three", serves, ...wait);
  const bomb = processes(vm);
  const connected = open.filter((socket) => socket.readyState === "open").length;
  const pages = [];
  const three = await info("tenant-three");
  for (let at = 0; at < 10; at++) pages.push(await page(two.app_id), await page(three.app_id));
  const began = Date.now();
  const listed = (await casemate("cvms", "ls")).ok;
  const list = Date.now() - began;
  open.forEach((socket) => socket.destroy());
  console.log(`the attack: ${bomb} processes, ${connected} of ${open.length} connections open, ${SLEEPERS} sleeping scripts`);
  const shown = (times) => `${Math.max(...times)} ms at most`;
  console.log(`a deployment alone ${alone.toFixed(1)} s, beside the attack ${attacked.toFixed(1)} s (limit ${LIMIT_S} s)`);
  console.log(`a page through the gateway ${calm} ms, beside the attack ${shown(pages)}; the list of CVMs ${list} ms`);
  if (!listed || attacked > LIMIT_S) failed = true;
  else if (attacked > 3 * alone + 5) console.log("# slow: more than three times as long");
} catch (error) {
  failed = true;
  console.log(`NOT OK - ${error.message}`);
} finally {
  await Promise.all([...names, ...sleepers].map(remove));
  fs.rmSync(temp, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
