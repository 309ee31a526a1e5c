//! What is on disk: unpacked layers in numbered directories, and one index of images and layers.
//!
//! ```text
//! <root>/index.json      images and layers; replaced as a whole
//! <root>/layers/<n>/     one unpacked layer, as overlayfs stacks it
//! <root>/tmp/            what is being fetched or unpacked; emptied when the store is opened
//! ```
//! Directories are numbered rather than named by digest because all of an image's layers have to fit into one mount option.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    io::{BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{
    archive::decompress,
    digest::HashRead,
    manifest::{ImageConfig, RunConfig},
    reference::{Reference, valid_digest},
    unpack::unpack,
};
use crate::{
    disk::{sync_file_system, write_atomically},
    types::{Error, Image, Result},
};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    images: BTreeMap<String, ImageRecord>,
    layers: BTreeMap<String, LayerRecord>,
}

/// An image that is complete on disk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct ImageRecord {
    tags: BTreeSet<String>,
    /// `name@sha256:…` of the manifests and indexes it was pulled by.
    digests: BTreeSet<String>,
    config: RunConfig,
    /// From the lowest layer to the topmost.
    diff_ids: Vec<String>,
    pinned: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct LayerRecord {
    directory: u64,
    /// Bytes, unpacked.
    size: u64,
}

/// What a container needs of its image.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub id: String,
    pub config: RunConfig,
    /// Layer directories relative to [`ImageStore::layers_dir`], the lowest first.
    pub layers: Vec<String>,
}

/// Images of one node. Methods that touch the disk block; async callers go through `spawn_blocking`.
pub struct ImageStore {
    root: PathBuf,
    index: Mutex<Index>,
    /// Layers that containers are made of, by container id: not collected although no image needs them any more.
    held: Mutex<HashMap<String, Vec<String>>>,
    /// Number of the next layer directory.
    next: Mutex<u64>,
    /// One unpacking per layer at a time; others wait and find it done.
    unpacking: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    /// Pulls and imports under way: what they found must not be collected under them.
    pub(crate) arriving: Mutex<usize>,
}

impl ImageStore {
    /// Opens or creates the store and removes what an interrupted pull left.
    ///
    /// # Errors
    /// When the directory is not writable or the index is damaged.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        let tmp = root.join("tmp");
        if tmp.exists() {
            fs::remove_dir_all(&tmp).with_context(|| format!("clear {}", tmp.display()))?;
        }
        for dir in [&tmp, &root.join("layers")] {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let path = root.join("index.json");
        let index = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Index::default(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let store = Self {
            root: root.to_owned(),
            index: Mutex::new(index),
            held: Mutex::default(),
            next: Mutex::new(1),
            unpacking: Mutex::default(),
            arriving: Mutex::new(0),
        };
        store.reconcile()?;
        Ok(store)
    }

    /// Where [`Prepared::layers`] are.
    #[must_use]
    pub fn layers_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    fn layer_path(&self, directory: u64) -> PathBuf {
        self.root.join("layers").join(directory.to_string())
    }

    /// Brings index and directories together: a process may have died between renaming a layer into place and noting it.
    fn reconcile(&self) -> anyhow::Result<()> {
        let mut index = self.index.lock();
        index
            .layers
            .retain(|_, layer| self.layer_path(layer.directory).is_dir());
        let Index { images, layers } = &mut *index;
        images.retain(|id, image| {
            let complete = image
                .diff_ids
                .iter()
                .all(|diff_id| layers.contains_key(diff_id));
            if !complete {
                tracing::warn!(image = id, "an image lacks layers on disk; forgetting it");
            }
            complete
        });
        let known: HashSet<String> = layers.values().map(|l| l.directory.to_string()).collect();
        for entry in fs::read_dir(self.layers_dir())? {
            let entry = entry?;
            if !known.contains(&*entry.file_name().to_string_lossy()) {
                fs::remove_dir_all(entry.path())
                    .with_context(|| format!("remove {}", entry.path().display()))?;
            }
        }
        *self.next.lock() = 1 + layers.values().map(|l| l.directory).max().unwrap_or(0);
        Ok(())
    }

    /// A fresh name under `tmp`.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.root
            .join("tmp")
            .join(uuid::Uuid::new_v4().simple().to_string())
    }

    /// Is this layer unpacked here?
    #[must_use]
    pub fn has_layer(&self, diff_id: &str) -> bool {
        self.index.lock().layers.contains_key(diff_id)
    }

