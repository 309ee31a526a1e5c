//! Authorization: may this user do this? Members of `system:masters` may everything; then the configured modes are asked in
//! order until one has an opinion.

mod abac;
pub(crate) mod claims;
pub mod config;
mod node;
mod rbac;
pub mod selectors;
mod webhook;

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use knarr_api::{Status, status::Details};
use knarr_store::Store;

pub use config::AuthorizationConfig;
pub(crate) use rbac::{Index, Rule};

use crate::{Outcome, UserInfo, chain::Call, derived::Derived, user::MASTERS};
use config::{Mode, Policies};
use selectors::Term;

/// One question to the authorizer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub user: UserInfo,
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    pub namespace: String,
    /// For what is no resource.
    pub path: String,
    pub is_resource: bool,
    /// What a list, watch or deletecollection is narrowed to.
    pub fields: Vec<Term>,
    pub labels: Vec<Term>,
}

impl Attributes {
    pub fn of(call: &Call) -> Self {
        let info = &call.info;
        let mut attributes = Attributes {
            user: call.user.clone(),
            verb: info.verb.clone(),
            group: info.group.clone(),
            version: info.version.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            name: info.name.clone(),
            namespace: info.namespace.clone(),
            path: info.path.clone(),
            is_resource: info.is_resource,
            ..Attributes::default()
        };
        if info.is_resource && matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
            let text = |key: &str| call.query.get(key).unwrap_or_default();
            attributes.fields = selectors::fields(text("fieldSelector"));
            attributes.labels = selectors::labels(text("labelSelector"));
        }
        attributes
    }
}

/// What the authorizer says, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub allowed: bool,
    /// Nobody further may allow it. Only webhooks and `AlwaysDeny` say so.
    pub denied: bool,
    pub reason: String,
    /// What went wrong while deciding; reviews tell it.
    pub error: String,
}

impl Decision {
    fn allow(reason: impl Into<String>) -> Self {
        Decision {
            allowed: true,
            reason: reason.into(),
            ..Decision::default()
        }
    }

    fn no_opinion(reason: impl Into<String>) -> Self {
        Decision {
            reason: reason.into(),
            ..Decision::default()
        }
    }
}

/// Asks the modes in order.
pub(crate) struct Authorizer {
    modes: ArcSwap<Vec<Asked>>,
    /// Remembers across changes of the modes what it learned.
    nodes: Arc<node::Nodes>,
    index: Derived<Index>,
    /// Kinds of the modes at start, apart from webhooks. Others do not come later, and these do not go.
    fixed: BTreeSet<&'static str>,
    policies: Option<Arc<Policies>>,
}

enum Asked {
    AlwaysAllow,
    AlwaysDeny,
    Node(Arc<node::Nodes>),
    Rbac,
    Abac(Arc<Policies>),
    Webhook(Box<webhook::Webhook>),
}

impl Authorizer {
    /// Reads all roles and bindings.
    ///
    /// # Errors
    /// When a webhook's configuration cannot be used.
    pub async fn new(config: AuthorizationConfig, store: &Store) -> Result<Self, String> {
        let nodes = Arc::new(node::Nodes::new(store.clone()));
        let fixed = fixed(&config.modes);
        let modes = ArcSwap::from_pointee(asked(config.modes, &nodes).await?);
        Ok(Authorizer {
            modes,
            nodes,
            index: Derived::new(store),
            fixed,
            policies: config.policies,
        })
    }

    /// Takes the modes of a changed configuration file; requests that are being decided go on with those of before.
    ///
    /// # Errors
    /// What is wrong with it; then all stays as it was.
    pub async fn reconfigure(&self, text: &str) -> Result<(), String> {
        let modes = config::parse(text, self.policies.as_ref())?;
        let kinds = fixed(&modes);
        if let Some(missing) = self.fixed.difference(&kinds).next() {
            return Err(format!(
                "authorizers: Required value: type {missing} must remain in the configuration"
            ));
        }
        let later = |kind: &&&str| matches!(**kind, "Node" | "RBAC" | "ABAC");
        if let Some(new) = kinds.difference(&self.fixed).find(later) {
            return Err(format!(
                "authorizer type {new} is not allowed if it was not enabled at initial server startup"
            ));
        }
        let asked = asked(modes, &self.nodes).await?;
        self.modes.store(Arc::new(asked));
        Ok(())
    }

