//! Roles of users, nodes and components.

use super::{Role, role};

pub(super) const ROLES: &[Role] = &[
    role("cluster-admin", &["*; *; *", "*; /*all"]),
    role(
        "system:discovery",
        &[
            "get; /livez /readyz /healthz /version /version/ /openapi /openapi/* /api /api/* /apis /apis/*",
        ],
    ),
    role(
        "system:public-info-viewer",
        &["get; /livez /readyz /healthz /version /version/"],
    ),
    role(
        "system:monitoring",
        &[
            "get; /metrics /metrics/slis /livez /readyz /healthz /livez/* /readyz/* /healthz/*",
            "get; /flagz",
            "get; /statusz",
        ],
    ),
    role(
        "system:service-account-issuer-discovery",
        &[
            "get; /.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        ],
    ),
    role(
        "system:basic-user",
        &[
            "create; authorization.k8s.io; selfsubjectaccessreviews selfsubjectrulesreviews",
            "create; authentication.k8s.io; selfsubjectreviews",
        ],
    ),
    role(
        "system:auth-delegator",
        &[
            "create; authentication.k8s.io; tokenreviews",
            "create; authorization.k8s.io; subjectaccessreviews",
        ],
    ),
    Role {
        name: "system:aggregate-to-admin",
        into: "admin",
        rules: &[
            "create; authorization.k8s.io; localsubjectaccessreviews",
            "read write; rbac.authorization.k8s.io; roles rolebindings",
        ],
    },
    Role {
        name: "system:aggregate-to-edit",
        into: "edit",
        rules: &[
            "read; core; pods/attach pods/proxy pods/exec pods/portforward secrets services/proxy",
            "impersonate; core; serviceaccounts",
            "write; core; pods pods/attach pods/exec pods/portforward pods/proxy",
            "create; core; pods/eviction",
            "write; core; configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy",
            "create; core; serviceaccounts/token",
            "write; apps; daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale",
            "write; autoscaling; horizontalpodautoscalers",
            "write; batch; cronjobs jobs",
            "write; policy; poddisruptionbudgets",
            "write; networking.k8s.io; ingresses networkpolicies",
            "read write; coordination.k8s.io; leases",
            "write; resource.k8s.io; resourceclaims resourceclaimtemplates",
        ],
    },
    Role {
        name: "system:aggregate-to-view",
        into: "view",
        rules: &[
            "read; core; configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status",
            "read; core; bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status",
            "read; core; namespaces",
            "read; discovery.k8s.io; endpointslices",
            "read; apps; controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
            "read; autoscaling; horizontalpodautoscalers horizontalpodautoscalers/status",
            "read; batch; cronjobs cronjobs/status jobs jobs/status",
            "read; policy; poddisruptionbudgets poddisruptionbudgets/status",
            "read; networking.k8s.io; ingresses ingresses/status networkpolicies",
            "read; resource.k8s.io; resourceclaims resourceclaims/status resourceclaimtemplates",
        ],
    },
    role(
        "system:node",
        &[
            "create; authentication.k8s.io; tokenreviews",
            "create; authorization.k8s.io; subjectaccessreviews localsubjectaccessreviews",
            "read; core; services",
            "create read; core; nodes",
            "update patch; core; nodes nodes/status",
            "create update patch; core events.k8s.io; events",
            "read; core; pods",
            "create delete; core; pods",
            "update patch; core; pods/status",
            "create; core; pods/eviction",
            "read; core; secrets configmaps",
            "get; core; persistentvolumeclaims persistentvolumes endpoints",
            "create read; certificates.k8s.io; certificatesigningrequests",
            "read; certificates.k8s.io; clustertrustbundles",
            "get create update patch delete; coordination.k8s.io; leases",
            "get; storage.k8s.io; volumeattachments",
            "create; core; serviceaccounts/token",
            "get update patch; core; persistentvolumeclaims/status",
            "read; storage.k8s.io; csidrivers",
            "get create update patch delete; storage.k8s.io; csinodes",
            "read; node.k8s.io; runtimeclasses",
            "get; resource.k8s.io; resourceclaims",
            "read write; resource.k8s.io; resourceslices",
        ],
    ),
    role(
        "system:node-proxier",
        &[
            "list watch; core; services endpoints",
            "read; core; nodes",
            "create update patch; core events.k8s.io; events",
            "list watch; discovery.k8s.io; endpointslices",
            "list watch; networking.k8s.io; servicecidrs",
        ],
    ),
    role(
        "system:node-bootstrapper",
        &["create read; certificates.k8s.io; certificatesigningrequests"],
    ),
    role(
        "system:node-problem-detector",
        &[
            "get; core; nodes",
            "patch; core; nodes/status",
            "create update patch; core events.k8s.io; events",
        ],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            "read; core; nodes",
            "proxy; core; nodes",
            "*; core; nodes/log nodes/metrics nodes/proxy nodes/stats nodes/configz nodes/healthz nodes/pods",
        ],
    ),
    role(
        "system:kube-scheduler",
        &[
            "create patch update; core events.k8s.io; events",
            "create get update list watch; coordination.k8s.io; leases",
            "read; core; nodes",
            "read delete; core; pods",
            "create; core; bindings pods/binding",
            "patch update; core; pods/status",
            "read; core; replicationcontrollers services persistentvolumeclaims persistentvolumes namespaces",
            "read; apps; replicasets statefulsets",
            "read; policy; poddisruptionbudgets",
            "read; storage.k8s.io; csinodes csidrivers csistoragecapacities storageclasses volumeattachments",
            "create; authentication.k8s.io; tokenreviews",
            "create; authorization.k8s.io; subjectaccessreviews",
            "read patch update; resource.k8s.io; resourceclaims resourceclaims/status deviceclasses resourceslices",
            "patch update; resource.k8s.io; resourceclaims/binding",
        ],
    ),
    role(
        "system:volume-scheduler",
        &[
            "read patch update; core; persistentvolumes",
            "read; storage.k8s.io; storageclasses",
            "read patch update; core; persistentvolumeclaims",
        ],
    ),
    role(
        "system:kube-controller-manager",
        &[
            "create patch update; core events.k8s.io; events",
            "create get update list watch; coordination.k8s.io; leases",
            "create; core; secrets serviceaccounts serviceaccounts/token",
            "delete; core; secrets",
            "get; core; configmaps namespaces secrets serviceaccounts",
            "update; core; secrets serviceaccounts",
            "create; authentication.k8s.io; tokenreviews",
            "create; authorization.k8s.io; subjectaccessreviews",
            "list watch; *; *",
        ],
    ),
    role(
        "system:kube-dns",
        &[
            "list watch; core; endpoints services",
            "list watch; discovery.k8s.io; endpointslices",
            "list watch; core; pods namespaces",
        ],
    ),
    role(
        "system:kube-aggregator",
        &[
            "read; core; services endpoints",
            "read; discovery.k8s.io; endpointslices",
        ],
    ),
    role(
        "system:persistent-volume-provisioner",
        &[
            "read create delete; core; persistentvolumes",
            "read update; core; persistentvolumeclaims",
            "read; storage.k8s.io; storageclasses",
            "watch; core; events",
            "create update patch; core events.k8s.io; events",
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &["create; certificates.k8s.io; certificatesigningrequests/nodeclient"],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &["create; certificates.k8s.io; certificatesigningrequests/selfnodeclient"],
    ),
];
