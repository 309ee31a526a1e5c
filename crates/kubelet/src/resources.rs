//! What a pod asks of the machine: quality of service, requests, cgroup settings.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use knarr_runtime::LinuxResources;

use crate::quantity::{milli, units};

/// Length of a cpu quota period in microseconds.
const PERIOD: u64 = 100_000;
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;
/// Shortest quota the kernel takes, in microseconds.
const MIN_QUOTA: i64 = 1_000;
/// Pods of at least this priority are protected from the OOM killer as guaranteed ones are.
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    /// As in `status.qosClass`.
    pub fn name(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::OnceLock<PodSpec> = std::sync::OnceLock::new();
    pod.spec
        .as_ref()
        .unwrap_or_else(|| EMPTY.get_or_init(PodSpec::default))
}

/// A sidecar: an init container that keeps running.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

pub fn request<'a>(r: Option<&'a ResourceRequirements>, name: &str) -> Option<&'a Quantity> {
    let r = r?;
    r.requests
        .as_ref()
        .and_then(|m| m.get(name))
        .or_else(|| limit(Some(r), name))
}

pub fn limit<'a>(r: Option<&'a ResourceRequirements>, name: &str) -> Option<&'a Quantity> {
    r?.limits.as_ref().and_then(|m| m.get(name))
}

fn positive(q: Option<&Quantity>) -> Option<i64> {
    q.and_then(milli).filter(|v| *v > 0)
}

