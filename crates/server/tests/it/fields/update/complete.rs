//! No field that an update reads is without a row, no row without a test, no code of a row without a
//! refusal that has it, and no refusal without its code in the row.

use std::collections::BTreeSet;

use casemate_api::{
    compose_file::ComposeFile,
    compose_update::{ComposeCommitRequest, ComposeReplaceRequest},
    cvm_patch::CvmPatch,
    cvm_settings::{
        EnvsRequest, ListedRequest, NameRequest, OsImageRequest, ResourcesRequest,
        ScheduledDeleteRequest, UserConfigRequest, VisibilityRequest,
    },
    network::{NetworkConfigRequest, PortRule, PortsRequest},
    provision::GpuRequest,
};

use super::{
    documents,
    refusals::{CODES, On, refusals},
    row::Row,
    rows,
    table::{self, Line, Restart, Route},
};
use crate::fields::{complete::fields, table::quoted};

fn read_by_the_server() -> BTreeSet<(Route, String)> {
    let texts = [
        (Route::DockerCompose, "docker_compose_file"),
        (Route::PreLaunchScript, "pre_launch_script"),
    ];
    let bodies = [
        (Route::Patch, fields::<CvmPatch>("")),
        (Route::Patch, fields::<GpuRequest>("gpus.")),
        (Route::Resources, fields::<ResourcesRequest>("")),
        (Route::Visibility, fields::<VisibilityRequest>("")),
        (Route::Listed, fields::<ListedRequest>("")),
        (Route::Name, fields::<NameRequest>("")),
        (Route::OsImage, fields::<OsImageRequest>("")),
        (Route::Envs, fields::<EnvsRequest>("")),
        (Route::UserConfig, fields::<UserConfigRequest>("")),
        (Route::ScheduledDelete, fields::<ScheduledDeleteRequest>("")),
        (Route::NetworkConfig, fields::<NetworkConfigRequest>("")),
        (Route::Ports, fields::<PortsRequest>("")),
        (Route::Ports, fields::<PortRule>("ports[].")),
        (Route::Prepare, fields::<ComposeFile>("document ")),
        (Route::Commit, fields::<ComposeCommitRequest>("")),
        (Route::Replace, fields::<ComposeReplaceRequest>("")),
        (Route::Replace, fields::<ComposeFile>("document ")),
    ];
    let bodies = bodies
        .into_iter()
        .flat_map(|(route, names)| names.into_iter().map(move |name| (route, name)));
    bodies.chain(texts.map(|(route, name)| (route, name.to_owned()))).collect()
}

fn rows() -> Vec<Row> {
    [
        rows::document(),
        rows::carried(),
        rows::resources(),
        rows::record(),
        rows::network(),
        rows::phases(),
        documents::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn of<'a>(line: &'a Line, rows: &'a [Row]) -> impl Iterator<Item = &'a Row> {
    rows.iter().filter(|row| line.is(row.at, row.in_document, row.field))
}

#[test]
fn every_field_that_an_update_reads_has_a_row_and_every_row_a_field() {
    assert_eq!(read_by_the_server(), table::fields());
}

#[test]
fn every_row_of_an_update_has_a_test_on_every_route() {
    let rows = rows();
    for line in table::lines() {
        let tested: BTreeSet<(Route, &str)> = of(&line, &rows)
            .flat_map(|row| row.routes(&line).into_iter().map(|route| (route, row.field)))
            .collect();
        let refused: BTreeSet<&str> = refusals()
            .iter()
            .filter(|one| line.is(one.at, one.in_document, one.field))
            .map(|one| one.field)
            .collect();
        for name in &line.names {
            for route in &line.routes {
                let only_refused =
                    line.restart == Restart::Nothing && refused.contains(name.as_str());
                assert!(
                    tested.contains(&(*route, name.as_str())) || only_refused,
                    "{name} has no test at {route:?}"
                );
            }
        }
    }
}

/// A place of [`super::row::state`] as the tables write it.
fn place(pointer: &str) -> String {
    let (part, rest) = pointer[1..].split_once('/').unwrap();
    let rest = rest.trim_start_matches("0/").replace('/', ".");
    match part {
        "GET" => format!("GET {rest}"),
        "document" => "GET compose_file".to_owned(),
        "ports" => format!("GET ports {rest}"),
        "network" => format!("GET network-config {rest}"),
        "old" => format!("GET 2025-10-28 {rest}"),
        _ => "not served".to_owned(),
    }
}

#[test]
fn every_place_of_an_updates_row_is_looked_at() {
    let rows = rows();
    for line in table::lines().iter().filter(|line| line.seen != "–") {
        let words = quoted(&line.seen);
        let wanted = if words.is_empty() { line.seen.clone() } else { words.join(" ") };
        let looked: BTreeSet<String> =
            of(line, &rows).flat_map(|row| row.seen.iter().map(|(at, _)| place(at))).collect();
        let inside = format!("{wanted} ");
        let found = looked.iter().any(|one| *one == wanted || one.starts_with(&inside));
        assert!(found, "{:?}: {wanted} is not among {looked:?}", line.names);
    }
}

#[test]
fn every_code_of_an_updates_row_is_tested_and_every_tested_code_is_in_its_row() {
    let refusals = refusals();
    for line in table::lines() {
        let codes = |on: On| -> BTreeSet<String> {
            let own = refusals
                .iter()
                .filter(|one| one.on == on && line.is(one.at, one.in_document, one.field))
                .map(|one| one.code);
            let other = CODES
                .iter()
                .filter(|(route, field, _)| on == On::Any && line.is(*route, false, field))
                .map(|(.., code)| *code);
            own.chain(other).map(str::to_owned).collect()
        };
        let found = (codes(On::Any), codes(On::Docker), codes(On::Sim));
        let Line { refused, names, .. } = line.clone();
        let told = (refused.any, refused.docker, refused.sim);
        assert_eq!(found, told, "{names:?} at {:?}: tested, in the table", line.routes);
    }
}
