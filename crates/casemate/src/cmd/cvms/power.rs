//! `casemate cvms start`, `stop`, `shutdown`, `restart` and `delete`.

use std::time::Duration;

use casemate_api::reply::Vm;
use casemate_client::{Client, Error};
use serde_json::json;

use super::{
    Power,
    wait::{progress_printer, wait},
};
use crate::{cli::Global, connect, fail::Fail, ui};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Shutdown,
    Restart { force: bool },
}

impl Verb {
    /// The CVM state that the verb leads to.
    const fn target(self) -> &'static str {
        match self {
            Self::Start | Self::Restart { .. } => "running",
            Self::Stop | Self::Shutdown => "stopped",
        }
    }

    async fn send(self, client: &Client, cvm: &str) -> Result<Vm, Error> {
        match self {
            Self::Start => client.start(cvm).await,
            Self::Stop => client.stop(cvm).await,
            Self::Shutdown => client.shutdown(cvm).await,
            Self::Restart { force } => client.restart(cvm, force).await,
        }
    }
}

pub(super) async fn act(global: &Global, args: Power, verb: Verb) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let vm = verb.send(&client, &args.one.cvm).await?;
    if !args.wait {
        if global.json {
            ui::json(&vm);
        } else {
            ui::line(format!("{}: {}", vm.name, vm.status));
        }
        return Ok(());
    }
    let within = Duration::from_secs(args.timeout);
    // By id: a name or an instance id may belong to another CVM by then.
    let state =
        wait(&client, &vm.id.to_string(), verb.target(), within, progress_printer(global.json))
            .await?;
    if global.json {
        ui::json(&state);
    } else {
        ui::line(format!("{}: {}", vm.name, state.status));
    }
    Ok(())
}

pub(super) async fn delete(global: &Global, args: Power, yes: bool) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let info = client.cvm_info(&args.one.cvm).await?;
    let question = format!("Delete {} ({}) and its data?", info.name, info.id);
    if !yes && (global.json || !ui::confirm(&question)) {
        return Err(Fail::new("not-confirmed", format!("{} was not deleted", info.name))
            .suggest("Use --yes to delete without confirmation."));
    }
    client.delete_cvm(&info.id).await?;
    if args.wait {
        let within = Duration::from_secs(args.timeout);
        wait(&client, &info.id, "deleted", within, progress_printer(global.json)).await?;
    }
    let status = if args.wait { "deleted" } else { "deleting" };
    if global.json {
        ui::json(&json!({ "id": info.id, "name": info.name, "status": status }));
    } else {
        ui::line(format!("{}: {status}", info.name));
    }
    Ok(())
}
