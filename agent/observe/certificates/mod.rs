//! The certificates that programs on this node use: found from the node's configuration, parsed, and checked against the CA
//! that must have issued them.

mod kubeconfig;
mod manifests;
mod pem;
mod trust;

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::host::{Host, ReadError};
use crate::facts::certificates::{Certificate, Place, PlaceState, Role};
use crate::facts::{Blind, Certificates, Kubelet, Timestamp};
use kubeconfig::{Held, Kubeconfig};
use manifests::Program;
pub(super) use pem::parse;
use pem::{Ders, MOST};
use trust::Authority;

const LIMIT: u64 = 4 << 20;
/// Places listed, whatever the configured globs match.
const MOST_PLACES: usize = 2000;
/// Longest name kept of a subject, in characters.
const LONGEST_NAME: usize = 256;
const KUBERNETES: &str = "/etc/kubernetes";
const PKI: &str = "/etc/kubernetes/pki";

/// A certificate of the control plane: which flag of which program names it, and where kubeadm puts it below [`PKI`].
struct Known {
    role: Role,
    program: &'static str,
    flag: &'static str,
    file: &'static str,
}

/// In the order of importance: what stops more comes first
/// (kubeadm's names: `cmd/kubeadm/app/constants/constants.go`; its flags: `cmd/kubeadm/app/phases/controlplane/manifests.go`).
const KNOWN: [Known; 10] = [
    known(Role::ClusterCa, "kube-apiserver", "client-ca-file", "ca.crt"),
    known(Role::ApiServer, "kube-apiserver", "tls-cert-file", "apiserver.crt"),
    known(Role::EtcdCa, "etcd", "trusted-ca-file", "etcd/ca.crt"),
    known(Role::ApiServerEtcdClient, "kube-apiserver", "etcd-certfile", "apiserver-etcd-client.crt"),
    known(Role::EtcdServer, "etcd", "cert-file", "etcd/server.crt"),
    known(Role::EtcdPeer, "etcd", "peer-cert-file", "etcd/peer.crt"),
    known(Role::ApiServerKubeletClient, "kube-apiserver", "kubelet-client-certificate", "apiserver-kubelet-client.crt"),
    known(Role::FrontProxyCa, "kube-apiserver", "requestheader-client-ca-file", "front-proxy-ca.crt"),
    known(Role::FrontProxyClient, "kube-apiserver", "proxy-client-cert-file", "front-proxy-client.crt"),
    known(Role::EtcdHealthcheckClient, "", "", "etcd/healthcheck-client.crt"),
];

const fn known(role: Role, program: &'static str, flag: &'static str, file: &'static str) -> Known {
    Known { role, program, flag, file }
}

/// Finds and reads all of them. `paths` are further ones of the configuration.
#[must_use]
pub fn observe(host: &Host, kubelet: &Kubelet, paths: &[String]) -> Certificates {
    let node = Node::read(host, kubelet);
    let mut found = Found { host, places: Vec::new() };
    node.kubelet_client(&mut found);
    node.kubelet_serving(&mut found);
    node.cluster_cas(&mut found);
    node.control_plane(&mut found);
    node.kubeconfigs(&mut found);
    for pattern in paths {
        found.configured(pattern);
    }
    Certificates { places: found.places }
}

/// What is looked for, and who issues it.
struct Node<'a> {
    host: &'a Host,
    kubelet: &'a Kubelet,
    kubeconfig: Option<Kubeconfig>,
    programs: Vec<Program>,
}

impl<'a> Node<'a> {
    fn read(host: &'a Host, kubelet: &'a Kubelet) -> Self {
        let manifests = kubelet.static_pod_path.as_ref().map_or("/etc/kubernetes/manifests", |path| path.value.trim_end_matches('/'));
        Self {
            host,
            kubelet,
            kubeconfig: kubelet.kubeconfig.as_ref().and_then(|kubeconfig| Kubeconfig::read(host, &kubeconfig.file.path.value)),
            programs: manifests::programs(host, manifests),
        }
    }

