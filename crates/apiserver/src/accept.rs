//! What form of answer a client takes, from its `Accept` header.

use knarr_api::{Status, decode, status::Details};

use crate::Outcome;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Json,
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// What an answer shows of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    #[default]
    Whole,
    Table,
    Partial,
    PartialList,
    /// All groups with their versions and resources: aggregated discovery.
    Groups,
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
const STREAMS: &str =
    "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// One of the things that a client takes.
pub struct Clause<'a> {
    pub media: &'a str,
    params: Vec<(&'a str, &'a str)>,
    /// Thousandths.
    quality: u32,
}

impl Clause<'_> {
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }
}

/// What a client takes, best liked first.
pub fn clauses(header: &str) -> Vec<Clause<'_>> {
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
    // Of those liked the same, exact ones come before wildcards.
    out.sort_by_key(|clause| {
        let (kind, sub) = clause.media.split_once('/').unwrap_or((clause.media, ""));
        (std::cmp::Reverse(clause.quality), kind == "*", sub == "*")
    });
    out
}

/// The first of `offered` (type of media, and what stands for it) that a client takes, by its own order and wildcards. No
/// header means that it takes anything.
pub fn first<T: Copy>(header: &str, offered: &[(&str, T)]) -> Option<T> {
    let header = if header.is_empty() { "*/*" } else { header };
    let fits = |asked: &str, media: &str| {
        let (a, b) = (asked.split_once('/'), media.split_once('/'));
        let (Some((kind, sub)), Some((own, own_sub))) = (a, b) else {
            return false;
        };
        (kind == "*" || kind == own) && (sub == "*" || sub == own_sub)
    };
    clauses(header).iter().find_map(|clause| {
        let found = offered.iter().find(|(media, _)| fits(clause.media, media));
        found.map(|(_, what)| *what)
    })
}

/// What an endpoint can give.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    pub shapes: &'a [Shape],
    /// Whole objects have protobuf messages; those of custom resources have none, their metadata always has.
    pub messages: bool,
    /// A stream of changes, for which there is no YAML.
    pub watch: bool,
}

impl Offer<'_> {
    /// What Statuses are given as.
    pub const STATUS: Offer<'static> = Offer {
        shapes: &[],
        messages: true,
        watch: false,
    };

    fn fits(&self, format: Format, shape: Shape, clause: &Clause) -> bool {
        if format == Format::Yaml && self.watch {
            return false;
        }
        if shape == Shape::Whole {
            return format != Format::Protobuf || self.messages;
        }
        let (group, version) = (clause.param("g"), clause.param("v"));
        let known = match shape {
            Shape::Groups => group == Some("apidiscovery.k8s.io") && version == Some("v2"),
            _ => group == Some("meta.k8s.io") && matches!(version, Some("v1" | "v1beta1")),
        };
        known && self.shapes.contains(&shape)
    }
}

fn format_of(media: &str) -> Option<Format> {
    match media {
        "application/json" | "application/*" | "*/*" => Some(Format::Json),
        "application/yaml" => Some(Format::Yaml),
        "application/vnd.kubernetes.protobuf" => Some(Format::Protobuf),
        _ => None,
    }
}

/// Chooses from the offer by the header; none when nothing fits. No header means JSON.
pub fn choose(header: Option<&str>, offer: &Offer) -> Option<Accept> {
    let header = header.unwrap_or_default().trim();
    if header.is_empty() {
        return Some(Accept::default());
    }
    clauses(header).iter().find_map(|clause| {
        let format = format_of(clause.media)?;
        let shape = match clause.param("as") {
            None => Shape::Whole,
            Some("Table") => Shape::Table,
            Some("PartialObjectMetadata") => Shape::Partial,
            Some("PartialObjectMetadataList") => Shape::PartialList,
            Some("APIGroupDiscoveryList") => Shape::Groups,
            Some(_) => return None,
        };
        offer.fits(format, shape, clause).then_some(Accept {
            format,
            shape,
            beta: clause.param("v") == Some("v1beta1"),
            pretty: false,
        })
    })
}

