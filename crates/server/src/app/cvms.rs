//! Looking at CVMs and apps. Everything is read from the database; no node is asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    sync::Arc,
};

use bytes::Bytes;
use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    kms_type::KmsType,
    page::{SeekRequest, bad_cursor},
    version::ApiVersion,
};
use casemate_core::{
    compose::AppCompose,
    cvm::Phase,
    id::{AppId, CvmId, CvmName, EventSeq, KmsId, NodeId, VmUuid},
    time::Timestamp,
};
use casemate_store::{
    cvms::{self, App, AppFilter, AppKey, Cvm, Filter, PageStart, Search},
    events, provisions,
};
use serde::Serialize;

use super::{
    Caller, Ctx, Error,
    cache::{ReadFrom, ReplyKey},
    fleet::{Fleet, FleetKms},
    views,
};
use crate::view::{AppView, CvmView};

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

/// A `T` as JSON text. Only [`reply`] makes one.
#[derive(Debug)]
pub struct Rendered<T> {
    /// JSON text.
    pub body: Bytes,
    reply: PhantomData<fn() -> T>,
}

/// The reply to `GET /cvms/{id}` as JSON: the one kept from before if it is still true, else what
/// `render` makes of the CVM with its document. What it makes must not depend on the time.
pub async fn reply<T: Serialize>(
    ctx: &Ctx,
    caller: &Arc<Caller>,
    text: &str,
    version: ApiVersion,
    render: impl FnOnce(&CvmView) -> T,
) -> Result<Rendered<T>, Error> {
    let key = ReplyKey::of(caller, text, version);
    if let Some(key) = &key
        && let Some(body) = ctx.kept_reply(key, caller).await?
    {
        return Ok(Rendered { body, reply: PhantomData });
    }
    let moment = ctx.db.moment();
    let cvm = find(ctx, caller, text).await?;
    let node_revision = ctx.node_revision(cvm.node);
    let document = document(ctx, &cvm).await?;
    let view = views::with_document(views::cvm(ctx, caller, &cvm), &document);
    let body = serde_json::to_vec(&render(&view))
        .map_err(|error| Error::Internal(format!("a reply does not serialise: {error}")))?;
    let body = Bytes::from(body);
    if let (Some(key), Some(stamp)) = (key, ctx.db.stamp(&cvm, moment)) {
        let (caller, node) = (caller.clone(), cvm.node);
        let from = ReadFrom { cvm: cvm.id, stamp, caller, node, node_revision };
        ctx.keep_reply(key, from, body.clone());
    }
    Ok(Rendered { body, reply: PhantomData })
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
pub struct ListPage<T> {
    /// The part.
    pub items: Vec<T>,
    /// Length of the whole.
    pub total: u64,
    /// `next_cursor`, if there is more.
    pub next: Option<String>,
}

impl<T> ListPage<T> {
    /// A list without items.
    pub const fn nothing() -> Self {
        Self { items: Vec::new(), total: 0, next: None }
    }
}

/// Where the store is to begin. `read` reads the key in a cursor; one of another list has none.
fn seek<K>(
    request: &SeekRequest,
    read: impl FnOnce(&str) -> Option<K>,
) -> Result<PageStart<K>, Error> {
    match &request.after {
        None => Ok(PageStart::Skip(i64::try_from(request.request.offset()).unwrap_or(i64::MAX))),
        Some(after) => match read(&after.key) {
            Some(key) => Ok(PageStart::After(key)),
            None => Err(Error::Invalid(vec![bad_cursor(&after.cursor)])),
        },
    }
}

/// A page of the caller's CVMs, newest first.
pub async fn page(
    ctx: &Ctx,
    caller: &Caller,
    filter: Filter,
    request: &SeekRequest,
) -> Result<ListPage<CvmView>, Error> {
    let seek = seek(request, |key| Some(CvmId(key.parse().ok()?)))?;
    let limit = i64::from(request.request.page_size);
    let found = cvms::page(&ctx.db, caller.workspace.id, filter, seek, limit).await?;
    Ok(ListPage {
        items: found.items.iter().map(|cvm| views::cvm(ctx, caller, cvm)).collect(),
        total: u64::try_from(found.total).unwrap_or(0),
        next: found.next.map(|last| request.next_cursor(&last.to_string())),
    })
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
        kms_type: ctx.fleet.kms_of(&app.kms).map_or(KmsType::Legacy, FleetKms::kind),
        provision_type: None,
        icon_url: None,
        profile: None,
        current_cvm: cvms.first().cloned().map(Box::new),
        cvm_count: u64::try_from(app.live).unwrap_or(0),
        cvms,
    }
}

/// Which apps a list shows, in the words of clients; what is `None` or empty shows them all.
#[derive(Debug, Clone, Default)]
pub struct AppsFilter {
    /// A part of the name, or an id.
    pub search: String,
    /// Words of phases.
    pub status: Vec<String>,
    /// In the public directory or not.
    pub listed: Option<bool>,
    /// OS image.
    pub base_image: Option<String>,
    pub instance_type: Option<String>,
    pub kms_slug: Option<String>,
    /// Kind of the KMS.
    pub kms_type: Option<String>,
    /// Name of the node.
    pub node: Option<String>,
    /// Region of the node.
    pub region: Option<String>,
}