    /// What the modes say, webhooks included.
    pub async fn decide(&self, ask: &Attributes) -> Decision {
        if ask.user.in_group(MASTERS) {
            return Decision::allow("");
        }
        let mut sum = Sum::default();
        let modes = self.modes.load_full();
        for mode in modes.iter() {
            let said = match (mode, self.local(mode, ask)) {
                (_, Some(said)) => said,
                (Asked::Webhook(webhook), None) => webhook.decide(ask).await,
                (_, None) => continue,
            };
            if let Some(done) = sum.add(said) {
                return done;
            }
        }
        sum.end()
    }

    /// Whether an answer may have to come from elsewhere.
    pub fn asks_elsewhere(&self) -> bool {
        let modes = self.modes.load();
        modes.iter().any(|m| matches!(m, Asked::Webhook(_)))
    }

    /// As [`Authorizer::decide`], but without asking anybody elsewhere: webhooks have no opinion.
    pub fn decide_locally(&self, ask: &Attributes) -> Decision {
        if ask.user.in_group(MASTERS) {
            return Decision::allow("");
        }
        let mut sum = Sum::default();
        for mode in self.modes.load().iter() {
            if let Some(done) = self.local(mode, ask).and_then(|said| sum.add(said)) {
                return done;
            }
        }
        sum.end()
    }

    fn local(&self, mode: &Asked, ask: &Attributes) -> Option<Decision> {
        Some(match mode {
            Asked::AlwaysAllow => Decision::allow(""),
            Asked::AlwaysDeny => Decision::no_opinion("Everything is forbidden."),
            Asked::Node(nodes) => nodes.decide(ask),
            Asked::Rbac => self.index.now().decide(ask),
            Asked::Abac(policies) => policies.decide(ask),
            Asked::Webhook(_) => return None,
        })
    }

    /// Rules that hold for a user in a namespace, for SelfSubjectRulesReview, and why they are not all, when they are not.
    pub fn rules(&self, user: &UserInfo, namespace: &str) -> (Vec<Arc<Rule>>, String) {
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        let mut errors: Vec<String> = Vec::new();
        if user.in_group(MASTERS) {
            rules.extend(Rule::everything().map(Arc::new));
        }
        for mode in self.modes.load().iter() {
            match mode {
                Asked::AlwaysAllow => rules.extend(Rule::everything().map(Arc::new)),
                Asked::AlwaysDeny => {}
                Asked::Node(_) => {
                    if node::is_node(user) {
                        errors.push("node authorizer does not support user rule resolution".into());
                    }
                }
                Asked::Abac(policies) => {
                    rules.extend(policies.rules(user, namespace).into_iter().map(Arc::new));
                }
                Asked::Rbac => {
                    let (held, error) = self.index.now().rules(user, namespace);
                    rules.extend(held);
                    errors.extend(error);
                }
                Asked::Webhook(_) => {
                    errors.push("webhook authorizer does not support user rule resolution".into());
                }
            }
        }
        (rules, aggregate(&errors))
    }

    /// # Errors
    /// 403 when the call's user may not do what the call asks for.
    pub async fn check(&self, call: &Call) -> Outcome<()> {
        if call.user.in_group(MASTERS) {
            note(call, true, "");
            return Ok(());
        }
        let ask = Attributes::of(call);
        let decision = self.decide(&ask).await;
        note(call, decision.allowed, &decision.reason);
        if decision.allowed {
            return Ok(());
        }
        Err(refusal(&ask, &decision).into())
    }

