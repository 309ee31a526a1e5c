//! What CSI drivers tell about themselves: CSIDrivers, CSINodes, CSIStorageCapacities.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{
    Column, Context, Strategy,
    common::clear,
    defaults::{ensure, set},
    pod::{validate::driver_name, warnings::node_label},
};
use crate::{
    field::{Error, Errors},
    names, table,
    validation::{At, amount::Amount, go, immutable, labels, list, meta, non_negative, text},
};

/// `storage.k8s.io/v1/CSIDriver`.
pub struct CsiDriver;

impl Strategy for CsiDriver {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = ensure(object, "spec");
        set(spec, "attachRequired", true);
        for key in [
            "podInfoOnMount",
            "storageCapacity",
            "requiresRepublish",
            "seLinuxMount",
        ] {
            set(spec, key, false);
        }
        set(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if list(&spec["volumeLifecycleModes"]).is_empty() {
            spec["volumeLifecycleModes"] = json!(["Persistent"]);
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        driver(&At::root(object, "spec"), &mut errs);
        errs
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        clear(&mut object["spec"], OFF);
    }

    fn prepare_update(&self, _ctx: &Context, object: &mut Value, old: &Value) {
        if old["spec"][OFF].is_null() {
            clear(&mut object["spec"], OFF);
        }
        if object["spec"] != old["spec"] {
            let before = old["metadata"]["generation"].as_i64().unwrap_or(0);
            object["metadata"]["generation"] = before.wrapping_add(1).into();
        }
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        let spec = At::root(object, "spec");
        driver(&spec, &mut errs);
        for (key, shown) in [
            ("attachRequired", "attachedRequired"),
            ("volumeLifecycleModes", "volumeLifecycleModes"),
        ] {
            immutable(&spec.get_as(key, shown), &old["spec"][key], &mut errs);
        }
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        let requests = &object["spec"]["tokenRequests"];
        let news = old.is_none_or(|old| old["spec"]["tokenRequests"] != *requests);
        let unsaid = object["spec"][IN_SECRETS].is_null();
        if news && unsaid && !list(requests).is_empty() {
            return vec![format!("spec.{IN_SECRETS} {RECOMMENDED}")];
        }
        Vec::new()
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        let flag = |name, words| Column {
            kind: "boolean".into(),
            ..table::column(name, words)
        };
        vec![
            table::name(),
            flag("AttachRequired", ATTACH),
            flag("PodInfoOnMount", POD_INFO),
            flag("StorageCapacity", CAPACITY),
            table::column("TokenRequests", TOKENS),
            flag("RequiresRepublish", REPUBLISH),
            table::column("Modes", MODES),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &object["spec"];
        let flag = |key: &str, none: bool| spec[key].as_bool().unwrap_or(none).into();
        let join = |items: Vec<&str>, none: &str| match items.is_empty() {
            true => none.to_owned(),
            false => items.join(","),
        };
        let audiences = list(&spec["tokenRequests"])
            .iter()
            .map(|t| text(t, "audience"));
        let modes = list(&spec["volumeLifecycleModes"])
            .iter()
            .filter_map(Value::as_str);
        vec![
            table::name_of(object),
            flag("attachRequired", true),
            flag("podInfoOnMount", false),
            flag("storageCapacity", false),
            join(audiences.collect(), "<unset>").into(),
            flag("requiresRepublish", false),
            join(modes.collect(), "<none>").into(),
            table::age_of(object, now),
        ]
    }
}

/// A field of a feature that is off.
const OFF: &str = "preventPodSchedulingIfMissing";
const IN_SECRETS: &str = "serviceAccountTokenInSecrets";
const RECOMMENDED: &str = "is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";

const ATTACH: &str = "attachRequired indicates this CSI volume driver requires an attach operation (because it implements the CSI ControllerPublishVolume() method), and that the Kubernetes attach detach controller should call the attach volume interface which checks the volumeattachment status and waits until the volume is attached before proceeding to mounting. The CSI external-attacher coordinates with CSI volume driver and updates the volumeattachment status when the attach operation is complete. If the value is specified to false, the attach operation will be skipped. Otherwise the attach operation will be called.\n\nThis field is immutable.";
const POD_INFO: &str = "podInfoOnMount indicates this CSI volume driver requires additional pod information (like podName, podUID, etc.) during mount operations, if set to true. If set to false, pod information will not be passed on mount. Default is false.\n\nThe CSI driver specifies podInfoOnMount as part of driver deployment. If true, Kubelet will pass pod information as VolumeContext in the CSI NodePublishVolume() calls. The CSI driver is responsible for parsing and validating the information passed in as VolumeContext.\n\nThe following VolumeContext will be passed if podInfoOnMount is set to true. This list might grow, but the prefix will be used. \"csi.storage.k8s.io/pod.name\": pod.Name \"csi.storage.k8s.io/pod.namespace\": pod.Namespace \"csi.storage.k8s.io/pod.uid\": string(pod.UID) \"csi.storage.k8s.io/ephemeral\": \"true\" if the volume is an ephemeral inline volume\n                                defined by a CSIVolumeSource, otherwise \"false\"\n\n\"csi.storage.k8s.io/ephemeral\" is a new feature in Kubernetes 1.16. It is only required for drivers which support both the \"Persistent\" and \"Ephemeral\" VolumeLifecycleMode. Other drivers can leave pod info disabled and/or ignore this field. As Kubernetes 1.15 doesn't support this field, drivers can only support one mode when deployed on such a cluster and the deployment determines which mode that is, for example via a command line parameter of the driver.\n\nThis field was immutable in Kubernetes < 1.29 and now is mutable.";
const CAPACITY: &str = "storageCapacity indicates that the CSI volume driver wants pod scheduling to consider the storage capacity that the driver deployment will report by creating CSIStorageCapacity objects with capacity information, if set to true.\n\nThe check can be enabled immediately when deploying a driver. In that case, provisioning new volumes with late binding will pause until the driver deployment has published some suitable CSIStorageCapacity object.\n\nAlternatively, the driver can be deployed with the field unset or false and it can be flipped later when storage capacity information has been published.\n\nThis field was immutable in Kubernetes <= 1.22 and now is mutable.";
const TOKENS: &str = "tokenRequests indicates the CSI driver needs pods' service account tokens it is mounting volume for to do necessary authentication. Kubelet will pass the tokens in VolumeContext in the CSI NodePublishVolume calls. The CSI driver should parse and validate the following VolumeContext: \"csi.storage.k8s.io/serviceAccount.tokens\": {\n  \"<audience>\": {\n    \"token\": <token>,\n    \"expirationTimestamp\": <expiration timestamp in RFC3339>,\n  },\n  ...\n}\n\nNote: Audience in each TokenRequest should be different and at most one token is empty string. To receive a new token after expiry, RequiresRepublish can be used to trigger NodePublishVolume periodically.";
const REPUBLISH: &str = "requiresRepublish indicates the CSI driver wants `NodePublishVolume` being periodically called to reflect any possible change in the mounted volume. This field defaults to false.\n\nNote: After a successful initial NodePublishVolume call, subsequent calls to NodePublishVolume should only update the contents of the volume. New mount points will not be seen by a running container.";
const MODES: &str = "volumeLifecycleModes defines what kind of volumes this CSI volume driver supports. The default if the list is empty is \"Persistent\", which is the usage defined by the CSI specification and implemented in Kubernetes via the usual PV/PVC mechanism.\n\nThe other mode is \"Ephemeral\". In this mode, volumes are defined inline inside the pod spec with CSIVolumeSource and their lifecycle is tied to the lifecycle of that pod. A driver has to be aware of this because it is only going to get a NodePublishVolume call for such a volume.\n\nFor more information about implementing this mode, see https://kubernetes-csi.github.io/docs/ephemeral-local-volumes.html A driver can support one or more of these modes and more modes may be added in the future.\n\nThis field is beta. This field is immutable.";

fn driver(spec: &At, errs: &mut Errors) {
    const POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
    let policy = spec.get("fsGroupPolicy");
    if !POLICIES.contains(&policy.str()) {
        errs.push(policy.not_supported(&POLICIES));
    }
    token_requests(spec, errs);
    const LIFECYCLES: [&str; 2] = ["Persistent", "Ephemeral"];
    let modes = spec.get("volumeLifecycleModes");
    for mode in list(modes.v) {
        let mode = mode.as_str().unwrap_or_default();
        if !LIFECYCLES.contains(&mode) {
            errs.push(Error::not_supported(&modes.path, mode, &LIFECYCLES));
        }
    }
    if spec
        .int("nodeAllocatableUpdatePeriodSeconds")
        .is_some_and(|n| n < 10)
    {
        let at = spec.get("nodeAllocatableUpdatePeriodSeconds");
        errs.push(at.invalid("must be greater than or equal to 10 seconds"));
    }
    if spec.has(IN_SECRETS) && list(spec.get("tokenRequests").v).is_empty() {
        let words = format!("{IN_SECRETS} is set but no tokenRequests are specified");
        errs.push(spec.get(IN_SECRETS).invalid(words));
    }
}

fn token_requests(spec: &At, errs: &mut Errors) {
    let mut audiences: Vec<&str> = Vec::new();
    for request in spec.items("tokenRequests") {
        let audience = request.text("audience");
        if audiences.contains(&audience) {
            errs.push(Error::duplicate(&request.path.child("audience"), audience));
            continue;
        }
        audiences.push(audience);
        let lasts = request.get("expirationSeconds");
        match lasts.v.as_i64() {
            Some(..600) => {
                errs.push(lasts.invalid("may not specify a duration less than 10 minutes"));
            }
            Some(n) if n > 1 << 32 => {
                errs.push(lasts.invalid("may not specify a duration larger than 2^32 seconds"));
            }
            _ => {}
        }
    }
}

/// `storage.k8s.io/v1/CSINode`.
pub struct CsiNode;

const NODE_DRIVER: &str = "Name'' NodeID'' TopologyKeys. Allocatable*{Count.}";

impl Strategy for CsiNode {
    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        node_drivers(&At::root(object, "spec").get("drivers"), &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        let drivers = At::root(object, "spec").get("drivers");
        node_drivers(&drivers, &mut errs);
        // What may be attached is counted anew while the driver runs; nothing else of it changes.
        let fixed = |driver: &Value| {
            let mut driver = driver.clone();
            clear(&mut driver, "allocatable");
            driver
        };
        for before in list(&old["spec"]["drivers"]).iter().map(fixed) {
            for now in list(drivers.v).iter().map(fixed) {
                if now["name"] == before["name"] && now != before {
                    let shown = go::dump(&now, NODE_DRIVER);
                    errs.push(drivers.invalid("field is immutable").showing(shown));
                }
            }
        }
        errs
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::count(
                "Drivers",
                "drivers is a list of information of all CSI Drivers existing on a node. If all drivers in the list are uninstalled, this can become empty.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let drivers = list(&object["spec"]["drivers"]).len();
        vec![
            table::name_of(object),
            drivers.into(),
            table::age_of(object, now),
        ]
    }
}

fn node_drivers(all: &At, errs: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for driver in all.each() {
        driver_name(&driver.get("name"), errs);
        let id = driver.get("nodeID");
        match id.str().len() {
            0 => errs.push(id.required("")),
            257.. => errs.push(id.invalid("must be 256 characters or less")),
            _ => {}
        }
        non_negative(&driver.get("allocatable"), "count", errs);
        if seen.contains(&driver.text("name")) {
            errs.push(driver.get("name").duplicate());
        }
        seen.push(driver.text("name"));
        let mut keys: Vec<&str> = Vec::new();
        for key in list(&driver.v["topologyKeys"]) {
            let key = key.as_str().unwrap_or_default();
            if key.is_empty() {
                errs.push(driver.required(""));
            }
            if keys.contains(&key) {
                errs.push(Error::duplicate(&driver.path, key));
            }
            keys.push(key);
            labels::label_key(&driver, key, errs);
        }
    }
}

/// `storage.k8s.io/v1/CSIStorageCapacity`.
pub struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        labels::selector(&At::root(object, "nodeTopology"), &mut errs);
        let class = At::root(object, "storageClassName");
        class.push(names::dns1123_subdomain(class.str()), &mut errs);
        let capacity = At::root(object, "capacity");
        let amount = Amount::of(capacity.v);
        if amount.nanos < 0 {
            let words = "must be greater than or equal to 0";
            errs.push(Error::invalid(&capacity.path, amount.to_string(), words));
        }
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        for key in ["nodeTopology", "storageClassName"] {
            immutable(&At::root(object, key), &old[key], &mut errs);
        }
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let topology = At::root(object, "nodeTopology");
        let expressions = topology.items("matchExpressions").filter_map(|e| {
            let key = e.get("key");
            node_label(key.str()).map(|words| format!("{}: {} is {words}", key.path, key.str()))
        });
        let labels = topology.get("matchLabels");
        let labels = labels.entries().filter_map(|(key, _)| {
            let path = topology.path.child("matchLabels").child(key);
            node_label(key).map(|words| format!("{path}: {words}"))
        });
        expressions.chain(labels).collect()
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "StorageClassName",
                "storageClassName represents the name of the StorageClass that the reported capacity applies to. It must meet the same requirements as the name of a StorageClass object (non-empty, DNS subdomain). If that object no longer exists, the CSIStorageCapacity object is obsolete and should be removed by its creator. This field is immutable.",
            ),
            table::column(
                "Capacity",
                "capacity is the value reported by the CSI driver in its GetCapacityResponse for a GetCapacityRequest with topology and parameters that match the previous fields.\n\nThe semantic is currently (CSI spec 1.2) defined as: The available capacity, in bytes, of the storage that can be used to provision volumes. If not set, that information is currently unavailable.",
            ),
        ]
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let capacity = object["capacity"].as_str().unwrap_or("<unset>");
        vec![
            table::name_of(object),
            text(object, "storageClassName").into(),
            capacity.into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_drivers() {
        const SHORT: &str = "may not specify a duration less than 10 minutes";
        let cases: &[(Value, &[&str])] = &[
            (
                json!({IN_SECRETS: true, "tokenRequests": [{"audience": "a"}]}),
                &[],
            ),
            (
                json!({IN_SECRETS: false}),
                &[
                    "spec.serviceAccountTokenInSecrets: Invalid value: false: serviceAccountTokenInSecrets is set but no tokenRequests are specified",
                ],
            ),
            (
                json!({"tokenRequests": [{"audience": "a"}, {"audience": "a", "expirationSeconds": 1}, {"audience": "b", "expirationSeconds": 5}]}),
                &[
                    "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
                    &format!("spec.tokenRequests[2].expirationSeconds: Invalid value: 5: {SHORT}"),
                ],
            ),
        ];
        for (spec, want) in cases {
            let mut object = json!({"metadata": {"name": "d"}, "spec": spec});
            CsiDriver.default(&Context::default(), &mut object);
            let errs = CsiDriver.validate_create(&Context::default(), &object);
            let told: Vec<String> = errs.iter().map(ToString::to_string).collect();
            assert_eq!(told, *want, "{spec}");
        }
    }

    #[test]
    fn drivers_are_told_where_tokens_had_better_go() {
        let none = json!({"spec": {}});
        let some = json!({"spec": {"tokenRequests": [{"audience": "a"}]}});
        let said = json!({"spec": {"tokenRequests": [{"audience": "a"}], IN_SECRETS: false}});
        for (object, old, want) in [
            (&none, None, 0),
            (&some, None, 1),
            (&said, None, 0),
            (&some, Some(&none), 1),
            (&some, Some(&some), 0),
            (&none, Some(&some), 0),
        ] {
            let told = CsiDriver.warnings(&Context::default(), object, old);
            assert_eq!(told.len(), want, "{object} {old:?}");
        }
    }

    #[test]
    fn the_last_generation_is_followed_by_the_first() {
        let mut old =
            json!({"metadata": {"generation": i64::MAX}, "spec": {"attachRequired": true}});
        let mut new = json!({"metadata": {}, "spec": {"attachRequired": false}});
        CsiDriver.prepare_update(&Context::default(), &mut new, &old);
        assert_eq!(new["metadata"]["generation"], i64::MIN);
        old["metadata"]["generation"] = 1.into();
        CsiDriver.prepare_update(&Context::default(), &mut new, &old);
        assert_eq!(new["metadata"]["generation"], 2);
    }

    #[test]
    fn old_labels_of_nodes_are_warned_about() {
        let capacity = json!({"nodeTopology": {"matchLabels": {"beta.kubernetes.io/os": "linux"},
            "matchExpressions": [{"key": "beta.kubernetes.io/arch", "operator": "Exists"}]}});
        assert_eq!(
            CsiStorageCapacity.warnings(&Context::default(), &capacity, None),
            [
                "nodeTopology.matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use \"kubernetes.io/arch\" instead",
                "nodeTopology.matchLabels.beta.kubernetes.io/os: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            ]
        );
    }
}
