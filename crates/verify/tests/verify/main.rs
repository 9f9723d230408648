//! Bundles, good and bad, judged by the public API.

mod bundles;
mod flips;
mod gpu_tokens;
mod mutations;
mod vectors;
mod world;
