//! The operations of a CVM as people look at them: the list, what is under way, and the steps of
//! each, read back from the events.

use std::collections::BTreeMap;

use casemate_api::{
    error::ValidationItem,
    reply::{BatchStop, BatchStopError, StepOutcome},
};
use casemate_core::{
    cvm::{Phase, Power},
    event::{BootState, Event as Stored, StepCode},
    id::OperationId,
    operation::OperationState,
    time::Timestamp,
};
use casemate_store::{
    Tx,
    cvms::Cvm,
    events::{self, Event},
    operations::{self, Operation},
};

use super::{
    Caller, Ctx, Error, cvms,
    power::{self, Verb},
    views,
};
use crate::view::{
    CauseView, OperationEventView, OperationRecordView, OperationStatusView, StepView,
};

pub use casemate_store::operations::OperationFilter;

/// Events read for one page of operations; a page of 100 long ones stays below.
const EVENTS: i64 = 20_000;

/// A page of operations.
#[derive(Debug)]
pub struct Page {
    /// Newest first.
    pub items: Vec<OperationRecordView>,
    /// Where the list goes on.
    pub next: Option<i64>,
    /// Length of the whole list.
    pub total: u64,
}

/// A page of the operations of a CVM.
pub async fn page(
    ctx: &Ctx,
    cvm: &Cvm,
    shown: &OperationFilter,
    limit: u16,
) -> Result<Page, Error> {
    let wanted = i64::from(limit) + 1;
    let mut found = operations::of_cvm(&ctx.db, cvm.id, shown, wanted).await?;
    let more = found.len() > usize::from(limit);
    found.truncate(limit.into());
    let next = found.last().filter(|_| more).map(|last| last.seq);
    let total = operations::count(&ctx.db, cvm.id, shown).await?;
    Ok(Page {
        items: records(ctx, cvm, &found).await?,
        next,
        total: u64::try_from(total).unwrap_or(0),
    })
}

/// What a CVM is busy with.
pub async fn status(ctx: &Ctx, cvm: &Cvm) -> Result<OperationStatusView, Error> {
    let newest = operations::of_cvm(&ctx.db, cvm.id, &OperationFilter::default(), 200).await?;
    let waits = |one: &&Operation| one.state == OperationState::Pending && one.joined_to.is_none();
    let queued = newest.iter().filter(waits).count();
    let open: Vec<Operation> =
        newest.into_iter().filter(|one| one.state == OperationState::Running).collect();
    Ok(OperationStatusView {
        current: records(ctx, cvm, &open).await?.pop(),
        queued: u32::try_from(queued).unwrap_or(u32::MAX),
    })
}

async fn records(
    ctx: &Ctx,
    cvm: &Cvm,
    found: &[Operation],
) -> Result<Vec<OperationRecordView>, Error> {
    let ids: Vec<OperationId> = found.iter().map(|one| one.id).collect();
    let mut told: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in events::of_operations(&ctx.db, &ids, EVENTS).await? {
        if let Some(operation) = event.operation_id.clone() {
            told.entry(operation).or_default().push(event);
        }
    }
    // Waiting ones in the order in which their turn comes: the list has the newest first.
    let mut before = found
        .iter()
        .filter(|one| one.state == OperationState::Pending && one.joined_to.is_none())
        .count();
    let record = |one: &Operation| {
        let waits = one.state == OperationState::Pending && one.joined_to.is_none();
        let position = waits.then(|| {
            before -= 1;
            u32::try_from(before).unwrap_or(u32::MAX)
        });
        let events = told.get(&one.id.to_string()).map(Vec::as_slice).unwrap_or_default();
        record(ctx, cvm, one, events, position)
    };
    Ok(found.iter().map(record).collect())
}

fn record(
    ctx: &Ctx,
    cvm: &Cvm,
    one: &Operation,
    events: &[Event],
    queue_position: Option<u32>,
) -> OperationRecordView {
    let failure = one.failure.clone().map(|(code, message)| CauseView { code, message });
    let duration = one.ended_at.map(|end| end.since(one.created_at));
    OperationRecordView {
        correlation_id: one.id,
        kind: one.kind,
        // A joined change is under way though its leader is what runs.
        state: match one.joined_to {
            Some(_) if one.state == OperationState::Pending => OperationState::Running,
            _ => one.state,
        },
        target: one.kind.target(match cvm.desired.power {
            Power::Deleted => Power::Running,
            power => power,
        }),
        triggered_by: one.created_by,
        triggered_by_username: Some(one.username.clone()),
        triggered_by_email: Some(one.email.clone()),
        started_at: one.created_at.to_string(),
        ended_at: one.ended_at.map(|at| at.to_string()),
        duration_ms: duration.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        steps: steps(events, one, failure.as_ref()),
        failure,
        waiting_for: (one.state == OperationState::Running)
            .then(|| views::waiting(ctx, cvm))
            .flatten(),
        events: phases(events),
        instance_name: cvm.spec.name.clone(),
        compose_hash: None,
        queue_position,
        joined_to: one.joined_to,
        env_report: one.report.clone(),
    }
}

