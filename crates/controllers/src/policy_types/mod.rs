//! ValidatingAdmissionPolicies are told what in their expressions does not fit the types they are about:
//! `status.typeChecking`. Nothing but advice: a policy works all the same.

mod check;
mod schemas;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use knarr_client::{Informer, Informers, Queue};
use knarr_json::json;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};

use crate::{feed, write};

const NAME: &str = "validatingadmissionpolicy-status";

struct Controller {
    client: Client,
    policies: Informer<ValidatingAdmissionPolicy>,
    queue: Queue<String>,
}

/// Runs the controller for ever.
pub async fn run(informers: Informers) {
    let controller = Arc::new(Controller {
        client: informers.client().clone(),
        policies: informers.of(),
        queue: Queue::new(),
    });
    let c = &controller;
    let work = async {
        c.policies.synced().await;
        feed::work(
            NAME,
            1,
            &c.queue,
            c,
            |c, name| async move { c.sync(name).await },
        )
        .await;
    };
    tokio::join!(
        feed::each(&c.policies, |p| c.queue.add(p.object().name_any())),
        work,
    );
}

impl Controller {
    async fn sync(&self, name: String) -> anyhow::Result<Option<Duration>> {
        let Some(policy) = self.policies.get("", &name) else {
            return Ok(None);
        };
        let generation = policy.metadata.generation;
        let observed = policy.status.as_ref().and_then(|s| s.observed_generation);
        if observed == generation {
            return Ok(None);
        }
        let object = knarr_json::to_value(&*policy)?;
        let types = schemas::of_policy(&self.client, &object).await?;
        let warnings = check::warnings(&object, &types);
        let mut checked = json!({});
        if !warnings.is_empty() {
            checked["expressionWarnings"] = json!(warnings);
        }
        let status = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "status": {"observedGeneration": generation, "typeChecking": checked},
        });
        let api: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        let params = PatchParams::apply(NAME).force();
        match api
            .patch_status(&name, &params, &Patch::Apply(status))
            .await
        {
            Err(error) if !write::gone(&error) => Err(error.into()),
            _ => Ok(None),
        }
    }
}
