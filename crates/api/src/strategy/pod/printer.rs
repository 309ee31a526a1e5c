//! What `kubectl get pods` shows.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::resources::is_sidecar;
use crate::{
    strategy::Column,
    table,
    validation::{flag, list, text},
};

pub fn columns() -> Vec<Column> {
    vec![
        table::name(),
        table::column(
            "Ready",
            "The aggregate readiness state of this pod for accepting traffic.",
        ),
        table::column(
            "Status",
            "The aggregate status of the containers in this pod.",
        ),
        table::column(
            "Restarts",
            "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        ),
        table::age(),
        table::wide(
            "IP",
            "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.",
        ),
        table::wide(
            "Node",
            "NodeName indicates in which node this pod is scheduled.",
        ),
        table::wide(
            "Nominated Node",
            "nominatedNodeName is set when this pod preempts other pods on the node.",
        ),
        table::wide(
            "Readiness Gates",
            "If specified, all readiness gates will be evaluated for pod readiness.",
        ),
    ]
}

pub fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let summary = Summary::of(pod);
    let ip = list(&status["podIPs"])
        .first()
        .map_or_else(|| text(status, "podIP"), |ip| text(ip, "ip"));
    vec![
        table::name_of(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.clone().into(),
        summary.restarts(now).into(),
        table::age_of(pod, now),
        table::or_none(ip),
        table::or_none(text(spec, "nodeName")),
        table::or_none(text(status, "nominatedNodeName")),
        gates(spec, status),
    ]
}

/// What a row says of a pod that has ended.
pub fn row_conditions(pod: &Value) -> Vec<Value> {
    let (reason, message) = match text(&pod["status"], "phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
}

fn gates(spec: &Value, status: &Value) -> Value {
    let gates = list(&spec["readinessGates"]);
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = gates.iter().filter(|g| {
        list(&status["conditions"])
            .iter()
            .any(|c| c["type"] == g["conditionType"] && text(c, "status") == "True")
    });
    json!(format!("{}/{}", open.count(), gates.len()))
}

/// Readiness, status word and restarts of a pod.
struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let (spec, status) = (&pod["spec"], &pod["status"]);
        let mut s = Summary {
            ready: 0,
            total: list(&spec["containers"]).len(),
            reason: word(status),
            restarts: 0,
            last_restart: None,
        };
        for c in list(&status["conditions"]) {
            if text(c, "type") == "PodScheduled" && text(c, "reason") == "SchedulingGated" {
                s.reason = "SchedulingGated".to_owned();
            }
        }
        let sidecars: Vec<&str> = list(&spec["initContainers"])
            .iter()
            .filter(|c| is_sidecar(c))
            .map(|c| text(c, "name"))
            .collect();
        s.total += sidecars.len();
        let (initializing, kept) = s.init_containers(spec, status, &sidecars);
        let initialized = list(&status["conditions"])
            .iter()
            .any(|c| text(c, "type") == "Initialized" && text(c, "status") == "True");
        if !initializing || initialized {
            // once all are done, only those that keep running still count
            (s.restarts, s.last_restart) = kept;
            s.containers(status);
        }
        if pod["metadata"]["deletionTimestamp"].is_string() {
            s.deleting(status);
        }
        s
    }

    /// Looks at init containers: whether one has not done its part yet, and the restarts of those that keep running.
    fn init_containers(
        &mut self,
        spec: &Value,
        status: &Value,
        sidecars: &[&str],
    ) -> (bool, (i64, Option<Timestamp>)) {
        let mut sidecar_restarts = 0;
        let mut sidecar_last = None;
        for (i, c) in list(&status["initContainerStatuses"]).iter().enumerate() {
            let sidecar = sidecars.contains(&text(c, "name"));
            self.restarts += count(c);
            self.last_restart = self.last_restart.max(finished(c));
            if sidecar {
                sidecar_restarts += count(c);
                sidecar_last = Option::max(sidecar_last, finished(c));
            }
            let terminated = &c["state"]["terminated"];
            if terminated.is_object() && terminated["exitCode"].as_i64().unwrap_or(0) == 0 {
                continue;
            }
            if sidecar && flag(c, "started") {
                if flag(c, "ready") {
                    self.ready += 1;
                }
                continue;
            }
            let waiting = text(&c["state"]["waiting"], "reason");
            self.reason = if terminated.is_object() {
                format!("Init:{}", ended_word(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{i}/{}", list(&spec["initContainers"]).len())
            };
            return (true, (sidecar_restarts, sidecar_last));
        }
        (false, (sidecar_restarts, sidecar_last))
    }

    fn containers(&mut self, status: &Value) {
        let mut running = false;
        let statuses = list(&status["containerStatuses"]);
        for c in statuses.iter().rev() {
            self.restarts += count(c);
            self.last_restart = self.last_restart.max(finished(c));
            let (waiting, terminated) = (
                text(&c["state"]["waiting"], "reason"),
                &c["state"]["terminated"],
            );
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if terminated.is_object() {
                self.reason = ended_word(terminated);
            } else if flag(c, "ready") && c["state"]["running"].is_object() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let ready = list(&status["conditions"])
                .iter()
                .any(|c| text(c, "type") == "Ready" && text(c, "status") == "True");
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn deleting(&mut self, status: &Value) {
        if text(status, "reason") == "NodeLost" {
            self.reason = "Unknown".to_owned();
        } else if !["Failed", "Succeeded"].contains(&text(status, "phase")) {
            self.reason = "Terminating".to_owned();
        }
    }

    fn restarts(&self, now: Timestamp) -> String {
        match self.last_restart {
            Some(last) if self.restarts != 0 => {
                format!(
                    "{} ({} ago)",
                    self.restarts,
                    table::duration(now.as_second() - last.as_second())
                )
            }
            _ => self.restarts.to_string(),
        }
    }
}

/// The word that a pod starts from: its phase, or its reason when it has one.
fn word(status: &Value) -> String {
    let reason = text(status, "reason");
    if reason.is_empty() {
        text(status, "phase")
    } else {
        reason
    }
    .to_owned()
}

/// Why a container ended: its reason, or the signal or exit code.
fn ended_word(terminated: &Value) -> String {
    let (reason, signal) = (
        text(terminated, "reason"),
        terminated["signal"].as_i64().unwrap_or(0),
    );
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0))
    }
}

fn count(status: &Value) -> i64 {
    status["restartCount"].as_i64().unwrap_or(0)
}

/// When a container's previous run ended.
fn finished(status: &Value) -> Option<Timestamp> {
    text(&status["lastState"]["terminated"], "finishedAt")
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(spec: Value, status: Value) -> String {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
        let now = "2024-01-01T00:10:00Z".parse().unwrap();
        let cells = cells(&pod, now);
        (1..4)
            .map(|i| cells[i].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
            .join(" | ")
    }

    #[test]
    fn status_words() {
        let two = json!({"containers": [{"name": "c"}, {"name": "d"}]});
        let run = json!({"name": "c", "ready": true, "restartCount": 1, "state": {"running": {}}});
        let with = |second: Value| json!({"phase": "Running", "containerStatuses": [run, second]});
        for (status, want) in [
            (json!({"phase": "Pending"}), "0/2 | Pending | 0"),
            (
                with(
                    json!({"name": "d", "ready": true, "restartCount": 2, "state": {"running": {}}}),
                ),
                "2/2 | Running | 3",
            ),
            (
                with(
                    json!({"name": "d", "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}),
                ),
                "1/2 | CrashLoopBackOff | 5",
            ),
            (
                with(
                    json!({"name": "d", "restartCount": 4, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}),
                ),
                "1/2 | NotReady | 5",
            ),
            (
                with(
                    json!({"name": "d", "restartCount": 0, "state": {"terminated": {"exitCode": 3}}}),
                ),
                "1/2 | ExitCode:3 | 1",
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted"}),
                "0/2 | Evicted | 0",
            ),
            (
                with(
                    json!({"name": "d", "restartCount": 1, "state": {"running": {}},
                "lastState": {"terminated": {"finishedAt": "2024-01-01T00:07:00Z"}}}),
                ),
                "1/2 | Running | 2 (3m ago)",
            ),
        ] {
            assert_eq!(row(two.clone(), status.clone()), want, "{status}");
        }
        let init = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]});
        let waiting = json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}]});
        assert_eq!(row(init, waiting), "0/1 | Init:0/1 | 0");
    }
}
