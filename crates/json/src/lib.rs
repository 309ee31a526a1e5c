//! JSON values as the API server holds them while it works on an object.
//!
//! They read like `serde_json`'s, and differ in what they cost. An API object is a tree of some hundred small maps, and
//! every write makes several of them: what was stored, what was sent, what comes of both. Here
//! - a map is one sorted run of entries, not a tree of nodes ([`Map`]);
//! - texts of up to 24 bytes, which nearly all names and most values are, need no allocation, nor do names known beforehand
//!   ([`Text`]);
//! - a copy of a value shares all that is below, and a change copies the way down to it only; what is shared is equal
//!   without being looked at ([`Value::same`]).
//!
//! Maps are sorted by their keys' bytes, so equal values have equal texts.

mod array;
mod convert;
mod de;
mod macros;
mod map;
mod reader;
mod ser;
mod value;

pub use array::Array;
pub use de::from_value;
pub use map::{Entry, IntoIter, Iter, IterMut, Map, OccupiedEntry, VacantEntry};
pub use ser::to_value;
pub use serde_json::Number;
pub use value::{Index, Value};

/// A text: a key or a string.
pub type Text = compact_str::CompactString;

#[doc(hidden)]
pub mod __private {
    /// The value of an expression inside `json!`.
    ///
    /// # Panics
    /// When it cannot be one: its serializer fails, or it has keys that are no text.
    pub fn leaf(value: impl serde::Serialize) -> crate::Value {
        match crate::to_value(value) {
            Ok(value) => value,
            Err(error) => panic!("json!: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
