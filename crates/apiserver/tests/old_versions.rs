//! Manifests in versions that Kubernetes serves no more, applied by kubectl.

mod common;

use std::{path::Path, process::Stdio, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use common::Server;
use knarr_json::{Value, json};
use tokio::process::Command;

const MANIFESTS: &str = r#"
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: old, namespace: default}
spec:
  backend: {serviceName: fallback, servicePort: http}
  rules:
  - host: a.example
    http: {paths: [{path: /, backend: {serviceName: web, servicePort: 80}}]}
---
apiVersion: networking.k8s.io/v1beta1
kind: Ingress
metadata: {name: less-old, namespace: default}
spec:
  rules:
  - http: {paths: [{backend: {serviceName: web, servicePort: 8080}}]}
---
apiVersion: extensions/v1beta1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: i}]}
---
apiVersion: apps/v1beta1
kind: StatefulSet
metadata: {name: db, namespace: default}
spec:
  serviceName: db
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: i}]}
---
apiVersion: batch/v1beta1
kind: CronJob
metadata: {name: tick, namespace: default}
spec:
  schedule: "* * * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}
---
apiVersion: policy/v1beta1
kind: PodDisruptionBudget
metadata: {name: some, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: rbac.authorization.k8s.io/v1beta1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: autoscaling/v2beta1
kind: HorizontalPodAutoscaler
metadata: {name: hpa, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, targetAverageUtilization: 40}}]
---
apiVersion: apiextensions.k8s.io/v1beta1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec:
  group: example.com
  version: v1
  scope: Namespaced
  names: {plural: boats, kind: Boat}
  additionalPrinterColumns: [{name: Sails, type: integer, JSONPath: .spec.sails}]
---
apiVersion: discovery.k8s.io/v1beta1
kind: EndpointSlice
metadata: {name: slice, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.1.2.3], topology: {topology.kubernetes.io/zone: z, rack: r7}}]
ports: [{name: http, port: 80, protocol: TCP}]
---
apiVersion: admissionregistration.k8s.io/v1beta1
kind: ValidatingWebhookConfiguration
metadata: {name: hook}
webhooks:
- name: hook.example.com
  clientConfig: {service: {name: none, namespace: default, path: /}}
  rules: [{apiGroups: [nothing.example.com], apiVersions: [v1], operations: [CREATE], resources: [nothing]}]
