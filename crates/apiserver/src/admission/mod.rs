//! Admission: what is looked up or allocated for an object on its way in, and what its surroundings forbid.
//!
//! One file per plugin, in the original's order.

mod addresses;
mod escalation;
mod ingressclass;
mod namespace;
mod node;
mod pod;
mod priority;
mod service;
mod serviceaccount;

use serde_json::Value;

pub use addresses::{Addresses, Lease};

use crate::{Outcome, chain::Call, rest::Target};

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Create,
    Update,
}

/// What was allocated for an object; given back unless the write happened.
#[derive(Default)]
pub struct Admitted {
    leases: Vec<Lease>,
}

impl Admitted {
    /// The write happened: what was allocated stays so, what it let go is free.
    pub fn keep(self) {
        self.leases.into_iter().for_each(Lease::keep);
    }
}

/// Runs the plugins that change objects or refuse them before they are validated.
///
/// # Errors
/// 403, 404 and what else a plugin answers.
pub(crate) fn mutate(
    call: &Call,
    target: &Target,
    action: Action,
    object: &mut Value,
    old: Option<&Value>,
) -> Outcome<Admitted> {
    namespace::admit(call, target, action)?;
    if target.subresource.is_none() {
        match (
            target.resource.group.as_str(),
            target.resource.plural.as_str(),
        ) {
            ("", "pods") => {
                serviceaccount::admit(call, target, action, object)?;
                priority::admit_pod(call, target, action, object, old)?;
                pod::default_tolerations(object);
            }
            ("", "nodes") if action == Action::Create => node::taint_not_ready(object),
            ("networking.k8s.io", "ingresses") if action == Action::Create => {
                ingressclass::admit(call, object)
            }
            ("scheduling.k8s.io", "priorityclasses") => {
                priority::admit_class(call, target, object)?
            }
            _ => {}
        }
        escalation::admit(call, target, action, object, old)?;
    }
    Ok(Admitted::default())
}

/// Allocates what a valid object still needs: cluster IPs and node ports of Services.
///
/// # Errors
/// 422 for what is taken or not to be had.
pub(crate) fn allocate(
    call: &Call,
    target: &Target,
    object: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
    admitted: &mut Admitted,
) -> Outcome<()> {
    if target.subresource.is_none()
        && target.resource.group.is_empty()
        && target.resource.plural == "services"
    {
        service::allocate(
            &call.shared.addresses,
            target,
            object,
            old,
            dry_run,
            &mut admitted.leases,
        )?;
    }
    Ok(())
}

/// Settles what of a Service depends on the cluster's address families, before it is validated.
///
/// # Errors
/// 422 for families that the cluster does not have.
pub(crate) fn prepare(
    call: &Call,
    target: &Target,
    object: &mut Value,
    old: Option<&Value>,
) -> Outcome<()> {
    let service = target.resource.group.is_empty() && target.resource.plural == "services";
    if target.subresource.is_none() && service {
        return service::families(&call.shared.addresses, target, object, old);
    }
    Ok(())
}

/// # Errors
/// 403 for objects that must stay.
pub(crate) fn may_delete(call: &Call, target: &Target) -> Outcome<()> {
    namespace::may_delete(call, target)
}
