// `phala allow-devices`, and what is told of allowlists, with the CVM that deploy.mjs left.

import { checkAppCvmsIsAllowed, checkAppIsAllowed, checkCvmIsAllowed, getAppDeviceAllowlist } from "@phala/cloud";

const OTHER = `0x${"d0".repeat(32)}`;
const SELECTOR = { deviceAllowed: "bf8b211b", anyDevice: "3440a16a" };

export async function devices(world) {
  const { assert, step, client, eventually, raw, view, detail } = world;
  if (!world.cvm) return;
  const { appId, uuid } = world.cvm;
  const list = () => getAppDeviceAllowlist(client, { appId });
  const own = (await detail(uuid)).node_info.device_id;
  const allow = (...args) => world.phala(["allow-devices", ...args]);
  const listed = async (device) => (await view(`0x${appId}`, SELECTOR.deviceAllowed, device)).endsWith("1");
  const anyDevice = async () => (await view(`0x${appId}`, SELECTOR.anyDevice)).endsWith("1");

  await step("devices", "phala allow-devices list, phala cvms device-allowlist", async () => {
    const said = await allow("list", appId, "--rpc-url", world.chain.rpc);
    assert.ok(said.stdout.toLowerCase().includes(own.slice(0, 16)), said.stdout);
    const shown = await world.phala(["cvms", "device-allowlist", uuid]);
    assert.match(shown.stdout, /allowed/, shown.stdout);
    assert.ok(`${shown.stdout}${shown.stderr}`.includes(`0x${appId}`), shown.stderr);
  });
  await step("devices", "getAppDeviceAllowlist: the CVM's host is allowed", async () => {
    const found = await list();
    assert.deepEqual([found.is_onchain_kms, found.chain_id], [true, world.chain.chain_id]);
    assert.equal(found.app_contract_address, `0x${appId}`);
    const device = found.devices.find((one) => one.device_id === own);
    assert.deepEqual([device.status, device.allowed_onchain, device.cvm_ids.length], ["allowed", true, 1]);
  });
  await step("devices", "phala allow-devices add, remove", async () => {
    await allow("add", appId, OTHER, ...world.signer(), "--wait");
    assert.equal(await listed(OTHER), true);
    await allow("remove", appId, OTHER, ...world.signer(), "--wait");
    assert.equal(await listed(OTHER), false);
  });
  await step("devices", "SDK: checkCvmIsAllowed follows the chain", async () => {
    const before = await checkCvmIsAllowed(client, { cvmId: uuid });
    assert.deepEqual([before.is_allowed, before.compose_hash_allowed, before.device_id_allowed], [true, true, true]);
    await allow("remove", appId, `0x${own}`, ...world.signer(), "--wait");
    await eventually("the host is not allowed", async () => !(await checkCvmIsAllowed(client, { cvmId: uuid })).is_allowed);
    assert.equal((await list()).devices.find((one) => one.device_id === own).status, "not_allowed");
    await allow("add", appId, `0x${own}`, ...world.signer(), "--wait");
    await eventually("the host is allowed", async () => (await checkCvmIsAllowed(client, { cvmId: uuid })).is_allowed);
  });
  await step("devices", "SDK: checkAppIsAllowed, checkAppCvmsIsAllowed", async () => {
    const { compose_hash } = await detail(uuid);
    const yes = await checkAppIsAllowed(client, { appId, compose_hash, device_id: own });
    assert.equal(yes.is_allowed, true);
    const no = await checkAppIsAllowed(client, { appId, compose_hash: "77".repeat(32), device_id: own });
    assert.deepEqual([no.is_allowed, no.compose_hash_allowed], [false, false]);
    const all = await checkAppCvmsIsAllowed(client, { appId });
    assert.deepEqual([all.is_onchain, all.total, all.allowed_count], [true, 1, 1]);
  });
  await step("devices", "phala allow-devices allow-any, disallow-any", async () => {
    await allow("allow-any", appId, "--enable", ...world.signer(), "--wait");
    assert.equal(await anyDevice(), true);
    await eventually("any host will do", async () => (await list()).allow_any_device);
    await allow("disallow-any", appId, ...world.signer(), "--wait");
    assert.equal(await anyDevice(), false);
  });
  await step("devices", "an app without a contract has no allowlist", async () => {
    const body = { name: `plain-${world.run}`, compose_file: { docker_compose_file: world.COMPOSE } };
    const { body: prepared } = await raw("/cvms/provision", { method: "POST", body });
    const { app_id, compose_hash } = prepared;
    await raw("/cvms", { method: "POST", body: { app_id, compose_hash } });
    assert.equal((await getAppDeviceAllowlist(client, { appId: app_id })).is_onchain_kms, false);
  });
}
