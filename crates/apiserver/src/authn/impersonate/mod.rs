//! Impersonation: who may, speaks as another user by `Impersonate-…` headers.
//!
//! Constrained impersonation (KEP-5284, on by default in v1.36) is tried before the old kind: its permissions say as whom
//! one may speak (`impersonate:MODE`) and what one may do then (`impersonate-on:MODE:VERB`).

mod wanted;

use std::collections::BTreeMap;

use knarr_api::{Status, names};

use crate::{
    Outcome, UserInfo,
    authz::{Attributes, Authorizer, refusal},
    chain::Call,
    user::{MASTERS, service_account},
};
use wanted::Wanted;

const AUTHENTICATION: &str = "authentication.k8s.io";
/// From so many single questions on, one for all of them is tried first.
const MANY: usize = 4;

/// The ways to be allowed to impersonate, in the order they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

impl Mode {
    const ALL: [Mode; 5] = [
        Mode::AssociatedNode,
        Mode::ArbitraryNode,
        Mode::ServiceAccount,
        Mode::UserInfo,
        Mode::Legacy,
    ];

    fn name(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "associated-node",
            Mode::ArbitraryNode => "arbitrary-node",
            Mode::ServiceAccount => "serviceaccount",
            Mode::UserInfo => "user-info",
            Mode::Legacy => "",
        }
    }

    fn verb(self) -> String {
        match self {
            Mode::Legacy => "impersonate".into(),
            mode => format!("impersonate:{}", mode.name()),
        }
    }

    /// Whether this is a way for this user to become the wanted one.
    fn fits(self, wanted: &Wanted, requestor: &UserInfo) -> bool {
        let node = node_name(&wanted.user);
        let account = service_account(&wanted.user).is_some();
        match self {
            Mode::AssociatedNode => {
                let own = requestor
                    .extra
                    .get("authentication.kubernetes.io/node-name");
                wanted.only_user()
                    && node.is_some()
                    && service_account(&requestor.name).is_some()
                    && own.is_some_and(
                        |o| matches!(o.as_slice(), [one] if Some(one.as_str()) == node),
                    )
            }
            Mode::ArbitraryNode => wanted.only_user() && node.is_some(),
            Mode::ServiceAccount => wanted.only_user() && account,
            Mode::UserInfo => node.is_none() && !account,
            Mode::Legacy => true,
        }
    }
}

fn node_name(user: &str) -> Option<&str> {
    let name = user.strip_prefix("system:node:")?;
    names::dns1123_subdomain(name).is_empty().then_some(name)
}

/// Replaces the call's user by the one its headers name, when it may. Tells whether it did.
///
/// # Errors
/// 403 when it may not; 400 for headers without a user.
pub(crate) async fn apply(call: &mut Call) -> Outcome<bool> {
    let impersonating = |n: &http::HeaderName| n.as_str().starts_with("impersonate-");
    if !call.headers.keys().any(impersonating) {
        return Ok(false);
    }
    let wanted = Wanted::read(&call.headers);
    if wanted == Wanted::default() {
        return Ok(false);
    }
    if wanted.user.is_empty() {
        let shown = format!(
            "&user.DefaultInfo{{Name:\"\", UID:{:?}, Groups:{}, Extra:{}}}",
            wanted.uid,
            go_strings(&wanted.groups),
            go_map(&wanted.extra)
        );
        let why = format!("requested {shown} without impersonating a user name");
        return Err(Status::bad_request(why).into());
    }
    let mode = permitted(&call.shared.authorizer, &Attributes::of(call), &wanted).await?;
    let names: Vec<_> = call
        .headers
        .keys()
        .filter(|n| impersonating(n))
        .cloned()
        .collect();
    for name in names {
        call.headers.remove(name);
    }
    if call.audited() && mode != Mode::Legacy {
        call.annotate(
            "authentication.k8s.io/impersonation-constraint",
            mode.verb(),
        );
    }
    call.user = wanted.into_user(mode);
    Ok(true)
}

