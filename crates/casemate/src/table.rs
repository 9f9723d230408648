//! Tables without lines, so that columns can be copied.

use comfy_table::{ContentArrangement, Table, presets};

use crate::ui;

/// Shown for a missing value.
pub const NONE: &str = "-";

/// Prints a table; if it is empty, prints `nothing`.
pub fn print(header: &[&str], rows: Vec<Vec<String>>, nothing: &str) {
    if rows.is_empty() {
        ui::print_note(nothing);
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    table.add_rows(rows);
    for line in table.lines() {
        ui::line(line.strip_prefix(' ').unwrap_or(&line).trim_end());
    }
}

/// Prints names and values, one pair per line.
pub fn facts(facts: &[(&str, String)]) {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in facts {
        ui::line(format!("{name:width$}  {value}"));
    }
}

/// The text, or [`NONE`].
pub fn or_none(text: Option<impl ToString>) -> String {
    text.map_or_else(|| NONE.to_owned(), |text| text.to_string())
}
