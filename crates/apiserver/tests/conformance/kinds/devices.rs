//! Kinds of devices.

use knarr_json::json;

use super::{Kind, dated};

pub fn kinds() -> Vec<Kind> {
    let api = "/apis/resource.k8s.io/v1";
    let claim =
        || json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}});
    vec![
        Kind::new(api, "DeviceClass", "deviceclasses", json!({"spec": {}}))
            .cluster()
            .change(json!({"spec": {"selectors": [{"cel": {"expression": "device.driver == \"example.com\""}}]}})),
        Kind::new(
            api,
            "ResourceClaim",
            "resourceclaims",
            json!({"spec": claim()}),
        )
        .status(json!({
            "allocation": {"devices": {"results": [{"request": "r", "driver": "example.com", "pool": "p", "device": "d"}]}},
            "devices": [{"driver": "example.com", "pool": "p", "device": "d", "conditions": [dated()]}]}))
        .metadata_apart(),
        Kind::new(
            api,
            "ResourceClaimTemplate",
            "resourceclaimtemplates",
            json!({"spec": {"spec": claim()}}),
        ),
        Kind::new(
            api,
            "ResourceSlice",
            "resourceslices",
            json!({"spec": {"driver": "example.com", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1, "generation": 1},
                "devices": [{"name": "d"}]}}),
        )
        .cluster()
        .change(json!({"spec": {"devices": [{"name": "e"}]}})),
    ]
}
