//! Who controls what: controller references, adopting and releasing.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
};
use knarr_client::informer::Kind;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::{Selector, SelectorExt},
};
use serde_json::json;

use crate::write;

/// The owner that controls an object, if one does.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|o| o.controller == Some(true))
}

/// Whether `owner` controls the object with this metadata.
pub fn controls<O: Resource>(owner: &O, meta: &ObjectMeta) -> bool {
    let uid = owner.meta().uid.as_deref();
    uid.is_some() && controller_of(meta).map(|o| o.uid.as_str()) == uid
}

/// The reference by which `owner` controls what it makes.
pub fn controller_ref<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The selector of a workload; `None` when it is not one, or would select everything: a workload must not.
pub fn selector(labels: &LabelSelector) -> Option<Selector> {
    Selector::try_from(labels.clone())
        .ok()
        .filter(|s| !s.selects_all())
}

/// Whether `selector` picks an object with these labels.
pub fn picks(selector: &Selector, labels: &Option<BTreeMap<String, String>>) -> bool {
    match labels {
        Some(labels) => selector.matches(labels),
        None => selector.matches(&BTreeMap::new()),
    }
}

/// What to do about one object that an owner might control.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Claim {
    Keep,
    Adopt,
    Release,
    Ignore,
}

/// Decides over one object. `going` is whether the owner is being deleted.
pub fn claim<O: Resource>(owner: &O, selector: &Selector, meta: &ObjectMeta) -> Claim {
    let picked = picks(selector, &meta.labels);
    let going = owner.meta().deletion_timestamp.is_some();
    match controller_of(meta) {
        Some(_) if !controls(owner, meta) => Claim::Ignore,
        Some(_) if picked => Claim::Keep,
        Some(_) if going => Claim::Ignore,
        Some(_) => Claim::Release,
        None if going || !picked || meta.deletion_timestamp.is_some() => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// The objects among `candidates` that `owner` controls after adopting those it selects and releasing those it no longer does.
///
/// # Errors
/// When the API server refuses an adoption or a release; objects that are gone meanwhile are skipped.
pub async fn claim_all<O, K>(
    client: &Client,
    owner: &O,
    selector: &Selector,
    candidates: Vec<Arc<K>>,
) -> anyhow::Result<Vec<Arc<K>>>
where
    O: Kind + Resource<Scope = NamespaceResourceScope>,
    K: Kind + Resource<Scope = NamespaceResourceScope>,
{
    let mut kept = Vec::new();
    let mut may_adopt = None;
    for object in candidates {
        match claim(owner, selector, object.meta()) {
            Claim::Keep => kept.push(object),
            Claim::Ignore => {}
            Claim::Release => release(client, owner, &*object).await?,
            Claim::Adopt => {
                let may = match may_adopt {
                    Some(may) => may,
                    None => *may_adopt.insert(still_there(client, owner).await?),
                };
                if may && let Some(adopted) = adopt(client, owner, &*object).await? {
                    kept.push(Arc::new(adopted));
                }
            }
        }
    }
    Ok(kept)
}

/// The cache may not know yet that the owner is going: ask, once before adopting anything.
async fn still_there<O>(client: &Client, owner: &O) -> anyhow::Result<bool>
where
    O: Kind + Resource<Scope = NamespaceResourceScope>,
{
    let api: Api<O> = Api::namespaced(client.clone(), &owner.namespace().unwrap_or_default());
    let live = api.get_opt(&owner.name_any()).await?;
    Ok(live
        .is_some_and(|live| live.uid() == owner.uid() && live.meta().deletion_timestamp.is_none()))
}

async fn adopt<O, K>(client: &Client, owner: &O, object: &K) -> anyhow::Result<Option<K>>
where
    O: Kind,
    K: Kind + Resource<Scope = NamespaceResourceScope>,
{
    // The uid makes the patch fail when the name meanwhile belongs to another object.
    let patch =
        json!({"metadata": {"uid": object.uid(), "ownerReferences": [controller_ref(owner)]}});
    patch_owners(client, object, patch).await
}

async fn release<O, K>(client: &Client, owner: &O, object: &K) -> anyhow::Result<()>
where
    O: Kind,
    K: Kind + Resource<Scope = NamespaceResourceScope>,
{
    let gone = json!({"$patch": "delete", "uid": owner.uid()});
    let patch = json!({"metadata": {"uid": object.uid(), "ownerReferences": [gone]}});
    patch_owners(client, object, patch).await.map(drop)
}

async fn patch_owners<K>(
    client: &Client,
    object: &K,
    patch: serde_json::Value,
) -> anyhow::Result<Option<K>>
where
    K: Kind + Resource<Scope = NamespaceResourceScope>,
{
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let params = PatchParams {
        field_manager: Some(write::MANAGER.into()),
        ..PatchParams::default()
    };
    match api
        .patch(&object.name_any(), &params, &Patch::Strategic(patch))
        .await
    {
        Ok(patched) => Ok(Some(patched)),
        Err(error) if write::gone(&error) || write::invalid(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::{
        api::apps::v1::ReplicaSet, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp,
    };

    fn meta(label: &str, owner: Option<&str>) -> ObjectMeta {
        let reference = |uid: &str| OwnerReference {
            uid: uid.into(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        ObjectMeta {
            labels: Some([("app".to_owned(), label.to_owned())].into()),
            owner_references: owner.map(|uid| vec![reference(uid)]),
            ..ObjectMeta::default()
        }
    }

    fn at(mut meta: ObjectMeta) -> ObjectMeta {
        meta.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        meta
    }

    #[test]
    fn claims() {
        let mut owner = ReplicaSet::default();
        owner.metadata.uid = Some("me".into());
        let going = ReplicaSet {
            metadata: at(owner.metadata.clone()),
            ..ReplicaSet::default()
        };
        let selector: Selector = [("app", "a")].into_iter().collect();
        let table = [
            (&owner, meta("a", Some("me")), Claim::Keep),
            (&owner, meta("b", Some("me")), Claim::Release),
            (&owner, meta("a", Some("other")), Claim::Ignore),
            (&owner, meta("a", None), Claim::Adopt),
            (&owner, meta("b", None), Claim::Ignore),
            (&owner, at(meta("a", None)), Claim::Ignore),
            (&going, meta("a", Some("me")), Claim::Keep),
            (&going, meta("b", Some("me")), Claim::Ignore),
            (&going, meta("a", None), Claim::Ignore),
        ];
        for (i, (owner, meta, want)) in table.into_iter().enumerate() {
            assert_eq!(claim(owner, &selector, &meta), want, "row {i}");
        }
    }

    #[test]
    fn an_empty_selector_is_none() {
        assert!(selector(&LabelSelector::default()).is_none());
    }
}
