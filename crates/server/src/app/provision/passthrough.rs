//! What is only carried to the guest: its sealed env, its user config, its host ports and GPUs.

use std::net::IpAddr;

use casemate_api::{
    error::ErrorCode,
    provision::{GpuRequest, PortMapping, ProvisionRequest},
};
use casemate_core::{
    cvm::{GpuAttach, Gpus, PortMap},
    seal,
};
use serde_json::{Value, json};

use crate::app::Error;

const MAX_USER_CONFIG: usize = 1024 * 1024;

/// The sealed env of a request, in lower-case hex. It may stand in two places; one is enough.
pub fn sealed_env(request: &ProvisionRequest, kms_enabled: bool) -> Result<Option<String>, Error> {
    const INNER: &str = "compose_file.encrypted_env";
    let outer = checked("encrypted_env", request.encrypted_env.as_deref(), kms_enabled)?;
    let inner = request.compose_file.as_ref().and_then(|file| file.encrypted_env.as_deref());
    let inner = checked(INNER, inner, kms_enabled)?;
    match (outer, inner) {
        (Some(outer), Some(inner)) if outer != inner => Err(Error::field(
            ErrorCode::IncompatibleConfiguration,
            INNER,
            "differs from encrypted_env",
        )
        .suggest("Send it once, in encrypted_env.")),
        (outer, inner) => Ok(outer.or(inner)),
    }
}

/// Whether a request brings a sealed env.
pub fn seals(request: &ProvisionRequest) -> bool {
    let inner = request.compose_file.as_ref().and_then(|file| file.encrypted_env.as_deref());
    let given = [request.encrypted_env.as_deref(), inner];
    given.into_iter().flatten().any(|text| !text.is_empty())
}

/// Checks a sealed env without opening it; returns it in lower-case hex.
pub fn checked(
    field: &str,
    given: Option<&str>,
    kms_enabled: bool,
) -> Result<Option<String>, Error> {
    let Some(text) = given.filter(|text| !text.is_empty()) else { return Ok(None) };
    if !kms_enabled {
        return Err(Error::field(
            ErrorCode::IncompatibleConfiguration,
            field,
            "needs a KMS: without one the guest has no key to open it",
        )
        .suggest("Leave it out, or leave compose_file.kms_enabled true."));
    }
    let sealed: seal::SealedEnv = text.parse().map_err(|why| {
        let error =
            Error::field(ErrorCode::InvalidEncryptedEnv, field, format!("cannot be taken: {why}"));
        error.suggest(match why {
            seal::InvalidSealedEnv::OfEpochs(_) => {
                "Seal the variables to app_env_encrypt_pubkey with encryptEnvVars, and not with sealEnv."
            }
            _ => "Seal the variables to app_env_encrypt_pubkey and send the result as hex.",
        })
    })?;
    Ok(Some(sealed.to_string()))
}

/// The user config, with the SSH keys in it if there are any, after those that it names itself.
pub fn user_config(request: &ProvisionRequest) -> Result<Option<String>, Error> {
    let given = request.user_config.as_deref().filter(|text| !text.is_empty());
    let keys = request.ssh_authorized_keys.as_deref().unwrap_or_default();
    let text = match given {
        None if keys.is_empty() => return Ok(None),
        None => json!({ "ssh_authorized_keys": keys }).to_string(),
        Some(text) if keys.is_empty() => text.to_owned(),
        Some(text) => with_keys(text, keys)?,
    };
    check_user_config(&text)?;
    Ok(Some(text))
}

/// The user config with the keys of the user's account, and a warning. Guests with a development image let their
/// owner in. One with a production image lets nobody in, so keys of the account are not added there, and keys of
/// the request are stored and flagged.
pub fn with_account_keys(
    config: Option<String>,
    account: &[String],
    is_dev: bool,
) -> (Option<String>, Option<String>) {
    if !is_dev {
        let parsed = config.as_deref().map(serde_json::from_str::<Value>);
        let has_keys = matches!(parsed, Some(Ok(Value::Object(config)))
            if config.get("ssh_authorized_keys").and_then(Value::as_array).is_some_and(|keys| !keys.is_empty()));
        let warning = "the image is a production image: nobody can log in with \
            ssh_authorized_keys, which are only stored";
        return (config, has_keys.then(|| warning.to_owned()));
    }
    if account.is_empty() {
        return (config, None);
    }
    let text = config.as_deref().unwrap_or("{}");
    match with_keys(text, account).and_then(|text| check_user_config(&text).map(|()| text)) {
        Ok(text) => (Some(text), None),
        Err(why) => {
            let warning = format!("the SSH keys of your account were not added: {}", why.words());
            (config, Some(warning))
        }
    }
}

