//! What expressions can ask about permissions: `authorizer`.

use std::{fmt, sync::Arc};

/// Who decides. The API server implements it.
pub trait Authorizer: Send + Sync {
    /// Whether the user of the request, or the service account that is named, may do that.
    fn authorize(&self, question: &Question) -> Decision;
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Namespace and name of the service account to ask for, instead of the request's user.
    pub service_account: Option<(String, String)>,
    pub verb: String,
    pub target: Target,
}

/// What is to be done something with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Path(String),
    Resource(Resource),
}

/// A resource; empty where nothing was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource {
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: Option<String>,
    pub label_selector: Option<String>,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    /// Why nobody could decide.
    pub error: Option<String>,
}

/// An authorizer, and whom it is asked for.
#[derive(Clone)]
pub struct Scope {
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) service_account: Option<(Arc<str>, Arc<str>)>,
}

impl Scope {
    /// Asks for the user of the request.
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Scope {
            authorizer,
            service_account: None,
        }
    }

    pub(crate) fn ask(&self, verb: &str, target: Target) -> Decision {
        let account = self.service_account.as_ref();
        self.authorizer.authorize(&Question {
            service_account: account.map(|(ns, name)| (ns.to_string(), name.to_string())),
            verb: verb.to_owned(),
            target,
        })
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("service_account", &self.service_account)
            .finish()
    }
}

/// A resource that may be checked.
#[derive(Debug, Clone)]
pub struct ResourceCheck {
    pub scope: Scope,
    pub resource: Resource,
}
