//! `WWW-Authenticate` headers of registries.

/// What a registry wants to see before it answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: String,
        scope: String,
    },
}

impl Challenge {
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (String::new(), String::new(), String::new());
        let mut rest = rest.trim();
        while let Some((key, after)) = rest.split_once('=') {
            let (value, next) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_at(after.find(',').unwrap_or(after.len())),
            };
            match key.trim_matches([',', ' ']) {
                "realm" => value.clone_into(&mut realm),
                "service" => value.clone_into(&mut service),
                "scope" => value.clone_into(&mut scope),
                _ => {}
            }
            rest = next;
        }
        (!realm.is_empty()).then_some(Self::Bearer {
            realm,
            service,
            scope,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: &str, scope: &str| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.into(),
                scope: scope.into(),
            })
        };
        let header = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let wanted = bearer(
            "https://auth.docker.io/token",
            "registry.docker.io",
            "repository:a/b:pull,push",
        );
        assert_eq!(Challenge::parse(header), wanted);
        assert_eq!(
            Challenge::parse("bearer realm=http://x/t, service=y"),
            bearer("http://x/t", "y", "")
        );
        assert_eq!(
            Challenge::parse("Basic realm=\"x\""),
            Some(Challenge::Basic)
        );
        assert_eq!(Challenge::parse("Bearer service=\"x\""), None);
        assert_eq!(Challenge::parse("Bearer realm=\"never closed"), None);
        assert_eq!(Challenge::parse("Negotiate"), None);
    }
}
