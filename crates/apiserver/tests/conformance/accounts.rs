//! Service accounts, their tokens, who issues them, and what reviews say of their rights.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
use knarr_json::{Value, json};

use crate::{
    kinds::template,
    world::{World, until},
};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn token(world: &World, account: &str, spec: Value) -> String {
    let body =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let path = format!("{ACCOUNTS}/{account}/token");
    let made = world.make(&path, body).await;
    assert!(made["status"]["expirationTimestamp"].is_string());
    made["status"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_mounted_unless_somebody_opted_out() {
    let world = World::start().await;
    let choices = [
        ("default", Value::Null),
        ("mount", json!(true)),
        ("nomount", json!(false)),
    ];
    for (account, choice) in &choices {
        let name = format!("{account}-account");
        let body = json!({"metadata": {"name": name}, "automountServiceAccountToken": choice});
        world.make(ACCOUNTS, body).await;
        for (pod, own) in &choices {
            let mut spec = template()["spec"].clone();
            spec["serviceAccountName"] = json!(name);
            spec["automountServiceAccountToken"] = own.clone();
            let body = json!({"metadata": {"name": format!("{account}-{pod}")}, "spec": spec});
            let made = world.make(PODS, body).await;
            // The pod decides, then the account.
            let wanted = own.as_bool().or(choice.as_bool()).unwrap_or(true);
            let mounts = made["spec"]["containers"][0]["volumeMounts"].as_array();
            let place = "/var/run/secrets/kubernetes.io/serviceaccount";
            let mounted =
                mounts.is_some_and(|mounts| mounts.iter().any(|m| m["mountPath"] == place));
            assert_eq!(mounted, wanted, "{account} {pod}: {made}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_changed_back_and_forth() {
    let world = World::start().await;
    let body = json!({"metadata": {"name": "a"}, "automountServiceAccountToken": false});
    let made = world.make(ACCOUNTS, body).await;
    assert_eq!(made["automountServiceAccountToken"], false);
    let path = format!("{ACCOUNTS}/a");
    let updated = world
        .update(&path, |a| a["automountServiceAccountToken"] = json!(true))
        .await;
    assert_eq!(updated["automountServiceAccountToken"], true);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_known_by_a_review() {
    let world = World::start().await;
    let made = world
        .make(ACCOUNTS, json!({"metadata": {"name": "e2e"}}))
        .await;
    let token = token(&world, "e2e", json!({})).await;
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let status = world.make(path, review).await["status"].clone();
    assert_eq!(
        (&status["error"], &status["authenticated"]),
        (&Value::Null, &json!(true))
    );
    let user = &status["user"];
    assert_eq!(user["username"], "system:serviceaccount:default:e2e");
    assert_eq!(user["uid"], made["metadata"]["uid"]);
    let groups = ["system:serviceaccounts", "system:serviceaccounts:default"];
    for group in groups {
        assert!(user["groups"].as_array().unwrap().contains(&json!(group)));
    }
    // It goes with its account.
    world.delete(&format!("{ACCOUNTS}/e2e")).await;
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let status = world.make(path, review).await["status"].clone();
    assert_ne!(status["authenticated"], true);
    world.stop().await;
}

/// Whoever holds a token finds its issuer, the issuer's keys, and that one of them signed it.
#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_of_tokens_is_discovered() {
    let world = World::start().await;
    let token = token(
        &world,
        "default",
        json!({"audiences": ["oidc-discovery-test"], "expirationSeconds": 600}),
    )
    .await;
    let binding = json!({"metadata": {"name": "discovery"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:service-account-issuer-discovery"}});
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    world.make(path, binding).await;
    // It asks with a token that is for the server.
    let asking = self::token(&world, "default", json!({})).await;
    let client = world.server.bearer(&asking).await;
    let get = async |path: &str| {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        client.request::<Value>(request).await
    };
    let document = "/.well-known/openid-configuration";
    until("it may look", async || get(document).await.is_ok()).await;
    let configuration = get(document).await.unwrap();
    let claims = token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(configuration["issuer"], claims["iss"]);
    assert!(
        configuration["jwks_uri"]
            .as_str()
            .unwrap()
            .ends_with("/openid/v1/jwks")
    );
    let keys: JwkSet = knarr_json::from_value(get("/openid/v1/jwks").await.unwrap()).unwrap();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    let key = keys.find(header.kid.as_deref().unwrap()).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&["oidc-discovery-test"]);
    let key = DecodingKey::from_jwk(key).unwrap();
    let decoded = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
    assert_eq!(
        decoded.claims["sub"],
        "system:serviceaccount:default:default"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_say_what_is_so() {
    let world = World::start().await;
    let made = world
        .make(ACCOUNTS, json!({"metadata": {"name": "e2e"}}))
        .await;
    let user = "system:serviceaccount:default:e2e";
    let groups = [
        "system:authenticated",
        "system:serviceaccounts",
        "system:serviceaccounts:default",
    ];
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let asks = async || {
        let mut headers = vec![("impersonate-user", user), ("impersonate-uid", uid)];
        headers.extend(groups.map(|g| ("impersonate-group", g)));
        let path = "/api/v1/namespaces/default/configmaps";
        world.raw("GET", path, &headers, Vec::new()).await.0
    };
    let reviewed = async |path: &str, kind: &str, more: Value| {
        let spec = json!({"user": user, "groups": groups, "uid": uid,
            "resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": "default", "version": "v1"}});
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "metadata": more, "spec": spec});
        let path = format!("/apis/authorization.k8s.io/v1/{path}");
        world.make(&path, body).await["status"]["allowed"].clone()
    };
    let both = async || {
        let whole = reviewed("subjectaccessreviews", "SubjectAccessReview", json!({})).await;
        let path = "namespaces/default/localsubjectaccessreviews";
        let more = json!({"namespace": "default"});
        let local = reviewed(path, "LocalSubjectAccessReview", more).await;
        (whole == true, local == true)
    };
    assert_eq!(both().await, (false, false));
    assert_eq!(asks().await, 403);
    let binding = json!({"metadata": {"name": "view"}, "subjects": [{"kind": "ServiceAccount", "name": "e2e", "namespace": "default"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    world.make(path, binding).await;
    until("it may", async || both().await == (true, true)).await;
    assert_eq!(asks().await, 200);
    world.stop().await;
}
