//! Impersonation: who may, speaks as another user by `Impersonate-…` headers.

use std::collections::BTreeMap;

use crate::{
    Outcome, UserInfo,
    authz::Attributes,
    chain::Call,
    query::unescape,
    respond,
    user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, service_account},
};

const EXTRA: &str = "impersonate-extra-";

/// What the headers ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    fn read(headers: &http::HeaderMap) -> Self {
        let all = |name: &str| {
            headers
                .get_all(name)
                .iter()
                .filter_map(|v| v.to_str().ok())
                .map(str::to_owned)
        };
        let mut wanted = Wanted {
            user: all("impersonate-user").next().unwrap_or_default(),
            uid: all("impersonate-uid").next().unwrap_or_default(),
            groups: all("impersonate-group").collect(),
            extra: BTreeMap::new(),
        };
        for (name, value) in headers {
            if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
                wanted
                    .extra
                    .entry(unescape(key, false))
                    .or_default()
                    .push(value.to_owned());
            }
        }
        wanted
    }

    fn into_user(self) -> UserInfo {
        let mut groups = self.groups;
        if groups.is_empty()
            && let Some((namespace, _)) = service_account(&self.user)
        {
            groups.push("system:serviceaccounts".into());
            groups.push(format!("system:serviceaccounts:{namespace}"));
        }
        let kind = if self.user == ANONYMOUS {
            UNAUTHENTICATED
        } else {
            AUTHENTICATED
        };
        if !groups
            .iter()
            .any(|g| g == AUTHENTICATED || g == UNAUTHENTICATED)
        {
            groups.push(kind.into());
        }
        UserInfo {
            name: self.user,
            uid: self.uid,
            groups,
            extra: self.extra,
        }
    }
}

/// Replaces the call's user by the one its headers name, when it may.
///
/// # Errors
/// 403 when it may not; 500 for headers without a user, as the original.
pub(crate) fn apply(call: &mut Call) -> Outcome<()> {
    let wanted = Wanted::read(&call.headers);
    if wanted == Wanted::default() {
        return Ok(());
    }
    if wanted.user.is_empty() {
        let why = "groups, uid or extra of a user are impersonated without the user";
        return Err(respond::general(500, "InternalError", why).into());
    }
    for attributes in asked(&call.user, &wanted) {
        call.shared.authorizer.require(&attributes)?;
    }
    let names: Vec<_> = call
        .headers
        .keys()
        .filter(|n| n.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for name in names {
        call.headers.remove(name);
    }
    call.user = wanted.into_user();
    Ok(())
}

/// Every single thing that must be allowed: the user, each group, each extra value.
fn asked(user: &UserInfo, wanted: &Wanted) -> Vec<Attributes> {
    let ask =
        |group: &str, resource: &str, subresource: &str, name: &str, namespace: &str| Attributes {
            user: user.clone(),
            verb: "impersonate".into(),
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            namespace: namespace.into(),
            path: String::new(),
            is_resource: true,
        };
    let mut out = vec![match service_account(&wanted.user) {
        Some((namespace, name)) => ask("", "serviceaccounts", "", name, namespace),
        None => ask("", "users", "", &wanted.user, ""),
    }];
    out.extend(wanted.groups.iter().map(|g| ask("", "groups", "", g, "")));
    if !wanted.uid.is_empty() {
        out.push(ask("authentication.k8s.io", "uids", "", &wanted.uid, ""));
    }
    for (key, values) in &wanted.extra {
        out.extend(
            values
                .iter()
                .map(|v| ask("authentication.k8s.io", "userextras", key, v, "")),
        );
    }
    out
}
