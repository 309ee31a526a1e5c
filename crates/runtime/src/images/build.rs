//! Builds images from files at hand, for demonstrations and tests.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context;
use serde_json::json;
use tar::{Builder, EntryType, Header};

use super::{
    digest::digest_of,
    manifest::{
        Descriptor, Manifest, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, RunConfig,
        host_architecture,
    },
    reference::Reference,
};

/// Something in a layer.
#[derive(Debug, Clone)]
pub enum Node {
    File { mode: u32, content: Vec<u8> },
    Directory { mode: u32 },
    Symlink { target: String },
}

/// How layers are packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Packing {
    #[default]
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    fn media_type(self) -> String {
        match self {
            Self::Plain => OCI_LAYER.to_owned(),
            Self::Gzip => format!("{OCI_LAYER}+gzip"),
            Self::Zstd => format!("{OCI_LAYER}+zstd"),
        }
    }

    fn pack(self, tar: Vec<u8>) -> std::io::Result<Vec<u8>> {
        use std::io::Write;
        match self {
            Self::Plain => Ok(tar),
            Self::Gzip => {
                let mut gzip =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                gzip.write_all(&tar)?;
                gzip.finish()
            }
            Self::Zstd => zstd::encode_all(tar.as_slice(), 0),
        }
    }
}

/// Puts together an image of one or more layers.
///
/// ```
/// let archive = knarr_runtime::images::ImageBuilder::new("demo:1")
///     .file("/hello", 0o755, b"#!/bin/sh\n".to_vec())
///     .entrypoint(["/hello"])
///     .build()
///     .unwrap();
/// assert!(!archive.is_empty());
/// ```
#[derive(Debug, Clone, Default)]
pub struct ImageBuilder {
    name: String,
    config: RunConfig,
    layers: Vec<BTreeMap<String, Node>>,
    packing: Packing,
}

impl ImageBuilder {
    /// An image that the archive calls `name`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            config: RunConfig::default(),
            layers: vec![BTreeMap::new()],
            packing: Packing::Plain,
        }
    }

    /// What follows goes into a further layer.
    #[must_use]
    pub fn layer(mut self) -> Self {
        self.layers.push(BTreeMap::new());
        self
    }

    fn node(mut self, path: &str, node: Node) -> Self {
        if let Some(layer) = self.layers.last_mut() {
            layer.insert(path.trim_start_matches('/').to_owned(), node);
        }
        self
    }

    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.node(
            path,
            Node::File {
                mode,
                content: content.into(),
            },
        )
    }

    #[must_use]
    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.node(path, Node::Directory { mode })
    }

    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.node(
            path,
            Node::Symlink {
                target: target.to_owned(),
            },
        )
    }

    #[must_use]
    pub fn entrypoint<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.config.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    #[must_use]
    pub fn cmd<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.config.cmd = words.into_iter().map(Into::into).collect();
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.config.env.push(format!("{name}={value}"));
        self
    }

    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.config.user);
        self
    }

    #[must_use]
    pub fn working_dir(mut self, dir: &str) -> Self {
        dir.clone_into(&mut self.config.working_dir);
        self
    }

    #[must_use]
    pub fn stop_signal(mut self, signal: &str) -> Self {
        signal.clone_into(&mut self.config.stop_signal);
        self
    }

    /// How all layers are packed.
    #[must_use]
    pub fn packing(mut self, packing: Packing) -> Self {
        self.packing = packing;
        self
    }

    /// The image as an OCI archive.
    ///
    /// # Errors
    /// When the name is no reference or a path is too strange for tar.
    pub fn build(&self) -> anyhow::Result<Vec<u8>> {
        let reference = Reference::parse(&self.name)?;
        let mut blobs = Blobs {
            archive: Builder::new(Vec::new()),
        };
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for layer in &self.layers {
            let tar = layer_tar(layer)?;
            diff_ids.push(digest_of(&tar));
            layers.push(blobs.add(&self.packing.media_type(), &self.packing.pack(tar)?)?);
        }
        let config = json!({
            "architecture": host_architecture(),
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = blobs.add(OCI_CONFIG, &serde_json::to_vec(&config)?)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.into(),
            config: Some(config),
            layers,
            manifests: Vec::new(),
        };
        let mut entry = blobs.add(OCI_MANIFEST, &serde_json::to_vec(&manifest)?)?;
        entry
            .annotations
            .insert("io.containerd.image.name".into(), reference.to_string());
        let index = Manifest {
            schema_version: 2,
            media_type: OCI_INDEX.into(),
            manifests: vec![entry],
            ..Manifest::default()
        };
        blobs.put("index.json", &serde_json::to_vec(&index)?)?;
        blobs.put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        blobs.archive.into_inner().context("finish archive")
    }
}

struct Blobs {
    archive: Builder<Vec<u8>>,
}

impl Blobs {
    fn add(&mut self, media_type: &str, bytes: &[u8]) -> anyhow::Result<Descriptor> {
        let digest = digest_of(bytes);
        self.put(&format!("blobs/{}", digest.replacen(':', "/", 1)), bytes)?;
        Ok(Descriptor {
            media_type: media_type.into(),
            digest,
            size: bytes.len() as u64,
            ..Descriptor::default()
        })
    }

    fn put(&mut self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let mut header = header(EntryType::Regular, 0o644);
        header.set_size(bytes.len() as u64);
        Ok(self.archive.append_data(&mut header, path, bytes)?)
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn layer_tar(nodes: &BTreeMap<String, Node>) -> anyhow::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (path, node) in nodes {
        let path = Path::new(path);
        match node {
            Node::File { mode, content } => {
                let mut header = header(EntryType::Regular, *mode);
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, path, content.as_slice())?;
            }
            Node::Directory { mode } => {
                tar.append_data(
                    &mut header(EntryType::Directory, *mode),
                    path,
                    std::io::empty(),
                )?;
            }
            Node::Symlink { target } => {
                tar.append_link(&mut header(EntryType::Symlink, 0o777), path, target)?;
            }
        }
    }
    tar.into_inner().context("finish layer")
}
