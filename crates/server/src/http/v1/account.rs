//! `GET /auth/me`.

use axum::Json;
use casemate_api::reply::{AuthMe, UserRole};

use crate::{
    app::{Caller, workspaces::TIER},
    http::{
        extract::{Auth, Version},
        render,
    },
    view::{CreditsView, UserView, WorkspaceView},
};

/// The user and workspace behind the key.
#[utoipa::path(
    get,
    path = "/auth/me",
    operation_id = "get_current_user",
    tag = "Account",
    responses((status = 200, description = "Nested from 2026-01-21 on, flat before.", body = AuthMe)),
)]
pub async fn me(Auth(caller): Auth, version: Version) -> Json<AuthMe> {
    Json(render::auth_me(
        &user(&caller),
        &workspace(&caller),
        &CreditsView::none(),
        version.version,
    ))
}

fn user(caller: &Caller) -> UserView {
    UserView {
        username: caller.user.username.clone(),
        email: caller.user.email.clone(),
        role: if caller.access.is_operator { UserRole::Admin } else { UserRole::User },
        avatar: String::new(),
        email_verified: true,
        totp_enabled: false,
        has_backup_codes: false,
        has_password: false,
    }
}

/// The caller's workspace.
pub fn workspace(caller: &Caller) -> WorkspaceView {
    WorkspaceView {
        id: caller.workspace.id,
        name: caller.workspace.name.clone(),
        slug: Some(caller.workspace.slug.clone()),
        tier: TIER.to_owned(),
        role: caller.access.role.word().to_owned(),
        avatar: None,
        is_default: true,
        created_at: caller.workspace.created_at.to_string(),
    }
}
