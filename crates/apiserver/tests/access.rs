//! Who asks and whether he may: real servers over HTTPS, a real issuer of tokens, real webhooks.

mod common;

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use common::{Server, request::send, site::Site};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use knarr_apiserver::{
    Anonymous, FlowConfig, FrontProxy, TokenWebhook,
    authorization::{Mode, Webhook},
};
use knarr_json::{Value, json};
use rcgen::KeyPair;

const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn whoami() -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
}

async fn user(client: &kube::Client) -> (u16, Value) {
    let (code, body, _) = send(client, "POST", WHOAMI, whoami()).await;
    (code, body["status"]["userInfo"].clone())
}

async fn make(client: &kube::Client, path: &str, body: Value) -> Value {
    let (code, made, _) = send(client, "POST", path, body).await;
    assert_eq!(code, 201, "{path}: {made}");
    made
}

/// Gives a user a role of these rules everywhere.
async fn grant(client: &kube::Client, name: &str, user: &str, rules: Value) {
    let api = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    make(client, &format!("{api}/clusterroles"), role).await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
    make(client, &format!("{api}/clusterrolebindings"), binding).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_anonymous_and_bad_credentials_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let nobody = server.nobody().await;
    assert_eq!(send(&nobody, "GET", "/readyz", Value::Null).await.0, 200);
    let (code, answer, _) = send(&nobody, "GET", "/api/v1/namespaces", Value::Null).await;
    assert_eq!(code, 403);
    assert_eq!(
        answer["message"],
        "namespaces is forbidden: User \"system:anonymous\" cannot list resource \"namespaces\" in API group \"\" at the cluster scope"
    );
    let wrong = server.bearer("wrong").await;
    assert_eq!(send(&wrong, "GET", "/readyz", Value::Null).await.0, 401);
    // A certificate of somebody else's authority is answered, not hung up on.
    let other = tempfile::tempdir().unwrap();
    let stranger = Server::start(other.path()).await;
    let strange = server.kubeconfig_of(&stranger, "admin", &["system:masters"]);
    assert_eq!(
        send(
            &common::client_of(&strange).await,
            "GET",
            "/readyz",
            Value::Null
        )
        .await
        .0,
        401
    );
    stranger.stop().await;
    server.stop().await;

    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), |config| {
        config.authentication.anonymous = Anonymous {
            enabled: true,
            paths: vec!["/livez".into()],
        };
    })
    .await;
    let nobody = server.nobody().await;
    assert_eq!(send(&nobody, "GET", "/livez", Value::Null).await.0, 200);
    assert_eq!(send(&nobody, "GET", "/readyz", Value::Null).await.0, 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn account_tokens_live_as_long_as_what_they_are_bound_to() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    make(
        &admin,
        "/api/v1/namespaces/default/serviceaccounts",
        account,
    )
    .await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bound"}});
    make(&admin, "/api/v1/namespaces/default/secrets", secret).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/bot/token";
    let request = |spec: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "bound"}});
    let made = make(&admin, path, request(bound)).await;
    let token = made["status"]["token"].as_str().unwrap();
    let bot = server.bearer(token).await;
    assert_eq!(
        user(&bot).await.1["username"],
        "system:serviceaccount:default:bot"
    );
    for (name, code, why) in [
        ("", 400, "Name parameter required."),
        (
            "a/b",
            400,
            "Name parameter invalid: \"a/b\": may not contain '/'",
        ),
        ("none", 404, "secrets \"none\" not found"),
    ] {
        let spec = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": name}});
        let (refused, answer, _) = send(&admin, "POST", path, request(spec)).await;
        assert_eq!((refused, &answer["message"]), (code, &json!(why)));
    }
    let made = make(&admin, path, request(json!({"audiences": ["other"]}))).await;
    let elsewhere = made["status"]["token"].as_str().unwrap();
    assert_eq!(user(&server.bearer(elsewhere).await).await.0, 401);

    let review = |token: &str, audiences: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": audiences}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let said = make(&admin, reviews, review(elsewhere, json!(["other"]))).await;
    assert_eq!(said["status"]["audiences"], json!(["other"]));
    let said = make(&admin, reviews, review(token, json!(["other"]))).await;
    assert!(
        said["status"]["error"]
            .as_str()
            .unwrap()
            .contains("is invalid for the target audiences"),
        "{said}"
    );

    send(
        &admin,
        "DELETE",
        "/api/v1/namespaces/default/secrets/bound",
        Value::Null,
    )
    .await;
    assert_eq!(user(&bot).await.0, 401);
    let said = make(&admin, reviews, review(token, Value::Null)).await;
    assert_eq!(
        said["status"]["error"],
        "[invalid bearer token, service account token has been invalidated]"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_old_and_of_new_nodes_are_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let pem = key.serialize_pem();
    let signing = pem.clone();
    let server = Server::start_with(dir.path(), |config| {
        if let Some(tokens) = &mut config.tokens {
            tokens.signing_key_pem = signing;
        }
    })
    .await;
    let admin = server.admin().await;
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let data = json!({"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token", "stringData": data});
    make(&admin, secrets, secret).await;
    let node = server.bearer("abcdef.0123456789abcdef").await;
    assert_eq!(user(&node).await.1["username"], "system:bootstrap:abcdef");
    assert_eq!(
        user(&server.bearer("abcdef.0123456789abcdee").await)
            .await
            .0,
        401
    );

    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "old"}});
    let account = make(
        &admin,
        "/api/v1/namespaces/default/serviceaccounts",
        account,
    )
    .await;
    let claims = json!({
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:old",
        "kubernetes.io/serviceaccount/namespace": "default", "kubernetes.io/serviceaccount/secret.name": "old",
        "kubernetes.io/serviceaccount/service-account.name": "old",
        "kubernetes.io/serviceaccount/service-account.uid": account["metadata"]["uid"],
    });
    let signer = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
    let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &signer).unwrap();
    let old = server.bearer(&token).await;
    assert_eq!(user(&old).await.0, 401, "no Secret holds it yet");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "old", "annotations": {"kubernetes.io/service-account.name": "old"}},
        "data": {"token": STANDARD.encode(&token)}});
    make(&admin, "/api/v1/namespaces/default/secrets", secret).await;
    assert_eq!(
        user(&old).await.1["username"],
        "system:serviceaccount:default:old"
    );
    let path = "/api/v1/namespaces/default/secrets/old";
    for _ in 0..100 {
        let (_, secret, _) = send(&admin, "GET", path, Value::Null).await;
        if secret["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"].is_string() {
            send(&admin, "DELETE", path, Value::Null).await;
            assert_eq!(user(&old).await.0, 401);
            return server.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the use of an old token is not noted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_proxy_names_users() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), |config| {
        config.authentication.front_proxy = Some(FrontProxy {
            cas: config.client_cas.clone(),
            allowed_names: vec!["proxy".into()],
            username_headers: vec!["x-remote-user".into()],
            uid_headers: vec!["x-remote-uid".into()],
            group_headers: vec!["x-remote-group".into()],
            extra_prefixes: vec!["x-remote-extra-".into()],
        });
    })
    .await;
    let ask = async |name: &str| {
        let client = server.client(name, &[]).await;
        let request = http::Request::post(WHOAMI)
            .header("content-type", "application/json")
            .header("x-remote-user", "ann")
            .header("x-remote-group", "crew")
            .header("x-remote-extra-scopes", "s")
            .body(kube::client::Body::from(whoami().to_string().into_bytes()))
            .unwrap();
        client.send(request).await.unwrap().status().as_u16()
    };
    assert_eq!(ask("proxy").await, 201);
    assert_eq!(
        ask("somebody").await,
        201,
        "the client is taken for himself"
    );
    server.stop().await;
}

