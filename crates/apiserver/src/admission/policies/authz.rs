//! The server's authorizer as expressions ask it.

use std::sync::Arc;

use knarr_cel::authorizer::{Authorizer, Decision, Question, Target};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::super::Attributes;
use crate::{
    UserInfo,
    authz::{self, selectors},
    server::Shared,
};

/// Asks for the user of a request.
pub(super) struct Asking {
    shared: Arc<Shared>,
    user: UserInfo,
    /// Where waiting is possible: with other threads to go on.
    runtime: Option<Handle>,
}

impl Asking {
    pub fn new(a: &Attributes<'_>) -> Self {
        Asking {
            shared: a.call.shared.clone(),
            user: a.call.user.clone(),
            runtime: Handle::try_current()
                .ok()
                .filter(|r| r.runtime_flavor() == RuntimeFlavor::MultiThread),
        }
    }

    fn user(&self, question: &Question) -> UserInfo {
        match &question.service_account {
            None => self.user.clone(),
            Some((namespace, name)) => UserInfo::new(
                &format!("system:serviceaccount:{namespace}:{name}"),
                [
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                ],
            ),
        }
    }
}

impl Authorizer for Asking {
    fn authorize(&self, question: &Question) -> Decision {
        let ask = authz::Attributes {
            user: self.user(question),
            verb: question.verb.clone(),
            ..authz::Attributes::default()
        };
        let ask = match &question.target {
            Target::Path(path) => authz::Attributes {
                path: path.clone(),
                ..ask
            },
            Target::Resource(resource) => authz::Attributes {
                group: resource.group.clone(),
                version: "*".to_owned(),
                resource: resource.resource.clone(),
                subresource: resource.subresource.clone(),
                namespace: resource.namespace.clone(),
                name: resource.name.clone(),
                is_resource: true,
                fields: selectors::fields(resource.field_selector.as_deref().unwrap_or_default()),
                labels: selectors::labels(resource.label_selector.as_deref().unwrap_or_default()),
                ..ask
            },
        };
        let decision = self.decide(&ask);
        Decision {
            allowed: decision.allowed,
            reason: decision.reason,
            error: Some(decision.error).filter(|e| !e.is_empty()),
        }
    }
}

impl Asking {
    /// Expressions wait for their answers; who is elsewhere is asked on the side.
    fn decide(&self, ask: &authz::Attributes) -> authz::Decision {
        let authorizer = &self.shared.authorizer;
        match &self.runtime {
            Some(runtime) if authorizer.asks_elsewhere() => {
                tokio::task::block_in_place(|| runtime.block_on(authorizer.decide(ask)))
            }
            _ => authorizer.decide_locally(ask),
        }
    }
}
