//! Looking at CVMs and apps. Everything is read from the database; no node is asked.

use std::collections::BTreeMap;

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    kms_type::KmsType,
    view::{AppView, CvmView},
};
use casemate_core::{
    compose::AppCompose,
    id::{AppId, CvmName, EventSeq, VmUuid},
};
use casemate_store::{
    cvms::{self, App, Cvm, Filter},
    events, provisions,
};

use super::{Caller, Ctx, Error, views};

/// The error for a CVM that is not there or not the caller's: the same words for both.
pub fn not_found() -> Error {
    Error::code(ErrorCode::CvmNotFound).suggest("List yours with GET /api/v1/cvms/paginated.")
}

/// The one CVM that the caller means by this text.
pub async fn find(ctx: &Ctx, caller: &Caller, text: &str) -> Result<Cvm, Error> {
    let name = CvmName::parse(text);
    let mut found = cvms::resolve(&ctx.db, caller.workspace.id, &name).await?;
    match found.len() {
        0 => Err(not_found().detail(ErrorDetail::value("cvm_id", text))),
        1 => Ok(found.remove(0)),
        _ => {
            let code = match name {
                CvmName::Name(_) => ErrorCode::MultipleCvmsWithSameName,
                _ => ErrorCode::MultipleCvmsForIdentifier,
            };
            let mut error = Error::code(code).suggest("Use one of the ids below.");
            for cvm in found.iter().take(10) {
                error = error.detail(ErrorDetail::value("cvm_id", cvm.reference.to_string()));
            }
            Err(error)
        }
    }
}

/// A CVM with its document.
pub async fn detail(ctx: &Ctx, caller: &Caller, text: &str) -> Result<CvmView, Error> {
    let cvm = find(ctx, caller, text).await?;
    let document = document(ctx, &cvm).await?;
    Ok(views::with_document(views::cvm(ctx, caller, &cvm), &document))
}

/// A CVM without its document.
pub async fn brief(ctx: &Ctx, caller: &Caller, text: &str) -> Result<CvmView, Error> {
    Ok(views::cvm(ctx, caller, &find(ctx, caller, text).await?))
}

/// The app-compose document of a CVM, byte for byte.
pub async fn document(ctx: &Ctx, cvm: &Cvm) -> Result<String, Error> {
    provisions::document(&ctx.db, &cvm.spec.compose_hash)
        .await?
        .ok_or_else(|| Error::Internal(format!("CVM {} without its document", cvm.id)))
}

/// The app-compose document of a CVM, parsed.
pub async fn compose(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
) -> Result<(String, AppCompose), Error> {
    let cvm = find(ctx, caller, text).await?;
    let document = document(ctx, &cvm).await?;
    let parsed = AppCompose::parse(&document)
        .map_err(|error| Error::Internal(format!("stored document: {error}")))?;
    Ok((document, parsed))
}

/// A part of a list and how long the list is.
#[derive(Debug)]
pub struct Part<T> {
    /// The part.
    pub items: Vec<T>,
    /// Length of the whole.
    pub total: u64,
}

/// A page of the caller's CVMs, newest first. Pages count from 1.
pub async fn page(
    ctx: &Ctx,
    caller: &Caller,
    filter: Filter,
    page: u64,
    page_size: u64,
) -> Result<Part<CvmView>, Error> {
    let (limit, offset) = bounds(page, page_size);
    let (found, total) = cvms::page(&ctx.db, caller.workspace.id, filter, limit, offset).await?;
    Ok(Part {
        items: found.iter().map(|cvm| views::cvm(ctx, caller, cvm)).collect(),
        total: u64::try_from(total).unwrap_or(0),
    })
}

fn bounds(page: u64, page_size: u64) -> (i64, i64) {
    let limit = i64::try_from(page_size).unwrap_or(i64::MAX);
    let skipped = page.saturating_sub(1).saturating_mul(page_size);
    (limit, i64::try_from(skipped).unwrap_or(i64::MAX))
}

/// The CVMs among these uuids, keyed by the text as it was sent; unknown ones are left out.
pub async fn batch(
    ctx: &Ctx,
    caller: &Caller,
    texts: &[String],
) -> Result<BTreeMap<String, CvmView>, Error> {
    let wanted: Vec<(&String, VmUuid)> =
        texts.iter().filter_map(|text| Some((text, text.parse().ok()?))).collect();
    let uuids: Vec<VmUuid> = wanted.iter().map(|(_, uuid)| *uuid).collect();
    let found = cvms::by_uuids(&ctx.db, caller.workspace.id, &uuids).await?;
    let by_uuid: BTreeMap<VmUuid, &Cvm> = found.iter().map(|cvm| (cvm.uuid, cvm)).collect();
    Ok(wanted
        .into_iter()
        .filter_map(|(text, uuid)| {
            by_uuid.get(&uuid).map(|cvm| (text.clone(), views::cvm(ctx, caller, cvm)))
        })
        .collect())
}

fn app_view(ctx: &Ctx, caller: &Caller, app: &App) -> AppView {
    let cvms: Vec<CvmView> = app.cvms.iter().map(|cvm| views::cvm(ctx, caller, cvm)).collect();
    AppView {
        app_id: app.app_id,
        name: app.name.clone(),
        created_at: app.created_at.to_string(),
        kms_type: KmsType::Phala,
        provision_type: None,
        icon_url: None,
        profile: None,
        current_cvm: cvms.first().cloned().map(Box::new),
        cvm_count: u64::try_from(app.live).unwrap_or(0),
        cvms,
    }
}

/// A page of the caller's apps that have CVMs, newest first.
pub async fn apps(
    ctx: &Ctx,
    caller: &Caller,
    search: &str,
    page: u64,
    page_size: u64,
) -> Result<Part<AppView>, Error> {
    let (limit, offset) = bounds(page, page_size);
    let (found, total) =
        cvms::apps_page(&ctx.db, caller.workspace.id, search, limit, offset).await?;
    Ok(Part {
        items: found.iter().map(|app| app_view(ctx, caller, app)).collect(),
        total: u64::try_from(total).unwrap_or(0),
    })
}

/// One app of the caller.
pub async fn app(ctx: &Ctx, caller: &Caller, text: &str) -> Result<AppView, Error> {
    let missing = || {
        Error::because(ErrorCode::NotFound, "The requested app was not found")
            .detail(ErrorDetail::value("app_id", text))
    };
    let bare = text.strip_prefix("app_").unwrap_or(text);
    let id: AppId = bare.parse().map_err(|_| missing())?;
    let (found, _) = cvms::apps_page(&ctx.db, caller.workspace.id, &id.to_string(), 1, 0).await?;
    let app = found.into_iter().find(|app| app.app_id == id).ok_or_else(missing)?;
    Ok(app_view(ctx, caller, &app))
}

/// What a watcher sees: the CVM, and the place from which to go on watching. `None`: it is gone.
pub async fn watch(
    ctx: &Ctx,
    caller: &Caller,
    cvm: casemate_core::id::CvmId,
) -> Result<(Option<CvmView>, EventSeq), Error> {
    let newest = events::newest(&ctx.db).await?;
    let found = cvms::by_id(&ctx.db, caller.workspace.id, cvm).await?;
    Ok((found.map(|cvm| views::cvm(ctx, caller, &cvm)), newest))
}

/// Which CVMs a list shows.
pub const fn filter(
    node: Option<casemate_core::id::NodeId>,
    user: Option<casemate_core::id::UserId>,
) -> Filter {
    Filter { node, user }
}
