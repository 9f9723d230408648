// The real phala CLI and JavaScript SDK, unchanged, against a running Casemate.
//
//   CASEMATE_API=http://127.0.0.1:8090/api/v1 CASEMATE_API_KEY=phak_... \
//   CASEMATE_GATEWAY=http://127.0.0.1:8091 CASEMATE_DATA_DIR=... node run.mjs
//
// The server must have a docker node; the engine is asked too (DOCKER_HOST as
// usual). *.localhost must resolve (scripts/test-env.sh names).
// Deploys compose.yml twice under two names, takes both through a life, deletes
// them and looks for leftovers. Last line: `N passed, N failed`. Exit 1 if any failed.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import {
  createAppInstance,
  createClient,
  getAppCvms,
  getComposeHash,
  patchCvm,
  replicateCvm,
  verifyEnvEncryptPublicKey,
  watchCvmState,
} from "@phala/cloud";
import { instanceIds } from "./instance-ids.mjs";
import { revisions } from "./revisions.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const api = need("CASEMATE_API").replace(/\/$/, "");
const apiKey = need("CASEMATE_API_KEY");
const gateway = new URL(need("CASEMATE_GATEWAY"));
const dataDir = need("CASEMATE_DATA_DIR");

const SECOND = 1000;
const BOOT = 90 * SECOND; // the most a CVM may take to start
const SOON = 30 * SECOND; // the most anything else may take

const cliPath = path.join(here, "node_modules", "phala", "dist", "index.js"); // its package exports it as a program only
const temp = fs.mkdtempSync(path.join(os.tmpdir(), "casemate-phala-"));
const client = createClient({ baseURL: api, apiKey, version: "2026-01-21" });
const run = randomBytes(4).toString("hex");

function need(name) {
  const value = process.env[name];
  if (!value) {
    console.error(`${name} is not set (see the head of run.mjs)`);
    process.exit(2);
  }
  return value;
}

// ---------------------------------------------------------------- the runner

const count = { passed: 0, failed: 0, skipped: 0 };
const broken = new Set(); // groups whose later steps make no sense any more

// step("group", "what holds", fn): after a failure of a `must` step, the rest of
// its group is skipped (and the run has failed anyway).
async function step(group, what, fn, { must = false } = {}) {
  const name = `${group}: ${what}`;
  if (broken.has(group) || broken.has("all")) {
    count.skipped += 1;
    console.log(`skipped - ${name}`);
    return;
  }
  const start = Date.now();
  try {
    await fn();
    count.passed += 1;
    console.log(`ok - ${name} (${seconds(start)})`);
  } catch (error) {
    count.failed += 1;
    if (must) broken.add(group);
    console.log(`NOT OK - ${name} (${seconds(start)})`);
    console.log(indent(describe(error)));
  }
}

const seconds = (start) => `${((Date.now() - start) / SECOND).toFixed(1)} s`;
const indent = (text) => text.replace(/^/gm, "    ");

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
    if (Date.now() > end) {
      throw new Error(`not within ${within / SECOND} s: ${what}`, { cause: last });
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

// -------------------------------------------------------- the CLI, the engine

function execute(file, args, options) {
  return new Promise((resolve) => {
    execFile(file, args, { timeout: 120 * SECOND, maxBuffer: 1 << 26, ...options }, (error, stdout, stderr) => {
      resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr });
    });
  });
}

// A home of its own: no credentials, no ssh key of the person who runs this.
const cliEnvironment = {
  PATH: process.env.PATH,
  HOME: temp,
  PHALA_CLOUD_DIR: path.join(temp, "credentials"),
  PHALA_CLOUD_API_PREFIX: api,
  PHALA_CLOUD_API_KEY: apiKey,
  PHALA_DISABLE_UPDATE_CHECK: "1",
  CI: "1",
  NO_COLOR: "1",
};

// Everything the CLI printed, for the search for secrets.
const printed = [];

async function phalaRaw(args, cwd = temp) {
  const result = await execute(process.execPath, [cliPath, ...args], { cwd, env: cliEnvironment });
  printed.push(transcript(args, result));
  return result;
}

async function phala(args, cwd) {
  const result = await phalaRaw(args, cwd);
  if (result.code !== 0) throw new Error(`exit code 0 expected\n${transcript(args, result)}`);
  return result;
}

// `deploy --json` says "Provisioning CVM ..." before its document.
async function phalaJson(args, cwd) {
  const result = await phala([...args, "--json"], cwd);
  try {
    const value = JSON.parse(result.stdout.slice(Math.max(0, result.stdout.indexOf("{"))));
    assert.equal(value.success, true);
    return value;
  } catch (error) {
    throw new Error(`a JSON document with success:true expected\n${transcript(args, result)}`, { cause: error });
  }
}

function transcript(args, { code, stdout, stderr }) {
  return `$ phala ${args.join(" ")}\nexit: ${code}\nstdout: ${stdout || "(none)"}\nstderr: ${stderr || "(none)"}`;
}

async function docker(...args) {
  const result = await execute("docker", args, {});
  if (result.code !== 0) throw new Error(`$ docker ${args.join(" ")}\nexit: ${result.code}\n${result.stderr}`);
  return result.stdout.trim().split("\n").filter(Boolean);
}

const PROJECT = "com.docker.compose.project";

// Everything the engine has of one project.
async function leftovers(project) {
  const filter = ["--filter", `label=${PROJECT}=${project}`];
  return [
    ...(await docker("ps", "-a", ...filter, "--format", "container {{.Names}}")),
    ...(await docker("volume", "ls", ...filter, "--format", "volume {{.Name}}")),
    ...(await docker("network", "ls", ...filter, "--format", "network {{.Name}}")),
  ];
}

