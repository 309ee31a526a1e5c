//! What kubectl does beyond everyday work: server-side apply, diff, kustomize, tokens, the proxy, custom resources.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use knarr_testkit::{can_run, eventually};

use crate::{PATIENCE, cluster};

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {k: one}\n";

#[test]
fn server_side_apply_and_diff() {
    if !can_run() {
        return;
    }
    let cluster = cluster();
    let apply = |text: &str, more: &[&str]| {
        cluster.kubectl_with_input(
            &[&["apply", "--server-side", "-f", "-"], more].concat(),
            text,
        )
    };
    assert!(apply(CONFIG, &[]).success);
    let changed = CONFIG.replace("one", "two");
    let diff = cluster.kubectl_with_input(&["diff", "--server-side", "-f", "-"], &changed);
    assert!(
        diff.stdout.contains("-  k: one") && diff.stdout.contains("+  k: two"),
        "{}{}",
        diff.stdout,
        diff.stderr
    );
    let same = cluster.kubectl_with_input(&["diff", "-f", "-"], CONFIG);
    assert!(
        same.success && same.stdout.is_empty(),
        "{}{}",
        same.stdout,
        same.stderr
    );
    let conflict = apply(&changed, &["--field-manager=other"]);
    assert!(
        !conflict.success && conflict.stderr.contains("conflict with \"kubectl\""),
        "{}",
        conflict.stderr
    );
    assert!(apply(&changed, &["--field-manager=other", "--force-conflicts"]).success);
    let value = cluster.kubectl(&["get", "cm", "c", "-o", "jsonpath={.data.k}"]);
    assert_eq!(value, "two");
    // From client-side to server-side apply and back.
    cluster.apply(&CONFIG.replace("name: c", "name: d"));
    let moved = apply(
        &CONFIG.replace("name: c", "name: d").replace("one", "three"),
        &[],
    );
    assert!(moved.success, "{}", moved.stderr);
}

#[test]
fn kustomize_tokens_and_the_proxy() {
    if !can_run() {
        return;
    }
    let cluster = cluster();
    let dir = cluster.scratch().join("kustom");
    fs::create_dir_all(&dir).expect("directory");
    fs::write(dir.join("config.yaml"), CONFIG).expect("file");
    let kustomization = "namePrefix: pre-\nlabels: [{pairs: {team: a}}]\nresources: [config.yaml]\nsecretGenerator: [{name: s, literals: [a=b]}]\n";
    fs::write(dir.join("kustomization.yaml"), kustomization).expect("file");
    let dir = dir.display().to_string();
    cluster.kubectl(&["apply", "-k", &dir]);
    let names = cluster.kubectl(&["get", "cm,secret", "-l", "team=a", "-o", "name"]);
    assert!(
        names.contains("configmap/pre-c") && names.contains("secret/pre-s-"),
        "{names}"
    );
    cluster.kubectl(&["delete", "-k", &dir]);

    let token = cluster.kubectl(&["create", "token", "default", "--duration=20m"]);
    assert_eq!(token.trim().split('.').count(), 3, "a JWT: {token}");
    let who = cluster.kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.groups}"]);
    assert!(who.contains("system:masters"), "{who}");
    let as_default = [
        "auth",
        "whoami",
        "--as=system:serviceaccount:default:default",
        "-o",
        "jsonpath={.status.userInfo.username}",
    ];
    assert_eq!(
        cluster.kubectl(&as_default),
        "system:serviceaccount:default:default"
    );

    let mut proxy = cluster
        .command("kubectl")
        .args(["proxy", "--port=0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    let mut line = String::new();
    let told = proxy
        .stdout
        .take()
        .map(|out| BufReader::new(out).read_line(&mut line));
    assert!(
        matches!(told, Some(Ok(_))),
        "kubectl proxy says where it listens"
    );
    let address = line
        .trim()
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .to_owned();
    eventually("the proxy answers", PATIENCE, || {
        let answer = cluster.get(&address, "localhost", "/api/v1/namespaces/default");
        answer.is_ok_and(|(code, body)| code == 200 && body.contains("\"kind\":\"Namespace\""))
    });
    let _ = proxy.kill();
    let _ = proxy.wait();
}

const WIDGETS: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.test.knarr.io}
spec:
  group: test.knarr.io
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What is wanted.
            required: [size]
            properties: {size: {type: integer, minimum: 1, description: How large it is.}}
            x-kubernetes-validations: [{rule: 'self.size <= 10', message: too large}]
          status: {type: object, properties: {size: {type: integer}}}
";

#[test]
fn custom_resources() {
    if !can_run() {
        return;
    }
    let cluster = cluster();
    cluster.apply(WIDGETS);
    cluster.kubectl(&[
        "wait",
        "--for=condition=Established",
        "crd/widgets.test.knarr.io",
        "--timeout=20s",
    ]);
    let widget = |size: &str| {
        format!(
            "apiVersion: test.knarr.io/v1\nkind: Widget\nmetadata: {{name: w}}\nspec: {{size: {size}}}\n"
        )
    };
    let apply = |size: &str| cluster.kubectl_with_input(&["apply", "-f", "-"], &widget(size));
    assert!(apply("11").stderr.contains("too large"));
    assert!(
        apply("0")
            .stderr
            .contains("should be greater than or equal to 1")
    );
    let made = apply("3");
    assert!(made.success, "{}", made.stderr);
    let table = cluster.kubectl(&["get", "wd"]);
    assert!(
        table.contains("SIZE")
            && table
                .lines()
                .any(|l| l.split_whitespace().nth(1) == Some("3")),
        "{table}"
    );
    cluster.kubectl(&["scale", "wd/w", "--replicas=5"]);
    assert_eq!(
        cluster.kubectl(&["get", "wd", "w", "-o", "jsonpath={.spec.size}"]),
        "5"
    );
    let explained = cluster.kubectl(&["explain", "widget.spec", "--recursive"]);
    assert!(explained.contains("size\t<integer>"), "{explained}");
    assert!(
        cluster
            .kubectl(&["explain", "widget.spec.size"])
            .contains("How large it is.")
    );
    cluster.kubectl(&["delete", "crd", "widgets.test.knarr.io", "--timeout=30s"]);
    assert!(!cluster.try_kubectl(&["get", "wd"]).success);
}
