//! Changes as they stand in a watch's stream: a line of JSON each, or a protobuf message behind its length.

use bytes::{Bytes, BytesMut};
use knarr_api::{Status, encode::protobuf};

use crate::{accept::Format, respond};

/// What a stream of such frames is called.
pub fn content_type(format: Format) -> &'static str {
    match format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Format::Json | Format::Yaml => respond::JSON,
    }
}

/// A change of an object that is told in JSON, as a frame.
pub fn frame(format: Format, kind: &str, json: &[u8]) -> Bytes {
    match format {
        Format::Protobuf => protobuf::watch_frame(kind, json).map_or_else(
            |error| {
                tracing::error!(%error, "a change could not be told");
                failure(format, &Status::internal(error))
            },
            Bytes::from,
        ),
        Format::Json | Format::Yaml => line(kind, json),
    }
}

/// An ERROR frame.
pub fn failure(format: Format, status: &Status) -> Bytes {
    let json = serde_json::to_vec(status).unwrap_or_default();
    match format {
        // A Status always has a message; nothing is said should it not.
        Format::Protobuf => protobuf::watch_frame("ERROR", &json)
            .map(Bytes::from)
            .unwrap_or_default(),
        Format::Json | Format::Yaml => line("ERROR", &json),
    }
}

fn line(kind: &str, json: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(json.len() + kind.len() + 25);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(json);
    out.extend_from_slice(b"}\n");
    out.freeze()
}

/// Takes the first of several frames that stand behind each other: its bytes without the length before it.
pub fn split(format: Format, frames: &mut Bytes) -> Option<Bytes> {
    if format != Format::Protobuf {
        let end = frames.iter().position(|b| *b == b'\n')?;
        return Some(frames.split_to(end + 1));
    }
    let length = frames.get(..4)?.try_into().map(u32::from_be_bytes).ok()?;
    let length = usize::try_from(length).ok()?;
    if frames.len() < 4 + length {
        return None;
    }
    let mut first = frames.split_to(4 + length);
    Some(first.split_off(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_split_where_they_were_joined() {
        let object = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
        for format in [Format::Json, Format::Protobuf] {
            let one = frame(format, "ADDED", object);
            let mut both =
                Bytes::from([&one[..], &failure(format, &Status::expired("x"))].concat());
            let first = split(format, &mut both).unwrap();
            assert!(one.ends_with(&first));
            assert!(split(format, &mut both).is_some() && both.is_empty());
            assert_eq!(split(format, &mut both), None);
        }
    }
}
