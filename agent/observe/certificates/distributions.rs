//! Where distributions that are no kubeadm keep their certificates: the path below a base, what it is for, and which CA issues it.

use super::found::{Found, Wanted};
use super::key::KeyAt;
use super::trust::Authority;
use crate::facts::certificates::Role;
use crate::observe::host::Host;

type Row = (&'static str, Role, &'static str);

/// k3s and RKE2 (k3s `pkg/daemons/control/deps`, `pkg/agent/config`), below /var/lib/rancher/k3s and /var/lib/rancher/rke2.
const RANCHER: [Row; 20] = [
    ("agent/client-kubelet.crt", Role::KubeletClient, "agent/client-ca.crt"),
    ("agent/serving-kubelet.crt", Role::KubeletServing, "agent/server-ca.crt"),
    ("agent/client-ca.crt", Role::ClusterCa, ""),
    ("agent/server-ca.crt", Role::ClusterCa, ""),
    ("server/tls/client-ca.crt", Role::ClusterCa, ""),
    ("server/tls/server-ca.crt", Role::ClusterCa, ""),
    ("server/tls/serving-kube-apiserver.crt", Role::ApiServer, "server/tls/server-ca.crt"),
    ("server/tls/etcd/server-ca.crt", Role::EtcdCa, ""),
    ("server/tls/etcd/peer-ca.crt", Role::EtcdCa, ""),
    ("server/tls/etcd/client.crt", Role::ApiServerEtcdClient, "server/tls/etcd/server-ca.crt"),
    ("server/tls/etcd/server-client.crt", Role::EtcdServer, "server/tls/etcd/server-ca.crt"),
    ("server/tls/etcd/peer-server-client.crt", Role::EtcdPeer, "server/tls/etcd/peer-ca.crt"),
    ("server/tls/client-kube-apiserver.crt", Role::ApiServerKubeletClient, "server/tls/client-ca.crt"),
    ("server/tls/request-header-ca.crt", Role::FrontProxyCa, ""),
    ("server/tls/client-auth-proxy.crt", Role::FrontProxyClient, "server/tls/request-header-ca.crt"),
    ("server/tls/client-controller.crt", Role::KubeconfigClient, "server/tls/client-ca.crt"),
    ("server/tls/client-scheduler.crt", Role::KubeconfigClient, "server/tls/client-ca.crt"),
    ("server/tls/client-admin.crt", Role::KubeconfigClient, "server/tls/client-ca.crt"),
    ("agent/client-kube-proxy.crt", Role::KubeconfigClient, "agent/client-ca.crt"),
    ("agent/client-k3s-controller.crt", Role::KubeconfigClient, "agent/client-ca.crt"),
];

/// microk8s (`microk8s-resources/default-args`), below /var/snap/microk8s/current/certs.
const MICROK8S: [Row; 5] = [
    ("ca.crt", Role::ClusterCa, ""),
    ("server.crt", Role::ApiServer, "ca.crt"),
    ("kubelet.crt", Role::KubeletServing, "ca.crt"),
    ("front-proxy-ca.crt", Role::FrontProxyCa, ""),
    ("front-proxy-client.crt", Role::FrontProxyClient, "front-proxy-ca.crt"),
];

const BASES: [(&str, &[Row]); 3] = [("/var/lib/rancher/k3s", &RANCHER), ("/var/lib/rancher/rke2", &RANCHER), ("/var/snap/microk8s/current/certs", &MICROK8S)];

pub(super) fn observe(host: &Host, found: &mut Found) {
    for (base, rows) in BASES {
        // "Cannot tell" is told by the kubelet's and kubeadm's own places.
        if !host.exists(base).unwrap_or(false) {
            continue;
        }
        for (file, role, issuer) in rows {
            let authority = (!issuer.is_empty()).then(|| Authority::file(host, &format!("{base}/{issuer}"))).flatten();
            let path = format!("{base}/{file}");
            found.file(Wanted { key: KeyAt::Beside, ..Wanted::new(&path, *role, authority.as_ref()) });
        }
    }
}