    /// Unpacks a layer unless it is there already. `open` gives the stream, compressed or not; compression is told by its
    /// first bytes. The layer appears only once its digest is verified and it is on disk.
    pub(crate) fn add_layer<R: Read + Send + 'static>(
        &self,
        diff_id: &str,
        open: impl FnOnce() -> anyhow::Result<R>,
    ) -> anyhow::Result<()> {
        let turn = Arc::clone(self.unpacking.lock().entry(diff_id.to_owned()).or_default());
        let guard = turn.lock();
        let done = if self.has_layer(diff_id) {
            Ok(())
        } else {
            self.unpack_layer(diff_id, open)
        };
        drop(guard);
        self.unpacking.lock().remove(diff_id);
        done
    }

    fn unpack_layer<R: Read + Send + 'static>(
        &self,
        diff_id: &str,
        open: impl FnOnce() -> anyhow::Result<R>,
    ) -> anyhow::Result<()> {
        let scratch = Scratch(self.temporary());
        fs::create_dir(&scratch.0)?;
        // Unless the layer says otherwise.
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755))?;
        let mut plain = HashRead::new(decompress(open()?)?);
        let size = unpack(&mut plain, &scratch.0)?;
        let (found, _) = plain.finish()?;
        if found != diff_id {
            bail!("layer is damaged: its content is {found}, not {diff_id}");
        }
        sync_file_system(&scratch.0)?;
        let mut index = self.index.lock();
        // Another may have been faster after a first failure; containers may stand on its directory already.
        if index.layers.contains_key(diff_id) {
            return Ok(());
        }
        let directory = {
            let mut next = self.next.lock();
            *next += 1;
            *next - 1
        };
        fs::rename(&scratch.0, self.layer_path(directory))?;
        index
            .layers
            .insert(diff_id.to_owned(), LayerRecord { directory, size });
        self.save(&index)
    }

    /// Records an image whose layers are all here. Its tags are taken from whatever image had them.
    pub(crate) fn add_image(
        &self,
        id: &str,
        config: ImageConfig,
        tags: impl IntoIterator<Item = String>,
        digests: impl IntoIterator<Item = String>,
    ) -> anyhow::Result<Image> {
        let mut index = self.index.lock();
        if let Some(missing) = config
            .rootfs
            .diff_ids
            .iter()
            .find(|d| !index.layers.contains_key(*d))
        {
            bail!("image {id} lacks layer {missing}");
        }
        let tags: BTreeSet<String> = tags.into_iter().collect();
        for image in index.images.values_mut() {
            image.tags.retain(|tag| !tags.contains(tag));
        }
        let record = index.images.entry(id.to_owned()).or_default();
        record.tags.extend(tags);
        record.digests.extend(digests);
        record.config = config.config;
        record.diff_ids = config.rootfs.diff_ids;
        self.save(&index)?;
        Ok(describe(&index, id))
    }

    fn save(&self, index: &Index) -> anyhow::Result<()> {
        write_atomically(&self.root.join("index.json"), &serde_json::to_vec(index)?)
    }

    /// All images.
    #[must_use]
    pub fn list(&self) -> Vec<Image> {
        let index = self.index.lock();
        index.images.keys().map(|id| describe(&index, id)).collect()
    }

    /// Finds an image by id (with or without `sha256:`), tag or digest reference.
    ///
    /// # Errors
    /// When the text is neither an id nor a reference.
    pub fn find(&self, text: &str) -> Result<Option<Image>> {
        let index = self.index.lock();
        Ok(resolve(&index, text)?.map(|id| describe(&index, &id)))
    }

    /// What a container of this image is made of; its layers are kept until [`release`](Self::release).
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such image.
    pub fn prepare(&self, text: &str, container: &str) -> Result<Prepared> {
        let index = self.index.lock();
        let missing = || Error::NotFound(format!("image \"{text}\""));
        let id = resolve(&index, text)?.ok_or_else(missing)?;
        let image = index.images.get(&id).ok_or_else(missing)?;
        let layers: Vec<String> = image
            .diff_ids
            .iter()
            .filter_map(|d| index.layers.get(d))
            .map(|l| l.directory.to_string())
            .collect();
        self.held
            .lock()
            .insert(container.to_owned(), layers.clone());
        Ok(Prepared {
            id,
            config: image.config.clone(),
            layers,
        })
    }

    /// Keeps layers for a container that was found running.
    pub fn hold(&self, container: &str, layers: Vec<String>) {
        self.held.lock().insert(container.to_owned(), layers);
    }

    /// The container is gone.
    pub fn release(&self, container: &str) {
        self.held.lock().remove(container);
    }

    /// Takes a name from an image, and removes the image when that was its last name or the text is its id.
    ///
    /// # Errors
    /// When the text is no reference or the disk refuses. An unknown image is success.
    pub fn remove(&self, text: &str) -> Result<()> {
        {
            let mut index = self.index.lock();
            let Some(id) = resolve(&index, text)? else {
                return Ok(());
            };
            let tag = Reference::parse(text).ok().and_then(|r| r.tagged());
            let record = index.images.entry(id.clone()).or_default();
            match tag {
                Some(tag) if record.tags.contains(&tag) && record.tags.len() > 1 => {
                    record.tags.remove(&tag);
                }
                _ => {
                    index.images.remove(&id);
                }
            }
            self.save(&index)?;
        }
        self.collect_layers()?;
        Ok(())
    }

    /// Removes layers that no image and no container needs. Returns the bytes that became free.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn collect_layers(&self) -> anyhow::Result<u64> {
        if *self.arriving.lock() > 0 {
            return Ok(0);
        }
        let mut index = self.index.lock();
        let held: HashSet<String> = self.held.lock().values().flatten().cloned().collect();
        let Index { images, layers } = &mut *index;
        let needed: HashSet<&String> = images.values().flat_map(|image| &image.diff_ids).collect();
        let gone: Vec<LayerRecord> = layers
            .extract_if(.., |id, layer| {
                !needed.contains(id) && !held.contains(&layer.directory.to_string())
            })
            .map(|(_, layer)| layer)
            .collect();
        if gone.is_empty() {
            return Ok(0);
        }
        self.save(&index)?;
        drop(index);
        for layer in &gone {
            let path = self.layer_path(layer.directory);
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(gone.iter().map(|layer| layer.size).sum())
    }

    /// Marks an image that the kubelet's garbage collection must leave alone.
    ///
    /// # Errors
    /// When there is no such image or the disk refuses.
    pub fn pin(&self, text: &str) -> Result<()> {
        let mut index = self.index.lock();
        let id =
            resolve(&index, text)?.ok_or_else(|| Error::NotFound(format!("image \"{text}\"")))?;
        index.images.entry(id).or_default().pinned = true;
        Ok(self.save(&index)?)
    }
}

