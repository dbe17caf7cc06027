//! The certificates that programs on this node use: found from the node's configuration, parsed, and checked against the CA
//! that must have issued them.

mod distributions;
mod found;
mod key;
mod kubeconfig;
mod pem;
mod programs;
mod served;
mod trust;

use super::host::Host;
use super::units::from_files;
use crate::config::Config;
use crate::facts::certificates::Role;
use crate::facts::kubelet::endpoint;
use crate::facts::{Certificates, Kubelet, Observed, Sourced, Units};
use found::{Found, Wanted};
use key::KeyAt;
use kubeconfig::Kubeconfig;
pub(super) use pem::parse;
use programs::Program;
pub use served::{Schedule, ask, ask_all};
use trust::Authority;

const KUBERNETES: &str = "/etc/kubernetes";
const PKI: &str = "/etc/kubernetes/pki";

/// A certificate of the control plane: which flag of which program names it, and where kubeadm puts it below [`PKI`].
struct Known {
    role: Role,
    program: &'static str,
    flag: &'static str,
    /// The flag for its private key; empty for a CA, whose key no program here needs.
    key_flag: &'static str,
    file: &'static str,
}

/// In the order of importance: what stops more comes first
/// (kubeadm's names: `cmd/kubeadm/app/constants/constants.go`; its flags: `cmd/kubeadm/app/phases/controlplane/manifests.go`).
const KNOWN: [Known; 10] = [
    known(Role::ClusterCa, "kube-apiserver", "client-ca-file", "", "ca.crt"),
    known(Role::ApiServer, "kube-apiserver", "tls-cert-file", "tls-private-key-file", "apiserver.crt"),
    known(Role::EtcdCa, "etcd", "trusted-ca-file", "", "etcd/ca.crt"),
    known(Role::ApiServerEtcdClient, "kube-apiserver", "etcd-certfile", "etcd-keyfile", "apiserver-etcd-client.crt"),
    known(Role::EtcdServer, "etcd", "cert-file", "key-file", "etcd/server.crt"),
    known(Role::EtcdPeer, "etcd", "peer-cert-file", "peer-key-file", "etcd/peer.crt"),
    known(Role::ApiServerKubeletClient, "kube-apiserver", "kubelet-client-certificate", "kubelet-client-key", "apiserver-kubelet-client.crt"),
    known(Role::FrontProxyCa, "kube-apiserver", "requestheader-client-ca-file", "", "front-proxy-ca.crt"),
    known(Role::FrontProxyClient, "kube-apiserver", "proxy-client-cert-file", "proxy-client-key-file", "front-proxy-client.crt"),
    known(Role::EtcdHealthcheckClient, "", "", "", "etcd/healthcheck-client.crt"),
];

const fn known(role: Role, program: &'static str, flag: &'static str, key_flag: &'static str, file: &'static str) -> Known {
    Known { role, program, flag, key_flag, file }
}

/// Finds and reads all of them. `paths` are further ones of the configuration.
#[must_use]
pub fn observe(host: &Host, kubelet: &Kubelet, units: &Observed<Units>, paths: &[String]) -> Certificates {
    let node = Node::read(host, kubelet, units);
    let mut found = Found { host, places: Vec::new() };
    node.kubelet_client(&mut found);
    node.kubelet_serving(&mut found);
    node.cluster_cas(&mut found);
    node.control_plane(&mut found);
    node.kubeconfigs(&mut found);
    distributions::observe(host, &mut found);
    for pattern in paths {
        found.configured(pattern);
    }
    Certificates { servers: served::servers(&node, &found.places), places: found.places }
}

/// What is looked for, and who issues it.
struct Node<'a> {
    host: &'a Host,
    kubelet: &'a Kubelet,
    kubeconfig: Option<Kubeconfig>,
    programs: Vec<Program>,
    /// Where the manifests of static pods are.
    manifests: &'a str,
}

