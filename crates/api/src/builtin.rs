//! The built-in resources: what discovery lists, and which strategy stands behind each.

use std::sync::Arc;

use crate::{
    registry::{Registry, Resource, Subresource},
    strategy::{self, Binding, BindingScope, Plain, Role, RoleScope, Strategy},
};

/// Verbs of an ordinary resource, in the order that discovery lists them.
const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
/// Namespaces are deleted one by one.
const NO_COLLECTION: &[&str] = &[
    "create", "delete", "get", "list", "patch", "update", "watch",
];
const READ: &[&str] = &["get", "list"];
const CREATE: &[&str] = &["create"];
const STATUS: &[&str] = &["get", "patch", "update"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

/// A resource in the making.
struct Entry(Resource);

fn kind(group: &str, version: &str, kind: &str, plural: &str) -> Entry {
    Entry(Resource {
        group: group.to_owned(),
        versions: vec![version.to_owned()],
        storage: 0,
        stored_at: None,
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: true,
        verbs: ALL.to_vec(),
        subresources: Vec::new(),
        strategy: Arc::new(Plain::NAMESPACED),
        custom: None,
    })
}

impl Entry {
    fn cluster(mut self) -> Self {
        self.0.namespaced = false;
        self.0.strategy = Arc::new(Plain::CLUSTER);
        self
    }

    fn short(mut self, names: &[&str]) -> Self {
        self.0.short_names = names.iter().map(|n| (*n).to_owned()).collect();
        self
    }

    /// Another version that is served, less preferred than those before.
    fn older(mut self, version: &str) -> Self {
        self.0.versions.push(version.to_owned());
        self
    }

    /// In the category `all`.
    fn all(self) -> Self {
        self.category("all")
    }

    fn category(mut self, name: &str) -> Self {
        self.0.categories.push(name.to_owned());
        self
    }

    fn verbs(mut self, verbs: &[&'static str]) -> Self {
        self.0.verbs = verbs.to_vec();
        self
    }

    fn by(mut self, strategy: impl Strategy + 'static) -> Self {
        self.0.strategy = Arc::new(strategy);
        self
    }

    /// A subresource of the resource's own kind.
    fn sub(self, name: &'static str, verbs: &[&'static str]) -> Self {
        let kind = self.0.kind.clone();
        self.sub_kind(name, &kind, None, verbs)
    }

    fn sub_kind(
        mut self,
        name: &'static str,
        kind: &str,
        group_version: Option<(&'static str, &'static str)>,
        verbs: &[&'static str],
    ) -> Self {
        let verbs = verbs.to_vec();
        self.0.subresources.push(Subresource {
            name,
            kind: kind.to_owned(),
            group_version,
            verbs,
            versions: Vec::new(),
        });
        self
    }

    fn status(self) -> Self {
        self.sub("status", STATUS)
    }

    fn scale(self) -> Self {
        self.sub_kind("scale", "Scale", Some(("autoscaling", "v1")), STATUS)
    }
}

/// All built-in resources.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    let groups = [
        core(),
        apps(),
        batch(),
        networking(),
        rbac(),
        policy(),
        storage(),
        reviews(),
        extension(),
        devices(),
    ];
    for entry in groups.into_iter().flatten() {
        registry.add(entry.0);
    }
    registry
}

fn core() -> Vec<Entry> {
    let v1 = |k: &str, plural: &str| kind("", "v1", k, plural);
    vec![
        v1("Binding", "bindings").verbs(CREATE),
        v1("ComponentStatus", "componentstatuses")
            .cluster()
            .short(&["cs"])
            .verbs(READ)
            .by(strategy::ComponentStatus),
        v1("ConfigMap", "configmaps")
            .short(&["cm"])
            .by(strategy::ConfigMap),
        v1("Endpoints", "endpoints")
            .short(&["ep"])
            .by(strategy::Endpoints),
        v1("Event", "events")
            .short(&["ev"])
            .by(strategy::Event(false)),
        v1("LimitRange", "limitranges")
            .short(&["limits"])
            .by(strategy::LimitRange),
        v1("Namespace", "namespaces")
            .cluster()
            .short(&["ns"])
            .verbs(NO_COLLECTION)
            .by(strategy::Namespace)
            .sub("finalize", &["update"])
            .status(),
        v1("Node", "nodes")
            .cluster()
            .short(&["no"])
            .by(strategy::Node)
            .sub_kind("proxy", "NodeProxyOptions", None, PROXY)
            .status(),
        v1("PersistentVolumeClaim", "persistentvolumeclaims")
            .short(&["pvc"])
            .by(strategy::PersistentVolumeClaim)
            .status(),
        v1("PersistentVolume", "persistentvolumes")
            .cluster()
            .short(&["pv"])
            .by(strategy::PersistentVolume)
            .status(),
        pods(),
        v1("PodTemplate", "podtemplates").by(strategy::PodTemplate),
        v1("ReplicationController", "replicationcontrollers")
            .short(&["rc"])
            .all()
            .by(strategy::ReplicationController)
            .scale()
            .status(),
        v1("ResourceQuota", "resourcequotas")
            .short(&["quota"])
            .by(strategy::ResourceQuota)
            .status(),
        v1("Secret", "secrets").by(strategy::Secret),
        v1("ServiceAccount", "serviceaccounts")
            .short(&["sa"])
            .by(strategy::ServiceAccount)
            .sub_kind(
                "token",
                "TokenRequest",
                Some(("authentication.k8s.io", "v1")),
                CREATE,
            ),
        v1("Service", "services")
            .short(&["svc"])
            .all()
            .by(strategy::Service)
            .sub_kind("proxy", "ServiceProxyOptions", None, PROXY)
            .status(),
    ]
}

