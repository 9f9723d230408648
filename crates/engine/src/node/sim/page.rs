//! What the gateway shows instead of an app that does not run.

use casemate_core::time::Timestamp;

use super::vm::Vm;

/// The page for a port of this VM.
pub(super) fn page(vm: &Vm, port: u16, now: Timestamp) -> String {
    let instance = vm.instance_id(now).map_or("none".to_owned(), |id| id.to_string());
    let booted = vm.run.as_ref().map_or(vm.config.compose_hash, |run| run.compose_hash);
    let rows = [
        ("Name", vm.name()),
        ("App ID", vm.config.app_id.to_string()),
        ("Instance ID", instance),
        ("Port", port.to_string()),
        ("Compose hash", booted.to_string()),
        ("OS image", vm.config.image.clone()),
    ]
    .map(|(name, value)| format!("<dt>{name}</dt><dd><code>{}</code></dd>", escape(&value)))
    .concat();
    format!("{HEAD}{rows}{TAIL}")
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Simulated CVM</title>
<style>
:root { color-scheme: light dark; --ink: #1c1f24; --soft: #5c6470; --paper: #fafafa; --line: #d9dde3; --warn: #8a5300 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #9aa3af; --paper: #14171b; --line: #2b3037; --warn: #f0b35a }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 42rem; margin: 12vh auto; padding: 0 1.5rem }
h1 { margin: 0 0 .25rem; font-size: 1.5rem }
.warn { color: var(--warn); font-weight: 600 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .4rem 1.25rem; margin-top: 1.5rem; padding-top: 1.25rem; border-top: 1px solid var(--line) }
dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
code { font: .875rem ui-monospace, monospace }
</style>
</head>
<body>
<main>
<h1>This is a simulated CVM</h1>
<p><span class="warn">Nothing runs here.</span> The node is a simulator: there is no virtual machine, no TEE and no
container behind this address. On a real node your app would answer this request.</p>
<dl>"#;

const TAIL: &str = "</dl>
</main>
</body>
</html>
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_does_not_become_markup() {
        assert_eq!(escape(r#"<a b="c" d='e'>&"#), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;");
    }
}
