//! Lists over HTTP: filters alone and together, pages by number and by cursor, and what is refused.

use std::collections::BTreeSet;

use casemate_engine::node::sim::SimConfig;
use common::{TestNode, World, provision_body};
use serde_json::{Value, json};

use crate::common;

const VERSIONS: [&str; 2] = ["2025-10-28", "2026-01-21"];

/// Two nodes in two regions, and apps that differ in one thing each from `plain`.
async fn varied() -> World {
    let world = World::fleet(
        vec![
            TestNode { name: "east-1", region: "east", ..TestNode::sim() },
            TestNode { name: "west-1", region: "west", ..TestNode::sim() },
        ],
        |_| {},
    )
    .await;
    let image = |dev: bool| {
        let images = SimConfig::fast().images;
        images.into_iter().find(|image| image.is_dev == dev).unwrap().name
    };
    let plain = json!({ "node_id": 1, "image": image(false), "instance_type": "tdx.small" });
    let apps = [
        ("plain", json!({})),
        ("unlisted", json!({ "listed": false })),
        ("dev-image", json!({ "image": image(true) })),
        ("medium", json!({ "instance_type": "tdx.medium" })),
        ("by-hand", json!({ "instance_type": null, "vcpu": 1, "memory": 1024 })),
        ("western", json!({ "node_id": 2 })),
        ("halted", json!({})),
        ("halted-west", json!({ "node_id": 2, "listed": false })),
    ];
    for (name, differs) in apps {
        let mut body = provision_body(name);
        for change in [&plain, &differs] {
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        }
        let provisioned = world.post("/cvms/provision", body).await.ok();
        let commit = json!({
            "app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"]
        });
        world.post("/cvms", commit).await.ok();
        world.clock.advance_ms(1000);
    }
    world.settle().await;
    for name in ["halted", "halted-west"] {
        world.post(&format!("/cvms/{name}/stop"), json!({})).await.ok();
    }
    world.settle().await;
    world
}

fn names(page: &Value) -> Vec<String> {
    let apps = page["dstack_apps"].as_array().unwrap();
    apps.iter().map(|app| app["name"].as_str().unwrap().to_owned()).collect()
}

/// Names of the apps that a query lists; in every version the same, and as many as the total says.
async fn apps(world: &World, query: &str) -> BTreeSet<String> {
    let mut found = Vec::new();
    for version in VERSIONS {
        let path = format!("/apps?page_size=100&{query}");
        let page = world.call("GET", &path, version, None).await.ok();
        let names = names(&page);
        assert_eq!(page["total"], names.len(), "{query}: {page}");
        assert_eq!(page["next_cursor"], Value::Null);
        found.push(names);
    }
    assert_eq!(found[0], found[1], "{query}");
    found.remove(0).into_iter().collect()
}

const ALL: [&str; 8] =
    ["plain", "unlisted", "dev-image", "medium", "by-hand", "western", "halted", "halted-west"];

/// Each filter with the apps that fit it; images and ids are put in where the test knows them.
fn filters(image: &str, dev: &str) -> Vec<(String, Vec<&'static str>)> {
    let but = |out: &[&str]| ALL.into_iter().filter(|name| !out.contains(name)).collect();
    vec![
        ("search=halt".to_owned(), vec!["halted", "halted-west"]),
        ("search=WEST".to_owned(), vec!["western", "halted-west"]),
        ("status=stopped".to_owned(), vec!["halted", "halted-west"]),
        ("status=running".to_owned(), but(&["halted", "halted-west"])),
        ("status=running&status=stopped&status=no-such".to_owned(), but(&[])),
        ("listed=false".to_owned(), vec!["unlisted", "halted-west"]),
        ("listed=True".to_owned(), but(&["unlisted", "halted-west"])),
        (format!("base_image={image}"), but(&["dev-image"])),
        (format!("base_image={dev}"), vec!["dev-image"]),
        ("instance_type=tdx.medium".to_owned(), vec!["medium"]),
        ("instance_type=tdx.small".to_owned(), but(&["medium", "by-hand"])),
        ("kms_slug=builtin".to_owned(), but(&[])),
        ("kms_type=PHALA".to_owned(), but(&[])),
        ("node=west-1".to_owned(), vec!["western", "halted-west"]),
        ("region=east".to_owned(), but(&["western", "halted-west"])),
        (String::new(), but(&[])),
        ("status=&listed=&base_image=&node=".to_owned(), but(&[])),
        ("status=nonsense".to_owned(), vec![]),
        ("status=deleted".to_owned(), vec![]),
        ("base_image=dstack".to_owned(), vec![]),
        ("base_image=%00".to_owned(), vec![]),
        ("instance_type=TDX.SMALL".to_owned(), vec![]),
        ("kms_slug=other".to_owned(), vec![]),
        ("kms_type=ethereum".to_owned(), vec![]),
        ("kms_type=nonsense".to_owned(), vec![]),
        ("node=north-1".to_owned(), vec![]),
        ("region=north".to_owned(), vec![]),
        ("search=%25".to_owned(), vec![]),
    ]
}

