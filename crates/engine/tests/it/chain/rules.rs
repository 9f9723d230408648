//! What each of the nine rules is for: without it, these scenarios come out wrong, and no others.

use casemate_core::governance::rules::{Rule, without};

use super::{scenarios::failures, stage::Stage};

const NEEDED_FOR: [(Rule, &[&str]); 9] = [
    (Rule::LogAddress, &["the_hash_is_added_on_another_app"]),
    (Rule::HashInData, &["another_hash_is_added"]),
    (Rule::ReceiptStatus, &["a_stranger_tries_to_add_the_hash"]),
    (
        Rule::State,
        &[
            "a_safe_adds_and_removes_in_one_batch",
            "the_hash_was_never_added",
            "an_old_transaction_is_sent_again",
        ],
    ),
    (Rule::Device, &["the_device_is_not_allowed"]),
    (Rule::Registration, &["the_app_is_not_registered"]),
    (Rule::Confirmations, &["confirmations_are_wanted"]),
    (Rule::EmptyData, &["a_stranger_registers_an_address_without_code"]),
    (Rule::ChainId, &["the_chain_is_another"]),
];

/// Without confirmations the state may be read below the block of the transaction, if the block comes
/// between the two.
const RACES: (Rule, &str) = (Rule::Confirmations, "the_transaction_is_still_pending");

async fn each_rule_is_needed(stage: &Stage) {
    for (rule, scenarios) in NEEDED_FOR {
        let switched_off = without(rule);
        let mut failed = failures(stage).await;
        drop(switched_off);
        failed.retain(|(name, _)| (rule, *name) != RACES);
        let names: Vec<&str> = failed.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, scenarios, "without {rule:?}: {failed:?}");
    }
}

#[tokio::test]
async fn each_rule_is_needed_on_the_chain_in_memory() {
    each_rule_is_needed(&Stage::fake().await).await;
}

#[tokio::test]
async fn each_rule_is_needed_on_anvil() {
    each_rule_is_needed(&Stage::anvil().await).await;
}
