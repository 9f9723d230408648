// Quotes and collateral that casemate-verify judged, judged again by @phala/dcap-qvl: a verifier in JavaScript with its
// own parsers, chains and signatures. The cases are written by the test `agreement` of casemate-verify:
//
//   cargo test -p casemate-verify --all-features --test verify agreement
//   cd conformance/verify && npm ci && node run.mjs ../../target/tmp/verify-cases.json [VERIFIER]
//
// VERIFIER is a directory with a newer copy of the verifier (dcap-qvl-js of the crate dcap-qvl, after npm install).
// Both must accept the same quotes, with the same TCB status. Known differences are listed below, with the reason.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const verifier = resolve(process.argv[3] ?? "node_modules/@phala/dcap-qvl");
const require = createRequire(import.meta.url);
const qvl = require(verifier);
const { version } = require(`${verifier}/package.json`);
const cases = JSON.parse(readFileSync(process.argv[2] ?? "../../target/tmp/verify-cases.json", "utf8"));

function theirs(one) {
  try {
    const verifier = qvl.QuoteVerifier.newWithRootCa(Buffer.from(one.root, "hex"));
    const report = verifier.verify(Buffer.from(one.quote, "hex"), one.collateral, one.now);
    return { accepts: true, status: report.status, why: "" };
  } catch (error) {
    return { accepts: false, status: "", why: String(error.message ?? error) };
  }
}

// What is known to differ, and why.
const KNOWN = {
  "certification data type": "ours is stricter: no signature covers it, so it must have its one value",
  "bytes behind the quote": "ours is stricter: it refuses bytes other than zero behind the end",
};
if (version.startsWith("0.3.")) {
  const why = `${version} reads revocation lists without checking signature and dates; 0.7.1 checks them`;
  const lists = ["root revocation list", "platform revocation list"];
  for (const name of [...lists, ...lists.map((list) => `${list} cut off`), "old platform revocation list"]) KNOWN[name] = why;
}

let differences = 0;
const word = (accepts, status) => (accepts ? status : "refused");
for (const one of cases) {
  const js = theirs(one);
  const same = one.accepts === js.accepts && (!one.accepts || one.status === js.status);
  const known = KNOWN[one.name];
  if (!same && !known) differences += 1;
  const verdict = same ? "same" : known ? `known: ${known}` : "DIFFERS";
  console.log(
    [
      one.name.padEnd(34), 
      word(one.accepts, one.status).padEnd(20),
      word(js.accepts, js.status).padEnd(20),
      verdict,
      one.why || "-",
      js.why || "-",
    ].join(" | "),
  );
}
console.log(`${cases.length} cases against @phala/dcap-qvl ${version}: ${differences} unexplained differences`);
process.exit(cases.length > 40 && differences === 0 ? 0 : 1);
