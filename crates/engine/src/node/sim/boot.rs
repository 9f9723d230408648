//! The course of one run of a guest, decided whole when it starts: which words it will say and when,
//! in dstack's order (`dstack-util/src/system_setup.rs`, `app-compose.sh`). Reading a VM then only
//! compares these times with the clock.
//!
//! Tests decide the fate of a guest by a marker anywhere in its app-compose document, for example a
//! comment in the compose file:
//!
//! | marker | what the guest does |
//! |---|---|
//! | `x-sim-boot: fail` | says that its containers do not start, and stays up |
//! | `x-sim-boot: never` | stops saying anything at `starting containers` |
//! | `x-sim-boot: deny` | gets no keys: an error at `requesting app keys`, over and over |
//! | `x-sim-boot: late` | gets no keys at first, as above, and gets done in ten times the time |
//! | `x-sim-boot: exit` | powers itself off instead of getting done |
//! | `x-sim-boot: warn` | gets done, with a boot error about the gateway |
//! | `x-sim-shutdown: never` | takes a shutdown and never gets to its end |
//! | `x-sim-shutdown: ignore` | takes a shutdown and does nothing |

use std::time::Duration;

use casemate_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{config::SimConfig, draw::draw};

/// One thing a guest tells its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    pub at: Timestamp,
    pub says: Says,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Says {
    /// `boot.progress`
    Progress(String),
    /// `instance.info`
    Instance,
    /// `boot.error`, and the boot goes on or is tried again.
    Warning(String),
    /// `boot.error`, and that was it.
    Failure(String),
}

/// Everything that is to happen in one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Course {
    pub steps: Vec<Step>,
    /// When the guest powers itself off.
    pub exits_at: Option<Timestamp>,
}

/// What makes one run differ from another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances<'a> {
    pub config: &'a SimConfig,
    pub seed: u64,
    /// Number of the VM on its host.
    pub vm: u64,
    /// Number of the run of the VM.
    pub run: u64,
    /// How much slower than usual.
    pub factor: f64,
}

/// What the simulator reads in an app-compose document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Document {
    pub no_instance_id: bool,
    pub shutdown: ShutdownFate,
    fate: BootFate,
    bash: bool,
    init_script: bool,
    pre_launch: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BootFate {
    Done,
    Fail,
    Never,
    Deny,
    Late,
    Exit,
    Warn,
}

/// What a guest makes of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ShutdownFate {
    Obeys,
    Never,
    Ignores,
}

impl Document {
    /// Reads any text; what is not there has its default.
    pub(super) fn read(text: &str) -> Self {
        let json: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let filled = |key| json.get(key).is_some_and(|v: &serde_json::Value| !v.is_null());
        Self {
            no_instance_id: json.get("no_instance_id") == Some(&true.into()),
            shutdown: match marker(text, "x-sim-shutdown:") {
                "never" => ShutdownFate::Never,
                "ignore" => ShutdownFate::Ignores,
                _ => ShutdownFate::Obeys,
            },
            fate: match marker(text, "x-sim-boot:") {
                "fail" => BootFate::Fail,
                "never" => BootFate::Never,
                "deny" => BootFate::Deny,
                "late" => BootFate::Late,
                "exit" => BootFate::Exit,
                "warn" => BootFate::Warn,
                _ => BootFate::Done,
            },
            bash: json.get("runner") == Some(&"bash".into()),
            init_script: filled("init_script"),
            pre_launch: filled("pre_launch_script"),
        }
    }

    /// The course of a run that begins at `began`.
    pub(super) fn course(self, began: Timestamp, first: bool, of: Circumstances<'_>) -> Course {
        let script = self.script(first);
        let total: u32 = script.iter().map(|(share, _)| share).sum();
        let patience = if self.fate == BootFate::Late { 10 } else { 1 };
        let whole = Duration::from_millis(of.config.boot_ms) * patience;
        let mut at = began;
        let mut steps = Vec::with_capacity(script.len());
        for (i, (share, says)) in (0_u64..).zip(script) {
            let luck = draw(of.seed, "boot", of.vm, of.run * 64 + i);
            let gap = of.config.jittered(whole * share / total.max(1), luck);
            at = at.plus(slowed(gap, of.factor));
            steps.push(Step { at, says });
        }
        let exits_at = (self.fate == BootFate::Exit).then_some(at);
        Course { steps, exits_at }
    }

