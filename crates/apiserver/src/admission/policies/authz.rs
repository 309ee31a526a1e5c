//! The server's authorizer as expressions ask it.

use std::sync::Arc;

use knarr_cel::authorizer::{Authorizer, Decision, Question, Target};

use super::super::Attributes;
use crate::{UserInfo, authz, server::Shared};

/// Asks for the user of a request.
pub(super) struct Asking {
    shared: Arc<Shared>,
    user: UserInfo,
}

impl Asking {
    pub fn new(a: &Attributes<'_>) -> Self {
        Asking {
            shared: a.call.shared.clone(),
            user: a.call.user.clone(),
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
                ..ask
            },
        };
        let decision = self.shared.authorizer.decide(&ask);
        Decision {
            allowed: decision.allowed,
            reason: decision.reason,
            error: None,
        }
    }
}
