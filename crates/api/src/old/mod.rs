//! Versions that Kubernetes once served and that manifests still use: `extensions/v1beta1`, `apps/v1beta1` and their kin.
//!
//! Each is another way to say what a kind that is served today says. Bodies of requests are brought to today's version as
//! soon as they are read, answers back from it as they are written; in between nobody knows that old words were used.

mod autoscaler;
mod configuration;
mod definition;
mod ingress;
mod slice;
mod workload;

use knarr_json::Value;

/// A version of a kind that is served no more by the original.
#[derive(Debug)]
pub struct Old {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    /// Group and version of the same kind today.
    pub now: (&'static str, &'static str),
    /// Minor releases of Kubernetes 1 in which it was deprecated, and gone.
    since: (u32, u32),
    /// Brings an object to today's version, part of one too.
    up: fn(&mut Value),
    /// Brings an object of today's version back.
    down: fn(&mut Value),
    /// Fills in what this version filled in otherwise than today's.
    fill: fn(&mut Value),
    /// Whether its fields are those of today.
    pub same_fields: bool,
}

fn nothing(_: &mut Value) {}

impl Old {
    /// `extensions/v1beta1`.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// `networking.k8s.io/v1`.
    pub fn api_version_now(&self) -> String {
        format!("{}/{}", self.now.0, self.now.1)
    }

    /// What a client that uses it is told.
    pub fn warning(&self) -> String {
        let (deprecated, gone) = self.since;
        let (kind, now) = (self.kind, self.api_version_now());
        format!(
            "{} {kind} is deprecated in v1.{deprecated}+, unavailable in v1.{gone}+; use {now} {kind}",
            self.api_version()
        )
    }

    /// Brings an object, or a part of one that is applied, to today's version, with the defaults of old.
    pub fn modernize(&self, object: &mut Value) {
        (self.fill)(object);
        (self.up)(object);
        object["apiVersion"] = self.api_version_now().into();
    }

    /// Brings an object of today's version to this one.
    pub fn age(&self, object: &mut Value) {
        (self.down)(object);
        object["apiVersion"] = self.api_version().into();
    }
}

const fn same(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    now: (&'static str, &'static str),
    since: (u32, u32),
) -> Old {
    Old {
        group,
        version,
        kind,
        plural,
        now,
        since,
        up: nothing,
        down: nothing,
        fill: nothing,
        same_fields: true,
    }
}

