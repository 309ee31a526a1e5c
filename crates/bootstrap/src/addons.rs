//! The objects every cluster starts with beyond those the API server makes itself: the DNS Service and the ingress class.

use std::net::IpAddr;

use serde_json::{Value, json};

/// Name of the built-in ingress class and of its controller.
pub const INGRESS_CLASS: &str = "knarr";
pub const INGRESS_CONTROLLER: &str = "knarr.io/ingress";

/// The address of the cluster's DNS Service: the tenth of the service range.
pub fn dns_address(range: ipnet::IpNet) -> IpAddr {
    nth_address(range, 10)
}

/// The address of the `kubernetes` Service: the first of the service range.
pub fn api_address(range: ipnet::IpNet) -> IpAddr {
    nth_address(range, 1)
}

fn nth_address(range: ipnet::IpNet, n: u32) -> IpAddr {
    match range.network() {
        IpAddr::V4(base) => IpAddr::from((u32::from(base).wrapping_add(n)).to_be_bytes()),
        IpAddr::V6(base) => {
            IpAddr::from((u128::from(base).wrapping_add(u128::from(n))).to_be_bytes())
        }
    }
}

/// Manifests to create at start where they do not exist; what a user changed in them stays.
pub fn manifests(service_range: ipnet::IpNet) -> Vec<Value> {
    let dns = dns_address(service_range).to_string();
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kube-dns",
                "namespace": "kube-system",
                "labels": {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
            },
            "spec": {
                "clusterIP": dns,
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                ],
            },
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {
                "name": INGRESS_CLASS,
                "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"},
            },
            "spec": {"controller": INGRESS_CONTROLLER},
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_is_at_the_tenth_address() {
        assert_eq!(
            dns_address("10.96.0.0/12".parse().unwrap()).to_string(),
            "10.96.0.10"
        );
        assert_eq!(
            dns_address("fd00:10:96::/112".parse().unwrap()).to_string(),
            "fd00:10:96::a"
        );
        assert_eq!(
            api_address("10.96.0.0/12".parse().unwrap()).to_string(),
            "10.96.0.1"
        );
    }
}
