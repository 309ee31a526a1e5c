//! The range of Service addresses, as an object that clients can read.

use serde_json::{Value, json};

use super::Client;

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
