//! No field that the server reads is without a row, no row without a test, no code of a row without
//! a refusal that has it, and no refusal without its code in the row.

use std::collections::{BTreeMap, BTreeSet};

use casemate_api::{
    commit::CommitRequest,
    compose_file::ComposeFile,
    provision::{GpuRequest, GpuSpec, PortMapping, ProvisionRequest},
};
use serde::{
    Deserializer,
    de::{DeserializeOwned, Error as _, Visitor},
    forward_to_deserialize_any,
};

use crate::fields::{
    commit_rows, compose_rows, edges, governed, identity, provision_rows,
    refusals::{On, refusals},
    repeat,
    row::Seen,
    table,
};

/// Listens to which fields a type asks for, aliases included.
struct Probe<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("no value"))
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

pub fn fields<T: DeserializeOwned>(prefix: &str) -> BTreeSet<String> {
    let mut names: &'static [&'static str] = &[];
    drop(T::deserialize(Probe(&mut names)));
    assert!(!names.is_empty(), "{prefix}: no fields");
    names.iter().map(|name| format!("{prefix}{name}")).collect()
}

fn read_by_the_server() -> BTreeSet<String> {
    [
        fields::<ProvisionRequest>(""),
        fields::<ComposeFile>("compose_file."),
        fields::<PortMapping>("ports[]."),
        fields::<GpuRequest>("gpus."),
        fields::<GpuSpec>("gpus.gpus[]."),
        fields::<CommitRequest>("commit "),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn in_the_table() -> BTreeSet<String> {
    table::by_name().into_keys().collect()
}

#[test]
fn every_field_that_is_read_has_a_row_and_every_row_a_field() {
    assert_eq!(read_by_the_server(), in_the_table());
}

#[test]
fn every_row_has_a_test() {
    let rows = [provision_rows::rows(), compose_rows::rows(), commit_rows::rows()];
    let mut tested: BTreeSet<String> =
        rows.into_iter().flatten().map(|row| row.field.to_owned()).collect();
    tested.extend(identity::FIELDS.iter().map(|name| (*name).to_owned()));
    tested.extend(repeat::FIELDS.iter().map(|name| (*name).to_owned()));
    tested.extend(governed::FIELDS.iter().map(|name| (*name).to_owned()));
    // What has no effect but a refusal.
    let refused: BTreeSet<String> = refusals().iter().map(|one| one.field.to_owned()).collect();
    for field in in_the_table() {
        let no_effect = ["experimental_vpc", "gpus.count", "gpus.product_name"];
        let only_refused =
            no_effect.iter().any(|part| field.contains(part)) && refused.contains(&field);
        assert!(tested.contains(&field) || only_refused, "{field} has no test");
    }
}

/// Everything that the tests of these names look at.
fn looked_at(names: &[String]) -> BTreeSet<String> {
    let rows = [provision_rows::rows(), compose_rows::rows(), commit_rows::rows()];
    let own = rows.into_iter().flatten().filter(|row| names.iter().any(|name| name == row.field));
    let places = own.flat_map(|row| row.seen).map(|seen| match seen {
        Seen::Document(..) => "GET compose_file".to_owned(),
        Seen::Get(at, _) => format!("GET {}", at[1..].replace('/', ".")),
        // The first of a list stands for all.
        Seen::Below(route, at, _) => {
            let at = at.trim_start_matches("/0").trim_start_matches('/').replace('/', ".");
            format!("GET {route} {at}").trim_end().to_owned()
        }
        Seen::Reply(at, _) => format!("reply {}", at[1..].replace('/', ".")),
        Seen::Node(..) | Seen::Spec(..) => "not served".to_owned(),
    });
    places.collect()
}

#[test]
fn every_place_of_a_row_is_looked_at() {
    for line in table::lines() {
        let elsewhere = |name: &String| {
            [identity::FIELDS, repeat::FIELDS, governed::FIELDS].concat().contains(&name.as_str())
        };
        if line.seen == "–" || line.names.iter().any(elsewhere) {
            continue;
        }
        let words = table::quoted(&line.seen);
        let place = match words.as_slice() {
            ["GET", at] if at.starts_with("compose_file") => "GET compose_file".to_owned(),
            ["GET", at] => format!("GET {at}"),
            [below] if below.starts_with("GET ") => (*below).to_owned(),
            [below, at] if below.starts_with("GET ") => format!("{below} {at}"),
            [at] if line.seen.starts_with("reply") => format!("reply {at}"),
            [] => line.seen.clone(),
            _ => panic!("{}", line.seen),
        };
        let looked = looked_at(&line.names);
        let inside = format!("{place} ");
        let found = looked.iter().any(|one| *one == place || one.starts_with(&inside));
        assert!(found, "{:?}: {place} is not among {looked:?}", line.names);
    }
}

/// Codes by kind of node, for the names of one row.
#[derive(Debug, Default, PartialEq, Eq)]
struct Codes([BTreeSet<String>; 3]);

#[test]
fn every_code_of_a_row_is_tested_and_every_tested_code_is_in_its_row() {
    let mut tested: BTreeMap<String, Codes> = BTreeMap::new();
    let mut add = |field: &str, on: On, code: &str| {
        let kind = match on {
            On::Docker if field != "prefer_dev" => 1,
            On::Sim if field != "prefer_dev" => 2,
            _ => 0,
        };
        tested.entry(field.to_owned()).or_default().0[kind].insert(code.to_owned());
    };
    for one in refusals() {
        add(one.field, one.on, one.code);
    }
    for (field, code) in
        identity::CODES.iter().chain(repeat::CODES).chain(edges::CODES).chain(governed::CODES)
    {
        add(field, On::Any, code);
    }
    for line in table::lines() {
        let mut found = Codes::default();
        for name in &line.names {
            for (all, own) in found.0.iter_mut().zip(tested.remove(name).unwrap_or_default().0) {
                all.extend(own);
            }
        }
        let table::Refused { any, docker, sim } = line.refused;
        assert_eq!(found, Codes([any, docker, sim]), "{:?}: tested, in the table", line.names);
    }
    assert!(tested.is_empty(), "{tested:?}");
}
