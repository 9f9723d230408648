//! Reads the tables of `docs/fields.md`.

use std::collections::{BTreeMap, BTreeSet};

pub const DOCUMENT: &str = include_str!("../../../../../docs/fields.md");

/// A row of a table.
#[derive(Debug, Clone)]
pub struct Line {
    /// The names it stands for, with the table in front: `commit app_id`.
    pub names: Vec<String>,
    pub default: String,
    pub hashed: bool,
    pub seen: String,
    pub refused: Refused,
    /// Whether docker nodes refuse it.
    pub not_on_docker: bool,
}

/// Codes of refusals, by the kind of node; 400, 413 and 422 stand for themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    pub any: BTreeSet<String>,
    pub docker: BTreeSet<String>,
    pub sim: BTreeSet<String>,
}

/// All rows.
pub fn lines() -> Vec<Line> {
    let mut prefix = "";
    let mut lines = Vec::new();
    for text in DOCUMENT.lines() {
        if let Some(heading) = text.strip_prefix("## ") {
            // What follows has tables of another shape, see `update::table`.
            if heading == "Update" {
                break;
            }
            prefix = if heading == "Commit" { "commit " } else { "" };
        }
        let cells: Vec<&str> = text.trim_matches('|').split(" | ").map(str::trim).collect();
        if !text.starts_with("| `") {
            continue;
        }
        assert_eq!(cells.len(), 8, "{text}");
        lines.push(Line {
            names: quoted(cells[0]).into_iter().map(|name| format!("{prefix}{name}")).collect(),
            default: cells[1].to_owned(),
            seen: cells[4].to_owned(),
            not_on_docker: cells[6].contains("ERR-") || cells[6].starts_with("with "),
            hashed: match cells[2] {
                "yes" => true,
                "no" => false,
                other => panic!("hashed: {other}"),
            },
            refused: Refused {
                any: codes(cells[5]),
                docker: codes(cells[6]),
                sim: codes(cells[7]),
            },
        });
    }
    lines
}

/// The row of each name.
pub fn by_name() -> BTreeMap<String, Line> {
    let mut found = BTreeMap::new();
    for line in lines() {
        for name in line.names.clone() {
            assert!(found.insert(name.clone(), line.clone()).is_none(), "{name} has two rows");
        }
    }
    found
}

pub fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

pub fn codes(cell: &str) -> BTreeSet<String> {
    let ours = quoted(cell).into_iter().filter(|word| word.starts_with("ERR-")).map(str::to_owned);
    let plain = ["400:", "413:", "422:"].into_iter().filter(|word| cell.contains(word));
    ours.chain(plain.map(|word| word.trim_end_matches(':').to_owned())).collect()
}
