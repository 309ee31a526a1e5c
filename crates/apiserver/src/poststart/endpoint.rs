//! The `kubernetes` Service in `default`, and its endpoint: where pods find this server.

use std::net::SocketAddr;

use http::Method;
use knarr_json::{Value, json};

use super::Client;

/// Writes the Service when it is missing, and this server as its endpoint.
pub async fn publish(client: &Client) -> Result<(), String> {
    let shared = &client.shared;
    let Some(cidr) = shared.service_cidrs.first() else {
        return Ok(());
    };
    let Some(first) = cidr.hosts().next() else {
        return Ok(());
    };
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": first, "ipFamilyPolicy": "SingleStack",
            "type": "ClusterIP", "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": shared.advertise.map_or(6443, |a| a.port())}],
        },
    });
    client
        .ensure(
            "/api/v1/namespaces/default/services",
            "/registry/services/specs/default/",
            service,
        )
        .await?;
    match shared.advertise {
        Some(address) => endpoints(client, address).await,
        None => Ok(()),
    }
}

async fn endpoints(client: &Client, address: SocketAddr) -> Result<(), String> {
    let (ip, port) = (address.ip().to_string(), address.port());
    let labels = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "subsets": [{"addresses": [{"ip": ip}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    });
    put(
        client,
        "/api/v1/namespaces/default/endpoints",
        "/registry/services/endpoints/default/",
        endpoints,
        "subsets",
    )
    .await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    put(
        client,
        path,
        "/registry/endpointslices/default/",
        slice,
        "endpoints",
    )
    .await
}

/// Creates the object, or replaces it when `part` of it or its ports are not as they should be.
async fn put(
    client: &Client,
    collection: &str,
    prefix: &str,
    object: Value,
    part: &str,
) -> Result<(), String> {
    match client.stored(prefix, &object) {
        None => client.ensure(collection, prefix, object).await,
        Some(old) if old[part] == object[part] && old["ports"] == object["ports"] => Ok(()),
        Some(_) => {
            client
                .send(Method::PUT, &format!("{collection}/kubernetes"), &object)
                .await
        }
    }
}