// The project of a CVM: the one whose container was given this greeting.
async function projectOf(greeting) {
  const ids = await docker("ps", "-a", "--filter", `label=${PROJECT}`, "--format", "{{.ID}}");
  if (ids.length === 0) return undefined;
  const found = await docker("inspect", ...ids, "--format", `{{index .Config.Labels "${PROJECT}"}} {{json .Config.Env}}`);
  return found.find((line) => line.includes(`GREETING=${greeting}`))?.split(" ")[0];
}

// --------------------------------------------------------------- the gateway

// One request as a browser sends it. `via` connects elsewhere than the name says.
function get(url, via) {
  const { hostname, port, host, pathname, search } = new URL(url);
  const target = via ? { host: via.hostname, port: via.port } : { host: hostname, port };
  return new Promise((resolve, reject) => {
    const request = http.get(
      { ...target, path: pathname + search, headers: { host }, agent: false, timeout: 10 * SECOND },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (chunk) => (body += chunk));
        response.on("error", reject);
        response.on("end", () => resolve({ status: response.statusCode, body }));
      },
    );
    request.on("timeout", () => request.destroy(new Error(`no answer within 10 s: GET ${url}`)));
    request.on("error", reject);
  });
}

async function page(cvm, where) {
  const url = `http://${cvm.appId}-8080.${cvm.domain}${where}`;
  return eventually(`GET ${url} answers 200`, async () => {
    const { status, body } = await get(url);
    if (status !== 200) throw new Error(`status ${status}, body: ${body.slice(0, 500)}`);
    return { body };
  });
}

// The lines `key=value` that the web service tells about itself.
async function status(cvm) {
  const { body } = await page(cvm, "/cgi-bin/status");
  return Object.fromEntries(body.trim().split("\n").map((line) => line.split(/=(.*)/s).slice(0, 2)));
}

// ------------------------------------------------------------------ the CVMs

// Distinctive values: the data directory is searched for them later. TRICKY has
// every character that a shell, Compose or a JSON document might trip over.
function makeCvm(letter) {
  const secret = (what) => `${what}-${letter}-${randomBytes(12).toString("hex")}`;
  const dir = path.join(temp, letter);
  const env = {
    GREETING: secret("greeting"),
    TRICKY: `p$ss "w0rd" #1 $HOME \${X} $$ \\n ${secret("tricky")}`,
    API_TOKEN: secret("token"),
    APP_TITLE: `title-${letter}-${run}`,
  };
  fs.mkdirSync(dir);
  fs.copyFileSync(path.join(here, "compose.yml"), path.join(dir, "compose.yml"));
  fs.writeFileSync(path.join(dir, ".env"), Object.entries(env).map(([k, v]) => `${k}='${v}'\n`).join(""));
  return { letter, dir, env, name: `conformance-${letter}-${run}`, secrets: [env.GREETING, env.TRICKY, env.API_TOKEN] };
}

const detail = (cvm) => client.getCvmInfo({ id: cvm.uuid });

const completions = []; // the last event of every stream watched

// Waits as the SDK's users do. Returns the states seen, each once in a row.
async function watch(cvm, target) {
  const seen = [];
  const problems = [];
  let complete;
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), BOOT);
  try {
    const last = await watchCvmState(
      client,
      { id: cvm.uuid, target, interval: 5, timeout: BOOT / SECOND, maxRetries: 1 },
      {
        signal: abort.signal,
        onEvent: (event) => {
          if (event.type === "state" && seen.at(-1) !== event.data.status) seen.push(event.data.status);
          if (event.type === "complete") complete = event.data;
          if (event.type === "error" || event.type === "timeout") problems.push(event);
        },
      },
    );
    assert.deepEqual(problems, [], "the stream had errors");
    assert.equal(last.status, target, "the last state is the one waited for");
    assert.ok(complete, "the stream ended without the event `complete`");
    completions.push({ target, complete });
    return seen;
  } catch (error) {
    throw new Error(`waiting for ${cvm.name} to be ${target}; seen: ${JSON.stringify(seen)} ${JSON.stringify(problems)}`, {
      cause: error,
    });
  } finally {
    clearTimeout(timer);
  }
}

async function waitStatus(cvm, wanted, within = BOOT) {
  let last;
  await eventually(
    `${cvm.name} is ${wanted}`,
    async () => {
      last = (await detail(cvm)).status;
      if (last !== wanted) throw new Error(`it is ${last}`);
      return true;
    },
    within,
  );
}

const isOneOf = (status, ...allowed) =>
  assert.ok(allowed.includes(status), `the status should be one of ${allowed.join(", ")}; it is ${status}`);

// The CLI takes a while to exit: what is seen after it may miss the beginning.
function cameFrom(expected, seen) {
  assert.notEqual(seen.length, 0);
  assert.deepEqual(seen, expected.slice(-seen.length), `the states should be the end of ${expected}`);
}

// ------------------------------------------------------------------ the story

const a = makeCvm("a");
const b = makeCvm("b");
const both = [a, b];