impl<'a> Node<'a> {
    fn read(host: &'a Host, kubelet: &'a Kubelet, units: &Observed<Units>) -> Self {
        // Where no bus answers, the unit files tell what would be started.
        let files = units.blind().and_then(|_| from_files(host, &Config::default()).ok());
        let manifests = kubelet.static_pod_path.as_ref().map_or("/etc/kubernetes/manifests", |path| path.value.trim_end_matches('/'));
        Self {
            host,
            kubelet,
            kubeconfig: kubelet.kubeconfig.as_ref().and_then(|kubeconfig| Kubeconfig::read(host, &kubeconfig.file.path.value)),
            programs: programs::programs(host, manifests, units.known().or(files.as_ref())),
            manifests,
        }
    }

    /// The kubeconfig's certificate is the one the kubelet starts with; a kubelet that rotates its certificate then presents the
    /// rotated one (`pkg/kubelet/certificate/bootstrap`, client-go `getCurrentCertificateOrBootstrap`), so that both are in use.
    fn kubelet_client(&self, found: &mut Found) {
        let Some(kubeconfig) = &self.kubelet.kubeconfig else { return };
        let authority = self.client_ca();
        let client = self.kubeconfig.as_ref().and_then(|kubeconfig| kubeconfig.client.as_ref());
        let key = self.kubeconfig.as_ref().map_or(&KeyAt::Nowhere, |kubeconfig| &kubeconfig.client_key);
        // A file that is missing is told with the kubeconfig that names it.
        found.held(&kubeconfig.file.path.value, client, key, Wanted::new("", Role::KubeletClient, authority.as_ref()));
        let current = format!("{}/kubelet-client-current.pem", self.kubelet.cert_dir.value);
        let wanted = Wanted::new(&current, Role::KubeletClient, authority.as_ref());
        found.file(Wanted { in_use: self.kubelet.rotate_certificates.value, key: KeyAt::Same, ..wanted });
    }

    /// `tlsCertFile`, else with serverTLSBootstrap the rotated one, else the self-signed one of the first start
    /// (`cmd/kubelet/app/server.go` `InitializeTLS`). Nothing on the node tells who has to have issued it.
    fn kubelet_serving(&self, found: &mut Found) {
        let given = self.kubelet.tls_cert_file.as_ref();
        if let Some(file) = given {
            let key = self.kubelet.tls_private_key_file.as_ref().map_or(KeyAt::Beside, |key| KeyAt::File(key.value.clone()));
            let wanted = Wanted::new(&file.value, Role::KubeletServing, None);
            found.file(Wanted { named_by: Some(file.source.clone()), must_exist: true, key, ..wanted });
        }
        let bootstraps = self.kubelet.server_tls_bootstrap.value;
        let dir = &self.kubelet.cert_dir.value;
        for (file, in_use, key) in [("kubelet-server-current.pem", bootstraps, KeyAt::Same), ("kubelet.crt", !bootstraps, KeyAt::Beside)] {
            let path = format!("{dir}/{file}");
            found.file(Wanted { in_use: in_use && given.is_none(), key, ..Wanted::new(&path, Role::KubeletServing, None) });
        }
    }

    /// What the kubelet trusts: its clientCAFile, and the CA in its kubeconfig.
    fn cluster_cas(&self, found: &mut Found) {
        if let Some(file) = &self.kubelet.client_ca_file {
            let wanted = Wanted::new(&file.path.value, Role::ClusterCa, None);
            found.file(Wanted { named_by: Some(file.path.source.clone()), key: KeyAt::Beside, ..wanted });
        }
        let (Some(kubeconfig), Some(file)) = (&self.kubeconfig, &self.kubelet.kubeconfig) else { return };
        found.held(&file.file.path.value, kubeconfig.cluster_ca.as_ref(), &KeyAt::Nowhere, Wanted::new("", Role::ClusterCa, None));
    }

