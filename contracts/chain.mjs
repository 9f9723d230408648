// A local chain whose contracts govern apps: anvil, Multicall3 where wallets look for it, and the double of
// a KMS contract. Needs no npm package at run time, only the anvil that scripts/test-env.sh chain finds.
//
// As a program it prints one line of JSON and serves until it is ended:
//
//   TEST_ANVIL=… node contracts/chain.mjs [--chain-id N] [--port N] [--os-image HASH]… [--device HASH]…
//   {"rpc":"http://127.0.0.1:PORT","chain_id":8453,"kms_contract":"0x…","kms_implementation":"0x…",
//    "app_implementation":"0x…","accounts":[{"address":"0x…","private_key":"0x…"},…]}
//
// As a module: `const chain = await start({osImages, devices})`, which is the same object with
// `send(from, to, data)`, `deploy(name, ...words)`, `call(method, ...params)` and `stop()`.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
const MULTICALL3 = "0xcA11bde05977b3631167028862bE2a173976CA11";
const SELECTOR = { initialize: "485cc955", addKmsDevice: "4d5922a1", addOsImageHash: "06a3ae96" };
const START_MS = 20_000;

/** A 32-byte word of calldata, from hex of at most that length. */
export const word = (hex) => String(hex).replace(/^0x/, "").toLowerCase().padStart(64, "0");

const artifacts = () => JSON.parse(readFileSync(join(HERE, "artifacts.json"), "utf8")).contracts;

function anvilBinary() {
  const path = process.env.TEST_ANVIL;
  if (path && existsSync(path)) return path;
  throw new Error("no anvil: run `bash scripts/test-env.sh chain` and set TEST_ANVIL from target/test-env/env");
}

/** Resolves with the port anvil listens on. */
function listening(anvil) {
  return new Promise((resolve, reject) => {
    let said = "";
    const late = setTimeout(() => reject(new Error(`anvil does not start: ${said}`)), START_MS);
    const settle = (how, value) => {
      clearTimeout(late);
      how(value);
    };
    anvil.on("error", (error) => settle(reject, error));
    anvil.on("exit", (code) => settle(reject, new Error(`anvil ended with ${code}: ${said}`)));
    for (const stream of [anvil.stdout, anvil.stderr]) {
      stream.on("data", (data) => {
        said = (said + data).slice(-4000);
        const found = said.match(/Listening on 127\.0\.0\.1:(\d+)/);
        if (found) settle(resolve, Number(found[1]));
      });
    }
  });
}

function client(rpc) {
  let id = 0;
  return async (method, ...params) => {
    id += 1;
    const reply = await fetch(rpc, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id, method, params }),
    });
    const { error, result } = await reply.json();
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  };
}

/** Starts the chain; `osImages` and `devices` are what its KMS contract allows, as 32-byte hex. */
export async function start({ chainId = 8453, port = 0, osImages = [], devices = [] } = {}) {
  const dir = mkdtempSync(join(tmpdir(), "casemate-chain-"));
  const config = join(dir, "accounts.json");
  const anvil = spawn(
    anvilBinary(),
    [
      ...["--host", "127.0.0.1", "--port", String(port), "--chain-id", String(chainId)],
      // States in memory only: it would leave files behind when it is killed.
      ...["--config-out", config, "--prune-history", "256", "--cache-path", dir],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const stop = () => {
    anvil.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const rpc = `http://127.0.0.1:${await listening(anvil)}`;
    const { available_accounts, private_keys } = JSON.parse(readFileSync(config, "utf8"));
    const accounts = available_accounts.map((address, i) => ({ address, private_key: private_keys[i] }));
    const chain = { rpc, chain_id: chainId, kms_contract: "", accounts };
    const { send, deploy, call: ask } = transactions(client(rpc));
    const [{ address: operator }] = accounts;
    await ask("anvil_setCode", MULTICALL3, `0x${artifacts().Multicall3Double.runtime}`);
    chain.app_implementation = await deploy("AppDouble");
    chain.kms_implementation = await deploy("KmsDouble");
    // initialize(address,address), and the proxy's constructor: an address and those bytes.
    const call = `${SELECTOR.initialize}${word(operator)}${word(chain.app_implementation)}`;
    chain.kms_contract = await deploy(
      "ProxyDouble",
      ...[word(chain.kms_implementation), word("40"), word((call.length / 2).toString(16))],
      call.padEnd(Math.ceil(call.length / 64) * 64, "0"),
    );
    for (const hash of osImages) {
      await send(operator, chain.kms_contract, `0x${SELECTOR.addOsImageHash}${word(hash)}`);
    }
    for (const id of devices) {
      await send(operator, chain.kms_contract, `0x${SELECTOR.addKmsDevice}${word(id)}`);
    }
    return Object.assign(chain, { send, deploy, call: ask, stop, anvil });
  } catch (error) {
    stop();
    throw error;
  }
}

function transactions(call) {
  /** anvil mines a transaction a moment after it took it. */
  const mined = async (hash) => {
    for (const until = Date.now() + START_MS; Date.now() < until; ) {
      const receipt = await call("eth_getTransactionReceipt", hash);
      if (receipt) return receipt;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    throw new Error(`transaction ${hash} is not mined`);
  };
  /** Sends as an account of anvil; resolves with the receipt, and rejects if it reverted. */
  const send = async (from, to, data) => {
    const hash = await call("eth_sendTransaction", { from, ...(to ? { to } : {}), data, gas: "0x989680" });
    const receipt = await mined(hash);
    if (receipt.status !== "0x1") throw new Error(`transaction ${hash} reverted`);
    return receipt;
  };
  /** Deploys a double by its name, with its constructor's arguments as words; resolves with its address. */
  const deploy = async (name, ...words) => {
    const [from] = await call("eth_accounts");
    const { creation } = artifacts()[name];
    const receipt = await send(from, undefined, `0x${creation}${words.join("")}`);
    return receipt.contractAddress;
  };
  return { send, deploy, call };
}

async function main() {
  const { values } = parseArgs({
    options: {
      "chain-id": { type: "string", default: "8453" },
      port: { type: "string", default: "0" },
      "os-image": { type: "string", multiple: true, default: [] },
      device: { type: "string", multiple: true, default: [] },
    },
  });
  const chain = await start({
    chainId: Number(values["chain-id"]),
    port: Number(values.port),
    osImages: values["os-image"],
    devices: values.device,
  });
  const end = () => {
    chain.stop();
    process.exit(0);
  };
  process.on("SIGTERM", end);
  process.on("SIGINT", end);
  chain.anvil.on("exit", () => process.exit(1));
  const { rpc, chain_id, kms_contract, kms_implementation, app_implementation, accounts } = chain;
  const addresses = { kms_contract, kms_implementation, app_implementation };
  console.log(JSON.stringify({ rpc, chain_id, ...addresses, accounts }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
