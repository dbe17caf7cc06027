//! What mends a certificate: one procedure for each way in which it was made.

use super::{better, is_rotated, reader};
use crate::facts::Facts;
use crate::facts::certificates::{Place, PlaceState, Role};
use crate::facts::shell::quote;

/// One process is all of Kubernetes there (microk8s.io: "Services and ports").
const MICROK8S: &str = "snap restart microk8s.daemon-kubelite";

/// One thing to do, whatever it mends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checks) enum Mend {
    /// A new kubeconfig for a worker's kubelet.
    KubeletClient,
    /// `kubeadm certs renew`, on a control-plane node with its kubelet.
    Kubeadm,
    KubeletServing,
    Ca(Role),
    /// The CA in this file.
    CaFile(String),
    /// k3s and RKE2 renew what is about to expire when they start; their directory's name is `k3s` or `rke2`.
    Rancher(&'static str),
    RancherCa(&'static str),
    MicroK8s,
    MicroK8sCa,
    /// The node's clock.
    Clock,
    /// Whoever made it.
    Other(String),
}

/// What mends the certificate at a place.
pub(super) fn of(facts: &Facts, place: &Place) -> Mend {
    let below = |dir: &str| place.path.starts_with(dir);
    match place.role {
        role if role.is_ca() && below("/var/lib/rancher/k3s/") => Mend::RancherCa("k3s"),
        role if role.is_ca() && below("/var/lib/rancher/rke2/") => Mend::RancherCa("rke2"),
        _ if below("/var/lib/rancher/k3s/") => Mend::Rancher("k3s"),
        _ if below("/var/lib/rancher/rke2/") => Mend::Rancher("rke2"),
        role if role.is_ca() && below("/var/snap/microk8s/") => Mend::MicroK8sCa,
        _ if below("/var/snap/microk8s/") => Mend::MicroK8s,
        Role::KubeletClient if facts.can_issue() => Mend::Kubeadm,
        Role::KubeletClient => Mend::KubeletClient,
        Role::KubeletServing => Mend::KubeletServing,
        role if role.is_ca() => Mend::Ca(role),
        Role::Other => Mend::Other(place.path.clone()),
        _ if native_unit(facts, place).is_some() => Mend::Other(place.path.clone()),
        _ if kubeadm_name(place).is_some() => Mend::Kubeadm,
        _ => Mend::Other(place.path.clone()),
    }
}

/// What `kubeadm certs renew` calls it (`cmd/kubeadm/app/phases/certs/renewal`).
fn kubeadm_name(place: &Place) -> Option<&str> {
    Some(match place.role {
        _ if !place.path.starts_with("/etc/kubernetes/") => return None,
        Role::ApiServer => "apiserver",
        Role::ApiServerKubeletClient => "apiserver-kubelet-client",
        Role::ApiServerEtcdClient => "apiserver-etcd-client",
        Role::FrontProxyClient => "front-proxy-client",
        Role::EtcdServer => "etcd-server",
        Role::EtcdPeer => "etcd-peer",
        Role::EtcdHealthcheckClient => "etcd-healthcheck-client",
        Role::KubeconfigClient => match place.path.rsplit('/').next() {
            Some(file @ ("admin.conf" | "super-admin.conf" | "controller-manager.conf" | "scheduler.conf")) => file,
            _ => return None,
        },
        _ => return None,
    })
}

/// The static pod that has to be started again to use it.
fn static_pod(place: &Place) -> Option<&'static str> {
    match place.role {
        Role::ApiServer | Role::ApiServerKubeletClient | Role::ApiServerEtcdClient | Role::FrontProxyClient => Some("kube-apiserver"),
        Role::EtcdServer | Role::EtcdPeer => Some("etcd"),
        Role::KubeconfigClient if place.path.ends_with("/controller-manager.conf") => Some("kube-controller-manager"),
        Role::KubeconfigClient if place.path.ends_with("/scheduler.conf") => Some("kube-scheduler"),
        _ => None,
    }
}

/// The commands that mend these places.
pub(super) fn commands(facts: &Facts, mend: &Mend, places: &[&Place]) -> Vec<String> {
    match mend {
        Mend::KubeletClient | Mend::Kubeadm => kubeadm(facts, places),
        Mend::KubeletServing => places.iter().flat_map(|place| kubelet_serving(place)).collect(),
        Mend::Ca(_) => places.first().map_or_else(Vec::new, |place| ca(facts, &place.path)),
        Mend::CaFile(path) => ca(facts, path),
        Mend::Rancher(name) => vec![format!("systemctl restart {}", rancher_unit(facts, name))],
        Mend::RancherCa(name) => rancher_ca(facts, name),
        Mend::MicroK8s => vec!["microk8s refresh-certs --cert server.crt".to_owned(), "microk8s refresh-certs --cert front-proxy-client.crt".to_owned()],
        // Everything that it signed is made anew with it (microk8s.io: "Refreshing certificates").
        Mend::MicroK8sCa => {
            vec!["# every node has to join again after it, and every kubeconfig is made anew:".to_owned(), "microk8s refresh-certs --cert ca.crt".to_owned()]
        }
        Mend::Clock => vec!["timedatectl status".to_owned(), "chronyc makestep || systemctl restart systemd-timesyncd".to_owned()],
        Mend::Other(path) => {
            let unit = places.first().and_then(|place| native_unit(facts, place));
            let then = unit.map(|unit| format!("# once whoever made it has renewed it: systemctl restart {unit}"));
            std::iter::once(format!("openssl x509 -noout -subject -issuer -dates -in {}", quote(path))).chain(then).collect()
        }
    }
}