impl AppsFilter {
    /// What the store is asked; `None`: a name in it is nobody's, so no app fits.
    fn resolve(self, fleet: &Fleet) -> Option<AppFilter> {
        let of_slug = |kms: &FleetKms| self.kms_slug.as_ref().is_none_or(|slug| *slug == kms.slug);
        let of_kind = |kms: &FleetKms| {
            self.kms_type.as_ref().is_none_or(|kind| kind.parse() == Ok(kms.kind()))
        };
        let kms: Vec<KmsId> = fleet
            .all_kms()
            .filter(|kms| of_slug(kms) && of_kind(kms))
            .map(|kms| kms.id.clone())
            .collect();
        let by_kms = self.kms_slug.is_some() || self.kms_type.is_some();
        let phases: BTreeSet<&str> = self.status.iter().map(String::as_str).collect();
        let phases: Vec<Phase> = phases.into_iter().filter_map(Phase::parse).collect();
        let nodes: Vec<NodeId> = fleet
            .all()
            .iter()
            .filter(|node| self.node.as_ref().is_none_or(|name| *name == node.name))
            .filter(|node| self.region.as_ref().is_none_or(|region| *region == node.region))
            .map(|node| node.id)
            .collect();
        let by_node = self.node.is_some() || self.region.is_some();
        if (phases.is_empty() && !self.status.is_empty())
            || (nodes.is_empty() && by_node)
            || (kms.is_empty() && by_kms)
        {
            return None;
        }
        Some(AppFilter {
            search: Search::parse(&self.search),
            kms: by_kms.then_some(kms),
            phases: (!phases.is_empty()).then_some(phases),
            listed: self.listed,
            image: self.base_image,
            instance_type: self.instance_type,
            nodes: by_node.then_some(nodes),
        })
    }
}

/// The key of an app in a cursor.
pub fn app_key_text(key: &AppKey) -> String {
    format!("{}/{}", key.created_at.micros(), key.app_id)
}

/// The same read back.
pub fn app_key(text: &str) -> Option<AppKey> {
    let (created_at, app_id) = text.split_once('/')?;
    let created_at = Timestamp::from_micros(created_at.parse().ok()?);
    Some(AppKey { created_at, app_id: app_id.parse().ok()? })
}

/// A page of the caller's apps that have CVMs, newest first.
pub async fn apps(
    ctx: &Ctx,
    caller: &Caller,
    filter: AppsFilter,
    request: &SeekRequest,
) -> Result<ListPage<AppView>, Error> {
    let seek = seek(request, app_key)?;
    let Some(filter) = filter.resolve(&ctx.fleet) else { return Ok(ListPage::nothing()) };
    let limit = i64::from(request.request.page_size);
    let found = cvms::apps_page(&ctx.db, caller.workspace.id, &filter, seek, limit).await?;
    Ok(ListPage {
        items: found.items.iter().map(|app| app_view(ctx, caller, app)).collect(),
        total: u64::try_from(found.total).unwrap_or(0),
        next: found.next.map(|last| request.next_cursor(&app_key_text(&last))),
    })
}

/// An app id as it stands in a path: 40 hex digits of any case, bare or after `app_` or `0x`.
pub fn app_id(text: &str) -> Option<AppId> {
    let bare = match text.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("app_") => text.get(4..)?,
        _ => text,
    };
    bare.parse().ok()
}

/// The error for an app that is not there or not the caller's: the same words for both.
pub fn app_not_found(text: &str) -> Error {
    Error::because(ErrorCode::NotFound, "The requested app was not found")
        .detail(ErrorDetail::value("app_id", text))
}

/// One app of the caller.
pub async fn app(ctx: &Ctx, caller: &Caller, text: &str) -> Result<AppView, Error> {
    Ok(app_view(ctx, caller, &app_record(ctx, caller, text).await?))
}

/// The same as it is recorded.
pub async fn app_record(ctx: &Ctx, caller: &Caller, text: &str) -> Result<App, Error> {
    let missing = || app_not_found(text);
    let id = app_id(text).ok_or_else(missing)?;
    cvms::app(&ctx.db, caller.workspace.id, &id).await?.ok_or_else(missing)
}

/// What a watcher sees: the CVM, and the place from which to go on watching. `None`: it is gone.
pub async fn watch(
    ctx: &Ctx,
    caller: &Caller,
    cvm: CvmId,
) -> Result<(Option<CvmView>, EventSeq), Error> {
    let newest = events::newest(&ctx.db).await?;
    let found = cvms::by_id(&ctx.db, caller.workspace.id, cvm).await?;
    Ok((found.map(|cvm| views::cvm(ctx, caller, &cvm)), newest))
}

/// Which CVMs a list shows.
pub const fn filter(node: Option<NodeId>, user: Option<casemate_core::id::UserId>) -> Filter {
    Filter { node, user }
}
