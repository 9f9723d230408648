//! Bundles, good and bad, judged by the public API.

#![cfg(test)]

mod agreement;
mod bundles;
mod flips;
mod gpu_tokens;
mod mutations;
mod vectors;
mod world;