    /// The kubeconfig's certificate is the one the kubelet starts with; a kubelet that rotates its certificate then presents the
    /// rotated one (`pkg/kubelet/certificate/bootstrap`, client-go `getCurrentCertificateOrBootstrap`), so that both are in use.
    fn kubelet_client(&self, found: &mut Found) {
        let Some(kubeconfig) = &self.kubelet.kubeconfig else { return };
        let authority = self.client_ca();
        let client = self.kubeconfig.as_ref().and_then(|kubeconfig| kubeconfig.client.as_ref());
        // A file that is missing is told with the kubeconfig that names it.
        found.held(&kubeconfig.file.path.value, client, Role::KubeletClient, authority.as_ref(), false);
        let in_use = self.kubelet.rotate_certificates.value;
        found.file(&format!("{}/kubelet-client-current.pem", self.kubelet.cert_dir.value), Role::KubeletClient, authority.as_ref(), |place| Place {
            in_use,
            ..place
        });
    }

    /// `tlsCertFile`, else with serverTLSBootstrap the rotated one, else the self-signed one of the first start
    /// (`cmd/kubelet/app/server.go` `InitializeTLS`). Nothing on the node tells who has to have issued it.
    fn kubelet_serving(&self, found: &mut Found) {
        let given = self.kubelet.tls_cert_file.as_ref();
        let bootstraps = self.kubelet.server_tls_bootstrap.value;
        if let Some(file) = given {
            found.named(&file.value, Role::KubeletServing, None, file.source.clone());
        }
        let dir = &self.kubelet.cert_dir.value;
        found.file(&format!("{dir}/kubelet-server-current.pem"), Role::KubeletServing, None, |place| Place { in_use: bootstraps && given.is_none(), ..place });
        found.file(&format!("{dir}/kubelet.crt"), Role::KubeletServing, None, |place| Place { in_use: !bootstraps && given.is_none(), ..place });
    }

    /// What the kubelet trusts: its clientCAFile, and the CA in its kubeconfig.
    fn cluster_cas(&self, found: &mut Found) {
        if let Some(file) = &self.kubelet.client_ca_file {
            found.file(&file.path.value, Role::ClusterCa, None, |place| Place { named_by: Some(file.path.source.clone()), ..place });
        }
        let (Some(kubeconfig), Some(file)) = (&self.kubeconfig, &self.kubelet.kubeconfig) else { return };
        found.held(&file.file.path.value, kubeconfig.cluster_ca.as_ref(), Role::ClusterCa, None, false);
    }

    /// What the static pods are started with. kubeadm's files beside it are in use where no manifest says otherwise.
    fn control_plane(&self, found: &mut Found) {
        for known in &KNOWN {
            let authority = self.issuer(known.role);
            let program = self.program(known.program);
            if let Some((path, named_by)) = program.and_then(|program| Some((program.file(known.flag)?, format!("{} --{}", program.manifest, known.flag)))) {
                found.named(&path, known.role, authority.as_ref(), named_by);
            }
            found.file(&format!("{PKI}/{}", known.file), known.role, authority.as_ref(), |place| Place { in_use: program.is_none(), ..place });
        }
    }

    /// Every other kubeconfig in /etc/kubernetes. The kubelet's bootstrap kubeconfig holds a token.
    fn kubeconfigs(&self, found: &mut Found) {
        let names = self.host.list(KUBERNETES).ok().flatten().unwrap_or_default();
        for path in names.iter().filter(|name| name.strip_suffix(".conf").is_some()).map(|name| format!("{KUBERNETES}/{name}")) {
            if self.kubelet.kubeconfig.as_ref().is_some_and(|kubeconfig| kubeconfig.file.path.value == path) {
                continue;
            }
            if let Some(kubeconfig) = Kubeconfig::read(self.host, &path) {
                found.held(&path, kubeconfig.client.as_ref(), Role::KubeconfigClient, self.client_ca().as_ref(), true);
            }
        }
    }

    fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// The CA that a flag of a static pod names.
    fn flagged(&self, program: &str, flag: &str) -> Option<Authority> {
        Authority::file(self.host, &self.program(program)?.file(flag)?)
    }

    fn kubeadm(&self, file: &str) -> Option<Authority> {
        Authority::file(self.host, &format!("{PKI}/{file}"))
    }

