// Updates and more machines of a governed app, through the real phala CLI and JavaScript SDK, with the CVM that
// deploy.mjs left.

import {
  addComposeHash,
  checkCvmIsAllowed,
  commitCvmUpdate,
  confirmCvmPatch,
  patchCvm,
  updateDockerCompose,
} from "@phala/cloud";
import { base } from "viem/chains";

const word = (hex) => hex.replace(/^0x/, "").padStart(64, "0");
const ADD_HASH = "dfc77223";
const REMOVE_DEVICE = "1d266200";

export async function updates(world) {
  const { assert, step, chain, client, eventually, recorder, raw, detail, running, user } = world;
  if (!world.cvm) return;
  const { uuid, appId, dir } = world.cvm;
  const file = (name) => `${world.COMPOSE}# ${name}\n`;
  const hashOf = async (id = uuid) => (await detail(id)).compose_hash;
  // The last answer 465 to a request whose line holds this.
  const told = (line) => {
    const found = recorder.requests().findLast((one) => one.status === 465 && one.line.includes(line));
    assert.ok(found, `no 465 to ${line}`);
    const { details } = JSON.parse(found.reply);
    return Object.fromEntries(details.map(({ field, value }) => [field, value]));
  };
  const runs = async (hash, id = uuid) => {
    const bare = hash.replace(/^0x/, "");
    await eventually(`${id} runs ${bare}`, async () => {
      const shown = await detail(id);
      if (shown.status !== "running" || shown.compose_hash !== bare) {
        throw new Error(`${shown.status} ${shown.compose_hash} ${JSON.stringify(shown.failure ?? null)}`);
      }
      return true;
    });
    const { stdout, ...rest } = await world.phala(["api", `/cvms/${id}/compose_file`]);
    assert.ok(stdout.includes("docker_compose_file"), JSON.stringify(rest));
  };
  const sign = (selector, argument, to = `0x${appId}`) => chain.send(user.address, to, `0x${selector}${word(argument)}`);
  const deploy = (text, ...args) => {
    world.project(world.cvm.name, text);
    return world.phala(["deploy", "--cvm-id", uuid, "-c", "compose.yml", ...args], dir);
  };

  await step("updates", "phala deploy --cvm-id …: 465, addComposeHash, PATCH {} with both headers", async () => {
    const before = await hashOf();
    await deploy(file("cli"), ...world.signer(), "--wait");
    const { compose_hash, commit_token, onchain_status } = told(`/cvms/`);
    assert.notEqual(compose_hash, before);
    assert.equal(commit_token, undefined, "a token only where it is asked for");
    assert.equal(onchain_status.compose_hash_allowed, false);
    await runs(compose_hash);
  });
  await step("updates", "phala deploy --cvm-id … --prepare-only changes nothing and tells a token", async () => {
    const before = await hashOf();
    const said = await deploy(file("prepared"), "--prepare-only");
    const { commit_token, commit_url, compose_hash } = told("/cvms/");
    assert.ok(`${said.stdout}${said.stderr}`.includes(commit_token), said.stdout);
    world.prepared = { token: commit_token, hash: compose_hash, url: commit_url };
    assert.equal(await hashOf(), before);
    const page = await fetch(commit_url);
    const text = await page.text();
    assert.equal(page.status, 200, text);
    assert.ok(text.includes(`0x${ADD_HASH}${compose_hash}`) && text.includes(appId), text);
  });
  await step("updates", "phala deploy --commit --token … before the owner has signed is refused", async () => {
    const said = await world.phalaRaw(["deploy", "--cvm-id", uuid, "--commit", "--token", world.prepared.token], dir);
    assert.notEqual(said.code, 0, said.stdout);
    assert.match(`${said.stdout}${said.stderr}`, /allow|registered|on-chain/i);
  });
  await step("updates", "phala deploy --commit --token …, the hash read from the token", async () => {
    const { token, hash } = world.prepared;
    await sign(ADD_HASH, hash);
    await world.phala(["deploy", "--cvm-id", uuid, "--commit", "--token", token], dir);
    await runs(hash);
    const info = await fetch(`${world.api}/cvms/${uuid}/commit-update?token=${token}`);
    assert.equal((await info.json()).status, "used");
  });
  await step("updates", "phala deploy --commit with hash and transaction", async () => {
    await deploy(file("both"), "--prepare-only");
    const { commit_token, compose_hash } = told("/cvms/");
    const mined = await sign(ADD_HASH, compose_hash);
    const transaction = typeof mined === "string" ? mined : (mined.transactionHash ?? mined.hash);
    const named = ["--compose-hash", `0x${compose_hash}`, "--transaction-hash", transaction];
    await world.phala(["deploy", "--cvm-id", uuid, "--commit", "--token", commit_token, ...named], dir);
    await runs(compose_hash);
  });
  await step("updates", "phala deploy --cvm-id … -e: variables and document together", async () => {
    await deploy(`${file("env")}# uses \${MORE}\n`, "-e", "MORE=1", ...world.signer(), "--wait");
    await runs(told("/cvms/").compose_hash);
  });
  await step("updates", "phala envs update: new names are another document", async () => {
    await world.phala(["envs", "update", uuid, "-e", "FRESH=1", "-e", "MORE=2", ...world.signer()], dir);
    await runs(told("/envs").compose_hash);
  });
  await step("updates", "SDK: patchCvm, addComposeHash, confirmCvmPatch", async () => {
    const asked = await patchCvm(client, { id: uuid, docker_compose_file: file("sdk") });
    assert.equal(asked.requiresOnChainHash, true);
    const signed = await addComposeHash({
      chain: base,
      rpcUrl: chain.rpc,
      appId: `0x${appId}`,
      composeHash: `0x${asked.composeHash.replace(/^0x/, "")}`,
      privateKey: user.private_key,
    });
    const confirmation = { id: uuid, composeHash: asked.composeHash, transactionHash: signed.transactionHash };
    const done = await confirmCvmPatch(client, confirmation);
    const again = await confirmCvmPatch(client, confirmation);
    assert.equal(again.correlationId, done.correlationId, "confirming twice is one operation");
    await runs(asked.composeHash);
  });
  await step("updates", "SDK: patchCvm prepareOnly, commitCvmUpdate", async () => {
    const asked = await patchCvm(client, { id: uuid, docker_compose_file: file("token"), prepareOnly: true });
    assert.ok(asked.commitToken && asked.commitUrl && asked.apiCommitUrl, JSON.stringify(asked));
    await sign(ADD_HASH, asked.composeHash);
    const request = { id: uuid, token: asked.commitToken, composeHash: asked.composeHash, transactionHash: "already-registered" };
    const done = await commitCvmUpdate(client, request);
    assert.equal((await commitCvmUpdate(client, request)).correlationId, done.correlationId);
    await runs(asked.composeHash);
  });
  await step("updates", "SDK: updateDockerCompose in both phases, and it is allowed", async () => {
    const body = { id: uuid, docker_compose_file: file("text") };
    const asked = await updateDockerCompose(client, body);
    assert.equal(asked.status, "precondition_required", JSON.stringify(asked));
    const transaction_hash = "already-registered";
    await sign(ADD_HASH, asked.compose_hash);
    const done = await updateDockerCompose(client, { ...body, compose_hash: asked.compose_hash, transaction_hash });
    assert.equal(done.status, "in_progress", JSON.stringify(done));
    await runs(asked.compose_hash);
    const allowed = await checkCvmIsAllowed(client, { cvmId: uuid });
    assert.equal(allowed.is_allowed, true);
  });
  await step("updates", "what is not about the document needs no approval, prepared or not", async () => {
    const reply = await raw(`/cvms/${uuid}`, { method: "PATCH", body: { listed: false } });
    assert.equal(reply.status, 202, JSON.stringify(reply.body));
  });

  const machines = async () => (await raw(`/apps/${appId}/cvms`)).body.map((one) => one.vm_uuid);
  const fresh = async (before) => {
    const made = (await machines()).filter((one) => !before.includes(one));
    assert.equal(made.length, 1, made.join());
    await running(made[0]);
    return made[0];
  };
  await step("machines", "phala cvms replicate: a device that is not allowed is registered first", async () => {
    const device = (await detail(uuid)).node_info.device_id;
    await sign(REMOVE_DEVICE, device);
    const before = await machines();
    await world.phala(["cvms", "replicate", uuid, ...world.signer()]);
    assert.equal(told("/replicas").device_id, device);
    world.replica = await fresh(before);
    assert.equal(await hashOf(world.replica), await hashOf());
  });
  await step("machines", "phala cvms replicate with nothing left to register", async () => {
    const before = await machines();
    await world.phala(["cvms", "replicate", uuid, ...world.signer()]);
    await raw(`/cvms/${await fresh(before)}`, { method: "DELETE" });
  });
  await step("machines", "phala cvms replicate --prepare-only, --commit", async () => {
    const before = await machines();
    await world.phala(["cvms", "replicate", uuid, "--prepare-only"]);
    const { commit_token, compose_hash } = told("/replicas");
    const named = ["--compose-hash", `0x${compose_hash}`, "--transaction-hash", "already-registered"];
    await world.phala(["cvms", "replicate", uuid, "--commit", "--token", commit_token, ...named]);
    await raw(`/cvms/${await fresh(before)}`, { method: "DELETE" });
  });
  await step("machines", "phala instances add with another compose file", async () => {
    await raw(`/cvms/${world.replica}`, { method: "DELETE" });
    await eventually("the replica is gone", async () => (await machines()).length === 1);
    const before = await machines();
    const other = world.project("instance", file("instance"));
    const args = ["instances", "add", "--app-id", appId, "-c", "compose.yml", ...world.signer()];
    await world.phala(args, other);
    const { compose_hash, kms_info } = told("/instances");
    assert.equal(kms_info.chain.id, chain.chain_id);
    const made = await fresh(before);
    assert.equal(await hashOf(made), compose_hash);
    await raw(`/cvms/${made}`, { method: "DELETE" });
  });
  await step("secrets", "no commit token is in the log", async () => {
    const fs = await import("node:fs");
    const log = fs.readFileSync(`${world.dataDir}/serve.log`, "utf8");
    const tokens = recorder.requests().map((one) => one.reply.match(/"commit_token","value":"([^"]+)"/)?.[1]);
    const known = tokens.filter(Boolean);
    assert.ok(known.length > 2, `${known.length} tokens were given`);
    for (const token of known) assert.ok(!log.includes(token), "a commit token is in the log");
  });
}
