//! The status of a claim: what was allocated, to whom, and what drivers tell of it.

use knarr_json::Value;

use super::{devices, each_of, names, set_of};
use crate::{
    field::{Error, Errors},
    strategy::{
        defaults::{each, set},
        pod::node_selector,
    },
    validation::{At, go, immutable_struct, list, net, status as conditions, text},
};

const RESULTS: usize = 32;
const CONSUMERS: usize = 256;
const LARGEST_DATA: usize = 10 * 1024;
const IPS: usize = 16;

const ALLOCATION: &str = "Devices{Results[Request'' Driver'' Pool'' Device'' AdminAccess. Tolerations[Key'' Operator'' Value'' Effect'' TolerationSeconds.] BindingConditions. BindingFailureConditions. ShareID. ConsumedCapacity.] Config[Source'' Requests. Opaque*{Driver'' Parameters.}]} NodeSelector. AllocationTimestamp.";

/// Tolerations of results compare for equality unless they say otherwise.
pub fn default(devices: &mut Value) {
    for result in each(devices, "results") {
        each(result, "tolerations").for_each(|t| set(t, "operator", "Equal"));
    }
}

/// Driver, pool, device and share of one device, in one text.
fn identity(v: &Value) -> String {
    ["driver", "pool", "device", "shareID"]
        .map(|k| text(v, k))
        .join("/")
}

pub fn update(object: &Value, old: &Value, errs: &mut Errors) {
    let status = At::root(object, "status");
    let allocation = status.some("allocation");
    let uid = |at: &At| at.text("uid").to_owned();
    let reserved = status.get("reservedFor");
    set_of(&reserved, CONSUMERS, &uid, errs, &mut |at, errs| {
        for key in ["resource", "name", "uid"] {
            if at.text(key).is_empty() {
                errs.push(at.get(key).required(""));
            }
        }
    });
    let results = allocation
        .as_ref()
        .map(|a| list(&a.v["devices"]["results"]));
    let allocated: Vec<String> = results.unwrap_or_default().iter().map(identity).collect();
    let key = |at: &At| identity(at.v);
    set_of(
        &status.get("devices"),
        usize::MAX,
        &key,
        errs,
        &mut |at, errs| {
            device(at, &allocated, errs);
        },
    );
    if !list(reserved.v).is_empty() && allocation.is_none() {
        errs.push(reserved.forbidden("may not be specified when `allocated` is not set"));
    } else if object["metadata"]["deletionTimestamp"].is_string() {
        let before = list(&old["status"]["reservedFor"]);
        if list(reserved.v).iter().any(|r| !before.contains(r)) {
            errs.push(reserved.forbidden(
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
            ));
        }
    }
    let Some(allocation) = allocation else {
        return;
    };
    match &old["status"]["allocation"] {
        Value::Null => {
            let known = devices::request_names(&object["spec"]["devices"]);
            new_allocation(&allocation, &known, errs);
        }
        before => immutable_struct(&allocation, before, ALLOCATION, errs),
    }
}

fn new_allocation(at: &At, known: &[String], errs: &mut Errors) {
    let all = at.get("devices");
    each_of(&all.get("results"), RESULTS, errs, &mut |at, errs| {
        devices::reference(&at.get("request"), known, errs);
        names::driver(&at.get("driver"), errs);
        names::pool(&at.get("pool"), errs);
        names::label(&at.get("device"), errs);
        devices::binding(at, errs);
        for t in at.items("tolerations") {
            devices::toleration(&t, errs);
        }
        if let Some(share) = at.some("shareID") {
            names::uid(&share, errs);
        }
    });
    devices::allocated_configurations(&all.get("config"), known, errs);
    if let Some(selector) = at.some("nodeSelector") {
        node_selector(&selector, errs);
    }
}

fn device(at: &At, allocated: &[String], errs: &mut Errors) {
    names::driver(&at.get("driver"), errs);
    names::pool(&at.get("pool"), errs);
    names::label(&at.get("device"), errs);
    if let Some(share) = at.some("shareID") {
        names::uid(&share, errs);
    }
    if !allocated.contains(&identity(at.v)) {
        let shown = go::dump(at.v, "Driver'' Pool'' Device''");
        errs.push(
            at.invalid("must be an allocated device in the claim")
                .showing(shown),
        );
    }
    let all = at.get("conditions");
    if list(all.v).len() > 8 {
        errs.push(Error::too_many(&all.path, list(all.v).len(), 8));
    }
    conditions::conditions(&all, errs);
    if let Some(data) = at.some("data") {
        devices::raw(&data, LARGEST_DATA, errs);
    }
    if let Some(network) = at.some("networkData") {
        network_data(&network, errs);
    }
}

fn network_data(at: &At, errs: &mut Errors) {
    for (key, most) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        let field = at.get(key);
        if field.str().len() > most {
            errs.push(Error::too_long(&field.path, most));
        }
    }
    let key = |at: &At| at.str().to_owned();
    set_of(&at.get("ips"), IPS, &key, errs, &mut |at, errs| {
        if net::parse_cidr_sloppy(at.str()).is_none() {
            let words =
                "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
            errs.push(at.invalid(words));
        }
    });
}
