//! Certificates and keys, laid out as kubeadm lays them out in `pki/`: one authority for servers and clients, a key pair for
//! service account tokens. All keys are ECDSA P-256.

use std::{net::IpAddr, path::Path};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

use crate::files;

/// Certificates are good for a year, the authority for ten, as with kubeadm.
const CERTIFICATE_DAYS: i64 = 365;
const AUTHORITY_DAYS: i64 = 3650;
/// A certificate with less left than this is issued anew at start.
const RENEW_DAYS: i64 = 30;

/// A certificate with its key, PEM encoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// Everything a single-node cluster authenticates with.
#[derive(Clone)]
pub struct Pki {
    /// Certificate of the authority, PEM.
    pub ca: String,
    /// The API server's serving certificate.
    pub apiserver: Pair,
    /// Member of `system:masters`.
    pub admin: Pair,
    /// The API server's identity towards kubelets.
    pub apiserver_kubelet_client: Pair,
    /// The kubelet's serving certificate.
    pub kubelet: Pair,
    /// Certificate of the authority of front proxies, PEM.
    pub front_proxy_ca: String,
    /// The API server's identity towards servers of other API groups.
    pub front_proxy_client: Pair,
    /// PKCS#8 PEM key that signs service account tokens.
    pub service_account_key: String,
    /// Its public half, PEM.
    pub service_account_public: String,
}

/// What the serving certificates must be good for.
#[derive(Debug, Clone)]
pub struct Names {
    pub node_name: String,
    pub node_ips: Vec<IpAddr>,
    /// First addresses of the service ranges.
    pub service_ips: Vec<IpAddr>,
    /// `cluster.local`.
    pub cluster_domain: String,
}

/// What a certificate is for.
struct Want<'a> {
    file: &'a str,
    common_name: String,
    organization: Option<&'a str>,
    names: Vec<String>,
    server: bool,
}

impl Pki {
    /// Reads `dir`, makes what is missing, and issues anew what is about to expire or lacks a name.
    ///
    /// # Errors
    /// Unreadable or unwritable files, and an authority whose key is missing or does not parse: that one is never replaced.
    pub fn load_or_create(dir: &Path, names: &Names) -> Result<Self> {
        let authority = Authority::load_or_create(dir, "ca", "kubernetes")?;
        let front_proxy = Authority::load_or_create(dir, "front-proxy-ca", "front-proxy-ca")?;
        let local = [
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        let node = || {
            let ips = names.node_ips.iter().map(IpAddr::to_string);
            [names.node_name.clone()]
                .into_iter()
                .chain(ips)
                .chain(local.clone())
        };
        let domain = &names.cluster_domain;
        let service =
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned);
        let apiserver_names = node()
            .chain(service)
            .chain([format!("kubernetes.default.svc.{domain}")])
            .chain(names.service_ips.iter().map(IpAddr::to_string))
            .collect();
        let client = |file, common_name: &str, organization| Want {
            file,
            common_name: common_name.to_owned(),
            organization: Some(organization),
            names: Vec::new(),
            server: false,
        };
        let server = |file, common_name: String, names| Want {
            file,
            common_name,
            organization: None,
            names,
            server: true,
        };
        let kubelet_name = format!("system:node:{}", names.node_name);
        let service_account = load_or_create_key(&dir.join("sa.key"))?;
        let public = service_account.public_key_pem();
        files::write(&dir.join("sa.pub"), public.as_bytes(), 0o644)?;
        Ok(Pki {
            apiserver: authority.pair(
                dir,
                &server("apiserver", "kube-apiserver".into(), apiserver_names),
            )?,
            admin: authority.pair(dir, &client("admin", "kubernetes-admin", "system:masters"))?,
            apiserver_kubelet_client: authority.pair(
                dir,
                &client(
                    "apiserver-kubelet-client",
                    "kube-apiserver-kubelet-client",
                    "system:masters",
                ),
            )?,
            kubelet: authority.pair(dir, &server("kubelet", kubelet_name, node().collect()))?,
            front_proxy_client: front_proxy.pair(
                dir,
                &Want {
                    organization: None,
                    ..client("front-proxy-client", "front-proxy-client", "")
                },
            )?,
            front_proxy_ca: front_proxy.certificate,
            service_account_key: service_account.serialize_pem(),
            service_account_public: public,
            ca: authority.certificate,
        })
    }
}

