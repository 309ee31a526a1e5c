//! DenyServiceExternalIPs: Services get no external addresses beyond those that they have.

use knarr_json::Value;

use super::Attributes;
use crate::Outcome;

/// # Errors
/// 403 for a new external address.
pub fn deny_external_ips(a: &Attributes<'_>, service: &Value) -> Outcome<()> {
    let of = |service: &Value| service["spec"]["externalIPs"].items().to_vec();
    let had = a.old.map(of).unwrap_or_default();
    if of(service).iter().all(|ip| had.contains(ip)) {
        return Ok(());
    }
    let why = "Use of external IPs is denied by admission control";
    Err(a.forbidden(service, why))
}
