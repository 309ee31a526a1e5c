//! Secrets of type `kubernetes.io/service-account-token` hold a token of their account that never expires: filled here, and
//! taken away with the account.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, ServiceAccount},
};
use knarr_client::{Change, Informer, Informers, Queue, informer::Key};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::{feed, write};

const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

struct Controller {
    client: Client,
    accounts: Informer<ServiceAccount>,
    /// Only these: other Secrets are none of its business.
    secrets: Informer<Secret>,
    queue: Queue<Key>,
    signer: (EncodingKey, Algorithm),
    root_ca: String,
}

/// Runs the controller for ever; without a key (PEM of the one that service account tokens are signed with) it does nothing.
pub async fn run(informers: Informers, key: String, root_ca: String) {
    let Some(signer) = signer(&key) else {
        if !key.is_empty() {
            tracing::error!("the service account key is neither RSA nor P-256");
        }
        return;
    };
    let controller = Arc::new(Controller {
        client: informers.client().clone(),
        accounts: informers.of(),
        secrets: informers.selected(&format!("type={TYPE}")),
        queue: Queue::new(),
        signer,
        root_ca,
    });
    let c = &controller;
    let work = async {
        c.accounts.synced().await;
        c.secrets.synced().await;
        feed::work(
            "serviceaccount-token",
            1,
            &c.queue,
            c,
            |c, key| async move { c.sync(key).await },
        )
        .await;
    };
    tokio::join!(
        feed::each(&c.secrets, |s| c.queue.add(Key::of(&**s.object()))),
        feed::each(&c.accounts, |a| c.account(&a)),
        work,
    );
}

fn signer(pem: &str) -> Option<(EncodingKey, Algorithm)> {
    let pem = pem.as_bytes();
    let rsa = EncodingKey::from_rsa_pem(pem).map(|k| (k, Algorithm::RS256));
    rsa.or_else(|_| EncodingKey::from_ec_pem(pem).map(|k| (k, Algorithm::ES256)))
        .ok()
}

impl Controller {
    /// Secrets of an account that comes or goes have something to wait for.
    fn account(&self, change: &Change<ServiceAccount>) {
        let account = change.object();
        let (namespace, name) = (account.namespace(), account.name_any());
        for secret in self.secrets.list() {
            if secret.namespace() == namespace && annotation(&secret, NAME) == name {
                self.queue.add(Key::of(&*secret));
            }
        }
    }

    async fn sync(&self, key: Key) -> anyhow::Result<Option<Duration>> {
        let Some(secret) = self.secrets.get(&key.namespace, &key.name) else {
            return Ok(None);
        };
        if secret.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.namespace);
        let name = annotation(&secret, NAME);
        let mut account = self
            .accounts
            .get(&key.namespace, name)
            .map(|a| (*a).clone());
        if account.is_none() && !name.is_empty() {
            // What is not known yet is no reason to take anything away.
            account = accounts.get_opt(name).await?;
        }
        let uid = account.as_ref().and_then(ResourceExt::uid);
        let told = annotation(&secret, UID);
        let Some(uid) = uid.filter(|uid| told.is_empty() || told == uid) else {
            return match api.delete(&key.name, &write::delete(secret.uid())).await {
                Ok(_) => Ok(None),
                Err(error) if write::gone(&error) => Ok(None),
                Err(error) => Err(error.into()),
            };
        };
        let Some(filled) = self.filled(&secret, &uid)? else {
            return Ok(None);
        };
        match api.replace(&key.name, &write::post(), &filled).await {
            Ok(_) => Ok(None),
            Err(error) if write::gone(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The Secret with what it lacks; none when it lacks nothing.
    fn filled(&self, secret: &Secret, uid: &str) -> anyhow::Result<Option<Secret>> {
        let mut new = secret.clone();
        let namespace = secret.namespace().unwrap_or_default();
        let data = new.data.get_or_insert_default();
        if data.get("token").is_none_or(|t| t.0.is_empty()) {
            let claims = claims(
                &namespace,
                annotation(secret, NAME),
                uid,
                &secret.name_any(),
            );
            let (key, algorithm) = &self.signer;
            let token = jsonwebtoken::encode(&Header::new(*algorithm), &claims, key)?;
            data.insert("token".into(), ByteString(token.into_bytes()));
        }
        data.insert(
            "ca.crt".into(),
            ByteString(self.root_ca.clone().into_bytes()),
        );
        data.insert("namespace".into(), ByteString(namespace.into_bytes()));
        new.annotations_mut().insert(UID.into(), uid.to_owned());
        Ok((new != *secret).then_some(new))
    }
}

fn annotation<'a>(secret: &'a Secret, key: &str) -> &'a str {
    secret.annotations().get(key).map_or("", String::as_str)
}

fn claims(namespace: &str, account: &str, uid: &str, secret: &str) -> Value {
    json!({
        "iss": "kubernetes/serviceaccount",
        "sub": format!("system:serviceaccount:{namespace}:{account}"),
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": secret,
        "kubernetes.io/serviceaccount/service-account.name": account,
        "kubernetes.io/serviceaccount/service-account.uid": uid,
    })
}
