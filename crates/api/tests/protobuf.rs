//! Protobuf both ways, against the message types that other people made from the original's definitions.

use knarr_api::{
    Schemas,
    decode::{self, Expect, FieldValidation, Format},
    encode::protobuf,
    schema::{Field, Struct, Type},
};
use knarr_json::{Map, Value, json};
use proptest::prelude::*;
use prost::Message;

/// Numbers that look random and come again for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }
}

/// Fields that are younger than the message types of others.
const YOUNG: [&str; 4] = [
    "schedulingGroup",
    "nodeAllocatableResourceClaimStatuses",
    "nodeAllocatableResourceMappings",
    "preventPodSchedulingIfMissing",
];

const TEXTS: [&str; 6] = ["a", "web-0", "ü\"\\\n", "𝄞\u{7f}", "x y", "-"];

/// An object with about half of its fields, filled at random.
fn object(schema: &Struct, dice: &mut Dice, depth: u32) -> Map {
    let mut out = Map::new();
    let known = |f: &&Field| f.number != 0 && !YOUNG.contains(&&*f.name);
    for field in schema.fields.iter().filter(known) {
        if dice.roll(2) == 0 && depth < 9 {
            out.insert(field.name.to_string(), of_field(schema, field, dice, depth));
        }
    }
    out
}

fn of_field(owner: &Struct, field: &Field, dice: &mut Dice, depth: u32) -> Value {
    if !owner.name.ends_with(".JSONSchemaProps") {
        return value(&field.ty, dice, depth);
    }
    let schema = |dice: &mut Dice| Value::Object(object(owner, dice, depth + 4));
    match (&*field.name, dice.roll(2)) {
        ("items", 0) => json!([schema(dice), schema(dice)]),
        ("additionalItems" | "additionalProperties", 0) => json!(dice.roll(2) == 0),
        ("items" | "additionalItems" | "additionalProperties", _) => schema(dice),
        ("dependencies", 0) => json!({"a": ["b", "c"]}),
        ("dependencies", _) => json!({"a": schema(dice)}),
        _ => value(&field.ty, dice, depth + 3),
    }
}

fn value(ty: &Type, dice: &mut Dice, depth: u32) -> Value {
    match ty {
        Type::Bool => json!(dice.roll(2) == 0),
        Type::Int32 => json!(dice.pick(&[0, 1, -1, 7, 300, i32::MAX, i32::MIN])),
        Type::Int64 => json!(dice.pick(&[0, 1, -1, 7, 70_000, i64::MAX, i64::MIN])),
        Type::Double => json!(dice.pick(&[0.5, -3.25, 1e100])),
        Type::String(_) => json!(dice.pick(&TEXTS)),
        Type::Bytes => json!(dice.pick(&["", "aGVsbG8=", "AP8="])),
        Type::Quantity => json!(dice.pick(&["0", "100m", "2Gi", "1500k"])),
        Type::IntOrString if dice.roll(2) == 0 => json!(dice.pick(&[0, 80, -1])),
        Type::IntOrString => json!(dice.pick(&["http", "50%"])),
        Type::Time => json!(dice.pick(&[
            "2024-02-29T23:59:59Z",
            "1969-12-31T00:00:01Z",
            "1970-01-01T00:00:00Z"
        ])),
        Type::MicroTime => {
            json!(dice.pick(&["2024-02-29T23:59:59.123456Z", "1999-01-01T00:00:00.000000Z"]))
        }
        Type::Any => json!(dice.pick(&["text", "ü"])),
        Type::Raw => json!({"kind": "X", "n": [1, null, "\u{1}"]}),
        Type::FieldsV1 => json!({"f:spec": {".": {}, "k:{\"a\":\"b\"}": {}}}),
        Type::Struct(schema) => Value::Object(object(schema, dice, depth + 1)),
        Type::List(list) => {
            let len = 1 + dice.roll(2);
            (0..len)
                .map(|_| value(&list.elem, dice, depth + 1))
                .collect()
        }
        Type::Map(map) => {
            let keys = ["k", "k\"ey", "l/m"];
            let len = 1 + dice.roll(2) as usize;
            let entries = keys[..len]
                .iter()
                .map(|k| ((*k).to_owned(), value(&map.value, dice, depth + 1)));
            Value::Object(entries.collect())
        }
    }
}

/// Reads a body again as the server reads requests.
fn read(body: &[u8], group: &str, version: &str, kind: &str) -> Result<Value, String> {
    let expect = Expect {
        group,
        version,
        kind,
        custom: false,
    };
    decode::decode(
        &Schemas::default(),
        body,
        Format::Protobuf,
        &expect,
        FieldValidation::Strict,
    )
    .map(|d| d.object)
    .map_err(|e| e.message)
}

/// The message inside a body.
fn inner(body: &[u8]) -> Vec<u8> {
    use k8s_pb::apimachinery::pkg::runtime::Unknown;
    let unknown = Unknown::decode(body.strip_prefix(b"k8s\0").unwrap()).unwrap();
    unknown.raw.unwrap_or_default()
}

