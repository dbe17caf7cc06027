//! The certificates that programs on this node use, parsed and checked against the CA that must have issued them.

use base64::Engine as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use super::host::{Host, ReadError};
use super::kubeconfig::{beside, current_context, load};
use super::yaml::Node;
use crate::facts::certificates::{Certificate, Entry, Place, PlaceState, Role, Trust};
use crate::facts::{Blind, Certificates, Kubelet, Timestamp};

const LIMIT: u64 = 1 << 20;
/// Certificates read from one file; a bundle of all public CAs has about 150.
const MOST: usize = 200;
const PKI: &str = "/etc/kubernetes/pki";
/// kubeadm's files (`cmd/kubeadm/app/constants/constants.go`), and which CA issues each.
const KUBEADM: [(&str, Role, Option<&str>); 10] = [
    ("ca.crt", Role::ClusterCa, None),
    ("apiserver.crt", Role::ApiServer, Some("ca.crt")),
    ("apiserver-kubelet-client.crt", Role::ApiServerKubeletClient, Some("ca.crt")),
    ("front-proxy-ca.crt", Role::FrontProxyCa, None),
    ("front-proxy-client.crt", Role::FrontProxyClient, Some("front-proxy-ca.crt")),
    ("apiserver-etcd-client.crt", Role::ApiServerEtcdClient, Some("etcd/ca.crt")),
    ("etcd/ca.crt", Role::EtcdCa, None),
    ("etcd/server.crt", Role::EtcdServer, Some("etcd/ca.crt")),
    ("etcd/peer.crt", Role::EtcdPeer, Some("etcd/ca.crt")),
    ("etcd/healthcheck-client.crt", Role::EtcdHealthcheckClient, Some("etcd/ca.crt")),
];

/// Certificates in DER, as they stand in a file.
pub(super) type Ders = Vec<Vec<u8>>;

/// A CA to check signatures with: where it was read, and its certificates.
struct Authority {
    source: String,
    ders: Ders,
}

/// Finds and reads all of them.
#[must_use]
pub fn observe(host: &Host, kubelet: &Kubelet) -> Certificates {
    let mut places = Vec::new();
    kubelet_client(host, kubelet, &mut places);
    kubelet_serving(host, kubelet, &mut places);
    for (file, role, issuer) in KUBEADM {
        let path = format!("{PKI}/{file}");
        let authority = issuer.and_then(|issuer| authority(host, &format!("{PKI}/{issuer}")));
        places.extend(present(place(host, path, role, true, authority.as_ref())));
    }
    for name in ["admin.conf", "super-admin.conf", "controller-manager.conf", "scheduler.conf"] {
        places.extend(kubeconfig_user(host, &format!("/etc/kubernetes/{name}"), Role::KubeconfigClient));
    }
    Certificates { places }
}

/// The kubeconfig's certificate is the one in use; a rotated one beside it is listed, unless the kubeconfig names it.
fn kubelet_client(host: &Host, kubelet: &Kubelet, places: &mut Vec<Place>) {
    let Some(kubeconfig) = &kubelet.kubeconfig else { return };
    let path = &kubeconfig.file.path.value;
    let current = format!("{}/kubelet-client-current.pem", kubelet.cert_dir.value);
    let mut used = false;
    if let Some(entry) = kubeconfig_user(host, path, Role::KubeletClient) {
        used = true;
        places.push(entry);
    } else if let Some(file) = &kubeconfig.client_certificate {
        used = true;
        let authority = kubeconfig_ca(host, path);
        places.push(place(host, file.value.clone(), Role::KubeletClient, true, authority.as_ref()));
        if file.value == current {
            return;
        }
    }
    let authority = kubeconfig_ca(host, path);
    places.extend(present(place(host, current, Role::KubeletClient, !used, authority.as_ref())));
}

/// With serverTLSBootstrap a rotated certificate, else the self-signed one of the first start; nobody checks its issuer here.
fn kubelet_serving(host: &Host, kubelet: &Kubelet, places: &mut Vec<Place>) {
    let dir = &kubelet.cert_dir.value;
    let rotated = present(place(host, format!("{dir}/kubelet-server-current.pem"), Role::KubeletServing, true, None));
    let self_signed_in_use = rotated.is_none();
    places.extend(rotated);
    places.extend(present(place(host, format!("{dir}/kubelet.crt"), Role::KubeletServing, self_signed_in_use, None)));
}

/// Most files exist on some nodes only.
fn present(place: Place) -> Option<Place> {
    Some(place).filter(|place| place.state != PlaceState::Missing)
}

fn place(host: &Host, path: String, role: Role, in_use: bool, authority: Option<&Authority>) -> Place {
    let state = match host.read(&path, LIMIT) {
        Ok(bytes) => judge(&bytes, role, authority),
        Err(ReadError::Missing) => PlaceState::Missing,
        Err(ReadError::Blind(blind)) => PlaceState::Unreadable(blind),
        Err(error) => PlaceState::Invalid(error.to_string()),
    };
    Place { target: host.link(&path), path, entry: None, role, in_use, state }
}

