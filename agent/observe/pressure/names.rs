//! What pods and containers are called, by the names of their log files and CRI-O's own list: those are there without asking anybody.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;

use super::POD_LOGS;
use crate::facts::pressure::{Holder, pod_uid};
use crate::observe::host::Host;

/// Symlinks of the kubelet's, `POD_NAMESPACE_CONTAINER-ID.log` (`pkg/kubelet/kuberuntime/legacy.go` `logSymlink`).
const CONTAINER_LOGS: &str = "/var/log/containers";

/// `namespace/name` by pod uid.
#[derive(Debug, Default)]
pub(super) struct Pods(HashMap<String, String>);

impl Pods {
    /// Of the directories `NAMESPACE_NAME_UID` (`pkg/kubelet/kuberuntime/helpers.go` `BuildPodLogsDirectory`).
    pub fn read(host: &Host) -> Self {
        let directories = host.list(POD_LOGS).ok().flatten().unwrap_or_default();
        Self(directories.iter().filter_map(|name| pod_of_logs(name)).map(|(pod, uid)| (uid, pod)).collect())
    }

    pub fn name(&self, uid: &str) -> String {
        self.0.get(uid).map_or_else(|| format!("pod {uid}"), Clone::clone)
    }

    /// The pod or the service of a cgroup.
    pub fn holder(&self, cgroup: &str) -> Holder {
        let pod_uid = cgroup.split('/').find_map(pod_uid);
        let name = match &pod_uid {
            Some(uid) => self.name(uid),
            None => cgroup.rsplit('/').next().unwrap_or(cgroup).to_owned(),
        };
        Holder { cgroup: cgroup.to_owned(), name, pod_uid }
    }
}

/// `namespace/name` and uid of a directory in /var/log/pods. Neither a namespace nor a pod's name has an underscore.
pub(super) fn pod_of_logs(directory: &str) -> Option<(String, String)> {
    let mut parts = directory.splitn(3, '_');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    Some((format!("{namespace}/{name}"), uid.to_owned()))
}

/// Pod and container by the id of the container; by that of its layer where CRI-O keeps it, to judge by the paths of `layers`.
pub(super) fn containers<'a>(host: &Host, layers: impl Iterator<Item = &'a str>) -> HashMap<String, (String, String)> {
    let links = host.list(CONTAINER_LOGS).ok().flatten().unwrap_or_default();
    let stores: BTreeSet<&str> = layers.filter_map(|path| path.strip_suffix("/diff")?.rsplit_once('/')?.0.strip_suffix("/overlay")).collect();
    let stored = stores.into_iter().flat_map(|store| STORED.map(|file| format!("{store}/overlay-containers/{file}")));
    let stored = stored.filter_map(|file| serde_json::from_slice::<Vec<Stored>>(&host.read(&file, STORED_LIMIT).ok()?).ok()).flatten();
    let stored = stored.filter_map(|container| Some((container.layer, container.names.iter().find_map(|name| container_of_name(name))?)));
    links.iter().filter_map(|link| container_of_link(link)).chain(stored).collect()
}

/// The lists of containers/storage (`containers.go` `newContainerStore`); a node of 250 pods has some 500 kB of them.
const STORED: [&str; 2] = ["containers.json", "volatile-containers.json"];
const STORED_LIMIT: u64 = 8 << 20;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Stored {
    layer: String,
    names: Vec<String>,
}

/// `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT` (CRI-O `internal/factory/container` `SetNameAndID`).
fn container_of_name(name: &str) -> Option<(String, String)> {
    let mut parts = name.strip_prefix("k8s_")?.splitn(4, '_');
    let (container, pod, namespace, _) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some((format!("{namespace}/{pod}"), container.to_owned()))
}

fn container_of_link(link: &str) -> Option<(String, (String, String))> {
    let (rest, id) = link.strip_suffix(".log")?.rsplit_once('-')?;
    let mut parts = rest.splitn(3, '_');
    let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
    Some((id.to_owned(), (format!("{namespace}/{pod}"), container.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_names_of_logs() {
        let uid = "0330b2c1-a15b-4f86-9d0f-6d9a3c1f2b10";
        assert_eq!(
            pod_of_logs(&format!("kube-system_coredns-5d78c9869d-abcde_{uid}")),
            Some(("kube-system/coredns-5d78c9869d-abcde".to_owned(), uid.to_owned()))
        );
        let id = "8a1f".repeat(16);
        let told = container_of_link(&format!("web-1_default_my-app-{id}.log"));
        assert_eq!(told, Some((id, ("default/web-1".to_owned(), "my-app".to_owned()))));
        for odd in ["", "x", "x_y", ".log", "a-b.log", "lost+found"] {
            assert!(pod_of_logs(odd).is_none() && container_of_link(odd).is_none(), "{odd}");
        }
    }

    /// The form of what CRI-O 1.30 leaves; the pause container is called POD.
    #[test]
    fn crio_keeps_a_list_of_its_own() {
        let root = std::env::temp_dir().join(format!("nodetriage-crio-{}", std::process::id()));
        let store = root.join("var/lib/containers/storage/overlay-containers");
        std::fs::create_dir_all(&store).unwrap();
        let entry = |container: &str, layer: &str| {
            let names = [format!("k8s_{container}_web-0_shop_0330b2c1-a15b-4f86-9d0f-6d9a3c1f2b10_0")];
            serde_json::json!({ "id": "c1", "names": names, "image": "i1", "layer": layer, "metadata": "{}", "created": "2026-12-01T03:00:00Z" })
        };
        std::fs::write(store.join("containers.json"), serde_json::json!([entry("app", "f00d"), { "id": "c2" }]).to_string()).unwrap();
        std::fs::write(store.join("volatile-containers.json"), serde_json::json!([entry("POD", "beef")]).to_string()).unwrap();
        let host = Host::open(&root).unwrap();
        let layers = ["/var/lib/containers/storage/overlay/f00d/diff", "/var/lib/containers/storage/overlay/beef/diff", "/var/lib/docker/x", ""];
        let known = containers(&host, layers.into_iter());
        let of = |container: &str| ("shop/web-0".to_owned(), container.to_owned());
        assert_eq!(known, [("f00d".to_owned(), of("app")), ("beef".to_owned(), of("POD"))].into());
        std::fs::write(store.join("containers.json"), "[{").unwrap();
        assert_eq!(containers(&host, layers.into_iter()).len(), 1, "a damaged list hides nothing else");
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_cgroup_is_a_pod_s_or_a_service_s() {
        let pods = Pods([("0330b2c1-a15b-4f86-9d0f-6d9a3c1f2b10".to_owned(), "default/web-1".to_owned())].into());
        let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0330b2c1_a15b_4f86_9d0f_6d9a3c1f2b10.slice";
        assert_eq!(pods.holder(pod).name, "default/web-1");
        assert_eq!(pods.holder("/system.slice/kubelet.service").name, "kubelet.service");
        let unknown = "/kubepods/pod1111b2c1-a15b-4f86-9d0f-6d9a3c1f2b10/abc";
        assert_eq!(pods.holder(unknown).name, "pod 1111b2c1-a15b-4f86-9d0f-6d9a3c1f2b10");
    }
}
