//! Bootstrap tokens: Secrets `bootstrap-token-ID` of kube-system, with which new nodes ask for their certificate.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use knarr_json::Value;
use knarr_store::Store;

use super::same;
use crate::UserInfo;

const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// The user of a token `ID.SECRET`; none when it is no such token or its Secret does not let it in.
pub fn user(store: &Store, token: &str) -> Option<UserInfo> {
    let (id, secret) = split(token)?;
    let stored = store.get(&format!(
        "/registry/secrets/kube-system/bootstrap-token-{id}"
    ))?;
    if stored.head.deleting {
        return None;
    }
    let object: Value = serde_json::from_slice(&stored.json).ok()?;
    allowed(&object, id, secret, Timestamp::now())
}

fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str, len: usize| {
        text.len() == len
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    (plain(id, 6) && plain(secret, 16)).then_some((id, secret))
}

/// Pure.
fn allowed(object: &Value, id: &str, secret: &str, now: Timestamp) -> Option<UserInfo> {
    let data = |key: &str| -> Option<String> {
        let bytes = STANDARD.decode(object["data"][key].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let good = object["type"] == TYPE
        && same(&data("token-secret")?, secret)
        && data("token-id")? == id
        && data("usage-bootstrap-authentication")? == "true";
    // A time that cannot be read counts as over.
    let over = data("expiration")
        .is_some_and(|text| text.parse::<Timestamp>().map_or(true, |until| until < now));
    if !good || over {
        return None;
    }
    let extra = data("auth-extra-groups").unwrap_or_default();
    let mut groups = vec![GROUP.to_owned()];
    for group in extra.split(',').map(str::trim).filter(|g| !g.is_empty()) {
        if !is_bootstrap_group(group) {
            return None;
        }
        groups.push(group.to_owned());
    }
    groups[1..].sort();
    groups.dedup();
    Some(UserInfo::new(&format!("system:bootstrap:{id}"), groups))
}

fn is_bootstrap_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else {
        return false;
    };
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    rest.len() <= 256
        && rest.bytes().all(|b| letter(b) || b == b':' || b == b'-')
        && rest.bytes().last().is_some_and(letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn secrets_let_their_token_in() {
        let base = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ];
        let secret = |kind: &str, more: &[(&str, &str)]| {
            let data: knarr_json::Map = base
                .iter()
                .chain(more)
                .map(|(k, v)| ((*k).to_owned(), STANDARD.encode(v).into()))
                .collect();
            json!({"type": kind, "data": data})
        };
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let groups = |object: Value| {
            allowed(&object, "abcdef", "0123456789abcdef", now).map(|u| u.groups.join(" "))
        };
        let table = [
            (
                secret(TYPE, &[]),
                Some("system:bootstrappers system:authenticated"),
            ),
            (secret("Opaque", &[]), None),
            (secret(TYPE, &[("token-secret", "x")]), None),
            (
                secret(TYPE, &[("usage-bootstrap-authentication", "false")]),
                None,
            ),
            (
                secret(TYPE, &[("expiration", "2025-12-31T00:00:00Z")]),
                None,
            ),
            (secret(TYPE, &[("expiration", "never")]), None),
            (
                secret(
                    TYPE,
                    &[
                        ("expiration", "2026-12-31T00:00:00Z"),
                        (
                            "auth-extra-groups",
                            "system:bootstrappers:b,system:bootstrappers:a",
                        ),
                    ],
                ),
                Some(
                    "system:bootstrappers system:bootstrappers:a system:bootstrappers:b system:authenticated",
                ),
            ),
            (
                secret(TYPE, &[("auth-extra-groups", "system:masters")]),
                None,
            ),
        ];
        for (object, want) in table {
            assert_eq!(groups(object.clone()).as_deref(), want, "{object}");
        }
    }

    #[test]
    fn only_tokens_of_the_form_are_looked_up() {
        assert_eq!(
            split("abcdef.0123456789abcdef"),
            Some(("abcdef", "0123456789abcdef"))
        );
        for bad in [
            "",
            "abcdef",
            "abcdef.0123",
            "ABCDEF.0123456789abcdef",
            "a/cdef.0123456789abcdef",
        ] {
            assert_eq!(split(bad), None);
        }
    }
}