    /// What is said in which order, each with its share of the time, which passes *before* it.
    fn script(self, first: bool) -> Vec<(u32, Says)> {
        let progress = |share, text: &str| (share, Says::Progress(text.to_owned()));
        let mut script = vec![progress(20, "requesting app keys")];
        if matches!(self.fate, BootFate::Deny | BootFate::Late) {
            script.push((20, Says::Warning(DENIED.to_owned())));
        }
        if self.fate == BootFate::Deny {
            return script;
        }
        let disk = if first { "initializing data disk" } else { "mounting data disk" };
        script.push(progress(15, disk));
        script.push((20, Says::Instance));
        script.push(progress(0, "data disk ready"));
        script.push(progress(5, "setting up dstack-gateway"));
        if self.fate == BootFate::Warn {
            script.push((2, Says::Warning(NO_ROUTE.to_owned())));
        }
        script.push(progress(5, "setting up docker"));
        if self.init_script {
            script.push(progress(5, "init-script"));
        }
        if self.pre_launch {
            script.push(progress(5, "pre-launch"));
        }
        let last = if self.bash { "running main script" } else { "starting containers" };
        script.push(progress(10, last));
        script.extend(match self.fate {
            BootFate::Fail => Some((20, Says::Failure(NOT_STARTED.to_owned()))),
            BootFate::Exit => Some((20, Says::Failure("reboot: Power down".to_owned()))),
            BootFate::Done | BootFate::Warn | BootFate::Late => Some(progress(20, "done")),
            BootFate::Never | BootFate::Deny => None,
        });
        script
    }
}

const DENIED: &str = "Failed to request app keys: App not allowed: Boot denied: app not registered";
const NO_ROUTE: &str =
    "dstack-gateway registration failed, the app has no ingress route: simulated";
const NOT_STARTED: &str = "failed to start containers";

/// The word after the marker, or nothing.
fn marker<'a>(text: &'a str, name: &str) -> &'a str {
    let Some((_, rest)) = text.split_once(name) else { return "" };
    let rest = rest.trim_start_matches([' ', '\\', '"', '\'']);
    let end = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
    &rest[..end]
}

fn slowed(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Timestamp = Timestamp::from_micros(1_000_000);

    fn course(document: &str, first: bool, factor: f64) -> Course {
        let config = SimConfig { jitter_percent: 20, ..SimConfig::default() };
        let of = Circumstances { config: &config, seed: 1, vm: 1, run: 1, factor };
        Document::read(document).course(BEGAN, first, of)
    }

    fn words(document: &str, first: bool) -> Vec<String> {
        let steps = course(document, first, 1.0).steps;
        steps
            .into_iter()
            .map(|step| match step.says {
                Says::Progress(text) => text,
                Says::Instance => "<instance>".to_owned(),
                Says::Warning(text) => format!("<warning> {text}"),
                Says::Failure(text) => format!("<failure> {text}"),
            })
            .collect()
    }

    #[test]
    fn a_boot_says_what_dstack_says_in_dstacks_order() {
        assert_eq!(
            words("{}", true),
            [
                "requesting app keys",
                "initializing data disk",
                "<instance>",
                "data disk ready",
                "setting up dstack-gateway",
                "setting up docker",
                "starting containers",
                "done",
            ]
        );
        let scripts = r#"{"runner":"bash","init_script":"x","pre_launch_script":"y"}"#;
        assert_eq!(
            words(scripts, false)[1..],
            [
                "mounting data disk",
                "<instance>",
                "data disk ready",
                "setting up dstack-gateway",
                "setting up docker",
                "init-script",
                "pre-launch",
                "running main script",
                "done",
            ]
        );
    }

    #[test]
    fn markers_decide_the_fate_wherever_they_stand() {
        let last = |document: &str| words(document, true).pop().unwrap();
        assert_eq!(last("x-sim-boot: fail"), "<failure> failed to start containers");
        assert_eq!(last("x-sim-boot: never"), "starting containers");
        assert!(
            last(r##"{"docker_compose_file":"# x-sim-boot: deny\n"}"##).contains("Boot denied")
        );
        assert_eq!(last(r#"{"docker_compose_file":"x-sim-boot: \"warn\"\n"}"#), "done");
        assert!(course("x-sim-boot: exit", true, 1.0).exits_at.is_some());
        let document = Document::read("# x-sim-shutdown: never");
        assert_eq!(document.shutdown, ShutdownFate::Never);
        assert_eq!(last("x-sim-boot: unheard-of"), "done");
    }

    #[test]
    fn a_boot_takes_about_as_long_as_configured_and_a_slow_one_longer() {
        let took = |factor| course("{}", true, factor).steps.last().unwrap().at.since(BEGAN);
        assert!((1200..=1800).contains(&took(1.0).as_millis()), "{:?}", took(1.0));
        assert_eq!(took(10.0).as_millis() / 10, took(1.0).as_millis());
        assert_eq!(took(f64::NAN), took(1.0));
        assert_eq!(took(-1.0), took(1.0));
    }
}
