//! What happens to the bytes of an object between memory and the engine that keeps them: encryption at rest.

use std::fmt::Debug;

use bytes::Bytes;

/// Changes bytes on their way to disk (or etcd) and back. Readers, lists and watches only ever see plain bytes.
///
/// It is called from the store's own threads, so it must neither block for long nor need a runtime. What is kept plain must
/// begin with `{`; what is sealed must not, so that both can be told apart while a store is being moved from one to
/// the other.
pub trait Transformer: Send + Sync + Debug {
    /// The bytes to keep for `key`; `None` keeps `plain` as it is.
    ///
    /// # Errors
    /// One line that says why the object cannot be written now.
    fn seal(&self, key: &str, plain: &[u8]) -> Result<Option<Vec<u8>>, String>;

    /// The plain bytes of what was kept for `key`; `None` when they are plain already.
    ///
    /// # Errors
    /// One line that says why they cannot be read, such as a key that is missing.
    fn open(&self, key: &str, kept: &[u8]) -> Result<Option<Bytes>, String>;

    /// Whether what is kept for `key` should be written anew though it would not change: it is sealed otherwise than
    /// it would be sealed now.
    fn stale(&self, key: &str) -> bool {
        let _ = key;
        false
    }
}
