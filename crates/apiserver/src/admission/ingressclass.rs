//! DefaultIngressClass: an Ingress without a class gets the one that is marked as default.

use knarr_json::Value;

use knarr_store::Range;

use crate::chain::Call;

const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

pub fn admit(call: &Call, ingress: &mut Value) {
    let named = ingress["spec"]["ingressClassName"].is_string()
        || ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"].is_string();
    if named || !ingress["spec"].is_object() {
        return;
    }
    let range = Range {
        prefix: "/registry/ingressclasses/",
        ..Range::default()
    };
    let Ok(classes) = call.shared.store.list(range) else {
        return;
    };
    let mut defaults: Vec<(String, String)> = classes
        .items
        .iter()
        .filter_map(|stored| serde_json::from_slice::<Value>(&stored.json).ok())
        .filter(|class| class["metadata"]["annotations"][DEFAULT] == "true")
        .map(|class| {
            let text = |key: &str| {
                class["metadata"][key]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            (text("creationTimestamp"), text("name"))
        })
        .collect();
    // Of several the newest wins; of equally new ones the first by name.
    defaults.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    if let Some((_, name)) = defaults.into_iter().next() {
        ingress["spec"]["ingressClassName"] = name.into();
    }
}