/// Refuses a user config that is too long.
pub fn check_user_config(text: &str) -> Result<(), Error> {
    if text.len() > MAX_USER_CONFIG {
        return Err(Error::invalid(
            "user_config",
            format!("must be at most {MAX_USER_CONFIG} bytes"),
        ));
    }
    Ok(())
}

fn with_keys(text: &str, keys: &[String]) -> Result<String, Error> {
    let refuse = |why: &str| {
        Err(Error::field(ErrorCode::IncompatibleConfiguration, "ssh_authorized_keys", why)
            .suggest("Put the keys into user_config yourself, or leave user_config out."))
    };
    let Ok(Value::Object(mut config)) = serde_json::from_str(text) else {
        return refuse("needs user_config to be a JSON object, or none");
    };
    let slot = config.entry("ssh_authorized_keys").or_insert_with(|| json!([]));
    let Value::Array(all) = slot else {
        return refuse("needs user_config.ssh_authorized_keys to be a list, or none");
    };
    for key in keys {
        if !all.iter().any(|known| known == key.as_str()) {
            all.push(json!(key));
        }
    }
    Ok(Value::Object(config).to_string())
}

/// The host ports of a request.
pub fn ports(given: Option<&[PortMapping]>) -> Result<Vec<PortMap>, Error> {
    let mut ports: Vec<PortMap> = Vec::new();
    for (index, given) in given.unwrap_or_default().iter().enumerate() {
        let port = port(index, given)?;
        let same = |other: &PortMap| {
            (&other.protocol, other.host_port, &other.host_address)
                == (&port.protocol, port.host_port, &port.host_address)
        };
        if ports.iter().any(same) {
            return Err(Error::invalid(
                &format!("ports.{index}.host_port"),
                "must not be mapped twice",
            ));
        }
        ports.push(port);
    }
    Ok(ports)
}

fn port(index: usize, given: &PortMapping) -> Result<PortMap, Error> {
    let invalid = |field: &str, why: &str| Error::invalid(&format!("ports.{index}.{field}"), why);
    let number = |field: &str, port: Option<u16>| {
        port.filter(|port| *port > 0)
            .ok_or_else(|| invalid(field, "must be a port from 1 to 65535"))
    };
    let protocol = given.protocol.as_deref().unwrap_or("tcp").to_lowercase();
    if protocol != "tcp" && protocol != "udp" {
        return Err(invalid("protocol", "must be tcp or udp"));
    }
    if given.host_address.as_deref().is_some_and(|address| address.parse::<IpAddr>().is_err()) {
        return Err(invalid("host_address", "must be an IP address of the host"));
    }
    Ok(PortMap {
        protocol,
        host_port: number("host_port", given.host_port)?,
        vm_port: number("vm_port", given.vm_port)?,
        host_address: given.host_address.clone(),
    })
}

/// The GPUs of a request; `None` also where it lists none.
pub fn gpus(given: Option<&GpuRequest>) -> Result<Option<Gpus>, Error> {
    let Some(given) = given else { return Ok(None) };
    for (field, said) in
        [("gpus.count", given.count.is_some()), ("gpus.product_name", given.product_name.is_some())]
    {
        if said {
            return Err(Error::field(ErrorCode::FieldNotServed, field, "is for updates only")
                .suggest("Name each GPU in gpus.gpus by slot and product_id."));
        }
    }
    let attach_mode = given.attach_mode.as_deref().unwrap_or("listed").to_lowercase();
    let listed = given.gpus.as_deref().unwrap_or_default();
    match attach_mode.as_str() {
        "listed" if listed.is_empty() => return Ok(None),
        "listed" => {}
        "all" if listed.is_empty() => {}
        "all" => {
            let why = "has no effect with attach_mode all";
            return Err(Error::field(ErrorCode::IncompatibleConfiguration, "gpus.gpus", why)
                .suggest("Leave out the list, or use attach_mode listed."));
        }
        _ => return Err(Error::invalid("gpus.attach_mode", "must be listed or all")),
    }
    if let Some(index) =
        listed.iter().position(|gpu| gpu.slot.is_none() && gpu.product_id.is_none())
    {
        let field = format!("gpus.gpus.{index}");
        return Err(Error::invalid(&field, "must name a slot or a product_id"));
    }
    let gpus = listed
        .iter()
        .map(|gpu| GpuAttach { slot: gpu.slot.clone(), product_id: gpu.product_id.clone() })
        .collect();
    Ok(Some(Gpus { gpus, attach_mode }))
}
