//! `GET /auth/me`.

use casemate_api::{
    reply::{AuthMe, AuthMeFlat, AuthMeNested, Credits, User, Workspace},
    version::ApiVersion,
};

use super::workspace_id;
use crate::view::{CreditsView, UserView, WorkspaceView};

/// `GET /auth/me`.
pub fn auth_me(
    user: &UserView,
    workspace: &WorkspaceView,
    credits: &CreditsView,
    version: ApiVersion,
) -> AuthMe {
    if version.has_nested_objects() {
        return AuthMe::Nested(AuthMeNested {
            user: nested_user(user),
            workspace: Workspace {
                id: workspace_id(workspace.id),
                name: workspace.name.clone(),
                slug: workspace.slug.clone(),
                tier: workspace.tier.clone(),
                role: workspace.role.clone(),
                avatar: workspace.avatar.clone(),
            },
            credits: Credits {
                balance: credits.balance.clone(),
                granted_balance: credits.granted_balance.clone(),
                is_post_paid: credits.is_post_paid,
                outstanding_amount: credits.outstanding_amount.clone(),
            },
        });
    }
    AuthMe::Flat(AuthMeFlat {
        username: user.username.clone(),
        email: user.email.clone(),
        credits: amount(&credits.balance),
        granted_credits: amount(&credits.granted_balance),
        avatar: user.avatar.clone(),
        team_name: workspace.name.clone(),
        team_tier: workspace.tier.clone(),
    })
}

fn nested_user(user: &UserView) -> User {
    User {
        username: user.username.clone(),
        email: user.email.clone(),
        role: user.role,
        avatar: user.avatar.clone(),
        email_verified: user.email_verified,
        totp_enabled: user.totp_enabled,
        has_backup_codes: user.has_backup_codes,
        flag_has_password: user.has_password,
    }
}

/// Money as a number, for the one version that has it so; 0 for what is none.
fn amount(text: &str) -> f64 {
    text.parse().ok().filter(|number: &f64| number.is_finite()).unwrap_or(0.0)
}
