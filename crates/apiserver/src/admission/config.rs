//! `--admission-control-config-file`: settings of single plugins.

use std::path::Path;

use knarr_api::decode::yaml;
use knarr_json::Value;

use super::{events, podsecurity, quota};

/// Settings of the plugins that have some.
#[derive(Default)]
pub(crate) struct Settings {
    pub pod_security: podsecurity::Settings,
    pub events: Option<events::Limits>,
    /// What nobody gets without a quota.
    pub limited: Vec<quota::Limited>,
}

impl Settings {
    /// Reads an `AdmissionConfiguration`, and the files that it names relative to itself.
    ///
    /// # Errors
    /// When a file cannot be read, or says what no plugin understands.
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = document(path)?;
        let told = || path.display();
        if file["kind"] != "AdmissionConfiguration" {
            return Err(format!("{}: no AdmissionConfiguration", told()));
        }
        let mut settings = Settings::default();
        for plugin in file["plugins"].as_array().into_iter().flatten() {
            let name = plugin["name"].as_str().unwrap_or_default();
            let own = match plugin["path"].as_str().filter(|p| !p.is_empty()) {
                Some(relative) => {
                    let dir = path.parent().unwrap_or(Path::new("."));
                    document(&dir.join(relative))?
                }
                None => plugin["configuration"].clone(),
            };
            settings
                .take(name, &own)
                .map_err(|why| format!("{}: plugin {name}: {why}", told()))?;
        }
        Ok(settings)
    }

    fn take(&mut self, plugin: &str, own: &Value) -> Result<(), String> {
        match plugin {
            "PodSecurity" => self.pod_security = podsecurity::Settings::of(own)?,
            "EventRateLimit" => self.events = Some(events::Limits::of(own)?),
            "ResourceQuota" => self.limited = quota::Limited::of(own)?,
            _ if own.is_null() => {}
            _ => return Err("has no settings here".to_owned()),
        }
        Ok(())
    }
}

fn document(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let read = yaml::read(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(read.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_name_plugins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admission.yaml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Settings::read(&path)
        };
        let limits = "apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: [{type: Server, qps: 1, burst: 2}]\n";
        std::fs::write(dir.path().join("events.yaml"), limits).unwrap();
        let settings = read("apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: EventRateLimit\n  path: events.yaml\n- name: PodSecurity\n  configuration: {defaults: {enforce: baseline}, exemptions: {namespaces: [kube-system]}}\n").unwrap();
        assert!(settings.events.is_some());
        let limited = read("kind: AdmissionConfiguration\nplugins:\n- name: ResourceQuota\n  configuration: {kind: ResourceQuotaConfiguration, limitedResources: [{resource: pods, matchContains: [cpu]}]}\n").unwrap();
        assert_eq!(limited.limited.len(), 1);
        for bad in [
            "kind: Pod",
            "kind: AdmissionConfiguration\nplugins: [{name: PodSecurity, configuration: {defaults: {enforce: much}}}]",
            "kind: AdmissionConfiguration\nplugins: [{name: Nope, configuration: {a: 1}}]",
            "kind: AdmissionConfiguration\nplugins: [{name: EventRateLimit, path: missing.yaml}]",
            "{",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
