//! The error of a command: code, message, details, suggestions.

use casemate_api::{
    error::{Structured, ValidationItem},
    reply::Failure,
};
use casemate_client::{ApiError, Error, OperationFailed, RolledBack};
use serde::Serialize;
use serde_json::{Value, json};

use crate::ui;

/// Exit code: the command was refused or failed.
const FAILED: u8 = 1;
/// Exit code: wrong usage.
const USAGE: u8 = 2;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fail {
    /// Machine-readable: the API's error code, or one of the CLI.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Names and values.
    pub details: Vec<(String, String)>,
    /// What to do about it, one sentence each.
    pub suggestions: Vec<String>,
    /// Id of the failed request.
    pub request_id: Option<Box<str>>,
    /// Exit code of the process.
    #[serde(skip)]
    pub exit: u8,
}

impl Fail {
    /// An error with exit code 1.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            details: Vec::new(),
            suggestions: Vec::new(),
            request_id: None,
            exit: FAILED,
        }
    }

    /// A usage error, with exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: USAGE, ..Self::new("usage", message) }
    }

    pub fn detail(mut self, name: &str, value: impl Into<String>) -> Self {
        self.details.push((name.to_owned(), value.into()));
        self
    }

    pub fn suggest(mut self, what: impl Into<String>) -> Self {
        self.suggestions.push(what.into());
        self
    }

    /// The error for a failed operation of a CVM, with the server's cause.
    pub fn from_failed_operation(failure: Option<&Failure>, status: &str) -> Self {
        match failure {
            Some(failure) => Self::new(&failure.code, failure.cause.clone()),
            None => Self::new(
                "failed",
                format!("the operation ended in the state {status:?} without a cause"),
            ),
        }
    }

    /// Prints the error to stderr.
    pub fn print(&self, as_json: bool) {
        if as_json {
            ui::print_note(self.json().to_string());
        } else {
            ui::print_note(self.text());
        }
    }

    fn json(&self) -> Value {
        let details: Vec<Value> = self
            .details
            .iter()
            .map(|(field, value)| json!({ "field": field, "value": value }))
            .collect();
        json!({ "error": {
            "code": self.code,
            "message": self.message,
            "details": details,
            "suggestions": self.suggestions,
            "request_id": self.request_id,
        }})
    }

    /// One line for the error, one for each detail and suggestion.
    pub fn text(&self) -> String {
        let mut lines = vec![format!("error: {} ({})", self.message, self.code)];
        lines.extend(self.details.iter().map(|(name, value)| format!("  {name}: {value}")));
        lines.extend(self.suggestions.iter().map(|what| format!("  try: {what}")));
        lines.extend(self.request_id.iter().map(|id| format!("  request: {id}")));
        lines.join("\n")
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        match &error {
            Error::Api(api) => from_reply(api),
            Error::Transport { .. } => Self::new("unreachable", with_root_cause(&error)).suggest(
                "Check that the server is running. Start a local one with `casemate up` or `casemate serve`.",
            ),
            Error::Operation(failed) => from_operation(failed),
            Error::TimedOut { .. } => Self::new("timeout", error.to_string())
                .suggest("The operation continues. Check it with `casemate cvms get`."),
            Error::Identifier(_) => Self::usage(error.to_string()),
            Error::Decode { .. } | Error::Encode(_) => {
                Self::new("not-understood", error.to_string())
                    .suggest("Check the API URL; it ends with /api/v1.")
            }
        }
    }
}

fn from_operation(failed: &OperationFailed) -> Fail {
    let code = failed.code.as_deref().unwrap_or(failed.state.as_str());
    let fail = Fail::new(code, failed.cause.clone())
        .detail("operation", format!("{} {}", failed.kind, failed.correlation_id));
    let back = match &failed.rolled_back {
        RolledBack::No => return fail,
        RolledBack::Done => "yes, to the previous configuration".to_owned(),
        RolledBack::UnderWay(operation) => format!("in progress, in operation {operation}"),
        RolledBack::Failed(cause) => format!("failed: {cause}"),
    };
    fail.detail("rolled back", back)
}

