//! Pods out of templates, and the hash that names a template.

use k8s_openapi::{
    api::core::v1::{Pod, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, ResourceExt};
use sha2::{Digest, Sha256};

use crate::owner::controller_ref;

/// The label that tells apart the pods, and the ReplicaSets, of a Deployment's templates.
pub const HASH_LABEL: &str = "pod-template-hash";

/// Characters that make no words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A pod as `owner` makes it; the server chooses the rest of its name.
pub fn pod<O: Resource<DynamicType = ()>>(owner: &O, template: Option<&PodTemplateSpec>) -> Pod {
    let meta = template
        .and_then(|t| t.metadata.clone())
        .unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owner.name_any())),
            namespace: owner.namespace(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller_ref(owner)]),
            ..ObjectMeta::default()
        },
        spec: template.and_then(|t| t.spec.clone()),
        status: None,
    }
}

/// A short name for a template: the same for the same content, whatever process or version computes it.
/// `collisions` counts how often the name turned out to be taken by another template.
pub fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let mut digest = Sha256::new();
    // Maps are sorted and absent fields left out, so the text is canonical. Serializing into memory cannot fail.
    digest.update(serde_json::to_vec(template).unwrap_or_default());
    if collisions > 0 {
        digest.update(collisions.to_le_bytes());
    }
    let digest = digest.finalize();
    let number = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
    number
        .to_string()
        .bytes()
        .map(|c| char::from(LETTERS[usize::from(c) % LETTERS.len()]))
        .collect()
}

/// Whether two templates are the same but for the hash label.
pub fn same(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    if a.spec != b.spec {
        return false;
    }
    let plain = |t: &PodTemplateSpec| {
        let mut meta = t.metadata.clone().unwrap_or_default();
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH_LABEL);
        }
        meta.labels = meta.labels.filter(|l| !l.is_empty());
        meta.annotations = meta.annotations.filter(|a| !a.is_empty());
        meta.creation_timestamp = None;
        meta
    };
    plain(a) == plain(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(image: &str, labels: serde_json::Value) -> PodTemplateSpec {
        serde_json::from_value(json!({
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": image}]},
        }))
        .unwrap()
    }

    #[test]
    fn the_hash_is_stable_and_tells_templates_apart() {
        let a = template("nginx", json!({"app": "a"}));
        assert_eq!(hash(&a, 0), hash(&a.clone(), 0));
        assert_ne!(
            hash(&a, 0),
            hash(&template("redis", json!({"app": "a"})), 0)
        );
        assert_ne!(hash(&a, 0), hash(&a, 1));
        // Written down, so that a change of the names does not go unseen.
        assert_eq!(hash(&a, 0), "54ddb87787");
    }

    #[test]
    fn the_hash_label_is_no_difference() {
        let plain = template("nginx", json!({"app": "a"}));
        assert!(same(
            &plain,
            &template("nginx", json!({"app": "a", HASH_LABEL: "x"}))
        ));
        assert!(!same(&plain, &template("nginx", json!({"app": "b"}))));
        assert!(!same(&plain, &template("redis", json!({"app": "a"}))));
    }
}