fn go_strings(list: &[String]) -> String {
    match list.is_empty() {
        true => "[]string(nil)".into(),
        false => format!(
            "[]string{{{}}}",
            list.iter()
                .map(|t| format!("{t:?}"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

fn go_map(map: &BTreeMap<String, Vec<String>>) -> String {
    if map.is_empty() {
        return "map[string][]string(nil)".into();
    }
    let entries: Vec<String> = map
        .iter()
        .map(|(k, v)| format!("{k:?}:{}", go_strings(v)))
        .collect();
    format!("map[string][]string{{{}}}", entries.join(", "))
}

/// The first way that is allowed.
///
/// # Errors
/// What was missing on the first way that was tried.
async fn permitted(authorizer: &Authorizer, ask: &Attributes, wanted: &Wanted) -> Outcome<Mode> {
    let mut first = None;
    for mode in Mode::ALL {
        if !mode.fits(wanted, &ask.user) {
            continue;
        }
        match check(authorizer, ask, wanted, mode).await {
            Ok(()) => return Ok(mode),
            Err(status) => first = first.or(Some(status)),
        }
    }
    Err(first.unwrap_or_else(|| Box::new(Status::internal("all impersonation modes failed"))))
}

async fn check(
    authorizer: &Authorizer,
    ask: &Attributes,
    wanted: &Wanted,
    mode: Mode,
) -> Outcome<()> {
    let mut user = ask.user.clone();
    if mode == Mode::AssociatedNode {
        // Which node it is was checked; which permission is needed must not depend on it.
        let keys = user.extra.keys().cloned().collect();
        user.extra = [(
            "authentication.kubernetes.io/associated-node-keys".to_owned(),
            keys,
        )]
        .into();
    }
    if mode != Mode::Legacy {
        let on = Attributes {
            user: user.clone(),
            verb: format!("impersonate-on:{}:{}", mode.name(), ask.verb),
            ..ask.clone()
        };
        authorizer.require(&on).await?;
    }
    let question = Question {
        authorizer,
        user,
        mode,
    };
    question.name(wanted).await?;
    if !wanted.uid.is_empty() {
        question
            .ask(AUTHENTICATION, "uids", "", &wanted.uid, "")
            .await?;
    }
    question.groups(&wanted.groups).await?;
    question.extra(&wanted.extra).await
}

/// Who asks, and on which way.
struct Question<'a> {
    authorizer: &'a Authorizer,
    user: UserInfo,
    mode: Mode,
}

impl Question<'_> {
    fn attributes(
        &self,
        group: &str,
        resource: &str,
        subresource: &str,
        name: &str,
        namespace: &str,
    ) -> Attributes {
        Attributes {
            user: self.user.clone(),
            verb: self.mode.verb(),
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            namespace: namespace.into(),
            is_resource: true,
            ..Attributes::default()
        }
    }

    async fn ask(
        &self,
        group: &str,
        resource: &str,
        subresource: &str,
        name: &str,
        namespace: &str,
    ) -> Outcome<()> {
        let attributes = self.attributes(group, resource, subresource, name, namespace);
        self.authorizer.require(&attributes).await
    }

    /// The group of users, service accounts, nodes and groups.
    fn group(&self) -> &'static str {
        match self.mode {
            Mode::Legacy => "",
            _ => AUTHENTICATION,
        }
    }

    async fn name(&self, wanted: &Wanted) -> Outcome<()> {
        let group = self.group();
        if let Some((namespace, name)) = service_account(&wanted.user) {
            return self
                .ask(group, "serviceaccounts", "", name, namespace)
                .await;
        }
        match (self.mode, node_name(&wanted.user)) {
            (Mode::AssociatedNode, Some(_)) => self.ask(group, "nodes", "", "*", "").await,
            (Mode::ArbitraryNode, Some(node)) => self.ask(group, "nodes", "", node, "").await,
            _ => self.ask(group, "users", "", &wanted.user, "").await,
        }
    }

    async fn groups(&self, groups: &[String]) -> Outcome<()> {
        let group = self.group();
        if self.mode != Mode::Legacy {
            self.refuse_groups(groups)?;
            if groups.len() >= MANY && self.ask(group, "groups", "", "*", "").await.is_ok() {
                return Ok(());
            }
        }
        for name in groups {
            self.ask(group, "groups", "", name, "").await?;
        }
        Ok(())
    }

    fn refuse_groups(&self, groups: &[String]) -> Outcome<()> {
        let refuse = |name: &str, why: &str| {
            let attributes = self.attributes(AUTHENTICATION, "groups", "", name, "");
            Err(self.refusal(&attributes, why))
        };
        if groups.iter().any(String::is_empty) {
            return refuse("", "impersonating the empty string group is not allowed");
        }
        if groups.iter().any(|g| g == MASTERS) {
            return refuse(
                MASTERS,
                "impersonating the system:masters group is not allowed",
            );
        }
        Ok(())
    }

    fn refusal(&self, attributes: &Attributes, why: &str) -> Box<Status> {
        let decision = crate::authz::Decision {
            reason: why.to_owned(),
            ..Default::default()
        };
        refusal(attributes, &decision).into()
    }

    async fn extra(&self, extra: &BTreeMap<String, Vec<String>>) -> Outcome<()> {
        if extra.is_empty() {
            return Ok(());
        }
        if self.mode != Mode::Legacy {
            if let Some(why) = wrong_extra(extra) {
                let attributes = self.attributes(AUTHENTICATION, "userextras", "", "", "");
                return Err(self.refusal(&attributes, &why));
            }
            let many = extra.len() >= MANY || extra.values().map(Vec::len).sum::<usize>() >= MANY;
            if many
                && self
                    .ask(AUTHENTICATION, "userextras", "*", "*", "")
                    .await
                    .is_ok()
            {
                return Ok(());
            }
        }
        for (key, values) in extra {
            for value in values {
                self.ask(AUTHENTICATION, "userextras", key, value, "")
                    .await?;
            }
        }
        Ok(())
    }
}

fn wrong_extra(extra: &BTreeMap<String, Vec<String>>) -> Option<String> {
    for (key, values) in extra {
        if key.is_empty() {
            return Some("impersonating the empty string key in extra is not allowed".into());
        }
        let whole = key.split_once('/').is_some_and(|(domain, path)| {
            names::dns1123_subdomain(domain).is_empty() && !path.is_empty()
        });
        if !whole {
            return Some(format!(
                "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {key:?}: must be a domain-prefixed path (such as \"acme.io/foo\")"
            ));
        }
        if *key != key.to_lowercase() {
            return Some(format!(
                "impersonating a non-lowercase key in extra is not allowed: {key:?}"
            ));
        }
        if values.iter().any(String::is_empty) {
            return Some("impersonating the empty string value in extra is not allowed".into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(user: &str) -> Wanted {
        Wanted {
            user: user.into(),
            ..Wanted::default()
        }
    }

    #[test]
    fn ways_fit_users() {
        let ann = UserInfo::new("ann", Vec::<String>::new());
        let mut agent = UserInfo::new("system:serviceaccount:a:agent", Vec::<String>::new());
        agent.extra.insert(
            "authentication.kubernetes.io/node-name".into(),
            vec!["n1".into()],
        );
        let ways = |wanted: &Wanted, by: &UserInfo| -> Vec<&str> {
            let fits = Mode::ALL.into_iter().filter(|m| m.fits(wanted, by));
            fits.map(Mode::name).collect()
        };
        assert_eq!(ways(&wanted("bob"), &ann), ["user-info", ""]);
        assert_eq!(
            ways(&wanted("system:node:n1"), &ann),
            ["arbitrary-node", ""]
        );
        assert_eq!(
            ways(&wanted("system:node:n1"), &agent),
            ["associated-node", "arbitrary-node", ""]
        );
        assert_eq!(
            ways(&wanted("system:node:n2"), &agent),
            ["arbitrary-node", ""]
        );
        assert_eq!(
            ways(&wanted("system:serviceaccount:a:b"), &ann),
            ["serviceaccount", ""]
        );
        let more = Wanted {
            uid: "1".into(),
            ..wanted("system:serviceaccount:a:b")
        };
        assert_eq!(ways(&more, &ann), [""]);
    }
}
