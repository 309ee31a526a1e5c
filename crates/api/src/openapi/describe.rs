//! What operations and their parameters do, in words.

/// What an operation is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// The objects of a namespace, or all of them if their kind has none.
    Collection,
    /// The objects of all namespaces.
    Everywhere,
    Object,
    Subresource(&'static str),
}

/// What an operation with such an action does to objects of a kind.
pub(super) fn operation(action: &str, kind: &str, target: Target) -> String {
    let one = match target {
        Target::Subresource(name) => format!("the subresource {name} of an object of kind {kind}"),
        _ => format!("an object of kind {kind}"),
    };
    let many = match target {
        Target::Everywhere => format!("objects of kind {kind} in all namespaces"),
        _ => format!("objects of kind {kind}"),
    };
    match action {
        "list" => format!("Lists {many}, or watches them."),
        "deletecollection" => format!("Deletes {many}."),
        "watchlist" => {
            format!("Watches {many}. Deprecated: list them with the parameter watch instead.")
        }
        "watch" => format!(
            "Watches {one}. Deprecated: list with the parameters watch and fieldSelector instead."
        ),
        "post" => format!("Creates {one}."),
        "put" => format!("Replaces {one}."),
        "patch" => format!("Changes parts of {one}."),
        "delete" => format!("Deletes {one}."),
        _ => format!("Reads {one}."),
    }
}

/// What a request does that leads elsewhere.
pub(super) fn connection(method: &str, kind: &str, subresource: &str) -> String {
    format!(
        "Sends a {} request to the subresource {subresource} of an object of kind {kind}.",
        method.to_uppercase()
    )
}

/// What a parameter is for.
pub(super) fn parameter(name: &str) -> Option<&'static str> {
    Some(match name {
        "allowWatchBookmarks" => {
            "Whether a watch may be sent events of type BOOKMARK now and then, which tell only how far it has come."
        }
        "command" => {
            "The program to run and its arguments, without a shell; given once for each of them."
        }
        "container" => "Name of the container; may be left out if the pod has only one.",
        "continue" => "The token that the last part of a list came with, to get the next part.",
        "dryRun" => "With All, the request is checked and answered, but nothing is stored.",
        "fieldManager" => {
            "Name of the program that makes the change, as it is noted in metadata.managedFields; needed for apply."
        }
        "fieldSelector" => {
            "Chooses objects by their fields, such as metadata.name=a or status.phase!=Running."
        }
        "fieldValidation" => {
            "What to do about fields that are unknown or given twice: Ignore, Warn, which is the default, or Strict to refuse them."
        }
        "follow" => "Whether to go on with the log as it grows; false if not set.",
        "force" => {
            "Whether an apply takes fields over that other managers have; false if not set, and only for apply."
        }
        "gracePeriodSeconds" => {
            "How long the object may take to end, in seconds; 0 deletes it at once."
        }
        "ignoreStoreReadErrorWithClusterBreakingPotential" => {
            "Whether to delete an object that can no longer be read from the store, without finalizers; a last resort."
        }
        "insecureSkipTLSVerifyBackend" => {
            "Whether the certificate of the kubelet is not checked; false if not set."
        }
        "labelSelector" => "Chooses objects by their labels, such as app=web,tier!=test.",
        "limit" => "How many objects an answer may have at most; all of them if not set.",
        "limitBytes" => "How many bytes of the log to give at most.",
        "name" => "Name of the object.",
        "namespace" => "Namespace of the object.",
        "orphanDependents" => {
            "Deprecated, use propagationPolicy: whether objects that this one owns stay behind."
        }
        "path" => "Path to send the request to.",
        "ports" => "Ports to forward to.",
        "pretty" => {
            "Whether the answer is written for people to read, with line breaks and indents."
        }
        "previous" => {
            "Whether to give the log of the run before the last restart; false if not set."
        }
        "propagationPolicy" => {
            "What becomes of the objects that this one owns: Orphan leaves them, Background deletes them afterwards, Foreground first."
        }
        "resourceVersion" => "How recent the answer must be; with a watch, from where it begins.",
        "resourceVersionMatch" => {
            "How resourceVersion is meant for a list: Exact, or NotOlderThan."
        }
        "sendInitialEvents" => {
            "Whether a watch begins with the objects that there are, and a BOOKMARK after them."
        }
        "shardSelector" => {
            "Chooses a part of all objects by a hash, so that several clients can share them."
        }
        "sinceSeconds" => "How many seconds back the log begins.",
        "stderr" => "Whether to carry the standard error.",
        "stdin" => "Whether to carry the standard input; false if not set.",
        "stdout" => "Whether to carry the standard output.",
        "stream" => "Which output to give: All, which is the default, Stdout, or Stderr.",
        "tailLines" => "With how many lines from its end the log begins.",
        "timeoutSeconds" => "After how many seconds a list or watch ends.",
        "timestamps" => "Whether each line of the log begins with its time; false if not set.",
        "tty" => "Whether there is a terminal; false if not set.",
        "watch" => "Whether to send changes as they happen, instead of a list; false if not set.",
        _ => return None,
    })
}
