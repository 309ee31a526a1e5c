//! What is built in is named and used as in Kubernetes v1.36.

use knarr_api::{Resource, builtin};

/// Group and versions; then, per resource: plural, kind, singular, `N`amespaced or `C`luster, short names, categories, and
/// what can be done beyond reading, writing and watching: `*` for all of it. Subresources follow a resource with a slash: name, kind
/// when it is another one, verbs.
const TABLE: &str = "
:v1
 bindings Binding binding N - - create
 componentstatuses ComponentStatus componentstatus C cs - get,list
 configmaps ConfigMap configmap N cm - *
 endpoints Endpoints endpoints N ep - *
 events Event event N ev - *
 limitranges LimitRange limitrange N limits - *
 namespaces Namespace namespace C ns - create,delete,get,list,patch,update,watch
 /finalize Namespace update
 /status Namespace get,patch,update
 nodes Node node C no - *
 /proxy NodeProxyOptions create,delete,get,patch,update
 /status Node get,patch,update
 persistentvolumeclaims PersistentVolumeClaim persistentvolumeclaim N pvc - *
 /status PersistentVolumeClaim get,patch,update
 persistentvolumes PersistentVolume persistentvolume C pv - *
 /status PersistentVolume get,patch,update
 pods Pod pod N po all *
 /attach PodAttachOptions create,get
 /binding Binding create
 /ephemeralcontainers Pod get,patch,update
 /eviction policy/v1/Eviction create
 /exec PodExecOptions create,get
 /log Pod get
 /portforward PodPortForwardOptions create,get
 /proxy PodProxyOptions create,delete,get,patch,update
 /resize Pod get,patch,update
 /status Pod get,patch,update
 podtemplates PodTemplate podtemplate N - - *
 replicationcontrollers ReplicationController replicationcontroller N rc all *
 /scale autoscaling/v1/Scale get,patch,update
 /status ReplicationController get,patch,update
 resourcequotas ResourceQuota resourcequota N quota - *
 /status ResourceQuota get,patch,update
 secrets Secret secret N - - *
 serviceaccounts ServiceAccount serviceaccount N sa - *
 /token authentication.k8s.io/v1/TokenRequest create
 services Service service N svc all *
 /proxy ServiceProxyOptions create,delete,get,patch,update
 /status Service get,patch,update
admissionregistration.k8s.io:v1
 mutatingadmissionpolicies MutatingAdmissionPolicy mutatingadmissionpolicy C - api-extensions *
 mutatingadmissionpolicybindings MutatingAdmissionPolicyBinding mutatingadmissionpolicybinding C - api-extensions *
 mutatingwebhookconfigurations MutatingWebhookConfiguration mutatingwebhookconfiguration C - api-extensions *
 validatingadmissionpolicies ValidatingAdmissionPolicy validatingadmissionpolicy C - api-extensions *
 /status ValidatingAdmissionPolicy get,patch,update
 validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding validatingadmissionpolicybinding C - api-extensions *
 validatingwebhookconfigurations ValidatingWebhookConfiguration validatingwebhookconfiguration C - api-extensions *
apiextensions.k8s.io:v1
 customresourcedefinitions CustomResourceDefinition customresourcedefinition C crd,crds api-extensions *
 /status CustomResourceDefinition get,patch,update
apiregistration.k8s.io:v1
 apiservices APIService apiservice C - api-extensions *
 /status APIService get,patch,update
apps:v1
 controllerrevisions ControllerRevision controllerrevision N - - *
 daemonsets DaemonSet daemonset N ds all *
 /status DaemonSet get,patch,update
 deployments Deployment deployment N deploy all *
 /scale autoscaling/v1/Scale get,patch,update
 /status Deployment get,patch,update
 replicasets ReplicaSet replicaset N rs all *
 /scale autoscaling/v1/Scale get,patch,update
 /status ReplicaSet get,patch,update
 statefulsets StatefulSet statefulset N sts all *
 /scale autoscaling/v1/Scale get,patch,update
 /status StatefulSet get,patch,update
authentication.k8s.io:v1
 selfsubjectreviews SelfSubjectReview selfsubjectreview C - - create
 tokenreviews TokenReview tokenreview C - - create
authorization.k8s.io:v1
 localsubjectaccessreviews LocalSubjectAccessReview localsubjectaccessreview N - - create
 selfsubjectaccessreviews SelfSubjectAccessReview selfsubjectaccessreview C - - create
 selfsubjectrulesreviews SelfSubjectRulesReview selfsubjectrulesreview C - - create
 subjectaccessreviews SubjectAccessReview subjectaccessreview C - - create
autoscaling:v2,v1
 horizontalpodautoscalers HorizontalPodAutoscaler horizontalpodautoscaler N hpa all *
 /status HorizontalPodAutoscaler get,patch,update
batch:v1
 cronjobs CronJob cronjob N cj all *
 /status CronJob get,patch,update
 jobs Job job N - all *
 /status Job get,patch,update
