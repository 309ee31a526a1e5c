//! One step of one Deployment: what [`super::rollout`], [`super::revision`] and [`super::status`] decide, written.

use std::{sync::Arc, time::Duration};

use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use kube::{Api, ResourceExt, api::Patch};
use serde_json::json;

use super::{
    Controller, now,
    revision::{self, Sets},
    rollout::{self, Wanted},
    status,
};
use crate::{owner::controls, template, write};

/// A Deployment while it is worked on. Conditions are collected in `deployment.status` and written once, at the end.
pub(super) struct Rollout<'a> {
    controller: &'a Controller,
    stored: Option<DeploymentStatus>,
    deployment: Deployment,
    wanted: Wanted,
    sets: Sets,
}

type Next = anyhow::Result<Option<Duration>>;

impl<'a> Rollout<'a> {
    pub fn new(controller: &'a Controller, deployment: &Arc<Deployment>, sets: Sets) -> Self {
        Rollout {
            controller,
            stored: deployment.status.clone(),
            wanted: Wanted::of(deployment),
            deployment: Deployment::clone(deployment),
            sets,
        }
    }

    /// Does what can be done now; the rest follows when the sets' status changes.
    pub async fn step(mut self) -> Next {
        if self.deployment.metadata.deletion_timestamp.is_some() {
            return self.tell().await;
        }
        if let Some(status) = status::paused(&self.deployment, now()) {
            self.deployment.status = Some(status);
        }
        let paused = self
            .deployment
            .spec
            .as_ref()
            .and_then(|s| s.paused)
            .unwrap_or(false);
        if paused || self.scaling() {
            self.refresh_new().await?;
            self.scale().await?;
            if paused {
                self.clean_up().await?;
            }
            return self.tell().await;
        }
        if self.wanted.rolling {
            self.rolling().await
        } else {
            self.recreate().await
        }
    }

    fn api(&self) -> Api<ReplicaSet> {
        Api::namespaced(
            self.controller.client.clone(),
            &self.deployment.namespace().unwrap_or_default(),
        )
    }

    /// Whether the Deployment was resized since its sets were.
    fn scaling(&self) -> bool {
        let active = self.sets.all().filter(|s| rollout::size(s) > 0);
        active
            .filter_map(revision::desired_replicas)
            .any(|n| n != self.wanted.replicas)
    }

    async fn rolling(mut self) -> Next {
        self.ensure_new().await?;
        if let Some(new) = &self.sets.new {
            let size = rollout::grow_new(self.wanted, new, &self.sets.old);
            if size != rollout::size(new) {
                self.resize_new(size).await?;
                return self.tell().await;
            }
        }
        let cuts = rollout::shrink_old(self.wanted, self.sets.new.as_ref(), &self.sets.old);
        let cut = !cuts.is_empty();
        self.resize_old(cuts).await?;
        if !cut {
            self.clean_up_if_complete().await?;
        }
        self.tell().await
    }

    async fn recreate(mut self) -> Next {
        self.refresh_new().await?;
        let active = self
            .sets
            .old
            .iter()
            .enumerate()
            .filter(|(_, s)| rollout::size(s) > 0);
        let cuts: Vec<(usize, i32)> = active.map(|(i, _)| (i, 0)).collect();
        if !cuts.is_empty() {
            self.resize_old(cuts).await?;
            return self.tell().await;
        }
        if self.controller.old_pods_run(&self.sets) {
            return self.tell().await;
        }
        self.ensure_new().await?;
        self.resize_new(self.wanted.replicas).await?;
        self.clean_up_if_complete().await?;
        self.tell().await
    }

    /// Sizes the sets after the Deployment's own size: outside of a rollout the one set, within one all by their share.
    async fn scale(&mut self) -> anyhow::Result<()> {
        let wanted = self.wanted.replicas;
        let active: Vec<usize> = (0..self.sets.old.len())
            .filter(|i| rollout::size(&self.sets.old[*i]) > 0)
            .collect();
        let new_active = self.sets.new.as_ref().is_some_and(|n| rollout::size(n) > 0);
        match (active.len(), new_active, self.sets.new.is_some()) {
            (0, _, true) => return self.resize_new(wanted).await,
            // Nothing has pods and there is no set of the current template: the youngest old one stands in.
            (0, _, false) => {
                let youngest = self.sets.old.len().checked_sub(1);
                return self
                    .resize_old(youngest.map(|i| (i, wanted)).into_iter().collect())
                    .await;
            }
            (1, false, _) => return self.resize_old(vec![(active[0], wanted)]).await,
            _ => {}
        }
        if self.saturated() {
            return self
                .resize_old(active.into_iter().map(|i| (i, 0)).collect())
                .await;
        }
        if self.wanted.rolling {
            self.scale_by_share(active, new_active).await?;
        }
        Ok(())
    }