fn pods() -> Entry {
    kind("", "v1", "Pod", "pods")
        .short(&["po"])
        .all()
        .by(strategy::Pod)
        .sub_kind("attach", "PodAttachOptions", None, &["create", "get"])
        .sub_kind("binding", "Binding", None, CREATE)
        .sub("ephemeralcontainers", STATUS)
        .sub_kind("eviction", "Eviction", Some(("policy", "v1")), CREATE)
        .sub_kind("exec", "PodExecOptions", None, &["create", "get"])
        .sub("log", &["get"])
        .sub_kind(
            "portforward",
            "PodPortForwardOptions",
            None,
            &["create", "get"],
        )
        .sub_kind("proxy", "PodProxyOptions", None, PROXY)
        .sub("resize", STATUS)
        .status()
}

fn apps() -> Vec<Entry> {
    let v1 = |k: &str, plural: &str| kind("apps", "v1", k, plural);
    vec![
        v1("ControllerRevision", "controllerrevisions").by(strategy::ControllerRevision),
        v1("DaemonSet", "daemonsets")
            .short(&["ds"])
            .all()
            .by(strategy::DaemonSet)
            .status(),
        v1("Deployment", "deployments")
            .short(&["deploy"])
            .all()
            .by(strategy::Deployment)
            .scale()
            .status(),
        v1("ReplicaSet", "replicasets")
            .short(&["rs"])
            .all()
            .by(strategy::ReplicaSet)
            .scale()
            .status(),
        v1("StatefulSet", "statefulsets")
            .short(&["sts"])
            .all()
            .by(strategy::StatefulSet)
            .scale()
            .status(),
    ]
}

fn batch() -> Vec<Entry> {
    let autoscalers = kind(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    )
    .older("v1")
    .short(&["hpa"])
    .all()
    .by(strategy::HorizontalPodAutoscaler)
    .status();
    vec![
        autoscalers,
        kind("batch", "v1", "CronJob", "cronjobs")
            .short(&["cj"])
            .all()
            .by(strategy::CronJob)
            .status(),
        kind("batch", "v1", "Job", "jobs")
            .all()
            .by(strategy::Job)
            .status(),
    ]
}

fn networking() -> Vec<Entry> {
    let v1 = |k: &str, plural: &str| kind("networking.k8s.io", "v1", k, plural);
    vec![
        kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
            .by(strategy::EndpointSlice),
        v1("IngressClass", "ingressclasses")
            .cluster()
            .by(strategy::IngressClass),
        v1("Ingress", "ingresses")
            .short(&["ing"])
            .by(strategy::Ingress)
            .status(),
        v1("IPAddress", "ipaddresses")
            .cluster()
            .short(&["ip"])
            .by(strategy::IpAddress),
        v1("NetworkPolicy", "networkpolicies")
            .short(&["netpol"])
            .by(strategy::NetworkPolicy),
        v1("ServiceCIDR", "servicecidrs")
            .cluster()
            .by(strategy::ServiceCidr)
            .status(),
    ]
}

fn rbac() -> Vec<Entry> {
    let v1 = |k: &str, plural: &str| kind("rbac.authorization.k8s.io", "v1", k, plural);
    vec![
        v1("ClusterRoleBinding", "clusterrolebindings")
            .cluster()
            .by(Binding(BindingScope::ClusterRoleBinding)),
        v1("ClusterRole", "clusterroles")
            .cluster()
            .by(Role(RoleScope::ClusterRole)),
        v1("RoleBinding", "rolebindings").by(Binding(BindingScope::RoleBinding)),
        v1("Role", "roles").by(Role(RoleScope::Role)),
    ]
}

fn policy() -> Vec<Entry> {
    let flow =
        |k: &str, plural: &str| kind("flowcontrol.apiserver.k8s.io", "v1", k, plural).cluster();
    vec![
        kind(
            "policy",
            "v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
        )
        .short(&["pdb"])
        .by(strategy::PodDisruptionBudget)
        .status(),
        kind(
            "scheduling.k8s.io",
            "v1",
            "PriorityClass",
            "priorityclasses",
        )
        .cluster()
        .short(&["pc"])
        .by(strategy::PriorityClass),
        kind("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")
            .cluster()
            .by(strategy::RuntimeClass),
        kind("coordination.k8s.io", "v1", "Lease", "leases").by(strategy::Lease),
        flow("FlowSchema", "flowschemas")
            .by(strategy::FlowSchema)
            .status(),
        flow("PriorityLevelConfiguration", "prioritylevelconfigurations")
            .by(strategy::PriorityLevelConfiguration)
            .status(),
    ]
}

