//! Which KMS a client means, and what there is to know of it. There is the one that no contract governs,
//! and the same under each contract of the configuration.

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    kms_type::KmsType,
    provision::ProvisionRequest,
    view::{KmsView, contracts},
};
use casemate_core::id::{AppId, KmsId};
use casemate_engine::kms::SignedEnvKey;

use super::{
    Ctx, Error,
    fleet::{Fleet, FleetKms},
    provision::kms_failed,
    views,
};

/// Every KMS; the one that no contract governs comes first.
pub fn all(ctx: &Ctx) -> Vec<KmsView> {
    ctx.fleet.all_kms().map(views::kms).collect()
}

/// The KMS that holds the keys of something there is. It is asked what its contract says, so one that is
/// not configured here is an error and never none.
pub fn of<'a>(ctx: &'a Ctx, id: &KmsId) -> Result<&'a FleetKms, Error> {
    ctx.fleet.kms_of(id).ok_or_else(|| {
        let why = format!("the KMS {id} is not configured here any more");
        Error::because(ErrorCode::KmsUnreachable, why)
            .suggest("Whoever runs this service has to put its [[kms.contracts]] back.")
    })
}

/// The one KMS that a text in this field means: by [`named`].
pub fn called<'a>(ctx: &'a Ctx, field: &str, name: &str) -> Result<&'a FleetKms, Error> {
    one(ctx, field, name, &named(&ctx.fleet, name))
}

/// What has a name of its own, else what is of this kind.
fn named<'a>(fleet: &'a Fleet, name: &str) -> Vec<&'a FleetKms> {
    let own = by_own_name(fleet, name);
    match name.parse::<KmsType>() {
        Ok(kind) if own.is_empty() => fleet.all_kms().filter(|kms| kms.kind() == kind).collect(),
        _ => own,
    }
}

/// By id or slug, else by contract: its address, `kc_…`, or its slug.
fn by_own_name<'a>(fleet: &'a Fleet, name: &str) -> Vec<&'a FleetKms> {
    let own = |kms: &&FleetKms| kms.id.as_ref() == name || kms.slug == name;
    match fleet.all_kms().find(own) {
        Some(kms) => vec![kms],
        None => fleet.all_kms().filter(|kms| serves_contract(kms, name)).collect(),
    }
}

/// Whether a text means the contract of a KMS. The KMS without one has words for it.
fn serves_contract(kms: &FleetKms, text: &str) -> bool {
    let contract = contracts(&[views::kms(kms)]);
    let by_address = || {
        let governed = kms.governed.as_ref();
        governed.is_some_and(|governed| text.parse() == Ok(governed.contract))
    };
    contract.iter().any(|contract| contract.is_called(text)) || by_address()
}

/// The KMS that a provision asks for; the one that no contract governs where it asks for none. What it
/// says in several fields has to mean the same.
pub fn choose<'a>(ctx: &'a Ctx, request: &ProvisionRequest) -> Result<&'a FleetKms, Error> {
    let kind = request.kms.map(KmsType::as_str);
    let said = [
        ("kms", kind),
        ("kms_id", request.kms_id.as_deref()),
        ("kms_contract", request.kms_contract.as_deref()),
        ("kms_contract_id", request.kms_contract_id.as_deref()),
    ];
    let mut fit: Vec<&FleetKms> = ctx.fleet.all_kms().collect();
    let mut last = None;
    for (field, text) in said {
        let Some(text) = text else { continue };
        let meant = match field {
            "kms" | "kms_id" => named(&ctx.fleet, text),
            _ => by_own_name(&ctx.fleet, text),
        };
        fit.retain(|kms| meant.iter().any(|other| other.id == kms.id));
        if fit.is_empty() {
            return one(ctx, field, text, &fit);
        }
        last = Some((field, text));
    }
    match last {
        None => Ok(&ctx.fleet.kms),
        Some((field, text)) => one(ctx, field, text, &fit),
    }
}

/// The only KMS of a list; otherwise why a text in a field does not do, with the way out.
fn one<'a>(
    ctx: &Ctx,
    field: &str,
    text: &str,
    found: &[&'a FleetKms],
) -> Result<&'a FleetKms, Error> {
    let list = |all: &mut dyn Iterator<Item = &FleetKms>| -> String {
        let words: Vec<String> = all.map(|kms| format!("{} ({})", kms.slug, kms.kind())).collect();
        words.join(", ")
    };
    match found {
        [only] => Ok(*only),
        [] => {
            let error =
                Error::field(ErrorCode::KmsNotFound, field, format!("names no KMS here: {text}"))
                    .suggest(format!("Use kms_id with one of {}.", list(&mut ctx.fleet.all_kms())));
            Err(if text.parse().is_ok_and(KmsType::is_onchain) {
                error.suggest("Whoever runs this service adds one with `casemate admin kms add`.")
            } else {
                error
            })
        }
        several => {
            let why = format!("means several KMS: {text}");
            let error = Error::field(ErrorCode::KmsNotFound, field, why)
                .suggest(format!("Choose one by kms_id: {}.", list(&mut several.iter().copied())));
            Err(several
                .iter()
                .fold(error, |error, kms| error.detail(ErrorDetail::value("kms_id", &*kms.slug))))
        }
    }
}

/// The key that environments of an app are sealed to, with its signatures.
pub async fn env_key(ctx: &Ctx, reference: &str, app: &str) -> Result<SignedEnvKey, Error> {
    let kms = in_path(ctx, reference)?;
    let bare = app.strip_prefix("app_").unwrap_or(app);
    let app: AppId = bare
        .parse()
        .map_err(|why| Error::field(ErrorCode::InvalidRequest, "app_id", format!("is {why}")))?;
    kms.kms.env_public_key(&app, ctx.now().unix_seconds()).await.map_err(kms_failed)
}

/// The KMS that a path names. What names none is not found; what names several is refused.
pub fn in_path<'a>(ctx: &'a Ctx, reference: &str) -> Result<&'a FleetKms, Error> {
    if named(&ctx.fleet, reference).is_empty() {
        return Err(missing(reference));
    }
    called(ctx, "kms_id", reference)
}

/// No KMS is called that.
pub fn missing(reference: &str) -> Error {
    Error::because(ErrorCode::NotFound, format!("no KMS {reference} here"))
        .detail(ErrorDetail::value("kms_id", reference))
        .suggest("List them with GET /api/v1/kms.")
}