certificates.k8s.io:v1
 certificatesigningrequests CertificateSigningRequest certificatesigningrequest C csr - *
 /approval CertificateSigningRequest get,patch,update
 /status CertificateSigningRequest get,patch,update
coordination.k8s.io:v1
 leases Lease lease N - - *
discovery.k8s.io:v1
 endpointslices EndpointSlice endpointslice N - - *
events.k8s.io:v1
 events Event event N ev - *
flowcontrol.apiserver.k8s.io:v1
 flowschemas FlowSchema flowschema C - - *
 /status FlowSchema get,patch,update
 prioritylevelconfigurations PriorityLevelConfiguration prioritylevelconfiguration C - - *
 /status PriorityLevelConfiguration get,patch,update
networking.k8s.io:v1
 ingressclasses IngressClass ingressclass C - - *
 ingresses Ingress ingress N ing - *
 /status Ingress get,patch,update
 ipaddresses IPAddress ipaddress C ip - *
 networkpolicies NetworkPolicy networkpolicy N netpol - *
 servicecidrs ServiceCIDR servicecidr C - - *
 /status ServiceCIDR get,patch,update
node.k8s.io:v1
 runtimeclasses RuntimeClass runtimeclass C - - *
policy:v1
 poddisruptionbudgets PodDisruptionBudget poddisruptionbudget N pdb - *
 /status PodDisruptionBudget get,patch,update
rbac.authorization.k8s.io:v1
 clusterrolebindings ClusterRoleBinding clusterrolebinding C - - *
 clusterroles ClusterRole clusterrole C - - *
 rolebindings RoleBinding rolebinding N - - *
 roles Role role N - - *
resource.k8s.io:v1
 deviceclasses DeviceClass deviceclass C - - *
 resourceclaims ResourceClaim resourceclaim N - - *
 /status ResourceClaim get,patch,update
 resourceclaimtemplates ResourceClaimTemplate resourceclaimtemplate N - - *
 resourceslices ResourceSlice resourceslice C - - *
scheduling.k8s.io:v1
 priorityclasses PriorityClass priorityclass C pc - *
storage.k8s.io:v1
 csidrivers CSIDriver csidriver C - - *
 csinodes CSINode csinode C - - *
 csistoragecapacities CSIStorageCapacity csistoragecapacity N - - *
 storageclasses StorageClass storageclass C sc - *
 volumeattachments VolumeAttachment volumeattachment C - - *
 /status VolumeAttachment get,patch,update
 volumeattributesclasses VolumeAttributesClass volumeattributesclass C vac - *
";

const ALL: &str = "create,delete,deletecollection,get,list,patch,update,watch";

fn joined<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words[..] {
        [] => "-".to_owned(),
        _ => words.join(","),
    }
}

fn verbs(verbs: &[&'static str]) -> String {
    let mut verbs = verbs.to_vec();
    verbs.sort_unstable();
    joined(&verbs).replace(ALL, "*")
}

/// A resource as lines of the table.
fn lines(resource: &Resource) -> String {
    let scope = if resource.namespaced { "N" } else { "C" };
    let mut out = format!(
        " {} {} {} {scope} {} {} {}\n",
        resource.plural,
        resource.kind,
        resource.singular,
        joined(&resource.short_names),
        joined(&resource.categories),
        verbs(&resource.verbs)
    );
    let mut subresources: Vec<String> = resource
        .subresources
        .iter()
        .map(|s| {
            let of = s.group_version.map(|(g, v)| format!("{g}/{v}/"));
            let of = of.unwrap_or_default();
            format!(" /{} {of}{} {}\n", s.name, s.kind, verbs(&s.verbs))
        })
        .collect();
    subresources.sort();
    out.extend(subresources);
    out
}

#[test]
fn built_in_resources_are_those_of_kubernetes() {
    let registry = builtin::registry();
    let mut groups: Vec<(&str, String)> = registry
        .iter()
        .map(|r| (r.group.as_str(), r.versions.join(",")))
        .collect();
    groups.sort();
    groups.dedup();
    let mut got = String::from("\n");
    for (group, versions) in groups {
        got.push_str(&format!("{group}:{versions}\n"));
        let mut all: Vec<&Resource> = registry
            .iter()
            .map(|r| &**r)
            .filter(|r| r.group == group)
            .collect();
        all.sort_by(|a, b| a.plural.cmp(&b.plural));
        all.into_iter().for_each(|r| got.push_str(&lines(r)));
    }
    let differing: Vec<String> = got
        .lines()
        .filter(|line| !TABLE.lines().any(|l| l == *line))
        .map(|l| format!("+{l}"))
        .chain(
            TABLE
                .lines()
                .filter(|line| !got.lines().any(|l| l == *line))
                .map(|l| format!("-{l}")),
        )
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!(got, TABLE);
}
