//! Roles of controllers.

/// Each is bound to the service account of its name in `kube-system`.
pub(super) const CONTROLLERS: &[(&str, &[&str])] = &[
    (
        "clusterrole-aggregation-controller",
        &["escalate get list patch update watch; rbac.authorization.k8s.io; clusterroles"],
    ),
    (
        "cronjob-controller",
        &[
            "read update; batch; cronjobs",
            "read create update delete patch; batch; jobs",
            "update; batch; cronjobs/status cronjobs/finalizers",
            "list delete; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "daemon-set-controller",
        &[
            "read; apps; daemonsets",
            "update; apps; daemonsets/status daemonsets/finalizers",
            "list watch; core; nodes",
            "create delete list patch watch; core; pods",
            "create; core; pods/binding",
            "read create delete patch update; apps; controllerrevisions",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "deployment-controller",
        &[
            "read update; apps; deployments",
            "update; apps; deployments/status deployments/finalizers",
            "read create update patch delete; apps; replicasets",
            "read update; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "disruption-controller",
        &[
            "read; apps; deployments replicasets statefulsets",
            "read; core; replicationcontrollers pods",
            "read; policy; poddisruptionbudgets",
            "update; policy; poddisruptionbudgets/status",
            "patch update; core; pods/status",
            "get; *; */scale",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "endpoint-controller",
        &[
            "read; core; pods services",
            "read create update delete; core; endpoints",
            "create; core; endpoints/restricted",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "endpointslice-controller",
        &[
            "read; core; nodes pods services",
            "update; core; services/finalizers",
            "read create update delete; discovery.k8s.io; endpointslices",
            "create; discovery.k8s.io; endpointslices/restricted",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "endpointslicemirroring-controller",
        &[
            "read; core; endpoints services",
            "update; core; services/finalizers endpoints/finalizers",
            "read create update delete; discovery.k8s.io; endpointslices",
            "create; discovery.k8s.io; endpointslices/restricted",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "generic-garbage-collector",
        &[
            "read patch update delete; *; *",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "horizontal-pod-autoscaler",
        &[
            "read; autoscaling; horizontalpodautoscalers",
            "update; autoscaling; horizontalpodautoscalers/status",
            "get update; *; */scale",
            "list; core; pods",
            "get list; metrics.k8s.io; pods",
            "get list; custom.metrics.k8s.io external.metrics.k8s.io; *",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "job-controller",
        &[
            "read update patch; batch; jobs",
            "update; batch; jobs/status jobs/finalizers",
            "create delete list patch watch; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "namespace-controller",
        &[
            "read delete; core; namespaces",
            "update; core; namespaces/finalize namespaces/status",
            "read delete deletecollection; *; *",
        ],
    ),
    (
        "node-controller",
        &[
            "read update delete patch; core; nodes",
            "patch update; core; nodes/status",
            "patch update; core; pods/status",
            "list get delete; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "persistent-volume-binder",
        &[
            "read update create delete; core; persistentvolumes",
            "update; core; persistentvolumes/status persistentvolumeclaims/status",
            "read update; core; persistentvolumeclaims",
            "read; storage.k8s.io; storageclasses",
            "read; core; nodes",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "pod-garbage-collector",
        &[
            "list watch delete; core; pods",
            "get list; core; nodes",
            "patch; core; pods/status",
        ],
    ),
    (
        "pv-protection-controller",
        &[
            "read update; core; persistentvolumes",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "pvc-protection-controller",
        &[
            "read update; core; persistentvolumeclaims",
            "read; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "replicaset-controller",
        &[
            "read update; apps; replicasets",
            "update; apps; replicasets/status replicasets/finalizers",
            "create delete list patch watch; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "replication-controller",
        &[
            "read update; core; replicationcontrollers",
            "update; core; replicationcontrollers/status replicationcontrollers/finalizers",
            "create delete list patch watch; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "resourcequota-controller",
        &[
            "list watch; *; *",
            "update; core; resourcequotas/status",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "root-ca-cert-publisher",
        &[
            "create update; core; configmaps",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "service-account-controller",
        &[
            "create; core; serviceaccounts",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "service-controller",
        &[
            "read; core; services",
            "patch update; core; services/status",
            "list watch; core; nodes",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "statefulset-controller",
        &[
            "list watch; core; pods",
            "read; apps; statefulsets",
            "update; apps; statefulsets/status statefulsets/finalizers",
            "get create delete update patch; core; pods",
            "get create delete update patch list watch; apps; controllerrevisions",
            "get create list watch update delete; core; persistentvolumeclaims",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "ttl-after-finished-controller",
        &[
            "read delete; batch; jobs",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "ttl-controller",
        &[
            "update patch list watch; core; nodes",
            "create patch update; core events.k8s.io; events",
        ],
    ),
];
