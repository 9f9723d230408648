// Computes the hash of every vector again with the official JavaScript SDK:
//   npm install @phala/cloud@0.2.9   (somewhere; with "overrides": {"viem": "2.38.0"})
//   NODE_MODULES=that/node_modules node check.mjs
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const modules = createRequire(resolve(process.env.NODE_MODULES ?? "node_modules", "x.js"));
const { getComposeHash } = modules("@phala/cloud");
const vectors = JSON.parse(readFileSync(new URL("app_compose.json", import.meta.url), "utf8"));
for (const { name, document, sha256 } of vectors) {
  const parsed = JSON.parse(document);
  const hashes = {
    "the bytes": createHash("sha256").update(document, "utf8").digest("hex"),
    "getComposeHash": getComposeHash(parsed),
    "getComposeHash, normalised": getComposeHash(parsed, true),
  };
  for (const [how, hash] of Object.entries(hashes)) {
    if (hash !== sha256) throw new Error(`${name}: ${how} gives ${hash}, Python ${sha256}`);
  }
}
console.log(`${vectors.length} vectors agree with @phala/cloud ${modules("@phala/cloud/package.json").version}`);
