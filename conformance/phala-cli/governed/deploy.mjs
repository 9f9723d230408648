// `phala deploy --kms base` from nothing to running, and what is refused.

import { deployAppAuth, getAppEnvEncryptPubKey, provisionCvm, commitCvmProvision, encryptEnvVars } from "@phala/cloud";
import { base } from "viem/chains";

const word = (hex) => hex.replace(/^0x/, "").padStart(64, "0");
const SELECTOR = { registered: "a6c4cce9", hashAllowed: "2f6622e5", removeHash: "67b3f22c", owner: "8da5cb5b" };

// Leaves `world.cvm`: the CVM that the CLI made, running.
export async function deploy(world) {
  const { assert, step, chain, client, run, user, raw, view, detail, running } = world;
  const name = `governed-${run}`;

  await step(
    "deploy",
    "phala deploy --kms base --private-key … --rpc-url …: contract, key, commit",
    async () => {
      const dir = world.project(name);
      const secret = ["-e", "SECRET=s3cret value"];
      const args = ["deploy", "-c", "compose.yml", "-n", name, "--kms", "base", ...secret, ...world.signer()];
      const reply = await world.phalaJson(args, dir);
      assert.equal(reply.name, name);
      world.cvm = { name, uuid: reply.vm_uuid, appId: reply.app_id.toLowerCase().replace(/^0x/, ""), dir };
    },
    { must: true },
  );
  await step("deploy", "it runs", () => running(world.cvm.uuid), { must: true });
  await step("deploy", "what is shown is what is on the chain", async () => {
    const { appId, uuid } = world.cvm;
    const shown = await detail(uuid);
    assert.equal(shown.kms_type, "base");
    assert.equal(shown.kms_info.chain_id, chain.chain_id);
    assert.equal(shown.kms_info.dstack_kms_address, chain.kms_contract.toLowerCase());
    assert.equal(shown.kms_info.dstack_app_address, `0x${appId}`);
    assert.equal(shown.kms_info.deployer_address, user.address.toLowerCase());
    assert.equal(shown.kms_info.rpc_endpoint ?? null, null);
    const yes = word("1");
    assert.equal(await view(chain.kms_contract, SELECTOR.registered, appId), `0x${yes}`);
    assert.equal(await view(`0x${appId}`, SELECTOR.hashAllowed, shown.compose_hash), `0x${yes}`);
    const { body } = await raw(`/apps/${appId}/kms-info`);
    assert.deepEqual([body.is_onchain_kms, body.deployer_type, body.is_contract], [true, "eoa", false]);
    assert.equal(body.owner_address, user.address.toLowerCase());
  });
  await step("deploy", "the chain was asked, and what it said is in the history", async () => {
    const { body } = await raw(`/apps/${world.cvm.appId}/events?event_type=governance.verified`);
    const first = JSON.parse(body.events.at(-1).operation_payload);
    assert.equal(first.chain_id, chain.chain_id);
    assert.match(first.block_hash, /^0x[0-9a-f]{64}$/);
    assert.equal(first.owner, user.address.toLowerCase());
  });
  await step("deploy", "phala cvms get, phala apps, phala kms base", async () => {
    const shown = await world.phalaJson(["cvms", "get", world.cvm.uuid]);
    assert.equal(JSON.stringify(shown).includes(world.cvm.appId), true);
    await world.phala(["apps"]);
    const listed = await world.phala(["kms", "base", "--json"]);
    assert.ok(listed.stdout.toLowerCase().includes(chain.kms_contract.toLowerCase()), listed.stdout);
    const all = await world.phala(["kms", "list", "--json"]);
    assert.ok(all.stdout.includes("kms-base-1"), all.stdout);
  });
  await step("deploy", "SDK: provisionCvm, deployAppAuth, getAppEnvEncryptPubKey, commitCvmProvision", async () => {
    const app = {
      name: `sdk-${run}`,
      compose_file: { docker_compose_file: world.COMPOSE, allowed_envs: ["A"] },
      kms: "BASE",
    };
    const prepared = await provisionCvm(client, app);
    assert.equal(prepared.app_id ?? null, null);
    assert.equal(prepared.kms_info.chain_id, chain.chain_id);
    const made = await deployAppAuth({
      chain: base,
      rpcUrl: chain.rpc,
      kmsContractAddress: prepared.kms_info.kms_contract_address,
      privateKey: user.private_key,
      deviceId: prepared.device_id,
      composeHash: prepared.compose_hash,
    });
    const key = await getAppEnvEncryptPubKey(client, { app_id: made.appId, kms: prepared.kms_info.slug });
    const sealed = await encryptEnvVars([{ key: "A", value: "1" }], key.public_key);
    const request = {
      app_id: made.appId,
      compose_hash: prepared.compose_hash,
      encrypted_env: sealed,
      kms_id: prepared.kms_info.slug,
      contract_address: made.appAuthAddress,
      deployer_address: made.deployer,
      transaction_hash: made.transactionHash,
    };
    const committed = await commitCvmProvision(client, request);
    const again = await commitCvmProvision(client, request);
    assert.equal(again.vm_uuid, committed.vm_uuid, "committing twice gives the same CVM");
    await running(committed.vm_uuid);
    world.sdk = { uuid: committed.vm_uuid, appId: made.appId.toLowerCase().replace(/^0x/, "") };
  });

  const provision = async (suffix) =>
    (await raw("/cvms/provision", {
      method: "POST",
      body: { name: `${suffix}-${run}`, kms: "BASE", compose_file: { docker_compose_file: `${world.COMPOSE}# ${suffix}\n` } },
    })).body;
  const commit = (prepared, appId, more) =>
    raw("/cvms", { method: "POST", body: { app_id: appId, compose_hash: prepared.compose_hash, kms_id: "kms-base-1", ...more } });
  const contract = async (prepared, more) => {
    const request = { chain: base, rpcUrl: chain.rpc, kmsContractAddress: chain.kms_contract, privateKey: user.private_key };
    return deployAppAuth({ ...request, deviceId: prepared.device_id, composeHash: prepared.compose_hash, ...more });
  };

  await step("refusals", "a hash that is not allowed is 468, and goes when it is", async () => {
    const prepared = await provision("hash");
    const made = await contract(prepared, { composeHash: `0x${"99".repeat(32)}` });
    const refused = await commit(prepared, made.appId);
    assert.deepEqual([refused.status, refused.body.error_code], [468, "ERR-01-008"], JSON.stringify(refused.body));
    assert.match(refused.body.message, /addComposeHash/);
    await chain.send(user.address, made.appId, `0xdfc77223${word(prepared.compose_hash)}`);
    const { status, body } = await commit(prepared, made.appId);
    assert.equal(status, 200, JSON.stringify(body));
  });
  await step("refusals", "a host that is not allowed is 468 and named", async () => {
    const prepared = await provision("host");
    const made = await contract(prepared, { deviceId: `0x${"98".repeat(32)}` });
    const refused = await commit(prepared, made.appId);
    assert.equal(refused.status, 468, JSON.stringify(refused.body));
    assert.ok(refused.body.message.includes(prepared.device_id.replace(/^0x/, "")), refused.body.message);
  });
  await step("refusals", "an account without code, registered by a stranger, is 468", async () => {
    const prepared = await provision("eoa");
    const [, , stranger] = chain.accounts;
    await chain.send(stranger.address, chain.kms_contract, `0x17a1d80f${word(stranger.address)}`);
    const refused = await commit(prepared, stranger.address);
    assert.equal(refused.status, 468, JSON.stringify(refused.body));
    assert.match(refused.body.message, /no app contract/);
  });
  await step("refusals", "a transaction of another app is 467", async () => {
    const prepared = await provision("foreign");
    const made = await contract(prepared);
    const foreign = await contract(prepared);
    const refused = await commit(prepared, made.appId, { transaction_hash: foreign.transactionHash });
    assert.deepEqual([refused.status, refused.body.error_code], [467, "ERR-01-007"], JSON.stringify(refused.body));
    const { status } = await commit(prepared, made.appId, { transaction_hash: made.transactionHash });
    assert.equal(status, 200);
  });
  await step("refusals", "the contract of the KMS in place of the app's is named", async () => {
    const prepared = await provision("mixup");
    const made = await contract(prepared);
    const refused = await commit(prepared, made.appId, { contract_address: chain.kms_contract });
    assert.equal(refused.status, 400);
    assert.ok(refused.body.message.toLowerCase().includes(chain.kms_contract.toLowerCase()), refused.body.message);
  });
  await step("refusals", "a hash that was allowed and is not any more is 468, whatever transaction is named", async () => {
    const prepared = await provision("removed");
    const made = await contract(prepared);
    await chain.send(user.address, made.appId, `0x${SELECTOR.removeHash}${word(prepared.compose_hash)}`);
    const refused = await commit(prepared, made.appId, { transaction_hash: made.transactionHash });
    assert.equal(refused.status, 468, JSON.stringify(refused.body));
    assert.match(refused.body.message, /removed again/);
  });
}
