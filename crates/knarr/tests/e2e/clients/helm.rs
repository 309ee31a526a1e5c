//! Helm: a chart from install to uninstall.

use std::{fs, path::Path};

use knarr_testkit::{Cluster, can_run};

use super::installed;
use crate::cluster;

const CHART: &[(&str, &str)] = &[
    (
        "Chart.yaml",
        "apiVersion: v2\nname: shop\nversion: 1.0.0\nappVersion: '1'\nkubeVersion: '>= 1.30.0-0'\n",
    ),
    ("values.yaml", "replicas: 1\ngreeting: hello\nhost: shop.test\n"),
    (
        "templates/config.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-shop'}\ndata: {greeting: '{{ .Values.greeting }}'}\n",
    ),
    (
        "templates/app.yaml",
        "{{- if not (.Capabilities.APIVersions.Has \"apps/v1/Deployment\") }}{{ fail \"no Deployments\" }}{{ end }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: '{{ .Release.Name }}-shop', labels: {app: shop}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: shop}}
  template:
    metadata:
      labels: {app: shop}
      annotations: {config: '{{ include (print $.Template.BasePath \"/config.yaml\") . | sha256sum }}'}
    spec:
      serviceAccountName: '{{ .Release.Name }}-shop'
      containers:
      - name: shop
        image: knarr.io/demo:latest
        imagePullPolicy: IfNotPresent
        readinessProbe: {httpGet: {path: /readyz, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: '{{ .Release.Name }}-shop'}
spec: {selector: {app: shop}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: '{{ .Release.Name }}-shop'}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: '{{ .Release.Name }}-shop'}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: '{{ .Release.Name }}-shop'}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: '{{ .Release.Name }}-shop'}
subjects: [{kind: ServiceAccount, name: '{{ .Release.Name }}-shop', namespace: '{{ .Release.Namespace }}'}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: '{{ .Release.Name }}-shop'}
spec:
  rules:
  - host: '{{ .Values.host }}'
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: '{{ .Release.Name }}-shop', port: {number: 80}}}}]}
",
    ),
    (
        "templates/check.yaml",
        "apiVersion: v1
kind: Pod
metadata: {name: '{{ .Release.Name }}-check', annotations: {helm.sh/hook: test, helm.sh/hook-delete-policy: hook-succeeded}}
spec:
  restartPolicy: Never
  containers:
  - {name: check, image: 'knarr.io/demo:latest', imagePullPolicy: IfNotPresent, command: [/demo, get, 'http://{{ .Release.Name }}-shop/hello']}
",
    ),
    ("templates/NOTES.txt", "{{ .Values.greeting }} from {{ .Release.Name }}\n"),
    (
        "crds/prices.yaml",
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: prices.shop.test}
spec:
  group: shop.test
  scope: Namespaced
  names: {plural: prices, kind: Price}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {cents: {type: integer, minimum: 0}}}}}}
",
    ),
    (
        "templates/price.yaml",
        "apiVersion: shop.test/v1\nkind: Price\nmetadata: {name: '{{ .Release.Name }}-apple'}\nspec: {cents: 50}\n",
    ),
];

fn write_chart(dir: &Path) -> String {
    for (name, text) in CHART {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("chart directory");
        fs::write(path, text).expect("chart file");
    }
    dir.display().to_string()
}

fn helm(cluster: &Cluster, program: &Path, args: &[&str]) -> String {
    let output = cluster
        .command(program)
        .args(args)
        .args(["--namespace", "trade"])
        .output()
        .expect("helm starts");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "helm {}: {out}{err}",
        args.join(" ")
    );
    out
}

#[test]
fn a_chart_from_install_to_uninstall() {
    let Some(clients) = installed().filter(|_| can_run()) else {
        return;
    };
    let cluster = cluster();
    let chart = write_chart(&cluster.scratch().join("shop"));
    let program = clients.join("python/bin/helm");
    let h = |args: &[&str]| helm(&cluster, &program, args);
    let greeting = || {
        let path = [
            "-n",
            "trade",
            "get",
            "configmap",
            "s-shop",
            "-o",
            "jsonpath={.data.greeting}",
        ];
        cluster.kubectl(&path)
    };
    let install = [
        "install",
        "s",
        &chart,
        "--create-namespace",
        "--wait",
        "--timeout",
        "60s",
    ];
    assert!(h(&install).contains("hello from s"));
    assert_eq!(greeting(), "hello");
    h(&["test", "s", "--timeout", "60s"]);
    let price = cluster.kubectl(&[
        "-n",
        "trade",
        "get",
        "prices",
        "s-apple",
        "-o",
        "jsonpath={.spec.cents}",
    ]);
    assert_eq!(price, "50");
    let more = [
        "--set",
        "greeting=bye,replicas=2",
        "--wait",
        "--atomic",
        "--timeout",
        "60s",
    ];
    h(&[&["upgrade", "--install", "s", &chart], more.as_slice()].concat());
    assert_eq!(greeting(), "bye");
    h(&["rollback", "s", "1", "--wait", "--timeout", "60s"]);
    assert_eq!(greeting(), "hello");
    let history = h(&["history", "s"]);
    assert_eq!(history.matches("superseded").count(), 2, "{history}");
    assert!(h(&["list"]).contains("deployed"));
    assert!(h(&["get", "manifest", "s"]).contains("kind: Ingress"));
    h(&["uninstall", "s", "--wait", "--timeout", "60s"]);
    let left = cluster.kubectl(&[
        "-n",
        "trade",
        "get",
        "deployments,services,ingresses,prices",
        "-o",
        "name",
    ]);
    assert_eq!(left.trim(), "");
}
