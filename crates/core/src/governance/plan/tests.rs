//! Examples, and a property: executing a plan grants access, or the plan lists the obstacles.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    governance::{Block, Epochs},
    id::{BlockHash, ComposeHash},
};

const KMS: Address = Address::from_bytes([0xee; 20]);
const APP: AppId = AppId::from_bytes([0xaa; 20]);
const HASH: ComposeHash = ComposeHash::from_bytes([1; 32]);
const OWNER: Address = Address::from_bytes([0x10; 20]);
const HEIR: Address = Address::from_bytes([0x20; 20]);
const STRANGER: Address = Address::from_bytes([0x30; 20]);

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 32])
}

fn host(number: u8, listed: bool) -> Host {
    Host {
        name: format!("node-{number}"),
        device: device(number),
        listed,
        os_image: Some(([9; 32], true)),
        tcb_status: Some(UP_TO_DATE.to_owned()),
        boot: None,
    }
}

fn app() -> AppFacts {
    AppFacts {
        id: APP,
        exists: true,
        has_lists: true,
        epochs: Epochs::None,
        registered: true,
        owner: Some(OWNER),
        pending_owner: None,
        hash_allowed: true,
        any_device: false,
        tcb_required: Some(false),
        upgrades_disabled: Some(false),
        other_hashes: Vec::new(),
    }
}

fn facts(app: AppFacts, hosts: Vec<Host>) -> Facts {
    Facts {
        chain_id: 8453,
        block: Block { number: 7, hash: BlockHash::from_bytes([7; 32]) },
        kms: KmsFacts { contract: KMS, exists: true, owner: Some(STRANGER) },
        app: Subject::App(app),
        hosts,
        accounts: BTreeMap::new(),
    }
}

const fn wanted() -> ApprovalGoal {
    ApprovalGoal { hash: HASH, any_device: false, signer: None }
}

fn calls(plan: &Plan) -> Vec<Call> {
    plan.steps.iter().map(|step| step.transaction.call).collect()
}

#[test]
fn what_is_allowed_needs_nothing() {
    let plan = plan(&wanted(), &facts(app(), vec![host(2, true)]));
    assert_eq!((plan.standing(), plan.steps.len()), (Standing::Allowed, 0));
}

#[test]
fn document_and_devices_are_added_by_the_owner_each_once() {
    let app = AppFacts { hash_allowed: false, ..app() };
    let plan = plan(&wanted(), &facts(app, vec![host(2, false), host(3, true), host(2, false)]));
    assert_eq!(calls(&plan), [Call::AddDevice(device(2)), Call::AddComposeHash(HASH)]);
    assert!(plan.steps.iter().all(|step| step.signer.address() == Some(OWNER)));
    assert!(plan.steps.iter().all(|step| step.transaction.to == Address::from(APP)));
    assert_eq!(plan.standing(), Standing::Missing);
}

#[test]
fn any_device_stands_for_all_of_them() {
    let wanted = ApprovalGoal { any_device: true, ..wanted() };
    let plan_of = |app| calls(&plan(&wanted, &facts(app, vec![host(2, false), host(0, false)])));
    assert_eq!(plan_of(app()), [Call::SetAllowAnyDevice(true)]);
    assert_eq!(plan_of(AppFacts { any_device: true, ..app() }), []);
}

#[test]
fn an_unknown_app_is_registered_by_anybody_and_a_missing_one_is_not() {
    let open =
        plan(&wanted(), &facts(AppFacts { registered: false, ..app() }, vec![host(2, true)]));
    assert_eq!(calls(&open), [Call::RegisterApp(APP)]);
    assert_eq!((open.steps[0].transaction.to, &open.steps[0].signer), (KMS, &Signer::Anyone));
    let gone = AppFacts { exists: false, registered: false, ..app() };
    let gone = plan(&wanted(), &facts(gone, vec![host(2, false)]));
    assert_eq!(gone.obstacles, [Obstacle::NoApp { app: APP, chain_id: 8453 }]);
    let mut nowhere = facts(app(), vec![host(2, true)]);
    nowhere.kms.exists = false;
    assert_eq!(plan(&wanted(), &nowhere).obstacles[0].as_str(), "no_kms_contract");
}

#[test]
fn without_an_owner_only_what_is_allowed_stays_allowed() {
    let gone = AppFacts { owner: None, ..app() };
    let fine = plan(&wanted(), &facts(gone.clone(), vec![host(2, true)]));
    assert_eq!(fine.standing(), Standing::Allowed);
    let lost =
        plan(&wanted(), &facts(AppFacts { hash_allowed: false, ..gone }, vec![host(2, true)]));
    assert_eq!((lost.standing(), lost.steps.len()), (Standing::Blocked, 0));
    assert_eq!(lost.obstacles, [Obstacle::OwnerGone { app: APP }]);
}

