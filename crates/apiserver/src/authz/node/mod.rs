//! The Node authorizer: a kubelet may read what its pods use, and no more.
//!
//! Whether an object belongs to a node's pods is found out when it is asked for, from the store's read model, and the pod
//! that was the reason is remembered: as long as that pod stands, the same question is answered at once. So there is no
//! graph to keep up to date with every pod, and no moment in which it lags behind.

mod references;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use knarr_json::Value;
use knarr_store::{Range, Store, Stored};
use parking_lot::RwLock;

use super::{Attributes, Decision, Rule};
use crate::{UserInfo, poststart::node_rules};
use references::Kind;

const PODS: &str = "/registry/pods/";
const VOLUMES: &str = "/registry/persistentvolumes/";
/// How many reasons are remembered before all are forgotten.
const REMEMBERED: usize = 100_000;

/// Whether a user is a node, known by name or not.
pub(super) fn is_node(user: &UserInfo) -> bool {
    user.name.starts_with("system:node:") && user.in_group("system:nodes")
}

/// Kind, namespace and name of an object, and the node that asks for it.
type Question = (Kind, String, String, String);

/// Answers for nodes.
pub(super) struct Nodes {
    store: Store,
    reasons: RwLock<HashMap<Question, Reason>>,
    rules: OnceLock<Vec<Rule>>,
}

/// The pod that makes an object a node's business.
#[derive(Clone)]
struct Reason {
    key: Arc<str>,
    uid: String,
}

impl Nodes {
    pub fn new(store: Store) -> Self {
        Nodes {
            store,
            reasons: RwLock::default(),
            rules: OnceLock::new(),
        }
    }

    pub fn decide(&self, ask: &Attributes) -> Decision {
        if !is_node(&ask.user) {
            return Decision::default();
        }
        let node = ask.user.name.strip_prefix("system:node:");
        let node = node.unwrap_or_default();
        if node.is_empty() {
            let why = format!("unknown node for user {:?}", ask.user.name);
            return Decision::no_opinion(why);
        }
        let said = if ask.is_resource {
            self.resource(node, ask)
        } else {
            None
        };
        match said {
            Some(Ok(())) => Decision::allow(""),
            Some(Err(why)) => Decision::no_opinion(why),
            None => {
                let rules = self.rules.get_or_init(node_rules);
                match rules.iter().any(|r| r.allows(ask)) {
                    true => Decision::allow(""),
                    false => Decision::default(),
                }
            }
        }
    }

    /// None for what the fixed rules decide.
    fn resource(&self, node: &str, ask: &Attributes) -> Option<Result<(), String>> {
        Some(match (ask.group.as_str(), ask.resource.as_str()) {
            ("", "secrets") => self.read(node, Kind::Secret, ask),
            ("", "configmaps") => self.read(node, Kind::ConfigMap, ask),
            ("", "persistentvolumeclaims") if ask.subresource == "status" => {
                match ask.verb.as_str() {
                    "update" | "patch" => self.related(node, Kind::Claim, ask),
                    _ => no("can only get/update/patch this type"),
                }
            }
            ("", "persistentvolumeclaims") => self.get(node, Kind::Claim, ask),
            ("", "persistentvolumes") => self.get(node, Kind::Volume, ask),
            ("resource.k8s.io", "resourceclaims") => self.get(node, Kind::ResourceClaim, ask),
            ("storage.k8s.io", "volumeattachments") => self.get(node, Kind::Attachment, ask),
            ("", "serviceaccounts") => self.token(node, ask),
            ("coordination.k8s.io", "leases") => lease(node, ask),
            ("storage.k8s.io", "csinodes") => csi_node(node, ask),
            ("resource.k8s.io", "resourceslices") => self.slice(node, ask),
            ("certificates.k8s.io", "podcertificaterequests") => self.certificate(node, ask),
            ("", "nodes") => own_node(node, ask),
            ("", "pods") => self.pod(node, ask),
            _ => return None,
        })
    }

