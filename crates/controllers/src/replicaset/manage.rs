//! Brings the number of a set's pods to the wanted one.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Pod},
    jiff::Timestamp,
};
use kube::{Api, ResourceExt};

use super::{
    Controller,
    decide::{self, Failure, Step},
};
use crate::{owner::controller_of, template, write};

impl Controller {
    /// Makes or deletes pods where the number is not the wanted one.
    pub(super) async fn manage(
        &self,
        set: &ReplicaSet,
        active: &[Arc<Pod>],
    ) -> Result<(), (Failure, anyhow::Error)> {
        let wanted = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
        let surplus = active.len() as i64 > i64::from(wanted);
        let related = if surplus {
            self.related(set, active)
        } else {
            Vec::new()
        };
        let (reason, outcome) = match decide::step(wanted, active, &related, Timestamp::now()) {
            Step::Nothing => return Ok(()),
            Step::Create(count) => ("FailedCreate", self.create(set, count).await),
            Step::Delete(pods) => ("FailedDelete", self.delete(set, &pods).await),
        };
        outcome.map_err(|error| {
            (
                Failure {
                    reason,
                    message: write::words(&error),
                },
                error.into(),
            )
        })
    }

    /// Pods of all sets with the same controller: those that serve the same purpose.
    fn related(&self, set: &ReplicaSet, own: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let Some(deployment) = controller_of(&set.metadata) else {
            return own.to_vec();
        };
        let siblings = self.sets_of.controlled(&deployment.uid);
        let uids = siblings
            .iter()
            .filter_map(|k| self.sets.get_key(k)?.metadata.uid.clone());
        uids.flat_map(|uid| self.pods_of.controlled(&uid))
            .filter_map(|k| self.pods.get_key(&k))
            .collect()
    }

    /// Creates in batches that double: a refusal that all would meet is met once, not `count` times.
    async fn create(&self, set: &ReplicaSet, count: usize) -> Result<(), kube::Error> {
        let uid = set.metadata.uid.clone().unwrap_or_default();
        let api: Api<Pod> =
            Api::namespaced(self.client.clone(), &set.namespace().unwrap_or_default());
        let pod = template::pod(set, set.spec.as_ref().and_then(|s| s.template.as_ref()));
        let params = write::post();
        self.expectations.creating(&uid, count);
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            batch = batch.min(left);
            left -= batch;
            let results = join_all((0..batch).map(|_| api.create(&params, &pod))).await;
            let refused = results
                .into_iter()
                .filter_map(|result| self.created(set, &uid, result))
                .next_back();
            if let Some(error) = refused {
                self.expectations.created(&uid, left);
                return Err(error);
            }
            batch *= 2;
        }
        Ok(())
    }

    /// Tells of one create; the error that stands in the way of more, if there is one.
    fn created(
        &self,
        set: &ReplicaSet,
        uid: &str,
        result: Result<Pod, kube::Error>,
    ) -> Option<kube::Error> {
        let error = match result {
            Ok(made) => {
                self.recorder.normal(
                    set,
                    "SuccessfulCreate",
                    format!("Created pod: {}", made.name_any()),
                );
                return None;
            }
            Err(error) => error,
        };
        self.expectations.created(uid, 1);
        // A namespace that is going takes no more pods: no failure, and nothing to try again.
        if write::namespace_going(&error) {
            return None;
        }
        self.recorder.warning(
            set,
            "FailedCreate",
            format!("Error creating: {}", write::words(&error)),
        );
        Some(error)
    }

    async fn delete(&self, set: &ReplicaSet, pods: &[Arc<Pod>]) -> Result<(), kube::Error> {
        let uid = set.metadata.uid.clone().unwrap_or_default();
        let api: Api<Pod> =
            Api::namespaced(self.client.clone(), &set.namespace().unwrap_or_default());
        self.expectations
            .deleting(&uid, pods.iter().filter_map(|p| p.uid()));
        let mut refused = None;
        let deletes = pods.iter().map(|p| {
            let api = &api;
            async move { (p, api.delete(&p.name_any(), &write::delete(p.uid())).await) }
        });
        for (pod, result) in join_all(deletes).await {
            match result {
                Ok(_) => {
                    self.recorder.normal(
                        set,
                        "SuccessfulDelete",
                        format!("Deleted pod: {}", pod.name_any()),
                    );
                }
                Err(error) => {
                    self.expectations
                        .deleted(&uid, &pod.uid().unwrap_or_default());
                    if !write::gone(&error) {
                        let words = format!("Error deleting: {}", write::words(&error));
                        self.recorder.warning(set, "FailedDelete", words);
                        refused = Some(error);
                    }
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }
}
