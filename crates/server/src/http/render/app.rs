//! Apps.

use casemate_api::{
    page::Page,
    reply::{App, AppCvm, AppCvms, AppProfile, AppsPage, CvmBasic},
    version::ApiVersion,
};

use super::{app_row_id, cvm::cvm_info, cvm_flat::hosted};
use crate::view::{AppProfileView, AppView, CvmView};

/// `GET /apps`.
pub fn apps(page: &Page<AppView>, next: Option<String>, version: ApiVersion) -> AppsPage {
    AppsPage {
        dstack_apps: page.items.iter().map(|view| app_info(view, version)).collect(),
        page: page.page,
        page_size: page.page_size,
        total: page.total,
        total_pages: page.pages,
        next_cursor: next,
    }
}

/// `GET /apps/{id}`, and an item of the list.
pub fn app_info(view: &AppView, version: ApiVersion) -> App {
    App {
        id: app_row_id(&view.app_id),
        name: view.name.clone(),
        app_id: view.app_id.to_string(),
        app_provision_type: view.provision_type.clone(),
        app_icon_url: view.icon_url.clone(),
        created_at: view.created_at.clone(),
        kms_type: view.kms_type.to_string(),
        profile: view.profile.as_ref().map(profile),
        current_cvm: view.current_cvm.as_ref().map(|cvm| app_cvm(cvm, version)),
        cvms: view.cvms.iter().map(|cvm| app_cvm(cvm, version)).collect(),
        cvm_count: view.cvm_count,
    }
}

/// `GET /apps/{id}/cvms`.
pub fn app_cvms(cvms: &[CvmView], version: ApiVersion) -> AppCvms {
    if version.has_nested_objects() {
        AppCvms::Nested(cvms.iter().map(cvm_info).collect())
    } else {
        AppCvms::Hosted(cvms.iter().map(hosted).collect())
    }
}

fn profile(view: &AppProfileView) -> AppProfile {
    AppProfile {
        display_name: view.display_name.clone(),
        avatar_url: view.avatar_url.clone(),
        description: view.description.clone(),
        custom_domain: view.custom_domain.clone(),
    }
}

fn app_cvm(view: &CvmView, version: ApiVersion) -> AppCvm {
    if version.has_nested_objects() {
        return AppCvm::Nested(Box::new(cvm_info(view)));
    }
    let node = view.node.as_ref();
    let kms = view.kms.as_ref();
    AppCvm::Basic(Box::new(CvmBasic {
        vm_uuid: Some(view.vm_uuid.to_string()),
        app_id: view.app_id.to_string(),
        name: view.name.clone(),
        status: view.phase.into(),
        vcpu: view.vcpu,
        memory: view.memory_mb,
        disk_size: view.disk_gb,
        teepod_id: node.map_or(0, |node| node.id.0),
        teepod_name: node.map(|node| node.name.clone()).unwrap_or_default(),
        region_identifier: node.and_then(|node| node.region.clone()),
        kms_type: kms.map(|kms| kms.kind.to_string()),
        instance_type: view.instance_type.clone(),
        listed: Some(view.listed),
        base_image: Some(view.os.name.clone()),
        kms_slug: kms.and_then(|kms| kms.slug.clone()),
        kms_id: kms.map(|kms| kms.id.to_string()),
        instance_id: view.instance_id.map(|id| id.to_string()),
        machine_info: None,
        updated_at: view.updated_at.clone(),
    }))
}
