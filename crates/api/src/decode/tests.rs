use knarr_json::{Value, json};

use super::*;

const CONFIG_MAP: Expect = Expect {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    custom: false,
};
const SERVICE: Expect = Expect {
    group: "",
    version: "v1",
    kind: "Service",
    custom: false,
};
const POD: Expect = Expect {
    group: "",
    version: "v1",
    kind: "Pod",
    custom: false,
};
const DEPLOYMENT: Expect = Expect {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    custom: false,
};

fn json_body(expect: &Expect, body: &str, validation: FieldValidation) -> Result<Decoded, String> {
    decode(
        &Schemas::default(),
        body.as_bytes(),
        Format::Json,
        expect,
        validation,
    )
    .map_err(|s| s.message)
}

fn yaml_body(expect: &Expect, body: &str, validation: FieldValidation) -> Result<Decoded, String> {
    decode(
        &Schemas::default(),
        body.as_bytes(),
        Format::Yaml,
        expect,
        validation,
    )
    .map_err(|s| s.message)
}

fn object(expect: &Expect, body: Value) -> Value {
    json_body(expect, &body.to_string(), FieldValidation::Strict)
        .unwrap()
        .object
}

fn error(expect: &Expect, body: Value) -> String {
    json_body(expect, &body.to_string(), FieldValidation::Warn).unwrap_err()
}

#[test]
fn unknown_and_repeated_fields_are_reported_in_order() {
    let body = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"pump","color":"red"},"spec":{"clusterIP":"None","ports":[{"port":80,"speed":9}],"type":"ClusterIP","type":"ClusterIP"},"extra":1}"#;
    let strict = json_body(&SERVICE, body, FieldValidation::Strict).unwrap_err();
    assert_eq!(
        strict,
        "Service in version \"v1\" cannot be handled as a Service: strict decoding error: unknown field \"metadata.color\", unknown field \"spec.ports[0].speed\", duplicate field \"spec.type\", unknown field \"extra\""
    );
    let warned = json_body(&SERVICE, body, FieldValidation::Warn).unwrap();
    assert_eq!(warned.warnings.len(), 4);
    assert_eq!(
        warned.object["spec"]["ports"][0],
        json!({"port": 80, "targetPort": 0})
    );
    assert!(
        json_body(&SERVICE, body, FieldValidation::Ignore)
            .unwrap()
            .warnings
            .is_empty()
    );
    let cased = json_body(
        &CONFIG_MAP,
        r#"{"metadata":{"name":"x"},"Data":{"k":"v"},"data":{"k":"one","k":"two"}}"#,
        FieldValidation::Warn,
    )
    .unwrap();
    assert_eq!(
        cased.warnings,
        ["unknown field \"Data\"", "duplicate field \"data.k\""]
    );
    assert_eq!(
        cased.object,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"k": "two"}})
    );
}

