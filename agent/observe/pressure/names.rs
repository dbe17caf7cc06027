//! What pods and containers are called, by the names of their log files: those are there without asking anybody.

use std::collections::HashMap;

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

/// Pod and container by container id.
pub(super) fn containers(host: &Host) -> HashMap<String, (String, String)> {
    let links = host.list(CONTAINER_LOGS).ok().flatten().unwrap_or_default();
    links.iter().filter_map(|link| container_of_link(link)).collect()
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