/// Every filter alone, and every two of them together: here every app has one CVM, so together they
/// list what both list. (What one CVM must fit is tested in the store, in all combinations.)
#[tokio::test]
async fn filters_list_what_fits_alone_and_together() {
    let world = varied().await;
    let page = world.get("/apps?search=plain").await.ok();
    let image = page["dstack_apps"][0]["cvms"][0]["os"]["name"].as_str().unwrap().to_owned();
    let page = world.get("/apps?search=dev-image").await.ok();
    let dev = page["dstack_apps"][0]["cvms"][0]["os"]["name"].as_str().unwrap().to_owned();
    let filters = filters(&image, &dev);
    for (query, expected) in &filters {
        let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(apps(&world, query).await, expected, "{query}");
    }
    let name = |query: &str| query.split('=').next().unwrap_or_default().to_owned();
    for (first, one) in &filters {
        for (second, other) in filters.iter().filter(|(second, _)| name(second) > name(first)) {
            let expected = one.iter().filter(|name| other.contains(name));
            let expected: BTreeSet<String> = expected.map(ToString::to_string).collect();
            let query = format!("{first}&{second}");
            if query.matches("status=").count() > 3 || query.starts_with('&') {
                continue;
            }
            assert_eq!(apps(&world, &query).await, expected, "{query}");
        }
    }
    let all = format!(
        "search=halt&status=stopped&listed=0&base_image={image}&instance_type=tdx.small\
         &kms_slug=builtin&kms_type=phala&node=west-1&region=west"
    );
    assert_eq!(apps(&world, &all).await, BTreeSet::from(["halted-west".to_owned()]));
    assert_eq!(apps(&world, &all.replace("region=west", "region=east")).await, BTreeSet::new());
}

#[tokio::test]
async fn an_app_is_found_by_the_ids_of_its_cvm() {
    let world = World::new().await;
    world.deploy("first-app").await;
    world.deploy("other-app").await;
    world.settle().await;
    let cvm = world.get("/cvms/first-app").await.ok();
    for field in ["app_id", "vm_uuid", "instance_id"] {
        let id = cvm[field].as_str().unwrap();
        assert_eq!(names(&world.get(&format!("/apps?search={id}")).await.ok()), ["first-app"]);
    }
}

/// The error names the parameter, in the envelope.
#[tokio::test]
async fn what_cannot_be_meant_is_refused_by_name() {
    let world = World::new().await;
    for (path, parameter) in [
        ("/apps?listed=maybe", "listed"),
        ("/apps?listed=true&listed=false", "listed"),
        ("/apps?node=a&node=b", "node"),
        ("/apps?page=0", "page"),
        ("/apps?page=x", "page"),
        ("/apps?page_size=101", "page_size"),
        ("/apps?cursor=nonsense", "cursor"),
        ("/apps?cursor=322f31", "cursor"),
        ("/apps?page=2&cursor=322f31", "cursor"),
        ("/cvms/paginated?cursor=322f78", "cursor"),
        ("/cvms/paginated?cursor=nonsense", "cursor"),
        ("/cvms/paginated?page=1&cursor=322f31", "cursor"),
        ("/cvms/paginated?node_id=x", "node_id"),
        ("/cvms/paginated?node_id=1&teepod_id=2", "teepod_id"),
        ("/cvms/paginated?user_id=usr_", "user_id"),
        ("/cvms/paginated?user_id=-1", "user_id"),
        ("/cvms?user_id=ada", "user_id"),
        ("/cvms?teepod_id=0", "teepod_id"),
    ] {
        let reply = world.get(path).await;
        assert_eq!(reply.status.as_u16(), 422, "{path}: {}", reply.text);
        assert_eq!(reply.json()["detail"][0]["loc"], json!(["query", parameter]), "{path}");
    }
    let refused = world.get("/apps?owner=me").await.refused(400, "ERR-20-006");
    assert_eq!(refused["details"][0]["field"], "owner");
    assert!(refused.to_string().contains("base_image"), "{refused}");
}