---
apiVersion: certificates.k8s.io/v1beta1
kind: CertificateSigningRequest
metadata: {name: signing}
spec: {request: REQUEST, usages: [client auth]}
---
apiVersion: apiregistration.k8s.io/v1beta1
kind: APIService
metadata: {name: v1.x.example.com}
spec: {group: x.example.com, version: v1, groupPriorityMinimum: 100, versionPriority: 10, insecureSkipTLSVerify: true, service: {name: none, namespace: default}}
---
apiVersion: batch/v2alpha1
kind: CronJob
metadata: {name: older, namespace: default}
spec:
  schedule: "* * * * *"
  suspend: true
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1beta3
kind: PriorityLevelConfiguration
metadata: {name: level}
spec: {type: Limited, limited: {nominalConcurrencyShares: 5, limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1beta2
kind: PriorityLevelConfiguration
metadata: {name: older-level}
spec: {type: Limited, limited: {assuredConcurrencyShares: 7, limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1beta1
kind: FlowSchema
metadata: {name: flows}
spec:
  priorityLevelConfiguration: {name: older-level}
  rules: [{subjects: [{kind: User, user: {name: ada}}], nonResourceRules: [{verbs: [get], nonResourceURLs: [/x]}]}]
"#;

/// The manifests, with a request of a user to be signed.
fn manifests() -> String {
    let mut params = rcgen::CertificateParams::default();
    let name = rcgen::DnType::CommonName;
    params.distinguished_name.push(name, "ada");
    let key = rcgen::KeyPair::generate().unwrap();
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    MANIFESTS.replace("REQUEST", &STANDARD.encode(request))
}

async fn kubectl(dir: &Path, words: &[&str]) -> (bool, String, String) {
    let run = Command::new("kubectl")
        .args(words)
        .arg("--kubeconfig")
        .arg(dir.join("kubeconfig"))
        .env("HOME", dir)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), run)
        .await
        .expect("kubectl takes a minute")
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

async fn value(dir: &Path, resource: &str, path: &str) -> String {
    let path = format!("jsonpath={path}");
    let (fine, out, err) = kubectl(dir, &["get", resource, "-o", &path]).await;
    assert!(fine, "{resource}: {err}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_of_old_are_applied() {
    if std::process::Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_err()
    {
        eprintln!("skipped: no kubectl");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let kubeconfig = server.kubeconfig("admin", &["system:masters"]);
    std::fs::write(dir.path().join("kubeconfig"), kubeconfig).unwrap();
    let file = dir.path().join("old.yaml");
    let manifests = manifests();
    std::fs::write(&file, &manifests).unwrap();
    let file = file.to_str().unwrap();

    let (fine, out, err) = kubectl(dir.path(), &["apply", "-f", file]).await;
    assert!(fine, "{out}{err}");
    assert_eq!(out.lines().count(), 17, "{out}");
    let warning = "extensions/v1beta1 Ingress is deprecated in v1.14+, unavailable in v1.22+; use networking.k8s.io/v1 Ingress";
    assert!(err.contains(warning), "{err}");

    for (resource, path, want) in [
        (
            "ingress/old",
            "{.apiVersion} {.spec.defaultBackend.service.port.name} {.spec.rules[0].http.paths[0].backend.service.port.number} {.spec.rules[0].http.paths[0].pathType}",
            "networking.k8s.io/v1 http 80 ImplementationSpecific",
        ),
        (
            "ingress/less-old",
            "{.spec.rules[0].http.paths[0].backend.service.name}",
            "web",
        ),
        (
            "ingresses.v1beta1.extensions/old",
            "{.apiVersion} {.spec.backend.serviceName}",
            "extensions/v1beta1 fallback",
        ),
        (
            "deploy/web",
            "{.apiVersion} {.spec.selector.matchLabels.app} {.spec.strategy.rollingUpdate.maxSurge}",
            "apps/v1 web 1",
        ),
        (
            "sts/db",
            "{.spec.updateStrategy.type} {.spec.selector.matchLabels.app}",
            "OnDelete db",
        ),
        ("cronjob/tick", "{.apiVersion}", "batch/v1"),
        ("pdb/some", "{.spec.minAvailable}", "1"),
        ("clusterrole/reader", "{.rules[0].verbs[0]}", "get"),
        (
            "hpa/hpa",
            "{.apiVersion} {.spec.metrics[0].resource.target.averageUtilization}",
            "autoscaling/v2 40",
        ),
        (
            "crd/boats.example.com",
            "{.spec.versions[0].additionalPrinterColumns[0].jsonPath}",
            ".spec.sails",
        ),
        (
            "endpointslice/slice",
            "{.apiVersion} {.endpoints[0].zone} {.endpoints[0].deprecatedTopology}",
            "discovery.k8s.io/v1 z {\"rack\":\"r7\"}",
        ),
        (
            "endpointslices.v1beta1.discovery.k8s.io/slice",
            "{.endpoints[0].topology.topology\\.kubernetes\\.io/zone}",
            "z",
        ),
        (
            "validatingwebhookconfiguration/hook",
            "{.webhooks[0].failurePolicy} {.webhooks[0].timeoutSeconds} {.webhooks[0].matchPolicy}",
            "Ignore 30 Exact",
        ),
        (
            "csr/signing",
            "{.apiVersion} {.spec.signerName}",
            "certificates.k8s.io/v1 kubernetes.io/kube-apiserver-client",
        ),
        (
            "apiservice/v1.x.example.com",
            "{.apiVersion} {.spec.service.name}",
            "apiregistration.k8s.io/v1 none",
        ),
        (
            "cronjob/older",
            "{.apiVersion} {.spec.suspend}",
            "batch/v1 true",
        ),
        (
            "prioritylevelconfiguration/level",
            "{.apiVersion} {.spec.limited.nominalConcurrencyShares}",
            "flowcontrol.apiserver.k8s.io/v1 5",
        ),
        (
            "prioritylevelconfiguration/older-level",
            "{.apiVersion} {.spec.limited.nominalConcurrencyShares}",
            "flowcontrol.apiserver.k8s.io/v1 7",
        ),
        (
            "prioritylevelconfigurations.v1beta1.flowcontrol.apiserver.k8s.io/older-level",
            "{.spec.limited.assuredConcurrencyShares}",
            "7",
        ),
        (
            "flowschema/flows",
            "{.apiVersion} {.spec.matchingPrecedence}",
            "flowcontrol.apiserver.k8s.io/v1 1000",
        ),
    ] {
        assert_eq!(value(dir.path(), resource, path).await, want, "{resource}");
    }

    let changed = manifests
        .replace("servicePort: 80}", "servicePort: 81}")
        .replace("replicas: 2", "replicas: 5");
    std::fs::write(file, changed).unwrap();
    let (fine, out, err) = kubectl(dir.path(), &["apply", "-f", file]).await;
    assert!(fine, "{out}{err}");
    assert!(
        out.contains("deployment.extensions/web configured"),
        "{out}"
    );
    assert!(out.contains("statefulset.apps/db unchanged"), "{out}");
    let port = "{.spec.rules[0].http.paths[0].backend.service.port.number}";
    assert_eq!(value(dir.path(), "ingress/old", port).await, "81");
    assert_eq!(
        value(dir.path(), "deploy/web", "{.spec.replicas}").await,
        "5"
    );

    let (fine, out, err) = kubectl(
        dir.path(),
        &["apply", "--server-side", "--force-conflicts", "-f", file],
    )
    .await;
    assert!(fine, "{out}{err}");
    let (fine, out, _) =
        kubectl(dir.path(), &["api-resources", "--verbs=list", "-o", "name"]).await;
    assert!(fine && !out.contains("extensions\n"), "{out}");
    let (fine, out, err) = kubectl(dir.path(), &["delete", "--wait=false", "-f", file]).await;
    assert!(fine, "{out}{err}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_of_old_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let post = async |group: &str, plural: &str, kind: &str, spec: Value| {
        let path = format!("/apis/{group}.k8s.io/v1beta1/{plural}");
        let body =
            json!({"apiVersion": format!("{group}.k8s.io/v1beta1"), "kind": kind, "spec": spec});
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
            .unwrap();
        client.request::<Value>(request).await.unwrap()
    };
    let asked = json!({"user": "x", "group": ["system:masters"], "nonResourceAttributes": {"path": "/x", "verb": "get"}});
    let answer = post(
        "authorization",
        "subjectaccessreviews",
        "SubjectAccessReview",
        asked.clone(),
    )
    .await;
    assert_eq!(answer["apiVersion"], "authorization.k8s.io/v1beta1");
    assert_eq!(
        (&answer["spec"], &answer["status"]["allowed"]),
        (&asked, &json!(true))
    );
    let answer = post(
        "authorization",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        json!({"nonResourceAttributes": {"path": "/x", "verb": "get"}}),
    )
    .await;
    assert_eq!(answer["status"]["allowed"], true);
    let token = json!({"token": "sesame"});
    let answer = post("authentication", "tokenreviews", "TokenReview", token).await;
    assert_eq!(answer["apiVersion"], "authentication.k8s.io/v1beta1");
    assert_eq!(answer["status"]["user"]["username"], "ali");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_be_as_strict_as_the_original() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), |c| c.old_versions = false).await;
    let client = server.admin().await;
    for path in [
        "/apis/extensions/v1beta1",
        "/apis/apps/v1beta1/namespaces/default/deployments",
        "/apis/authorization.k8s.io/v1beta1",
    ] {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        assert!(client.request_text(request).await.is_err(), "{path}");
    }
    server.stop().await;
}
