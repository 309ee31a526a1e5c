//! Which versions of old there are.

use knarr_json::Value;

use super::{Old, autoscaler, configuration, definition, ingress, level, review, slice, workload};

fn nothing(_: &mut Value) {}

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
const AUTHENTICATION: (&str, &str) = ("authentication.k8s.io", "v1");
const AUTHORIZATION: (&str, &str) = ("authorization.k8s.io", "v1");

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

const fn flow_schema(version: &'static str, since: (u32, u32)) -> Old {
    same(
        "flowcontrol.apiserver.k8s.io",
        version,
        "FlowSchema",
        "flowschemas",
        FLOWCONTROL,
        since,
    )
}

const fn priority_level(version: &'static str, since: (u32, u32)) -> Old {
    Old {
        up: level::up,
        down: level::down,
        fill: level::fill,
        same_fields: false,
        ..same(
            "flowcontrol.apiserver.k8s.io",
            version,
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            FLOWCONTROL,
            since,
        )
    }
}

const fn access_review(kind: &'static str, plural: &'static str) -> Old {
    same(
        "authorization.k8s.io",
        "v1beta1",
        kind,
        plural,
        AUTHORIZATION,
        (19, 22),
    )
}

/// A review of somebody else's access, whose groups had another name.
const fn review_of_other(kind: &'static str, plural: &'static str) -> Old {
    Old {
        up: review::up,
        down: review::down,
        same_fields: false,
        ..access_review(kind, plural)
    }
}

/// All of them, the groups that are gone altogether last.
pub static ALL: &[Old] = &[
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
    flow_schema("v1beta1", (23, 26)),
    flow_schema("v1beta2", (26, 29)),
    flow_schema("v1beta3", (29, 32)),
    priority_level("v1beta1", (23, 26)),
    priority_level("v1beta2", (26, 29)),
    Old {
        fill: level::fill_nominal,
        up: nothing,
        down: nothing,
        same_fields: true,
        ..priority_level("v1beta3", (29, 32))
    },
    same(
        "authentication.k8s.io",
        "v1beta1",
        "TokenReview",
        "tokenreviews",
        AUTHENTICATION,
        (19, 22),
    ),
    same(
        "authentication.k8s.io",
        "v1beta1",
        "SelfSubjectReview",
        "selfsubjectreviews",
        AUTHENTICATION,
        (30, 33),
    ),
    review_of_other("SubjectAccessReview", "subjectaccessreviews"),
    review_of_other("LocalSubjectAccessReview", "localsubjectaccessreviews"),
    access_review("SelfSubjectAccessReview", "selfsubjectaccessreviews"),
    access_review("SelfSubjectRulesReview", "selfsubjectrulesreviews"),
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
