//! Kinds of Services, of what is behind them and of what leads to them.

use knarr_json::json;

use super::{Kind, condition, dated};

pub fn kinds() -> Vec<Kind> {
    let net = "/apis/networking.k8s.io/v1";
    let service = json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/vip", "selector": {"a": "b"},
        "ports": [{"name": "http", "port": 80, "targetPort": 80}]}});
    let ingress = json!({"spec": {
        "ingressClassName": "walk",
        "defaultBackend": {"service": {"name": "default", "port": {"number": 80}}},
        "rules": [{"host": "foo.bar.com", "http": {"paths": [{"path": "/", "pathType": "ImplementationSpecific",
            "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}],
        "tls": [{"hosts": ["foo.bar.com"], "secretName": "t"}]}});
    let slice =
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4", "5.6.7.8"]}]});
    let policy = json!({"spec": {"podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress"]}});
    let address = json!({"spec": {"parentRef": {"group": "mygroup", "resource": "myresources", "namespace": "foo", "name": "bar"}}});
    vec![
        Kind::new("/api/v1", "Service", "services", service)
            .change(json!({"spec": {"sessionAffinity": "ClientIP"}}))
            .status(json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}, "conditions": [dated()]})),
        Kind::new(
            "/apis/discovery.k8s.io/v1",
            "EndpointSlice",
            "endpointslices",
            slice,
        )
        .change(json!({"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})),
        Kind::new(net, "Ingress", "ingresses", ingress)
            .change(json!({"spec": {"ingressClassName": "other"}}))
            .status(json!({"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}})),
        Kind::new(
            net,
            "IngressClass",
            "ingressclasses",
            json!({"spec": {"controller": "example.com/controller"}}),
        )
        .cluster(),
        Kind::new(net, "NetworkPolicy", "networkpolicies", policy)
            .change(json!({"spec": {"policyTypes": ["Ingress", "Egress"]}})),
        Kind::new(net, "IPAddress", "ipaddresses", address)
            .cluster()
            .names(["255.255.255.255", "fe80::42:1dff:fe84:f9e2", "203.0.113.7"]),
        Kind::new(net, "ServiceCIDR", "servicecidrs", json!(null))
            .cluster()
            .each(|name| {
                let range = match name {
                    "first" => "203.0.113.0/24",
                    "second" => "198.51.100.0/24",
                    _ => "192.0.2.0/24",
                };
                json!({"spec": {"cidrs": [range]}})
            })
            .status(json!({"conditions": [{"type": "Walk", "status": "True", "reason": "Walk", "message": "as told", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}))
            .metadata_apart(),
        Kind::new(
            "/apis/flowcontrol.apiserver.k8s.io/v1",
            "FlowSchema",
            "flowschemas",
            json!({"spec": {"matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "global-default"},
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [{"subjects": [{"kind": "User", "user": {"name": "nobody-at-all"}}],
                    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}}),
        )
        .cluster()
        .change(json!({"spec": {"matchingPrecedence": 9999}}))
        .conditions()
        .metadata_apart(),
        Kind::new(
            "/apis/flowcontrol.apiserver.k8s.io/v1",
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}}),
        )
        .cluster()
        .change(json!({"spec": {"limited": {"nominalConcurrencyShares": 4}}}))
        .status(json!({"conditions": [condition()]}))
        .metadata_apart(),
    ]
}
