//! Bodies, made by hand.

use bytes::Bytes;

/// An object with nothing but a name.
pub fn plain(kind: &str, name: &str) -> Bytes {
    format!("{{\"apiVersion\":\"v1\",\"kind\":\"{kind}\",\"metadata\":{{\"name\":\"{name}\"}}}}")
        .into()
}

/// A ConfigMap of about `size` bytes.
pub fn config_map(name: &str, size: usize) -> Bytes {
    let filler = "x".repeat(size.saturating_sub(400));
    format!("{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"{name}\",\"labels\":{{\"app\":\"load\"}}}},\"data\":{{\"key\":\"value\",\"filler\":\"{filler}\"}}}}").into()
}

/// A pod that is stored with about 4 KB, as usual ones are.
pub fn pod(name: &str) -> Bytes {
    let env: Vec<String> = (0..12)
        .map(|n| {
            format!(
                "{{\"name\":\"VARIABLE_{n}\",\"value\":\"a value of usual length, number {n}\"}}"
            )
        })
        .collect();
    let filler = "y".repeat(700);
    format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"{name}\",\"labels\":{{\"app\":\"load\",\"tier\":\"web\"}},\"annotations\":{{\"note\":\"{filler}\"}}}},\
         \"spec\":{{\"containers\":[{{\"name\":\"main\",\"image\":\"registry.example.com/team/web:1.2.3\",\"args\":[\"--listen\",\":8080\"],\
         \"env\":[{}],\"ports\":[{{\"containerPort\":8080}}],\"resources\":{{\"requests\":{{\"cpu\":\"100m\",\"memory\":\"64Mi\"}}}},\
         \"readinessProbe\":{{\"httpGet\":{{\"path\":\"/healthz\",\"port\":8080}}}}}}]}}}}",
        env.join(",")
    )
    .into()
}
