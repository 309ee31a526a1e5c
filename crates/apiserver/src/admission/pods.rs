//! The plugins that look at pods, in the original's order.

use knarr_json::Value;

use super::{
    Attributes, Operation, Plugin, images, limits, nodefeatures, noderestriction, placement, pod,
    podsecurity, priority, resize, runtimeclass, serviceaccount, tolerations,
};
use crate::Outcome;

/// Lets plugins change a pod, or what is written to one of its subresources.
///
/// # Errors
/// What a plugin answers.
pub fn mutate(a: &Attributes<'_>, object: &mut Value) -> Outcome<()> {
    let enabled = a.call.shared.admission.enabled;
    let on = |plugin| enabled.has(plugin);
    let whole = a.subresource.is_empty();
    if on(Plugin::LimitRanger) {
        limits::mutate(a, object);
    }
    if whole && on(Plugin::ServiceAccount) {
        serviceaccount::admit(a, object)?;
    }
    if on(Plugin::NodeRestriction) {
        noderestriction::admit(a, object)?;
    }
    if (whole || a.subresource == "ephemeralcontainers") && on(Plugin::AlwaysPullImages) {
        images::always_pull(object);
    }
    if whole {
        scheduling(a, object)?;
    }
    if on(Plugin::PodTopologyLabels) {
        placement::topology_labels(a, object);
    }
    Ok(())
}

fn scheduling(a: &Attributes<'_>, pod: &mut Value) -> Outcome<()> {
    let enabled = a.call.shared.admission.enabled;
    let on = |plugin| enabled.has(plugin);
    let creates = a.operation == Operation::Create;
    if creates && on(Plugin::PodNodeSelector) {
        placement::select_nodes(a, pod)?;
    }
    if on(Plugin::Priority) {
        priority::admit_pod(a, pod)?;
    }
    if on(Plugin::DefaultTolerationSeconds) {
        pod::default_tolerations(pod);
    }
    if on(Plugin::PodTolerationRestriction) {
        tolerations::restrict(a, pod)?;
    }
    if on(Plugin::ExtendedResourceToleration) {
        tolerations::extended_resources(pod);
    }
    if on(Plugin::RuntimeClass) {
        runtimeclass::mutate(a, pod)?;
    }
    Ok(())
}

/// Lets plugins refuse a pod, or what is written to one of its subresources.
///
/// # Errors
/// What a plugin answers.
pub fn validate(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let enabled = a.call.shared.admission.enabled;
    let on = |plugin| enabled.has(plugin);
    let whole = a.subresource.is_empty();
    if whole && on(Plugin::LimitPodHardAntiAffinityTopology) {
        placement::limit_anti_affinity(a, object)?;
    }
    if on(Plugin::LimitRanger) {
        limits::validate(a, object)?;
    }
    if on(Plugin::PodSecurity) {
        podsecurity::validate(a, object)?;
    }
    if whole && on(Plugin::PodTolerationRestriction) {
        tolerations::check_restriction(a, object)?;
    }
    if whole && on(Plugin::RuntimeClass) {
        runtimeclass::validate(a, object)?;
    }
    let of_spec = whole || a.subresource == "resize";
    if of_spec && on(Plugin::NodeDeclaredFeatureValidator) {
        nodefeatures::validate(a, object)?;
    }
    if a.subresource == "resize" && on(Plugin::PodResizeValidator) {
        resize::validate(a, object)?;
    }
    Ok(())
}
