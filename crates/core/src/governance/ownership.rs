//! That the owner of an app's contract wants a workspace to have the app (pure). The owner signs a text as EIP-191
//! has it (`personal_sign`); the text names the app, the chain, the workspace and the time.

use std::{fmt, time::Duration};

use alloy_primitives::{Signature, eip191_hash_message};

use crate::{
    id::{Address, AppId, Wallet, WorkspaceId},
    time::Timestamp,
};

/// How long a signature counts, and how far ahead the clock of the one who signs may be.
pub const VALID: Duration = Duration::from_mins(15);

/// What is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnershipClaim {
    pub app: AppId,
    pub chain_id: u64,
    pub workspace: WorkspaceId,
    /// Random, so it tells the workspace from one of the same number in another installation.
    pub wallet: Wallet,
    /// Whole seconds count.
    pub issued_at: Timestamp,
}

impl fmt::Display for OwnershipClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issued = Timestamp::from_micros(
            i64::try_from(self.issued_at.unix_seconds()).unwrap_or(0).saturating_mul(1_000_000),
        );
        write!(
            f,
            "Casemate: this app belongs to this workspace.\napp: 0x{}\nchain: {}\nworkspace: wks_{} {}\n\
             issued: {issued}",
            self.app, self.chain_id, self.workspace, self.wallet
        )
    }
}

/// Why a claim is not proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("is not a signature: 65 bytes in hex are one")]
    Form,
    #[error("was issued more than 15 minutes ago, or in the future")]
    Time,
    #[error("is not newer than the proof that counts now")]
    Older,
    #[error("is by 0x{signer}, and the owner of the contract is 0x{owner}")]
    Signer { signer: Address, owner: Address },
    #[error("cannot be checked: the contract has no owner")]
    NoOwner,
}

/// Whether the owner signed the claim. `newest`: the time of the last proof for this app.
pub fn prove(
    claim: &OwnershipClaim,
    signature: &str,
    owner: Option<Address>,
    newest: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Unproven> {
    let owner = owner.ok_or(Unproven::NoOwner)?;
    let (ahead, age) = (claim.issued_at.since(now), now.since(claim.issued_at));
    if ahead > VALID || age > VALID {
        return Err(Unproven::Time);
    }
    if newest.is_some_and(|newest| claim.issued_at <= newest) {
        return Err(Unproven::Older);
    }
    let mut bytes = [0; 65];
    let digits = signature.trim();
    hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), &mut bytes)
        .map_err(|_| Unproven::Form)?;
    let signature = Signature::from_raw_array(&bytes).map_err(|_| Unproven::Form)?;
    let hash = eip191_hash_message(claim.to_string());
    let signer = signature.recover_address_from_prehash(&hash).map_err(|_| Unproven::Form)?;
    let signer = Address::from_bytes(signer.into_array());
    if signer == owner { Ok(()) } else { Err(Unproven::Signer { signer, owner }) }
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::SigningKey;

    use super::*;

    const ISSUED: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn claim() -> OwnershipClaim {
        OwnershipClaim {
            app: "ab".repeat(20).parse().unwrap(),
            chain_id: 8453,
            workspace: WorkspaceId(7),
            wallet: Wallet::from_bytes([9; 20]),
            issued_at: ISSUED,
        }
    }

    fn signed(claim: &OwnershipClaim, key: u8) -> (String, Address) {
        let key = SigningKey::from_slice(&[key; 32]).unwrap();
        let hash = eip191_hash_message(claim.to_string());
        let signature = Signature::from(key.sign_prehash_recoverable(hash.as_slice()).unwrap());
        let address = alloy_primitives::Address::from_public_key(key.verifying_key());
        (hex::encode(signature.as_bytes()), Address::from_bytes(address.into_array()))
    }

    #[test]
    fn the_text_names_app_chain_workspace_and_time() {
        let text = claim().to_string();
        for part in
            [&*"ab".repeat(20), "chain: 8453", "wks_7", &"09".repeat(20), "2027-01-15T08:00:00Z"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn only_a_fresh_signature_of_the_owner_over_just_this_proves_it() {
        let ((signature, owner), now) = (signed(&claim(), 1), ISSUED);
        let judge = |claim: &OwnershipClaim, text: &str, owner, newest, now| {
            prove(claim, text, owner, newest, now)
        };
        assert_eq!(judge(&claim(), &signature, Some(owner), None, now), Ok(()));
        assert_eq!(judge(&claim(), &format!("0x{signature}"), Some(owner), None, now), Ok(()));
        assert_eq!(judge(&claim(), &signature, None, None, now), Err(Unproven::NoOwner));
        let (other, _) = signed(&claim(), 2);
        let by_other = judge(&claim(), &other, Some(owner), None, now);
        assert!(matches!(by_other, Err(Unproven::Signer { .. })));
        let others = [
            OwnershipClaim { workspace: WorkspaceId(8), ..claim() },
            OwnershipClaim { chain_id: 1, ..claim() },
            OwnershipClaim { app: "ac".repeat(20).parse().unwrap(), ..claim() },
            OwnershipClaim { wallet: Wallet::from_bytes([8; 20]), ..claim() },
            OwnershipClaim { issued_at: ISSUED.plus(Duration::from_secs(1)), ..claim() },
        ];
        for other in others {
            let judged = judge(&other, &signature, Some(owner), None, now);
            assert!(matches!(judged, Err(Unproven::Signer { .. } | Unproven::Form)), "{other:?}");
        }
        let late = ISSUED.plus(VALID).plus(Duration::from_secs(1));
        assert_eq!(judge(&claim(), &signature, Some(owner), None, late), Err(Unproven::Time));
        let early = OwnershipClaim { issued_at: late, ..claim() };
        assert_eq!(judge(&early, &signature, Some(owner), None, now), Err(Unproven::Time));
        // A proof that was used is not used again.
        assert_eq!(
            judge(&claim(), &signature, Some(owner), Some(ISSUED), now),
            Err(Unproven::Older)
        );
        for text in ["", "0x", "zz", &signature[2..], &format!("{signature}00")] {
            assert_eq!(
                judge(&claim(), text, Some(owner), None, now),
                Err(Unproven::Form),
                "{text}"
            );
        }
    }
}
