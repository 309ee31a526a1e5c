//! Pulls an image: manifest, config, and the layers that are missing, several at a time.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::{
    digest::{digest_of, finish},
    manifest::{Descriptor, ImageConfig, Manifest},
    reference::{Reference, valid_digest},
    registry::{Client, RegistryConfig, Session},
    store::{ImageStore, Scratch, open_buffered},
};
use crate::types::{Error, Image, Progress, RegistryAuth, Result};

/// Layers that are fetched at the same time.
const PARALLEL: usize = 4;
/// A transfer in which nothing comes for so long is given up.
const STALL: Duration = Duration::from_secs(60);
/// Attempts for a layer whose transfer breaks off.
const ATTEMPTS: u32 = 3;

/// Pulls images into a store. Pulls of the same image wait for each other; the second finds everything there.
pub struct Puller {
    client: Client,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// How far a pull is, over all its layers.
struct Meter {
    done: AtomicU64,
    total: u64,
    report: Option<Progress>,
}

impl Meter {
    fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(report) = &self.report {
            report(done, self.total);
        }
    }

    /// A transfer starts anew.
    fn take_back(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Puller {
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(config: RegistryConfig) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::new(config)?,
            turns: Mutex::default(),
        })
    }

    /// Pulls what `text` names, from a mirror if there is one, else from its registry.
    ///
    /// # Errors
    /// [`Error::Image`] with the registry's reason, [`Error::Invalid`] for what is no reference.
    pub async fn pull(
        &self,
        store: &Arc<ImageStore>,
        text: &str,
        auth: Option<&RegistryAuth>,
        progress: Option<Progress>,
    ) -> Result<Image> {
        let reference = Reference::parse(text)?;
        let key = reference.to_string();
        let turn = Arc::clone(self.turns.lock().entry(key.clone()).or_default());
        let guard = turn.lock().await;
        let pulled = self.pull_anywhere(store, &reference, auth, progress).await;
        drop(guard);
        let mut turns = self.turns.lock();
        // One more reference is ours.
        if Arc::strong_count(&turn) <= 2 {
            turns.remove(&key);
        }
        pulled.map_err(|error| match error {
            Error::Image(reason) => Error::Image(format!(
                "failed to pull and unpack image \"{reference}\": {reason}"
            )),
            Error::Other(error) => Error::Image(format!(
                "failed to pull and unpack image \"{reference}\": {error:#}"
            )),
            other => other,
        })
    }

    async fn pull_anywhere(
        &self,
        store: &Arc<ImageStore>,
        reference: &Reference,
        auth: Option<&RegistryAuth>,
        progress: Option<Progress>,
    ) -> Result<Image> {
        let mut last = Error::Image("no registry to ask".into());
        for session in self.client.sessions(reference, auth) {
            match pull_from(store, reference, &session, progress.clone()).await {
                Ok(image) => return Ok(image),
                Err(error) => {
                    tracing::debug!(image = %reference, %error, "pull failed");
                    last = error;
                }
            }
        }
        Err(last)
    }
}

async fn pull_from(
    store: &Arc<ImageStore>,
    reference: &Reference,
    session: &Session<'_>,
    progress: Option<Progress>,
) -> Result<Image> {
    let _arrival = store.arrival();
    let (digests, manifest) = resolve(reference, session).await?;
    let config_blob = manifest
        .config
        .clone()
        .ok_or_else(|| Error::Image("manifest without config".into()))?;
    let config = fetch_config(session, &config_blob).await?;
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(Error::Image(
            "config and manifest disagree about the number of layers".into(),
        ));
    }
    let missing: Vec<(String, Descriptor)> = config
        .rootfs
        .diff_ids
        .iter()
        .zip(&manifest.layers)
        .filter(|(diff_id, _)| !store.has_layer(diff_id))
        .map(|(diff_id, layer)| (diff_id.clone(), layer.clone()))
        .collect();
    let total = missing.iter().map(|(_, layer)| layer.size).sum();
    let meter = Meter {
        done: AtomicU64::new(0),
        total,
        report: progress,
    };
    meter.add(0);
    stream::iter(missing)
        .map(|(diff_id, layer)| fetch_layer(store, session, &meter, diff_id, layer))
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await?;
    let names: Vec<String> = digests
        .iter()
        .map(|digest| reference.with_digest(digest))
        .collect();
    let (store, tag) = (Arc::clone(store), reference.tagged());
    let added = tokio::task::spawn_blocking(move || {
        store.add_image(&config_blob.digest, config, tag, names)
    })
    .await;
    Ok(added.context("store the image")??)
}

