//! EndpointSlices of `v1beta1`: where an endpoint is was told by a map, `topology`.

use knarr_json::{Map, Value};

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

pub fn up(object: &mut Value) {
    each(object, |endpoint| {
        let Some(Value::Object(mut topology)) = endpoint.remove("topology") else {
            return;
        };
        if let Some(zone) = topology.remove(ZONE) {
            endpoint.entry("zone").or_insert(zone);
        }
        // Only where it says the same as the node's name it says nothing.
        if topology.contains_key(HOST) && topology.get(HOST) == endpoint.get("nodeName") {
            topology.remove(HOST);
        }
        if !topology.is_empty() {
            endpoint.insert("deprecatedTopology", topology.into());
        }
    });
}

pub fn down(object: &mut Value) {
    each(object, |endpoint| {
        let mut topology = match endpoint.remove("deprecatedTopology") {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        if let Some(zone) = endpoint.remove("zone").filter(Value::is_string) {
            topology.insert(ZONE, zone);
        }
        let told = topology.get(HOST).is_some_and(|n| n != "");
        if let Some(node) = endpoint.get("nodeName").filter(|n| n.is_string() && !told) {
            topology.insert(HOST, node.clone());
        }
        if !topology.is_empty() {
            endpoint.insert("topology", topology.into());
        }
    });
}

fn each(object: &mut Value, work: impl FnMut(&mut Map)) {
    let endpoints = object.get_mut("endpoints").and_then(Value::as_array_mut);
    let endpoints = endpoints.into_iter().flatten();
    endpoints.filter_map(Value::as_object_mut).for_each(work);
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn places_are_told_by_topology() {
        for (old, now) in [
            (
                json!({"topology": {HOST: "n", ZONE: "z", "rack": "r"}, "nodeName": "n"}),
                json!({"nodeName": "n", "zone": "z", "deprecatedTopology": {"rack": "r"}}),
            ),
            (
                json!({"topology": {HOST: "n"}, "nodeName": "n"}),
                json!({"nodeName": "n"}),
            ),
            (
                json!({"topology": {HOST: "other"}, "nodeName": "n"}),
                json!({"nodeName": "n", "deprecatedTopology": {HOST: "other"}}),
            ),
            (
                json!({"topology": {HOST: "n"}}),
                json!({"deprecatedTopology": {HOST: "n"}}),
            ),
            (json!({"addresses": []}), json!({"addresses": []})),
        ] {
            let mut object = json!({"endpoints": [old]});
            up(&mut object);
            assert_eq!(object["endpoints"][0], now);
            down(&mut object);
            assert_eq!(object["endpoints"][0], old);
        }
    }
}
