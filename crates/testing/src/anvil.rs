//! anvil for tests: a real EVM on a loopback port, with the doubles of `contracts/`. `TEST_ANVIL` names its
//! program; `scripts/test-env.sh chain` sets it. A failed set-up panics.

#![expect(clippy::expect_used, reason = "for tests: a broken set-up has to be loud")]

use std::{process::Stdio, time::Duration};

use alloy_primitives::{Bytes, FixedBytes, U256};
use alloy_sol_types::{SolCall, SolValue, sol};
use casemate_core::{
    governance::{
        calldata::{self, NewApp, SafeExecution},
        interface::KmsContract::AppDeployedViaFactory,
    },
    id::{Address, AppId, DeviceId, TxHash},
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
    time::Instant,
};

use crate::fake_chain::Generation;

/// Bytecode of the doubles, by name.
const ARTIFACTS: &str = include_str!("../../../contracts/artifacts.json");
/// The address where wallets expect Multicall3.
const MULTICALL3: &str = "0xcA11bde05977b3631167028862bE2a173976CA11";
/// Gas limit of all transactions. A fixed limit makes reverting calls mined, too.
const GAS: &str = "0x989680";
/// Number of recent states kept in memory; without it, anvil leaves files behind when it is killed.
const STATES: &str = "256";
/// Timeout of the start on a busy machine.
const START: Duration = Duration::from_secs(30);

sol! {
    interface Doubles {
        function multiSend(bytes transactions) external payable;
        function schedule(address target, uint256 value, bytes data, bytes32 predecessor, bytes32 salt, uint256 delay) external;
        function execute(address target, uint256 value, bytes payload, bytes32 predecessor, bytes32 salt) external payable;
        function addKmsDevice(bytes32 deviceId) external;
        function addOsImageHash(bytes32 hash) external;
        function removeOsImageHash(bytes32 hash) external;
        function initialize(address owner, address implementation) external;
    }

    interface AppDouble {
        function initialize(address owner, bool disable, bool any, bytes32 device, bytes32 hash) external;
    }
}

/// A running anvil; killed on drop.
#[derive(Debug)]
pub struct Anvil {
    rpc: String,
    http: reqwest::Client,
    accounts: Vec<Address>,
    drain: JoinHandle<()>,
    /// Killed on drop.
    _child: Child,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.drain.abort();
    }
}

