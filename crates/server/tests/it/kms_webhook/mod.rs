//! The authorisation webhook, asked as dstack-kms asks it. dstack-kms is not here: bodies and answers are as
//! its source (0.5.4 to 0.6.0) and its release notes (0.6.4, 0.6.5) say.

mod causes;
mod decisions;
mod records;
mod stage;
