//! Container output, streamed from the node. The one use case that talks to a node while a client
//! waits: it reads, changes nothing, and ends with the client or the process.

use casemate_api::error::ErrorCode;
use casemate_core::cvm::EngineState;
use casemate_engine::node::{CallError, LogQuery, LogStream};

use futures_util::StreamExt;

use super::{Caller, Ctx, Error, cvms};

/// The output of a CVM's containers.
pub async fn read(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
    follow: bool,
    tail: u32,
) -> Result<LogStream, Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    let node = super::provision::node(ctx, cvm.node)?;
    let EngineState::Present { vm } = &cvm.status.engine else {
        return Err(Error::because(ErrorCode::StateConflict, "the CVM has no VM yet: no output"));
    };
    let lines =
        node.node.logs(vm, LogQuery { follow, tail }).await.map_err(|error| match error {
            CallError::Rejected(why) => Error::because(ErrorCode::StateConflict, why),
            CallError::Unreachable(why) | CallError::Unknown(why) => {
                Error::because(ErrorCode::NodeUnreachable, format!("{}: {why}", node.name))
            }
        })?;
    Ok(lines.take_until(ctx.stop.clone().cancelled_owned()).boxed())
}
