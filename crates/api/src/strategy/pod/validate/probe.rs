//! Probes and lifecycle hooks.

use super::Pod;
use crate::{
    field::{Error, Errors},
    names,
    validation::{At, list, non_negative, ports},
};

/// The three probes of a container.
pub fn all(c: &At, pod: &Pod, errs: &mut Errors) {
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(p) = c.some(key) else { continue };
        probe(&p, pod, errs);
        if key == "readinessProbe" {
            if p.has("terminationGracePeriodSeconds") {
                errs.push(
                    p.get("terminationGracePeriodSeconds")
                        .invalid("must not be set for readinessProbes"),
                );
            }
        } else if p.int("successThreshold").unwrap_or(0) != 1 {
            errs.push(Error::invalid(
                &p.path.child("successThreshold"),
                p.int("successThreshold").unwrap_or(0),
                "must be 1",
            ));
        }
    }
}

fn probe(p: &At, pod: &Pod, errs: &mut Errors) {
    handler(p, &["exec", "httpGet", "tcpSocket", "grpc"], pod, errs);
    for key in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        non_negative(p, key, errs);
    }
    if p.int("terminationGracePeriodSeconds")
        .is_some_and(|s| s <= 0)
    {
        errs.push(
            p.get("terminationGracePeriodSeconds")
                .invalid("must be greater than 0"),
        );
    }
}

/// `postStart` and `preStop`.
pub fn lifecycle(l: &At, pod: &Pod, errs: &mut Errors) {
    for key in ["postStart", "preStop"] {
        if let Some(hook) = l.some(key) {
            handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], pod, errs);
        }
    }
    if let Some(signal) = l.some("stopSignal") {
        stop_signal(&signal, pod, errs);
    }
}

fn stop_signal(signal: &At, pod: &Pod, errs: &mut Errors) {
    let supported: Vec<String> = match pod.os {
        "" => {
            errs.push(signal.forbidden("may not be set for containers with empty `spec.os.name`"));
            return;
        }
        "linux" => linux_signals(),
        "windows" => vec!["SIGKILL".to_owned(), "SIGTERM".to_owned()],
        _ => return,
    };
    if !supported.iter().any(|s| s == signal.str()) {
        errs.push(Error::not_supported(&signal.path, signal.str(), &supported));
    }
}

/// Signals that containers can be told to stop by, sorted.
fn linux_signals() -> Vec<String> {
    const NAMED: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX";
    let low = (1..=15).map(|n| format!("SIGRTMIN+{n}"));
    let high = (1..=14).map(|n| format!("SIGRTMAX-{n}"));
    let mut all: Vec<String> = NAMED
        .split(' ')
        .map(|s| format!("SIG{s}"))
        .chain(low)
        .chain(high)
        .collect();
    all.sort();
    all
}

/// What a probe or hook does: exactly one of `kinds`.
fn handler(h: &At, kinds: &[&str], pod: &Pod, errs: &mut Errors) {
    let mut found = 0;
    for key in kinds {
        let Some(action) = h.some(key) else { continue };
        if found > 0 {
            errs.push(action.forbidden("may not specify more than 1 handler type"));
            continue;
        }
        found += 1;
        match *key {
            "exec" if list(&action.v["command"]).is_empty() => {
                errs.push(action.get("command").required(""))
            }
            "exec" => {}
            "httpGet" => http_get(&action, errs),
            "tcpSocket" => ports::number_or_name(&action.get("port"), errs),
            "grpc" => ports::number(&action.get("port"), errs),
            _ => sleep(&action, pod, errs),
        }
    }
    if found == 0 {
        errs.push(h.required("must specify a handler type"));
    }
}

fn http_get(get: &At, errs: &mut Errors) {
    if get.text("path").is_empty() {
        errs.push(get.get("path").required(""));
    }
    ports::number_or_name(&get.get("port"), errs);
    let scheme = get.get("scheme");
    if !["HTTP", "HTTPS"].contains(&scheme.str()) {
        errs.push(scheme.not_supported(&["HTTP", "HTTPS"]));
    }
    for header in get.items("httpHeaders") {
        for m in names::http_header(header.text("name")) {
            errs.push(Error::invalid(
                &get.path.child("httpHeaders"),
                header.text("name"),
                m,
            ));
        }
    }
}

fn sleep(action: &At, pod: &Pod, errs: &mut Errors) {
    let seconds = action.int("seconds").unwrap_or(0);
    if let Some(grace) = pod.grace_period
        && (seconds < 0 || seconds > grace)
    {
        let words =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errs.push(Error::invalid(&action.path, seconds, words));
    }
}