async function deployments() {
  for (const cvm of both) {
    await step(
      "deploy",
      `phala deploy --json, ${cvm.letter}`,
      async () => {
        const reply = await phalaJson(["deploy", "-c", "compose.yml", "-e", ".env", "-n", cvm.name], cvm.dir);
        assert.equal(reply.name, cvm.name);
        assert.match(reply.vm_uuid, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
        assert.match(reply.app_id, /^[0-9a-f]{40}$/, "app_id comes without a prefix (the CLI adds one)");
        cvm.uuid = reply.vm_uuid;
        cvm.appId = reply.app_id;
        cvm.watched = watch(cvm, "running");
        cvm.watched.catch(() => {}); // awaited below
      },
      { must: true },
    );
    if (!cvm.uuid) broken.add("all");
  }
  await step("deploy", "two names are two apps", () => assert.notEqual(a.appId, b.appId));
  await step(
    "deploy",
    "watchCvmState follows both until they run",
    async () => {
      for (const cvm of both) cameFrom(["starting", "running"], await cvm.watched);
    },
    { must: true },
  );
  await step(
    "deploy",
    "GET /cvms/{id} says where the gateway is",
    async () => {
      for (const cvm of both) {
        const info = await detail(cvm);
        assert.equal(info.status, "running");
        assert.match(info.instance_id, /^[0-9a-f]{40}$/);
        assert.equal(info.gateway.base_domain.split(":")[1], gateway.port, "base_domain includes the gateway's port");
        cvm.info = info;
        cvm.domain = info.gateway.base_domain;
      }
    },
    { must: true },
  );
  if (broken.has("deploy")) broken.add("all");
}

async function pages() {
  for (const cvm of both) {
    const { letter, env } = cvm;
    await step("gateway", `http://<app_id>-8080.<base_domain>/ is ${letter}`, async () => {
      assert.equal((await page(cvm, "/")).body.trim(), `<h1>${env.GREETING}</h1>`);
    });
    await step("gateway", `http://<instance_id>-8080.<base_domain>/ is ${letter}`, async () => {
      const { status, body } = await get(`http://${cvm.info.instance_id}-8080.${cvm.domain}/`);
      assert.equal(status, 200, body);
      assert.ok(body.includes(env.GREETING), body);
    });
    await step("compose", `sealed variables, defaults and services arrive, ${letter}`, async () => {
      const seen = await status(cvm);
      assert.deepEqual(seen, {
        greeting: env.GREETING,
        tricky: env.TRICKY,
        api_token: env.API_TOKEN,
        unset: "a default",
        boots: "1",
        boots_by_container_name: "1",
        note: "",
        sigterm: "",
        site_starts: "1",
        dstack_sock: "socket",
      });
    });
    await step("compose", `an inline config's content, ${letter}`, async () => {
      assert.equal((await page(cvm, "/motd.txt")).body, `Welcome to ${env.APP_TITLE}.\nIt costs $5 and not \${FIVE}.\n`);
    });
  }
  await step("gateway", "the Host header decides", async () => {
    const { status, body } = await get(`http://${a.appId}-8080.${a.domain}/`, gateway);
    assert.equal(status, 200, body);
    assert.ok(body.includes(a.env.GREETING), body);
  });
  await step("gateway", "an unknown app and an unpublished port are no page of anybody's", async () => {
    for (const host of [`${"0".repeat(40)}-8080`, `${a.appId}-9000`]) {
      const { status, body } = await get(`http://${host}.${a.domain}/`);
      assert.ok(status >= 400, `${host}: status ${status}, body ${body.slice(0, 200)}`);
    }
  });
  await step("compose", "two CVMs keep their volumes apart", async () => {
    for (const cvm of both) await page(cvm, `/cgi-bin/note?note-of-${cvm.letter}`);
    for (const cvm of both) assert.equal((await status(cvm)).note, `note-of-${cvm.letter}`);
  });
}

async function projects() {
  await step("engine", "two projects named casemate-...", async () => {
    for (const cvm of both) {
      cvm.project = await eventually(`a container of ${cvm.name}`, () => projectOf(cvm.env.GREETING));
      assert.match(cvm.project, /^casemate-/);
      const has = await leftovers(cvm.project);
      const kinds = has.map((line) => line.split(" ")[0]);
      for (const kind of ["container", "volume", "network"]) assert.ok(kinds.includes(kind), `no ${kind} in ${has}`);
    }
    assert.notEqual(a.project, b.project);
  });
}

async function lists() {
  for (const command of [["cvms", "ls"], ["apps"]]) {
    await step("list", `phala ${command.join(" ")} --json`, async () => {
      const { items, total } = await phalaJson([...command, "--page-size", "100"]);
      assert.ok(total >= 2, `total ${total}`);
      for (const cvm of both) {
        const item = items.find((i) => i.appId === cvm.appId);
        assert.ok(item, `${cvm.appId} is not among ${JSON.stringify(items)}`);
        assert.equal(item.cvmName, cvm.name);
        assert.equal(item.status, "running");
        assert.equal(typeof item.uptime, "string", "from POST /status/batch");
      }
    });
  }
  await step("list", "phala cvms ls --search --json", async () => {
    const { items } = await phalaJson(["cvms", "ls", "--search", b.name]);
    assert.deepEqual(items.map((i) => i.appId), [b.appId]);
  });
  await step("get", "phala cvms get --json, by id and by name", async () => {
    for (const id of [a.uuid, a.name]) {
      const cvm = await phalaJson(["cvms", "get", id]);
      assert.equal(cvm.vm_uuid, a.uuid);
      assert.equal(cvm.name, a.name);
      assert.equal(cvm.app_id, a.appId);
      assert.equal(cvm.status, "running");
      assert.equal(cvm.kms_type, "phala");
      assert.equal(typeof cvm.resource.vcpu, "number");
    }
  });
  await step("get", "GET /cvms/{id}, by every identifier", async () => {
    const { id, instance_id } = a.info;
    const integer = (await client.withVersion("2025-10-28").get(`/cvms/${a.uuid}`)).id;
    const raw = [a.uuid, a.uuid.replaceAll("-", ""), a.appId, `app_${a.appId}`, `0x${a.appId}`, instance_id, id, integer, a.name];
    for (const name of raw) assert.equal((await client.get(`/cvms/${name}`)).vm_uuid, a.uuid, `GET /cvms/${name}`);
    const kinds = [{ id }, { uuid: a.uuid }, { app_id: a.appId }, { instance_id }, { name: a.name }];
    for (const kind of kinds) assert.equal((await client.getCvmInfo(kind)).vm_uuid, a.uuid, JSON.stringify(kind));
  });
  await step("get", "GET /cvms/{id} of both versions", async () => {
    const old = await client.withVersion("2025-10-28").get(`/cvms/${a.uuid}`);
    assert.equal(typeof old.id, "number");
    assert.equal(old.vm_uuid, a.uuid);
    assert.equal(old.app_id, a.appId);
    assert.equal(old.in_progress, false);
    const now = await client.get(`/cvms/${a.uuid}`);
    assert.equal(typeof now.id, "string");
  });
  await step("get", "an unknown CVM: exit 1, and a reason", async () => {
    const args = ["cvms", "get", "app_" + "0".repeat(40), "--json"];
    const result = await phalaRaw(args);
    const reply = JSON.parse(result.stdout || "{}");
    assert.equal(result.code, 1, transcript(args, result));
    assert.equal(reply.success, false, transcript(args, result));
    assert.ok(reply.error, transcript(args, result));
  });
}

// What a guest shows: the registers replay from its event log, which names the document and the instance.
async function attestations() {
  await step("attestation", "the SDK's getCvmAttestation", async () => {
    const shown = await eventually("evidence", async () => {
      const found = await client.getCvmAttestation({ uuid: a.uuid });
      return found.tcb_info && found;
    });
    const payload = (name) => shown.tcb_info.event_log.find((event) => event.event === name).event_payload;
    assert.equal(payload("compose-hash"), a.info.compose_hash);
    assert.equal(payload("app-id"), a.appId);
    assert.equal(payload("instance-id"), a.info.instance_id);
    let register = Buffer.alloc(48);
    for (const { imr, digest } of shown.tcb_info.event_log) {
      assert.equal(imr, 3);
      register = createHash("sha384").update(register).update(Buffer.from(digest, "hex")).digest();
    }
    assert.equal(register.toString("hex"), shown.tcb_info.rtmr3);
    assert.equal(sha256(shown.tcb_info.app_compose), a.info.compose_hash);
    assert.equal(shown.is_online, true);
    assert.equal(shown.error, null);
  });
  await step("attestation", "phala cvms attestation --json", async () => {
    const shown = await phalaJson(["cvms", "attestation", a.uuid]);
    assert.equal(shown.is_online, true);
    assert.match(shown.tcb_info.rtmr3, /^[0-9a-f]{96}$/);
    const { stdout } = await phala(["cvms", "attestation", a.uuid]);
    assert.match(stdout, /Online/);
  });
  await step("attestation", "GET /apps/{id}/attestations, without a key too", async () => {
    const url = `${api}/apps/${a.appId}/attestations`;
    const reply = await fetch(url, { headers: { "x-phala-version": "2026-01-21" } });
    assert.equal(reply.status, 200, await reply.clone().text());
    const shown = await reply.json();
    assert.equal(shown.app_id, a.appId);
    assert.equal(shown.instances[0].instance_id, a.info.instance_id);
    assert.match(shown.instances[0].quote, /^0400/, "a quote of version 4");
    const evaluated = await client.get(`/apps/${a.appId}/attestations/tcb-evaluation`);
    assert.equal(evaluated.instances[0].evaluation_ok, null, "there is no platform to evaluate");
  });
}

async function hashes() {
  for (const cvm of both) {
    await step("hash", `the SDK's getComposeHash is compose_hash, ${cvm.letter}`, async () => {
      const raw = await client.getCvmComposeFile({ id: cvm.uuid }, { schema: false });
      const parsed = await client.getCvmComposeFile({ id: cvm.uuid });
      assert.equal(raw.docker_compose_file, fs.readFileSync(path.join(here, "compose.yml"), "utf8"), "byte for byte");
      assert.deepEqual([...raw.allowed_envs].sort(), Object.keys(cvm.env).sort());
      assert.equal(getComposeHash(raw), cvm.info.compose_hash, JSON.stringify(raw, null, 1));
      assert.equal(getComposeHash(parsed), cvm.info.compose_hash, "the schema adds or drops nothing");
    });
    await step("hash", `the node boots a document with that hash, ${cvm.letter}`, () => {
      const found = files(dataDir).filter(
        (file) => path.basename(file) === "app-compose.json" && sha256(fs.readFileSync(file)) === cvm.info.compose_hash,
      );
      assert.notEqual(found.length, 0, `no app-compose.json under ${dataDir} has the SHA-256 ${cvm.info.compose_hash}`);
    });
  }
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

// The signer of an app's env key, recovered by the SDK's own code.
async function signer(appId, expectedKey) {
  const { public_key, signature } = await client.getAppEnvEncryptPubKey({ kms: "phala", app_id: appId });
  assert.equal(strip(public_key), strip(expectedKey), "the same key as elsewhere");
  const recovered = verifyEnvEncryptPublicKey(bytes(public_key), bytes(signature), appId);
  assert.ok(recovered, `no signer can be recovered from ${signature}`);
  const wrong = verifyEnvEncryptPublicKey(bytes(public_key), bytes(signature), "0".repeat(40));
  assert.notEqual(recovered, wrong, "the signature covers the app id");
  return recovered;
}

const strip = (hex) => hex.replace(/^0x/, "");
const bytes = (hex) => new Uint8Array(Buffer.from(strip(hex), "hex"));

async function keys() {
  const preview = (name) =>
    client.provisionCvm({ name, compose_file: { docker_compose_file: "services: {web: {image: busybox:1.36}}", allowed_envs: ["A"] } });
  await step("kms", "provision's key and GET /kms/phala/pubkey/{app} are one, signed by one KMS", async () => {
    const first = await preview(`preview-1-${run}`);
    const second = await preview(`preview-2-${run}`);
    assert.notEqual(first.app_id, second.app_id);
    assert.notEqual(first.app_env_encrypt_pubkey, second.app_env_encrypt_pubkey);
    const signers = [
      await signer(first.app_id, first.app_env_encrypt_pubkey),
      await signer(second.app_id, second.app_env_encrypt_pubkey),
      await signer(a.appId, a.info.kms_info.encrypted_env_pubkey),
    ];
    assert.equal(new Set(signers).size, 1, `signers differ: ${signers}`);
  });
  await step("kms", "provision twice: the same hash, app and key", async () => {
    const first = await preview(`preview-3-${run}`);
    const again = await preview(`preview-3-${run}`);
    for (const key of ["compose_hash", "app_id", "app_env_encrypt_pubkey"]) assert.equal(again[key], first[key], key);
  });
}

function files(dir) {
  return fs.readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(dir, entry.name);
    if (entry.isDirectory()) return files(file);
    return entry.isFile() ? [file] : [];
  });
}

