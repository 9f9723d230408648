//! Tables for people: columns without lines, so that they can be cut and pasted.

use comfy_table::{ContentArrangement, Table, presets};

use crate::ui;

/// What is shown where there is nothing.
pub const NONE: &str = "-";

/// Prints a table, or a line that says that there is nothing in it.
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

/// Prints names and values, one a line.
pub fn facts(facts: &[(&str, String)]) {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in facts {
        ui::line(format!("{name:width$}  {value}"));
    }
}

/// The text, or a dash.
pub fn or_none(text: Option<impl ToString>) -> String {
    text.map_or_else(|| NONE.to_owned(), |text| text.to_string())
}
