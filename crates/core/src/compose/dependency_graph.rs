//! Which services need which others: cycles, and files on which `docker compose` would take exponential
//! time, because it follows every path of dependencies. No recursion: a chain may be as long as the file.

use std::collections::{BTreeSet, HashMap};

use super::{
    check::{named_services, services},
    problem::MAX_PATHS,
    yaml::{Entry, Map, Node},
};

/// Steps of all paths from all services. A chain of 440 services has fewer.
const MAX_STEPS: u64 = 100_000;

pub struct DependencyGraph<'a> {
    services: Vec<&'a Entry>,
    /// Places of services that each one must have, in the order of the file.
    required: Vec<Vec<usize>>,
    /// These and the optional ones, without repetition: compose follows them all.
    all: Vec<Vec<usize>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    New,
    /// On the path that is being followed.
    Open,
    Done,
}

impl<'a> DependencyGraph<'a> {
    /// The graph of a file whose `extends` are resolved.
    pub fn of(file: &'a Node) -> Self {
        let services: Vec<&Entry> = services(file).collect();
        let mut places = HashMap::new();
        for (at, service) in services.iter().enumerate() {
            places.entry(service.key.as_str()).or_insert(at);
        }
        let mut graph = Self { services: Vec::new(), required: Vec::new(), all: Vec::new() };
        for service in &services {
            let map = service.node.map();
            let named = map.map(named_services).unwrap_or_default();
            let required: Vec<usize> = named
                .iter()
                .filter_map(|(_, _, name)| places.get(name.as_str()).copied())
                .collect();
            let depends = map.and_then(|map| map.get("depends_on")).and_then(Node::map);
            let by_name = depends.into_iter().flat_map(Map::iter);
            let optional = by_name.filter_map(|entry| places.get(entry.key.as_str()).copied());
            let all: BTreeSet<usize> = required.iter().copied().chain(optional).collect();
            graph.required.push(required);
            graph.all.push(all.into_iter().collect());
        }
        graph.services = services;
        graph
    }

    /// Services where a cycle was found, with the services of the cycle; each is reported once.
    pub fn cycles(&self) -> Vec<(&'a Entry, Vec<String>)> {
        let mut visits = vec![Visit::New; self.services.len()];
        let mut found = Vec::new();
        for (at, service) in self.services.iter().enumerate() {
            if let Some(cycle) = self.cycle_from(at, &mut visits) {
                let names = cycle.iter().map(|&at| self.services[at].key.clone()).collect();
                found.push((*service, names));
            }
        }
        found
    }

    fn cycle_from(&self, start: usize, visits: &mut [Visit]) -> Option<Vec<usize>> {
        if visits[start] != Visit::New {
            return None;
        }
        visits[start] = Visit::Open;
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.last_mut() {
            let Some(&other) = self.required[*at].get(*next) else {
                visits[*at] = Visit::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match visits[other] {
                Visit::Done => {}
                Visit::New => {
                    visits[other] = Visit::Open;
                    path.push((other, 0));
                }
                Visit::Open => {
                    for &(at, _) in &path {
                        visits[at] = Visit::Done;
                    }
                    let through = path.iter().map(|&(at, _)| at).skip_while(|&at| at != other);
                    return Some(through.chain([other]).collect());
                }
            }
        }
        None
    }

    /// The service from which most paths begin, if there are too many paths in the file. Paths are
    /// counted from services that no other one needs to services that need no other one. Long paths
    /// count too: compose follows them from each of their services.
    pub fn with_too_many_paths(&self) -> Option<&'a Entry> {
        let paths = self.sums(|sum| sum.max(1));
        let steps = self.sums(|sum| sum.saturating_add(1));
        let mut needed = vec![false; self.services.len()];
        for &other in self.all.iter().flatten() {
            needed[other] = true;
        }
        let first = |at: &usize| !needed[*at] && !self.all[*at].is_empty();
        let begins: Vec<usize> = (0..self.services.len()).filter(first).collect();
        let total = |of: &mut dyn Iterator<Item = u64>| of.fold(0, u64::saturating_add);
        let paths_in_all = total(&mut begins.iter().map(|&at| paths[at]));
        let steps_in_all = total(&mut steps.iter().copied());
        let most = begins.into_iter().max_by_key(|&at| steps[at])?;
        (paths_in_all > MAX_PATHS || steps_in_all > MAX_STEPS).then_some(self.services[most])
    }

