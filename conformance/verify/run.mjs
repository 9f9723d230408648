// Quotes and collateral that casemate-verify judged, judged again by @phala/dcap-qvl: a verifier in JavaScript with its
// own parsers, chains and signatures. The cases are written by the test `agreement` of casemate-verify:
//
//   cargo test -p casemate-verify --all-features --test verify agreement
//   cd conformance/verify && npm ci && node run.mjs ../../target/tmp/verify-cases.json
//
// Both must accept the same quotes, with the same TCB status. Where they differ, the case says so, with the reason.
import { readFileSync } from "node:fs";
import qvl from "@phala/dcap-qvl";

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
  "bytes behind the quote": "ours is stricter: it refuses bytes other than zero behind the end",
};

let differences = 0;
const word = (accepts, status) => (accepts ? status : "refused");
for (const one of cases) {
  const js = theirs(one);
  const same = one.accepts === js.accepts && (!one.accepts || one.status === js.status);
  const known = KNOWN[one.name];
  if (!same && !known) differences += 1;
  const verdict = same ? "same" : known ? `known: ${known}` : "DIFFERS";
  console.log(
    [one.name.padEnd(34), word(one.accepts, one.status).padEnd(20), word(js.accepts, js.status).padEnd(20), verdict, one.why || "-", js.why || "-"].join(" | "),
  );
}
console.log(`${cases.length} cases, ${differences} unexplained differences`);
process.exit(cases.length > 40 && differences === 0 ? 0 : 1);
