//! From stored events to what webhooks are sent.

use serde_json::{Map, Value, json};

use super::EventType;
use crate::{
    event::{End, Event},
    operation::OperationKind,
};

/// What webhooks are sent of an event, beside the CVM.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    pub event: EventType,
    /// Details for `data`; no secrets.
    pub data: Map<String, Value>,
}

/// Kinds of stored events of which something is sent; others are not parsed.
const KINDS: [&str; 7] = [
    "cvm.drift",
    "cvm.node_changed",
    "cvm.service_failed",
    "governance.prepared",
    "governance.undone",
    "operation.ended",
    "webhook.disabled",
];

/// What webhooks are sent of a stored event; `None`: nothing.
pub fn notice(kind: &str, body: &Value) -> Option<Notice> {
    if !KINDS.contains(&kind) {
        return None;
    }
    let event = serde_json::from_value(json!({ "kind": kind, "body": body })).ok()?;
    of_event(&event)
}

fn of_event(event: &Event) -> Option<Notice> {
    let (event, data) = match event {
        Event::Ended { kind, how, code, cause } => {
            let event = ended(*kind, *how)?;
            let mut data = json!({ "operation": kind.as_str() });
            if *how == End::Failed {
                data["error"] = json!(cause.clone().unwrap_or_default());
                data["error_code"] = json!(code);
            }
            (event, data)
        }
        Event::Prepared { what, compose_hash, chain_id, expires_at } => {
            let event = match what.as_str() {
                "update" => EventType::UpdatePending,
                _ => EventType::ReplicaPending,
            };
            let data = json!({
                "compose_hash": compose_hash, "chain_id": chain_id,
                "expires_at": expires_at.to_string(),
            });
            (event, data)
        }
        Event::ServiceFailed { service, what, .. } => {
            (EventType::ServiceFailed, json!({ "service": service, "error": what }))
        }
        Event::Drift { what, drift } => {
            (EventType::Drifted, json!({ "drift": drift, "error": what }))
        }
        Event::NodeChanged { from, to, .. } => {
            (EventType::Moved, json!({ "from_node_id": from, "node_id": to }))
        }
        Event::Undone { compose_hash, .. } => {
            (EventType::ApprovalUndone, json!({ "compose_hash": compose_hash }))
        }
        Event::WebhookDisabled { webhook, event, cause } => {
            let data = json!({ "webhook_id": webhook, "event_id": event, "error": cause });
            (EventType::WebhookDisabled, data)
        }
        _ => return None,
    };
    let Value::Object(data) = data else { return None };
    Some(Notice { event, data })
}

/// What is sent of the end of an operation. A superseded or cancelled one is followed by another.
const fn ended(kind: OperationKind, how: End) -> Option<EventType> {
    match (how, kind) {
        (End::Succeeded, OperationKind::Create) => Some(EventType::Created),
        (End::Succeeded, OperationKind::Start) => Some(EventType::Started),
        (End::Succeeded, OperationKind::Stop | OperationKind::Shutdown) => Some(EventType::Stopped),
        (End::Succeeded, OperationKind::Restart) => Some(EventType::Restarted),
        (End::Succeeded, OperationKind::Update) => Some(EventType::Updated),
        (End::Succeeded, OperationKind::Delete) => Some(EventType::Deleted),
        (End::Failed, OperationKind::Create) => Some(EventType::CreateFailed),
        (End::Failed, _) => Some(EventType::OperationFailed),
        // The failed update was sent; a move has an event of its own.
        (End::Succeeded, OperationKind::Rollback | OperationKind::Move)
        | (End::Superseded | End::Cancelled, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cvm::FailureCode;

    #[test]
    fn ends_of_operations_are_sent_and_their_steps_are_not() {
        let sent = |kind, how, cause: Option<&str>| {
            let event = Event::Ended {
                kind,
                how,
                code: cause.map(|_| FailureCode::BootFailed),
                cause: cause.map(str::to_owned),
            };
            notice(event.kind(), &event.body())
        };
        let created = sent(OperationKind::Create, End::Succeeded, None).unwrap();
        assert_eq!(created.event, EventType::Created);
        assert_eq!(Value::Object(created.data), json!({ "operation": "create" }));
        let failed = sent(OperationKind::Create, End::Failed, Some("no such image")).unwrap();
        assert_eq!(failed.event, EventType::CreateFailed);
        assert_eq!(failed.data["error"], "no such image");
        let update = sent(OperationKind::Update, End::Failed, Some("x")).unwrap();
        assert_eq!(
            (update.event, &update.data["operation"]),
            (EventType::OperationFailed, &json!("update"))
        );
        for how in [End::Superseded, End::Cancelled] {
            assert_eq!(sent(OperationKind::Restart, how, None), None);
        }
        let accepted = Event::Accepted { kind: OperationKind::Create };
        assert_eq!(notice(accepted.kind(), &accepted.body()), None);
        assert_eq!(notice("operation.ended", &json!({ "of": "a newer version" })), None);
    }

    #[test]
    fn every_kind_that_is_parsed_is_a_kind_of_event() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/events");
        for kind in KINDS {
            let text = std::fs::read_to_string(format!("{golden}/{kind}.json")).unwrap();
            assert!(text.contains(kind), "{kind}");
        }
    }
}