impl Anvil {
    /// Starts anvil with this chain id and further arguments, and installs Multicall3.
    pub async fn start(chain_id: u64, arguments: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(["--host", "127.0.0.1", "--port", "0", "--chain-id", &chain_id.to_string()])
            .args(["--prune-history", STATES, "--cache-path"])
            .arg(std::env::temp_dir().join("casemate-anvil"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("anvil starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let port =
            tokio::time::timeout(START, port(&mut lines)).await.expect("anvil listens in time");
        // anvil logs each call; its output must be read so that it never blocks.
        let drain = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let rpc = format!("http://127.0.0.1:{port}");
        // Uses the process's crypto provider and needs no certificates.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(START).build();
        let http = http.expect("an HTTP client");
        let mut anvil = Self { rpc, http, accounts: Vec::new(), drain, _child: child };
        let accounts = anvil.rpc("eth_accounts", json!([])).await;
        anvil.accounts = serde_json::from_value(accounts).expect("addresses");
        let code = format!("0x{}", artifact("Multicall3Double", "runtime"));
        anvil.rpc("anvil_setCode", json!([MULTICALL3, code])).await;
        anvil
    }

    /// URL of its endpoint.
    #[must_use]
    pub fn url(&self) -> SecretString {
        SecretString::from(self.rpc.clone())
    }

    /// One of its ten unlocked accounts.
    #[must_use]
    pub fn account(&self, index: usize) -> Address {
        self.accounts[index]
    }

    /// Any call; errors panic.
    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let reply = self.http.post(&self.rpc).json(&call).send().await.expect("anvil answers");
        let mut reply: Value = reply.json().await.expect("anvil answers in JSON");
        assert!(reply["error"].is_null(), "{method}: {}", reply["error"]);
        reply["result"].take()
    }

    /// Sends a transaction of one of its accounts, and mines it. It may revert.
    pub async fn send(&self, from: Address, to: Address, data: Vec<u8>) -> TxHash {
        let transaction = self.transact(call(from, to, &data)).await;
        self.receipt(transaction).await;
        transaction
    }

    /// Submits a transaction without mining; all wait for [`Self::mine`].
    pub async fn submit(&self, from: Address, to: Address, data: Vec<u8>) -> TxHash {
        self.rpc("evm_setAutomine", json!([false])).await;
        self.transact(call(from, to, &data)).await
    }

    /// Like [`Self::send`], but the transaction must succeed.
    pub async fn done(&self, from: Address, to: Address, data: Vec<u8>) -> TxHash {
        let transaction = self.send(from, to, data).await;
        let receipt = self.receipt(transaction).await;
        assert_eq!(receipt["status"], "0x1", "a transaction of the set-up reverted");
        transaction
    }

    /// Deploys a double with encoded constructor arguments.
    pub async fn deploy(&self, name: &str, arguments: &[u8]) -> Address {
        let data = format!("0x{}{}", artifact(name, "creation"), hex::encode(arguments));
        let call = json!({"from": shown(self.account(0)), "data": data, "gas": GAS});
        let transaction = self.transact(call).await;
        let receipt = self.receipt(transaction).await;
        assert_eq!(receipt["status"], "0x1", "{name} is deployed");
        serde_json::from_value(receipt["contractAddress"].clone()).expect("an address")
    }

    /// Deploys a KMS contract, owned by account 0: a proxy, as all are.
    pub async fn deploy_kms(&self) -> Address {
        let app = self.deploy("AppDouble", &[]).await;
        self.deploy_kms_of(app).await
    }

    /// The same of an implementation of apps, which may be the zero address.
    pub async fn deploy_kms_of(&self, app_implementation: Address) -> Address {
        let owner = raw(self.account(0));
        let call = Doubles::initializeCall { owner, implementation: raw(app_implementation) };
        self.deploy_proxy("KmsDouble", call.abi_encode()).await
    }

    /// Deploys a double's code and a proxy of it that is initialized by this call.
    async fn deploy_proxy(&self, name: &str, call: Vec<u8>) -> Address {
        let code = self.deploy(name, &[]).await;
        let arguments = (raw(code), Bytes::from(call)).abi_encode_params();
        self.deploy("ProxyDouble", &arguments).await
    }

    /// Sets whether the KMS allows an OS image.
    pub async fn allow_os_image(&self, kms: Address, image: [u8; 32], allow: bool) {
        let hash = FixedBytes(image);
        let data = if allow {
            Doubles::addOsImageHashCall { hash }.abi_encode()
        } else {
            Doubles::removeOsImageHashCall { hash }.abi_encode()
        };
        self.done(self.account(0), kms, data).await;
    }

    /// Allows the KMS to run on a device.
    pub async fn allow_kms_device(&self, kms: Address, device: DeviceId) {
        let call = Doubles::addKmsDeviceCall { deviceId: FixedBytes(*device.as_bytes()) };
        self.done(self.account(0), kms, call.abi_encode()).await;
    }

    /// Deploys an app through the KMS contract, as clients do; sent by account 0, whoever the owner is.
    pub async fn deploy_app(&self, kms: Address, app: &NewApp) -> (AppId, TxHash) {
        let data = calldata::deploy_and_register_app(app);
        let transaction = self.done(self.account(0), kms, data).await;
        let receipt = self.receipt(transaction).await;
        let logs = receipt["logs"].as_array().expect("events");
        let topic =
            hex_word(<AppDeployedViaFactory as alloy_sol_types::SolEvent>::SIGNATURE_HASH.0);
        let event = logs.iter().find(|log| log["topics"][0] == topic.as_str()).expect("its event");
        let id = event["topics"][1]
            .as_str()
            .and_then(|word| word.get(26..))
            .expect("an indexed address");
        (id.parse().expect("an app id"), transaction)
    }

    /// Deploys an app contract that is not registered with a KMS.
    pub async fn place_app(&self, owner: Address, generation: Generation) -> AppId {
        let none = FixedBytes([0; 32]);
        let call = AppDouble::initializeCall {
            owner: raw(owner),
            disable: false,
            any: false,
            device: none,
            hash: none,
        };
        let call = call.abi_encode();
        let address = match generation {
            Generation::SingleStep => self.deploy_proxy("OldAppDouble", call).await,
            Generation::TwoStep => self.deploy_proxy("AppDouble", call).await,
            Generation::JudgeOnly => self.deploy("JudgeDouble", none.as_slice()).await,
        };
        AppId::from_bytes(*address.as_bytes())
    }

    pub async fn deploy_safe(&self, owners: &[Address], threshold: u64) -> Address {
        let owners: Vec<_> = owners.iter().map(|owner| raw(*owner)).collect();
        let arguments = (owners, U256::from(threshold)).abi_encode_params();
        self.deploy("SafeDouble", &arguments).await
    }

    /// One call through a Safe whose only signer is `signer`. With `gas` above zero the transaction succeeds
    /// even if the call fails.
    pub async fn through_safe(
        &self,
        (safe, signer): (Address, Address),
        (to, data): (Address, Vec<u8>),
        gas: u64,
    ) -> TxHash {
        let signatures = approval(signer);
        let execution = SafeExecution { to, data, delegate: false, gas, signatures };
        self.send(signer, safe, calldata::safe_execution(execution)).await
    }

    /// Several calls through a Safe in one transaction.
    pub async fn through_batch(
        &self,
        (safe, signer): (Address, Address),
        calls: &[(Address, Vec<u8>)],
    ) -> TxHash {
        let batch = self.deploy("MultiSendDouble", &[]).await;
        let packed: Vec<u8> = calls.iter().flat_map(packed).collect();
        let data = Doubles::multiSendCall { transactions: Bytes::from(packed) }.abi_encode();
        let signatures = approval(signer);
        let execution = SafeExecution { to: batch, data, delegate: true, gas: 0, signatures };
        self.send(signer, safe, calldata::safe_execution(execution)).await
    }

    /// Deploys a timelock with this proposer.
    pub async fn deploy_timelock(&self, proposer: Address) -> Address {
        self.deploy("TimelockDouble", &raw(proposer).abi_encode()).await
    }

    /// Schedules one call in a timelock and executes it from another account.
    pub async fn through_timelock(
        &self,
        (timelock, proposer): (Address, Address),
        (to, data): (Address, Vec<u8>),
    ) -> TxHash {
        let (target, data, none) = (raw(to), Bytes::from(data), FixedBytes([0; 32]));
        let schedule = Doubles::scheduleCall {
            target,
            value: U256::ZERO,
            data: data.clone(),
            predecessor: none,
            salt: none,
            delay: U256::ZERO,
        };
        self.done(proposer, timelock, schedule.abi_encode()).await;
        let execute = Doubles::executeCall {
            target,
            value: U256::ZERO,
            payload: data,
            predecessor: none,
            salt: none,
        };
        self.send(self.account(9), timelock, execute.abi_encode()).await
    }

    /// Mines blocks; the first contains what was submitted. Afterwards transactions are mined immediately
    /// again.
    pub async fn mine(&self, blocks: u64) {
        self.rpc("anvil_mine", json!([format!("{blocks:#x}")])).await;
        self.rpc("evm_setAutomine", json!([true])).await;
    }

    /// Replaces the newest blocks by empty ones. Their transactions are lost.
    pub async fn reorg(&self, depth: u64) {
        self.rpc("anvil_reorg", json!([depth, []])).await;
    }

    async fn transact(&self, call: Value) -> TxHash {
        let hash = self.rpc("eth_sendTransaction", json!([call])).await;
        serde_json::from_value(hash).expect("a transaction hash")
    }

    /// The receipt of a transaction, which anvil mines shortly after it accepts it.
    async fn receipt(&self, transaction: TxHash) -> Value {
        let until = Instant::now() + START;
        loop {
            let hash = json!([format!("0x{transaction}")]);
            let receipt = self.rpc("eth_getTransactionReceipt", hash).await;
            if receipt.is_object() {
                return receipt;
            }
            assert!(Instant::now() < until, "transaction 0x{transaction} is mined");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn call(from: Address, to: Address, data: &[u8]) -> Value {
    let data = format!("0x{}", hex::encode(data));
    json!({"from": shown(from), "to": shown(to), "data": data, "gas": GAS})
}

fn program() -> std::ffi::OsString {
    let named = std::env::var_os("TEST_ANVIL");
    named.expect("TEST_ANVIL is not set: run `bash scripts/test-env.sh chain`, then source target/test-env/env")
}

async fn port(lines: &mut tokio::io::Lines<BufReader<ChildStdout>>) -> u16 {
    loop {
        let line = lines.next_line().await.expect("its output").expect("anvil keeps running");
        if let Some(port) = line.trim().strip_prefix("Listening on 127.0.0.1:") {
            return port.parse().expect("a port");
        }
    }
}

fn artifact(name: &str, kind: &str) -> String {
    let artifacts: Value = serde_json::from_str(ARTIFACTS).expect("artifacts.json");
    artifacts["contracts"][name][kind].as_str().expect("a double of that name").to_owned()
}

/// A Safe signature that means: the sender approves.
fn approval(signer: Address) -> Vec<u8> {
    [&[0; 12][..], signer.as_bytes(), &[0; 32], &[1]].concat()
}

/// One call of a batch in the MultiSend format.
fn packed((to, data): &(Address, Vec<u8>)) -> Vec<u8> {
    let length = U256::from(data.len()).to_be_bytes::<32>();
    [&[0][..], to.as_bytes(), &[0; 32], &length, data].concat()
}

fn raw(address: Address) -> alloy_primitives::Address {
    alloy_primitives::Address::from(*address.as_bytes())
}

fn shown(address: Address) -> String {
    format!("0x{address}")
}

fn hex_word(word: [u8; 32]) -> String {
    format!("0x{}", hex::encode(word))
}