    /// The CA by which the API server knows its clients. On a worker the kubelet's clientCAFile is the same (kubeadm, k3s); the
    /// kubeconfig's CA signs servers and only stands in.
    fn client_ca(&self) -> Option<Authority> {
        let control_plane = self.host.exists(&format!("{PKI}/apiserver.crt")).unwrap_or(false);
        self.flagged("kube-apiserver", "client-ca-file")
            .or_else(|| self.kubeadm("ca.crt").filter(|_| control_plane))
            .or_else(|| Authority::file(self.host, &self.kubelet.client_ca_file.as_ref()?.path.value))
            .or_else(|| Some(self.kubeconfig.as_ref()?.authority(self.host)?.stand_in()))
    }

    /// Whom the other side of a connection would have it issued by.
    fn issuer(&self, role: Role) -> Option<Authority> {
        match role {
            // Its clients trust what stands in their kubeconfigs; one that only kubeadm's CA vouches for is no fault of the certificate.
            Role::ApiServer => {
                let trusted = self.kubeconfig.as_ref().and_then(|kubeconfig| kubeconfig.authority(self.host));
                match (trusted, self.kubeadm("ca.crt")) {
                    (Some(trusted), cluster) => Some(trusted.or(cluster)),
                    (None, cluster) => cluster,
                }
            }
            Role::ApiServerKubeletClient => {
                let own = self.kubelet.client_ca_file.as_ref().and_then(|file| Authority::file(self.host, &file.path.value));
                own.or_else(|| self.kubeadm("ca.crt"))
            }
            Role::FrontProxyClient => self.flagged("kube-apiserver", "requestheader-client-ca-file").or_else(|| self.kubeadm("front-proxy-ca.crt")),
            // Without etcd on this node, the CA that signs its servers stands in for the one by which it knows its clients.
            Role::ApiServerEtcdClient => self
                .flagged("etcd", "trusted-ca-file")
                .or_else(|| Some(self.flagged("kube-apiserver", "etcd-cafile")?.stand_in()))
                .or_else(|| self.kubeadm("etcd/ca.crt")),
            Role::EtcdServer => self.flagged("kube-apiserver", "etcd-cafile").or_else(|| self.kubeadm("etcd/ca.crt")),
            Role::EtcdPeer => self.flagged("etcd", "peer-trusted-ca-file").or_else(|| self.kubeadm("etcd/ca.crt")),
            Role::EtcdHealthcheckClient => self.flagged("etcd", "trusted-ca-file").or_else(|| self.kubeadm("etcd/ca.crt")),
            _ => None,
        }
    }
}

/// The places found so far, each once.
struct Found<'a> {
    host: &'a Host,
    places: Vec<Place>,
}

impl Found<'_> {
    fn add(&mut self, place: Place) {
        let key = |place: &Place| place.entry.as_ref().map(|entry| entry.key.clone());
        let listed = self.places.iter().any(|other| other.path == place.path && key(other) == key(&place));
        if !listed && self.places.len() < MOST_PLACES {
            self.places.push(place);
        }
    }

    /// A file that exists on some nodes only.
    fn file(&mut self, path: &str, role: Role, authority: Option<&Authority>, with: impl FnOnce(Place) -> Place) {
        let place = with(self.look(path, role, authority));
        if place.state != PlaceState::Missing {
            self.add(place);
        }
    }

    /// A file that a program was told to use: it has to be there.
    fn named(&mut self, path: &str, role: Role, authority: Option<&Authority>, named_by: String) {
        let place = self.look(path, role, authority);
        self.add(Place { named_by: Some(named_by), ..place });
    }

    /// What a kubeconfig holds, or names.
    fn held(&mut self, kubeconfig: &str, held: Option<&Held>, role: Role, authority: Option<&Authority>, must_exist: bool) {
        match held {
            Some(Held::Inline(entry, ders)) => {
                let state = ders.as_ref().map_or_else(|why| PlaceState::Invalid(why.clone()), |ders| judge(ders, role, authority));
                self.add(Place { entry: Some(entry.clone()), ..place(kubeconfig, role, state) });
            }
            Some(Held::File { path, named_by }) if must_exist => self.named(path, role, authority, named_by.clone()),
            Some(Held::File { path, named_by }) => self.file(path, role, authority, |place| Place { named_by: Some(named_by.clone()), ..place }),
            None => {}
        }
    }

    /// A path of the configuration; its last component may have one `*`. What a glob matches need not be a certificate, unless its
    /// name says that it is.
    fn configured(&mut self, pattern: &str) {
        let Some((dir, (before, after))) = pattern.rsplit_once('/').and_then(|(dir, name)| Some((dir, name.split_once('*')?))) else {
            return self.file(pattern, Role::Other, None, |place| place);
        };
        let names = self.host.list(if dir.is_empty() { "/" } else { dir }).ok().flatten().unwrap_or_default();
        for name in names.iter().filter(|name| name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)) {
            let says_so = [".crt", ".pem", ".cer", ".cert"].iter().any(|end| name.ends_with(end));
            let place = self.look(&format!("{dir}/{name}"), Role::Other, None);
            if says_so || !matches!(place.state, PlaceState::Invalid(_) | PlaceState::Missing) {
                self.add(place);
            }
        }
    }

    fn look(&self, path: &str, role: Role, authority: Option<&Authority>) -> Place {
        let parse = if role == Role::Other { pem::parse_any } else { pem::parse };
        let state = read(self.host, path, parse).map_or_else(|state| state, |ders| judge(&ders, role, authority));
        Place { target: self.host.link(path), ..place(path, role, state) }
    }
}

