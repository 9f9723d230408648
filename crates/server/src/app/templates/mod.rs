//! App templates: what the operator's directory has. A task reads it ([`Catalogue::refresh`]); requests look at what
//! it found.

mod read;

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use casemate_api::{
    error::ErrorCode,
    template::{Template, TemplateFault, TemplateSummary, Templates},
};
use casemate_core::app_template::{AppTemplate, Destination, InvalidValue, fill};
use tokio_util::sync::CancellationToken;

pub use self::read::{Found, FoundTemplate, TemplatesUnreadable, read};
use super::{Caller, Ctx, Error};

/// How often the directory is read again.
const EVERY: Duration = Duration::from_secs(10);

/// The templates as they were read last.
#[derive(Debug, Default)]
pub struct Catalogue(RwLock<Arc<Found>>);

impl Catalogue {
    /// Reads the directory for the first time; `None`: there are no templates.
    pub fn open(dir: Option<&Path>) -> Result<Self, TemplatesUnreadable> {
        let found = dir.map(read).transpose()?.unwrap_or_default();
        found.log();
        Ok(Self(RwLock::new(Arc::new(found))))
    }

    fn found(&self) -> Arc<Found> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what was read now. A directory that cannot be read keeps the templates that there were.
    pub fn refresh(&self, now: Result<Found, TemplatesUnreadable>) {
        match now {
            Ok(found) if found != *self.found() => {
                found.log();
                *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
            }
            Ok(_) => {}
            Err(why) => tracing::warn!("{why}; the templates read before stay"),
        }
    }
}

/// Reads the directory again and again until stopped.
pub async fn run(ctx: Ctx, stop: CancellationToken) {
    let Some(dir) = ctx.config.templates.dir().cloned() else { return };
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let dir = dir.clone();
        match tokio::task::spawn_blocking(move || read(&dir)).await {
            Ok(now) => ctx.templates.refresh(now),
            Err(error) => tracing::error!(%error, "reading the templates failed"),
        }
    }
}

/// All templates. Operators also see what is wrong in the directory.
pub fn list(ctx: &Ctx, caller: &Caller) -> Templates {
    let found = ctx.templates.found();
    let faults = if caller.access.is_operator { found.faults.as_slice() } else { &[] };
    Templates {
        items: found.templates.iter().map(|one| summary(&one.template)).collect(),
        faults: faults
            .iter()
            .map(|(directory, reasons)| TemplateFault {
                directory: directory.clone(),
                reasons: reasons.clone(),
            })
            .collect(),
    }
}

/// One template.
pub fn detail(ctx: &Ctx, slug: &str) -> Result<Template, Error> {
    let found = ctx.templates.found();
    let one = found.get(slug).ok_or_else(|| {
        Error::because(ErrorCode::NotFound, format!("there is no template {slug:?}"))
            .suggest("GET /casemate/templates lists them.")
    })?;
    let AppTemplate { manifest, compose, readme, .. } = &one.template;
    Ok(Template {
        summary: summary(&one.template),
        instance_type: manifest.instance_type.clone(),
        parameters: manifest.parameters.iter().cloned().map(Into::into).collect(),
        docker_compose_file: compose.clone(),
        readme: readme.clone(),
        icon: one.icon.clone(),
    })
}

fn summary(of: &AppTemplate) -> TemplateSummary {
    TemplateSummary {
        slug: of.slug.clone(),
        name: of.manifest.name.clone(),
        description: of.manifest.description.clone(),
        tags: of.manifest.tags.clone(),
    }
}

/// A route of the reference that deploys a template of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedTemplate {
    /// `/cvms/eliza`
    Eliza,
    /// `/cvms/workload`
    Workload,
}

impl NamedTemplate {
    /// Its key in the configuration, and the parameter that a request brings.
    const fn key_and_parameter(self) -> (&'static str, &'static str) {
        match self {
            Self::Eliza => ("templates.eliza", "characterfile"),
            Self::Workload => ("templates.workload", "model_id"),
        }
    }

    /// Refused where no template is configured.
    pub fn require(self, ctx: &Ctx) -> Result<(), Error> {
        self.template(ctx).map(|_| ())
    }

    fn template(self, ctx: &Ctx) -> Result<AppTemplate, Error> {
        let (key, parameter) = self.key_and_parameter();
        let slug = match self {
            Self::Eliza => &ctx.config.templates.eliza,
            Self::Workload => &ctx.config.templates.workload,
        };
        let refuse = |why: String| {
            Err(Error::because(ErrorCode::FeatureNotServed, why)
                .suggest(format!("Its operator names a template in {key}."))
                .suggest("Or deploy a compose file: POST /cvms/provision."))
        };
        if slug.is_empty() {
            return refuse("no template is configured for this".to_owned());
        }
        let found = ctx.templates.found();
        let Some(one) = found.get(slug) else {
            return refuse(format!("the template {slug:?} of {key} is not there"));
        };
        let takes = one
            .template
            .manifest
            .parameters
            .iter()
            .any(|of| of.name == parameter && of.into == Destination::Compose);
        if !takes {
            let why = format!(
                "the template {slug:?} has no parameter {parameter:?} into the compose file"
            );
            return refuse(why);
        }
        Ok(one.template.clone())
    }

    /// The compose file with the value of the request. Other parameters have their defaults; `env_keys` are variables
    /// that will be sealed.
    pub fn compose(self, ctx: &Ctx, value: &str, env_keys: &[String]) -> Result<String, Error> {
        let AppTemplate { slug, manifest, compose, .. } = self.template(ctx)?;
        let (_, parameter) = self.key_and_parameter();
        // The values of variables are not known here, only that they come.
        let (of_env, of_file): (Vec<_>, Vec<_>) =
            manifest.parameters.into_iter().partition(|of| of.into == Destination::Env);
        if let Some(missing) = of_env.iter().find(|of| of.required && !env_keys.contains(&of.name))
        {
            return Err(Error::invalid("env_keys", format!("must name {}", missing.name)));
        }
        let values = [(parameter, value)].into_iter().collect();
        fill(&compose, &of_file, &values).map(|filled| filled.compose).map_err(|why| match &why {
            InvalidValue::Kind { name, expected } if name == parameter => {
                Error::invalid(name, format!("must be {expected}"))
            }
            _ => Error::because(
                ErrorCode::FeatureNotServed,
                format!("the template {slug:?} needs more than this request has: {why}"),
            ),
        })
    }
}