#[test]
fn an_offered_app_is_the_old_owners_until_the_new_one_accepts() {
    let app = AppFacts { hash_allowed: false, pending_owner: Some(HEIR), ..app() };
    let facts = facts(app, vec![host(2, true)]);
    let by = |signer| plan(&ApprovalGoal { signer, ..wanted() }, &facts);
    let old = by(Some(OWNER));
    assert_eq!((calls(&old).len(), old.steps[0].signer.address()), (1, Some(OWNER)));
    assert_eq!(old.notes, [Note::Offered { from: OWNER, to: HEIR }]);
    let new = by(Some(HEIR));
    assert_eq!(calls(&new), [Call::AcceptOwnership, Call::AddComposeHash(HASH)]);
    assert!(new.steps.iter().all(|step| step.signer.address() == Some(HEIR)));
    assert_eq!((new.steps[1].after, new.standing()), (Some(0), Standing::Missing));
    let other = by(Some(STRANGER));
    assert_eq!((other.standing(), other.not_yours), (Standing::NotYours, Some(OWNER)));
}

#[test]
fn an_owner_of_a_safe_has_a_part_in_it() {
    let mut facts = facts(AppFacts { hash_allowed: false, ..app() }, vec![host(2, true)]);
    let safe = Account::Safe { threshold: 2, owners: vec![HEIR, KMS, STRANGER] };
    facts.accounts.insert(OWNER, safe);
    let by = |signer| plan(&ApprovalGoal { signer: Some(signer), ..wanted() }, &facts);
    assert_eq!(by(STRANGER).standing(), Standing::Missing);
    assert_eq!(by(APP.into()).standing(), Standing::NotYours);
    assert_eq!(by(HEIR).notes, [Note::Safe { safe: OWNER, threshold: 2, owners: 3 }]);
    let words = by(HEIR).steps[0].signer.to_string();
    assert!(words.starts_with("the Safe 0x1010") && words.ends_with("(2 of 3)"), "{words}");
    facts.accounts.insert(OWNER, Account::Contract);
    let note = plan(&wanted(), &facts).notes;
    assert_eq!(note, [Note::Contract { contract: OWNER }]);
}

#[test]
fn what_only_others_can_change_is_named_with_them() {
    let mut refused = host(2, true);
    refused.os_image = Some(([9; 32], false));
    let mut behind = host(3, true);
    behind.tcb_status = Some("OutOfDate".to_owned());
    let app = AppFacts { tcb_required: Some(true), ..app() };
    let plan = plan(&wanted(), &facts(app, vec![refused, behind, host(0, false)]));
    let words: Vec<&str> = plan.obstacles.iter().map(Obstacle::as_str).collect();
    assert_eq!(words, ["os_image_refused", "tcb_not_up_to_date", "unknown_device"]);
    let first = plan.obstacles[0].to_string();
    assert!(first.contains(&checksummed(STRANGER)) && first.contains("node-2"), "{first}");
    let lower: Vec<Call> = plan.optional.iter().map(|step| step.transaction.call).collect();
    assert_eq!(lower, [Call::SetRequireTcbUpToDate(false)]);
}

#[test]
fn old_documents_may_be_forgotten_and_need_not() {
    let old = ComposeHash::from_bytes([5; 32]);
    let app = AppFacts { other_hashes: vec![old, HASH], ..app() };
    let plan = plan(&wanted(), &facts(app, vec![host(2, true)]));
    assert_eq!(plan.standing(), Standing::Allowed);
    let optional: Vec<Call> = plan.optional.iter().map(|step| step.transaction.call).collect();
    assert_eq!(optional, [Call::RemoveComposeHash(old)]);
    assert!(plan.optional[0].why.to_string().starts_with("optional"));
}

#[test]
fn a_needed_step_that_would_fail_is_an_obstacle_and_an_optional_one_is_not() {
    let old = ComposeHash::from_bytes([5; 32]);
    let app = AppFacts {
        hash_allowed: false,
        other_hashes: vec![old],
        upgrades_disabled: Some(true),
        ..app()
    };
    let made = plan(&wanted(), &facts(app, vec![host(2, false)]));
    let no = || SimulationOutcome::Reverts("no".to_owned());
    let fine = made.clone().tried([SimulationOutcome::Succeeds, SimulationOutcome::Succeeds, no()]);
    assert_eq!((fine.standing(), &fine.optional[0].trial), (Standing::Missing, &no()));
    let bad = made.tried([SimulationOutcome::Succeeds, no(), SimulationOutcome::Succeeds]);
    assert_eq!(bad.standing(), Standing::Blocked);
    let words = bad.obstacles[0].to_string();
    assert!(words.starts_with("step 2 would fail: no") && words.contains("never"), "{words}");
}

