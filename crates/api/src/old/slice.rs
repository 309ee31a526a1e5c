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
        // The node's name may be told twice.
        let host = topology.get(HOST).cloned();
        if host.is_some()
            && endpoint
                .get("nodeName")
                .is_none_or(|n| Some(n) == host.as_ref())
        {
            topology.remove(HOST);
            endpoint.insert("nodeName", host.unwrap_or_default());
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
        if let Some(node) = endpoint.get("nodeName").filter(|n| n.is_string()) {
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
            (json!({"addresses": []}), json!({"addresses": []})),
        ] {
            let mut object = json!({"endpoints": [old]});
            up(&mut object);
            assert_eq!(object["endpoints"][0], now);
            down(&mut object);
            assert_eq!(object["endpoints"][0], old);
        }
        let mut without_name = json!({"endpoints": [{"topology": {HOST: "n"}}]});
        up(&mut without_name);
        assert_eq!(without_name["endpoints"][0], json!({"nodeName": "n"}));
    }
}
