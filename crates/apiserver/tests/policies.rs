//! Policies in CEL: ValidatingAdmissionPolicy, MutatingAdmissionPolicy and match conditions of webhooks, by a real server.

mod common;

use common::Server;
use knarr_json::{Value, json};

/// Sends a request and gives the code and body of its answer, with its warnings.
async fn send(
    client: &kube::Client,
    method: &str,
    path: &str,
    body: Value,
) -> (u16, Value, Vec<String>) {
    use http_body_util::BodyExt;
    let kind = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let bytes = match body.is_null() {
        true => Vec::new(),
        false => body.to_string().into_bytes(),
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(kube::client::Body::from(bytes))
        .unwrap();
    let response = client.send(request).await.unwrap();
    let code = response.status().as_u16();
    let warnings = response.headers().get_all("warning").iter();
    let warnings = warnings.map(|w| w.to_str().unwrap().to_owned()).collect();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap(), warnings)
}

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn constraints(operations: &[&str], group: &str, resource: &str) -> Value {
    json!({"resourceRules": [{"operations": operations, "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]}]})
}

async fn made(client: &kube::Client, path: &str, body: Value) {
    let (code, answer, _) = send(client, "POST", path, body).await;
    assert_eq!(code, 201, "{answer}");
}

/// Makes a policy and a binding of the same name, and waits until they are heeded.
async fn policy(client: &kube::Client, kind: &str, name: &str, spec: Value, mut binding: Value) {
    let path = match kind {
        "ValidatingAdmissionPolicy" => "validatingadmissionpolicies",
        _ => "mutatingadmissionpolicies",
    };
    let object = |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    made(client, &format!("{GROUP}/{path}"), object(kind, spec)).await;
    binding["policyName"] = json!(name);
    let path = format!("{GROUP}/{}bindings", path.replace("policies", "policy"));
    made(client, &path, object(&format!("{kind}Binding"), binding)).await;
}

fn deny() -> Value {
    json!({"validationActions": ["Deny"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let spec = json!({
        "matchConstraints": constraints(&["CREATE", "UPDATE", "DELETE"], "", "configmaps"),
        "matchConditions": [{"name": "not-exempt", "expression": "request.operation == 'DELETE' || !('exempt' in object.metadata.?labels.orValue({}))"}],
        "variables": [
            {"name": "data", "expression": "request.operation == 'DELETE' ? {} : object.?data.orValue({})"},
            {"name": "count", "expression": "size(variables.data)"},
        ],
        "validations": [
            {"expression": "variables.count < 3", "messageExpression": "string(variables.count) + ' are too many for ' + request.userInfo.username", "reason": "RequestEntityTooLarge"},
            {"expression": "!('boom' in variables.data) || object.data.absent == 'x'"},
            {"expression": "namespaceObject.metadata.name == 'default'"},
            {"expression": "authorizer.group('').resource('secrets').namespace('default').check('get').allowed() && authorizer.requestResource.check('create').allowed()"},
            {"expression": "request.operation != 'UPDATE' || object.data.?kept == oldObject.data.?kept", "message": "kept may not change", "reason": "Forbidden"},
            {"expression": "request.operation != 'DELETE' || oldObject.metadata.name != 'stays'", "message": "it stays"},
        ],
    });
    policy(&admin, "ValidatingAdmissionPolicy", "p", spec, deny()).await;
    let words = |what: &str| {
        format!(
            "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: {what}"
        )
    };
    let (code, answer, _) = send(
        &admin,
        "POST",
        MAPS,
        map("m", json!({"a": "", "b": "", "c": ""})),
    )
    .await;
    assert_eq!(code, 413, "{answer}");
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.starts_with(&words("3 are too many for ")),
        "{message}"
    );
    let cause = message.split_once(": ").unwrap().1;
    assert_eq!(answer["details"]["causes"], json!([{"message": cause}]));
    let (code, answer, _) = send(&admin, "POST", MAPS, map("m", json!({"boom": ""}))).await;
    let error = "expression '!('boom' in variables.data) || object.data.absent == 'x'' resulted in error: no such key: absent";
    assert_eq!(
        (code, &answer["message"], &answer["reason"]),
        (422, &json!(words(error)), &json!("Invalid"))
    );
    let mut exempt = map("free", json!({"a": "", "b": "", "c": ""}));
    exempt["metadata"]["labels"] = json!({"exempt": ""});
    made(&admin, MAPS, exempt).await;
    made(&admin, MAPS, map("m", json!({"kept": "1"}))).await;
    let path = format!("{MAPS}/m");
    let (code, answer, _) = send(&admin, "PATCH", &path, json!({"data": {"kept": "2"}})).await;
    assert_eq!(
        (code, &answer["message"]),
        (403, &json!(words("kept may not change")))
    );
    made(&admin, MAPS, map("stays", json!({}))).await;
    let (code, answer, _) = send(&admin, "DELETE", &format!("{MAPS}/stays"), Value::Null).await;
    assert_eq!(code, 422, "{answer}");
    let (code, answer, _) = send(&admin, "DELETE", &path, Value::Null).await;
    assert_eq!(code, 200, "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_come_from_objects() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": constraints(&["CREATE"], "", "secrets"),
        "validations": [{"expression": "size(object.?data.orValue({})) <= int(params.data.most)", "messageExpression": "'more than ' + params.data.most + ' by ' + params.metadata.name"}],
    });
    let binding = json!({
        "paramRef": {"selector": {"matchLabels": {"limits": "yes"}}, "parameterNotFoundAction": "Deny"},
        "validationActions": ["Warn", "Audit"],
    });
    policy(&admin, "ValidatingAdmissionPolicy", "p", spec, binding).await;
    let secret = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    let path = "/api/v1/namespaces/default/secrets";
    let (code, answer, _) = send(&admin, "POST", path, secret("none", json!({}))).await;
    let missing = "secrets \"none\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!((code, &answer["message"]), (422, &json!(missing)));
    let mut limit = map("one", json!({"most": "1"}));
    limit["metadata"]["labels"] = json!({"limits": "yes"});
    made(&admin, MAPS, limit).await;
    let (code, answer, warnings) = send(
        &admin,
        "POST",
        path,
        secret("two", json!({"a": "", "b": ""})),
    )
    .await;
    assert_eq!(code, 201, "{answer}");
    assert_eq!(
        warnings,
        [
            "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p': more than 1 by one\""
        ]
    );
    let (code, _, warnings) = send(&admin, "POST", path, secret("one", json!({"a": ""}))).await;
    assert_eq!((code, warnings.len()), (201, 0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_mutate() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let mutations = json!([
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{metadata: Object.metadata{labels: {'who': request.userInfo.username.replace(':', '-')}}, spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'side', image: 'side:1'}]}}}}"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'count': string(size(object.spec.template.spec.containers))}}, JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a.b/c'), value: 'd'}]"}},
    ]);
    let spec = json!({"matchConstraints": constraints(&["CREATE"], "apps", "deployments"), "reinvocationPolicy": "Never", "mutations": mutations});
    policy(&admin, "MutatingAdmissionPolicy", "m", spec, json!({})).await;
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "main", "image": "main:1"}]}}}});
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let (code, answer, _) = send(&admin, "POST", path, deployment.clone()).await;
    assert_eq!(code, 201, "{answer}");
    let containers = answer["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap();
    let names: Vec<&Value> = containers.iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["main", "side"]);
    // What was added has its defaults.
    assert_eq!(containers[1]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(answer["metadata"]["annotations"], json!({"count": "2"}));
    assert_eq!(answer["metadata"]["labels"]["a.b/c"], "d");
    let mistakes = [
        (
            "Object{spec: Object.wrong{}}",
            "type mismatch: unexpected type name \"Object.wrong\", expected \"Object.spec\", which matches field name path from root Object type",
        ),
        (
            "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'main', args: ['x']}]}}}}",
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.template.spec.containers[0].args",
        ),
    ];
    for (i, (expression, why)) in mistakes.into_iter().enumerate() {
        let name = format!("bad{i}");
        let mutations = json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]);
        let spec = json!({"matchConstraints": constraints(&["CREATE"], "apps", "deployments"), "reinvocationPolicy": "Never", "mutations": mutations});
        policy(&admin, "MutatingAdmissionPolicy", &name, spec, json!({})).await;
        let mut other = deployment.clone();
        other["metadata"]["name"] = json!("other");
        let (code, answer, _) = send(&admin, "POST", path, other).await;
        let message = format!(
            "deployments.apps \"other\" is forbidden: policy '{name}' with binding '{name}' denied request: {why}"
        );
        assert_eq!((code, &answer["message"]), (422, &json!(message)));
        let gone = format!("{GROUP}/mutatingadmissionpolicies/{name}");
        assert_eq!(send(&admin, "DELETE", &gone, Value::Null).await.0, 200);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_are_refused_when_they_do_not_compile() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"}, "spec": {
        "matchConstraints": constraints(&["CREATE"], "", "configmaps"),
        "variables": [{"name": "n", "expression": "size(object.data)"}, {"name": "m", "expression": "variables.x"}],
        "validations": [{"expression": "variables.n"}, {"expression": "object.a +"}, {"expression": "true", "messageExpression": "authorizer"}],
        "matchConditions": [{"name": "c", "expression": "params.a"}],
        "auditAnnotations": [{"key": "k", "valueExpression": "1"}],
    }});
    let (code, answer, _) = send(
        &admin,
        "POST",
        &format!("{GROUP}/validatingadmissionpolicies"),
        policy,
    )
    .await;
    assert_eq!(code, 422);
    let causes = answer["details"]["causes"].as_array().unwrap();
    let shown: Vec<String> = causes
        .iter()
        .map(|c| {
            format!(
                "{}: {}",
                c["field"].as_str().unwrap(),
                c["message"].as_str().unwrap().lines().next().unwrap()
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "spec.matchConditions[0].expression: Invalid value: \"params.a\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')",
            "spec.variables[1].expression: Invalid value: \"variables.x\": compilation failed: ERROR: <input>:1:10: undefined field 'x'",
            "spec.validations[0].expression: Invalid value: \"variables.n\": must evaluate to bool but got int",
            "spec.validations[1].expression: Invalid value: \"object.a +\": compilation failed: ERROR: <input>:1:11: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
            "spec.validations[2].messageExpression: Invalid value: \"authorizer\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'authorizer' (in container '')",
            "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type]",
        ]
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_spare_webhooks_requests() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    // Nobody listens there: whoever is asked fails.
    let hook = json!({
        "name": "w.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 1,
        "matchConditions": [{"name": "asked", "expression": "object.data.asked == 'yes'"}],
    });
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "c"}, "webhooks": [hook]});
    made(
        &admin,
        &format!("{GROUP}/validatingwebhookconfigurations"),
        configuration,
    )
    .await;
    made(&admin, MAPS, map("no", json!({"asked": "no"}))).await;
    let (code, answer, _) = send(&admin, "POST", MAPS, map("yes", json!({"asked": "yes"}))).await;
    assert_eq!(code, 500, "{answer}");
    let (code, answer, _) = send(&admin, "POST", MAPS, map("broken", json!({"a": ""}))).await;
    let why = "configmaps \"broken\" is forbidden: expression 'object.data.asked == 'yes'' resulted in error: no such key: asked";
    assert_eq!((code, &answer["message"]), (403, &json!(why)));
    server.stop().await;
}
