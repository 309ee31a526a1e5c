//! Admission: what is looked up or allocated for an object on its way in, what its surroundings forbid, and who else is
//! asked about it.
//!
//! Two passes, in the original's order. [`mutate`] runs before strategy and validation: the plugins that change objects,
//! MutatingAdmissionPolicies, mutating webhooks. [`validate`] runs on the finished object just before it is written: the
//! plugins that refuse, ValidatingAdmissionPolicies, validating webhooks, quota. One file per plugin.

mod addresses;
mod amounts;
mod attributes;
mod certificates;
pub(crate) mod claims;
mod config;
mod escalation;
mod events;
mod images;
mod ingressclass;
pub(crate) mod ipaddress;
mod limits;
mod namespace;
mod node;
mod nodefeatures;
pub(crate) mod nodeports;
mod noderestriction;
mod owners;
mod placement;
mod plugins;
mod pod;
mod pods;
mod podsecurity;
mod policies;
mod priority;
mod quota;
mod reinvocation;
mod resize;
mod runtimeclass;
mod service;
mod serviceaccount;
mod services;
mod storage;
mod tolerations;
mod webhook;

use claims::Claims;
use knarr_json::Value;
use knarr_store::Store;

pub(crate) use addresses::{Addresses, Held, Lease};
pub(crate) use attributes::{Attributes, Operation, Options};
pub(crate) use config::Settings;
pub(crate) use plugins::{Enabled, Plugin};
pub(crate) use priority::may_delete;
pub(crate) use reinvocation::Reinvocation;

use crate::{Outcome, chain::Call, rest::Target};

/// What admission keeps between requests.
pub(crate) struct Admission {
    pub enabled: Enabled,
    pub hooks: webhook::Hooks,
    pub policies: policies::Policies,
    pub ledger: quota::Ledger,
    pub settings: Settings,
}

impl Admission {
    /// Reads the configurations of webhooks and the policies.
    pub fn new(enabled: Enabled, settings: Settings, store: &Store) -> Self {
        Admission {
            enabled,
            hooks: webhook::Hooks::new(store),
            policies: policies::Policies::new(store),
            ledger: quota::Ledger::default(),
            settings,
        }
    }
}

/// What was allocated for an object; given back unless the write happened.
#[derive(Default)]
pub(crate) struct Admitted {
    leases: Vec<Lease>,
    claims: Option<Claims>,
}

impl Admitted {
    /// The write happened: what was allocated stays so, what it let go is free.
    pub async fn keep(self, call: &Call) {
        let freed: Vec<_> = self.leases.iter().filter_map(Lease::freed).collect();
        if let Some(claims) = self.claims {
            claims.keep();
        }
        claims::release(&call.shared, &freed).await;
        self.leases.into_iter().for_each(Lease::keep);
    }
}

/// Runs everything that may change an object, in order. `object` is null for a delete.
///
/// # Errors
/// 403, 404 and what else a plugin or webhook answers.
pub(crate) async fn mutate(a: &Attributes<'_>, object: &mut Value) -> Outcome<()> {
    let mut policies = Reinvocation::default();
    let mut webhooks = Reinvocation::default();
    pass(a, object, &mut policies, &mut webhooks).await?;
    if policies.wanted() || webhooks.wanted() {
        policies.start_second();
        webhooks.start_second();
        pass(a, object, &mut policies, &mut webhooks).await?;
    }
    Ok(())
}

async fn pass(
    a: &Attributes<'_>,
    object: &mut Value,
    policies: &mut Reinvocation,
    webhooks: &mut Reinvocation,
) -> Outcome<()> {
    let on = |plugin| a.call.shared.admission.enabled.has(plugin);
    if on(Plugin::NamespaceAutoProvision) {
        namespace::provide(a).await?;
    }
    plugins_mutate(a, object)?;
    if on(Plugin::MutatingAdmissionPolicy) {
        policies::mutate(a, object, policies).await?;
    }
    if on(Plugin::MutatingAdmissionWebhook) {
        webhook::mutate(a, object, webhooks).await?;
    }
    Ok(())
}

/// The plugins that change objects, in the original's order.
fn plugins_mutate(a: &Attributes<'_>, object: &mut Value) -> Outcome<()> {
    let enabled = a.call.shared.admission.enabled;
    let on = |plugin| enabled.has(plugin);
    if on(Plugin::NamespaceLifecycle) {
        namespace::admit(a, object)?;
    }
    let writes = matches!(a.operation, Operation::Create | Operation::Update);
    if writes && a.is_of("", "pods") {
        return pods::mutate(a, object);
    }
    if on(Plugin::NodeRestriction) {
        noderestriction::admit(a, object)?;
    }
    if !writes || !a.subresource.is_empty() {
        return Ok(());
    }
    match (a.group(), a.resource()) {
        ("", "nodes") if a.operation == Operation::Create && on(Plugin::TaintNodesByCondition) => {
            node::taint_not_ready(object);
        }
        ("", "persistentvolumeclaims") if on(Plugin::DefaultStorageClass) => {
            storage::default_class(a, object);
        }
        ("networking.k8s.io", "ingresses")
            if a.operation == Operation::Create && on(Plugin::DefaultIngressClass) =>
        {
            ingressclass::admit(a.call, object);
        }
        _ => {}
    }
    Ok(())
}

