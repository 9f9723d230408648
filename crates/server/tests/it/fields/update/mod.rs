//! The section *Update* of `docs/fields.md`, row by row: a value is sent through every route that takes
//! it, to a CVM that runs and to one that is stopped, and looked for in what clients get, in the
//! document, and in what the node was told; everything else stays.
//!
//! | module | what it holds |
//! |---|---|
//! | [`table`] | reads the tables, and knows the routes |
//! | [`row`] | what a row's test is, and how it is run |
//! | [`rows`], [`documents`] | the rows with an effect |
//! | [`refusals`] | the rows that are refused |
//! | [`complete`] | no field without a row, no row without a test |

mod complete;
mod documents;
mod refusals;
mod row;
mod rows;
mod table;