#[test]
fn a_new_app_is_one_call_of_the_kms() {
    let fresh = |hosts, any_device| {
        let facts = Facts { app: Subject::New(OWNER), ..facts(app(), hosts) };
        plan(&ApprovalGoal { any_device, ..wanted() }, &facts)
    };
    let deploy = |any_device, device| Call::DeployAndRegisterApp {
        owner: OWNER,
        any_device,
        device,
        hash: HASH,
    };
    let one = fresh(vec![host(2, false)], false);
    assert_eq!(calls(&one), [deploy(false, Some(device(2)))]);
    assert_eq!((one.steps[0].transaction.to, &one.steps[0].signer), (KMS, &Signer::Anyone));
    let any = fresh(vec![host(2, false), host(3, false)], true);
    assert_eq!(calls(&any), [deploy(true, None)]);
    let several = fresh(vec![host(2, false), host(3, false)], false);
    assert_eq!(several.obstacles, [Obstacle::OneDevice { devices: 2 }]);
    assert_eq!(fresh(vec![host(0, false)], false).obstacles[0].as_str(), "unknown_device");
}

/// The checksum of Safe's own `checksum.ts`, run with Node.
#[test]
fn a_batch_is_what_the_transaction_builder_reads() {
    let facts = facts(AppFacts { hash_allowed: false, ..app() }, vec![host(2, false)]);
    let plan = plan(&wanted(), &facts);
    let file = batch(8453, Some(OWNER), "my-app", 1_700_000_000_000, &plan.batch_of(OWNER));
    let sum = "0x71febf9f5253adb645e2849d3392fc45145a6ec0e7758fdbf2d48f60678e354f";
    assert_eq!((&file["meta"]["checksum"], &file["chainId"]), (&sum.into(), &"8453".into()));
    let first = &file["transactions"][0];
    assert_eq!(first["contractMethod"]["name"], "addDevice");
    assert_eq!(first["contractInputsValues"]["deviceId"], format!("0x{}", "02".repeat(32)));
    assert!(first["data"].is_null() && first["value"] == "0", "{first}");
    let renamed = batch(8453, Some(OWNER), "other", 1_700_000_000_000, &plan.batch_of(OWNER));
    assert_eq!(file["meta"]["checksum"], renamed["meta"]["checksum"], "the name is not part of it");
}

#[test]
fn a_multisend_packs_every_call() {
    let facts = facts(AppFacts { hash_allowed: false, ..app() }, vec![host(2, false)]);
    let plan = plan(&wanted(), &facts);
    let data = hex::encode(multisend(&plan.batch_of(OWNER)));
    let call = |selector: &str, word: &str| {
        let (app, length) = ("aa".repeat(20), "24");
        format!(
            "00{app}{}{}{length}{selector}{}",
            "00".repeat(32),
            "00".repeat(31),
            word.repeat(32)
        )
    };
    let packed = [call("2a819728", "02"), call("dfc77223", "01")].concat();
    let length = packed.len() / 2;
    let padding = "00".repeat(length.next_multiple_of(32) - length);
    let head = format!("8d80ff0a{}20{:0>64}", "00".repeat(31), format!("{length:x}"));
    assert_eq!(data, format!("{head}{packed}{padding}"));
}

/// The contracts, as far as plans use them.
#[derive(Debug, Clone)]
struct Contracts {
    kms_exists: bool,
    app_exists: bool,
    registered: bool,
    owner: Option<Address>,
    pending: Option<Address>,
    hashes: BTreeSet<ComposeHash>,
    devices: BTreeSet<DeviceId>,
    any_device: bool,
    tcb_required: bool,
    image_allowed: bool,
}

