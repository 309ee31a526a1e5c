//! Which plugins there are, in the order they run, and which of them a server has on.

/// A plugin of the chain. The order of the variants is the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plugin {
    AlwaysAdmit,
    NamespaceAutoProvision,
    NamespaceLifecycle,
    NamespaceExists,
    LimitPodHardAntiAffinityTopology,
    LimitRanger,
    ServiceAccount,
    NodeRestriction,
    TaintNodesByCondition,
    AlwaysPullImages,
    ImagePolicyWebhook,
    PodSecurity,
    PodNodeSelector,
    Priority,
    DefaultTolerationSeconds,
    PodTolerationRestriction,
    EventRateLimit,
    ExtendedResourceToleration,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    OwnerReferencesPermissionEnforcement,
    PersistentVolumeClaimResize,
    RuntimeClass,
    CertificateApproval,
    CertificateSigning,
    ClusterTrustBundleAttest,
    CertificateSubjectRestriction,
    DefaultIngressClass,
    DenyServiceExternalIPs,
    PodTopologyLabels,
    NodeDeclaredFeatureValidator,
    PodResizeValidator,
    PodGroupWorkloadExists,
    JobValidation,
    PodGroupProtection,
    MutatingAdmissionPolicy,
    MutatingAdmissionWebhook,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionWebhook,
    ResourceQuota,
    AlwaysDeny,
}

use Plugin::*;

/// Every plugin with its name in flags, and whether it is on unless someone says otherwise.
const ALL: [(Plugin, &str, bool); 41] = [
    (AlwaysAdmit, "AlwaysAdmit", false),
    (NamespaceAutoProvision, "NamespaceAutoProvision", false),
    (NamespaceLifecycle, "NamespaceLifecycle", true),
    (NamespaceExists, "NamespaceExists", false),
    (
        LimitPodHardAntiAffinityTopology,
        "LimitPodHardAntiAffinityTopology",
        false,
    ),
    (LimitRanger, "LimitRanger", true),
    (ServiceAccount, "ServiceAccount", true),
    // The original has it off and every installer turns it on.
    (NodeRestriction, "NodeRestriction", true),
    (TaintNodesByCondition, "TaintNodesByCondition", true),
    (AlwaysPullImages, "AlwaysPullImages", false),
    (ImagePolicyWebhook, "ImagePolicyWebhook", false),
    (PodSecurity, "PodSecurity", true),
    (PodNodeSelector, "PodNodeSelector", false),
    (Priority, "Priority", true),
    (DefaultTolerationSeconds, "DefaultTolerationSeconds", true),
    (PodTolerationRestriction, "PodTolerationRestriction", false),
    (EventRateLimit, "EventRateLimit", false),
    (
        ExtendedResourceToleration,
        "ExtendedResourceToleration",
        false,
    ),
    (DefaultStorageClass, "DefaultStorageClass", true),
    (
        StorageObjectInUseProtection,
        "StorageObjectInUseProtection",
        true,
    ),
    (
        OwnerReferencesPermissionEnforcement,
        "OwnerReferencesPermissionEnforcement",
        false,
    ),
    (
        PersistentVolumeClaimResize,
        "PersistentVolumeClaimResize",
        true,
    ),
    (RuntimeClass, "RuntimeClass", true),
    (CertificateApproval, "CertificateApproval", true),
    (CertificateSigning, "CertificateSigning", true),
    (ClusterTrustBundleAttest, "ClusterTrustBundleAttest", true),
    (
        CertificateSubjectRestriction,
        "CertificateSubjectRestriction",
        true,
    ),
    (DefaultIngressClass, "DefaultIngressClass", true),
    (DenyServiceExternalIPs, "DenyServiceExternalIPs", false),
    (PodTopologyLabels, "PodTopologyLabels", true),
    (
        NodeDeclaredFeatureValidator,
        "NodeDeclaredFeatureValidator",
        true,
    ),
    (PodResizeValidator, "PodResizeValidator", true),
    // These three do nothing while their feature gates are closed, as v1.36 has them.
    (PodGroupWorkloadExists, "PodGroupWorkloadExists", true),
    (JobValidation, "JobValidation", true),
    (PodGroupProtection, "PodGroupProtection", true),
    (MutatingAdmissionPolicy, "MutatingAdmissionPolicy", true),
    (MutatingAdmissionWebhook, "MutatingAdmissionWebhook", true),
    (ValidatingAdmissionPolicy, "ValidatingAdmissionPolicy", true),
    (
        ValidatingAdmissionWebhook,
        "ValidatingAdmissionWebhook",
        true,
    ),
    (ResourceQuota, "ResourceQuota", true),
    (AlwaysDeny, "AlwaysDeny", false),
];