    /// For each service the sum over all that it needs, with a change. Each service is visited once.
    fn sums(&self, change: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut sums = vec![0_u64; self.services.len()];
        let mut visits = vec![Visit::New; self.services.len()];
        for start in 0..self.services.len() {
            let mut open = vec![(start, 0)];
            while let Some((at, next)) = open.last_mut() {
                let at = *at;
                if *next == 0 && visits[at] != Visit::New {
                    open.pop();
                    continue;
                }
                visits[at] = Visit::Open;
                if let Some(&other) = self.all[at].get(*next) {
                    *next += 1;
                    open.push((other, 0));
                    continue;
                }
                let sum =
                    self.all[at].iter().fold(0_u64, |sum, &one| sum.saturating_add(sums[one]));
                sums[at] = change(sum);
                visits[at] = Visit::Done;
                open.pop();
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::compose::docker::inspect;

    /// Services `s0` and so on, each with what `needs` says of it.
    fn file(count: usize, needs: impl Fn(usize) -> String) -> String {
        let mut text = "services:\n".to_owned();
        for at in 0..count {
            let _ = writeln!(text, " s{at}: {{image: x{}}}", needs(at));
        }
        text
    }

    fn said(text: &str) -> String {
        inspect(text).err().map(|why| why.to_string()).unwrap_or_default()
    }

    fn next_three(at: usize) -> Vec<String> {
        (at + 1..(at + 4).min(40)).map(|other| format!("s{other}")).collect()
    }

    #[test]
    fn too_many_paths_of_dependencies_are_refused() {
        let list = |key: &'static str, before: &'static str| {
            move |at: usize| {
                let names: Vec<_> =
                    next_three(at).iter().map(|name| format!("{before}{name}")).collect();
                if names.is_empty() {
                    String::new()
                } else {
                    format!(", {key}: [{}]", names.join(", "))
                }
            }
        };
        let optional = |at: usize| {
            let names: Vec<_> = next_three(at)
                .iter()
                .map(|name| format!("{name}: {{condition: service_started, required: false}}"))
                .collect();
            format!(", depends_on: {{{}}}", names.join(", "))
        };
        for text in [
            file(40, list("depends_on", "")),
            file(40, list("links", "")),
            file(40, list("volumes_from", "")),
            file(40, optional),
        ] {
            let said = said(&text);
            assert!(said.contains("service s0, depends_on (line 2): has too many ways"), "{said}");
        }
    }

    #[test]
    fn usual_dependencies_are_taken() {
        let stars = |at: usize| {
            if at < 3 { String::new() } else { ", depends_on: [s0, s1, s2]".to_owned() }
        };
        assert_eq!(said(&file(200, stars)), "");
        let chain = |at: usize| {
            if at == 99 { String::new() } else { format!(", depends_on: [s{}]", at + 1) }
        };
        assert_eq!(said(&file(100, chain)), "");
    }

    /// The longest chains and cycles that fit into a file.
    #[test]
    fn long_chains_take_neither_the_stack_nor_minutes() {
        let next = |at: usize| format!(", depends_on: [s{}]", (at + 1) % 5_000);
        let text = said(&file(5_000, next));
        assert!(text.contains("goes in a circle"), "{}", &text[..200]);
        let last = |at: usize| if at == 4_999 { String::new() } else { next(at) };
        let text = said(&file(5_000, last));
        assert!(text.contains("service s0, depends_on (line 2): has too many ways"), "{text}");
        let extends =
            |at: usize| if at == 2_999 { String::new() } else { format!(", extends: s{}", at + 1) };
        assert!(said(&file(3_000, extends)).contains("extends"), "{}", said(&file(3_000, extends)));
        let few =
            |at: usize| if at == 9 { String::new() } else { format!(", extends: s{}", at + 1) };
        assert_eq!(said(&file(10, few)), "");
    }
}