fn outer(api_version: &str, kind: &str, message: Vec<u8>) -> Vec<u8> {
    let mut out = protobuf::head(api_version, kind);
    k8s_pb::apimachinery::pkg::runtime::Unknown {
        raw: Some(message),
        ..Default::default()
    }
    .encode(&mut out)
    .unwrap();
    out
}

fn same(
    kind: &str,
    how: &str,
    got: &Result<Value, String>,
    want: &Value,
) -> Result<(), TestCaseError> {
    match got {
        Ok(got) => match difference(got, want, String::new()) {
            None => Ok(()),
            Some(at) => Err(TestCaseError::fail(format!("{kind} {how}: {at}"))),
        },
        Err(error) => Err(TestCaseError::fail(format!("{kind} {how}: {error}"))),
    }
}

/// Where two values first differ.
fn difference(got: &Value, want: &Value, at: String) -> Option<String> {
    match (got, want) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => a
            .iter()
            .find_map(|(k, v)| difference(v, &b[k], format!("{at}.{k}"))),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .find_map(|(v, w)| difference(v, w, format!("{at}[]"))),
        _ => (got != want).then(|| format!("{at}: {got} instead of {want}")),
    }
}

fn check<T: Message + Default>(
    group: &str,
    version: &str,
    kind: &str,
    seed: u64,
) -> Result<(), TestCaseError> {
    let schema = Schemas::default().by_kind(group, version, kind).unwrap();
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut sample = Value::Object(object(&schema, &mut Dice(seed | 1), 0));
    sample["apiVersion"] = api_version.clone().into();
    sample["kind"] = kind.into();
    let text = sample.to_string();
    decode::settle(&schema, &mut sample);
    let body = protobuf::body(text.as_bytes()).unwrap();
    same(
        kind,
        "by our own reader",
        &read(&body, group, version, kind),
        &sample,
    )?;
    let theirs =
        T::decode(&*inner(&body)).map_err(|e| TestCaseError::fail(format!("{kind}: {e}")))?;
    let again = outer(&api_version, kind, theirs.encode_to_vec());
    same(
        kind,
        "through theirs",
        &read(&again, group, version, kind),
        &sample,
    )?;
    Ok(())
}

macro_rules! kinds {
    ($($name:ident: $module:path, $group:literal, $version:literal, [$($kind:ident)*];)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
            $(#[test]
            fn $name(seed in any::<u64>()) {
                #[allow(clippy::wildcard_imports, reason = "each module is asked for its kinds by name")]
                use $module::*;
                $(check::<$kind>($group, $version, stringify!($kind), seed)?;)*
            })*
        }
    };
}

kinds! {
    core: k8s_pb::api::core::v1, "", "v1", [Binding ComponentStatus ConfigMap ConfigMapList Endpoints Event EventList LimitRange
        Namespace NamespaceList Node NodeList PersistentVolume PersistentVolumeClaim Pod PodList PodTemplate ReplicationController
        ResourceQuota Secret SecretList Service ServiceList ServiceAccount];
    apps: k8s_pb::api::apps::v1, "apps", "v1", [ControllerRevision DaemonSet Deployment DeploymentList ReplicaSet StatefulSet];
    batch: k8s_pb::api::batch::v1, "batch", "v1", [CronJob Job JobList];
    autoscaling1: k8s_pb::api::autoscaling::v1, "autoscaling", "v1", [HorizontalPodAutoscaler Scale];
    autoscaling2: k8s_pb::api::autoscaling::v2, "autoscaling", "v2", [HorizontalPodAutoscaler HorizontalPodAutoscalerList];
    policy: k8s_pb::api::policy::v1, "policy", "v1", [Eviction PodDisruptionBudget];
    networking: k8s_pb::api::networking::v1, "networking.k8s.io", "v1", [IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR];
    discovery: k8s_pb::api::discovery::v1, "discovery.k8s.io", "v1", [EndpointSlice EndpointSliceList];
    events: k8s_pb::api::events::v1, "events.k8s.io", "v1", [Event];
    rbac: k8s_pb::api::rbac::v1, "rbac.authorization.k8s.io", "v1", [ClusterRole ClusterRoleBinding Role RoleBinding];
    storage: k8s_pb::api::storage::v1, "storage.k8s.io", "v1", [CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass];
    scheduling: k8s_pb::api::scheduling::v1, "scheduling.k8s.io", "v1", [PriorityClass];
    node: k8s_pb::api::node::v1, "node.k8s.io", "v1", [RuntimeClass];
    coordination: k8s_pb::api::coordination::v1, "coordination.k8s.io", "v1", [Lease LeaseList];
    certificates: k8s_pb::api::certificates::v1, "certificates.k8s.io", "v1", [CertificateSigningRequest];
    admission: k8s_pb::api::admissionregistration::v1, "admissionregistration.k8s.io", "v1", [MutatingWebhookConfiguration
        ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration];
    admission_beta: k8s_pb::api::admissionregistration::v1beta1, "admissionregistration.k8s.io", "v1", [MutatingAdmissionPolicy
        MutatingAdmissionPolicyBinding];
    flowcontrol: k8s_pb::api::flowcontrol::v1, "flowcontrol.apiserver.k8s.io", "v1", [FlowSchema PriorityLevelConfiguration];
    authentication: k8s_pb::api::authentication::v1, "authentication.k8s.io", "v1", [SelfSubjectReview TokenRequest TokenReview];
    authorization: k8s_pb::api::authorization::v1, "authorization.k8s.io", "v1", [LocalSubjectAccessReview SelfSubjectAccessReview
        SelfSubjectRulesReview SubjectAccessReview];
    extensions: k8s_pb::apiextensions_apiserver::pkg::apis::apiextensions::v1, "apiextensions.k8s.io", "v1", [CustomResourceDefinition
        CustomResourceDefinitionList];
    registration: k8s_pb::kube_aggregator::pkg::apis::apiregistration::v1, "apiregistration.k8s.io", "v1", [APIService];
    meta: k8s_pb::apimachinery::pkg::apis::meta::v1, "", "v1", [APIGroup APIGroupList APIResourceList APIVersions DeleteOptions
        PartialObjectMetadata PartialObjectMetadataList Status];
    resource: k8s_pb::api::resource::v1, "resource.k8s.io", "v1", [DeviceClass ResourceClaim ResourceClaimTemplate];
}

