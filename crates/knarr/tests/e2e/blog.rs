//! `examples/blog`: configuration, a password, probes, limits, and TLS by SNI.

use std::process::Command;

use knarr_testkit::{can_run, eventually};

use crate::{PATIENCE, cluster, example};

#[test]
fn configuration_probes_and_tls() {
    if !can_run() {
        return;
    }
    let cluster = cluster();
    let (cert, key) = (
        cluster.scratch().join("tls.crt"),
        cluster.scratch().join("tls.key"),
    );
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
        ])
        .args([
            "-subj",
            "/CN=blog.test",
            "-addext",
            "subjectAltName=DNS:blog.test",
            "-keyout",
        ])
        .args([&key])
        .arg("-out")
        .arg(&cert)
        .output();
    assert!(
        made.is_ok_and(|o| o.status.success()),
        "openssl makes a certificate"
    );
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    cluster.kubectl(&[
        "create",
        "secret",
        "tls",
        "blog-tls",
        &format!("--cert={cert}"),
        &format!("--key={key}"),
    ]);
    cluster.kubectl(&["apply", "-f", &example("blog")]);
    cluster.kubectl(&["rollout", "status", "deployment/blog", "--timeout=60s"]);

    let get = |address: &str| {
        cluster
            .get(address, "blog.test", "/who")
            .map(|(code, _)| code)
            .unwrap_or(0)
    };
    eventually("the NodePort answers", PATIENCE, || {
        get("172.30.0.2:30081") == 200
    });
    eventually("the Ingress answers", PATIENCE, || {
        get("127.0.0.1:80") == 200
    });
    let curl = || {
        let mut command = cluster.command("curl");
        command.args([
            "-sS",
            "--max-time",
            "10",
            "--cacert",
            &cert,
            "--resolve",
            "blog.test:443:127.0.0.1",
            "https://blog.test/tls",
        ]);
        command
            .output()
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
            .unwrap_or_default()
    };
    eventually(
        "the Ingress answers over TLS with the Secret's certificate",
        PATIENCE,
        || {
            curl()
                .to_ascii_lowercase()
                .contains("x-forwarded-proto: https")
        },
    );

    let version = cluster
        .command("curl")
        .args([
            "-sS",
            "--http2",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version}",
            "--cacert",
            &cert,
        ])
        .args(["--resolve", "blog.test:443:127.0.0.1", "https://blog.test/"])
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    assert_eq!(version.unwrap(), "2", "HTTP/2 is agreed on");

    // A failing readiness probe takes the pod out of the endpoints, and back.
    let ready = || {
        let path = "jsonpath={range .items[*].endpoints[?(@.conditions.ready==true)]}{.addresses[0]}{\"\\n\"}{end}";
        cluster
            .kubectl(&[
                "get",
                "endpointslices",
                "-l",
                "kubernetes.io/service-name=blog",
                "-o",
                path,
            ])
            .lines()
            .count()
    };
    eventually("two endpoints are ready", PATIENCE, || ready() == 2);
    let ip = cluster.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=blog",
        "-o",
        "jsonpath={.items[0].status.podIP}",
    ]);
    assert_eq!(
        cluster
            .get(&format!("{ip}:8080"), "x", "/ready/off")
            .unwrap()
            .0,
        200
    );
    eventually("one endpoint is ready", PATIENCE, || ready() == 1);
    assert_eq!(
        cluster
            .get(&format!("{ip}:8080"), "x", "/ready/on")
            .unwrap()
            .0,
        200
    );
    eventually("both endpoints are ready again", PATIENCE, || ready() == 2);

    let limits = cluster.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=blog",
        "-o",
        "jsonpath={.items[0].status.qosClass}",
    ]);
    assert_eq!(limits, "Burstable");
}
