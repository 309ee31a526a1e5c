//! The Lease that tells controllers that this node lives, at little cost.

use std::time::Duration;

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Node,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

const NAMESPACE: &str = "kube-node-lease";
/// After this many seconds without renewal the node counts as lost.
const DURATION: i32 = 40;
const RENEW: Duration = Duration::from_secs(10);
/// Between tries while the lease cannot be written, e.g. before its namespace exists.
const RETRY: Duration = Duration::from_millis(500);

/// Renews the node's lease, for ever.
pub async fn run(client: Client, node: Node) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    loop {
        let delay = match renew(&api, &node).await {
            Ok(()) => RENEW,
            Err(error) => {
                tracing::debug!(%error, "node lease not renewed; trying again");
                RETRY
            }
        };
        tokio::time::sleep(delay).await;
    }
}

async fn renew(api: &Api<Lease>, node: &Node) -> Result<(), kube::Error> {
    let name = node.name_any();
    let now = MicroTime(Timestamp::now());
    let patch = json!({"spec": {"holderIdentity": name, "leaseDurationSeconds": DURATION, "renewTime": now}});
    match api
        .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Err(kube::Error::Api(s)) if s.code == 404 => api
            .create(&PostParams::default(), &new(node, now))
            .await
            .map(drop),
        other => other.map(drop),
    }
}

fn new(node: &Node, now: MicroTime) -> Lease {
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.name_any(),
        uid: node.uid().unwrap_or_default(),
        ..OwnerReference::default()
    };
    Lease {
        metadata: ObjectMeta {
            name: Some(node.name_any()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(node.name_any()),
            lease_duration_seconds: Some(DURATION),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    }
}
