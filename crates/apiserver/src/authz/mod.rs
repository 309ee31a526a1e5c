//! Authorization: may this user do this? `system:masters` may everything, the rest is RBAC's word.

mod rbac;

use std::sync::Arc;

use knarr_api::{Status, status::Details};
use knarr_store::Store;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use rbac::{Index, Rule};

use crate::{Outcome, UserInfo, chain::Call, user::MASTERS};

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
}

impl Attributes {
    pub fn of(call: &Call) -> Self {
        let info = &call.info;
        Attributes {
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
        }
    }
}

/// What the authorizer says, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub allowed: bool,
    pub reason: String,
}

/// Answers from an index that follows the store.
pub(crate) struct Authorizer {
    index: Arc<parking_lot::RwLock<Index>>,
}

impl Authorizer {
    /// Reads all roles and bindings, then follows their changes until `stop`.
    pub fn new(store: &Store, stop: &CancellationToken, tasks: &TaskTracker) -> Self {
        let index = Arc::new(parking_lot::RwLock::new(Index::default()));
        rbac::follow(store, &index, stop, tasks);
        Authorizer { index }
    }

    pub fn decide(&self, ask: &Attributes) -> Decision {
        if ask.user.in_group(MASTERS) {
            return Decision {
                allowed: true,
                reason: String::new(),
            };
        }
        self.index.read().decide(ask)
    }

    /// Rules that hold for a user in a namespace, for SelfSubjectRulesReview.
    pub fn rules(&self, user: &UserInfo, namespace: &str) -> Vec<Arc<Rule>> {
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        if user.in_group(MASTERS) {
            rules.extend(Rule::everything().map(Arc::new));
        }
        rules.extend(self.index.read().rules(user, namespace));
        rules
    }

    /// # Errors
    /// 403 when the call's user may not do what the call asks for.
    pub fn check(&self, call: &Call) -> Outcome<()> {
        if call.user.in_group(MASTERS) {
            return Ok(());
        }
        self.require(&Attributes::of(call))
    }

    /// # Errors
    /// 403 with what is missing.
    pub fn require(&self, ask: &Attributes) -> Outcome<()> {
        let decision = self.decide(ask);
        if decision.allowed {
            Ok(())
        } else {
            Err(refusal(ask, &decision).into())
        }
    }
}

fn refusal(ask: &Attributes, decision: &Decision) -> Status {
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