fn from_reply(error: &ApiError) -> Fail {
    let mut fail = match error.body.structured() {
        Some(body) => from_structured(body),
        None => Fail::new(&format!("http-{}", error.status), error.body.message()),
    };
    if let casemate_api::error::ErrorBody::Validation(body) = &error.body {
        fail.details.extend(body.detail.iter().map(field_path));
    }
    if error.status == 401 {
        fail = fail.suggest("Set --api-key or CASEMATE_API_KEY, or the local server's --data-dir.");
    }
    if error.status == 404 && error.body.structured().is_none() {
        fail = fail.suggest("Check the API URL; it ends with /api/v1.");
    }
    fail.request_id = error.request_id.as_deref().map(Box::from);
    fail
}

fn from_structured(body: &Structured) -> Fail {
    let mut fail = Fail::new(&body.error_code, body.message.clone());
    for detail in &body.details {
        let value = detail.value.as_ref().map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let text: Vec<String> = value.into_iter().chain(detail.message.clone()).collect();
        fail = fail.detail(&detail.field, text.join(" "));
    }
    fail.suggestions.clone_from(&body.suggestions);
    fail.suggestions.extend(body.links.iter().map(|link| format!("{}: {}", link.label, link.url)));
    fail
}

fn field_path(item: &ValidationItem) -> (String, String) {
    let steps = item.loc.iter().map(|step| match step {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    (steps.collect::<Vec<_>>().join("."), item.msg.clone())
}

/// The error and its root cause. The causes between repeat them.
fn with_root_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    match causes.last() {
        Some(root) => format!("{error}: {root}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use casemate_api::error::{ErrorBody, ErrorCode};

    use super::*;

    fn reply(status: u16, body: Value) -> Fail {
        let body: ErrorBody = serde_json::from_value(body).unwrap();
        let error = ApiError {
            call: "GET /x".to_owned(),
            status,
            body,
            request_id: Some("req-1".to_owned()),
            retry_after: None,
        };
        Error::Api(Box::new(error)).into()
    }

    #[test]
    fn a_coded_error_is_told_whole() {
        let fail = reply(
            400,
            json!({"error_code": ErrorCode::InvalidRequest.code(), "message": "no",
                   "details": [{"field": "vcpu", "value": 9, "message": "too many"}],
                   "suggestions": ["Ask for fewer."], "links": [{"url": "https://h/d", "label": "Sizes"}]}),
        );
        let expected = "error: no (ERR-02-008)\n  vcpu: 9 too many\n  try: Ask for fewer.\n  try: Sizes: https://h/d\n  request: req-1";
        assert_eq!(fail.text(), expected);
        assert_eq!(fail.json()["error"]["details"][0]["field"], "vcpu");
    }

    #[test]
    fn errors_without_a_code_get_the_status_and_the_places() {
        assert_eq!(
            reply(409, json!({"detail": "busy"})).text(),
            "error: busy (http-409)\n  request: req-1"
        );
        let item = json!({"loc": ["body", "ports", 0], "msg": "Field required", "type": "missing"});
        let text = reply(422, json!({ "detail": [item] })).text();
        assert!(
            text.contains("error: Field required (http-422)\n  body.ports.0: Field required"),
            "{text}"
        );
        assert!(reply(401, json!({"detail": "no"})).text().contains("--api-key"));
    }

    #[test]
    fn a_failed_operation_is_told_with_the_way_back() {
        let failed = OperationFailed {
            correlation_id: "op-1".to_owned(),
            kind: "update".into(),
            state: "failed".into(),
            code: Some("boot_timeout".to_owned()),
            cause: "no boot".to_owned(),
            rolled_back: RolledBack::Done,
        };
        let text = Fail::from(Error::Operation(Box::new(failed.clone()))).text();
        let expected = "error: no boot (boot_timeout)\n  operation: update op-1\n  rolled back: yes, to the previous configuration";
        assert_eq!(text, expected);
        let other = OperationFailed {
            state: "superseded".into(),
            code: None,
            rolled_back: RolledBack::No,
            ..failed
        };
        let text = Fail::from(Error::Operation(Box::new(other))).text();
        assert_eq!(text, "error: no boot (superseded)\n  operation: update op-1");
    }

    #[test]
    fn usage_is_another_exit_code() {
        assert_eq!(Fail::usage("x").exit, 2);
        assert_eq!(Fail::new("x", "y").exit, 1);
        let fail: Fail = Error::Identifier("..".to_owned()).into();
        assert_eq!(fail.exit, 2);
    }
}