/// Asks everyone who may refuse the finished object (null for a delete), in order; quota last, as it notes what is used.
///
/// # Errors
/// 403 and what else a plugin, policy or webhook answers.
pub(crate) async fn validate(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let enabled = a.call.shared.admission.enabled;
    let on = |plugin| enabled.has(plugin);
    plugins_validate(a, object).await?;
    if on(Plugin::ValidatingAdmissionPolicy) {
        policies::validate(a, object).await?;
    }
    if on(Plugin::ValidatingAdmissionWebhook) {
        webhook::validate(a, object).await?;
    }
    if on(Plugin::ResourceQuota) {
        quota::validate(a, object).await?;
    }
    if on(Plugin::AlwaysDeny) {
        let why = "admission control is denying all modifications";
        return Err(a.forbidden(object, why));
    }
    Ok(())
}

/// The plugins that refuse, in the original's order.
async fn plugins_validate(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let enabled = a.call.shared.admission.enabled;
    let on = |plugin| enabled.has(plugin);
    if on(Plugin::NamespaceExists) && a.operation != Operation::Connect {
        namespace::exists(a)?;
    }
    if !matches!(a.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    match (a.group(), a.resource(), a.subresource) {
        ("", "pods", _) => pods::validate(a, object)?,
        ("", "persistentvolumeclaims", "") => {
            if on(Plugin::LimitRanger) {
                limits::validate(a, object)?;
            }
            if on(Plugin::PersistentVolumeClaimResize) {
                storage::resize(a, object)?;
            }
        }
        ("", "services", "") if on(Plugin::DenyServiceExternalIPs) => {
            services::deny_external_ips(a, object)?;
        }
        ("scheduling.k8s.io", "priorityclasses", "") if on(Plugin::Priority) => {
            priority::admit_class(a, object)?;
        }
        ("certificates.k8s.io", resource, subresource) => {
            certificates_validate(a, object, resource, subresource).await?;
        }
        _ => {}
    }
    if on(Plugin::EventRateLimit) {
        events::validate(a, object)?;
    }
    if on(Plugin::PodSecurity) && !a.is_of("", "pods") {
        podsecurity::validate(a, object)?;
    }
    if on(Plugin::OwnerReferencesPermissionEnforcement) {
        owners::admit(a, object).await?;
    }
    Ok(())
}

async fn certificates_validate(
    a: &Attributes<'_>,
    object: &Value,
    resource: &str,
    subresource: &str,
) -> Outcome<()> {
    let on = |plugin| a.call.shared.admission.enabled.has(plugin);
    match (resource, subresource) {
        ("certificatesigningrequests", "approval") if on(Plugin::CertificateApproval) => {
            certificates::approve(a, object).await
        }
        ("certificatesigningrequests", "status") if on(Plugin::CertificateSigning) => {
            certificates::sign(a, object).await
        }
        ("certificatesigningrequests", "") if on(Plugin::CertificateSubjectRestriction) => {
            certificates::restrict_subject(a, object)
        }
        ("clustertrustbundles", "") if on(Plugin::ClusterTrustBundleAttest) => {
            certificates::attest(a, object).await
        }
        _ => Ok(()),
    }
}

/// Both passes, for requests on which nothing happens between them: what is created and not stored, what is connected to.
///
/// # Errors
/// As [`mutate`] and [`validate`].
pub(crate) async fn admit(a: &Attributes<'_>, object: &mut Value) -> Outcome<()> {
    mutate(a, object).await?;
    validate(a, object).await
}

/// Nobody grants what he does not hold. Runs after [`mutate`], as no plugin can be turned off that far.
///
/// # Errors
/// 403.
pub(crate) async fn escalation(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    if a.subresource.is_empty() {
        return escalation::admit(a, object).await;
    }
    Ok(())
}

/// Allocates what an object needs, before it is validated: cluster IPs and node ports of Services. What is allocated is given
/// back when the object turns out to be wrong.
///
/// # Errors
/// 422 for what is taken or not to be had.
pub(crate) async fn allocate(
    call: &Call,
    target: &Target,
    object: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Outcome<Admitted> {
    let service = target.resource.group.is_empty() && target.resource.plural == "services";
    if target.subresource.is_some() || !service {
        return Ok(Admitted::default());
    }
    let addresses = &call.shared.addresses;
    let had = old.map(Held::of).unwrap_or_default();
    let asked = Held::of(object).difference(&had).cloned().collect();
    addresses.look_again(&asked);
    loop {
        let mut trial = object.clone();
        let mut leases = Vec::new();
        service::allocate(addresses, target, &mut trial, old, dry_run, &mut leases)?;
        let mut claims = Claims::new(call.shared.clone());
        let lost = if dry_run {
            None
        } else {
            service::claim(target, object, &trial, &leases, &mut claims).await?
        };
        let Some(lost) = lost else {
            *object = trial;
            let claims = Some(claims);
            return Ok(Admitted { leases, claims });
        };
        // Another server gave it away: this one remembers, and draws anew.
        leases.swap_remove(lost).keep();
    }
}

/// Settles what depends on the cluster or the user, before it is validated: address families of a Service, who asks for a
/// certificate.
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
    if old.is_none() && target.resource.plural == "certificatesigningrequests" {
        name_requester(call, object);
    }
    Ok(())
}

/// A request for a certificate tells who made it, whatever it says itself.
fn name_requester(call: &Call, object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    for key in ["username", "uid", "groups", "extra"] {
        spec.remove(key);
    }
    if let Value::Object(user) = call.user.to_json() {
        spec.extend(user);
    }
}

/// For fuzzing: the subject of a CertificateSigningRequest.
#[cfg(test)]
pub(crate) fn subject_of(object: &Value) -> Result<(), String> {
    certificates::Subject::of(object).map(|_| ())
}

/// For fuzzing: the answer of a webhook.
#[cfg(test)]
pub(crate) fn read_review(body: &[u8], uid: &str) {
    webhook::fuzz(body, uid);
}
