//! A template of the operator as a project.

use std::collections::BTreeMap;

use casemate_api::template::Template;
use casemate_core::app_template::{self, Parameter};
use secrecy::ExposeSecret;

use super::project::{Project, template_name};
use crate::{fail::Fail, vars::Vars};

/// The compose file with the given values, and the variables: those given that are not in it, and defaults.
pub fn fill(
    template: &Template,
    name: Option<&str>,
    mut given: Vars,
) -> Result<(Project, Vars), Fail> {
    let slug = &template.summary.slug;
    let parameters: Vec<Parameter> = template.parameters.iter().cloned().map(Into::into).collect();
    let values: BTreeMap<&str, &str> =
        given.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
    let filled =
        app_template::fill(&template.docker_compose_file, &parameters, &values).map_err(|why| {
            Fail::usage(format!("template {slug}: {why}"))
                .suggest(format!("Give it with -e {}=VALUE.", why.name()))
                .suggest(format!("casemate templates show {slug} lists the parameters."))
        })?;
    given.retain(|(name, _)| !filled.used.contains(name));
    given.extend(filled.defaults.into_iter().map(|(name, value)| (name, value.into())));
    let project = Project {
        dir: "/".into(),
        compose: filled.compose,
        name: template_name(name, slug)?,
        instance_type: template.instance_type.clone(),
    };
    Ok((project, given))
}

#[cfg(test)]
mod tests {
    use casemate_api::template::{TemplateParameter, TemplateSummary};
    use casemate_core::app_template::{Destination, ParameterKind};

    use super::*;

    fn template() -> Template {
        let parameter = |name: &str, into, default: Option<&str>| TemplateParameter {
            name: name.to_owned(),
            description: String::new(),
            kind: ParameterKind::Text,
            into,
            required: default.is_none(),
            default: default.map(str::to_owned),
            secret: false,
        };
        Template {
            summary: TemplateSummary {
                slug: "web".to_owned(),
                name: "Web".to_owned(),
                description: String::new(),
                tags: Vec::new(),
            },
            instance_type: None,
            parameters: vec![
                parameter("title", Destination::Compose, None),
                parameter("LEVEL", Destination::Env, Some("info")),
            ],
            docker_compose_file: "services: {web: {image: a, command: \"@@title@@\"}}".to_owned(),
            readme: String::new(),
            icon: None,
        }
    }

    #[test]
    fn values_go_where_the_template_says() {
        let given: Vars =
            vec![("title".to_owned(), "Hi $HOME".into()), ("TOKEN".to_owned(), "hunter2".into())];
        let (project, vars) = fill(&template(), None, given).unwrap();
        assert_eq!(project.name, "web-app");
        assert!(project.compose.ends_with(r#"command: "Hi $$HOME"}}"#), "{}", project.compose);
        let vars: Vec<(&str, &str)> =
            vars.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
        assert_eq!(vars, [("TOKEN", "hunter2"), ("LEVEL", "info")]);

        let error = fill(&template(), None, Vars::new()).unwrap_err();
        assert_eq!(error.exit, 2);
        assert!(error.text().contains("title is required"), "{}", error.text());
        assert!(error.text().contains("-e title=VALUE"), "{}", error.text());
    }
}
