//! Starting a container: image, environment, mounts, create, start, start hook.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use knarr_client::events::reference;
use knarr_runtime::Image;
use tokio_util::sync::CancellationToken;

use super::{
    config::{self, Surroundings},
    env::{Objects, environment},
    fields::Facts,
    hooks,
    image::Note,
    mounts, security,
};
use crate::{
    context::Context,
    pod::{
        memory::Waiting,
        wanted::{Kind, Wanted},
    },
    volume::Paths,
};

/// What is to be started, with all it refers to.
pub struct Start {
    pub wanted: Arc<Wanted>,
    pub container: Container,
    pub kind: Kind,
    pub attempt: u32,
    pub sandbox_id: String,
    pub pod_ips: Vec<IpAddr>,
    pub objects: Objects,
    pub pull_secrets: Vec<Arc<Secret>>,
    pub facts: Facts,
    pub volumes: Paths,
    pub hosts_file: Option<PathBuf>,
    pub cancel: CancellationToken,
}

/// Why a container did not start, and what that does to the next try.
#[derive(Debug)]
pub enum Failure {
    /// Image not there; tried again with growing delay.
    Image(Waiting),
    /// Could not be made from what there is; tried again soon or when something changes.
    Config(Waiting),
    /// It was made and would not run; counts as a crash.
    Run(Waiting),
    /// The start hook failed: the container has to go.
    Hook { id: String, message: String },
    /// Not wanted any more.
    Cancelled,
}

/// Tells an event about one container of a pod.
pub fn tell(
    ctx: &Context,
    pod: &Pod,
    kind: Kind,
    container: &str,
    normal: bool,
    reason: &str,
    message: String,
) {
    let list = match kind {
        Kind::Init | Kind::Sidecar => "initContainers",
        Kind::App => "containers",
        Kind::Ephemeral => "ephemeralContainers",
    };
    let mut about = reference(pod);
    about.field_path = Some(format!("spec.{list}{{{container}}}"));
    ctx.recorder.about(
        about,
        if normal { "Normal" } else { "Warning" },
        reason,
        message,
    );
}

impl Start {
    fn tell(&self, ctx: &Context, normal: bool, reason: &str, message: String) {
        tell(
            ctx,
            &self.wanted.pod,
            self.kind,
            &self.container.name,
            normal,
            reason,
            message,
        );
    }

    async fn image(&self, ctx: &Context) -> Result<Image, Failure> {
        let name = self.container.image.as_deref().unwrap_or_default();
        let note = |note: Note| match note {
            Note::Pulling => self.tell(ctx, true, "Pulling", format!("Pulling image \"{name}\"")),
            Note::Pulled(text) => self.tell(ctx, true, "Pulled", text),
            Note::Warning(reason, text) => self.tell(ctx, false, reason, text),
        };
        tokio::select! {
            image = ctx.puller.ensure(&self.container, &self.pull_secrets, note) => image.map_err(Failure::Image),
            () = self.cancel.cancelled() => Err(Failure::Cancelled),
        }
    }

    fn config_error(&self, ctx: &Context, message: String) -> Failure {
        self.tell(ctx, false, "Failed", format!("Error: {message}"));
        Failure::Config(Waiting::new("CreateContainerConfigError", message))
    }

    async fn config(
        &self,
        ctx: &Context,
        image: &Image,
    ) -> Result<knarr_runtime::ContainerConfig, Failure> {
        let pod = &self.wanted.pod;
        let fail = |message: String| self.config_error(ctx, message);
        security::check_non_root(pod, &self.container, &image.user).map_err(fail)?;
        let env = environment(pod, &self.container, &self.objects, &self.facts).map_err(fail)?;
        let dir = ctx.config.pod_dir(self.wanted.uid());
        let (container, volumes, for_mounts) =
            (self.container.clone(), self.volumes.clone(), env.clone());
        let prepare = move || {
            let all = mounts::of_volumes(&dir, &container, &volumes, &for_mounts)?;
            let (file, last) =
                mounts::of_termination_message(&dir, &container).map_err(|e| e.to_string())?;
            Ok::<_, String>((all, file, last))
        };
        let prepared = tokio::task::spawn_blocking(prepare)
            .await
            .map_err(|e| fail(e.to_string()))?;
        let (mut all, termination_file, last) = prepared.map_err(fail)?;
        all.extend(
            self.hosts_file
                .as_ref()
                .and_then(|hosts| mounts::of_hosts_file(&self.container, hosts)),
        );
        all.push(last);
        let surroundings = Surroundings {
            attempt: self.attempt,
            image,
            env,
            mounts: all,
            termination_file,
        };
        Ok(config::container(
            ctx,
            &self.wanted,
            &self.container,
            surroundings,
        ))
    }

    async fn create(&self, ctx: &Context) -> Result<String, Failure> {
        let image = self.image(ctx).await?;
        let config = self.config(ctx, &image).await?;
        if self.cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        match ctx
            .runtime()
            .create_container(&self.sandbox_id, &config)
            .await
        {
            Ok(id) => {
                self.tell(
                    ctx,
                    true,
                    "Created",
                    format!("Created container: {}", self.container.name),
                );
                Ok(id)
            }
            Err(error) => {
                let message = format!("{error:#}");
                self.tell(ctx, false, "Failed", format!("Error: {message}"));
                Err(Failure::Config(Waiting::new(
                    "CreateContainerError",
                    message,
                )))
            }
        }
    }
}

/// Starts the container; returns its id once its start hook has run.
///
/// # Errors
/// See [`Failure`].
pub async fn run(ctx: &Context, start: Start) -> Result<String, Failure> {
    let id = start.create(ctx).await?;
    let started = ctx.runtime().start_container(&id).await;
    if let Err(error) = ctx.view.reload_container(start.wanted.uid(), &id).await {
        tracing::warn!(%error, "container not readable");
    }
    if let Err(error) = started {
        let message = format!("{error:#}");
        start.tell(ctx, false, "Failed", format!("Error: {message}"));
        return Err(Failure::Run(Waiting::new("RunContainerError", message)));
    }
    start.tell(
        ctx,
        true,
        "Started",
        format!("Started container {}", start.container.name),
    );
    let Some(hook) = start
        .container
        .lifecycle
        .as_ref()
        .and_then(|l| l.post_start.as_ref())
    else {
        return Ok(id);
    };
    let hook = hooks::run(
        ctx,
        hook,
        &start.container,
        &id,
        start.pod_ips.first().copied(),
    );
    let done = tokio::select! {
        done = hook => done,
        () = start.cancel.cancelled() => return Err(Failure::Cancelled),
    };
    done.map(|()| id.clone()).map_err(|error| {
        start.tell(
            ctx,
            false,
            "FailedPostStartHook",
            format!("PostStartHook failed: {error}"),
        );
        Failure::Hook {
            id,
            message: "FailedPostStartHook".to_owned(),
        }
    })
}