// Plain, as a JSON string, and in base64 at each of its three alignments.
function disguises(secret) {
  const base64 = [0, 1, 2].map((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), Buffer.from(secret)]).toString("base64");
    return text.slice(shift === 0 ? 0 : 4, -4);
  });
  return [secret, JSON.stringify(secret).slice(1, -1), Buffer.from(secret).toString("hex"), ...base64];
}

// The sealed values found in a text, each with the place where the text is from.
function sealedIn(place, content) {
  const values = both.flatMap((cvm) => cvm.secrets);
  return values.filter((secret) => disguises(secret).some((text) => content.includes(text))).map((secret) => `${place}: ${secret}`);
}

// Every look the API offers, in both versions.
async function replies() {
  const general = ["/cvms", "/cvms/paginated", "/apps", "/auth/me"];
  const ofOne = ["", "/state", "/compose_file", "/docker-compose.yml", "/pre-launch-script"];
  const paths = [...general, ...both.flatMap((cvm) => ofOne.map((tail) => `/cvms/${cvm.uuid}${tail}`))];
  const texts = [];
  for (const path of paths) {
    for (const version of ["2025-10-28", "2026-01-21"]) {
      const response = await fetch(`${api}${path}`, { headers: { "X-API-Key": apiKey, "X-Phala-Version": version } });
      texts.push([`GET ${path} @${version}`, await response.text()]);
    }
  }
  return texts;
}

