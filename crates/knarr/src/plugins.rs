//! Flags for admission plugins, named as kube-apiserver names them.

use clap::Args;
use knarr_apiserver::AdmissionConfig;

#[derive(Args, Clone, Default)]
#[group(skip)]
pub struct Flags {
    /// Admission plugins to turn on beyond the default ones, comma separated: AlwaysPullImages, PodNodeSelector,
    /// PodTolerationRestriction, EventRateLimit, ExtendedResourceToleration, DenyServiceExternalIPs,
    /// LimitPodHardAntiAffinityTopology, NamespaceExists, NamespaceAutoProvision, OwnerReferencesPermissionEnforcement, AlwaysDeny.
    #[arg(long, value_delimiter = ',')]
    enable_admission_plugins: Vec<String>,
    /// Default admission plugins to turn off, comma separated.
    #[arg(long, value_delimiter = ',')]
    disable_admission_plugins: Vec<String>,
    /// AdmissionConfiguration with settings of PodSecurity (defaults, exemptions) and EventRateLimit (limits).
    #[arg(long)]
    admission_control_config_file: Option<std::path::PathBuf>,
}

impl Flags {
    pub fn config(&self) -> AdmissionConfig {
        AdmissionConfig {
            enable: self.enable_admission_plugins.clone(),
            disable: self.disable_admission_plugins.clone(),
            config_file: self.admission_control_config_file.clone(),
        }
    }
}
