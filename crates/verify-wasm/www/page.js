// The page's own code. `wasm_bindgen` is the glue of wasm-bindgen (target no-modules); MODULE is the verifier.
"use strict";
const MODULE = "/*MODULE*/";
const WORDS = {
  proven: "Verified: every required claim is proven.",
  simulated: "Simulated: every required claim holds under a development root. Nothing is proven about hardware.",
  failed: "Not verified: a claim failed.",
  missing: "Not verified: a required claim is not shown.",
};
const by = (id) => document.getElementById(id);

async function options() {
  const roots = [];
  for (const file of by("roots").files) roots.push({ name: file.name, pem: await file.text() });
  const keys = by("keys").files[0];
  const nonce = by("nonce").value.trim();
  return {
    now: by("now").value.trim() || new Date().toISOString(),
    policy: by("policy").value,
    roots,
    gpu_keys: keys ? await keys.text() : "",
    nonce: nonce || null,
  };
}

function show(reply) {
  const body = by("claims").tBodies[0];
  body.replaceChildren();
  by("claims").hidden = !reply.claims;
  by("outcome").textContent = reply.error ?? WORDS[reply.outcome];
  by("outcome").className = reply.error ? "failed" : reply.outcome === "missing" ? "not-shown" : reply.outcome;
  for (const claim of reply.claims ?? []) {
    const state = claim.simulated ? "simulated" : claim.state;
    const row = body.insertRow();
    for (const text of [claim.claim, state.replace("-", " "), claim.required ? "required" : "", claim.text]) {
      row.insertCell().textContent = text;
    }
    row.cells[1].className = `state ${state}`;
  }
}

by("run").addEventListener("click", async () => {
  const file = by("bundle").files[0];
  if (!file) return show({ error: "Choose a bundle first." });
  const bytes = new Uint8Array(await file.arrayBuffer());
  show(JSON.parse(wasm_bindgen.verify(bytes, JSON.stringify(await options()))));
});

const bytes = Uint8Array.from(atob(MODULE), (c) => c.charCodeAt(0));
wasm_bindgen({ module_or_path: bytes }).then(() => {
  by("run").disabled = false;
});
