//! Verbs of the registry as OpenAPI has them, with their parameters.

/// Query parameters, name and type.
pub(super) type Params = &'static [(&'static str, &'static str)];

pub(super) const LIST: Params = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: Params = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
];
const PATCHING: Params = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
    ("force", "boolean"),
];
const DELETE: Params = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
    ),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const DELETE_COLLECTION: Params = &[
    ("continue", "string"),
    ("dryRun", "string"),
    ("fieldSelector", "string"),
    ("gracePeriodSeconds", "integer"),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
    ),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
];

/// What a verb of the registry is in OpenAPI: method, action, first word of the operation's id, parameters.
pub(super) struct Verb {
    pub name: &'static str,
    pub method: &'static str,
    pub action: &'static str,
    pub word: &'static str,
    pub params: Params,
}

pub(super) const fn verb(
    name: &'static str,
    method: &'static str,
    action: &'static str,
    word: &'static str,
    params: Params,
) -> Verb {
    Verb {
        name,
        method,
        action,
        word,
        params,
    }
}

pub(super) const COLLECTION: [Verb; 3] = [
    verb("list", "get", "list", "list", LIST),
    verb("create", "post", "post", "create", WRITE),
    verb(
        "deletecollection",
        "delete",
        "deletecollection",
        "delete",
        DELETE_COLLECTION,
    ),
];
pub(super) const ITEM: [Verb; 4] = [
    verb("get", "get", "get", "read", &[]),
    verb("update", "put", "put", "replace", WRITE),
    verb("patch", "patch", "patch", "patch", PATCHING),
    verb("delete", "delete", "delete", "delete", DELETE),
];
pub(super) const CREATE_BELOW: Verb = verb("create", "post", "post", "create", WRITE);