/// [`choose`] for a request. `route` names what the path itself gives, which is asked first; custom resources have no such
/// routes.
///
/// # Errors
/// 406.
pub fn negotiate(header: Option<&str>, offer: &Offer, route: Option<Route>) -> Outcome<Accept> {
    let asked = header.unwrap_or_default();
    let known = |clause: &Clause| {
        // Paths know no wildcard but the widest.
        clause.media != "application/*" && format_of(clause.media).is_some()
    };
    if let Some(route) = route
        && !asked.trim().is_empty()
        && !clauses(asked).iter().any(known)
    {
        let more = match route {
            Route::Collection => format!(", {STREAMS}"),
            Route::Object => String::new(),
        };
        let message = format!("406: Not Acceptable\n\nAvailable representations: {KNOWN}{more}");
        let mut status = Status::failure(406, "NotAcceptable", message);
        status.details = Some(Details::default());
        return Err(status.into());
    }
    choose(header, offer).ok_or_else(|| {
        let listed = if offer.watch { STREAMS } else { KNOWN };
        let message = format!("only the following media types are accepted: {listed}");
        Status::failure(406, "NotAcceptable", message).into()
    })
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Object,
    /// Listed and watched.
    Collection,
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

    const ALL: Offer<'static> = Offer {
        shapes: &[Shape::Table, Shape::Partial],
        messages: true,
        watch: false,
    };

    #[test]
    fn headers_choose_form() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let shape = |header, offer: &Offer| choose(Some(header), offer).unwrap().shape;
        assert_eq!(shape(table, &ALL), Shape::Table);
        assert_eq!(shape(table, &Offer::STATUS), Shape::Whole);
        let custom = Offer {
            messages: false,
            ..ALL
        };
        let watch = Offer { watch: true, ..ALL };
        let protobuf = "application/vnd.kubernetes.protobuf,application/json";
        let partial =
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        for (header, offer, want) in [
            (
                "application/xml, application/json;q=0.1, application/yaml;q=0.5",
                &ALL,
                Format::Yaml,
            ),
            (
                "application/yaml, application/json;q=0.1",
                &watch,
                Format::Json,
            ),
            (protobuf, &ALL, Format::Protobuf),
            (protobuf, &custom, Format::Json),
            (partial, &custom, Format::Protobuf),
            ("*/*, application/yaml", &ALL, Format::Yaml),
            ("application/*, application/yaml;q=0.9", &ALL, Format::Json),
        ] {
            assert_eq!(
                choose(Some(header), offer).unwrap().format,
                want,
                "{header}"
            );
        }
        assert_eq!(choose(None, &ALL), Some(Accept::default()));
        for bad in [
            "text/plain",
            "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io",
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        ] {
            assert_eq!(choose(Some(bad), &ALL), None, "{bad}");
        }
    }

    #[test]
    fn the_first_that_is_liked_best_is_found() {
        let offered = [("application/json", 1), ("application/b+protobuf", 2)];
        for (header, want) in [
            ("", Some(1)),
            ("*/*", Some(1)),
            ("application/*;q=0.3", Some(1)),
            ("application/b+protobuf", Some(2)),
            ("application/json;q=0.5, application/b+protobuf", Some(2)),
            ("*/*, application/b+protobuf", Some(2)),
            ("text/html", None),
            ("nonsense", None),
        ] {
            assert_eq!(first(header, &offered), want, "{header}");
        }
    }

    #[test]
    fn refusals_name_what_there_is() {
        let refused =
            |header, offer: &Offer, route| negotiate(Some(header), offer, route).unwrap_err();
        let object = Some(Route::Object);
        let by_route = refused("text/plain", &ALL, object);
        assert!(by_route.message.starts_with("406: Not Acceptable") && by_route.details.is_some());
        // What the path does not know itself may still be chosen where there are no such paths.
        let any = "application/*, image/*";
        assert_eq!(refused(any, &ALL, object).message, by_route.message);
        assert_eq!(
            negotiate(Some(any), &ALL, None).unwrap().format,
            Format::Json
        );
        let table = "application/json;as=Table;v=v9;g=meta.k8s.io";
        for (header, route) in [(table, object), ("text/html", None)] {
            assert_eq!(
                refused(header, &ALL, route).message,
                format!("only the following media types are accepted: {KNOWN}")
            );
        }
        let watch = Offer { watch: true, ..ALL };
        assert_eq!(
            refused("application/yaml", &watch, Some(Route::Collection)).message,
            format!("only the following media types are accepted: {STREAMS}")
        );
    }
}
