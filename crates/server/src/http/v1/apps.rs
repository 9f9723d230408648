//! Apps.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::{ErrorBody, ErrorCode, ValidationItem},
    page::{Page, SeekRequest, query_flag},
    reply::{App, AppCvms, AppsOrDirectory},
};

use crate::{
    app::{Ctx, Error, cvms, cvms::AppsFilter, directory},
    http::{
        error::ApiError,
        extract::{Auth, MaybeAuth, Version},
        render,
    },
};

/// The parameters of a query string. A parameter that the route does not know is refused: a list that looks
/// filtered and is not is worse than none.
struct QueryParams(Vec<(String, String)>);

impl QueryParams {
    /// Empty values count as left out.
    fn new(pairs: Vec<(String, String)>, served: &[&str]) -> Result<Self, Error> {
        let given: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        match given.iter().find(|(name, _)| !served.contains(&name.as_str())) {
            None => Ok(Self(given)),
            Some((name, _)) => Err(Error::field(
                ErrorCode::FieldNotServed,
                name,
                format!("is no filter of this list; there are {}", served.join(", ")),
            )),
        }
    }

    fn all(&self, wanted: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    /// The only value of this name. The same value may be there twice.
    fn single(&self, wanted: &str) -> Result<Option<&str>, Error> {
        let mut values = self.all(wanted);
        let first = values.next();
        match values.find(|value| Some(*value) != first) {
            None => Ok(first),
            Some(other) => {
                let why = "Input should be given once";
                let item = ValidationItem::at(&["query", wanted], "value_error", why, other);
                Err(Error::Invalid(vec![item]))
            }
        }
    }

    fn text(&self, wanted: &str) -> Result<Option<String>, Error> {
        Ok(self.single(wanted)?.map(str::to_owned))
    }
}

/// Everything that [`page`] takes.
const SERVED: [&str; 12] = [
    "page",
    "page_size",
    "cursor",
    "search",
    "status",
    "listed",
    "base_image",
    "instance_type",
    "kms_slug",
    "kms_type",
    "node",
    "region",
];

fn read_apps_query(pairs: Vec<(String, String)>) -> Result<(AppsFilter, SeekRequest), Error> {
    let invalid = |item| Error::Invalid(vec![item]);
    let params = QueryParams::new(pairs, &SERVED)?;
    let request = SeekRequest::from_query(
        params.single("page")?,
        params.single("page_size")?,
        params.single("cursor")?,
        20,
        100,
    )
    .map_err(invalid)?;
    let filter = AppsFilter {
        search: params.text("search")?.unwrap_or_default(),
        status: params.all("status").map(str::to_owned).collect(),
        listed: query_flag("listed", params.single("listed")?).map_err(invalid)?,
        base_image: params.text("base_image")?,
        instance_type: params.text("instance_type")?,
        kms_slug: params.text("kms_slug")?,
        kms_type: params.text("kms_type")?,
        node: params.text("node")?,
        region: params.text("region")?,
    };
    Ok((filter, request))
}

/// What anybody may ask: a page of the public directory.
fn asked_by_anybody(pairs: Vec<(String, String)>) -> Result<SeekRequest, Error> {
    let listed = |(name, value): &(String, String)| {
        name == "listed" && query_flag(name, Some(value)) == Ok(Some(true))
    };
    if !pairs.iter().any(listed) {
        return Err(Error::code(ErrorCode::Unauthenticated)
            .suggest("Without a key there is the public directory: GET /api/v1/apps?listed=true"));
    }
    let params = QueryParams::new(pairs, &["listed", "page_size", "cursor"])?;
    SeekRequest::from_query(None, params.single("page_size")?, params.single("cursor")?, 20, 100)
        .map_err(|item| Error::Invalid(vec![item]))
}

/// Apps that have CVMs, newest first. Without a key and with `listed=true`: the public directory.
///
/// The directory holds every app with a listed CVM, of all workspaces; it does not tell to whom an app
/// belongs, and of a CVM only what its flags make public. It takes `page_size` and `cursor` alone.
///
/// An app is listed when its name or id is what `search` asks for, its KMS is what `kms_slug` and
/// `kms_type` ask for, and *one* of its live CVMs fits all other filters. It is shown with all of its
/// CVMs. Texts are compared whole and as they are; a text that nothing has makes an empty page. An empty
/// value counts as left out; another name than those below is refused.
#[utoipa::path(
    get,
    path = "/apps",
    operation_id = "list_apps",
    tag = "Apps",
    params(
        ("page" = Option<u32>, Query, minimum = 1, description = "Which page, from 1."),
        ("page_size" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Apps per page, 20 if left out."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, instead of `page`; with the same filters (Casemate only)."),
        ("search" = Option<String>, Query, description = "A part of the app's name in any case; or an app id, or `vm_uuid` or `instance_id` of one of its CVMs."),
        ("status" = Option<Vec<String>>, Query, explode, description = "A CVM shows one of these as its `status`; repeated for several."),
        ("listed" = Option<bool>, Query, description = "A CVM is, or is not, shown in the public directory."),
        ("base_image" = Option<String>, Query, description = "A CVM has the OS image of this name."),
        ("instance_type" = Option<String>, Query, description = "A CVM has this instance type; one sized by hand has none."),
        ("kms_slug" = Option<String>, Query, description = "The KMS of this slug answers for the app."),
        ("kms_type" = Option<String>, Query, description = "A KMS of this kind answers for the app, any case."),
        ("node" = Option<String>, Query, description = "A CVM is on the node of this name."),
        ("region" = Option<String>, Query, description = "A CVM is on a node of this region."),
    ),
    responses(
        (status = 200, body = AppsOrDirectory),
        (status = 401, description = "No key, and not the directory asked for.", body = ErrorBody),
    ),
)]
pub async fn page(
    State(ctx): State<Ctx>,
    MaybeAuth(caller): MaybeAuth,
    version: Version,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<AppsOrDirectory>, ApiError> {
    let Some(caller) = caller else {
        let request = asked_by_anybody(query)?;
        let page = directory::page(&ctx, &request).await?;
        return Ok(Json(AppsOrDirectory::Directory(page)));
    };
    let (filter, request) = read_apps_query(query)?;
    let part = cvms::apps(&ctx, &caller, filter, &request).await?;
    let page = Page::new(part.items, part.total, request.request);
    let page = render::apps(&page, part.next, version.version);
    Ok(Json(AppsOrDirectory::Apps(page)))
}

/// One app with its CVMs.
#[utoipa::path(
    get,
    path = "/apps/{app_id}",
    operation_id = "get_app",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = App),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
)]
pub async fn one(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(app): Path<String>,
) -> Result<Json<App>, ApiError> {
    Ok(Json(render::app_info(&cvms::app(&ctx, &caller, &app).await?, version.version)))
}

/// The CVMs of an app: a plain array.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/cvms",
    operation_id = "list_app_cvms",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = AppCvms),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
)]
pub async fn cvms(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(app): Path<String>,
) -> Result<Json<AppCvms>, ApiError> {
    let app = cvms::app(&ctx, &caller, &app).await?;
    Ok(Json(render::app_cvms(&app.cvms, version.version)))
}
