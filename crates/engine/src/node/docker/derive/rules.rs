//! The rules of the derivation, each with a name. A rule refuses something or rewrites it.
//!
//! The list is data, so that a test can take a rule out and see that a hostile input gets through
//! (`hostile.rs`): no rule stands here that nothing would miss.

use super::{
    DeriveInput, Grants, Notes, Object, Refused, addresses, build, drop_labels, entries, images,
    limits, mounts, ports, project,
    refuse::{self, Asked},
    services, services_mut, targets, volumes,
};

/// A rule of the derivation.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// Of a rule about a key of services, the key.
    pub name: &'static str,
    pub check: Check,
}

/// What a rule does.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// Refuses values of a key of services.
    Key(fn(&Asked<'_>) -> Result<(), Refused>),
    /// Refuses entries of a section (`networks`, …).
    Entry(&'static str, fn(&str, &Object, &Grants) -> Result<(), Refused>),
    /// Refuses something that shows only when variables have their values and files are merged.
    File(fn(&Object, &DeriveInput<'_>) -> Result<(), Refused>),
    /// Rewrites services.
    Service(fn(&str, &mut Object, &DeriveInput<'_>, &mut Notes)),
    /// Rewrites services, or refuses what cannot be rewritten.
    TryService(fn(&str, &mut Object, &DeriveInput<'_>, &mut Notes) -> Result<(), Refused>),
    /// Rewrites the rest.
    Rest(fn(&mut Object, &DeriveInput<'_>, &mut Notes)),
    /// Rewrites the rest, or refuses what cannot be rewritten.
    TryRest(fn(&mut Object, &DeriveInput<'_>, &mut Notes) -> Result<(), Refused>),
}

use Check::{Entry, File, Key, Rest, Service, TryRest, TryService};

const fn rule(name: &'static str, check: Check) -> Rule {
    Rule { name, check }
}

/// All rules, in the order in which they apply.
pub(super) const RULES: [Rule; 82] = [
    rule("keys of the file", File(|file, _| refuse::file_keys(file))),
    rule("keys of services", File(|file, _| refuse::service_keys(file))),
    rule("image or build", File(|file, _| refuse::programs(file))),
    rule("annotations", Key(refuse::annotations)),
    rule("blkio_config", Key(refuse::blkio_config)),
    rule("build", Key(refuse::build)),
    rule("cap_add", Key(refuse::cap_add)),
    rule("cgroup", Key(refuse::cgroup)),
    rule("cgroup_parent", Key(refuse::host_cgroup)),
    rule("cpu_rt_period", Key(refuse::host_cgroup)),
    rule("cpu_rt_runtime", Key(refuse::host_cgroup)),
    rule("credential_spec", Key(refuse::runtime)),
    rule("deploy", Key(refuse::deploy)),
    rule("device_cgroup_rules", Key(refuse::devices)),
    rule("devices", Key(refuse::devices)),
    rule("external_links", Key(refuse::external_links)),
    rule("gpus", Key(refuse::devices)),
    rule("image", Key(refuse::image)),
    rule("ipc", Key(refuse::ipc)),
    rule("logging", Key(refuse::logging)),
    rule("network_mode", Key(refuse::network_mode)),
    rule("networks", Key(refuse::endpoints)),
    rule("oom_kill_disable", Key(refuse::host_cgroup)),
    rule("oom_score_adj", Key(refuse::oom_score_adj)),
    rule("pid", Key(refuse::pid)),
    rule("post_start", Key(refuse::hooks)),
    rule("pre_stop", Key(refuse::hooks)),
    rule("privileged", Key(refuse::privileged)),
    rule("runtime", Key(refuse::runtime)),
    rule("scale", Key(refuse::scale)),
    rule("security_opt", Key(refuse::security_opt)),
    rule("sysctls", Key(refuse::sysctls)),
    rule("tmpfs", Key(refuse::tmpfs)),
    rule("userns_mode", Key(refuse::userns_mode)),
    rule("uts", Key(refuse::uts)),
    rule("volumes", Key(refuse::volumes)),
    rule("volumes", Key(targets::check_written)),
    rule("tmpfs", Key(targets::check_written)),
    rule("configs", Key(targets::check_written)),
    rule("secrets", Key(targets::check_written)),
    rule("volumes_from", Key(refuse::volumes_from)),
    rule("keys of networks", Entry("networks", refuse::network_keys)),
    rule("external networks", Entry("networks", refuse::external_network)),
    rule("drivers of networks", Entry("networks", refuse::network_driver)),
    rule("external volumes", Entry("volumes", refuse::external_volume)),
    rule("options of volumes", Entry("volumes", volumes::check_given)),
    rule("external configs", Entry("configs", refuse::external_config)),
    rule("keys of configs", Entry("configs", refuse::config_keys)),
    rule("external secrets", Entry("secrets", refuse::external_secret)),
    rule("keys of secrets", Entry("secrets", refuse::secret_keys)),
    rule("complete targets", File(|file, _| targets::check_complete(file))),
    rule("half a tmpfs", File(|file, input| volumes::check_complete(file, input.grants))),
    rule("number of containers", File(|file, _| limits::containers(file))),
    rule("number of ports", File(|file, _| limits::ports(file))),
    rule("number of networks", File(|file, _| limits::networks(file))),
    rule("nested binds", File(mounts::check_nesting)),
    // What is left is rewritten.
    rule("labels", Service(|_, service, _, _| drop_labels(service))),
    rule(
        "bridge of the engine",
        Service(|name, service, _, notes| services::network_mode(name, service, notes)),
    ),
    rule("container_name", Service(|_, service, _, _| services::aliases(service))),
    rule(
        "variables of the compose process",
        Service(|_, service, _, _| services::environment(service)),
    ),
    rule(
        "log driver",
        Service(|name, service, _, notes| services::log_driver(name, service, notes)),
    ),
    rule(
        "size of logs",
        Service(|name, service, input, notes| limits::log_size(name, service, input.log_mb, notes)),
    ),
    rule("restart policy", Service(|_, service, _, _| services::restart(service))),
    rule("limits", Service(|_, service, input, _| services::limits(service, input))),
    rule(
        "frequency of health checks",
        Service(|name, service, _, notes| limits::health_checks(name, service, notes)),
    ),
    rule(
        "number of processes",
        Service(|_, service, input, _| limits::per_service(service, input.limits)),
    ),
    rule("marks of services", Service(|_, service, input, _| services::mark(service, input))),
    rule("ports", TryService(ports::rewrite)),
    rule("mounts", TryService(mounts::rewrite)),
    rule("one service a port", TryRest(|_, _, notes| ports::check_unique(&notes.published))),
    rule("default network", Rest(|file, _, _| project::default_network(file))),
    rule("fixed addresses", TryRest(addresses::drop_fixed)),
    rule("names of networks", Rest(|file, _, _| project::network_names(file))),
    rule("options of networks", Rest(|file, input, _| project::network_drivers(file, input))),
    rule("subnets", Rest(project::subnets)),
    rule("names of volumes", Rest(|file, _, _| project::volume_names(file))),
    rule("names of bridges", Rest(|file, input, _| project::bridge_names(file, input))),
    rule("marks of networks and volumes", Rest(|file, input, _| project::labels(file, input))),
    rule("files", TryRest(project::files)),
    rule("variables of secrets", Rest(|file, _, notes| project::variables(file, notes))),
    rule("builds", TryRest(build::take)),
    rule("pulls", Rest(|file, _, notes| images(file, notes))),
];

/// Applies the rules to a model.
pub(super) fn apply(
    rules: &[Rule],
    file: &mut Object,
    input: &DeriveInput<'_>,
    notes: &mut Notes,
) -> Result<(), Refused> {
    for rule in rules {
        match rule.check {
            Key(check) => {
                for (name, service) in services(file) {
                    let Some(value) = service.get(rule.name) else { continue };
                    let asked = Asked { key: rule.name, value, service, grants: input.grants };
                    check(&asked).map_err(|refused| refused.in_service(name))?;
                }
            }
            Entry(section, check) => entries(file, section)
                .try_for_each(|(name, entry)| check(name, entry, input.grants))?,
            File(check) => check(file, input)?,
            Service(rewrite) => {
                for (name, service) in services_mut(file) {
                    rewrite(name, service, input, notes);
                }
            }
            TryService(rewrite) => {
                for (name, service) in services_mut(file) {
                    rewrite(name, service, input, notes)
                        .map_err(|refused| refused.in_service(name))?;
                }
            }
            Rest(rewrite) => rewrite(file, input, notes),
            TryRest(rewrite) => rewrite(file, input, notes)?,
        }
    }
    Ok(())
}
