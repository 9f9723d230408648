// Instance ids through the real JavaScript SDK: looking for one changes nothing, replacing one leads to
// another address and keeps the data.
//
// Called by run.mjs while both CVMs run; leaves them running.

import assert from "node:assert/strict";
import { refreshCvmInstanceId, refreshCvmInstanceIds } from "@phala/cloud";

// `world`: what run.mjs has: client, step, eventually, watch, detail, operations, status, get, BOOT.
export async function instanceIds(cvm, world) {
  const { client, step, eventually, watch, detail, operations, status, get, BOOT } = world;
  const id = async () => (await detail(cvm)).instance_id;
  const at = (instance) => get(`http://${instance}-8080.${cvm.domain}/`);

  await step("instance ids", "refreshCvmInstanceId finds the one there is", async () => {
    const found = await refreshCvmInstanceId(client, { id: cvm.uuid });
    assert.equal(found.status, "unchanged");
    assert.equal(found.new_instance_id, await id());
    assert.equal(found.verified_with_gateway, true);
  });
  await step("instance ids", "refreshCvmInstanceIds: a dry run does nothing, missing ones are none", async () => {
    const before = await id();
    const many = await refreshCvmInstanceIds(client, { cvm_ids: [cvm.uuid], missing_only: false, overwrite: true, dry_run: true });
    assert.deepEqual([many.total, many.updated, many.errors], [1, 1, 0]);
    const missing = await refreshCvmInstanceIds(client, {});
    assert.equal(missing.updated, 0);
    assert.ok(missing.scanned >= 2);
    assert.equal(await id(), before);
  });
  await step(
    "instance ids",
    "with overwrite: another address, the same data; the old address leads nowhere",
    async () => {
      const before = await id();
      const boots = Number((await status(cvm)).boots);
      const { note } = await status(cvm);
      assert.equal((await at(before)).status, 200);
      const done = await refreshCvmInstanceId(client, { id: cvm.uuid, overwrite: true });
      assert.equal(done.status, "updated");
      assert.equal(done.old_instance_id, before);
      await eventually("the update ended", async () => (await operations(cvm)).every((one) => one.completed_at), BOOT);
      await watch(cvm, "running");
      assert.equal(await id(), done.new_instance_id);
      assert.equal((await at(done.new_instance_id)).status, 200);
      assert.equal((await at(before)).status, 404);
      const after = await status(cvm);
      assert.equal(after.note, note, "the volume is the same one");
      assert.equal(Number(after.boots), boots + 1);
    },
  );
  await step("instance ids", "POST refresh-instance-id, as it is documented, makes another one", async () => {
    const before = await id();
    const done = await client.request(`/cvms/${cvm.uuid}/refresh-instance-id`, { method: "POST" });
    assert.equal(done.status, "updated");
    await eventually("the update ended", async () => (await operations(cvm)).every((one) => one.completed_at), BOOT);
    await watch(cvm, "running");
    assert.notEqual(await id(), before);
    assert.equal(await id(), done.new_instance_id);
  });
}