impl Contracts {
    fn call(&mut self, from: Address, transaction: &Transaction) -> Result<(), &'static str> {
        match (transaction.to == KMS, transaction.call) {
            (true, Call::RegisterApp(APP)) => self.registered = true,
            (true, Call::DeployAndRegisterApp { owner, any_device, device, hash }) => {
                self.app_exists = true;
                self.registered = true;
                self.owner = Some(owner);
                self.hashes = BTreeSet::from([hash]);
                self.devices = device.into_iter().collect();
                (self.pending, self.any_device, self.tcb_required) = (None, any_device, false);
            }
            (false, Call::AcceptOwnership) if self.pending == Some(from) => {
                (self.owner, self.pending) = (self.pending, None);
            }
            (false, _) if self.owner != Some(from) => return Err("not its owner"),
            (false, Call::AddComposeHash(hash)) => _ = self.hashes.insert(hash),
            (false, Call::RemoveComposeHash(hash)) => _ = self.hashes.remove(&hash),
            (false, Call::AddDevice(device)) => _ = self.devices.insert(device),
            (false, Call::SetAllowAnyDevice(allow)) => self.any_device = allow,
            (false, Call::SetRequireTcbUpToDate(require)) => self.tcb_required = require,
            _ => return Err("no such function"),
        }
        Ok(())
    }

    fn allows(&self, host: &Host) -> bool {
        let tcb = !self.tcb_required || host.tcb_status.as_deref() == Some(UP_TO_DATE);
        let device = self.any_device || self.devices.contains(&host.device);
        self.kms_exists
            && self.registered
            && self.image_allowed
            && self.app_exists
            && tcb
            && self.hashes.contains(&HASH)
            && device
    }

    fn without_app(&self) -> Self {
        let (hashes, devices) = (BTreeSet::new(), BTreeSet::new());
        Self { app_exists: false, registered: false, hashes, devices, ..self.clone() }
    }

    fn facts(&self, new: bool, hosts: &[(u8, bool)]) -> Facts {
        let hosts = hosts.iter().map(|(number, current)| Host {
            os_image: Some(([9; 32], self.image_allowed)),
            tcb_status: Some(if *current { UP_TO_DATE } else { "OutOfDate" }.to_owned()),
            ..host(*number, self.devices.contains(&device(*number)))
        });
        let app = AppFacts {
            exists: self.app_exists,
            registered: self.registered,
            owner: self.owner,
            pending_owner: self.pending,
            hash_allowed: self.hashes.contains(&HASH),
            any_device: self.any_device,
            tcb_required: Some(self.tcb_required),
            other_hashes: self.hashes.iter().copied().collect(),
            ..app()
        };
        let subject = if new { Subject::New(OWNER) } else { Subject::App(app) };
        let kms = KmsFacts { contract: KMS, exists: self.kms_exists, owner: None };
        Facts { kms, app: subject, ..facts(tests::app(), hosts.collect()) }
    }
}

fn contracts() -> impl Strategy<Value = Contracts> {
    let owner = prop_oneof![8 => Just(Some(OWNER)), 1 => Just(None)];
    let pending = prop_oneof![3 => Just(None), 1 => Just(Some(HEIR))];
    let hashes =
        prop::collection::btree_set((1..4_u8).prop_map(|n| ComposeHash::from_bytes([n; 32])), 0..3);
    let devices = prop::collection::btree_set((1..5_u8).prop_map(device), 0..4);
    let mostly = || prop::bool::weighted(0.9);
    (owner, pending, hashes, devices, any::<[bool; 2]>(), [mostly(), mostly(), mostly(), mostly()])
        .prop_map(|(owner, pending, hashes, devices, [any_device, tcb_required], rest)| Contracts {
            kms_exists: rest[0],
            app_exists: rest[1],
            registered: rest[2],
            owner,
            pending,
            hashes,
            devices,
            any_device,
            tcb_required,
            image_allowed: rest[3],
        })
}

proptest! {
    #[test]
    fn whoever_follows_a_plan_ends_up_allowed_or_was_told_why_not(
        world in contracts(),
        hosts in prop::collection::vec((0..5_u8, prop::bool::weighted(0.9)), 1..4),
        new in prop::bool::weighted(0.2),
        any_device in any::<bool>(),
        signer in prop::sample::select(vec![None, Some(OWNER), Some(HEIR), Some(STRANGER)]),
    ) {
        let wanted = ApprovalGoal { any_device, signer, ..wanted() };
        let facts = world.facts(new, &hosts);
        let made = plan(&wanted, &facts);
        let mut after = if new { world.without_app() } else { world.clone() };
        for step in &made.steps {
            let from = step.signer.address().unwrap_or(STRANGER);
            prop_assert_eq!(after.call(from, &step.transaction), Ok(()), "{:?}", made);
        }
        let allowed = facts.hosts.iter().all(|host| after.allows(host));
        let standing = made.standing();
        // What was wished for beyond that has to come true as well.
        let any_device_is_so = !any_device || after.any_device;
        prop_assert_eq!(allowed && any_device_is_so, standing != Standing::Blocked, "{:?}", made);
        let before = !new && facts.hosts.iter().all(|host| world.allows(host));
        prop_assert!(standing != Standing::Allowed || before, "{:?}", made);
        // Nothing is requested that is already so, and optional steps come after required ones.
        if before && !any_device {
            prop_assert_eq!(standing, Standing::Allowed);
        }
        for step in made.optional.iter().filter(|_| standing != Standing::Blocked) {
            let from = step.signer.address().unwrap_or(STRANGER);
            prop_assert_eq!(after.call(from, &step.transaction), Ok(()), "{:?}", made);
        }
        prop_assert!(standing == Standing::Blocked || facts.hosts.iter().all(|host| after.allows(host)));
        if standing == Standing::NotYours {
            prop_assert!(signer.is_some() && signer != made.signer());
        }
    }
}
