//! What is served is found from the top, in both forms; which version is preferred; what the server is.

use knarr_json::{Value, json};

use crate::{
    custom::{define, definition, open},
    world::{World, until},
};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Kinds that every cluster has, of all groups that have to be there.
const EXPECTED: [(&str, &str, &str); 22] = [
    ("", "v1", "namespaces"),
    (
        "admissionregistration.k8s.io",
        "v1",
        "mutatingwebhookconfigurations",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
    ),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "v1", "apiservices"),
    ("apps", "v1", "deployments"),
    ("authentication.k8s.io", "v1", "tokenreviews"),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
    ("autoscaling", "v1", "horizontalpodautoscalers"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("batch", "v1", "jobs"),
    ("certificates.k8s.io", "v1", "certificatesigningrequests"),
    ("coordination.k8s.io", "v1", "leases"),
    ("discovery.k8s.io", "v1", "endpointslices"),
    ("events.k8s.io", "v1", "events"),
    ("flowcontrol.apiserver.k8s.io", "v1", "flowschemas"),
    ("networking.k8s.io", "v1", "ingresses"),
    ("node.k8s.io", "v1", "runtimeclasses"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("resource.k8s.io", "v1", "resourceclaims"),
    ("scheduling.k8s.io", "v1", "priorityclasses"),
    ("storage.k8s.io", "v1", "csinodes"),
];

/// Whether an aggregated document has a resource.
fn has(document: &Value, (group, version, resource): (&str, &str, &str)) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let of_group = list(&document["items"])
        .into_iter()
        .filter(|g| g["metadata"]["name"].as_str().unwrap_or_default() == group);
    of_group
        .flat_map(|g| list(&g["versions"]))
        .filter(|v| v["version"] == version)
        .flat_map(|v| list(&v["resources"]))
        .any(|r| r["resource"] == resource)
}

async fn aggregated(world: &World, path: &str) -> Value {
    let headers = [("accept", AGGREGATED)];
    let (code, headers, document) = world.raw("GET", path, &headers, Vec::new()).await;
    assert_eq!(code, 200);
    let kind = headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with(AGGREGATED), "{kind}");
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn one_document_tells_of_all_that_has_to_be_there() {
    let world = World::start().await;
    let (core, groups) = (
        aggregated(&world, "/api").await,
        aggregated(&world, "/apis").await,
    );
    for expected in EXPECTED {
        let document = if expected.0.is_empty() {
            &core
        } else {
            &groups
        };
        assert!(has(document, expected), "{expected:?}");
    }
    define(&world, definition("Boat", "Namespaced", &[("v1", open())])).await;
    until("the definition in the document", async || {
        has(
            &aggregated(&world, "/apis").await,
            ("example.com", "v1", "boats"),
        )
    })
    .await;
    // A client that takes either form finds it, too.
    let discovery = kube::Discovery::new(world.client.clone());
    let found = discovery.run_aggregated().await.unwrap();
    let kind = found.get("example.com").unwrap();
    assert!(kind.recommended_kind("Boat").is_some());
    for (group, _, plural) in EXPECTED {
        let group = found.get(group).unwrap_or_else(|| panic!("no {group}"));
        let mut resources = group.recommended_resources().into_iter();
        assert!(resources.any(|(r, _)| r.plural == plural), "{plural}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_group_prefers_one_of_its_versions() {
    let world = World::start().await;
    define(&world, definition("Boat", "Namespaced", &[("v1", open())])).await;
    let list = world.get("/apis").await;
    for group in list["groups"].as_array().unwrap() {
        let name = group["name"].as_str().unwrap();
        let read = world.get(&format!("/apis/{name}")).await;
        assert_eq!(read["name"], name);
        let versions = read["versions"].as_array().unwrap();
        assert!(versions.contains(&read["preferredVersion"]), "{read}");
        assert_eq!(read["preferredVersion"], group["preferredVersion"]);
        for version in versions {
            let version = version["groupVersion"].as_str().unwrap();
            let resources = world.get(&format!("/apis/{version}")).await;
            assert_eq!(resources["groupVersion"], version);
            assert_ne!(resources["resources"], json!([]), "{version}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_extensions_are_found_step_by_step() {
    let world = World::start().await;
    for (api, resources) in [
        (
            "/apis/apiextensions.k8s.io/v1",
            [
                "customresourcedefinitions",
                "customresourcedefinitions/status",
            ],
        ),
        (
            "/apis/admissionregistration.k8s.io/v1",
            [
                "mutatingwebhookconfigurations",
                "validatingwebhookconfigurations",
            ],
        ),
    ] {
        let (group, version) = api[6..].split_once('/').unwrap();
        let all = world.get("/apis").await;
        let all = all["groups"].as_array().unwrap();
        let found = all.iter().find(|g| g["name"] == group).unwrap();
        let one = world.get(&format!("/apis/{group}")).await;
        for told in [found, &one] {
            let versions = told["versions"].as_array().unwrap();
            assert!(versions.iter().any(|v| v["version"] == version), "{told}");
        }
        let list = world.get(api).await;
        let list = list["resources"].as_array().unwrap();
        for name in resources {
            assert!(list.iter().any(|r| r["name"] == name), "{name}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_has_numbers() {
    let world = World::start().await;
    let version = world.get("/version").await;
    let number = |name: &str| {
        let text = version[name].as_str().unwrap().trim_end_matches('+');
        text.parse::<u32>().unwrap_or_else(|_| panic!("{version}"))
    };
    assert_eq!((number("major"), number("minor")), (1, 36));
    world.stop().await;
}