    /// What its programs are started with. kubeadm's files are in use only where one of them is there and its manifest does not say
    /// otherwise: on a node that is no control-plane node any more they lie about.
    fn control_plane(&self, found: &mut Found) {
        for known in &KNOWN {
            let authority = self.issuer(known.role);
            let program = self.program(known.program);
            let called = if known.role == Role::ApiServer { self.api_server_is_called(program) } else { Vec::new() };
            if let Some((program, path)) = program.and_then(|program| Some((program, program.file(known.flag)?))) {
                let key = program.file(known.key_flag).map_or(KeyAt::Beside, |key| KeyAt::File(key.value));
                let wanted = Wanted::new(&path.value, known.role, authority.as_ref());
                found.file(Wanted { named_by: Some(path.source.clone()), must_exist: true, key, called: called.clone(), ..wanted });
            }
            let path = format!("{PKI}/{}", known.file);
            let owner = if known.program.is_empty() { "etcd" } else { known.program };
            let in_use = match known.role {
                // It is on every node; its clientCAFile, if that can be read, says which CA the kubelet knows.
                Role::ClusterCa if self.kubelet.client_ca_file.is_none() => program.is_none(),
                // kubeadm's own probes use it, whatever the manifest says.
                Role::EtcdHealthcheckClient => self.runs(owner),
                _ => program.is_none() && self.runs(owner),
            };
            found.file(Wanted { in_use, key: KeyAt::Beside, called, ..Wanted::new(&path, known.role, authority.as_ref()) });
        }
    }

    /// A program of the control plane belongs to this node: it is started with flags that we know, or has a manifest that says nothing.
    fn runs(&self, program: &str) -> bool {
        self.program(program).is_some() || self.host.exists(&format!("{}/{program}.yaml", self.manifests)).unwrap_or(false)
    }

    /// Its own address, and how this node's kubelet calls it.
    fn api_server_is_called(&self, program: Option<&Program>) -> Vec<Sourced<String>> {
        let Some(program) = program else { return Vec::new() };
        let server = self.kubelet.kubeconfig.as_ref().and_then(|kubeconfig| kubeconfig.server.as_ref());
        let dialled = server.and_then(|server| Some(Sourced::new(endpoint(&server.value).ok()?.0, server.source.clone())));
        let flag = "advertise-address";
        let own = program.flag(flag).map(|address| Sourced::new(address.value.clone(), format!("{} --{flag}", address.source)));
        own.into_iter().chain(dialled).collect()
    }

    /// Every other kubeconfig in /etc/kubernetes, and those that programs of the control plane are given elsewhere. The kubelet's
    /// bootstrap kubeconfig holds a token.
    fn kubeconfigs(&self, found: &mut Found) {
        let authority = self.client_ca();
        let mut seen: Vec<String> = self.kubelet.kubeconfig.iter().map(|kubeconfig| kubeconfig.file.path.value.clone()).collect();
        let mut kubeconfig = |path: String, named_by: Option<String>, in_use: bool| {
            if let Some(kubeconfig) = Kubeconfig::read(self.host, &path).filter(|_| !seen.contains(&path)) {
                let wanted = Wanted { named_by, in_use, must_exist: true, ..Wanted::new("", Role::KubeconfigClient, authority.as_ref()) };
                found.held(&path, kubeconfig.client.as_ref(), &kubeconfig.client_key, wanted);
                seen.push(path);
            }
        };
        let names = self.host.list(KUBERNETES).ok().flatten().unwrap_or_default();
        for name in names.iter().filter(|name| name.strip_suffix(".conf").is_some()) {
            let owner = match name.as_str() {
                "controller-manager.conf" => "kube-controller-manager",
                "scheduler.conf" => "kube-scheduler",
                _ => "kube-apiserver",
            };
            kubeconfig(format!("{KUBERNETES}/{name}"), None, self.runs(owner));
        }
        for path in self.programs.iter().filter_map(|program| program.file("kubeconfig")) {
            kubeconfig(path.value, Some(path.source), true);
        }
    }

    fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// The CA that a flag of a static pod names.
    fn flagged(&self, program: &str, flag: &str) -> Option<Authority> {
        Authority::file(self.host, &self.program(program)?.file(flag)?.value)
    }

    fn kubeadm(&self, file: &str) -> Option<Authority> {
        Authority::file(self.host, &format!("{PKI}/{file}"))
    }

    /// The CA by which the API server knows its clients. On a worker the kubelet's clientCAFile is the same (kubeadm, k3s); the
    /// kubeconfig's CA signs servers and only stands in.
    fn client_ca(&self) -> Option<Authority> {
        self.flagged("kube-apiserver", "client-ca-file")
            .or_else(|| self.kubeadm("ca.crt").filter(|_| self.runs("kube-apiserver")))
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
