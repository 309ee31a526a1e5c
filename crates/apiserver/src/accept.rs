//! What form of answer a client takes, from its `Accept` header.

use knarr_api::{Status, decode, status::Details};

use crate::Outcome;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Json,
    Yaml,
}

/// What an answer shows of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    #[default]
    Whole,
    Table,
    Partial,
    PartialList,
}

/// The form agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accept {
    pub format: Format,
    pub shape: Shape,
    /// `meta.k8s.io/v1beta1` instead of `v1` was asked for.
    pub beta: bool,
    pub pretty: bool,
}

const KNOWN: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

struct Clause<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
    /// Thousandths.
    quality: u32,
}

impl Clause<'_> {
    fn param(&self, key: &str) -> Option<&str> {
        self.params.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut out: Vec<Clause> = header
        .split(',')
        .map(|text| {
            let mut parts = text.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let params: Vec<_> = parts
                .filter_map(|p| p.split_once('='))
                .map(|(k, v)| (k.trim(), v.trim()))
                .collect();
            let quality = params
                .iter()
                .find(|(k, _)| *k == "q")
                .and_then(|(_, v)| v.parse::<f32>().ok())
                .unwrap_or(1.0);
            Clause {
                media,
                params,
                quality: (quality.clamp(0.0, 1.0) * 1000.0) as u32,
            }
        })
        .collect();
    out.sort_by_key(|clause| std::cmp::Reverse(clause.quality));
    out
}

/// Chooses among `shapes` by the header; none when nothing fits. No header means JSON.
pub fn choose(header: Option<&str>, shapes: &[Shape]) -> Option<Accept> {
    let header = header.unwrap_or_default().trim();
    if header.is_empty() {
        return Some(Accept::default());
    }
    clauses(header).iter().find_map(|clause| {
        let format = match clause.media {
            "application/json" | "*/*" => Format::Json,
            "application/yaml" => Format::Yaml,
            _ => return None,
        };
        let shape = match clause.param("as") {
            None => Shape::Whole,
            Some("Table") => Shape::Table,
            Some("PartialObjectMetadata") => Shape::Partial,
            Some("PartialObjectMetadataList") => Shape::PartialList,
            Some(_) => return None,
        };
        let beta = clause.param("v") == Some("v1beta1");
        let fits = shape == Shape::Whole
            || (shapes.contains(&shape)
                && clause.param("g") == Some("meta.k8s.io")
                && matches!(clause.param("v"), Some("v1" | "v1beta1")));
        fits.then_some(Accept {
            format,
            shape,
            beta,
            pretty: false,
        })
    })
}

/// [`choose`] for a request.
///
/// # Errors
/// 406.
pub fn negotiate(header: Option<&str>, shapes: &[Shape], watch: bool) -> Outcome<Accept> {
    if let Some(accept) = choose(header, shapes) {
        return Ok(accept);
    }
    let all = [Shape::Table, Shape::Partial, Shape::PartialList];
    if choose(header, &all).is_some() {
        let why = "the object of this request cannot be shown in the form that was asked for";
        return Err(Status::failure(406, "NotAcceptable", why).into());
    }
    let more = if watch {
        ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        ""
    };
    let message = format!("406: Not Acceptable\n\nAvailable representations: {KNOWN}{more}");
    let mut status = Status::failure(406, "NotAcceptable", message);
    status.details = Some(Details::default());
    Err(status.into())
}

/// How a body is written, from its content type.
///
/// # Errors
/// 415.
pub fn body_format(content_type: Option<&str>) -> Outcome<decode::Format> {
    match content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
    {
        "" | "application/json" => Ok(decode::Format::Json),
        "application/yaml" => Ok(decode::Format::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(decode::Format::Protobuf),
        _ => {
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: {KNOWN}"
            );
            Err(Status::failure(415, "UnsupportedMediaType", message).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_choose_form() {
        let all = [Shape::Table, Shape::Partial];
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(choose(Some(table), &all).unwrap().shape, Shape::Table);
        assert_eq!(choose(Some(table), &[]).unwrap().shape, Shape::Whole);
        assert_eq!(
            choose(
                Some("application/xml, application/json;q=0.1, application/yaml;q=0.5"),
                &all
            )
            .unwrap()
            .format,
            Format::Yaml
        );
        assert_eq!(
            choose(
                Some("application/vnd.kubernetes.protobuf,application/json"),
                &all
            )
            .unwrap()
            .format,
            Format::Json
        );
        assert_eq!(choose(None, &all), Some(Accept::default()));
        for bad in [
            "text/plain",
            "application/*",
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        ] {
            assert_eq!(choose(Some(bad), &all), None, "{bad}");
        }
    }
}
