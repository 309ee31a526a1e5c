//! OwnerReferencesPermissionEnforcement: who makes an object depend on others could delete it by deleting them, and could
//! keep them from going; he needs the right to both.

use knarr_json::Value;

use super::{Attributes, Operation};
use crate::{Outcome, authz};

fn owners(object: &Value) -> &[Value] {
    object["metadata"]["ownerReferences"].items()
}

async fn allowed(a: &Attributes<'_>, ask: authz::Attributes) -> authz::Decision {
    a.call.shared.authorizer.decide(&ask).await
}

/// # Errors
/// 403 for owners that the user may not name.
pub async fn admit(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let writes = matches!(a.operation, Operation::Create | Operation::Update);
    let before = a.old.map_or(&[][..], owners);
    if !writes || owners(object) == before {
        return Ok(());
    }
    // Who creates an object may do with it what he likes; so may who deletes a pod's owner.
    if a.operation == Operation::Update && !a.is_of("", "pods") {
        may_delete(a, object).await?;
    }
    for owner in owners(object) {
        let blocks = |o: &Value| o["blockOwnerDeletion"] == true;
        let blocked = before.iter().any(|o| o["uid"] == owner["uid"] && blocks(o));
        if blocks(owner) && !blocked {
            may_block(a, object, owner).await?;
        }
    }
    Ok(())
}

async fn may_delete(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let ask = authz::Attributes {
        user: a.call.user.clone(),
        verb: "delete".into(),
        group: a.group().into(),
        version: a.target.version.clone(),
        resource: a.resource().into(),
        subresource: a.subresource.into(),
        name: a.name().into(),
        namespace: a.namespace().into(),
        is_resource: true,
        ..authz::Attributes::default()
    };
    let decision = allowed(a, ask).await;
    if decision.allowed {
        return Ok(());
    }
    let why = format!(
        "cannot set an ownerRef on a resource you can't delete: {}, <nil>",
        decision.reason
    );
    Err(a.forbidden(object, &why))
}

async fn may_block(a: &Attributes<'_>, object: &Value, owner: &Value) -> Outcome<()> {
    let text = |key: &str| owner[key].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion")
        .split_once('/')
        .unwrap_or(("", text("apiVersion")));
    let registry = a.call.shared.registry.load_full();
    let Some(resource) = registry.by_kind(group, text("kind")) else {
        let why = format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}: no matches for kind {:?} in version {:?}",
            text("apiVersion"),
            text("kind"),
            text("kind"),
            text("apiVersion"),
        );
        return Err(a.forbidden(object, &why));
    };
    let ask = authz::Attributes {
        user: a.call.user.clone(),
        verb: "update".into(),
        group: group.into(),
        version: version.into(),
        resource: resource.plural.clone(),
        subresource: "finalizers".into(),
        name: text("name").into(),
        namespace: if resource.namespaced {
            a.namespace().into()
        } else {
            String::new()
        },
        is_resource: true,
        ..authz::Attributes::default()
    };
    let decision = allowed(a, ask).await;
    if decision.allowed {
        return Ok(());
    }
    let why = format!(
        "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {}, <nil>",
        decision.reason
    );
    Err(a.forbidden(object, &why))
}
