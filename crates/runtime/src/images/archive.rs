//! Imports images from tar archives: the layout of `docker save` and the OCI image layout.

use std::{
    collections::HashMap,
    fs,
    io::{BufReader, Cursor, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    digest::{HashRead, digest_of},
    manifest::{Descriptor, ImageConfig, Manifest},
    reference::{Reference, valid_digest},
    store::{ImageStore, Scratch, open_buffered},
};
use crate::types::Image;

/// Larger documents than this are no manifests.
const DOCUMENT_LIMIT: u64 = 8 << 20;

/// Takes gzip or zstd off a stream that may have either, or neither.
///
/// # Errors
/// When the stream cannot be read.
pub(crate) fn decompress(
    mut reader: impl Read + Send + 'static,
) -> anyhow::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::with_capacity(4);
    reader
        .by_ref()
        .take(4)
        .read_to_end(&mut magic)
        .context("read")?;
    let compression = magic.clone();
    let whole = Cursor::new(magic).chain(reader);
    Ok(match compression.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(BufReader::with_capacity(
            256 << 10,
            flate2::read::MultiGzDecoder::new(whole),
        )),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(whole).context("zstd")?),
        _ => Box::new(whole),
    })
}

impl ImageStore {
    /// Imports all images of an archive. `name` names an image that the archive does not name itself.
    ///
    /// # Errors
    /// When the archive is damaged, holds no image for this machine, or has an image without a name.
    pub fn import(
        &self,
        archive: impl Read + Send + 'static,
        name: Option<&str>,
    ) -> anyhow::Result<Vec<Image>> {
        let _arrival = self.arrival();
        let scratch = Scratch(self.temporary());
        fs::create_dir(&scratch.0)?;
        let files = Files::spool(archive, &scratch.0)?;
        if files.has("index.json") {
            import_oci(self, &files, name)
        } else if files.has("manifest.json") {
            import_docker(self, &files, name)
        } else {
            bail!("neither an OCI archive (index.json) nor a docker archive (manifest.json)")
        }
    }
}

/// The archive's files, spooled under numbers so that no name in it matters to the disk.
struct Files {
    files: HashMap<PathBuf, PathBuf>,
    links: HashMap<PathBuf, PathBuf>,
}

impl Files {
    fn spool(archive: impl Read + Send + 'static, dir: &Path) -> anyhow::Result<Self> {
        let mut files = Self {
            files: HashMap::new(),
            links: HashMap::new(),
        };
        let mut archive = tar::Archive::new(decompress(archive)?);
        for (number, entry) in archive.entries().context("not a tar archive")?.enumerate() {
            let mut entry = entry.context("damaged tar archive")?;
            let name = normal(&entry.path()?);
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let path = dir.join(number.to_string());
                let mut file = fs::File::create(&path)?;
                std::io::copy(&mut entry, &mut file)
                    .with_context(|| format!("read {}", name.display()))?;
                files.files.insert(name, path);
            } else if let (true, Some(target)) =
                (kind.is_symlink() || kind.is_hard_link(), entry.link_name()?)
            {
                let from = if kind.is_symlink() {
                    name.parent().unwrap_or(Path::new(""))
                } else {
                    Path::new("")
                };
                files.links.insert(name.clone(), normal(&from.join(target)));
            }
        }
        Ok(files)
    }

    fn has(&self, name: &str) -> bool {
        self.path(name).is_ok()
    }

    fn path(&self, name: &str) -> anyhow::Result<&Path> {
        let mut name = normal(Path::new(name));
        // `docker save` links layers that images share; a chain longer than this is a loop.
        for _ in 0..8 {
            if let Some(path) = self.files.get(&name) {
                return Ok(path);
            }
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None => break,
            }
        }
        Err(anyhow!("the archive lacks {}", name.display()))
    }

    fn read(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let file = fs::File::open(self.path(name)?)?;
        if file.metadata()?.len() > DOCUMENT_LIMIT {
            bail!("{name} is too large for a manifest");
        }
        let mut bytes = Vec::new();
        file.take(DOCUMENT_LIMIT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        serde_json::from_slice(&self.read(name)?).with_context(|| format!("{name} is damaged"))
    }

    /// Reads a small blob and verifies its digest.
    fn blob(&self, descriptor: &Descriptor) -> anyhow::Result<Vec<u8>> {
        let bytes = self.read(&blob_name(&descriptor.digest)?)?;
        let found = digest_of(&bytes);
        if found != descriptor.digest {
            bail!(
                "blob {} is damaged: its content is {found}",
                descriptor.digest
            );
        }
        Ok(bytes)
    }
}