const APPS: (&str, &str) = ("apps", "v1");
const NETWORKING: (&str, &str) = ("networking.k8s.io", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");
const STORAGE: (&str, &str) = ("storage.k8s.io", "v1");
const FLOWCONTROL: (&str, &str) = ("flowcontrol.apiserver.k8s.io", "v1");
const AUTOSCALING: (&str, &str) = ("autoscaling", "v2");

const fn ingress(group: &'static str, since: (u32, u32)) -> Old {
    Old {
        up: ingress::up,
        down: ingress::down,
        fill: ingress::fill,
        same_fields: false,
        ..same(group, "v1beta1", "Ingress", "ingresses", NETWORKING, since)
    }
}

const fn workload(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    fill: fn(&mut Value),
) -> Old {
    Old {
        fill,
        ..same(group, version, kind, plural, APPS, (9, 16))
    }
}

const fn webhooks(kind: &'static str, plural: &'static str) -> Old {
    Old {
        fill: configuration::webhooks,
        ..same(
            "admissionregistration.k8s.io",
            "v1beta1",
            kind,
            plural,
            ("admissionregistration.k8s.io", "v1"),
            (16, 22),
        )
    }
}

/// All of them, the groups that are gone altogether last.
static ALL: &[Old] = &[
    workload("apps", "v1beta2", "Deployment", "deployments", nothing),
    workload("apps", "v1beta2", "StatefulSet", "statefulsets", nothing),
    workload("apps", "v1beta2", "DaemonSet", "daemonsets", nothing),
    workload("apps", "v1beta2", "ReplicaSet", "replicasets", nothing),
    workload(
        "apps",
        "v1beta2",
        "ControllerRevision",
        "controllerrevisions",
        nothing,
    ),
    workload(
        "apps",
        "v1beta1",
        "Deployment",
        "deployments",
        workload::apps_deployment,
    ),
    workload(
        "apps",
        "v1beta1",
        "StatefulSet",
        "statefulsets",
        workload::stateful_set,
    ),
    workload(
        "apps",
        "v1beta1",
        "ControllerRevision",
        "controllerrevisions",
        nothing,
    ),
    Old {
        up: autoscaler::up,
        down: autoscaler::down,
        same_fields: false,
        ..same(
            "autoscaling",
            "v2beta1",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            AUTOSCALING,
            (22, 25),
        )
    },
    same(
        "autoscaling",
        "v2beta2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        AUTOSCALING,
        (23, 26),
    ),
    same(
        "batch",
        "v1beta1",
        "CronJob",
        "cronjobs",
        ("batch", "v1"),
        (21, 25),
    ),
    ingress("networking.k8s.io", (19, 22)),
    same(
        "networking.k8s.io",
        "v1beta1",
        "IngressClass",
        "ingressclasses",
        NETWORKING,
        (19, 22),
    ),
    Old {
        up: workload::budget_up,
        down: workload::budget_down,
        ..same(
            "policy",
            "v1beta1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            ("policy", "v1"),
            (21, 25),
        )
    },
    same(
        "rbac.authorization.k8s.io",
        "v1beta1",
        "ClusterRole",
        "clusterroles",
        RBAC,
        (17, 22),
    ),
    same(
        "rbac.authorization.k8s.io",
        "v1beta1",
        "ClusterRoleBinding",
        "clusterrolebindings",
        RBAC,
        (17, 22),
    ),
    same(
        "rbac.authorization.k8s.io",
        "v1beta1",
        "Role",
        "roles",
        RBAC,
        (17, 22),
    ),
    same(
        "rbac.authorization.k8s.io",
        "v1beta1",
        "RoleBinding",
        "rolebindings",
        RBAC,
        (17, 22),
    ),
    same(
        "storage.k8s.io",
        "v1beta1",
        "StorageClass",
        "storageclasses",
        STORAGE,
        (19, 22),
    ),
    same(
        "storage.k8s.io",
        "v1beta1",
        "CSIDriver",
        "csidrivers",
        STORAGE,
        (19, 22),
    ),
    same(
        "storage.k8s.io",
        "v1beta1",
        "CSINode",
        "csinodes",
        STORAGE,
        (17, 22),
    ),
    same(
        "storage.k8s.io",
        "v1beta1",
        "VolumeAttachment",
        "volumeattachments",
        STORAGE,
        (19, 22),
    ),
    same(
        "scheduling.k8s.io",
        "v1beta1",
        "PriorityClass",
        "priorityclasses",
        ("scheduling.k8s.io", "v1"),
        (14, 22),
    ),
    same(
        "coordination.k8s.io",
        "v1beta1",
        "Lease",
        "leases",
        ("coordination.k8s.io", "v1"),
        (19, 22),
    ),
    same(
        "node.k8s.io",
        "v1beta1",
        "RuntimeClass",
        "runtimeclasses",
        ("node.k8s.io", "v1"),
        (22, 25),
    ),
    Old {
        up: definition::up,
        down: definition::down,
        same_fields: false,
        ..same(
            "apiextensions.k8s.io",
            "v1beta1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            ("apiextensions.k8s.io", "v1"),
            (16, 22),
        )
    },
    same(
        "storage.k8s.io",
        "v1beta1",
        "CSIStorageCapacity",
        "csistoragecapacities",
        STORAGE,
        (24, 27),
    ),
    same(
        "batch",
        "v2alpha1",
        "CronJob",
        "cronjobs",
        ("batch", "v1"),
        (8, 21),
    ),
    same(
        "events.k8s.io",
        "v1beta1",
        "Event",
        "events",
        ("events.k8s.io", "v1"),
        (19, 25),
    ),
    same(
        "apiregistration.k8s.io",
        "v1beta1",
        "APIService",
        "apiservices",
        ("apiregistration.k8s.io", "v1"),
        (19, 22),
    ),
    same(
        "flowcontrol.apiserver.k8s.io",
        "v1beta3",
        "FlowSchema",
        "flowschemas",
        FLOWCONTROL,
        (29, 32),
    ),
    same(
        "flowcontrol.apiserver.k8s.io",
        "v1beta3",
        "PriorityLevelConfiguration",
        "prioritylevelconfigurations",
        FLOWCONTROL,
        (29, 32),
    ),
    webhooks(
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    ),
    webhooks(
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    ),
    Old {
        fill: configuration::signing_request,
        ..same(
            "certificates.k8s.io",
            "v1beta1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
            ("certificates.k8s.io", "v1"),
            (19, 22),
        )
    },
    Old {
        up: slice::up,
        down: slice::down,
        same_fields: false,
        ..same(
            "discovery.k8s.io",
            "v1beta1",
            "EndpointSlice",
            "endpointslices",
            ("discovery.k8s.io", "v1"),
            (21, 25),
        )
    },
    ingress("extensions", (14, 22)),
    workload(
        "extensions",
        "v1beta1",
        "Deployment",
        "deployments",
        workload::extensions_deployment,
    ),
    workload(
        "extensions",
        "v1beta1",
        "DaemonSet",
        "daemonsets",
        workload::daemon_set,
    ),
    workload(
        "extensions",
        "v1beta1",
        "ReplicaSet",
        "replicasets",
        workload::selector,
    ),
    same(
        "extensions",
        "v1beta1",
        "NetworkPolicy",
        "networkpolicies",
        NETWORKING,
        (9, 16),
    ),
];

/// All versions of old.
pub fn all() -> impl Iterator<Item = &'static Old> {
    ALL.iter()
}

/// The kind of today that has the same fields as a kind of old.
pub(crate) fn same_fields(group: &str, version: &str, kind: &str) -> Option<&'static Old> {
    all().find(|o| o.same_fields && o.group == group && o.version == version && o.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Schemas, builtin};

    #[test]
    fn every_version_of_old_has_a_kind_of_today_and_fields() {
        let (registry, schemas) = (builtin::registry(), Schemas::default());
        for old in all() {
            let resource = registry.get(old.now.0, old.plural).unwrap();
            assert_eq!(resource.kind, old.kind);
            assert!(resource.versions.iter().any(|v| v == old.now.1), "{old:?}");
            assert!(
                schemas.by_kind(old.group, old.version, old.kind).is_some(),
                "{old:?}"
            );
        }
    }
}
