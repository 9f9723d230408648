use casemate_api::template::TemplateParameter;
use casemate_core::app_template::{Destination, ParameterKind};
use clap::Subcommand;

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// List app templates of the operator.
#[derive(Debug, Subcommand)]
pub enum Templates {
    /// List templates.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  casemate templates ls\n  casemate templates ls --json"
    )]
    Ls,
    /// Show a template: its parameters, or with `--compose` its compose file.
    #[command(
        after_help = "Examples:\n  casemate templates show web\n  casemate templates show web --compose"
    )]
    Show {
        /// Name of the template.
        name: String,
        /// Print the compose file.
        #[arg(long)]
        compose: bool,
    },
}

pub async fn run(global: &Global, command: Templates) -> Result<(), Fail> {
    let client = connect::client(global)?;
    match command {
        Templates::Ls => {
            let found = client.templates().await?;
            if global.json {
                ui::json(&found);
                return Ok(());
            }
            let rows = found.items.iter().map(|one| {
                vec![
                    one.slug.clone(),
                    one.name.clone(),
                    one.description.clone(),
                    one.tags.join(", "),
                ]
            });
            table::print(
                &["template", "name", "description", "tags"],
                rows.collect(),
                "no templates",
            );
            for fault in &found.faults {
                let reasons = fault.reasons.join("; ");
                ui::print_note(format!("note: {} is no template: {reasons}", fault.directory));
            }
        }
        Templates::Show { name, compose } => {
            let found = client.template(&name).await?;
            if global.json {
                ui::json(&found);
                return Ok(());
            }
            if compose {
                ui::line(found.docker_compose_file.trim_end());
                return Ok(());
            }
            ui::line(format!("{}: {}", found.summary.name, found.summary.description));
            let rows = found.parameters.iter().map(parameter).collect();
            table::print(
                &["parameter", "type", "default", "goes into", "what for"],
                rows,
                "no parameters",
            );
            ui::line(format!("To deploy it: {}", command_line(&name, &found.parameters)));
        }
    }
    Ok(())
}

fn parameter(of: &TemplateParameter) -> Vec<String> {
    let kind = match of.kind {
        ParameterKind::Text if of.secret => "secret",
        ParameterKind::Text => "text",
        ParameterKind::Integer => "integer",
        ParameterKind::Boolean => "true or false",
    };
    let into = match of.into {
        Destination::Env => "variables, sealed",
        Destination::Compose => "compose file",
    };
    let default = of.default.clone();
    let default = default.unwrap_or_else(|| if of.required { "required" } else { "-" }.to_owned());
    [of.name.as_str(), kind, &default, into, &of.description].map(str::to_owned).to_vec()
}

/// The command with all that is required.
fn command_line(name: &str, parameters: &[TemplateParameter]) -> String {
    let required = parameters.iter().filter(|of| of.required);
    let options: Vec<String> = required.map(|of| format!(" -e {}=…", of.name)).collect();
    format!("casemate up --template {name}{}", options.concat())
}