/// The commands that make another in the place of one that cannot be used.
pub(in crate::checks) fn replacement(facts: &Facts, place: &Place) -> Vec<String> {
    let key = place.path.replace(".crt", ".key");
    let old = if place.state == PlaceState::Missing { Vec::new() } else { vec![aside(&place.path)] };
    match (of(facts, place), kubeadm_name(place)) {
        (Mend::KubeletClient | Mend::Kubeadm, _) if is_rotated(place) && has_a_kubeconfig_certificate(facts, place) => {
            vec![format!("{} && systemctl restart kubelet", aside(&place.path))]
        }
        (Mend::Kubeadm, Some(name)) => {
            let mut steps = old;
            let mut commands = Vec::new();
            if let Some(name) = name.strip_suffix(".conf") {
                steps.push(format!("kubeadm init phase kubeconfig {name}"));
            } else {
                // kubeadm makes what is missing, certificate and key together; it takes extra names from the configuration it was given.
                steps.extend([aside(&key), format!("kubeadm init phase certs {name}")]);
                commands.push(format!("# add --config FILE to kubeadm init phase certs {name}, if the cluster was made with one"));
            }
            steps.extend(static_pod(place).map(|pod| restart(&format!("component={pod}"))));
            // What fails stops the rest.
            commands.push(steps.join(" && "));
            commands
        }
        (Mend::KubeletServing, _) if place.path.ends_with("/kubelet.crt") => {
            vec![[aside(&place.path), aside(&key), "systemctl restart kubelet".to_owned()].join(" && ")]
        }
        // At its start only what is about to expire is made anew; on an agent, all is fetched from the server then.
        (Mend::Rancher(name), _) if is_rancher_server(facts, name) => {
            let unit = rancher_unit(facts, name);
            vec![format!("systemctl stop {unit} && {name} certificate rotate && systemctl start {unit}")]
        }
        (mend, _) => commands(facts, &mend, &[place]),
    }
}

/// The kubelet can start with its kubeconfig's own certificate, and makes a new copy of it.
fn has_a_kubeconfig_certificate(facts: &Facts, rotated: &Place) -> bool {
    let places = facts.certificates.known().into_iter().flat_map(|certificates| &certificates.places);
    let mut own = places.filter(|place| place.role == Role::KubeletClient && place.path != rotated.path).filter_map(Place::leaf);
    own.any(|leaf| leaf.not_after > facts.certificates_at)
}

/// New certificates first, then the kubelet with its new kubeconfig; at last the static pods stop, and the kubelet starts them again
/// with the new ones: a manifest that is moved away and back does nothing while the kubelet is down.
fn kubeadm(facts: &Facts, places: &[&Place]) -> Vec<String> {
    let mut commands = Vec::new();
    let mut names: Vec<_> = places.iter().filter_map(|place| kubeadm_name(place)).collect();
    names.dedup();
    match names.as_slice() {
        [] => {}
        [one] => commands.push(format!("kubeadm certs renew {one}")),
        _ => commands.push("kubeadm certs renew all".to_owned()),
    }
    let kubelet = places.iter().find(|place| place.role == Role::KubeletClient);
    commands.extend(kubelet.into_iter().flat_map(|place| kubelet_client(facts, place)));
    let mut pods: Vec<_> = places.iter().filter_map(|place| static_pod(place)).collect();
    pods.sort_unstable();
    pods.dedup();
    match pods.as_slice() {
        [] => {}
        [one] => commands.push(restart(&format!("component={one}"))),
        _ => commands.push(restart("tier=control-plane")),
    }
    commands
}

/// Stops static pods, which the kubelet starts again at once (kubeadm's labels).
fn restart(label: &str) -> String {
    format!("crictl pods --namespace kube-system --label {label} --quiet | xargs -r crictl stopp")
}

