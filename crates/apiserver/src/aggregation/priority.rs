//! Which groups and versions come first: the order in which clients look for a resource that several groups have.

/// Groups of custom resources come behind all that is built in.
pub const CUSTOM: (i64, i64) = (1000, 100);

/// Priority of a group, and of a version within it, as the APIServices of what is built in have them.
pub fn of(group: &str, version: &str) -> Option<(i32, i32)> {
    let of_group = match group {
        "" => return Some((18000, 1)),
        "apps" => 17800,
        "events.k8s.io" => 17750,
        "authentication.k8s.io" => 17700,
        "authorization.k8s.io" => 17600,
        "autoscaling" => 17500,
        "batch" => 17400,
        "certificates.k8s.io" => 17300,
        "networking.k8s.io" => 17200,
        "policy" => 17100,
        "rbac.authorization.k8s.io" => 17000,
        "storage.k8s.io" => 16800,
        "apiextensions.k8s.io" | "admissionregistration.k8s.io" => 16700,
        "scheduling.k8s.io" => 16600,
        "coordination.k8s.io" => 16500,
        "node.k8s.io" => 16300,
        "discovery.k8s.io" | "resource.k8s.io" => 16200,
        "flowcontrol.apiserver.k8s.io" => 16100,
        "internal.apiserver.k8s.io" => 16000,
        "storagemigration.k8s.io" => 15800,
        _ => return None,
    };
    let of_version = match (group, version) {
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io", "v1") => 21,
        ("resource.k8s.io", "v1") => 20,
        ("admissionregistration.k8s.io" | "discovery.k8s.io", "v1beta1") => 12,
        ("events.k8s.io", "v1beta1") => 5,
        ("autoscaling", "v2beta2") => 1,
        ("coordination.k8s.io", "v1beta1") => 13,
        ("coordination.k8s.io", "v1alpha2") => 12,
        (_, "v1") | ("resource.k8s.io", "v1beta2") => 15,
        (_, v) if v.contains("beta") => 9,
        ("admissionregistration.k8s.io" | "internal.apiserver.k8s.io", _) => 9,
        _ => 1,
    };
    Some((of_group, of_version))
}