fn storage() -> Vec<Entry> {
    let v1 = |k: &str, plural: &str| kind("storage.k8s.io", "v1", k, plural);
    vec![
        v1("CSIDriver", "csidrivers")
            .cluster()
            .by(strategy::CsiDriver),
        v1("CSINode", "csinodes").cluster().by(strategy::CsiNode),
        v1("CSIStorageCapacity", "csistoragecapacities").by(strategy::CsiStorageCapacity),
        v1("StorageClass", "storageclasses")
            .cluster()
            .short(&["sc"])
            .by(strategy::StorageClass),
        v1("VolumeAttachment", "volumeattachments")
            .cluster()
            .by(strategy::VolumeAttachment)
            .status(),
        v1("VolumeAttributesClass", "volumeattributesclasses")
            .cluster()
            .short(&["vac"])
            .by(strategy::VolumeAttributesClass),
    ]
}

/// Requests that look like objects and are never stored.
fn reviews() -> Vec<Entry> {
    let authorization =
        |k: &str, plural: &str| kind("authorization.k8s.io", "v1", k, plural).verbs(CREATE);
    vec![
        kind(
            "authentication.k8s.io",
            "v1",
            "SelfSubjectReview",
            "selfsubjectreviews",
        )
        .cluster()
        .verbs(CREATE),
        kind("authentication.k8s.io", "v1", "TokenReview", "tokenreviews")
            .cluster()
            .verbs(CREATE),
        authorization("LocalSubjectAccessReview", "localsubjectaccessreviews"),
        authorization("SelfSubjectAccessReview", "selfsubjectaccessreviews").cluster(),
        authorization("SelfSubjectRulesReview", "selfsubjectrulesreviews").cluster(),
        authorization("SubjectAccessReview", "subjectaccessreviews").cluster(),
    ]
}

fn extension() -> Vec<Entry> {
    let admission = |k: &str, plural: &str| {
        kind("admissionregistration.k8s.io", "v1", k, plural)
            .cluster()
            .category("api-extensions")
    };
    vec![
        kind("events.k8s.io", "v1", "Event", "events")
            .short(&["ev"])
            .by(strategy::Event(true)),
        kind(
            "certificates.k8s.io",
            "v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
        )
        .cluster()
        .short(&["csr"])
        .by(strategy::CertificateSigningRequest)
        .sub("approval", STATUS)
        .status(),
        kind(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
        )
        .cluster()
        .short(&["crd", "crds"])
        .category("api-extensions")
        .by(strategy::CustomResourceDefinition)
        .status(),
        kind("apiregistration.k8s.io", "v1", "APIService", "apiservices")
            .cluster()
            .category("api-extensions")
            .by(strategy::ApiService)
            .status(),
        admission("MutatingAdmissionPolicy", "mutatingadmissionpolicies")
            .by(strategy::MutatingAdmissionPolicy),
        admission(
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
        )
        .by(strategy::PolicyBinding(true)),
        admission(
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
        )
        .by(strategy::WebhookConfiguration(true)),
        admission("ValidatingAdmissionPolicy", "validatingadmissionpolicies")
            .by(strategy::ValidatingAdmissionPolicy)
            .status(),
        admission(
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
        )
        .by(strategy::PolicyBinding(false)),
        admission(
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
        )
        .by(strategy::WebhookConfiguration(false)),
    ]
}

fn devices() -> Vec<Entry> {
    let v1 = |k: &str, plural: &str| kind("resource.k8s.io", "v1", k, plural);
    vec![
        v1("DeviceClass", "deviceclasses")
            .cluster()
            .by(strategy::DeviceClass),
        v1("ResourceClaim", "resourceclaims")
            .by(strategy::ResourceClaim)
            .status(),
        v1("ResourceClaimTemplate", "resourceclaimtemplates").by(strategy::ResourceClaimTemplate),
        v1("ResourceSlice", "resourceslices")
            .cluster()
            .by(strategy::ResourceSlice),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_found_by_name_and_kind() {
        let registry = registry();
        let pods = registry.get("", "pods").unwrap();
        assert_eq!(
            (
                pods.kind.as_str(),
                pods.short_names[0].as_str(),
                pods.key("n", "p").as_str()
            ),
            ("Pod", "po", "/registry/pods/n/p")
        );
        assert!(
            pods.subresource("eviction")
                .unwrap()
                .group_version
                .is_some()
        );
        assert_eq!(
            registry.by_kind("apps", "Deployment").unwrap().plural,
            "deployments"
        );
        assert!(!registry.get("", "nodes").unwrap().namespaced);
        assert!(registry.iter().count() > 50);
    }
}
