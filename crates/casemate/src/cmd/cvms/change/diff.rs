//! The difference that a change makes, as text and as JSON. It never contains values of variables.

use std::fmt::Write;

use casemate_api::reply::{ChangePreview, EnvReport, HostPort, PreviewedConfiguration};
use casemate_core::{change::Effect, id::ComposeHash};
use casemate_server::config::variable;
use serde_json::{Value, json};
use similar::TextDiff;

use crate::ui;

/// Placeholder for a host port that the server chooses.
pub(super) const ANY_PORT: u16 = 0;

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const CYAN: &str = "\x1b[36m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

#[derive(Debug)]
pub struct Diff {
    /// Changed texts by name, each as a unified diff.
    texts: Vec<(&'static str, String)>,
    /// Changed single values.
    rows: Vec<Row>,
    /// Changes of variable names, if variables are replaced.
    pub env: Option<EnvReport>,
    /// Names that existed before and get a new sealed value.
    again: Vec<String>,
    /// The work that the change causes on the node.
    pub effect: Effect,
    /// Whether the change restarts a running guest.
    pub restart: bool,
    /// Variables that the new compose file uses, without a value or default.
    unset: Vec<String>,
    /// Whether the compose hash changes.
    pub hash_changed: bool,
    /// Current compose hash.
    pub old_hash: ComposeHash,
    /// Compose hash after the change.
    pub new_hash: ComposeHash,
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: &'static str,
    from: String,
    to: String,
}

impl Diff {
    /// Builds the difference from the server's preview. `names`: the variables that get new sealed values.
    pub(super) fn of(preview: ChangePreview, names: Vec<String>) -> Self {
        let ChangePreview { effect, restart, before, after, env_report, unset_variables } = preview;
        let both = [
            ("docker-compose.yml", &before.docker_compose_file, &after.docker_compose_file),
            ("pre-launch script", &before.pre_launch_script, &after.pre_launch_script),
        ];
        let texts = both.into_iter().filter(|(_, a, b)| a != b);
        let texts = texts.map(|(name, a, b)| (name, unified(a.as_deref(), b.as_deref()))).collect();
        let added = env_report.as_ref().map(|env| env.added.clone()).unwrap_or_default();
        Self {
            unset: unset_variables,
            texts,
            rows: rows(&before, &after),
            again: names.into_iter().filter(|name| !added.contains(name)).collect(),
            env: env_report,
            effect,
            restart,
            hash_changed: before.compose_hash != after.compose_hash,
            old_hash: before.compose_hash,
            new_hash: after.compose_hash,
        }
    }

    /// The API's word for the effect.
    pub const fn effect_word(&self) -> &'static str {
        match self.effect {
            Effect::Nothing => "nothing",
            Effect::Record => "record",
            Effect::NextStart => "next_start",
            Effect::Restart => "restart",
        }
    }

    /// Prints the difference to stderr.
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
                let _ = writeln!(out, "  = {again}  (new value)");
            }
        }
        if !self.rows.is_empty() {
            let _ = writeln!(out, "{}", paint(BOLD, &format!("{name}: settings")));
        }
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        for Row { name, from, to } in &self.rows {
            let _ = writeln!(out, "  {name:width$}  {} → {}", shown(from), shown(to));
        }
        if self.effect != Effect::Nothing {
            let verdict = match (self.effect, self.restart) {
                (_, true) => "yes",
                (Effect::Restart, false) => "no, the CVM is off: applied at the next start",
                _ => "no",
            };
            let _ = writeln!(out, "restart: {verdict}");
        }
        out
    }

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

/// The text without control characters, safe for a terminal.
pub fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// A unified diff of two texts.
pub fn unified(old: Option<&str>, new: Option<&str>) -> String {
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    TextDiff::from_lines(old, new).unified_diff().context_radius(3).to_string()
}

fn rows(before: &PreviewedConfiguration, after: &PreviewedConfiguration) -> Vec<Row> {
    type Value<'a> = Box<dyn Fn(&PreviewedConfiguration) -> String + 'a>;
    let flag = |on: bool| if on { "on" } else { "off" }.to_owned();
    let all: [(&'static str, Value<'_>); 15] = [
        ("size", Box::new(|c| c.instance_type.clone().unwrap_or_else(|| "custom".to_owned()))),
        ("vcpu", Box::new(|c| c.vcpu.to_string())),
        ("memory", Box::new(|c| format!("{} MB", c.memory))),
        ("disk", Box::new(|c| format!("{} GB", c.disk_size))),
        ("image", Box::new(|c| c.image.clone())),
        ("ports", Box::new(|c| ports(&c.ports))),
        ("listed", Box::new(|c| flag(c.listed))),
        ("public logs", Box::new(|c| flag(c.public_logs))),
        ("public sysinfo", Box::new(|c| flag(c.public_sysinfo))),
        ("public tcbinfo", Box::new(|c| flag(c.public_tcbinfo))),
        ("gateway", Box::new(|c| flag(c.gateway_enabled))),
        ("secure time", Box::new(|c| flag(c.secure_time))),
        ("shutdown timeout", Box::new(|c| format!("{} s", c.shutdown_timeout))),
        ("forced stop", Box::new(|c| flag(c.allow_force_stop))),
        ("user config", Box::new(|c| user_config(c.user_config.as_deref()))),
    ];
    let rows = all.into_iter().map(|(name, value)| (name, value(before), value(after)));
    let other_config = before.user_config != after.user_config;
    rows.filter(|(name, from, to)| from != to || (*name == "user config" && other_config))
        .map(|(name, from, to)| Row { name, from, to })
        .collect()
}

fn user_config(text: Option<&str>) -> String {
    text.map_or_else(|| "none".to_owned(), |text| format!("{} bytes", text.len()))
}

fn ports(ports: &[HostPort]) -> String {
    if ports.is_empty() {
        return "none".to_owned();
    }
    let port = |port: &HostPort| {
        let host = match port.host_port {
            ANY_PORT => "?".to_owned(),
            number => number.to_string(),
        };
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
                Row { name: "vcpu", from: "1".to_owned(), to: "2".to_owned() },
                Row { name: "shutdown timeout", from: "60 s".to_owned(), to: "30 s".to_owned() },
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
            old_hash: ComposeHash::from_bytes([6; 32]),
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
  = KEPT  (new value)
my-app: settings
  vcpu              1 → 2
  shutdown timeout  60 s → 30 s
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
            json!({"field": "shutdown timeout", "from": "60 s", "to": "30 s"})
        );
    }
}