/// The class that cpu and memory requests and limits put a pod in.
pub fn qos(pod: &Pod) -> Qos {
    let spec = spec(pod);
    let of_pod = spec.resources.as_ref().map(|r| vec![Some(r)]);
    let each = of_pod.unwrap_or_else(|| {
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
            .map(|c| c.resources.as_ref())
            .collect()
    });
    let (mut any, mut all_guaranteed) = (false, true);
    for r in each {
        for name in ["cpu", "memory"] {
            let (request, limit) = (positive(request(r, name)), positive(limit(r, name)));
            any |= request.is_some() || limit.is_some();
            all_guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, all_guaranteed) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// Amounts by resource name: cpu in thousandths, everything else in units.
pub type Amounts = BTreeMap<String, i64>;

/// The amount of one quantity in the unit that [`Amounts`] has for that resource.
pub fn amount(name: &str, q: &Quantity) -> i64 {
    if name == "cpu" { milli(q) } else { units(q) }.unwrap_or(0)
}

fn container_requests(c: &Container) -> Amounts {
    let mut out = Amounts::new();
    let r = c.resources.as_ref();
    for (name, q) in r.and_then(|r| r.limits.as_ref()).into_iter().flatten() {
        out.insert(name.clone(), amount(name, q));
    }
    for (name, q) in r.and_then(|r| r.requests.as_ref()).into_iter().flatten() {
        out.insert(name.clone(), amount(name, q));
    }
    out
}

fn add(to: &mut Amounts, from: &Amounts) {
    for (name, v) in from {
        let slot = to.entry(name.clone()).or_default();
        *slot = slot.saturating_add(*v);
    }
}

fn at_least(to: &mut Amounts, from: &Amounts) {
    for (name, v) in from {
        let slot = to.entry(name.clone()).or_default();
        *slot = (*slot).max(*v);
    }
}

/// What a pod needs of a node: the larger of all app containers with all sidecars, and of each init container with the
/// sidecars before it; plus overhead. Pod level requests win where given.
pub fn pod_requests(pod: &Pod) -> Amounts {
    let spec = spec(pod);
    let mut total = Amounts::new();
    spec.containers
        .iter()
        .for_each(|c| add(&mut total, &container_requests(c)));
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for c in spec.init_containers.iter().flatten() {
        let mut now = container_requests(c);
        if is_sidecar(c) {
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        at_least(&mut peak, &now);
    }
    add(&mut total, &sidecars);
    at_least(&mut total, &peak);
    for (name, q) in spec
        .resources
        .as_ref()
        .and_then(|r| r.requests.as_ref())
        .into_iter()
        .flatten()
    {
        total.insert(name.clone(), amount(name, q));
    }
    for (name, q) in spec.overhead.iter().flatten() {
        *total.entry(name.clone()).or_default() += amount(name, q);
    }
    total
}

/// The sum of a limit over all containers, when all of those that run together have one.
fn pod_limit(pod: &Pod, name: &str) -> Option<i64> {
    let spec = spec(pod);
    if let Some(q) = limit(spec.resources.as_ref(), name) {
        return Some(amount(name, q));
    }
    let of = |c: &Container| {
        limit(c.resources.as_ref(), name)
            .map(|q| amount(name, q))
            .filter(|v| *v > 0)
    };
    let mut sum: i64 = 0;
    for c in &spec.containers {
        sum += of(c)?;
    }
    let (mut sidecars, mut peak) = (0i64, 0i64);
    for c in spec.init_containers.iter().flatten() {
        let v = of(c)?;
        if is_sidecar(c) {
            sidecars += v;
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + v);
        }
    }
    Some((sum + sidecars).max(peak))
}

fn shares(milli_cpu: i64) -> u64 {
    let wanted = u64::try_from(milli_cpu).unwrap_or(0).saturating_mul(1024) / 1000;
    wanted.clamp(MIN_SHARES, MAX_SHARES)
}

fn quota(milli_cpu: i64) -> i64 {
    (milli_cpu.saturating_mul(PERIOD as i64) / 1000).max(MIN_QUOTA)
}

/// cgroup of a pod below `root`, e.g. `/knarr/kubepods/burstable/pod<uid>`.
pub fn cgroup_parent(root: &str, qos: Qos, uid: &str) -> String {
    let class = match qos {
        Qos::Guaranteed => "",
        Qos::Burstable => "/burstable",
        Qos::BestEffort => "/besteffort",
    };
    format!("{}/kubepods{class}/pod{uid}", root.trim_end_matches('/'))
}

/// Settings of the pod's own cgroup.
pub fn pod_resources(pod: &Pod) -> LinuxResources {
    let cpu_limit = pod_limit(pod, "cpu");
    LinuxResources {
        cpu_shares: Some(shares(pod_requests(pod).get("cpu").copied().unwrap_or(0))),
        cpu_quota: cpu_limit.map(quota),
        cpu_period: cpu_limit.map(|_| PERIOD),
        memory_limit: pod_limit(pod, "memory"),
        ..LinuxResources::default()
    }
}

/// Settings of a container's cgroup. `memory_capacity` is the machine's memory in bytes.
pub fn container_resources(
    pod: &Pod,
    container: &Container,
    memory_capacity: i64,
) -> LinuxResources {
    let r = container.resources.as_ref();
    let cpu_limit = positive(limit(r, "cpu"));
    let hugepage_limits = r
        .and_then(|r| r.limits.as_ref())
        .into_iter()
        .flatten()
        .filter_map(|(name, q)| {
            let size = name.strip_prefix("hugepages-")?;
            Some((hugepage_name(size)?, u64::try_from(units(q)?).ok()?))
        });
    LinuxResources {
        cpu_shares: Some(shares(positive(request(r, "cpu")).unwrap_or(0))),
        cpu_quota: cpu_limit.map(quota),
        cpu_period: cpu_limit.map(|_| PERIOD),
        memory_limit: limit(r, "memory").and_then(units).filter(|v| *v > 0),
        oom_score_adj: Some(oom_score_adj(pod, container, memory_capacity)),
        hugepage_limits: hugepage_limits.collect(),
        ..LinuxResources::default()
    }
}

/// `2Mi` as the kernel's cgroup files have it: `2MB`.
fn hugepage_name(size: &str) -> Option<String> {
    let bytes = units(&Quantity(size.to_owned()))?;
    let names = [(1i64 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    names
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes % unit == 0)
        .map(|(unit, name)| format!("{}{name}", bytes / unit))
}

/// How willingly the kernel kills the container when memory runs out: the less it requested the sooner.
pub fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: i64) -> i32 {
    if spec(pod).priority.is_some_and(|p| p >= CRITICAL_PRIORITY) {
        return -997;
    }
    match qos(pod) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let requested = request(container.resources.as_ref(), "memory")
                .and_then(units)
                .unwrap_or(0);
            let share = 1000 * i128::from(requested) / i128::from(memory_capacity.max(1));
            // Never as safe as a guaranteed pod, never as exposed as a best effort one.
            (1000 - share).clamp(3, 999) as i32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": json}))
            .expect("a pod")
    }

    #[test]
    fn classes() {
        let c = |r: serde_json::Value| serde_json::json!({"containers": [{"name": "c", "resources": r}]});
        let cases = [
            (c(serde_json::json!({})), Qos::BestEffort),
            (
                c(serde_json::json!({"requests": {"cpu": "1"}})),
                Qos::Burstable,
            ),
            (
                c(serde_json::json!({"limits": {"cpu": "1", "memory": "1Gi"}})),
                Qos::Guaranteed,
            ),
            (
                c(serde_json::json!({"limits": {"cpu": "1"}})),
                Qos::Burstable,
            ),
            (
                c(
                    serde_json::json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}}),
                ),
                Qos::Guaranteed,
            ),
        ];
        for (json, want) in cases {
            assert_eq!(qos(&pod(json.clone())), want, "{json}");
        }
    }

    #[test]
    fn requests_count_init_containers_and_sidecars() {
        let p = pod(serde_json::json!({
            "initContainers": [
                {"name": "i", "resources": {"requests": {"cpu": "900m"}}},
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
                {"name": "j", "resources": {"requests": {"cpu": "2"}}}],
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "500m", "memory": "1Ki"}}}]}));
        assert_eq!(
            pod_requests(&p),
            Amounts::from([("cpu".into(), 2100), ("memory".into(), 1024)])
        );
    }

    #[test]
    fn cgroup_numbers() {
        let p = pod(serde_json::json!({"containers": [
            {"name": "c", "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "1Gi"}}}]}));
        let r = container_resources(&p, &p.spec.as_ref().expect("spec").containers[0], 1 << 30);
        assert_eq!(
            (r.cpu_shares, r.cpu_quota, r.cpu_period),
            (Some(256), Some(50_000), Some(100_000))
        );
        assert_eq!(
            (r.memory_limit, r.oom_score_adj),
            (Some(1 << 30), Some(500))
        );
        assert_eq!(
            cgroup_parent("/knarr", qos(&p), "u"),
            "/knarr/kubepods/burstable/podu"
        );
        assert_eq!(hugepage_name("2Mi").as_deref(), Some("2MB"));
    }
}
