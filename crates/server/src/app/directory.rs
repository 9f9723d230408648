//! The public directory: apps with a listed CVM, of all workspaces, for anybody. To whom they belong is
//! not told, and of a CVM only what its flags make public.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use casemate_api::{
    kms_type::KmsType,
    page::SeekRequest,
    reply::{Directory, PublicApp, PublicCvm},
};
use casemate_core::time::Timestamp;
use casemate_store::cvms::{self as stored, AppKey, Cvm, PublicApp as Stored};

use super::{Ctx, Error, cvms, fleet::FleetKms, views};

/// How old the length of the directory may be: it is counted, and anybody may ask.
const COUNT_KEPT: Duration = Duration::from_secs(10);

/// How many apps the directory had, and when they were counted.
#[derive(Debug, Default)]
pub struct DirectoryLength(Mutex<Option<(Timestamp, u64)>>);

/// A page of it, newest apps first.
pub async fn page(ctx: &Ctx, request: &SeekRequest) -> Result<Directory, Error> {
    let size = request.request.page_size;
    let total = length(ctx).await?;
    let after =
        match &request.after {
            None => None,
            Some(after) => Some(cvms::app_key(&after.key).ok_or_else(|| {
                Error::Invalid(vec![casemate_api::page::bad_cursor(&after.cursor)])
            })?),
        };
    let (apps, next) = stored::directory(&ctx.db, after.as_ref(), size.into()).await?;
    Ok(Directory {
        dstack_apps: apps.iter().map(|app| public_app(ctx, app)).collect(),
        page: 1,
        page_size: size,
        total,
        total_pages: total.div_ceil(u64::from(size).max(1)),
        next_cursor: next.map(|last: AppKey| request.next_cursor(&cvms::app_key_text(&last))),
    })
}

async fn length(ctx: &Ctx) -> Result<u64, Error> {
    let now = ctx.now();
    let kept = || ctx.directory_length.0.lock().unwrap_or_else(PoisonError::into_inner);
    let known = *kept();
    if let Some((_, length)) = known.filter(|(at, _)| now.since(*at) < COUNT_KEPT) {
        return Ok(length);
    }
    let length = u64::try_from(stored::directory_length(&ctx.db).await?).unwrap_or(0);
    *kept() = Some((now, length));
    Ok(length)
}

fn public_app(ctx: &Ctx, app: &Stored) -> PublicApp {
    let cvms: Vec<PublicCvm> = app.cvms.iter().map(|cvm| public_cvm(ctx, cvm)).collect();
    PublicApp {
        id: format!("app_{}", app.app_id),
        name: app.name.clone(),
        app_id: app.app_id.to_string(),
        created_at: app.created_at.to_string(),
        kms_type: ctx.fleet.kms_of(&app.kms).map_or(KmsType::Legacy, FleetKms::kind).to_string(),
        current_cvm: None,
        cvm_count: u64::try_from(cvms.len()).unwrap_or(u64::MAX),
        cvms,
    }
}

fn public_cvm(ctx: &Ctx, cvm: &Cvm) -> PublicCvm {
    let (facts, resources) = (&cvm.spec.facts, &cvm.spec.resources);
    let sysinfo = facts.public_sysinfo;
    let tcbinfo = facts.public_tcbinfo;
    let urls = views::public_urls(cvm, &views::gateways_of(ctx, cvm));
    let node = ctx.fleet.node(cvm.node);
    PublicCvm {
        status: cvm.phase.into(),
        tee: node.map(|node| node.observed().0.tee.as_str().to_owned()),
        public_urls: urls.into_iter().map(|url| url.app).collect(),
        vcpu: sysinfo.then_some(resources.vcpu),
        memory: sysinfo.then_some(resources.memory_mb),
        disk_size: sysinfo.then_some(resources.disk_gb),
        base_image: tcbinfo.then(|| cvm.spec.image.clone()),
        compose_hash: tcbinfo.then(|| cvm.spec.compose_hash.to_string()),
        instance_id: cvm.instance_id.filter(|_| tcbinfo).map(|id| id.to_string()),
    }
}
