//! Image references, as far as pull policies depend on them.

/// `Always` for an image without a tag or tagged `latest`, `IfNotPresent` for any other, even one that is no reference.
pub fn pull_policy(image: &str) -> &'static str {
    match tag(image) {
        Some(tag) if tag.is_empty() || tag == "latest" => "Always",
        _ => "IfNotPresent",
    }
}

/// The tag; empty when the reference has neither tag nor digest, none when it has only a digest or is no reference.
fn tag(image: &str) -> Option<&str> {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let name_from = rest.rfind('/').map_or(0, |i| i + 1);
    let (name, tag) = match rest[name_from..].find(':') {
        Some(colon) => (
            &rest[..name_from + colon],
            Some(&rest[name_from + colon + 1..]),
        ),
        None => (rest, None),
    };
    if !is_repository(name)
        || tag.is_some_and(|t| !is_tag(t))
        || digest.is_some_and(|d| !d.contains(':'))
    {
        return None;
    }
    match (tag, digest) {
        (Some(tag), _) => Some(tag),
        (None, None) => Some(""),
        (None, Some(_)) => None,
    }
}

fn is_tag(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= 128
        && tag
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c))
}

fn is_repository(name: &str) -> bool {
    let mut parts = name.split('/').peekable();
    let first = parts.peek().copied().unwrap_or_default();
    let has_host = name.contains('/')
        && (first.contains(['.', ':'])
            || first == "localhost"
            || first.bytes().any(|c| c.is_ascii_uppercase()));
    if has_host {
        parts.next();
        if !first
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b".-:[]".contains(&c))
        {
            return false;
        }
    }
    parts.all(|p| {
        let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = p
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c));
        edge(p.bytes().next()) && edge(p.bytes().last()) && inner
    })
}

#[cfg(test)]
mod tests {
    use super::pull_policy;

    #[test]
    fn policies_by_reference() {
        for (image, want) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.2", "IfNotPresent"),
            ("host:5000/nginx", "Always"),
            ("host:5000/a/nginx:1", "IfNotPresent"),
            ("nginx@sha256:0123", "IfNotPresent"),
            ("nginx:latest@sha256:0123", "Always"),
            ("odd image reference !", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), want, "{image}");
        }
    }
}
