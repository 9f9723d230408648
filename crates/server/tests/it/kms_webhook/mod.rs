//! The authorisation webhook, asked as dstack-kms asks it. Guests take their keys from the
//! double of dstack-kms; bodies and answers are as
//! the source of 0.6.0 and the release notes of 0.6.4 and 0.6.5 say; the oldest bodies are the least that its own
//! webhooks accept.

mod causes;
mod decisions;
mod records;
mod stage;
