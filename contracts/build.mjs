// Compiles src/*.sol to artifacts.json: for each contract its creation and its runtime bytecode.
//
//   node build.mjs            writes artifacts.json
//   node build.mjs --check    fails if what is checked in is not what the sources give
//
// The same sources give the same bytes everywhere: one compiler, exactly, and no metadata in the code.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const ARTIFACTS = join(HERE, "artifacts.json");
const SETTINGS = {
  evmVersion: "paris",
  optimizer: { enabled: true, runs: 200 },
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  outputSelection: { "*": { "*": ["evm.bytecode.object", "evm.deployedBytecode.object"] } },
};

function compile() {
  const solc = createRequire(import.meta.url)("solc");
  const files = readdirSync(join(HERE, "src")).sort();
  const sources = Object.fromEntries(
    files.map((file) => [file, { content: readFileSync(join(HERE, "src", file), "utf8") }]),
  );
  const input = { language: "Solidity", sources, settings: SETTINGS };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const problems = (output.errors ?? []).map((error) => error.formattedMessage);
  if (problems.length > 0) throw new Error(problems.join("\n"));
  const contracts = files
    .flatMap((file) => Object.entries(output.contracts[file] ?? {}))
    .filter(([, contract]) => contract.evm.bytecode.object !== "")
    .map(([name, contract]) => [
      name,
      { creation: contract.evm.bytecode.object, runtime: contract.evm.deployedBytecode.object },
    ]);
  return { compiler: solc.version(), contracts: Object.fromEntries(contracts) };
}

const built = `${JSON.stringify(compile(), null, 1)}\n`;
if (process.argv.includes("--check")) {
  if (readFileSync(ARTIFACTS, "utf8") !== built) {
    console.error("contracts/artifacts.json is not what contracts/src gives; run: node contracts/build.mjs");
    process.exit(1);
  }
  console.log("contracts/artifacts.json is what contracts/src gives");
} else {
  writeFileSync(ARTIFACTS, built);
  console.log(`wrote ${ARTIFACTS}`);
}