fn place(path: &str, role: Role, state: PlaceState) -> Place {
    Place { path: path.to_owned(), target: None, entry: None, named_by: None, role, in_use: true, state }
}

/// The certificates of a file, or what lies there instead.
fn read(host: &Host, path: &str, parse: fn(&[u8]) -> Result<Ders, String>) -> Result<Ders, PlaceState> {
    match host.read(path, LIMIT) {
        Ok(bytes) => parse(&bytes).map_err(PlaceState::Invalid),
        Err(ReadError::Missing) => Err(PlaceState::Missing),
        Err(ReadError::Blind(blind)) => Err(PlaceState::Unreadable(blind)),
        Err(error) => Err(PlaceState::Invalid(format!("it {error}"))),
    }
}

fn judge(ders: &Ders, role: Role, authority: Option<&Authority>) -> PlaceState {
    if ders.len() > MOST {
        return PlaceState::Unreadable(Blind::new(format!("a file of more than {MOST} certificates is not judged")));
    }
    let parsed: Vec<_> = ders.iter().filter_map(|der| X509Certificate::from_der(der).ok()).map(|(_, certificate)| certificate).collect();
    let mut certificates: Vec<_> = parsed.iter().filter_map(fact).collect();
    match (certificates.first_mut(), parsed.first()) {
        (Some(first), Some(leaf)) if !role.is_ca() => {
            first.trust = authority.map(|authority| trust::trust(leaf, parsed.get(1..).unwrap_or_default(), authority));
        }
        (Some(_), _) => {}
        (None, _) => return PlaceState::Invalid("its dates lie outside any calendar".to_owned()),
    }
    PlaceState::Certificates(certificates)
}

fn fact(certificate: &X509Certificate) -> Option<Certificate> {
    Some(Certificate {
        common_name: name_of(certificate.subject()),
        organizations: certificate.subject().iter_organization().map(|value| words(value.as_slice())).collect(),
        issuer_common_name: name_of(certificate.issuer()),
        serial: certificate.raw_serial_as_string().replace(':', "").to_uppercase().chars().take(LONGEST_NAME).collect(),
        not_before: Timestamp::from_unix_seconds(certificate.validity().not_before.timestamp())?,
        not_after: Timestamp::from_unix_seconds(certificate.validity().not_after.timestamp())?,
        is_ca: certificate.is_ca(),
        trust: None,
    })
}

/// The common name; of several the last, which is the user's name to the API server (Go `pkix.Name.FillFromRDNSequence`).
fn name_of(name: &X509Name) -> String {
    name.iter_common_name().last().map_or_else(String::new, |cn| words(cn.as_slice()))
}

/// What a name says, on one line.
fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(LONGEST_NAME).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