#[test]
fn yaml_reports_repeated_keys_by_line() {
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: notes\n  nome: typo\ndata:\n  a: \"1\"\n  a: \"2\"\n";
    assert_eq!(
        yaml_body(&CONFIG_MAP, body, FieldValidation::Strict).unwrap_err(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  line 8: key \"a\" already set in map, unknown field \"metadata.nome\""
    );
    let warned = yaml_body(&CONFIG_MAP, body, FieldValidation::Warn).unwrap();
    assert_eq!(
        warned.warnings,
        [
            "line 8: key \"a\" already set in map",
            "unknown field \"metadata.nome\""
        ]
    );
    assert_eq!(
        yaml_body(
            &CONFIG_MAP,
            "apiVersion: v1\nkind: ConfigMap\ndata: {answer: 42, flag: yes}\n",
            FieldValidation::Warn
        )
        .unwrap_err(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
    );
}

#[test]
fn wrong_types_are_worded_as_go_words_them() {
    let spec = |spec: Value| json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec});
    for (body, want) in [
        (
            spec(json!({"replicas": "many"})),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            spec(json!({"replicas": 2.5})),
            "json: cannot unmarshal number 2.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            spec(json!({"paused": "x"})),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.paused of type bool",
        ),
        (
            spec(json!({"template": {"spec": {"containers": {}}}})),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            spec(
                json!({"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}}}),
            ),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            spec(json!({"template": {"spec": {"containers": [{"imagePullPolicy": 1}]}}})),
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.imagePullPolicy of type v1.PullPolicy",
        ),
        (
            spec(json!({"selector": "x"})),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.selector of type v1.LabelSelector",
        ),
        (
            json!({"metadata": {"creationTimestamp": "yesterday"}}),
            "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\"",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": true}}}}),
            "json: cannot unmarshal bool into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32",
        ),
    ] {
        assert_eq!(
            error(&DEPLOYMENT, body),
            format!("Deployment in version \"v1\" cannot be handled as a Deployment: {want}")
        );
    }
    let floated = r#"{"kind":"Service","apiVersion":"v1","spec":{"ports":[{"port":80.0}]}}"#;
    assert_eq!(
        json_body(&SERVICE, floated, FieldValidation::Warn).unwrap_err(),
        "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal number 80.0 into Go struct field ServicePort.spec.ports.port of type int32"
    );
}

#[test]
fn bodies_of_another_kind_are_refused() {
    assert_eq!(
        error(&POD, json!({"apiVersion": "v1", "kind": "Service"})),
        "Service in version \"v1\" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion"
    );
    assert_eq!(
        error(&POD, json!({"apiVersion": "v1", "kind": "List"})),
        "List in version \"v1\" cannot be handled as a Pod: converting (v1.List) to (core.Pod): unknown conversion"
    );
    assert_eq!(
        error(
            &DEPLOYMENT,
            json!({"apiVersion": "extensions/v1beta1", "kind": "Deployment"})
        ),
        "the API version in the data (extensions/v1beta1) does not match the expected API version (apps/v1)"
    );
    assert_eq!(
        error(&POD, json!({"apiVersion": "v1", "kind": "Nothing"})),
        "Nothing in version \"v1\" cannot be handled as a Pod: no kind \"Nothing\" is registered for version \"v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
    );
    let pen = Expect {
        group: "example.com",
        version: "v1",
        kind: "Pen",
        custom: true,
    };
    assert_eq!(
        json_body(
            &pen,
            "{\"metadata\": {\"name\": \"p\"}}",
            FieldValidation::Warn
        )
        .unwrap_err(),
        "the object provided is unrecognized (must be of type Pen): Object 'Kind' is missing in '{\"metadata\": {\"name\": \"p\"}}' ({\"metadata\": {\"name\": \"p\"}})"
    );
    assert_eq!(
        json_body(&pen, "pen: {", FieldValidation::Warn).unwrap_err(),
        "the object provided is unrecognized (must be of type Pen): couldn't get version/kind; json parse error: invalid character 'p' looking for beginning of value (70656e3a207b)"
    );
    let kept = json_body(
        &pen,
        r#"{"apiVersion":"example.com/v1","kind":"Pen","spec":{"a":null,"b":[]}}"#,
        FieldValidation::Strict,
    )
    .unwrap();
    assert_eq!(kept.object["spec"], json!({"a": null, "b": []}));
}

#[test]
fn objects_come_out_as_a_go_server_prints_them() {
    let nulls = json!({"metadata": {"name": "n", "labels": null, "annotations": {"a": null}, "creationTimestamp": null}, "data": null, "immutable": null});
    assert_eq!(
        object(&CONFIG_MAP, nulls),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n", "annotations": {"a": ""}}})
    );
    let deployment = object(
        &DEPLOYMENT,
        json!({"spec": {"replicas": 0, "paused": false, "minReadySeconds": 0}}),
    );
    assert_eq!(
        deployment,
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "status": {}, "spec": {
            "replicas": 0, "selector": null, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": null}}}})
    );
    let pod = object(
        &POD,
        json!({"metadata": {"creationTimestamp": "2024-01-02T03:04:05+01:00"}, "spec": {
        "hostNetwork": false, "hostUsers": false, "nodeName": "",
        "containers": [{"name": "c", "resources": {"limits": {"cpu": 0.5, "memory": "1024Ki", "x": "1000m"}},
            "env": [{"name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]}]}}),
    );
    assert_eq!(
        pod["metadata"],
        json!({"creationTimestamp": "2024-01-02T02:04:05Z"})
    );
    assert_eq!(
        pod["spec"],
        json!({"hostUsers": false, "containers": [{"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "1Mi", "x": "1"}},
            "env": [{"name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}}]}]})
    );
    assert_eq!(
        yaml_body(&CONFIG_MAP, "", FieldValidation::Warn)
            .unwrap()
            .object["kind"],
        "ConfigMap"
    );
}

/// Definitions are not kept in protobuf, which knows no difference between nothing and an empty list.
#[test]
fn an_empty_list_of_versions_is_not_none() {
    let definition = Expect {
        group: "apiextensions.k8s.io",
        version: "v1",
        kind: "CustomResourceDefinition",
        custom: false,
    };
    for (spec, want) in [
        (json!({"versions": []}), json!([])),
        (json!({}), json!(null)),
    ] {
        let told = object(&definition, json!({"spec": spec}));
        assert_eq!(told["spec"]["versions"], want, "{spec}");
    }
    let none = object(&POD, json!({"spec": {"containers": []}}));
    assert_eq!(none["spec"]["containers"], json!(null));
}

#[test]
fn a_repeated_struct_is_merged_as_go_merges_it() {
    let body = r#"{"metadata":{"name":"a"},"metadata":{"labels":{"x":"y"}}}"#;
    let decoded = json_body(&CONFIG_MAP, body, FieldValidation::Warn).unwrap();
    assert_eq!(
        decoded.object["metadata"],
        json!({"name": "a", "labels": {"x": "y"}})
    );
    assert_eq!(decoded.warnings, ["duplicate field \"metadata\""]);
}

#[test]
fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    let deep = format!("{{\"metadata\":{}", "{\"a\":".repeat(100_000));
    assert!(
        json_body(&POD, &deep, FieldValidation::Warn)
            .unwrap_err()
            .contains("exceeded max depth")
    );
    let properties = r#"{"properties":{"a":"#.repeat(200);
    let crd = format!(
        r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{properties}{{}}{}}}}}]}}}}"#,
        "}}".repeat(200)
    );
    let expect = Expect {
        group: "apiextensions.k8s.io",
        version: "v1",
        kind: "CustomResourceDefinition",
        custom: false,
    };
    assert!(json_body(&expect, &crd, FieldValidation::Strict).is_ok());
    assert!(yaml_body(&POD, &"[".repeat(100_000), FieldValidation::Warn).is_err());
    assert!(yaml_body(&POD, &"- ".repeat(10_000), FieldValidation::Warn).is_err());
}

proptest::proptest! {
    #[test]
    fn no_body_panics(body in "[-{}\\[\\]\":,a-z0-9.&*<>|!%@ \\n\\\\é]{0,60}") {
        let _ = json_body(&POD, &body, FieldValidation::Warn);
        let _ = yaml_body(&POD, &body, FieldValidation::Warn);
        let _ = json_body(&POD, &format!("{{\"spec\":{body}}}"), FieldValidation::Warn);
    }

    #[test]
    fn decoding_again_changes_nothing(containers in 0usize..3, replicas in proptest::option::of(0i32..5), cpu in "[0-9]{1,3}(\\.[0-9]{1,2})?(m|Ki|k|)") {
        let list: Vec<Value> = (0..containers).map(|i| json!({"name": format!("c{i}"), "resources": {"limits": {"cpu": cpu}}})).collect();
        let once = object(&DEPLOYMENT, json!({"spec": {"replicas": replicas, "template": {"spec": {"containers": list}}}}));
        proptest::prop_assert_eq!(object(&DEPLOYMENT, once.clone()), once);
    }
}
