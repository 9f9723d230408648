//! What would be different, for people and for programs. Values of variables are nowhere.

use std::fmt::Write;

use casemate_core::{
    change::{Change, Configuration, Effect, EnvReport, Set},
    cvm::PortMap,
    id::ComposeHash,
};
use casemate_server::config::variable;
use serde_json::{Value, json};
use similar::TextDiff;

use crate::ui;

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const CYAN: &str = "\x1b[36m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// The difference that a change makes.
#[derive(Debug)]
pub struct Diff {
    /// Texts by name, each as a unified diff.
    texts: Vec<(&'static str, String)>,
    /// One value each.
    rows: Vec<Row>,
    /// Names of variables, where they are given anew.
    pub env: Option<EnvReport>,
    /// The names whose values are sealed again and were there before.
    again: Vec<String>,
    /// What a node has to be told.
    pub effect: Effect,
    /// Whether the guest goes down for it now.
    pub restart: bool,
    /// Variables that the compose file uses then and nobody gives.
    unset: Vec<String>,
    /// Whether the document is another one.
    pub hash_changed: bool,
    /// The document's hash then.
    pub new_hash: ComposeHash,
}

/// `from` is unknown where the server does not show it.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: &'static str,
    from: Option<String>,
    to: String,
}

impl Diff {
    pub(super) fn of(
        now: &Configuration,
        next: &Configuration,
        effect: Effect,
        is_on: bool,
        env: Option<EnvReport>,
        names: Vec<String>,
        change: &Change,
    ) -> Self {
        let (old, new) = (&now.document, &next.document);
        let both = [
            ("docker-compose.yml", &old.docker_compose_file, &new.docker_compose_file),
            ("pre-launch script", &old.pre_launch_script, &new.pre_launch_script),
        ];
        let texts = both.into_iter().filter(|(_, a, b)| a != b);
        let texts = texts.map(|(name, a, b)| (name, unified(a.as_deref(), b.as_deref()))).collect();
        let added = env.as_ref().map(|env| env.added.clone()).unwrap_or_default();
        Self {
            unset: next.document.unset_variables(),
            texts,
            rows: rows(now, next, change),
            again: names.into_iter().filter(|name| !added.contains(name)).collect(),
            env,
            effect,
            restart: effect == Effect::Restart && is_on,
            hash_changed: now.spec.compose_hash != next.spec.compose_hash,
            new_hash: next.spec.compose_hash,
        }
    }

    /// The word of the API for its effect.
    pub const fn effect_word(&self) -> &'static str {
        match self.effect {
            Effect::Nothing => "nothing",
            Effect::Record => "record",
            Effect::NextStart => "next_start",
            Effect::Restart => "restart",
        }
    }

    /// Shows it on stderr.
    pub fn show(&self, name: &str) {
        let coloured = ui::stderr_is_terminal() && variable("NO_COLOR").is_none();
        ui::print_note(self.text(name, coloured).trim_end());
        if !self.unset.is_empty() {
            ui::print_note(format!(
                "note: the compose file uses variables that are not given and have no default: {}",
                self.unset.join(", ")
            ));
        }
    }

    fn text(&self, name: &str, coloured: bool) -> String {
        let paint = |colour: &str, text: &str| {
            if coloured { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
        };
        let mut out = String::new();
        for (title, diff) in &self.texts {
            let _ = writeln!(out, "{}", paint(BOLD, &format!("{name}: {title}")));
            for line in diff.lines() {
                let colour = match line.as_bytes().first() {
                    Some(b'+') => GREEN,
                    Some(b'-') => RED,
                    Some(b'@') => CYAN,
                    _ => "",
                };
                let line = shown(line);
                let line = if colour.is_empty() { line } else { paint(colour, &line) };
                let _ = writeln!(out, "  {line}");
            }
        }
        if let Some(env) = &self.env {
            let _ = writeln!(out, "{}", paint(BOLD, &format!("{name}: variables (names only)")));
            for added in &env.added {
                let _ = writeln!(out, "  {}", paint(GREEN, &format!("+ {added}")));
            }
            for removed in &env.removed {
                let used = env.missing.contains(removed);
                let note = if used { "  (the compose file uses it)" } else { "" };
                let _ = writeln!(out, "  {}", paint(RED, &format!("- {removed}{note}")));
            }
            for again in &self.again {
                let _ = writeln!(out, "  = {again}  (its value is sent again)");
            }
        }
        if !self.rows.is_empty() {
            let _ = writeln!(out, "{}", paint(BOLD, &format!("{name}: settings")));
        }
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        for Row { name, from, to } in &self.rows {
            let from = from.as_ref().map(|from| format!("{} → ", shown(from))).unwrap_or_default();
            let _ = writeln!(out, "  {name:width$}  {from}{}", shown(to));
        }
        if self.effect != Effect::Nothing {
            let verdict = match (self.effect, self.restart) {
                (_, true) => "yes",
                (Effect::Restart, false) => "no, it is off: it counts from the next start",
                _ => "no",
            };
            let _ = writeln!(out, "restart: {verdict}");
        }
        out
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let texts: serde_json::Map<String, Value> =
            self.texts.iter().map(|(name, diff)| ((*name).to_owned(), json!(diff))).collect();
        let rows = self.rows.iter();
        let rows = rows.map(|row| json!({ "field": row.name, "from": row.from, "to": row.to }));
        json!({
            "texts": texts,
            "env": self.env,
            "settings": rows.collect::<Vec<_>>(),
        })
    }
}

