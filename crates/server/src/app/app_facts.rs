//! What there is to know of apps beside themselves: values to filter by, history, usage. These replies are the same in every version of the API, so they are filled in here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    kms_type::KmsType,
    reply::{AppEvent, AppEvents, AppUsage, FilterOptions, UsageRecord},
};
use casemate_core::{
    cvm::Power,
    event::Event as StoredEvent,
    id::{AppId, CvmId, VmUuid},
    operation::OperationKind,
    time::Timestamp,
    usage::{self, Span, Turn},
};
use casemate_store::{
    cvms::{self as stored, PastCvm},
    events::{self, EventQuery, RecordedEvent},
};
use serde_json::json;

use super::{Caller, Ctx, Error, views};

/// CVMs of an app whose history is read: the newest.
const CVMS: i64 = 1000;
/// Changes of phase that are read for the usage of an app: the newest.
const TURNS: i64 = 50_000;

/// The app that the caller means by this text.
pub fn app_id(text: &str) -> Result<AppId, Error> {
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_prefix("app_").or_else(|| lower.strip_prefix("0x")).unwrap_or(&lower);
    bare.parse().map_err(|_| not_found(text))
}

/// There is no such app for the caller.
pub fn not_found(text: &str) -> Error {
    Error::because(ErrorCode::NotFound, "The requested app was not found")
        .detail(ErrorDetail::value("app_id", text))
}

/// The CVMs that an app of the caller has and had, newest first; never none.
async fn cvms_of_app(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
) -> Result<(AppId, Vec<PastCvm>), Error> {
    let app = app_id(text)?;
    let found = stored::app_history(&ctx.db, caller.workspace.id, &app, CVMS).await?;
    if found.is_empty() { Err(not_found(text)) } else { Ok((app, found)) }
}

/// The values that the caller's CVMs have.
pub async fn filter_options(ctx: &Ctx, caller: &Caller) -> Result<FilterOptions, Error> {
    let found = stored::facets(&ctx.db, caller.workspace.id).await?;
    let nodes: Vec<_> = found.nodes.iter().filter_map(|id| ctx.fleet.node(*id)).collect();
    let names: BTreeSet<String> = nodes.iter().map(|node| node.name.clone()).collect();
    let regions: BTreeSet<String> = nodes.iter().map(|node| node.region.clone()).collect();
    let kms: Vec<_> = ctx.fleet.all_kms().filter(|kms| found.kms.contains(&kms.id)).collect();
    let kinds: BTreeSet<KmsType> = kms.iter().map(|kms| kms.kind()).collect();
    Ok(FilterOptions {
        statuses: found.phases,
        image_versions: found.images,
        instance_types: found.instance_types,
        kms_slugs: kms.iter().map(|kms| kms.slug.clone()).collect(),
        kms_types: kinds.iter().map(ToString::to_string).collect(),
        regions: regions.into_iter().filter(|region| !region.is_empty()).collect(),
        nodes: names.into_iter().collect(),
    })
}

/// What is asked of the events of an app.
#[derive(Debug, Clone, Default)]
pub struct EventsAsked {
    /// Kind, operation and time.
    pub asked: EventQuery,
    /// Only those of this CVM.
    pub cvm: Option<VmUuid>,
    /// At most so many.
    pub limit: u16,
}

/// What happened to the CVMs of an app, newest first.
pub async fn history(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
    wanted: &EventsAsked,
) -> Result<AppEvents, Error> {
    let (_, mut known) = cvms_of_app(ctx, caller, text).await?;
    known.retain(|cvm| wanted.cvm.is_none_or(|uuid| uuid == cvm.uuid));
    let ids: Vec<CvmId> = known.iter().map(|cvm| cvm.id).collect();
    let recorded = events::of_cvms(&ctx.db, &ids, &wanted.asked, wanted.limit.into()).await?;
    let by_id: HashMap<i64, &PastCvm> = known.iter().map(|cvm| (cvm.id.0, cvm)).collect();
    let event =
        |recorded: &RecordedEvent| Some(event(caller, by_id.get(&recorded.cvm_id)?, recorded));
    let events: Vec<AppEvent> = recorded.iter().filter_map(event).collect();
    Ok(AppEvents { total: u64::try_from(events.len()).unwrap_or(u64::MAX), events })
}