fn blob_name(digest: &str) -> anyhow::Result<String> {
    if !valid_digest(digest) {
        bail!("unknown digest {digest:?}");
    }
    Ok(digest.replacen(':', "/", 1)).map(|path| format!("blobs/{path}"))
}

/// Path without `.` and with `..` taken back; names inside the archive only.
fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

fn import_oci(store: &ImageStore, files: &Files, name: Option<&str>) -> anyhow::Result<Vec<Image>> {
    let index: Manifest = files.json("index.json")?;
    let mut images = Vec::new();
    for entry in &index.manifests {
        let tag = oci_name(entry, name)?;
        let (digest, manifest) = oci_manifest(files, entry)?;
        let config_blob = manifest
            .config
            .as_ref()
            .context("manifest without config")?;
        let config: ImageConfig =
            serde_json::from_slice(&files.blob(config_blob)?).context("image config is damaged")?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            bail!("config and manifest disagree about the number of layers");
        }
        for (diff_id, layer) in config.rootfs.diff_ids.iter().zip(&manifest.layers) {
            let path = files.path(&blob_name(&layer.digest)?)?;
            if !store.has_layer(diff_id) {
                verify(path, &layer.digest)?;
            }
            store
                .add_layer(diff_id, || open_buffered(path))
                .with_context(|| format!("layer {}", layer.digest))?;
        }
        let digests = tag
            .iter()
            .map(|tag| tag.with_digest(&digest))
            .collect::<Vec<_>>();
        images.push(store.add_image(
            &config_blob.digest,
            config,
            tag.and_then(|t| t.tagged()),
            digests,
        )?);
    }
    if images.is_empty() {
        bail!("the archive holds no image");
    }
    Ok(images)
}

/// Follows nested indexes to the manifest for this machine.
fn oci_manifest(files: &Files, entry: &Descriptor) -> anyhow::Result<(String, Manifest)> {
    let mut at = entry.clone();
    for _ in 0..4 {
        let manifest: Manifest =
            serde_json::from_slice(&files.blob(&at)?).context("manifest is damaged")?;
        if !manifest.is_index() {
            return Ok((at.digest, manifest));
        }
        at = manifest
            .choose()
            .context("the image is not made for this machine's architecture")?
            .clone();
    }
    bail!("indexes are nested too deeply")
}

/// The full name in containerd's annotation, else the OCI one, which may be only a tag.
fn oci_name(entry: &Descriptor, given: Option<&str>) -> anyhow::Result<Option<Reference>> {
    let full = entry.annotations.get("io.containerd.image.name");
    let reference = entry.annotations.get("org.opencontainers.image.ref.name");
    let text = match (given, full, reference) {
        (Some(given), ..) => given.to_owned(),
        (None, Some(full), _) => full.clone(),
        (None, None, Some(name)) if name.contains(['/', ':']) => name.clone(),
        (None, None, Some(tag)) => {
            bail!("the archive names only a tag ({tag}): say what the image is to be called")
        }
        (None, None, None) => return Ok(None),
    };
    Ok(Some(Reference::parse(&text)?))
}

fn verify(path: &Path, digest: &str) -> anyhow::Result<()> {
    let (found, _) = HashRead::new(open_buffered(path)?).finish()?;
    if found != digest {
        bail!("blob {digest} is damaged: its content is {found}");
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn import_docker(
    store: &ImageStore,
    files: &Files,
    name: Option<&str>,
) -> anyhow::Result<Vec<Image>> {
    let listed: Vec<DockerImage> = files.json("manifest.json")?;
    let mut images = Vec::new();
    for image in listed {
        let config_bytes = files.read(&image.config)?;
        let config: ImageConfig =
            serde_json::from_slice(&config_bytes).context("image config is damaged")?;
        if config.rootfs.diff_ids.len() != image.layers.len() {
            bail!("config and manifest disagree about the number of layers");
        }
        for (diff_id, layer) in config.rootfs.diff_ids.iter().zip(&image.layers) {
            let path = files.path(layer)?;
            store
                .add_layer(diff_id, || open_buffered(path))
                .with_context(|| format!("layer {layer}"))?;
        }
        let names = match name {
            Some(name) => vec![name.to_owned()],
            None => image.repo_tags.unwrap_or_default(),
        };
        let tags = names
            .iter()
            .map(|n| Ok(Reference::parse(n)?.tagged()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        images.push(store.add_image(
            &digest_of(&config_bytes),
            config,
            tags.into_iter().flatten(),
            [],
        )?);
    }
    if images.is_empty() {
        bail!("the archive holds no image");
    }
    Ok(images)
}