/// The plugins that are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Enabled(u64);

impl Default for Enabled {
    fn default() -> Self {
        let on = ALL.iter().filter(|(.., on)| *on);
        Enabled(on.fold(0, |bits, (plugin, ..)| bits | bit(*plugin)))
    }
}

fn bit(plugin: Plugin) -> u64 {
    1 << (plugin as u32)
}

impl Enabled {
    /// The default plugins with `enable` and without `disable`, by the names of the flags.
    ///
    /// # Errors
    /// For a name that no plugin has, or that is in both lists; for a plugin that this server cannot run.
    pub fn new(enable: &[String], disable: &[String]) -> Result<Self, String> {
        let find = |flag: &str, name: &str| {
            let found = ALL.iter().find(|(_, known, _)| *known == name);
            found
                .map(|(plugin, ..)| *plugin)
                .ok_or_else(|| format!("{flag} plugin {name:?} is unknown"))
        };
        if let Some(both) = enable.iter().find(|name| disable.contains(name)) {
            return Err(format!(
                "{both} in enable-admission-plugins and disable-admission-plugins overlapped"
            ));
        }
        let mut enabled = Enabled::default();
        for name in enable {
            enabled.0 |= bit(find("enable-admission-plugins", name)?);
        }
        for name in disable {
            enabled.0 &= !bit(find("disable-admission-plugins", name)?);
        }
        if enabled.has(ImagePolicyWebhook) {
            // Better no server than one that lets in what it was told to ask about.
            return Err(
                "couldn't init admission plugin \"ImagePolicyWebhook\": nobody is asked about images here"
                    .to_owned(),
            );
        }
        Ok(enabled)
    }

    pub fn has(self, plugin: Plugin) -> bool {
        self.0 & bit(plugin) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_turn_plugins_on_and_off() {
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let on = Enabled::new(&names(&["AlwaysPullImages"]), &names(&["Priority"])).unwrap();
        assert!(on.has(AlwaysPullImages) && on.has(NamespaceLifecycle) && !on.has(Priority));
        assert_eq!(
            Enabled::new(&names(&["Nope"]), &[]).unwrap_err(),
            "enable-admission-plugins plugin \"Nope\" is unknown"
        );
        let gated = names(&["JobValidation", "PodGroupProtection"]);
        let off = Enabled::new(&[], &[gated, names(&["ImagePolicyWebhook"])].concat()).unwrap();
        assert!(!off.has(JobValidation) && off.has(PodGroupWorkloadExists));
        assert!(Enabled::new(&names(&["ImagePolicyWebhook"]), &[]).is_err());
        let both = Enabled::new(&names(&["Priority"]), &names(&["Priority"]));
        assert_eq!(
            both.unwrap_err(),
            "Priority in enable-admission-plugins and disable-admission-plugins overlapped"
        );
    }

    #[test]
    fn the_table_is_in_order() {
        for (i, (plugin, name, _)) in ALL.iter().enumerate() {
            assert_eq!(*plugin as usize, i, "{name}");
            assert_eq!(format!("{plugin:?}"), *name);
        }
    }
}