fn at(event: &Event) -> String {
    Timestamp::from_micros(event.at).to_string()
}

/// The steps of an operation, oldest first. The boot that follows a start is a step of its own: it
/// is the long one.
fn steps(events: &[Event], one: &Operation, failure: Option<&CauseView>) -> Vec<StepView> {
    let mut steps: Vec<StepView> = Vec::new();
    let begin = |name: &str, event: &Event| StepView {
        name: name.to_owned(),
        started_at: at(event),
        ended_at: None,
        outcome: None,
        cause: None,
    };
    for row in events {
        match Stored::read(&row.kind, &row.body) {
            Some(Stored::Step(event)) => {
                let name = event.step.as_str();
                if event.code == StepCode::Intended {
                    steps.push(begin(name, row));
                    continue;
                }
                let open =
                    steps.last().is_some_and(|last| last.name == name && last.outcome.is_none());
                if !open {
                    steps.push(begin(name, row));
                }
                if let Some(last) = steps.last_mut() {
                    end(last, row, event.code, &event.outcome);
                }
            }
            Some(Stored::Boot(event)) => {
                if steps.last().is_none_or(|last| last.name != "boot") {
                    steps.push(begin("boot", row));
                }
                let code = match event.state {
                    BootState::Progress => continue,
                    BootState::Done => StepCode::Done,
                    BootState::Failed => StepCode::Refused,
                };
                if let Some(last) = steps.last_mut() {
                    end(last, row, code, &event.progress);
                }
            }
            _ => {}
        }
    }
    // What was under way when the operation failed is what failed.
    if let (Some(failure), Some(ended), Some(last)) = (failure, one.ended_at, steps.last_mut())
        && last.outcome != Some(StepOutcome::Done)
    {
        last.outcome = Some(StepOutcome::Failed);
        last.ended_at.get_or_insert_with(|| ended.to_string());
        last.cause = Some(failure.clone());
    }
    steps
}

const fn outcome_of(code: StepCode) -> StepOutcome {
    match code {
        StepCode::Done => StepOutcome::Done,
        StepCode::NodeUnreachable | StepCode::OutcomeUnknown => StepOutcome::Unknown,
        StepCode::Intended
        | StepCode::Refused
        | StepCode::ChainSilent
        | StepCode::GatewayFailed => StepOutcome::Failed,
    }
}

fn end(step: &mut StepView, event: &Event, code: StepCode, message: &str) {
    step.ended_at = Some(at(event));
    step.outcome = Some(outcome_of(code));
    step.cause = (code != StepCode::Done)
        .then(|| CauseView { code: code.as_str().to_owned(), message: message.to_owned() });
}

fn phases(events: &[Event]) -> Vec<OperationEventView> {
    let mut phase = Phase::Starting;
    let mut shown = Vec::new();
    for event in events {
        if let Some(Stored::Phase { to, .. }) = Stored::read(&event.kind, &event.body) {
            phase = to;
        }
        let kind = event.kind.clone();
        shown.push(OperationEventView { kind, at: at(event), phase });
    }
    shown
}

/// Stops many CVMs at once, in one transaction.
pub async fn batch_stop(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    texts: &[String],
) -> Result<BatchStop, Error> {
    let total = u64::try_from(texts.len()).unwrap_or(u64::MAX);
    let mut reply = BatchStop { total, stopped: 0, skipped: 0, errors: Vec::new() };
    for text in texts {
        let done = match cvms::find(ctx, caller, text).await {
            Ok(cvm) => power::apply(ctx, tx, caller, cvm.id, Verb::Stop).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(done) if done.changed => reply.stopped += 1,
            Ok(_) => reply.skipped += 1,
            Err(error @ (Error::Store(_) | Error::Internal(_))) => return Err(error),
            Err(error) => {
                reply.errors.push(BatchStopError { cvm_id: text.clone(), error: error.words() });
            }
        }
    }
    Ok(reply)
}

/// The place in a list that a cursor means.
pub fn cursor(text: &str) -> Result<i64, Error> {
    let why = "Input should be the next_cursor of an earlier page";
    text.parse().map_err(|_| {
        Error::Invalid(vec![ValidationItem::at(&["query", "cursor"], "value_error", why, text)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_decide_how_a_step_ended() {
        use crate::app::events::StepResult;
        let results = [
            StepResult::Done,
            StepResult::NodeUnreachable("done".to_owned()),
            StepResult::OutcomeUnknown("done".to_owned()),
            StepResult::Refused("node unreachable".to_owned()),
            StepResult::ChainSilent("done".to_owned()),
            StepResult::GatewayFailed("done".to_owned()),
        ];
        assert_eq!(
            results.map(|result| outcome_of(result.code())),
            [
                StepOutcome::Done,
                StepOutcome::Unknown,
                StepOutcome::Unknown,
                StepOutcome::Failed,
                StepOutcome::Failed,
                StepOutcome::Failed,
            ]
        );
    }
}