async function secrets(when = "while both run") {
  await step("secrets", `no sealed value in the data directory, logs included, ${when}`, () => {
    const hits = files(dataDir).flatMap((file) => sealedIn(file, readIfThere(file)));
    assert.deepEqual(hits, []);
  });
  await step("secrets", `no sealed value in what the API or the CLI said, ${when}`, async () => {
    const said = [...(await replies()), ...printed.map((text) => ["phala", text])];
    assert.deepEqual(said.flatMap(([place, text]) => sealedIn(place, text)), []);
  });
  await step("secrets", `the API key is in admin.key only, ${when}`, () => {
    const hits = files(dataDir).filter((file) => path.basename(file) !== "admin.key" && readIfThere(file).includes(apiKey));
    assert.deepEqual(hits, []);
  });
  await step("secrets", `admin.key and kms-root.key are for their owner only, ${when}`, () => {
    for (const name of ["admin.key", "kms-root.key"]) {
      const found = files(dataDir).filter((file) => path.basename(file) === name);
      assert.equal(found.length, 1, `${name}: ${found.length} of it under ${dataDir}`);
      const mode = (fs.statSync(found[0]).mode & 0o777).toString(8);
      assert.equal(mode, "600", `the mode of ${found[0]}`);
    }
  });
}

// A file may go between the listing and the reading (a database's journal).
function readIfThere(file) {
  try {
    return fs.readFileSync(file);
  } catch (error) {
    if (error.code === "ENOENT") return Buffer.alloc(0);
    throw error;
  }
}

