//! The columns of a CVM that requests write. They are named and bound only here.

use casemate_core::{
    cvm::{DesiredState, Phase, Spec, Status},
    stored,
};

use super::row::{corrupt_column, power_word, spec_text};
use crate::Error;

/// Columns of a desired state.
const DESIRED: [&str; 6] = ["power", "run", "generation", "stop_mode", "status", "phase"];

/// Columns of a configuration.
const CONFIGURATION: [&str; 11] = [
    "spec",
    "sealed_env",
    "name",
    "compose_hash",
    "vcpu",
    "memory_mb",
    "disk_gb",
    "user_config",
    "image",
    "instance_type",
    "listed",
];

/// Column names and the numbers of their parameters.
pub(super) struct Columns {
    names: &'static [&'static str],
    first: usize,
}

impl Columns {
    /// For [`bind_desired!`].
    pub const fn desired(first: usize) -> Self {
        Self { names: &DESIRED, first }
    }

    /// For [`bind_configuration!`].
    pub const fn configuration(first: usize) -> Self {
        Self { names: &CONFIGURATION, first }
    }

    /// `a = $1, b = $2`.
    pub fn assignments(&self) -> String {
        self.join(|name, number| format!("{name} = ${number}"))
    }

    /// `a, b`.
    pub fn names(&self) -> String {
        self.names.join(", ")
    }

    /// `$1, $2`.
    pub fn parameters(&self) -> String {
        self.join(|_, number| format!("${number}"))
    }

    fn join(&self, each: impl Fn(&str, usize) -> String) -> String {
        let all: Vec<String> =
            self.names.iter().zip(self.first..).map(|(name, number)| each(name, number)).collect();
        all.join(", ")
    }
}

/// A desired state as column values.
pub(super) struct Desired {
    pub power: &'static str,
    pub run: i64,
    pub generation: i64,
    pub stop_mode: String,
    pub status: String,
    pub phase: &'static str,
}

impl Desired {
    pub fn of(
        row: i64,
        desired: &DesiredState,
        status: &Status,
        phase: Phase,
    ) -> Result<Self, Error> {
        // `vm` is in the configuration.
        let DesiredState { power, run, generation, stop, vm: _ } = desired;
        Ok(Self {
            power: power_word(*power),
            run: *run,
            generation: *generation,
            stop_mode: stored::write(stop).map_err(corrupt_column("stop_mode", row))?,
            status: stored::write(status).map_err(corrupt_column("status", row))?,
            phase: phase.as_str(),
        })
    }
}

/// A configuration as column values.
pub(super) struct Configuration<'a> {
    pub text: String,
    pub sealed_env: Option<&'a str>,
    pub compose_hash: String,
    pub spec: &'a Spec,
}

impl<'a> Configuration<'a> {
    pub fn of(row: i64, spec: &'a Spec, sealed_env: Option<&'a str>) -> Result<Self, Error> {
        let text = spec_text(spec, row)?;
        Ok(Self { text, sealed_env, compose_hash: spec.compose_hash.to_string(), spec })
    }
}

/// Binds a [`Desired`] in the order of its columns.
macro_rules! bind_desired {
    ($query:expr, $desired:expr) => {{
        let Desired { power, run, generation, stop_mode, status, phase } = &$desired;
        $query.bind(*power).bind(*run).bind(*generation).bind(stop_mode).bind(status).bind(*phase)
    }};
}
pub(super) use bind_desired;

/// Binds a [`Configuration`] in the order of its columns.
macro_rules! bind_configuration {
    ($query:expr, $configuration:expr) => {{
        let Configuration { text, sealed_env, compose_hash, spec } = &$configuration;
        $query
            .bind(text)
            .bind(*sealed_env)
            .bind(&spec.name)
            .bind(compose_hash)
            .bind(i64::from(spec.resources.vcpu))
            .bind(i64::from(spec.resources.memory_mb))
            .bind(i64::from(spec.resources.disk_gb))
            .bind(&spec.user_config)
            .bind(&spec.image)
            .bind(&spec.resources.instance_type)
            .bind(spec.listed)
    }};
}
pub(super) use bind_configuration;