fn event(caller: &Caller, cvm: &PastCvm, recorded: &RecordedEvent) -> AppEvent {
    let kind = recorded.operation_kind.as_deref().and_then(OperationKind::parse);
    AppEvent {
        message_id: recorded.seq.to_string(),
        correlation_id: recorded.operation_id.clone(),
        event_type: recorded.kind.clone(),
        operation_type: recorded.operation_kind.as_deref().map(Into::into),
        // That of a change of the configuration depends on whether the CVM was on.
        target_state: kind
            .filter(|kind| !kind.is_configuration())
            .map(|kind| kind.target(Power::Running).into()),
        operation_payload: Some(recorded.body.clone()),
        triggered_by: recorded.asked_by,
        instance_id: cvm.uuid.to_string(),
        timestamp: Timestamp::from_micros(recorded.at).to_string(),
        priority: None,
        instance_name: Some(cvm.name.clone()),
        state: turn(&recorded.kind, recorded.at, &recorded.body).map(|(_, _, to)| to.into()),
        instance_type: cvm.instance_type.clone(),
        project_id: None,
        team_id: Some(caller.workspace.id.0),
        user_id: Some(cvm.created_by.0),
    }
}

fn turn(kind: &str, at: i64, body: &str) -> Option<Turn> {
    match StoredEvent::read(kind, body)? {
        StoredEvent::Phase { from, to } => Some((Timestamp::from_micros(at), from, to)),
        _ => None,
    }
}

/// Which part of the usage of an app.
#[derive(Debug, Clone, Copy)]
pub struct UsageAsked {
    /// From when until when.
    pub window: Span,
    /// At most so many records.
    pub limit: usize,
    /// Without the first so many.
    pub offset: usize,
}

/// How long the CVMs of an app were up, by the day, and what that would cost.
pub async fn usage(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
    wanted: UsageAsked,
) -> Result<AppUsage, Error> {
    let (_, known) = cvms_of_app(ctx, caller, text).await?;
    let ids: Vec<CvmId> = known.iter().map(|cvm| cvm.id).collect();
    let query = EventQuery {
        kind: Some(StoredEvent::PHASE.to_owned()),
        until: Some(wanted.window.until),
        ..EventQuery::default()
    };
    let mut turns: BTreeMap<i64, Vec<Turn>> = BTreeMap::new();
    for recorded in events::of_cvms(&ctx.db, &ids, &query, TURNS).await?.iter().rev() {
        if let Some(turn) = turn(&recorded.kind, recorded.at, &recorded.body) {
            turns.entry(recorded.cvm_id).or_default().push(turn);
        }
    }
    let mut records = Vec::new();
    for cvm in &known {
        let Some(turns) = turns.get(&cvm.id.0) else { continue };
        let spans = usage::running(turns, wanted.window);
        let days = usage::by_day(&spans);
        records.extend(days.iter().map(|day| record(ctx, caller, cvm, *day, wanted.window)));
    }
    records
        .sort_by(|a, b| b.billing_day.cmp(&a.billing_day).then(a.instance_id.cmp(&b.instance_id)));
    let part: Vec<UsageRecord> =
        records.into_iter().skip(wanted.offset).take(wanted.limit).collect();
    Ok(AppUsage {
        total: u64::try_from(part.len()).unwrap_or(u64::MAX),
        total_cost: part.iter().map(|record| record.cost).sum(),
        usage: part,
    })
}

fn record(
    ctx: &Ctx,
    caller: &Caller,
    cvm: &PastCvm,
    (day, long): (Timestamp, std::time::Duration),
    window: Span,
) -> UsageRecord {
    let date = |at: Timestamp| at.to_string().chars().take(10).collect::<String>();
    let next = day.plus(std::time::Duration::from_hours(24));
    let rate = views::price(ctx, cvm.instance_type.as_deref());
    let hourly: f64 = rate.as_deref().and_then(|rate| rate.parse().ok()).unwrap_or_default();
    let minutes = long.as_secs_f64() / 60.0;
    let details = json!({
        "name": cvm.name, "instance_type": cvm.instance_type, "hourly_rate": rate
    });
    UsageRecord {
        instance_id: cvm.uuid.to_string(),
        project_id: 0,
        team_id: caller.workspace.id.0,
        timestamp: next.min(window.until).to_string(),
        event_type: "usage".to_owned(),
        cost: minutes / 60.0 * hourly,
        details: Some(details.to_string()),
        usage_type: "compute".to_owned(),
        billing_start: date(day),
        billing_end: date(next),
        duration_minutes: minutes,
        billing_key: format!("{}:{}", cvm.uuid, date(day)),
        billing_hour: day.to_string(),
        billing_day: date(day),
    }
}
