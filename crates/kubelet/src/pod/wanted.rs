//! What a pod's spec wants, in the form the pod's task works with.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::resources::is_sidecar;

/// The four ways in which a container takes part in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Runs to its end before the next one.
    Init,
    /// Started in the order of init containers, kept running beside the app.
    Sidecar,
    App,
    /// Added to a running pod for debugging; never restarted.
    Ephemeral,
}

/// A pod with its containers in one list: init containers and sidecars in order, then apps, then ephemeral ones.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub pod: Arc<Pod>,
    pub containers: Vec<(Kind, Container)>,
}

impl Wanted {
    pub fn new(pod: Arc<Pod>) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let init = spec.init_containers.into_iter().flatten();
        let init = init.map(|c| {
            (
                if is_sidecar(&c) {
                    Kind::Sidecar
                } else {
                    Kind::Init
                },
                c,
            )
        });
        let apps = spec.containers.into_iter().map(|c| (Kind::App, c));
        // An ephemeral container has the fields of a container and one more.
        let plain = |c| {
            serde_json::to_value(c)
                .and_then(serde_json::from_value)
                .ok()
        };
        let ephemeral = spec
            .ephemeral_containers
            .into_iter()
            .flatten()
            .filter_map(plain)
            .map(|c| (Kind::Ephemeral, c));
        let containers = init.chain(apps).chain(ephemeral).collect();
        Wanted { pod, containers }
    }

    pub fn spec(&self) -> &PodSpec {
        static EMPTY: std::sync::OnceLock<PodSpec> = std::sync::OnceLock::new();
        self.pod
            .spec
            .as_ref()
            .unwrap_or_else(|| EMPTY.get_or_init(PodSpec::default))
    }

    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub fn container(&self, name: &str) -> Option<&(Kind, Container)> {
        self.containers.iter().find(|(_, c)| c.name == name)
    }

    pub fn of_kind(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Container> {
        self.containers
            .iter()
            .filter(move |(k, _)| *k == kind)
            .map(|(_, c)| c)
    }

    pub fn host_network(&self) -> bool {
        self.spec().host_network == Some(true)
    }

    /// Seconds that the pod's containers have to end.
    pub fn grace(&self) -> i64 {
        self.spec()
            .termination_grace_period_seconds
            .unwrap_or(30)
            .max(1)
    }

    /// Whether a container that ended that way is started again.
    pub fn restarts(&self, kind: Kind, container: &Container, exit_code: i32) -> bool {
        let of_pod = self.spec().restart_policy.as_deref().unwrap_or("Always");
        match kind {
            Kind::Sidecar => return true,
            Kind::Ephemeral => return false,
            Kind::Init | Kind::App => {}
        }
        if rule_restarts(container, exit_code) {
            return true;
        }
        match container.restart_policy.as_deref().unwrap_or(of_pod) {
            "Never" => false,
            "Always" if kind == Kind::App => true,
            _ => exit_code != 0,
        }
    }
}

/// Whether one of the container's own rules asks for a restart after that exit code.
fn rule_restarts(container: &Container, exit_code: i32) -> bool {
    let matches = |rule: &k8s_openapi::api::core::v1::ContainerRestartRule| {
        let Some(on) = &rule.exit_codes else {
            return false;
        };
        let listed = on.values.as_ref().is_some_and(|v| v.contains(&exit_code));
        listed == (on.operator == "In")
    };
    let rules = container.restart_policy_rules.as_deref().unwrap_or(&[]);
    rules
        .iter()
        .find(|r| matches(r))
        .is_some_and(|r| r.action == "Restart")
}