struct Authority {
    certificate: String,
    key: KeyPair,
}

impl Authority {
    /// The authority whose files have this name, and whose certificate is for `common_name` when it is made.
    fn load_or_create(dir: &Path, file: &str, common_name: &str) -> Result<Self> {
        let (cert_path, key_path) = (
            dir.join(format!("{file}.crt")),
            dir.join(format!("{file}.key")),
        );
        match (cert_path.exists(), key_path.exists()) {
            (true, true) => {
                let certificate = read(&cert_path)?;
                parse_certificate(&certificate)
                    .with_context(|| format!("{} is damaged", cert_path.display()))?;
                let key = KeyPair::from_pem(&read(&key_path)?).with_context(|| {
                    format!(
                        "{} is damaged; restore it from a backup",
                        key_path.display()
                    )
                })?;
                Ok(Authority { certificate, key })
            }
            (false, false) => Self::create(&cert_path, &key_path, common_name),
            // The key is written first, so a lone key is the mark of a start that was cut off.
            (false, true) => Self::create(&cert_path, &key_path, common_name),
            (true, false) => bail!(
                "{} is missing; restore it from a backup, or start over with `knarr reset`",
                key_path.display()
            ),
        }
    }

    fn create(cert_path: &Path, key_path: &Path, common_name: &str) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(common_name, AUTHORITY_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
        ];
        params.subject_alt_names = vec![SanType::DnsName(common_name.try_into()?)];
        let certificate = params.self_signed(&key)?.pem();
        files::write(key_path, key.serialize_pem().as_bytes(), 0o600)?;
        files::write(cert_path, certificate.as_bytes(), 0o644)?;
        Ok(Authority { certificate, key })
    }

    /// The certificate on disk when it still serves, else a new one.
    fn pair(&self, dir: &Path, want: &Want<'_>) -> Result<Pair> {
        let (cert_path, key_path) = (
            dir.join(format!("{}.crt", want.file)),
            dir.join(format!("{}.key", want.file)),
        );
        if let (Ok(certificate), Ok(key)) = (read(&cert_path), read(&key_path))
            && KeyPair::from_pem(&key).is_ok()
            && self.still_serves(&certificate, want)
        {
            return Ok(Pair { certificate, key });
        }
        let pair = self.issue(want)?;
        files::write(&key_path, pair.key.as_bytes(), 0o600)?;
        files::write(&cert_path, pair.certificate.as_bytes(), 0o644)?;
        Ok(pair)
    }

    fn issue(&self, want: &Want<'_>) -> Result<Pair> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(&want.common_name, CERTIFICATE_DAYS)?;
        if let Some(organization) = want.organization {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        params.subject_alt_names = want
            .names
            .iter()
            .map(|n| subject_name(n))
            .collect::<Result<_>>()?;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![if want.server {
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::ClientAuth
        }];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, &self.key)?;
        let certificate = params.signed_by(&key, &issuer)?.pem();
        Ok(Pair {
            certificate,
            key: key.serialize_pem(),
        })
    }

    /// Whether a certificate is signed by this authority, has time left and carries every name.
    fn still_serves(&self, pem: &str, want: &Want<'_>) -> bool {
        let (Ok(der), Ok(ca)) = (parse_certificate(pem), parse_certificate(&self.certificate))
        else {
            return false;
        };
        let (Ok((_, cert)), Ok((_, ca))) = (
            x509_parser::parse_x509_certificate(&der),
            x509_parser::parse_x509_certificate(&ca),
        ) else {
            return false;
        };
        let left = cert.validity().not_after.timestamp() - Timestamp::now().as_second();
        let has: Vec<String> = cert
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|san| {
                san.value
                    .general_names
                    .iter()
                    .filter_map(name_text)
                    .collect()
            })
            .unwrap_or_default();
        cert.verify_signature(Some(ca.public_key())).is_ok()
            && left > RENEW_DAYS * 86_400
            && want.names.iter().all(|n| has.contains(n))
    }
}

