//! Cluster IPs as IPAddress objects: whoever creates the object has the address, whichever server he asked.

use std::{net::IpAddr, sync::Arc};

use http::{Method, StatusCode};
use knarr_json::{Value, json};

use super::addresses::Held;
use crate::{poststart::Client, server::Shared};

/// Where the objects are stored.
pub const PREFIX: &str = "/registry/ipaddresses/";
/// Who made those of Services.
pub const MANAGER: &str = "ipallocator.k8s.io";
pub const COLLECTION: &str = "/apis/networking.k8s.io/v1/ipaddresses";

/// The object that says that a Service has this address.
pub fn object(ip: IpAddr, namespace: &str, name: &str) -> Value {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": ip.to_string(),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": MANAGER,
            },
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    })
}

/// Addresses that a stored Service holds.
pub fn held_by(service: &Value) -> Vec<IpAddr> {
    let held = Held::of(service);
    let mut ips: Vec<IpAddr> = held.iter().filter_map(Held::address).collect();
    ips.sort_unstable();
    ips
}

/// Makes the object of an address; false when there is one already.
///
/// # Errors
/// Why it could not be written.
pub async fn claim(
    shared: &Arc<Shared>,
    ip: IpAddr,
    namespace: &str,
    name: &str,
) -> Result<bool, String> {
    let client = Client::new(shared.clone());
    let object = object(ip, namespace, name);
    let (code, answer) = client.request(Method::POST, COLLECTION, &object).await?;
    match code {
        code if code.is_success() => Ok(true),
        StatusCode::CONFLICT => Ok(false),
        _ => Err(answer),
    }
}

/// Deletes the objects of addresses that no Service has any more.
pub async fn release(shared: &Arc<Shared>, ips: &[IpAddr]) {
    let client = Client::new(shared.clone());
    for ip in ips {
        let path = format!("{COLLECTION}/{ip}");
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Err(error) = client.request(Method::DELETE, &path, &options).await {
            tracing::warn!(%ip, %error, "address of a Service is not given back");
        }
    }
}
