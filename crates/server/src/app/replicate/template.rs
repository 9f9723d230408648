//! Which live CVM of the app gives its configuration.

use casemate_api::error::{ErrorCode, ErrorDetail};
use casemate_core::id::{AppId, ComposeHash, CvmId, CvmName, NodeId};
use casemate_store::{
    Error as StoreError, Tx,
    cvms::{self, Cvm},
};

use super::{Of, ReplicaOverrides};
use crate::app::{
    Caller, Ctx, Error, approval::confirm::is_live, cvms::app_id, cvms::app_not_found,
};

/// The CVM that gives its configuration.
#[derive(Debug)]
pub struct Template {
    /// NodeUsage until commit.
    pub cvm: Cvm,
    /// Where the machine goes unasked.
    pub beside: NodeId,
}

/// Chooses the template.
pub async fn choose(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    of: &Of,
    wanted: &ReplicaOverrides,
) -> Result<Template, Error> {
    let source = match of {
        Of::Cvm { cvm, app } => Some(source(ctx, caller, cvm, app.as_deref()).await?),
        Of::App(_) => None,
    };
    let (app, said) = match (&source, of) {
        (Some(source), _) => (source.spec.app_id, None),
        (None, Of::App(text) | Of::Cvm { cvm: text, .. }) => {
            (app_id(text).ok_or_else(|| app_not_found(text))?, Some(text))
        }
    };
    let documents = tx.documents_of_app(caller.workspace.id, &app).await?;
    let own = source.as_ref().map(|source| (source.spec.compose_hash, source.id));
    let asked = match (wanted.compose_hash, wanted.makes_a_document()) {
        (Some(hash), _) => DocumentChoice::This(hash),
        (None, true) => DocumentChoice::Newest,
        (None, false) => DocumentChoice::TheOnlyOne,
    };
    let chosen = match pick(own, &documents, asked) {
        Ok(chosen) => chosen,
        Err(NoTemplate::Nothing) => return Err(nothing_live(tx, caller, &app, said).await?),
        Err(NoTemplate::Several) => return Err(several(&documents)),
        Err(NoTemplate::NoSuch(hash)) => return Err(no_such(&hash, &documents)),
    };
    let cvm = tx
        .lock_cvm(chosen)
        .await?
        .filter(|cvm| is_live(cvm) && cvm.workspace == caller.workspace.id)
        .ok_or(StoreError::Stale)?;
    // It got another document between the two reads.
    if matches!(asked, DocumentChoice::This(hash) if hash != cvm.spec.compose_hash) {
        return Err(StoreError::Stale.into());
    }
    let beside = source.map_or(cvm.node, |source| source.node);
    Ok(Template { cvm, beside })
}

/// The CVM that is to be replicated, of the app that it is said to be of. One that is being deleted is
/// none.
async fn source(ctx: &Ctx, caller: &Caller, text: &str, app: Option<&str>) -> Result<Cvm, Error> {
    let name = CvmName::parse(text);
    let mut found = cvms::resolve(&ctx.db, caller.workspace.id, &name).await?;
    found.retain(is_live);
    if found.len() > 1 {
        let mut error = Error::code(ErrorCode::MultipleCvmsForIdentifier)
            .suggest("Name the CVM to replicate by one of the ids below.");
        for cvm in found.iter().take(10) {
            error = error.detail(ErrorDetail::value("cvm_id", cvm.reference.to_string()));
        }
        return Err(error);
    }
    let source = found.pop().ok_or_else(|| {
        Error::code(ErrorCode::ReplicaSourceNotAccessible)
            .detail(ErrorDetail::value("cvm_id", text))
            .suggest("List yours with GET /api/v1/cvms/paginated.")
    })?;
    match app {
        Some(app) if app_id(app) != Some(source.spec.app_id) => {
            let why = format!("is not the app of this CVM, which is {}", source.spec.app_id);
            Err(Error::field(ErrorCode::InvalidRequest, "app_id", why).suggest(format!(
                "Use /api/v1/apps/{}/cvms/{}/replicas.",
                source.spec.app_id, source.uuid
            )))
        }
        _ => Ok(source),
    }
}

/// Which document is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DocumentChoice {
    /// The one of this hash.
    This(ComposeHash),
    /// Any: it is only what the machine's own is made from.
    Newest,
    /// The one that all CVMs of the app run.
    TheOnlyOne,
}