/// The image's manifest with the digests by which it can be named: that of the index, if there is one, and its own.
async fn resolve(reference: &Reference, session: &Session<'_>) -> Result<(Vec<String>, Manifest)> {
    let mut selector = reference.selector().to_owned();
    let mut digests = Vec::new();
    for _ in 0..4 {
        let bytes = session.manifest(&selector).await?;
        let digest = digest_of(&bytes);
        if valid_digest(&selector) && selector != digest {
            return Err(Error::Image(format!(
                "manifest is damaged: its digest is {digest}, not {selector}"
            )));
        }
        digests.push(digest);
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Image(format!("manifest {selector} is damaged: {error}")))?;
        if !manifest.is_index() {
            // By a tag only the outermost digest names the image; the original reports that one alone.
            digests.truncate(1);
            return Ok((digests, manifest));
        }
        let chosen = manifest
            .choose()
            .ok_or_else(|| Error::Image("no match for platform in manifest: not found".into()))?;
        if !valid_digest(&chosen.digest) {
            return Err(Error::Image(format!("unknown digest {:?}", chosen.digest)));
        }
        selector.clone_from(&chosen.digest);
    }
    Err(Error::Image("indexes are nested too deeply".into()))
}

async fn fetch_config(session: &Session<'_>, blob: &Descriptor) -> Result<ImageConfig> {
    if !valid_digest(&blob.digest) {
        return Err(Error::Image(format!("unknown digest {:?}", blob.digest)));
    }
    let bytes = session.small_blob(&blob.digest).await?;
    let found = digest_of(&bytes);
    if found != blob.digest {
        return Err(Error::Image(format!(
            "image config is damaged: its digest is {found}, not {}",
            blob.digest
        )));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::Image(format!("image config is damaged: {error}")))
}

async fn fetch_layer(
    store: &Arc<ImageStore>,
    session: &Session<'_>,
    meter: &Meter,
    diff_id: String,
    layer: Descriptor,
) -> Result<()> {
    if !valid_digest(&layer.digest) {
        return Err(Error::Image(format!("unknown digest {:?}", layer.digest)));
    }
    let scratch = Scratch(store.temporary());
    let mut attempt = 1;
    loop {
        match download(session, meter, &layer, &scratch.0).await {
            Ok(()) => break,
            Err(error @ Error::Image(_)) => return Err(error),
            // The connection broke: worth another try.
            Err(error) if attempt < ATTEMPTS => {
                tracing::debug!(layer = layer.digest, %error, attempt, "fetching a layer broke off");
                attempt += 1;
                tokio::time::sleep(Duration::from_millis(200 * u64::from(attempt))).await;
            }
            Err(error) => return Err(error),
        }
    }
    let store = Arc::clone(store);
    let unpacked = tokio::task::spawn_blocking(move || {
        let done = store.add_layer(&diff_id, || open_buffered(&scratch.0));
        done.with_context(|| format!("failed to extract layer {diff_id}"))
    });
    Ok(unpacked.await.context("unpack")??)
}

async fn download(
    session: &Session<'_>,
    meter: &Meter,
    layer: &Descriptor,
    path: &Path,
) -> Result<()> {
    let mut body = session.blob(&layer.digest).await?.into_body();
    let mut file = tokio::fs::File::create(path)
        .await
        .context("create temporary file")?;
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    let copied = async {
        loop {
            let frame = tokio::time::timeout(STALL, body.frame())
                .await
                .context("the registry sends nothing any more")?;
            let Some(frame) = frame else { return Ok(()) };
            let Ok(data) = frame.context("transfer broke off")?.into_data() else {
                continue;
            };
            hasher.update(&data);
            bytes += data.len() as u64;
            meter.add(data.len() as u64);
            file.write_all(&data)
                .await
                .context("write temporary file")?;
        }
    };
    let copied: anyhow::Result<()> = copied.await;
    if let Err(error) = copied {
        meter.take_back(bytes);
        return Err(error.into());
    }
    file.flush().await.context("write temporary file")?;
    let found = finish(hasher);
    if found != layer.digest || (layer.size != 0 && layer.size != bytes) {
        return Err(Error::Image(format!(
            "failed to copy: failed commit on ref \"layer-{}\": unexpected commit digest {found}, expected {}, {bytes} of {} bytes: failed precondition",
            layer.digest, layer.digest, layer.size
        )));
    }
    Ok(())
}