/// Whatever the size, pages by number and by cursor hold every item once and in order.
#[tokio::test]
async fn pages_of_any_size_make_the_whole() {
    let world = World::new().await;
    for number in 0..9 {
        world.deploy(&format!("app-{number}")).await;
        // some at the same time
        world.clock.advance_ms(i64::from(number % 3));
    }
    let newest: Vec<String> = (0..9).rev().map(|number| format!("app-{number}")).collect();
    let item_names = |page: &Value, items: &str| -> Vec<String> {
        let items = page[items].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let lists = [
        ("/cvms/paginated?", "items", "pages"),
        ("/cvms/paginated?node_id=1&teepod_id=1&user_id=usr_1&", "items", "pages"),
        ("/apps?", "dstack_apps", "total_pages"),
        ("/apps?listed=true&kms_type=phala&search=app&", "dstack_apps", "total_pages"),
    ];
    for (list, items, pages) in lists {
        let whole = item_names(&world.get(&format!("{list}page_size=100")).await.ok(), items);
        if items == "items" {
            assert_eq!(whole, newest);
        }
        let set: BTreeSet<&String> = whole.iter().collect();
        assert_eq!(set, newest.iter().collect(), "{list}");
        for size in 1..=10_usize {
            let (mut by_number, mut by_cursor) = (Vec::new(), Vec::new());
            let mut cursor = String::new();
            for number in 1..=9_usize.div_ceil(size) {
                let path = format!("{list}page_size={size}&page={number}");
                let page = world.get(&path).await.ok();
                assert_eq!(
                    (&page["total"], &page[pages]),
                    (&json!(9), &json!(9_usize.div_ceil(size)))
                );
                by_number.extend(item_names(&page, items));
                let path = format!("{list}page_size={size}&cursor={cursor}");
                let page = world.get(&path).await.ok();
                assert_eq!((&page["page"], &page["page_size"]), (&json!(number), &json!(size)));
                by_cursor.extend(item_names(&page, items));
                match page["next_cursor"].as_str() {
                    Some(next) => next.clone_into(&mut cursor),
                    None => assert_eq!(number, 9_usize.div_ceil(size)),
                }
            }
            assert_eq!((&by_number, &by_cursor), (&whole, &whole), "{list} by {size}");
        }
        let beyond = world.get(&format!("{list}page=4294967295&page_size=100")).await.ok();
        assert_eq!((item_names(&beyond, items), &beyond["total"]), (vec![], &json!(9)));
    }
}

#[tokio::test]
async fn cvms_are_filtered_by_node_and_user() {
    let world = varied().await;
    for (query, total) in [
        ("node_id=1", 6),
        ("teepod_id=2", 2),
        ("node_id=2&teepod_id=2", 2),
        ("node_id=3", 0),
        ("user_id=1", 8),
        ("user_id=usr_1", 8),
        ("user_id=0", 0),
        ("user_id=2", 0),
        ("node_id=2&user_id=1", 2),
        ("node_id=&user_id=", 8),
    ] {
        let page = world.get(&format!("/cvms/paginated?{query}")).await.ok();
        assert_eq!(page["total"], total, "{query}");
        assert_eq!(page["items"].as_array().unwrap().len(), total, "{query}");
        let list = world.get(&format!("/cvms?{query}")).await.ok();
        assert_eq!(list.as_array().unwrap().len(), total, "{query}");
    }
}
