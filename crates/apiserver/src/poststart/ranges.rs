//! The range of Service addresses and the addresses that are taken, as objects.

use knarr_json::{Value, json};
use knarr_store::Range;

use super::Client;
use crate::admission::ipaddress;

/// Writes the ServiceCIDR that the server was started with.
///
/// # Errors
/// Why it could not be written.
pub async fn publish(client: &Client) -> Result<(), String> {
    const PREFIX: &str = "/registry/servicecidrs/";
    const PATH: &str = "/apis/networking.k8s.io/v1/servicecidrs";
    let cidrs: Vec<String> = client
        .shared
        .service_cidrs
        .iter()
        .map(ToString::to_string)
        .collect();
    if cidrs.is_empty() {
        return Ok(());
    }
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs},
    });
    client.ensure(PATH, PREFIX, object.clone()).await?;
    let Some(mut stored) = client.stored(PREFIX, &object) else {
        return Ok(());
    };
    if stored["status"]["conditions"].is_array() {
        return Ok(());
    }
    stored["status"] = json!({"conditions": [{
        "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready",
        "lastTransitionTime": crate::rest::meta::now(),
    }]});
    status(client, &stored).await
}

async fn status(client: &Client, object: &Value) -> Result<(), String> {
    let path = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes/status";
    client.send(http::Method::PUT, path, object).await
}

/// Makes the IPAddress objects that stored Services lack.
///
/// # Errors
/// The first one that could not be written, and why.
pub async fn addresses(client: &Client) -> Result<(), String> {
    let listing = client.shared.store.list(Range {
        prefix: "/registry/services/specs/",
        ..Range::default()
    });
    for stored in listing.map(|l| l.items).unwrap_or_default() {
        let service: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
        let text = |key: &str| service["metadata"][key].as_str().unwrap_or_default();
        for ip in ipaddress::held_by(&service) {
            let object = ipaddress::object(ip, text("namespace"), text("name"));
            client
                .ensure(ipaddress::COLLECTION, ipaddress::PREFIX, object)
                .await?;
        }
    }
    Ok(())
}
