//! What a workspace may take: checked in the transaction that accepts a CVM or its growth, and already when it is
//! prepared, so that nobody signs or uploads for nothing.

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    quota::{
        QuotaAmount, QuotaLimits, QuotaOverride, ReservedGpus, WorkspaceQuota, WorkspaceQuotas,
    },
};
use casemate_core::{
    id::WorkspaceId,
    place::Amount,
    quota::{self, OverQuota, Quota, Resource},
};
use casemate_store::{
    Tx, accounts,
    cvms::{WorkspaceUsage, workspace_usage},
};

use super::{Caller, Ctx, Error, audit, mutation::Mutation};

/// `limit` and `remaining` where there is no limit: the largest integer that every JSON reader keeps exactly.
const UNLIMITED: i64 = 9_007_199_254_740_991;

/// Refuses what would be too much. `usage` does not contain what is asked for.
pub fn check(ctx: &Ctx, usage: &WorkspaceUsage, more: &Amount) -> Result<(), Error> {
    let quota = usage.quota.or(ctx.config.quotas.of_cvms());
    quota::check(&quota, &usage.taken, more).map_err(refused)
}

/// Refuses what was just counted.
pub fn check_counted(ctx: &Ctx, usage: &WorkspaceUsage, counted: &Amount) -> Result<(), Error> {
    let taken = Amount {
        slots: usage.taken.slots - counted.slots,
        vcpu: usage.taken.vcpu - counted.vcpu,
        memory_mb: usage.taken.memory_mb - counted.memory_mb,
        disk_gb: usage.taken.disk_gb - counted.disk_gb,
    };
    check(ctx, &WorkspaceUsage { taken, ..*usage }, counted)
}

/// Refuses to prepare what would be too much at present, and more prepared deployments than may wait.
pub async fn check_prepared(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    more: &Amount,
) -> Result<(), Error> {
    let workspace = caller.workspace.id;
    check(ctx, &tx.workspace_usage(workspace).await?, more)?;
    let limit = ctx.config.quotas.provisions;
    if limit == 0 || !tx.has_open_provisions(workspace, limit).await? {
        return Ok(());
    }
    let why =
        format!("{limit} prepared deployments of the workspace wait for their commit already");
    Err(Error::because(ErrorCode::QuotaExceeded, why)
        .detail(ErrorDetail::value("limit", limit))
        .suggest("Commit one of them with POST /api/v1/cvms, or wait: each is forgotten after provision.ttl_days.")
        .suggest("An operator raises the limit with quotas.provisions in the configuration."))
}

fn refused(over: OverQuota) -> Error {
    let field = match over.resource {
        Resource::Cvms => "cvms",
        Resource::Vcpu => "vcpu",
        Resource::MemoryMb => "memory",
        Resource::DiskGb => "disk_size",
    };
    Error::because(ErrorCode::QuotaExceeded, over.to_string())
        .detail(ErrorDetail::message(field, over.to_string()))
        .detail(ErrorDetail::value("limit", over.limit))
        .suggest("Delete a CVM that nobody needs, or ask for less.")
        .suggest("An operator raises the limit with casemate admin quota set.")
}

/// The quotas of the caller's workspace; any other is not found.
pub async fn of_caller(ctx: &Ctx, caller: &Caller, slug: &str) -> Result<WorkspaceQuotas, Error> {
    if slug != caller.workspace.slug {
        return Err(not_found(slug));
    }
    let usage = workspace_usage(&ctx.db, caller.workspace.id).await?;
    let quota = usage.quota.or(ctx.config.quotas.of_cvms());
    let of = |limit: Option<i64>, taken: i64| QuotaAmount {
        limit: limit.unwrap_or(UNLIMITED),
        remaining: limit.map_or(UNLIMITED, |limit| limit.saturating_sub(taken).max(0)),
    };
    let none = QuotaAmount { limit: 0, remaining: 0 };
    Ok(WorkspaceQuotas {
        team_slug: caller.workspace.slug.clone(),
        tier: "free".to_owned(),
        quotas: QuotaLimits {
            vm_slots: of(quota.cvms, usage.taken.slots),
            vcpu: of(quota.vcpu, usage.taken.vcpu),
            memory_mb: of(quota.memory_mb, usage.taken.memory_mb),
            disk_gb: of(quota.disk_gb, usage.taken.disk_gb),
        },
        reserved_nodes: none.clone(),
        reserved_gpu: ReservedGpus { gpus: none, in_use: 0, misconfigured: 0 },
        as_of: ctx.now().to_string(),
    })
}

fn not_found(slug: &str) -> Error {
    Error::because(ErrorCode::NotFound, "no such workspace of this API key")
        .detail(ErrorDetail::value("slug", slug))
}

async fn workspace_named(ctx: &Ctx, slug: &str) -> Result<WorkspaceId, Error> {
    accounts::workspace_id(&ctx.db, slug).await?.ok_or_else(|| not_found(slug))
}

/// What a workspace takes and may take, for operators.
pub async fn show(ctx: &Ctx, slug: &str) -> Result<WorkspaceQuota, Error> {
    let workspace = workspace_named(ctx, slug).await?;
    let usage = workspace_usage(&ctx.db, workspace).await?;
    Ok(shown(ctx, slug, &usage))
}

/// Sets what a workspace may take.
pub async fn set(
    ctx: &Ctx,
    mutation: &mut Mutation,
    slug: &str,
    quota: &QuotaOverride,
) -> Result<WorkspaceQuota, Error> {
    let workspace = workspace_named(ctx, slug).await?;
    let limits = [
        ("cvms", quota.cvms),
        ("vcpu", quota.vcpu),
        ("memory_mb", quota.memory_mb),
        ("disk_gb", quota.disk_gb),
    ];
    for (field, limit) in limits {
        if limit.is_some_and(|limit| !(0..=UNLIMITED).contains(&limit)) {
            return Err(Error::invalid(field, "must be 0 or more; null is the configured default"));
        }
    }
    let own = Quota {
        cvms: quota.cvms,
        vcpu: quota.vcpu,
        memory_mb: quota.memory_mb,
        disk_gb: quota.disk_gb,
    };
    audit::before(&shown(ctx, slug, &mutation.tx.lock_workspace_usage(workspace).await?));
    mutation.tx.set_quota(workspace, own).await?;
    let usage = mutation.tx.lock_workspace_usage(workspace).await?;
    Ok(shown(ctx, slug, &usage))
}

fn shown(ctx: &Ctx, slug: &str, usage: &WorkspaceUsage) -> WorkspaceQuota {
    let own = usage.quota;
    let counts = own.or(ctx.config.quotas.of_cvms());
    let limits = |quota: Quota| QuotaOverride {
        cvms: quota.cvms,
        vcpu: quota.vcpu,
        memory_mb: quota.memory_mb,
        disk_gb: quota.disk_gb,
    };
    WorkspaceQuota {
        slug: slug.to_owned(),
        taken: QuotaOverride {
            cvms: Some(usage.taken.slots),
            vcpu: Some(usage.taken.vcpu),
            memory_mb: Some(usage.taken.memory_mb),
            disk_gb: Some(usage.taken.disk_gb),
        },
        own: limits(own),
        limit: limits(counts),
    }
}