fn describe(index: &Index, id: &str) -> Image {
    let record = index.images.get(id).cloned().unwrap_or_default();
    Image {
        id: id.to_owned(),
        repo_tags: record.tags.into_iter().collect(),
        repo_digests: record.digests.into_iter().collect(),
        size: record
            .diff_ids
            .iter()
            .filter_map(|d| index.layers.get(d))
            .map(|l| l.size)
            .sum(),
        user: record.config.user,
        volumes: record.config.volumes.into_keys().collect(),
        pinned: record.pinned,
    }
}

fn resolve(index: &Index, text: &str) -> Result<Option<String>> {
    let as_id = if text.starts_with("sha256:") {
        text.to_owned()
    } else {
        format!("sha256:{text}")
    };
    if index.images.contains_key(&as_id) {
        return Ok(Some(as_id));
    }
    if valid_digest(text) {
        return Ok(None);
    }
    let wanted = Reference::parse(text)?;
    let named = |image: &ImageRecord| match (&wanted.digest, wanted.tagged()) {
        (Some(digest), _) => image.digests.contains(&wanted.with_digest(digest)),
        (None, Some(tag)) => image.tags.contains(&tag),
        (None, None) => false,
    };
    Ok(index
        .images
        .iter()
        .find(|(_, image)| named(image))
        .map(|(id, _)| id.clone()))
}

/// A directory or file that goes away unless it was renamed.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let gone = if self.0.is_dir() {
            fs::remove_dir_all(&self.0)
        } else {
            fs::remove_file(&self.0)
        };
        if let Err(error) = gone
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "could not remove a temporary file");
        }
    }
}

/// Opens a file for [`ImageStore::add_layer`].
pub(crate) fn open_buffered(path: &Path) -> anyhow::Result<BufReader<fs::File>> {
    let file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    Ok(BufReader::with_capacity(256 << 10, file))
}