/// A text that does nothing to a terminal.
pub fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Two texts, line by line.
pub fn unified(old: Option<&str>, new: Option<&str>) -> String {
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    TextDiff::from_lines(old, new).unified_diff().context_radius(3).to_string()
}

fn rows(now: &Configuration, next: &Configuration, change: &Change) -> Vec<Row> {
    let (a, b) = (&now.spec, &next.spec);
    let (old, new) = (&now.document, &next.document);
    let size = |name: &Option<String>| name.clone().unwrap_or_else(|| "custom".to_owned());
    let gigabytes = |disk: u32| format!("{disk} GB");
    let megabytes = |memory: u32| format!("{memory} MB");
    let flag = |on: bool| if on { "on" } else { "off" }.to_owned();
    let (r, s) = (&a.resources, &b.resources);
    let known = [
        ("size", size(&r.instance_type), size(&s.instance_type)),
        ("vcpu", r.vcpu.to_string(), s.vcpu.to_string()),
        ("memory", megabytes(r.memory_mb), megabytes(s.memory_mb)),
        ("disk", gigabytes(r.disk_gb), gigabytes(s.disk_gb)),
        ("image", a.image.clone(), b.image.clone()),
        ("ports", ports(&a.ports), ports(&b.ports)),
        ("listed", flag(a.listed), flag(b.listed)),
        ("public logs", flag(old.public_logs), flag(new.public_logs)),
        ("public sysinfo", flag(old.public_sysinfo), flag(new.public_sysinfo)),
        ("public tcbinfo", flag(old.public_tcbinfo), flag(new.public_tcbinfo)),
        ("gateway", flag(old.gateway_enabled), flag(new.gateway_enabled)),
        ("secure time", flag(old.secure_time), flag(new.secure_time)),
    ];
    let known = known.into_iter().filter(|(_, from, to)| from != to);
    let known = known.map(|(name, from, to)| Row { name, from: Some(from), to });
    let unknown = [
        ("shutdown timeout", change.shutdown_timeout_s.map(|seconds| format!("{seconds} s"))),
        ("forced stop", change.allow_force_stop.map(flag)),
        (
            "user config",
            match &change.user_config {
                Set::Keep => None,
                Set::Clear => Some("none".to_owned()),
                Set::To(text) => Some(format!("{} bytes", text.len())),
            },
        ),
    ];
    let unknown =
        unknown.into_iter().filter_map(|(name, to)| Some(Row { name, from: None, to: to? }));
    known.chain(unknown).collect()
}

fn ports(ports: &[PortMap]) -> String {
    if ports.is_empty() {
        return "none".to_owned();
    }
    let port = |port: &PortMap| {
        // 0 stands for one that the server chooses.
        let host = if port.host_port == 0 { "?".to_owned() } else { port.host_port.to_string() };
        format!("{host}:{}/{}", port.vm_port, port.protocol)
    };
    ports.iter().map(port).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff() -> Diff {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Diff {
            unset: Vec::new(),
            texts: vec![("docker-compose.yml", unified(Some("a\nb\u{1b}[2J\n"), Some("a\nc\n")))],
            rows: vec![
                Row { name: "vcpu", from: Some("1".to_owned()), to: "2".to_owned() },
                Row { name: "shutdown timeout", from: None, to: "30 s".to_owned() },
            ],
            env: Some(EnvReport {
                added: names(&["NEW"]),
                removed: names(&["OLD", "USED"]),
                missing: names(&["USED"]),
            }),
            again: names(&["KEPT"]),
            effect: Effect::Restart,
            restart: true,
            hash_changed: true,
            new_hash: ComposeHash::from_bytes([7; 32]),
        }
    }

    #[test]
    fn a_difference_is_shown_whole() {
        let expected = "\
my-app: docker-compose.yml
  @@ -1,2 +1,2 @@
   a
  -b\u{fffd}[2J
  +c
my-app: variables (names only)
  + NEW
  - OLD
  - USED  (the compose file uses it)
  = KEPT  (its value is sent again)
my-app: settings
  vcpu              1 → 2
  shutdown timeout  30 s
restart: yes
";
        assert_eq!(diff().text("my-app", false), expected);
        let coloured = diff().text("my-app", true);
        assert!(coloured.contains("\x1b[32m+c\x1b[0m"), "{coloured}");
        assert!(!coloured.contains("\x1b[2J"), "what is shown does nothing to the terminal");
        let json = diff().json();
        assert_eq!(json["env"]["missing"][0], "USED");
        assert_eq!(
            json["settings"][1],
            json!({"field": "shutdown timeout", "from": null, "to": "30 s"})
        );
    }
}
