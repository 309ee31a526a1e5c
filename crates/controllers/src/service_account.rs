//! Every namespace has a ServiceAccount `default`.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use knarr_client::{Change, Informer, Informers, Queue, informer::Key};
use kube::{Api, Client, ResourceExt, api::ObjectMeta};

use crate::{feed, write};

const NAME: &str = "default";

struct Controller {
    client: Client,
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
    queue: Queue<String>,
}

/// Runs the controller for ever.
pub async fn run(informers: Informers) {
    let controller = Arc::new(Controller {
        client: informers.client().clone(),
        namespaces: informers.of(),
        accounts: informers.of(),
        queue: Queue::new(),
    });
    let c = &controller;
    let work = async {
        c.namespaces.synced().await;
        c.accounts.synced().await;
        feed::work(
            "serviceaccount",
            2,
            &c.queue,
            c,
            |c, namespace| async move { c.sync(namespace).await },
        )
        .await;
    };
    tokio::join!(
        feed::each(&c.namespaces, |n| c.queue.add(n.object().name_any())),
        feed::each(&c.accounts, |a| {
            // Only a default account that is gone is missed.
            if let Change::Deleted(account) = &a
                && account.name_any() == NAME
            {
                c.queue.add(Key::of(&**account).namespace);
            }
        }),
        work,
    );
}

/// Whether things can be made in a namespace.
pub(crate) fn lives(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
        && namespace.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Terminating")
}

impl Controller {
    async fn sync(&self, namespace: String) -> anyhow::Result<Option<Duration>> {
        let live = self
            .namespaces
            .get("", &namespace)
            .is_some_and(|n| lives(&n));
        if !live || self.accounts.get(&namespace, NAME).is_some() {
            return Ok(None);
        }
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &namespace);
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(NAME.into()),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        match api.create(&write::post(), &account).await {
            Err(error)
                if !write::exists(&error)
                    && !write::namespace_going(&error)
                    && !write::gone(&error) =>
            {
                Err(error.into())
            }
            _ => Ok(None),
        }
    }
}
