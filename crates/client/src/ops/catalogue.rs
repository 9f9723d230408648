use casemate_api::{
    page::Page,
    reply::{AvailableNodes, InstanceTypeFamily, InstanceTypes, OsImage},
    template::{Template, Templates},
};

use super::cvms::paging;
use crate::{error::Error, http::Client};

impl Client {
    /// `GET /teepods/available`: nodes with their free capacity.
    pub async fn nodes(&self) -> Result<AvailableNodes, Error> {
        self.get(&["teepods", "available"], &[]).await
    }

    /// `GET /casemate/templates`: app templates of the operator.
    pub async fn templates(&self) -> Result<Templates, Error> {
        self.get(&["casemate", "templates"], &[]).await
    }

    /// `GET /casemate/templates/{template}`.
    pub async fn template(&self, slug: &str) -> Result<Template, Error> {
        self.get(&["casemate", "templates", slug], &[]).await
    }

    /// `GET /instance-types`.
    pub async fn instance_types(&self) -> Result<InstanceTypes, Error> {
        self.get(&["instance-types"], &[]).await
    }

    /// `GET /instance-types/{family}`.
    pub async fn instance_type_family(&self, family: &str) -> Result<InstanceTypeFamily, Error> {
        self.get(&["instance-types", family], &[]).await
    }

    /// `GET /os-images`, one page. `is_dev`: with login tools, without, or both.
    pub async fn os_images(
        &self,
        page: Option<u32>,
        page_size: Option<u32>,
        is_dev: Option<bool>,
    ) -> Result<Page<OsImage>, Error> {
        let mut pairs = paging(page, page_size);
        pairs.extend(is_dev.map(|dev| ("is_dev", dev.to_string())));
        self.get(&["os-images"], &pairs).await
    }
}