/// A key of its own for a kubeconfig user signed by the authority in `dir`, e.g. for a component that runs alone.
///
/// # Errors
/// As [`Pki::load_or_create`].
pub fn issue_client(dir: &Path, common_name: &str, organization: &str) -> Result<Pair> {
    let authority = Authority::load_or_create(dir, "ca", "kubernetes")?;
    authority.issue(&Want {
        file: "",
        common_name: common_name.to_owned(),
        organization: Some(organization),
        names: Vec::new(),
        server: false,
    })
}

fn params(common_name: &str, days: i64) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    // Clocks of nodes differ: be valid from a little before now.
    let now = std::time::SystemTime::now();
    let day = std::time::Duration::from_secs(86_400);
    params.not_before = (now - day / 24).into();
    params.not_after = (now + day * u32::try_from(days)?).into();
    Ok(params)
}

fn subject_name(name: &str) -> Result<SanType> {
    Ok(match name.parse::<IpAddr>() {
        Ok(ip) => SanType::IpAddress(ip),
        Err(_) => SanType::DnsName(name.try_into()?),
    })
}

fn name_text(name: &x509_parser::extensions::GeneralName<'_>) -> Option<String> {
    use x509_parser::extensions::GeneralName;
    match name {
        GeneralName::DNSName(n) => Some((*n).to_owned()),
        GeneralName::IPAddress(b) => match <[u8; 4]>::try_from(*b) {
            Ok(v4) => Some(IpAddr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*b)
                .ok()
                .map(|v6| IpAddr::from(v6).to_string()),
        },
        _ => None,
    }
}

fn parse_certificate(pem: &str) -> Result<Vec<u8>> {
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    Ok(CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|e| anyhow::anyhow!("{e}"))?
        .to_vec())
}

fn load_or_create_key(path: &Path) -> Result<KeyPair> {
    if path.exists() {
        return KeyPair::from_pem(&read(path)?)
            .with_context(|| format!("{} is damaged; restore it from a backup", path.display()));
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    files::write(path, key.serialize_pem().as_bytes(), 0o600)?;
    Ok(key)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ip: &str) -> Names {
        Names {
            node_name: "n1".into(),
            node_ips: vec![ip.parse().unwrap()],
            service_ips: vec!["10.96.0.1".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
        }
    }

    #[test]
    fn certificates_are_kept_until_a_name_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::load_or_create(dir.path(), &names("192.0.2.1")).unwrap();
        let again = Pki::load_or_create(dir.path(), &names("192.0.2.1")).unwrap();
        assert!(
            first.apiserver == again.apiserver
                && first.admin == again.admin
                && first.ca == again.ca
        );
        let moved = Pki::load_or_create(dir.path(), &names("192.0.2.2")).unwrap();
        assert!(moved.apiserver != first.apiserver && moved.kubelet != first.kubelet);
        assert!(
            moved.admin == first.admin && moved.service_account_key == first.service_account_key
        );
    }

    #[test]
    fn a_missing_authority_key_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Pki::load_or_create(dir.path(), &names("192.0.2.1")).unwrap();
        std::fs::remove_file(dir.path().join("ca.key")).unwrap();
        let error = Pki::load_or_create(dir.path(), &names("192.0.2.1"))
            .err()
            .unwrap();
        assert!(error.to_string().contains("ca.key is missing"), "{error}");
    }

    #[test]
    fn another_authority_makes_certificates_anew() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::load_or_create(dir.path(), &names("192.0.2.1")).unwrap();
        std::fs::remove_file(dir.path().join("ca.key")).unwrap();
        std::fs::remove_file(dir.path().join("ca.crt")).unwrap();
        let second = Pki::load_or_create(dir.path(), &names("192.0.2.1")).unwrap();
        assert!(
            first.ca != second.ca
                && first.apiserver != second.apiserver
                && first.admin != second.admin
        );
    }
}