/// A new kubeconfig for the kubelet, or the old one pointed to the rotated certificate where that is valid.
/// The kubelet prefers its own copy of an earlier certificate while that lasts: it is moved out of the way.
fn kubelet_client(facts: &Facts, place: &Place) -> Vec<String> {
    if better(facts, place).is_some() {
        return vec!["kubeadm init phase kubelet-finalize all && systemctl restart kubelet".to_owned()];
    }
    let mut places = facts.certificates.known().into_iter().flat_map(|certificates| &certificates.places);
    let copy = places.find(|place| place.role == Role::KubeletClient && is_rotated(place));
    facts.new_kubelet_conf_and(copy.map(|copy| aside(&copy.path)).as_deref())
}

/// Out of the way, and not lost.
fn aside(path: &str) -> String {
    format!("mv {} {}", quote(path), quote(&format!("{path}.old")))
}

/// Without its serving certificate the kubelet makes or asks for another at its start.
fn kubelet_serving(place: &Place) -> Vec<String> {
    if is_rotated(place) {
        return vec![
            format!("{} && systemctl restart kubelet", aside(&place.path)),
            "kubectl get csr  # approve the one of this node: kubectl certificate approve NAME".to_owned(),
        ];
    }
    vec![
        format!("openssl x509 -noout -subject -issuer -dates -in {}  # tlsCertFile: whoever made it has to renew it", quote(&place.path)),
        "systemctl restart kubelet".to_owned(),
    ]
}

/// kubeadm renews no CA. Signed again with the same key, it keeps everything it ever signed valid.
fn ca(facts: &Facts, path: &str) -> Vec<String> {
    let file = path.strip_suffix(".crt").map_or("/etc/kubernetes/pki/ca.crt", |_| path);
    let new = format!("/root/{}", file.trim_start_matches("/etc/kubernetes/pki/").replace('/', "-"));
    let key = quote(&file.replace(".crt", ".key"));
    let (file, new) = (quote(file), quote(&new));
    let make = format!("openssl x509 -in {file} -signkey {key} -days 3650 -out {new}");
    let place = format!("test -s {new} && install -m 644 {new} {file}");
    let after = "# then every node and every kubeconfig: kubernetes.io, Manual Rotation of CA Certificates".to_owned();
    if facts.can_issue() {
        vec![make, place, after]
    } else {
        let here = format!("# then here, with {new} copied over:");
        vec!["# on a control-plane node, unless its CA is a new one already:".to_owned(), make, here, place, after]
    }
}

/// The command that starts the program again which presents the certificate at a place.
pub(in crate::checks) fn start_again(facts: &Facts, place: &Place) -> Option<String> {
    let below = |dir: &str| place.path.starts_with(dir);
    Some(match place.role {
        _ if below("/var/lib/rancher/k3s/") => format!("systemctl restart {}", rancher_unit(facts, "k3s")),
        _ if below("/var/lib/rancher/rke2/") => format!("systemctl restart {}", rancher_unit(facts, "rke2")),
        _ if below("/var/snap/microk8s/") => MICROK8S.to_owned(),
        Role::KubeletServing => "systemctl restart kubelet".to_owned(),
        _ => match native_unit(facts, place) {
            Some(unit) => format!("systemctl restart {unit}"),
            None => restart(&format!("component={}", static_pod(place)?)),
        },
    })
}

/// The unit that reads the certificate at its start, where its program runs as a unit.
fn native_unit(facts: &Facts, place: &Place) -> Option<String> {
    let unit = format!("{}.service", reader(facts, place)?);
    facts.units.known()?.get(&unit).filter(|found| found.is_installed() && !found.is_masked()).map(|_| unit.clone())
}

/// A server has the cluster's own certificates; on an agent only those of `agent/` lie.
fn rancher_unit(facts: &Facts, name: &str) -> &'static str {
    match (name, is_rancher_server(facts, name)) {
        ("k3s", true) => "k3s",
        ("k3s", false) => "k3s-agent",
        (_, true) => "rke2-server",
        (_, false) => "rke2-agent",
    }
}

fn is_rancher_server(facts: &Facts, name: &str) -> bool {
    let server = format!("/var/lib/rancher/{name}/server/");
    facts.certificates.known().is_some_and(|certificates| certificates.places.iter().any(|place| place.path.starts_with(&server)))
}

/// The CAs of a cluster are one for all, and are replaced from a server (docs.k3s.io, docs.rke2.io: "certificate rotate-ca").
fn rancher_ca(facts: &Facts, name: &str) -> Vec<String> {
    let new = format!("/var/lib/rancher/{name}/server/rotate-ca");
    let unit = if name == "k3s" { "k3s" } else { "rke2-server" };
    let make = format!("# with new CAs below {new}, signed by the old ones (rotate-default-ca-certs.sh, docs.k3s.io):");
    let here = (!is_rancher_server(facts, name)).then(|| "# on a server:".to_owned());
    let rotate = format!("test -d {new} && {name} certificate rotate-ca --path={new} && systemctl restart {unit}");
    let then = format!("# then on every node, the servers first: systemctl restart {unit}, or {name}-agent");
    here.into_iter().chain([make, rotate, then]).collect()
}