    fn get(&self, node: &str, kind: Kind, ask: &Attributes) -> Result<(), String> {
        if ask.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !ask.subresource.is_empty() {
            return no("cannot get subresource");
        }
        self.related(node, kind, ask)
    }

    fn read(&self, node: &str, kind: Kind, ask: &Attributes) -> Result<(), String> {
        if !matches!(ask.verb.as_str(), "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !ask.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if ask.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(node, kind, ask)
    }

    fn token(&self, node: &str, ask: &Attributes) -> Result<(), String> {
        // Image pulls with the pod's own account need to see it.
        if ask.verb == "get" && ask.subresource.is_empty() {
            return self.related(node, Kind::Account, ask);
        }
        if ask.verb != "create" || ask.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if ask.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.related(node, Kind::Account, ask)
    }

    fn slice(&self, node: &str, ask: &Attributes) -> Result<(), String> {
        if !ask.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match ask.verb.as_str() {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(node, Kind::Slice, ask),
            "watch" | "list" | "deletecollection" => {
                match ask.fields.iter().any(|f| f.is("spec.nodeName", node)) {
                    true => Ok(()),
                    false => no(
                        "can only list/watch/deletecollection resourceslices with spec.nodeName field selector",
                    ),
                }
            }
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    fn certificate(&self, node: &str, ask: &Attributes) -> Result<(), String> {
        if !ask.subresource.is_empty() {
            return no("nodes may not access the status subresource of PodCertificateRequests");
        }
        match ask.verb.as_str() {
            "create" => Ok(()),
            "get" => self.related(node, Kind::CertificateRequest, ask),
            "list" | "watch" => match ask.fields.iter().any(|f| f.is("spec.nodeName", node)) {
                true => Ok(()),
                false => {
                    no("can only list/watch podcertificaterequests with nodeName field selector")
                }
            },
            verb => no(&format!("nodes may not {verb} podcertificaterequests")),
        }
    }

    fn pod(&self, node: &str, ask: &Attributes) -> Result<(), String> {
        match (ask.subresource.as_str(), ask.verb.as_str()) {
            ("", "get") => self.related(node, Kind::Pod, ask),
            ("", "list" | "watch") => {
                if ask.fields.iter().any(|f| f.is("spec.nodeName", node)) {
                    return Ok(());
                }
                if !ask.name.is_empty() {
                    return self.related(node, Kind::Pod, ask);
                }
                no("can only list/watch pods with spec.nodeName field selector")
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Ok(())
            }
            _ => no(""),
        }
    }

    /// Whether the object that is asked for is one of the node's.
    fn related(&self, node: &str, kind: Kind, ask: &Attributes) -> Result<(), String> {
        if ask.name.is_empty() {
            return no("No Object name found");
        }
        if self.has_reason(node, kind, &ask.namespace, &ask.name) {
            return Ok(());
        }
        Err(format!(
            "no relationship found between node '{node}' and this object"
        ))
    }

    fn has_reason(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        match kind {
            Kind::Pod => {
                let pod = self.store.get(&format!("{PODS}{namespace}/{name}"));
                pod.is_some_and(|p| on_node(&p, node))
            }
            Kind::Attachment | Kind::Slice | Kind::CertificateRequest => {
                let stored = self.store.get(&kind.key(namespace, name));
                let object: Option<Value> =
                    stored.and_then(|s| serde_json::from_slice(&s.json).ok());
                object.is_some_and(|o| o["spec"]["nodeName"] == node)
            }
            Kind::Volume => self.volume(node, name),
            Kind::Secret => {
                self.pods(node, Kind::Secret, namespace, name)
                    || self.secret_of_volume(node, namespace, name)
            }
            kind => self.pods(node, kind, namespace, name),
        }
    }

    fn volume(&self, node: &str, name: &str) -> bool {
        let stored = self.store.get(&format!("{VOLUMES}{name}"));
        let object: Option<Value> = stored.and_then(|s| serde_json::from_slice(&s.json).ok());
        let claim = object.as_ref().and_then(references::claim);
        claim.is_some_and(|(namespace, name)| self.pods(node, Kind::Claim, namespace, name))
    }

    fn secret_of_volume(&self, node: &str, namespace: &str, name: &str) -> bool {
        let range = Range {
            prefix: VOLUMES,
            ..Range::default()
        };
        let volumes = self.store.list(range).map(|l| l.items).unwrap_or_default();
        // The name is somewhere in the bytes of a volume that uses it, which spares reading the others.
        let wanted = format!("\"{name}\"");
        let mentions =
            |s: &&Arc<Stored>| s.json.windows(wanted.len()).any(|w| w == wanted.as_bytes());
        volumes.iter().filter(mentions).any(|stored| {
            let Ok(volume) = serde_json::from_slice::<Value>(&stored.json) else {
                return false;
            };
            references::volume_secrets(&volume)
                .iter()
                .any(|(ns, n)| ns == namespace && n == name)
                && references::claim(&volume)
                    .is_some_and(|(ns, n)| self.pods(node, Kind::Claim, ns, n))
        })
    }

    /// Whether a pod of the node refers to the object.
    fn pods(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let question: Question = (kind, namespace.into(), name.into(), node.into());
        if let Some(reason) = self.reasons.read().get(&question) {
            let pod = self.store.get(&reason.key);
            // What a pod refers to does not change while it lives.
            if pod.is_some_and(|p| p.head.uid == reason.uid && on_node(&p, node)) {
                return true;
            }
        }
        let found = self.search(node, kind, namespace, name);
        let mut reasons = self.reasons.write();
        match found {
            Some(reason) => {
                if reasons.len() >= REMEMBERED {
                    reasons.clear();
                }
                reasons.insert(question, reason);
                true
            }
            None => {
                reasons.remove(&question);
                false
            }
        }
    }

    fn search(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> Option<Reason> {
        if namespace.is_empty() || namespace.contains('/') {
            return None;
        }
        let prefix = format!("{PODS}{namespace}/");
        let range = Range {
            prefix: &prefix,
            ..Range::default()
        };
        let pods = self.store.list(range).ok()?.items;
        let pod = pods.iter().filter(|p| on_node(p, node)).find(|p| {
            serde_json::from_slice::<Value>(&p.json)
                .is_ok_and(|pod| references::refers(&pod, kind, name))
        })?;
        Some(Reason {
            key: pod.key.clone(),
            uid: pod.head.uid.clone(),
        })
    }
}

fn on_node(pod: &Stored, node: &str) -> bool {
    let field = pod.head.fields.iter().find(|(k, _)| *k == "spec.nodeName");
    field.is_some_and(|(_, value)| value == node)
}

fn no<T>(why: &str) -> Result<T, String> {
    Err(why.to_owned())
}

fn lease(node: &str, ask: &Attributes) -> Result<(), String> {
    if !matches!(
        ask.verb.as_str(),
        "get" | "create" | "update" | "patch" | "delete"
    ) {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if ask.namespace != "kube-node-lease" {
        return no("can only access leases in the \"kube-node-lease\" system namespace");
    }
    // The name of what is created is for NodeRestriction to check.
    if ask.verb != "create" && ask.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    Ok(())
}

fn csi_node(node: &str, ask: &Attributes) -> Result<(), String> {
    if !matches!(
        ask.verb.as_str(),
        "get" | "create" | "update" | "patch" | "delete"
    ) {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !ask.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    if ask.verb != "create" && ask.name != node {
        return no("can only access CSINode with the same name as the requesting node");
    }
    Ok(())
}

fn own_node(node: &str, ask: &Attributes) -> Result<(), String> {
    match (ask.subresource.as_str(), ask.verb.as_str()) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") if ask.name == node => Ok(()),
        ("", "get" | "list" | "watch") if ask.name.is_empty() => Err(format!(
            "node '{node}' cannot read all nodes, only its own Node object"
        )),
        ("", "get" | "list" | "watch") => Err(format!(
            "node '{node}' cannot read '{}', only its own Node object",
            ask.name
        )),
        _ => no(""),
    }
}

#[cfg(test)]
mod tests;
