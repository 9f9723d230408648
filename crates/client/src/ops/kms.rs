use casemate_api::{
    kms_admin::{ManagedKms, ManagedKmsList},
    reply::{KmsContractNodes, KmsList, KmsOne, KmsPubkey, NextAppIds},
};

use super::cvms::paging;
use crate::{error::Error, http::Client};

impl Client {
    /// `GET /kms`, one page: contracts or KMS instances, depending on the version.
    pub async fn kms_list(
        &self,
        page: Option<u32>,
        page_size: Option<u32>,
    ) -> Result<KmsList, Error> {
        self.get(&["kms"], &paging(page, page_size)).await
    }

    /// `GET /admin/kms`: every KMS, with whether it gives keys.
    pub async fn managed_kms(&self) -> Result<Vec<ManagedKms>, Error> {
        let list: ManagedKmsList = self.get(&["admin", "kms"], &[]).await?;
        Ok(list.kms)
    }

    /// `GET /kms/{ref}`, by id or slug.
    pub async fn kms(&self, reference: &str) -> Result<KmsOne, Error> {
        self.get(&["kms", reference], &[]).await
    }

    /// `GET /kms/{slug}/nodes`: the KMS instances of a contract.
    pub async fn kms_nodes(&self, reference: &str) -> Result<KmsContractNodes, Error> {
        self.get(&["kms", reference, "nodes"], &[]).await
    }

    /// `GET /kms/{ref}/pubkey/{app_id}`: the key to seal an app's environment to.
    pub async fn kms_pubkey(&self, reference: &str, app: &str) -> Result<KmsPubkey, Error> {
        self.get(&["kms", reference, "pubkey", app], &[]).await
    }

    /// `GET /kms/phala/next_app_id`: the app ids of the next 1 to 20 deployments.
    pub async fn next_app_ids(&self, count: u32) -> Result<NextAppIds, Error> {
        self.get(&["kms", "phala", "next_app_id"], &[("counts", count.to_string())]).await
    }
}