/// Why there is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoTemplate {
    /// The app has no live CVM.
    Nothing,
    /// Its live CVMs run several documents.
    Several,
    /// None of them runs this one.
    NoSuch(ComposeHash),
}

/// Chooses among the live CVMs of an app: `documents` are what they run, each with the newest CVM that
/// runs it, newest first. The source, if there is one, goes before others with the same document.
fn pick(
    source: Option<(ComposeHash, CvmId)>,
    documents: &[(ComposeHash, CvmId)],
    asked: DocumentChoice,
) -> Result<CvmId, NoTemplate> {
    let newest = documents.first().ok_or(NoTemplate::Nothing)?;
    let wanted = match asked {
        DocumentChoice::This(hash) => hash,
        DocumentChoice::TheOnlyOne if documents.len() > 1 => return Err(NoTemplate::Several),
        DocumentChoice::TheOnlyOne | DocumentChoice::Newest => newest.0,
    };
    let own = source.filter(|(hash, _)| *hash == wanted);
    let same = documents.iter().find(|(hash, _)| *hash == wanted).copied();
    own.or(same).map(|(_, cvm)| cvm).ok_or(NoTemplate::NoSuch(wanted))
}

fn listed(mut error: Error, documents: &[(ComposeHash, CvmId)]) -> Error {
    for (hash, cvm) in documents.iter().take(10) {
        let what = format!("{hash}, of CVM {cvm}");
        error = error.detail(ErrorDetail::message("compose_hash", what));
    }
    error
}

fn several(documents: &[(ComposeHash, CvmId)]) -> Error {
    let error = Error::code(ErrorCode::ReplicaComposeHashRequired)
        .suggest("Repeat it with compose_hash, one of those in the details.");
    listed(error, documents)
}

fn no_such(hash: &ComposeHash, documents: &[(ComposeHash, CvmId)]) -> Error {
    let why = format!("is run by no live CVM of the app: {hash}");
    let error = Error::field(ErrorCode::InvalidRequest, "compose_hash", why)
        .suggest("Leave it out, or use one of those in the details.");
    listed(error, documents)
}

/// An app without a live CVM, or none that the caller may see.
async fn nothing_live(
    tx: &mut Tx,
    caller: &Caller,
    app: &AppId,
    said: Option<&String>,
) -> Result<Error, Error> {
    let Some(text) = said else {
        // The source was there a moment ago.
        return Ok(StoreError::Stale.into());
    };
    let held = tx.held_app_id(app).await?;
    if held.is_none_or(|held| held.workspace_id != caller.workspace.id.0) {
        return Ok(app_not_found(text));
    }
    let why = "has no live CVM to take the configuration from";
    Ok(Error::field(ErrorCode::InvalidRequest, "app_id", why)
        .suggest("Deploy it first: POST /api/v1/cvms/provision, then POST /api/v1/cvms."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> ComposeHash {
        ComposeHash::from_bytes([byte; 32])
    }

    #[test]
    fn the_template_is_who_runs_what_is_asked_for() {
        let one = [(hash(1), CvmId(7))];
        let two = [(hash(2), CvmId(9)), (hash(1), CvmId(7))];
        let source = Some((hash(1), CvmId(3)));
        assert_eq!(
            pick(source, &one, DocumentChoice::TheOnlyOne),
            Ok(CvmId(3)),
            "the source itself"
        );
        assert_eq!(pick(None, &one, DocumentChoice::TheOnlyOne), Ok(CvmId(7)), "else the newest");
        assert_eq!(pick(source, &two, DocumentChoice::TheOnlyOne), Err(NoTemplate::Several));
        assert_eq!(pick(None, &two, DocumentChoice::TheOnlyOne), Err(NoTemplate::Several));
        assert_eq!(pick(None, &two, DocumentChoice::Newest), Ok(CvmId(9)));
        assert_eq!(pick(source, &two, DocumentChoice::This(hash(1))), Ok(CvmId(3)));
        assert_eq!(pick(source, &two, DocumentChoice::This(hash(2))), Ok(CvmId(9)));
        let none = hash(5);
        assert_eq!(pick(source, &two, DocumentChoice::This(none)), Err(NoTemplate::NoSuch(none)));
        assert_eq!(pick(None, &[], DocumentChoice::Newest), Err(NoTemplate::Nothing));
    }
}
