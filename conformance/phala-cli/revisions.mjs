// Revisions through the real JavaScript SDK: what was in force is listed with its document, what failed
// is not, and an earlier revision can be had again.
//
// Called by run.mjs while the CVM runs, after its updates; leaves it as it found it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { getAppRevisionDetail, getAppRevisions, patchCvm } from "@phala/cloud";

// `world`: what run.mjs has: client, step, eventually, watch, detail, operations, status, BOOT.
export async function revisions(cvm, world) {
  const { client, step, eventually, watch, detail, operations, status, BOOT } = world;
  const list = async () => (await getAppRevisions(client, { appId: cvm.appId, page_size: 100 })).revisions;
  const settled = async () => {
    await eventually("the update ended", async () => (await operations(cvm)).every((one) => one.completed_at), BOOT);
    await watch(cvm, "running");
  };
  const redeploy = (one, body) =>
    client.request(`/cvms/${cvm.uuid}/revisions/${one.revision_id}/redeploy`, { method: "POST", body });
  let before;

  await step(
    "revisions",
    "getAppRevisions: newest first, the newest is in force, the first was the deployment",
    async () => {
      before = await list();
      assert.equal(before[0].compose_hash, (await detail(cvm)).compose_hash);
      assert.equal(before.at(-1).operation_type, "deploy");
      const times = before.map((one) => Date.parse(one.created_at));
      assert.deepEqual(times, times.toSorted((x, y) => y - x));
      for (const one of before) {
        assert.equal(one.vm_uuid, cvm.uuid);
        assert.equal(one.cvm.object_type, "cvm");
        assert.equal(one.triggered_by.object_type, "user");
        assert.equal(one.workspace.object_type, "workspace");
      }
    },
    { must: true },
  );
  await step("revisions", "every one was brought about by an operation that succeeded", async () => {
    const all = new Map((await operations(cvm)).map((one) => [one.correlation_id, one]));
    for (const one of before) assert.equal(all.get(one.trace_id).state, "succeeded", one.trace_id);
  });
  await step("revisions", "getAppRevisions: pages", async () => {
    const { revisions: second, total, total_pages } = await getAppRevisions(client, {
      appId: cvm.appId,
      page: 2,
      page_size: 2,
    });
    assert.deepEqual(second, before.slice(2, 4));
    assert.deepEqual([total, total_pages], [before.length, Math.ceil(before.length / 2)]);
  });
  await step("revisions", "getAppRevisionDetail: the document, and the text that was hashed", async () => {
    for (const one of [before[0], before.at(-1)]) {
      const request = { appId: cvm.appId, revisionId: one.revision_id };
      const whole = await getAppRevisionDetail(client, request);
      const raw = await getAppRevisionDetail(client, { ...request, rawComposeFile: true });
      const hash = createHash("sha256").update(raw.compose_file).digest("hex");
      assert.equal(hash, one.compose_hash);
      assert.deepEqual(whole.compose_file, JSON.parse(raw.compose_file));
      assert.match(whole.encrypted_env, /^[0-9a-f]+$/, "sealed as it was sent");
    }
  });
  await step("revisions", "what fails is none", async () => {
    const { compose_file } = await getAppRevisionDetail(client, { appId: cvm.appId, revisionId: before[0].revision_id });
    const broken = compose_file.docker_compose_file.replaceAll("image: busybox:1.36", "image: casemate.invalid/none:2");
    await patchCvm(client, { id: cvm.uuid, docker_compose_file: broken });
    await settled();
    assert.deepEqual(await list(), before);
  });
  // The one before with other text and the same names of variables.
  const names = async (one) =>
    JSON.stringify((await getAppRevisionDetail(client, { appId: cvm.appId, revisionId: one.revision_id })).compose_file.allowed_envs);
  await step(
    "revisions",
    "redeploy: the earlier document runs, the data is still there",
    async () => {
      const mine = await names(before[0]);
      let earlier;
      for (const one of before) {
        if (one.compose_hash !== before[0].compose_hash && (await names(one)) === mine) {
          earlier = one;
          break;
        }
      }
      assert.ok(earlier, "a revision with the same variables");
      const { correlation_id, status: word } = await redeploy(earlier);
      assert.equal(word, "in_progress");
      await settled();
      const [newest] = await list();
      assert.deepEqual(
        [newest.compose_hash, newest.operation_type, newest.trace_id],
        [earlier.compose_hash, "redeploy", correlation_id],
      );
      assert.equal((await detail(cvm)).compose_hash, earlier.compose_hash);
      assert.equal((await status(cvm)).note, "note-of-a");
    },
    { must: true },
  );
  await step("revisions", "redeploy of what is in force restarts nothing", async () => {
    const { boots } = await status(cvm);
    const [newest] = await list();
    assert.equal((await redeploy(newest, {})).status, "no_change");
    assert.equal((await status(cvm)).boots, boots);
  });
  await step("revisions", "redeploy refuses variables that the revision does not have", async () => {
    const mine = await names((await list())[0]);
    let other;
    for (const one of before) if ((await names(one)) !== mine) other = one;
    assert.ok(other, "a revision with other variables");
    const reply = await client.requestFull(`/cvms/${cvm.uuid}/revisions/${other.revision_id}/redeploy`, { method: "POST" });
    assert.equal(reply.status, 400);
  });
  await step("revisions", "the app's route leads back to the newest", async () => {
    const url = `/apps/${cvm.appId}/revisions/${before[0].revision_id}/redeploy`;
    await client.request(url, { method: "POST", body: { vm_uuids: [cvm.uuid] } });
    await settled();
    assert.equal((await detail(cvm)).compose_hash, before[0].compose_hash);
    const url2 = `/apps/${cvm.appId}/pending-updates`;
    const pending = (await client.request(url2)).items;
    assert.ok(pending.every((one) => one.compose_hash !== before[0].compose_hash), JSON.stringify(pending));
  });
}
