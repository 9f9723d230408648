//! `[[nodes]]`: nodes with their own settings.

use std::collections::BTreeSet;

use casemate_api::node_admin::NodeLimits;
use casemate_core::{
    name::{check_labels, check_node_name, check_price},
    place::Labels,
};
use serde::Deserialize;

use super::{ConfigError, Kms};
use crate::nodes::{open::check_dstack, settings::DriverSettings};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct ConfiguredNode {
    pub name: String,
    pub region: Option<String>,
    #[serde(default)]
    pub limits: NodeLimits,
    #[serde(default)]
    pub labels: Labels,
    pub price: Option<String>,
    #[serde(flatten)]
    pub driver: DriverSettings,
}

pub(super) fn check(nodes: &[ConfiguredNode], kms: &Kms) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for (index, node) in nodes.iter().enumerate() {
        let refuse =
            |reason: String| ConfigError::Value { key: format!("nodes[{index}].name"), reason };
        check_node_name(&node.name).map_err(|why| refuse(why.to_string()))?;
        if !names.insert(&node.name) {
            return Err(refuse(format!("{} is there twice", node.name)));
        }
        let checked = check_labels(&node.labels).map_err(|why| ("labels", why)).and_then(|()| {
            node.price
                .as_deref()
                .map_or(Ok(()), |price| check_price(price).map_err(|why| ("price", why)))
        });
        checked.map_err(|(field, why)| ConfigError::Value {
            key: format!("nodes[{index}].{field}"),
            reason: why.to_string(),
        })?;
        if let DriverSettings::Dstack(access) = &node.driver {
            check_dstack(access, &node.limits).map_err(|(field, reason)| {
                let field = field.strip_prefix("dstack.").unwrap_or(field);
                ConfigError::Value { key: format!("nodes[{index}].{field}"), reason }
            })?;
            let is_known = |slug: &String| kms.dstack.iter().any(|known| known.slug == *slug);
            if access.kms.as_ref().is_some_and(|slug| !is_known(slug)) {
                let reason = "names none of kms.dstack".to_owned();
                return Err(ConfigError::Value { key: format!("nodes[{index}].kms"), reason });
            }
        }
    }
    Ok(())
}