    async fn scale_by_share(&mut self, active: Vec<usize>, new_active: bool) -> anyhow::Result<()> {
        let all: Vec<&ReplicaSet> = active
            .iter()
            .map(|i| &self.sets.old[*i])
            .chain(self.sets.new.as_ref().filter(|_| new_active))
            .collect();
        let told = self
            .deployment
            .status
            .as_ref()
            .and_then(|s| s.replicas)
            .unwrap_or(0);
        let sizes = rollout::proportions(self.wanted, told, &all);
        let new_size = if new_active {
            sizes.last().copied()
        } else {
            None
        };
        self.resize_old(active.into_iter().zip(sizes).collect())
            .await?;
        match new_size {
            Some(size) => self.resize_new(size).await,
            None => Ok(()),
        }
    }

    /// Whether the new set alone is all that the Deployment wants.
    fn saturated(&self) -> bool {
        let wanted = self.wanted.replicas;
        self.sets.new.as_ref().is_some_and(|n| {
            revision::desired_replicas(n) == Some(wanted)
                && rollout::size(n) == wanted
                && rollout::available(n) == wanted
        })
    }

    /// Makes the new set when there is none.
    async fn ensure_new(&mut self) -> anyhow::Result<()> {
        if self.sets.new.is_some() {
            return self.refresh_new().await;
        }
        let revision = self.sets.next_revision();
        let size = rollout::new_size(self.wanted, rollout::total(self.sets.all()), 0);
        let Some(set) = revision::new_set(&self.deployment, revision, size) else {
            return Ok(());
        };
        let name = set.name_any();
        match self.api().create(&write::post(), &set).await {
            Ok(made) => {
                self.sets.new = Some(made);
                if size > 0 {
                    let words = format!("Scaled up replica set {name} from 0 to {size}");
                    self.controller
                        .recorder
                        .normal(&self.deployment, "ScalingReplicaSet", words);
                }
                self.progress(
                    "True",
                    status::NEW_CREATED,
                    &format!("Created new replica set {name:?}"),
                );
                self.note_revision(revision).await
            }
            Err(error) if write::exists(&error) => self.taken(&name).await,
            // Nothing is made in a namespace that is going.
            Err(error) if write::namespace_going(&error) => Ok(()),
            Err(error) => {
                let words = format!(
                    "Failed to create new replica set {name:?}: {}",
                    write::words(&error)
                );
                self.progress("False", status::NEW_FAILED, &words);
                self.write_status().await?;
                Err(error.into())
            }
        }
    }

    /// The new set's name is taken: by itself, when the cache lags; else another template has the same hash.
    async fn taken(&mut self, name: &str) -> anyhow::Result<()> {
        let live = self.api().get(name).await?;
        let template = live.spec.as_ref().and_then(|s| s.template.as_ref());
        let wanted = self.deployment.spec.as_ref().map(|s| &s.template);
        let mine = controls(&self.deployment, &live.metadata)
            && matches!((template, wanted), (Some(a), Some(b)) if template::same(a, b));
        if mine {
            self.sets.new = Some(live);
            return self.refresh_new().await;
        }
        let status = self.deployment.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        self.write_status().await?;
        anyhow::bail!("the hash of the template collides with that of ReplicaSet {name}")
    }

    /// Brings the new set's annotations and minReadySeconds up to date.
    async fn refresh_new(&mut self) -> anyhow::Result<()> {
        let revision = self.sets.next_revision();
        let Some(new) = &self.sets.new else {
            return Ok(());
        };
        let annotations =
            revision::new_annotations(&self.deployment, new.annotations(), revision, false);
        let min_ready = |n: Option<i32>| n.unwrap_or(0);
        let wanted_ready = min_ready(
            self.deployment
                .spec
                .as_ref()
                .and_then(|s| s.min_ready_seconds),
        );
        let own_ready = min_ready(new.spec.as_ref().and_then(|s| s.min_ready_seconds));
        if annotations != *new.annotations() || wanted_ready != own_ready {
            let patch = json!({
                "metadata": {"resourceVersion": new.resource_version(), "annotations": annotations},
                "spec": {"minReadySeconds": wanted_ready},
            });
            self.sets.new = Some(
                self.api()
                    .patch(&new.name_any(), &write::patch(), &Patch::Merge(patch))
                    .await?,
            );
        }
        let Some(new) = &self.sets.new else {
            return Ok(());
        };
        let (name, revision) = (new.name_any(), revision::of(new));
        let told = self
            .deployment
            .status
            .as_ref()
            .and_then(|s| status::condition(s, status::PROGRESSING));
        if told.is_none() {
            self.progress(
                "True",
                status::NEW_FOUND,
                &format!("Found new replica set {name:?}"),
            );
        }
        self.note_revision(revision).await
    }

