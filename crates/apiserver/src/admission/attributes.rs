//! A request as admission sees it: one description for plugins, policies and webhooks.

use knarr_api::Status;
use knarr_json::{Map, Value, json};

use crate::{
    chain::Call,
    rest::{Target, delete::DeleteOptions, meta},
};

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// As rules and reviews spell it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// Group, version and kind of the object that is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Gvk<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
}

/// Where a request's options come from.
#[derive(Clone, Copy)]
pub(crate) enum Options<'a> {
    /// The query of the call: `CreateOptions` or `UpdateOptions` by what is done.
    Query,
    Delete(&'a DeleteOptions),
    /// A connect has none.
    None,
}

/// A request on its way through admission. The object itself is passed beside it, because mutating steps change it; it is
/// null for a delete.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    pub call: &'a Call,
    /// What is served at the request's path.
    pub target: &'a Target,
    pub operation: Operation,
    /// Kind of the object: that of the subresource where it has its own (`Scale`, `Eviction`, `PodExecOptions`).
    pub kind: Gvk<'a>,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// The object as it is stored, at the version of the request; none for creates and connects.
    pub old: Option<&'a Value>,
    pub options: Options<'a>,
    pub dry_run: bool,
}

impl<'a> Attributes<'a> {
    /// Of a request on `target`, without an old object.
    pub fn new(call: &'a Call, target: &'a Target, operation: Operation) -> Self {
        let resource = &target.resource;
        let own = Gvk {
            group: &resource.group,
            version: &target.version,
            kind: &resource.kind,
        };
        let (kind, subresource) = match &target.subresource {
            None => (own, ""),
            Some(sub) => {
                let (group, version) = match &sub.group_version {
                    Some((group, version)) => (&**group, &**version),
                    None => (own.group, own.version),
                };
                let kind = Gvk {
                    group,
                    version,
                    kind: &sub.kind,
                };
                (kind, sub.name)
            }
        };
        Attributes {
            call,
            target,
            operation,
            kind,
            subresource,
            old: None,
            options: Options::Query,
            dry_run: false,
        }
    }

    pub fn old(self, old: &'a Value) -> Self {
        Attributes {
            old: Some(old),
            ..self
        }
    }

    pub fn dry_run(self, dry_run: bool) -> Self {
        Attributes { dry_run, ..self }
    }

    pub fn group(&self) -> &'a str {
        &self.target.resource.group
    }

    pub fn resource(&self) -> &'a str {
        &self.target.resource.plural
    }

    pub fn namespace(&self) -> &'a str {
        &self.target.namespace
    }

    /// The namespace that reviews tell: a namespace is in itself.
    pub fn place(&self) -> &'a str {
        if self.is_of("", "namespaces") {
            self.name()
        } else {
            self.namespace()
        }
    }

    /// Empty while a name is still to be generated.
    pub fn name(&self) -> &'a str {
        &self.target.name
    }

    /// Whether the request is about objects of this resource, or about a subresource of it.
    pub fn is_of(&self, group: &str, resource: &str) -> bool {
        self.resource() == resource && self.group() == group
    }

    /// Whether the request is about objects of this resource and no subresource.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.subresource.is_empty() && self.is_of(group, resource)
    }

    /// Whether it is asked who somebody is or what he may: policies are not asked about that, as the cluster would break.
    pub fn is_review(&self) -> bool {
        self.is_access_review() || self.group() == "authentication.k8s.io"
    }

    /// Reviews of access are always let in.
    pub fn is_access_review(&self) -> bool {
        self.group() == "authorization.k8s.io"
    }

    /// The options as an object: `CreateOptions`, `UpdateOptions`, `DeleteOptions`; null for a connect.
    pub fn options(&self) -> Value {
        match self.options {
            Options::None => Value::Null,
            Options::Delete(options) => delete_options(options),
            Options::Query => self.write_options(),
        }
    }

    fn write_options(&self) -> Value {
        let kind = match self.operation {
            Operation::Create => "CreateOptions",
            _ => "UpdateOptions",
        };
        let mut out = Map::new();
        out.insert("kind", kind.into());
        out.insert("apiVersion", "meta.k8s.io/v1".into());
        let query = &self.call.query;
        let dry: Vec<&str> = query.all("dryRun").collect();
        if !dry.is_empty() {
            out.insert("dryRun", dry.into());
        }
        for key in ["fieldManager", "fieldValidation"] {
            if let Some(text) = query.get(key).filter(|t| !t.is_empty()) {
                out.insert(key, text.into());
            }
        }
        Value::Object(out)
    }

    /// 403 in the words of the original, which names an object by what its name will start with when it has none yet.
    pub fn forbidden(&self, object: &Value, why: &str) -> Box<Status> {
        let (group, resource) = (self.group(), self.resource());
        Status::forbidden(group, resource, self.shown_name(object), why).into()
    }

    /// The name that refusals tell.
    pub fn shown_name<'o>(&'o self, object: &'o Value) -> &'o str {
        let candidates = [
            self.name(),
            meta::text(object, "name"),
            meta::text(object, "generateName"),
        ];
        let found = candidates.into_iter().find(|name| !name.is_empty());
        found.unwrap_or("Unknown")
    }
}

fn delete_options(options: &DeleteOptions) -> Value {
    let mut out = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            out[key] = value;
        }
    };
    put("gracePeriodSeconds", json!(options.grace_period_seconds));
    if let Some(wanted) = &options.preconditions {
        let mut shown = Map::new();
        for (key, value) in [
            ("uid", &wanted.uid),
            ("resourceVersion", &wanted.resource_version),
        ] {
            if let Some(value) = value {
                shown.insert(key, value.as_str().into());
            }
        }
        put("preconditions", Value::Object(shown));
    }
    put("orphanDependents", json!(options.orphan_dependents));
    put("propagationPolicy", json!(options.propagation_policy));
    put("dryRun", json!(options.dry_run));
    out
}