/// An issuer with its key, and what it signs.
struct Issuer {
    site: Site,
    signer: EncodingKey,
}

impl Issuer {
    async fn start() -> Self {
        let pem = KeyPair::generate().unwrap().serialize_pem();
        let signer = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
        let mut key = Jwk::from_encoding_key(&signer, Algorithm::ES256).unwrap();
        key.common.key_id = Some("k".into());
        let keys = json!({"keys": [knarr_json::to_value(&key).unwrap()]});
        let site = Site::start(move |own, path, _| match path {
            "/.well-known/openid-configuration" => {
                json!({"issuer": own, "jwks_uri": format!("{own}/keys")})
            }
            _ => keys.clone(),
        })
        .await;
        Issuer { site, signer }
    }

    fn token(&self, more: Value) -> String {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let mut claims =
            json!({"iss": self.site.url, "aud": "knarr", "sub": "ann", "exp": now + 600});
        for (key, value) in more.as_object().unwrap() {
            claims[key.as_str()] = value.clone();
        }
        let header = Header {
            kid: Some("k".into()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &self.signer).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_of_tokens_is_believed() {
    let issuer = Issuer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("authentication.yaml");
    let config = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [{
            "issuer": {"url": issuer.site.url, "certificateAuthority": issuer.site.ca, "audiences": ["knarr"]},
            "claimValidationRules": [{"expression": "claims.?hd.orValue('acme') == 'acme'", "message": "who are you?"}],
            "claimMappings": {
                "username": {"expression": "'oidc:' + claims.sub"}, "groups": {"claim": "roles", "prefix": "oidc:"},
                "extra": [{"key": "acme.com/team", "valueExpression": "claims.?team.orValue('')"}]
            },
            "userValidationRules": [{"expression": "!user.username.startsWith('oidc:system:')", "message": "reserved"}]
        }]
    });
    std::fs::write(&file, config.to_string()).unwrap();
    let path = file.clone();
    let server = Server::start_with(dir.path(), move |config| {
        config.authentication.file = Some(path)
    })
    .await;
    let with = async |claims: Value| user(&server.bearer(&issuer.token(claims)).await).await;
    let (code, known) = with(json!({"roles": ["dev"], "team": "blue", "jti": "7"})).await;
    assert_eq!(code, 201);
    assert_eq!(known["username"], "oidc:ann");
    assert_eq!(known["groups"], json!(["oidc:dev", "system:authenticated"]));
    assert_eq!(known["extra"]["acme.com/team"], json!(["blue"]));
    for refused in [
        json!({"aud": "other"}),
        json!({"exp": 1000}),
        json!({"hd": "else"}),
        json!({"sub": "system:admin"}),
        json!({"roles": 7}),
        json!({"iss": "https://else.example"}),
    ] {
        assert_eq!(with(refused.clone()).await.0, 401, "{refused}");
    }
    let forged = Issuer {
        site: Site::start(|_, _, _| Value::Null).await,
        signer: EncodingKey::from_ec_pem(KeyPair::generate().unwrap().serialize_pem().as_bytes())
            .unwrap(),
    };
    let forged = forged.token(json!({"iss": issuer.site.url}));
    assert_eq!(user(&server.bearer(&forged).await).await.0, 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_know_users_and_what_they_may() {
    let authn = Site::start(|_, _, review| match review["spec"]["token"].as_str() {
        Some("known") => json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": {"authenticated": true, "user": {"username": "carl", "groups": ["g"]}}}),
        _ => json!({"status": {"authenticated": false, "error": "never heard of"}}),
    })
    .await;
    let authz = Site::start(|_, _, review| {
        let resource = review["spec"]["resourceAttributes"]["resource"]
            .as_str()
            .unwrap_or_default();
        match resource {
            "configmaps" => json!({"status": {"allowed": true}}),
            "secrets" => {
                json!({"status": {"allowed": false, "denied": true, "reason": "hands off"}})
            }
            _ => json!({"status": {"allowed": false}}),
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let (tokens, access) = (
        authn.kubeconfig(dir.path(), "/authenticate"),
        authz.kubeconfig(dir.path(), "/authorize"),
    );
    let server = Server::start_with(dir.path(), |config| {
        config.authentication.webhook = Some(TokenWebhook {
            kubeconfig: tokens,
            version: "v1".into(),
            cache: Duration::from_secs(60),
        });
        let webhook = Webhook {
            version: "v1".into(),
            conditions: vec![
                "has(request.resourceAttributes)".into(),
                "request.user == 'carl'".into(),
            ],
            ..Webhook::new("test", access)
        };
        config.authorization.modes = vec![Mode::Webhook(Box::new(webhook)), Mode::Node, Mode::Rbac];
    })
    .await;
    let carl = server.bearer("known").await;
    assert_eq!(user(&carl).await.1["username"], "carl");
    assert_eq!(user(&server.bearer("unknown").await).await.0, 401);
    let base = "/api/v1/namespaces/default";
    assert_eq!(
        send(&carl, "GET", &format!("{base}/configmaps"), Value::Null)
            .await
            .0,
        200
    );
    let (code, answer, _) = send(&carl, "GET", &format!("{base}/secrets"), Value::Null).await;
    assert_eq!(code, 403);
    assert!(
        answer["message"].as_str().unwrap().ends_with(": hands off"),
        "{answer}"
    );
    let before = authz.seen().len();
    send(&carl, "GET", &format!("{base}/configmaps"), Value::Null).await;
    assert_eq!(authz.seen().len(), before, "the answer is kept");
    assert_eq!(
        authn
            .seen()
            .iter()
            .filter(|r| r["spec"]["token"] == "known")
            .count(),
        1
    );
    let other = server.bearer("sesame").await;
    send(&other, "GET", &format!("{base}/secrets"), Value::Null).await;
    assert!(
        authz.seen().iter().all(|r| r["spec"]["user"] == "carl"),
        "conditions keep others away"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_speak_as_others_as_far_as_they_may() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let rules = json!([
        {"verbs": ["impersonate:user-info"], "apiGroups": ["authentication.k8s.io"], "resources": ["users"], "resourceNames": ["bob"]},
        {"verbs": ["impersonate-on:user-info:list"], "apiGroups": [""], "resources": ["pods"]}
    ]);
    grant(&admin, "as-bob", "ann", rules).await;
    grant(
        &admin,
        "pods",
        "bob",
        json!([{"verbs": ["list", "delete"], "apiGroups": [""], "resources": ["pods"]}]),
    )
    .await;
    grant(
        &admin,
        "old",
        "eve",
        json!([{"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users", "groups"]}]),
    )
    .await;
    let ask = async |by: &str, method: &str, path: &str, headers: &[(&str, &str)]| {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let client = server.client(by, &[]).await;
        let response = client
            .send(request.body(kube::client::Body::empty()).unwrap())
            .await
            .unwrap();
        let code = response.status().as_u16();
        let bytes = http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap()
            .to_bytes();
        (
            code,
            serde_json::from_slice::<Value>(&bytes).unwrap_or_default(),
        )
    };
    let pods = "/api/v1/pods";
    let as_bob = [("impersonate-user", "bob")];
    assert_eq!(ask("ann", "GET", pods, &as_bob).await.0, 200);
    assert_eq!(
        ask("ann", "GET", pods, &[("impersonate-user", "carl")])
            .await
            .0,
        403
    );
    let (code, answer) = ask("ann", "DELETE", "/api/v1/namespaces/a/pods/p", &as_bob).await;
    assert_eq!(code, 403);
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("cannot impersonate-on:user-info:delete resource"),
        "{answer}"
    );
    assert_eq!(ask("eve", "GET", pods, &as_bob).await.0, 200);
    assert_eq!(
        ask(
            "eve",
            "GET",
            pods,
            &[
                ("impersonate-user", "x"),
                ("impersonate-group", "system:masters")
            ]
        )
        .await
        .0,
        200
    );
    assert_eq!(
        ask(
            "eve",
            "GET",
            pods,
            &[("impersonate-user", "bob"), ("impersonate-uid", "1")]
        )
        .await
        .0,
        403
    );
    let (code, answer) = ask("eve", "GET", pods, &[("impersonate-group", "g")]).await;
    assert_eq!(code, 400, "{answer}");
    // Each group is a header of its own, however many there are.
    let groups: Vec<String> = (0..300).map(|n| format!("team-{n}")).collect();
    let groups = groups
        .iter()
        .map(|group| ("impersonate-group", group.as_str()));
    let many: Vec<_> = groups
        .chain([
            ("impersonate-user", "x"),
            ("impersonate-group", "system:masters"),
        ])
        .collect();
    assert_eq!(ask("eve", "GET", pods, &many).await.0, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_see_what_their_pods_use() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let base = "/api/v1/namespaces/default";
    for name in ["mine", "other"] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        make(&admin, &format!("{base}/secrets"), secret).await;
    }
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    send(&admin, "POST", &format!("{base}/serviceaccounts"), account).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "mine"}}]}]}});
    make(&admin, &format!("{base}/pods"), pod).await;
    let node = server.client("system:node:n1", &["system:nodes"]).await;
    let code = async |path: &str| send(&node, "GET", path, Value::Null).await.0;
    assert_eq!(code(&format!("{base}/secrets/mine")).await, 200);
    assert_eq!(code(&format!("{base}/secrets/other")).await, 403);
    assert_eq!(code(&format!("{base}/secrets")).await, 403);
    assert_eq!(code("/api/v1/pods").await, 403);
    assert_eq!(
        code("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await,
        200
    );
    assert_eq!(
        code("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2").await,
        403
    );
    assert_eq!(code("/api/v1/services").await, 200);
    let (_, answer, _) = send(&node, "GET", "/api/v1/nodes/n2", Value::Null).await;
    assert_eq!(
        answer["message"],
        "nodes \"n2\" is forbidden: User \"system:node:n1\" cannot get resource \"nodes\" in API group \"\" at the cluster scope: node 'n1' cannot read 'n2', only its own Node object"
    );
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "system:node:n1", "groups": ["system:nodes"],
        "resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]}}}});
    let said = make(
        &admin,
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        review,
    )
    .await;
    assert_eq!(said["status"]["allowed"], true);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_sorted_and_limited() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let get = |path: &str| {
        http::Request::get(path)
            .body(kube::client::Body::empty())
            .unwrap()
    };
    let response = admin.send(get("/api/v1/namespaces")).await.unwrap();
    let (_, schema, _) = send(
        &admin,
        "GET",
        "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/exempt",
        Value::Null,
    )
    .await;
    assert_eq!(
        response.headers()["x-kubernetes-pf-flowschema-uid"]
            .to_str()
            .unwrap(),
        schema["metadata"]["uid"].as_str().unwrap()
    );
    let (code, answer, _) = send(
        &admin,
        "GET",
        "/api/v1/namespaces?timeout=soon",
        Value::Null,
    )
    .await;
    assert_eq!(
        (code, answer["message"].as_str()),
        (400, Some("invalid timeout specified in the request URL"))
    );
    // A level without seats refuses.
    let api = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let level = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": "none"},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}});
    make(&admin, &format!("{api}/prioritylevelconfigurations"), level).await;
    let schema = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "none"},
        "spec": {"priorityLevelConfiguration": {"name": "none"}, "matchingPrecedence": 10, "rules": [{"subjects": [{"kind": "User", "user": {"name": "ali"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    make(&admin, &format!("{api}/flowschemas"), schema).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let ali = server.bearer("sesame").await;
    let response = ali.send(get("/version")).await.unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            response.headers()["retry-after"].to_str().unwrap()
        ),
        (429, "1")
    );
    server.stop().await;

    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), |config| {
        config.flow = FlowConfig {
            fair: false,
            ..FlowConfig::default()
        };
    })
    .await;
    let response = server.admin().await.send(get("/version")).await.unwrap();
    assert!(
        response.status().is_success()
            && !response
                .headers()
                .contains_key("x-kubernetes-pf-flowschema-uid")
    );
    server.stop().await;
}
