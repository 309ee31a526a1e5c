//! Kinds of storage.

use knarr_json::{Value, json};

use super::Kind;

pub fn kinds() -> Vec<Kind> {
    let storage = "/apis/storage.k8s.io/v1";
    let volume = json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "walk",
        "csi": {"driver": "driver.example.com", "volumeHandle": "h"}}});
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "walk", "resources": {"requests": {"storage": "1Gi"}}}});
    vec![
        Kind::new("/api/v1", "PersistentVolume", "persistentvolumes", volume)
            .cluster()
            .change(json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}))
            .status(json!({"phase": "Failed", "reason": "Walk", "message": "as told"})),
        Kind::new(
            "/api/v1",
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            claim,
        )
        .conditions(),
        Kind::new(
            storage,
            "StorageClass",
            "storageclasses",
            json!({"provisioner": "driver.example.com"}),
        )
        .cluster()
        .change(json!({"allowVolumeExpansion": true})),
        Kind::new(
            storage,
            "CSIDriver",
            "csidrivers",
            json!({"spec": {"volumeLifecycleModes": ["Ephemeral"]}}),
        )
        .cluster()
        .change(json!({"spec": {"podInfoOnMount": true}})),
        Kind::new(storage, "CSINode", "csinodes", json!({"spec": {"drivers": []}}))
            .cluster()
            .change(json!({"spec": {"drivers": [{"name": "d", "nodeID": "n"}]}})),
        Kind::new(
            storage,
            "CSIStorageCapacity",
            "csistoragecapacities",
            json!({"storageClassName": "walk"}),
        )
        .change(json!({"capacity": "1Gi"})),
        Kind::new(
            storage,
            "VolumeAttachment",
            "volumeattachments",
            json!({"spec": {"attacher": "driver.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
        )
        .cluster()
        .status(json!({"attached": true, "attachmentMetadata": {"a": "b"}}))
        .metadata_apart(),
        Kind::new(
            storage,
            "VolumeAttributesClass",
            "volumeattributesclasses",
            json!({"driverName": "driver.example.com", "parameters": {"iops": "100"}}),
        )
        .cluster(),
        Kind::new("/api/v1", "Pod", "pods", Value::Null)
            .names(["csi-first", "csi-second", "csi-third"])
            .each(|_| {
                json!({"spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
                    "volumes": [{"name": "v", "csi": {"driver": "driver.example.com", "volumeAttributes": {"a": "b"}}}]}})
            }),
    ]
}
