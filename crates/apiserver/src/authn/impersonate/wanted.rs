//! Whom the headers of a request name.

use std::collections::BTreeMap;

use super::{Mode, node_name};
use crate::{
    UserInfo,
    authn::text_of,
    query::unescape,
    user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, service_account},
};

const EXTRA: &str = "impersonate-extra-";

/// What the headers ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    pub fn read(headers: &http::HeaderMap) -> Self {
        let all = |name: &str| headers.get_all(name).iter().map(text_of);
        let mut wanted = Wanted {
            user: all("impersonate-user").next().unwrap_or_default(),
            uid: all("impersonate-uid").next().unwrap_or_default(),
            groups: all("impersonate-group").collect(),
            extra: BTreeMap::new(),
        };
        for (name, value) in headers {
            if let Some(key) = name.as_str().strip_prefix(EXTRA) {
                let values = wanted.extra.entry(unescape(key, false)).or_default();
                values.push(text_of(value));
            }
        }
        wanted
    }

    pub fn only_user(&self) -> bool {
        self.uid.is_empty() && self.groups.is_empty() && self.extra.is_empty()
    }

    /// The user that this makes. Nodes of constrained impersonation have the group of nodes.
    pub fn into_user(self, mode: Mode) -> UserInfo {
        let mut groups = self.groups;
        if mode != Mode::Legacy && node_name(&self.user).is_some() {
            groups = vec!["system:nodes".into()];
        }
        if groups.is_empty()
            && let Some((namespace, _)) = service_account(&self.user)
        {
            groups.push("system:serviceaccounts".into());
            groups.push(format!("system:serviceaccounts:{namespace}"));
        }
        let has = |groups: &[String], group: &str| groups.iter().any(|g| g == group);
        if self.user == ANONYMOUS {
            if !has(&groups, UNAUTHENTICATED) {
                groups.push(UNAUTHENTICATED.into());
            }
        } else if !has(&groups, UNAUTHENTICATED) && !has(&groups, AUTHENTICATED) {
            groups.push(AUTHENTICATED.into());
        }
        UserInfo {
            name: self.user,
            uid: self.uid,
            groups,
            extra: self.extra,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_letters_are_names() {
        let mut headers = http::HeaderMap::new();
        for (name, value) in [
            ("impersonate-user", "j\u{fc}rgen"),
            ("impersonate-group", "gr\u{fc}n"),
            ("impersonate-extra-k", "\u{e4}"),
        ] {
            let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(name, value);
        }
        let read = Wanted::read(&headers);
        assert_eq!(
            (read.user.as_str(), &*read.groups),
            ("j\u{fc}rgen", &["gr\u{fc}n".to_owned()][..])
        );
        assert_eq!(read.extra["k"], ["\u{e4}"]);
    }

    #[test]
    fn users_get_their_groups() {
        let groups = |user: &str, mode| {
            Wanted {
                user: user.into(),
                ..Wanted::default()
            }
            .into_user(mode)
            .groups
            .join(" ")
        };
        assert_eq!(groups("bob", Mode::Legacy), "system:authenticated");
        assert_eq!(groups(ANONYMOUS, Mode::Legacy), "system:unauthenticated");
        assert_eq!(
            groups("system:node:n", Mode::ArbitraryNode),
            "system:nodes system:authenticated"
        );
        assert_eq!(
            groups("system:serviceaccount:a:b", Mode::Legacy),
            "system:serviceaccounts system:serviceaccounts:a system:authenticated"
        );
    }
}
