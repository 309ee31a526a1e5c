//! Lists in chunks, also beyond what is still known of the past, and tables where there are none.

use futures::StreamExt;
use knarr_json::{Value, json};
use knarr_store::{Options, Store};

use crate::{
    common::Server,
    world::{World, name_of},
};

const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";
const ALL: usize = 400;

async fn fill(world: &World) {
    let template = |i: usize| {
        json!({"metadata": {"name": format!("template-{i:04}")},
            "template": {"spec": {"containers": [{"name": "test", "image": "test2"}]}}})
    };
    futures::stream::iter(0..ALL)
        .for_each_concurrent(20, |i| async move {
            world.make(TEMPLATES, template(i)).await;
        })
        .await;
}

/// Checks that a page goes on where `found` ended and tells what is left; returns its token.
fn page(list: &Value, limit: usize, found: &mut usize) -> Option<String> {
    let items = list["items"].as_array().unwrap();
    assert!(items.len() <= limit);
    for item in items {
        assert_eq!(name_of(item), format!("template-{found:04}"));
        *found += 1;
    }
    let meta = &list["metadata"];
    let token = meta["continue"].as_str().filter(|t| !t.is_empty());
    match token {
        None => assert_eq!(meta["remainingItemCount"], Value::Null),
        Some(_) => assert_eq!(meta["remainingItemCount"], json!(ALL - *found)),
    }
    token.map(str::to_owned)
}

/// Reads all pages from a token on; they show one revision.
async fn rest(world: &World, mut token: Option<String>, found: &mut usize, limits: &[usize]) {
    let mut revision = Value::Null;
    for limit in limits.iter().cycle() {
        let Some(last) = token else { break };
        let path = match last.as_str() {
            "" => format!("{TEMPLATES}?limit={limit}"),
            last => format!("{TEMPLATES}?limit={limit}&continue={last}"),
        };
        let list = world.get(&path).await;
        let shown = &list["metadata"]["resourceVersion"];
        if !revision.is_null() {
            assert_eq!(shown, &revision);
        }
        revision = shown.clone();
        token = page(&list, *limit, found);
    }
    assert_eq!(*found, ALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_make_the_whole() {
    let world = World::start().await;
    fill(&world).await;
    for limits in [[1, 40, 17], [40, 3, 29], [13, 13, 13]] {
        rest(&world, Some(String::new()), &mut 0, &limits).await;
    }
    let whole = world.get(&format!("{TEMPLATES}?limit={}", ALL + 1)).await;
    assert_eq!(page(&whole, ALL + 1, &mut 0), None);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_though_its_moment_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        history: 10,
        keep: std::time::Duration::ZERO,
        ..Options::new(&dir.path().join("store"))
    };
    let heads = knarr_apiserver::head_of(&knarr_api::builtin::registry());
    let store = Store::open(options, heads).await.unwrap();
    let server = Server::start_on(store, |_| {}).await;
    let client = server.admin().await;
    let world = World {
        server,
        client,
        dir,
    };
    fill(&world).await;
    let limit = ALL / 10;
    let mut found = 0;
    let list = world.get(&format!("{TEMPLATES}?limit={limit}")).await;
    let first = page(&list, limit, &mut found).unwrap();
    // The past is short here: a few writes and it is gone.
    let mut passed = Value::Null;
    for i in 0..1000 {
        let note = json!({"metadata": {"annotations": {"i": i.to_string()}}});
        world
            .merge(&format!("{TEMPLATES}/template-0399"), note)
            .await;
        let path = format!("{TEMPLATES}?limit={limit}&continue={first}");
        let (code, answer) = world.ask("GET", &path, Value::Null).await;
        if code != 200 {
            assert_eq!((code, &answer["reason"]), (410, &json!("Expired")));
            passed = answer;
            break;
        }
    }
    let token = passed["metadata"]["continue"].as_str().unwrap();
    let path = format!("{TEMPLATES}?limit={limit}&continue={token}");
    let again = world.get(&path).await;
    assert_ne!(
        again["metadata"]["resourceVersion"],
        list["metadata"]["resourceVersion"]
    );
    let token = page(&again, limit, &mut found);
    assert_eq!(found, 2 * limit);
    rest(&world, token, &mut found, &[limit]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_is_no_table() {
    let world = World::start().await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let headers = [
        ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"),
        ("content-type", "application/json"),
    ];
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let body = review.to_string().into_bytes();
    let (code, _, answer) = world.raw("POST", path, &headers, body).await;
    assert_eq!(
        (code, &answer["reason"]),
        (406, &json!("NotAcceptable")),
        "{answer}"
    );
    world.stop().await;
}