/// Every kind that can be told at all comes back by our own reader, also those that nobody else has types for.
#[test]
fn every_kind_comes_back() {
    let mut seen = 0;
    for ((group, version, kind), schema) in Schemas::default().builtin_kinds() {
        let api_version = if group.is_empty() {
            version.clone()
        } else {
            format!("{group}/{version}")
        };
        if protobuf::message_of(&api_version, &kind).is_err()
            || schema.fields.iter().all(|f| f.number == 0)
        {
            continue;
        }
        for seed in 1..12 {
            let mut sample = Value::Object(object(&schema, &mut Dice(seed * 0x9e37_79b9), 2));
            sample["apiVersion"] = api_version.clone().into();
            sample["kind"] = kind.clone().into();
            let body = protobuf::body(sample.to_string().as_bytes()).unwrap();
            decode::settle(&schema, &mut sample);
            assert_eq!(
                read(&body, &group, &version, &kind).unwrap(),
                sample,
                "{kind}"
            );
        }
        seen += 1;
    }
    assert!(seen > 150, "{seen} kinds");
}

#[test]
fn lists_and_watch_frames_are_put_together_from_objects() {
    use k8s_pb::{api::core::v1 as core, apimachinery::pkg::apis::meta::v1::WatchEvent};
    let object =
        br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}"#;
    let schema = protobuf::message_of("v1", "ConfigMap").unwrap();
    let mut items = Vec::new();
    for _ in 0..3 {
        protobuf::append_item(&schema, object, &mut items).unwrap();
    }
    let mut body = protobuf::list_head(
        "v1",
        "ConfigMapList",
        br#"{"resourceVersion":"7","remainingItemCount":2}"#,
        items.len(),
    )
    .unwrap();
    body.extend(items);
    body.extend(protobuf::TAIL);
    let list = core::ConfigMapList::decode(&*inner(&body)).unwrap();
    assert_eq!(list.items.len(), 3);
    assert_eq!(list.items[2].data["k"], "v");
    assert_eq!(list.metadata.unwrap().remaining_item_count, Some(2));

    let frame = protobuf::watch_frame("ADDED", object).unwrap();
    let len = u32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(len as usize, frame.len() - 4);
    let event = WatchEvent::decode(&frame[4..]).unwrap();
    assert_eq!(event.r#type.as_deref(), Some("ADDED"));
    let inside = inner(&event.object.unwrap().raw.unwrap());
    assert_eq!(
        core::ConfigMap::decode(&*inside)
            .unwrap()
            .metadata
            .unwrap()
            .name
            .as_deref(),
        Some("a")
    );
}

#[test]
fn what_has_no_message_is_told_as_the_original_tells_it() {
    let said = |json: &str| protobuf::body(json.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        said(r#"{"apiVersion":"meta.k8s.io/v1","kind":"Table"}"#),
        "object *v1.Table does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
    );
    assert!(
        said(r#"{"apiVersion":"example.com/v1","kind":"Widget"}"#)
            .starts_with("object *unstructured.Unstructured")
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in "[{}\\[\\]\",:a-z0-9n\\\\]{0,80}") {
        let schema = protobuf::message_of("v1", "Pod").unwrap();
        let _ = protobuf::message(&schema, text.as_bytes(), &mut Vec::new());
        let _ = protobuf::body(text.as_bytes());
    }
}