    /// # Errors
    /// 403 with what is missing.
    pub async fn require(&self, ask: &Attributes) -> Outcome<()> {
        let decision = self.decide(ask).await;
        if decision.allowed {
            Ok(())
        } else {
            Err(refusal(ask, &decision).into())
        }
    }
}

/// Kinds of modes, apart from webhooks.
fn fixed(modes: &[Mode]) -> BTreeSet<&'static str> {
    let kinds = modes.iter().map(Mode::name);
    kinds.filter(|kind| *kind != "Webhook").collect()
}

async fn asked(modes: Vec<Mode>, nodes: &Arc<node::Nodes>) -> Result<Vec<Asked>, String> {
    let mut out = Vec::new();
    for mode in modes {
        out.push(match mode {
            Mode::AlwaysAllow => Asked::AlwaysAllow,
            Mode::AlwaysDeny => Asked::AlwaysDeny,
            Mode::Node => Asked::Node(nodes.clone()),
            Mode::Rbac => Asked::Rbac,
            Mode::Abac(policies) => Asked::Abac(policies),
            Mode::Webhook(config) => {
                Asked::Webhook(Box::new(webhook::Webhook::new(*config).await?))
            }
        });
    }
    Ok(out)
}

fn note(call: &Call, allowed: bool, reason: &str) {
    if call.audited() {
        let decision = if allowed { "allow" } else { "forbid" };
        call.annotate("authorization.k8s.io/decision", decision);
        call.annotate("authorization.k8s.io/reason", reason);
    }
}

/// What those said that were asked so far.
#[derive(Default)]
struct Sum {
    reasons: Vec<String>,
    errors: Vec<String>,
}

impl Sum {
    /// The last word, when it is one.
    fn add(&mut self, said: Decision) -> Option<Decision> {
        if said.allowed {
            return Some(said);
        }
        let denied = said.denied;
        self.reasons
            .extend(Some(said.reason).filter(|r| !r.is_empty()));
        self.errors
            .extend(Some(said.error).filter(|e| !e.is_empty()));
        denied.then(|| Decision {
            denied,
            ..std::mem::take(self).end()
        })
    }

    fn end(self) -> Decision {
        Decision {
            reason: self.reasons.join("\n"),
            error: aggregate(&self.errors),
            ..Decision::default()
        }
    }
}

fn aggregate(errors: &[String]) -> String {
    match errors {
        [] => String::new(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// The 403 for a question that was answered with no.
pub(crate) fn refusal(ask: &Attributes, decision: &Decision) -> Status {
    let user = format!("User {:?}", ask.user.name);
    let because = if decision.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", decision.reason)
    };
    if !ask.is_resource {
        let why = format!("{user} cannot {} path {:?}{because}", ask.verb, ask.path);
        let mut status = Status::forbidden("", "", "", &why);
        status.details = Some(Details::default());
        return status;
    }
    let resource = if ask.subresource.is_empty() {
        ask.resource.clone()
    } else {
        format!("{}/{}", ask.resource, ask.subresource)
    };
    let place = if ask.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", ask.namespace)
    };
    let why = format!(
        "{user} cannot {} resource {resource:?} in API group {:?} {place}{because}",
        ask.verb, ask.group
    );
    Status::forbidden(&ask.group, &ask.resource, &ask.name, &why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_opinion_counts_and_the_rest_is_told() {
        let mut sum = Sum::default();
        assert_eq!(sum.add(Decision::no_opinion("a")), None);
        assert_eq!(sum.add(Decision::default()), None);
        assert_eq!(
            sum.add(Decision::allow("yes")),
            Some(Decision::allow("yes"))
        );
        let deny = Decision {
            denied: true,
            reason: "b".into(),
            ..Decision::default()
        };
        let last = sum.add(deny).unwrap();
        assert!(last.denied && !last.allowed);
        assert_eq!(last.reason, "a\nb");
    }
}
