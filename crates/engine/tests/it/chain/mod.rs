//! A chain over JSON-RPC, asked as the server asks it. What can be shown with contracts is shown twice: on
//! the chain in memory, and on anvil with the doubles of `contracts/`. Without anvil these tests fail and
//! say how to get it. Endpoints that misbehave are those of the chain in memory.

mod faults;
mod reads;
mod rules;
mod scenarios;
mod stage;
