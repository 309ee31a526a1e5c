//! Users that a trusted proxy names in headers (`--requestheader-*`).

use std::collections::BTreeMap;

use http::HeaderMap;

use super::{FrontProxy, text_of, x509::Shown};
use crate::{UserInfo, query::unescape};

/// The user in the headers of a request whose connection is the proxy's.
///
/// # Errors
/// When the certificate is of the proxies' authority but its name is not one of theirs.
pub fn user(
    proxy: &FrontProxy,
    certificate: &Shown,
    headers: &HeaderMap,
) -> Result<Option<UserInfo>, String> {
    let Some(name) = certificate.proxy() else {
        return Ok(None);
    };
    if !proxy.allowed_names.is_empty() && !proxy.allowed_names.iter().any(|n| n == name) {
        return Err(format!(
            "x509: subject with cn={name} is not in the allowed list"
        ));
    }
    Ok(named(proxy, headers))
}

fn named(proxy: &FrontProxy, headers: &HeaderMap) -> Option<UserInfo> {
    let first = |names: &[String]| {
        let mut values = names.iter().filter_map(|n| headers.get(n).map(text_of));
        values.find(|v| !v.is_empty())
    };
    let name = first(&proxy.username_headers)?;
    let groups = proxy.group_headers.iter().flat_map(|n| headers.get_all(n));
    let mut user = UserInfo::new(&name, groups.map(text_of));
    user.uid = first(&proxy.uid_headers).unwrap_or_default();
    user.extra = extra(proxy, headers);
    Some(user)
}

fn extra(proxy: &FrontProxy, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        for prefix in &proxy.extra_prefixes {
            let prefix = prefix.to_ascii_lowercase();
            if let Some(key) = name.as_str().strip_prefix(&prefix) {
                let values = out.entry(unescape(key, false)).or_default();
                values.push(text_of(value));
            }
        }
    }
    out
}

/// Takes the headers away, so that nobody behind this server believes a client's own.
pub fn strip(proxy: &FrontProxy, headers: &mut HeaderMap) {
    for name in [
        &proxy.username_headers,
        &proxy.uid_headers,
        &proxy.group_headers,
    ] {
        name.iter().for_each(|n| {
            headers.remove(n);
        });
    }
    let prefixes: Vec<String> = proxy
        .extra_prefixes
        .iter()
        .map(|p| p.to_ascii_lowercase())
        .collect();
    let names: Vec<_> = headers
        .keys()
        .filter(|n| prefixes.iter().any(|p| n.as_str().starts_with(p)))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> FrontProxy {
        FrontProxy {
            cas: Vec::new(),
            allowed_names: vec!["front".into()],
            username_headers: vec!["X-Remote-User".into()],
            uid_headers: vec!["X-Remote-Uid".into()],
            group_headers: vec!["X-Remote-Group".into()],
            extra_prefixes: vec!["X-Remote-Extra-".into()],
        }
    }

    #[test]
    fn headers_name_the_user() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "ann"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-extra-acme.com%2fproject", "p"),
            ("x-remote-uid", "7"),
            ("accept", "*/*"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let shown = Shown::of_proxy("front");
        let user = user(&proxy(), &shown, &headers).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("ann", "7"));
        assert_eq!(user.groups, ["a", "b", "system:authenticated"]);
        assert_eq!(user.extra["acme.com/project"], ["p"]);
        assert!(super::user(&proxy(), &Shown::of_proxy("other"), &headers).is_err());
        assert_eq!(super::user(&proxy(), &Shown::None, &headers), Ok(None));
        strip(&proxy(), &mut headers);
        assert_eq!(headers.len(), 1);
    }
}