    fn progress(&mut self, value: &str, reason: &str, words: &str) {
        if status::deadline(&self.deployment).is_some() {
            let status = self.deployment.status.get_or_insert_default();
            status::set_condition(status, status::PROGRESSING, value, reason, words, now());
        }
    }

    /// Notes the revision on the Deployment itself, where `kubectl rollout` looks.
    async fn note_revision(&mut self, revision: i64) -> anyhow::Result<()> {
        let revision = revision.to_string();
        if self.deployment.annotations().get(revision::REVISION) == Some(&revision) {
            return Ok(());
        }
        let api: Api<Deployment> = Api::namespaced(
            self.controller.client.clone(),
            &self.deployment.namespace().unwrap_or_default(),
        );
        let patch = json!({"metadata": {"annotations": {revision::REVISION: revision}}});
        let patched = api
            .patch(
                &self.deployment.name_any(),
                &write::patch(),
                &Patch::Merge(patch),
            )
            .await?;
        // What was decided is about the spec that was read: if that is not the current one, start over.
        if patched.metadata.generation != self.deployment.metadata.generation {
            anyhow::bail!("the Deployment changed meanwhile");
        }
        self.deployment.metadata = patched.metadata;
        Ok(())
    }

    async fn resize_new(&mut self, size: i32) -> anyhow::Result<()> {
        if let Some(new) = &self.sets.new
            && let Some(resized) = self.resized(new, size).await?
        {
            self.sets.new = Some(resized);
        }
        Ok(())
    }

    async fn resize_old(&mut self, sizes: Vec<(usize, i32)>) -> anyhow::Result<()> {
        let this = &*self;
        let resizes = sizes.into_iter().map(|(i, size)| async move {
            anyhow::Ok((i, this.resized(&this.sets.old[i], size).await?))
        });
        for (i, resized) in try_join_all(resizes).await? {
            if let Some(resized) = resized {
                self.sets.old[i] = resized;
            }
        }
        Ok(())
    }

    async fn resized(&self, set: &ReplicaSet, size: i32) -> anyhow::Result<Option<ReplicaSet>> {
        let before = rollout::size(set);
        let notes = revision::size_annotations(self.wanted);
        if before == size
            && notes
                .iter()
                .all(|(k, v)| set.annotations().get(k) == Some(v))
        {
            return Ok(None);
        }
        let name = set.name_any();
        let patch = json!({
            "metadata": {"resourceVersion": set.resource_version(), "annotations": std::collections::BTreeMap::from(notes)},
            "spec": {"replicas": size},
        });
        let resized = self
            .api()
            .patch(&name, &write::patch(), &Patch::Merge(patch))
            .await?;
        if before != size {
            let direction = if size > before { "up" } else { "down" };
            let words = format!("Scaled {direction} replica set {name} from {before} to {size}");
            self.controller
                .recorder
                .normal(&self.deployment, "ScalingReplicaSet", words);
        }
        Ok(Some(resized))
    }

    async fn clean_up_if_complete(&self) -> anyhow::Result<()> {
        match &self.deployment.status {
            Some(status) if status::complete(&self.deployment, status) => self.clean_up().await,
            _ => Ok(()),
        }
    }

    /// Deletes old sets that the history limit no longer keeps.
    async fn clean_up(&self) -> anyhow::Result<()> {
        let limit = self
            .deployment
            .spec
            .as_ref()
            .and_then(|s| s.revision_history_limit);
        for set in revision::beyond_limit(&self.sets.old, limit) {
            match self
                .api()
                .delete(&set.name_any(), &write::delete(set.uid()))
                .await
            {
                Err(error) if !write::gone(&error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the status if it changed; otherwise asks for another look when the rollout may have run out of time.
    async fn tell(mut self) -> Next {
        let paused = self
            .deployment
            .spec
            .as_ref()
            .and_then(|s| s.paused)
            .unwrap_or(false);
        let status = if paused || self.deployment.metadata.deletion_timestamp.is_some() {
            status::counted(&self.deployment, &self.sets, now())
        } else {
            status::rolled(&self.deployment, &self.sets, now())
        };
        let next = status::next_look(&self.deployment, &status, now());
        self.deployment.status = Some(status);
        self.write_status().await?;
        Ok(next.map(|d| Duration::try_from(d).unwrap_or_default()))
    }

    async fn write_status(&mut self) -> anyhow::Result<()> {
        if self.deployment.status == self.stored {
            return Ok(());
        }
        let api: Api<Deployment> = Api::namespaced(
            self.controller.client.clone(),
            &self.deployment.namespace().unwrap_or_default(),
        );
        match api
            .replace_status(
                &self.deployment.name_any(),
                &write::post(),
                &self.deployment,
            )
            .await
        {
            Err(error) if !write::gone(&error) => Err(error.into()),
            _ => {
                self.stored = self.deployment.status.clone();
                Ok(())
            }
        }
    }
}
