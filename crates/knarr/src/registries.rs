//! How image registries are reached: options of `knarr up`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use knarr_runtime::images::RegistryConfig;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Registries {
    /// Registry to speak to without TLS. May be repeated.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub insecure_registry: Vec<String>,
    /// Where to ask for a registry's images first, e.g. `docker.io=https://mirror.example.com`. May be repeated.
    #[arg(long, value_name = "REGISTRY=URL")]
    pub registry_mirror: Vec<String>,
    /// Directory with `HOST[:PORT]/ca.crt` for registries that have authorities of their own.
    #[arg(long, value_name = "DIR", default_value = "/etc/knarr/certs.d")]
    pub registry_certs: PathBuf,
}

impl Registries {
    /// # Errors
    /// When a mirror is not `REGISTRY=URL`.
    pub fn config(&self) -> Result<RegistryConfig> {
        let mut config = RegistryConfig {
            insecure: self.insecure_registry.clone(),
            certs: Some(self.registry_certs.clone()),
            ..RegistryConfig::default()
        };
        for mirror in &self.registry_mirror {
            let (registry, url) = mirror
                .split_once('=')
                .filter(|(_, url)| url.starts_with("http://") || url.starts_with("https://"))
                .with_context(|| format!("--registry-mirror {mirror:?} is not REGISTRY=URL, e.g. docker.io=https://mirror.example.com"))?;
            let urls = config.mirrors.entry(registry.to_owned()).or_default();
            urls.push(url.to_owned());
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(mirrors: &[&str]) -> Result<RegistryConfig> {
        let options = Registries {
            insecure_registry: vec!["reg.test:5000".into()],
            registry_mirror: mirrors.iter().map(ToString::to_string).collect(),
            registry_certs: "/certs".into(),
        };
        options.config()
    }

    #[test]
    fn mirrors_are_asked_in_the_order_given() {
        let config = config(&["docker.io=https://a.test", "docker.io=http://b.test:5000"]).unwrap();
        assert_eq!(
            config.mirrors["docker.io"],
            ["https://a.test", "http://b.test:5000"]
        );
        assert_eq!(config.insecure, ["reg.test:5000"]);
    }

    #[test]
    fn what_is_no_mirror_is_told() {
        for wrong in ["docker.io", "docker.io=mirror", ""] {
            assert!(config(&[wrong]).is_err(), "{wrong}");
        }
    }
}
