//! Objects as bytes.

mod json;
mod number;
pub mod openapi;
pub mod protobuf;
mod value;
mod wire;

pub use json::Malformed;
pub use number::{to_vec, to_writer};
pub use value::write;
pub(crate) use value::{entries, string};

/// An object's metadata, as it stands in its JSON text.
///
/// # Errors
/// When the text is no object with metadata.
pub fn metadata(object: &[u8]) -> Result<&[u8], Malformed> {
    let mut json = json::Json::new(object);
    json.take(b'{')?;
    let mut first = true;
    while let Some(key) = json.key(&mut first)? {
        if key.raw == b"metadata" {
            return json.raw();
        }
        json.skip()?;
    }
    Err(Malformed(object.len()))
}