async function power() {
  await step(
    "power",
    "phala cvms stop: hard, and soon",
    async () => {
      const { cvm } = await phalaJson(["cvms", "stop", a.uuid]);
      isOneOf(cvm.status, "stopping", "stopped");
      isOneOf((await detail(a)).status, "stopping", "stopped");
      await waitStatus(a, "stopped");
      const { status } = await get(`http://${a.appId}-8080.${a.domain}/`);
      assert.ok(status >= 400, `a stopped CVM still answers ${status}`);
    },
    { must: true },
  );
  await step("power", "the other one has not noticed", async () => {
    assert.equal((await detail(b)).status, "running");
    assert.equal((await status(b)).boots, "1");
  });
  await step("power", "a stopped CVM keeps its volume", async () => {
    assert.ok((await docker("volume", "ls", "--format", "{{.Labels}}")).some((labels) => labels.includes(a.project)));
  });
  await step(
    "power",
    "phala cvms start: the data and the variables are there",
    async () => {
      const { cvm } = await phalaJson(["cvms", "start", a.uuid]);
      isOneOf(cvm.status, "starting", "running");
      cameFrom(["starting", "running"], await watch(a, "running"));
      const seen = await status(a);
      assert.equal(seen.boots, "2");
      assert.equal(seen.note, "note-of-a", "the named volume");
      assert.equal(seen.site_starts, "2", "the bind mount");
      assert.equal(seen.greeting, a.env.GREETING, "the sealed variables");
    },
    { must: true },
  );
  let before;
  await step("power", "stop was hard: no SIGTERM was seen", async () => {
    before = (await status(a)).sigterm;
    assert.equal(before, "");
  });
  await step(
    "power",
    "shutdownCvm: graceful, every service saw SIGTERM",
    async () => {
      const reply = await client.shutdownCvm({ id: a.uuid });
      assert.equal(reply.status, "shutting_down");
      assert.deepEqual(await watch(a, "stopped"), ["shutting_down", "stopped"]);
      await client.startCvm({ id: a.uuid });
      assert.deepEqual(await watch(a, "running"), ["starting", "running"]);
      const seen = await status(a);
      const words = (text) => text.split(" ").sort().join(" ").trim();
      assert.equal(words(seen.sigterm), words(`${before} backend web`), "who has seen SIGTERM");
      assert.equal(seen.boots, "3");
      assert.equal(seen.note, "note-of-a");
    },
    { must: true },
  );
  await step("power", "phala cvms restart: boots again, keeps its data", async () => {
    const { cvm } = await phalaJson(["cvms", "restart", a.appId]);
    assert.equal(cvm.status, "restarting");
    const states = await watch(a, "running");
    assert.ok(!states.includes("error"), `seen: ${states}`);
    await rebooted("4");
  });
  await step("power", "restartCvm: running is left before the reply, and reached again", async () => {
    assert.equal((await client.restartCvm({ id: a.uuid })).status, "restarting");
    assert.notEqual((await detail(a)).status, "running");
    const states = await watch(a, "running");
    assert.notEqual(states[0], "running", `seen: ${states}`);
    assert.ok(!states.includes("error"), `seen: ${states}`);
    await rebooted("5");
  });
}

async function rebooted(boots) {
  const seen = await status(a);
  assert.equal(seen.boots, boots);
  assert.equal(seen.note, "note-of-a");
  assert.equal((await page(a, "/")).body.trim(), `<h1>${a.env.GREETING}</h1>`);
}

// ----------------------------------------------------------------- replicas

// Machines of b's app beside b itself.
const replicas = [];