/// The client certificate inside a kubeconfig's current user, if it is inline.
fn kubeconfig_user(host: &Host, path: &str, role: Role) -> Option<Place> {
    let config = load(host, path).ok()?;
    let context = current_context(&config).ok()?;
    let key = "client-certificate-data";
    let data = context.user.find(&[key])?;
    let state = match base64::engine::general_purpose::STANDARD.decode(data.text()?.trim()) {
        Ok(bytes) => judge(&bytes, role, kubeconfig_ca(host, path).as_ref()),
        Err(error) => PlaceState::Invalid(format!("{key} is not base64: {error}")),
    };
    let entry = Some(Entry { key: key.to_owned(), of: context.user_name, line: data.at.line });
    Some(Place { path: path.to_owned(), target: None, entry, role, in_use: true, state })
}

/// The CA a kubeconfig trusts, which on a node is the one that signs its client certificate, too.
fn kubeconfig_ca(host: &Host, path: &str) -> Option<Authority> {
    let config = load(host, path).ok()?;
    let cluster = current_context(&config).ok()?.cluster;
    if let Some(file) = cluster.find(&["certificate-authority"]).and_then(Node::text) {
        return authority(host, &beside(path, file));
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(cluster.find(&["certificate-authority-data"])?.text()?.trim()).ok()?;
    Some(Authority { source: format!("certificate-authority-data of {path}"), ders: parse(&bytes).ok()? })
}

fn authority(host: &Host, path: &str) -> Option<Authority> {
    Some(Authority { source: path.to_owned(), ders: parse(&host.read(path, LIMIT).ok()?).ok()? })
}

/// The certificates of a PEM file, other blocks (keys) passed over; DER is taken, too.
pub(super) fn parse(bytes: &[u8]) -> Result<Ders, String> {
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    if X509Certificate::from_der(bytes).is_ok() {
        return Ok(vec![bytes.to_vec()]);
    }
    let mut ders = Vec::new();
    for (index, block) in Pem::iter_from_buffer(bytes).enumerate() {
        let block = block.map_err(|error| format!("PEM block {}: {error}", index + 1))?;
        if block.label == "CERTIFICATE" {
            X509Certificate::from_der(&block.contents).map_err(|error| format!("PEM block {}: no certificate: {error}", index + 1))?;
            ders.push(block.contents);
        }
        if ders.len() > MOST {
            return Err(format!("more than {MOST} certificates in one file"));
        }
    }
    if ders.is_empty() { Err("no PEM block CERTIFICATE in it".to_owned()) } else { Ok(ders) }
}

fn judge(bytes: &[u8], role: Role, authority: Option<&Authority>) -> PlaceState {
    let ders = match parse(bytes) {
        Ok(ders) => ders,
        Err(message) => return PlaceState::Invalid(message),
    };
    let parsed: Vec<_> = ders.iter().filter_map(|der| X509Certificate::from_der(der).ok()).map(|(_, certificate)| certificate).collect();
    let certificates = parsed.iter().enumerate().filter_map(|(index, certificate)| {
        let mut fact = fact(certificate)?;
        if index == 0 && !role.is_ca() {
            fact.trust = authority.map(|authority| trust(certificate, &parsed[1..], authority));
        }
        Some(fact)
    });
    PlaceState::Certificates(certificates.collect())
}

fn fact(certificate: &X509Certificate) -> Option<Certificate> {
    let first = |name: &x509_parser::x509::X509Name| name.iter_common_name().next().and_then(|cn| cn.as_str().ok()).unwrap_or_default().to_owned();
    Some(Certificate {
        common_name: first(certificate.subject()),
        organizations: certificate.subject().iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect(),
        issuer_common_name: first(certificate.issuer()),
        serial: certificate.raw_serial_as_string().replace(':', "").to_uppercase(),
        not_before: Timestamp::from_unix_seconds(certificate.validity().not_before.timestamp())?,
        not_after: Timestamp::from_unix_seconds(certificate.validity().not_after.timestamp())?,
        is_ca: certificate.is_ca(),
        trust: None,
    })
}

/// By signature: the leaf, or through the intermediates in its own file, up to one of the authority's certificates.
fn trust(leaf: &X509Certificate, intermediates: &[X509Certificate], authority: &Authority) -> Trust {
    let parsed: Vec<_> = authority.ders.iter().filter_map(|der| X509Certificate::from_der(der).ok()).map(|(_, certificate)| certificate).collect();
    let mut current = leaf;
    let mut verified = Ok(false);
    for _ in 0..=intermediates.len() {
        verified = signed_by(current, &parsed);
        let next = intermediates.iter().find(|ca| ca.subject() == current.issuer() && current.verify_signature(Some(ca.public_key())).is_ok());
        match (&verified, next) {
            (Ok(false), Some(ca)) => current = ca,
            _ => break,
        }
    }
    let names: Vec<_> = parsed.iter().filter_map(|ca| ca.subject().iter_common_name().next()?.as_str().ok()).collect();
    Trust {
        authority: format!("{} (CN={})", authority.source, names.join(", ")),
        same_name: parsed.iter().any(|ca| ca.subject() == current.issuer()),
        verified: verified.into(),
    }
}

fn signed_by(certificate: &X509Certificate, authorities: &[X509Certificate]) -> Result<bool, Blind> {
    let mut unsupported = false;
    for ca in authorities.iter().filter(|ca| ca.subject() == certificate.issuer()) {
        match certificate.verify_signature(Some(ca.public_key())) {
            Ok(()) => return Ok(true),
            Err(x509_parser::error::X509Error::SignatureUnsupportedAlgorithm) => unsupported = true,
            Err(_) => {}
        }
    }
    if unsupported { Err(Blind::new("a signature algorithm that cannot be checked")) } else { Ok(false) }
}
