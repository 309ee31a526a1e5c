//! Images: where they come from (registries, archives, files at hand) and how they lie on disk.

mod archive;
mod build;
mod challenge;
mod digest;
mod manifest;
mod pull;
mod reference;
mod registry;
mod store;
mod unpack;

pub use build::{ImageBuilder, Node, Packing};
pub use digest::digest_of;
pub use manifest::RunConfig;
pub use pull::Puller;
pub use reference::Reference;
pub use registry::RegistryConfig;
pub use store::{ImageStore, Prepared};

/// While it lives, layers that no image needs yet are not collected.
pub(crate) struct Arrival<'a>(&'a ImageStore);

impl ImageStore {
    /// Call it before looking which layers are missing.
    pub(crate) fn arrival(&self) -> Arrival<'_> {
        *self.arriving.lock() += 1;
        Arrival(self)
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        *self.0.arriving.lock() -= 1;
    }
}