// Waits for a replica of b and looks at it; what it shows comes from it alone.
async function replica(made) {
  assert.match(made.vm_uuid, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  const cvm = { name: made.name, uuid: made.vm_uuid };
  replicas.push(cvm);
  assert.equal(made.app_id, b.appId);
  assert.equal(made.status, "starting");
  await waitStatus(cvm, "running");
  const info = await detail(cvm);
  assert.equal(info.app_id, b.appId);
  assert.notEqual(info.instance_id, (await detail(b)).instance_id);
  cvm.hash = info.compose_hash;
  const host = `${info.instance_id}-8080.${b.domain}`;
  cvm.page = (where) =>
    eventually(`http://${host}${where} answers 200`, async () => {
      const { status, body } = await get(`http://${host}${where}`);
      if (status !== 200) throw new Error(`status ${status}, body: ${body.slice(0, 500)}`);
      return body;
    });
  cvm.status = async () => Object.fromEntries((await cvm.page("/cgi-bin/status")).trim().split("\n").map((line) => line.split(/=(.*)/s).slice(0, 2)));
  return cvm;
}

// What the CLI says when it is refused.
async function refused(args, cwd) {
  const result = await phalaRaw(args, cwd);
  assert.equal(result.code, 1, transcript(args, result));
  return result.stdout + result.stderr;
}

const instances = async () => {
  const reply = await phalaJson(["instances", "ls", "--app-id", b.appId]);
  return JSON.stringify(reply);
};

async function moreOfOne() {
  const file = path.join(b.dir, "compose.yml");
  await step(
    "replicas",
    "phala cvms replicate: same app, same variables, its own name and volume",
    async () => {
      const made = await replica(await phalaJson(["cvms", "replicate", b.uuid]));
      assert.equal(made.name, `${b.name}-2`);
      assert.equal(made.hash, (await detail(b)).compose_hash);
      const seen = await made.status();
      assert.equal(seen.greeting, b.env.GREETING, "the sealed variables of the source");
      assert.equal(seen.boots, "1", "a disk of its own");
    },
    { must: true },
  );
  await step("replicas", "phala cvms replicate app_<id> -e: one of several, with variables of its own", async () => {
    const env = { ...b.env, GREETING: `replica-${randomBytes(12).toString("hex")}` };
    b.secrets.push(env.GREETING);
    // This command of the CLI takes values as they are, without quotes.
    fs.writeFileSync(path.join(b.dir, "replica.env"), Object.entries(env).map(([k, v]) => `${k}=${v}\n`).join(""));
    const nodes = await client.getAvailableNodes();
    const args = ["cvms", "replicate", `app_${b.appId}`, "-e", "replica.env", "--node-id", nodes.nodes[0].name];
    const made = await replica(await phalaJson(args, b.dir));
    assert.equal((await made.status()).greeting, env.GREETING);
    assert.equal((await status(a)).greeting, a.env.GREETING, "nobody else has them");
  });
  await step("replicas", "replicateCvm and phala instances ls", async () => {
    const nodes = await client.getAvailableNodes();
    const reply = await replicateCvm(client, { id: b.uuid, node_id: nodes.nodes[0].teepod_id });
    assert.equal(typeof reply.id, "number");
    const made = await replica(reply);
    assert.equal((await made.status()).greeting, b.env.GREETING);
    const listed = await instances();
    for (const { uuid } of [b, ...replicas]) assert.ok(listed.includes(uuid), `${uuid} in ${listed}`);
    assert.equal((await getAppCvms(client, { appId: b.appId })).length, replicas.length + 1);
  });
  await step("replicas", "phala instances add -c: another compose file, the same variables", async () => {
    const text = fs.readFileSync(file, "utf8").replace("Welcome to", "Added to");
    fs.writeFileSync(path.join(b.dir, "added.yml"), text);
    const made = await replica(await phalaJson(["instances", "add", "--app-id", b.appId, "-c", "added.yml"], b.dir));
    assert.match(await made.page("/motd.txt"), /Added to/);
    assert.equal((await made.status()).greeting, b.env.GREETING);
    assert.notEqual(made.hash, (await detail(b)).compose_hash);
  });
  await step("replicas", "of two documents one has to be named: ERR-03-009", async () => {
    const said = await refused(["cvms", "replicate", b.uuid]);
    assert.match(said, /ERR-03-009/);
    const added = replicas.at(-1).hash;
    assert.ok(said.includes(added), `which there are: ${said}`);
    const none = await refused(["instances", "add", "--app-id", b.appId, "--compose-hash", "12".repeat(32)]);
    assert.match(none, /compose_hash is run by no live CVM/);
    const made = await replica(await createAppInstance(client, { appId: b.appId, compose_hash: added }));
    assert.equal(made.hash, added);
  });
  await step("replicas", "without a contract --prepare-only changes nothing, and no token is known", async () => {
    assert.match(await refused(["cvms", "replicate", b.uuid, "--prepare-only"]), /ERR-03-009/, "as without it");
    const commit = ["--commit", "--token", "t", "--compose-hash", "12".repeat(32), "--transaction-hash", "already-registered"];
    assert.match(await refused(["cvms", "replicate", b.uuid, ...commit]), /ERR-01-006/);
    assert.match(await refused(["instances", "add", "--app-id", b.appId, ...commit]), /ERR-01-006/);
  });
  await step("replicas", "phala instances rm: they are gone, the first one has not noticed", async () => {
    await phala(["instances", "rm", ...replicas.map((cvm) => cvm.uuid), "-f"]);
    for (const { uuid } of replicas) {
      await eventually(`GET /cvms/${uuid} answers 404`, async () => (await client.requestFull(`/cvms/${uuid}`)).status === 404);
    }
    const labels = await docker("ps", "-a", "--format", "{{.Labels}}");
    for (const { uuid } of replicas) assert.ok(!labels.join().includes(uuid), `${uuid} is left`);
    assert.equal((await getAppCvms(client, { appId: b.appId })).length, 1);
    const seen = await status(b);
    assert.deepEqual([seen.greeting, seen.boots], [b.env.GREETING, "1"]);
  });
}

// ------------------------------------------------------------------ updates

const operations = async (cvm) => (await client.request(`/cvms/${cvm.uuid}/operations?limit=100`)).items;

async function updates() {
  const file = path.join(a.dir, "compose.yml");
  await step(
    "update",
    "phala deploy --cvm-id --wait: new compose, new variables, the data is still there",
    async () => {
      const text = fs.readFileSync(file, "utf8").replace("Welcome to", "Welcome back to");
      fs.writeFileSync(file, text);
      a.env.GREETING = `updated-${a.env.GREETING}`;
      a.secrets.push(a.env.GREETING);
      fs.writeFileSync(path.join(a.dir, ".env"), Object.entries(a.env).map(([k, v]) => `${k}='${v}'\n`).join(""));
      await phala(["deploy", "--cvm-id", a.uuid, "-c", "compose.yml", "-e", ".env", "--wait"], a.dir);
      assert.equal((await detail(a)).status, "running", "--wait ended before it ran");
      await rebooted("6");
      const { body } = await page(a, "/motd.txt");
      assert.match(body, /Welcome back to/, "an inline config's new content");
    },
    { must: true },
  );
  await step("update", "its operation succeeded, step by step", async () => {
    const [newest] = await operations(a);
    assert.equal(newest.operation_type, "update");
    assert.equal(newest.status, "completed");
    assert.deepEqual(newest.steps.map((one) => one.name), ["shutdown", "push", "start", "boot"]);
  });
  await step("update", "phala envs update -e NEW=1: the guest lets the new name in", async () => {
    await phala(["envs", "update", a.uuid, "-e", "NEW=1"], a.dir);
    await eventually("the update ended", async () => (await operations(a))[0].completed_at);
    await watch(a, "running");
    const [newest] = await operations(a);
    assert.equal(newest.status, "completed", JSON.stringify(newest));
    const compose = await client.getCvmComposeFile({ id: a.uuid });
    assert.deepEqual(compose.allowed_envs, ["NEW"]);
    assert.deepEqual(newest.env_report.missing, ["API_TOKEN", "APP_TITLE", "GREETING", "TRICKY"], "what the file still uses");
    assert.equal((await status(a)).note, "note-of-a");
  });
  await step("update", "all variables again: nothing is lost for good", async () => {
    await phala(["envs", "update", a.uuid, "-e", ".env"], a.dir);
    await eventually("the update ended", async () => (await operations(a))[0].completed_at);
    await watch(a, "running");
    assert.equal((await status(a)).greeting, a.env.GREETING);
  });
  await step("update", "phala cvms resize: larger, running again, the data is there", async () => {
    await phala(["cvms", "resize", a.uuid, "--vcpu", "2", "--memory", "2048", "--disk-size", "40", "--allow-restart", "true", "-y"], a.dir);
    await eventually("the update ended", async () => (await operations(a))[0].completed_at);
    await watch(a, "running");
    const { resource } = await detail(a);
    assert.deepEqual([resource.vcpu, resource.disk_in_gb], [2, 40]);
    assert.equal((await status(a)).note, "note-of-a");
  });
  await step("update", "a compose file that does not start is taken back", async () => {
    const before = await detail(a);
    const broken = fs.readFileSync(file, "utf8").replaceAll("image: busybox:1.36", "image: casemate.invalid/none:1");
    const { correlationId } = await patchCvm(client, { id: a.uuid, docker_compose_file: broken });
    await eventually("both operations ended", async () => (await operations(a)).every((one) => one.completed_at), BOOT);
    const all = await operations(a);
    const failed = all.find((one) => one.correlation_id === correlationId);
    assert.equal(failed.state, "failed");
    assert.ok(failed.error_message, "a cause");
    assert.equal(all[0].operation_type, "rollback");
    await watch(a, "running");
    assert.equal((await detail(a)).compose_hash, before.compose_hash);
    assert.equal((await status(a)).note, "note-of-a");
  });
  await step("update", "the other one has not noticed", async () => assert.equal((await status(b)).boots, "1"));
  await step("update", "the SDK's two phases give the hash that was promised", async () => {
    const compose = await client.getCvmComposeFile({ id: a.uuid });
    compose.docker_compose_file = compose.docker_compose_file.replace("Welcome back to", "Hello from");
    const prepared = await client.provisionCvmComposeFileUpdate({ id: a.uuid, app_compose: compose });
    await client.commitCvmComposeFileUpdate({ id: a.uuid, compose_hash: prepared.compose_hash });
    await eventually("the update ended", async () => (await operations(a))[0].completed_at);
    await watch(a, "running");
    assert.equal((await detail(a)).compose_hash, prepared.compose_hash);
    assert.match((await page(a, "/motd.txt")).body, /Hello from/);
  });
}

const addresses = () => instanceIds(a, { client, step, eventually, watch, detail, operations, status, get, BOOT });

const history = () => revisions(a, { client, step, eventually, watch, detail, operations, status, BOOT });

// The SDK's type of the event; at run time it only needs the event itself.
async function events() {
  await step("watch", "the event `complete` says {status, elapsed, target}", () => {
    for (const { target, complete } of completions) {
      assert.equal(complete.status, target, JSON.stringify(complete));
      assert.equal(complete.target, target, JSON.stringify(complete));
      assert.equal(typeof complete.elapsed, "number", JSON.stringify(complete));
    }
  });
}

async function deletion() {
  const ids = { a: () => a.uuid, b: () => b.name };
  for (const cvm of both) {
    await step("delete", `phala cvms delete -f, ${cvm.letter}: gone, and nothing is left`, async () => {
      const reply = await phalaJson(["cvms", "delete", ids[cvm.letter](), "-f"]);
      assert.equal(reply.deleted, true);
      await eventually(`GET /cvms/${cvm.uuid} answers 404`, async () => {
        const { status } = await client.requestFull(`/cvms/${cvm.uuid}`);
        assert.equal(status, 404);
        return true;
      });
      await eventually(`nothing of ${cvm.project} is left`, async () => {
        assert.deepEqual(await leftovers(cvm.project), []);
        return true;
      });
      const { items } = await phalaJson(["cvms", "ls", "--page-size", "100"]);
      assert.ok(!items.some((item) => item.appId === cvm.appId), "cvms ls still has it");
      const { status } = await get(`http://${cvm.appId}-8080.${cvm.domain}/`);
      assert.ok(status >= 400, `the gateway still answers ${status}`);
    });
    if (cvm === a) {
      await step("delete", "the other one still runs", async () => {
        assert.ok((await page(b, "/")).body.includes(b.env.GREETING));
      });
    }
  }
}

// Whatever failed before, leave no machine behind.
async function cleanUp() {
  for (const { uuid } of [...both, ...replicas]) {
    if (uuid) await client.requestFull(`/cvms/${uuid}`, { method: "DELETE" }).catch(() => {});
  }
  fs.rmSync(temp, { recursive: true, force: true });
}

try {
  const parts = [deployments, pages, projects, lists, attestations, hashes, keys, secrets, power, moreOfOne, updates, history, addresses, events, deletion];
  for (const part of parts) await part();
  await secrets("after the suite");
} finally {
  await cleanUp();
}
const skipped = count.skipped ? `, ${count.skipped} skipped` : "";
console.log(`${count.passed} passed, ${count.failed} failed${skipped}`);
process.exitCode = count.failed ? 1 : 0;
