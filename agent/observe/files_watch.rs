//! Wakes when something changes in the directories that the facts were read from, or in what swap is on.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::fcntl::OFlag;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

use super::host::Host;
use crate::facts::Facts;

/// Where the kubelet's, its runtime's and kubeadm's files lie, whatever the configuration says.
const ALWAYS: [&str; 9] = [
    "/etc/kubernetes",
    "/etc/kubernetes/manifests",
    "/etc/kubernetes/pki",
    "/etc/kubernetes/pki/etcd",
    "/etc/cni/net.d",
    "/etc/containerd",
    "/etc/crio/crio.conf.d",
    "/etc/default",
    "/var/lib/kubelet",
];

/// The units whose command lines name the files of the kubelet and of a control plane that runs as units.
pub const CONFIGURING: [&str; 5] = ["kubelet.service", "kube-apiserver.service", "etcd.service", "kube-controller-manager.service", "kube-scheduler.service"];

/// A set of watched directories. Made anew for each round: the kernel's watch is on a directory, not on its name, and a
/// directory that is removed and made again would be lost to an old one.
#[derive(Debug)]
pub struct FilesWatch(Option<AsyncFd<Watched>>);

#[derive(Debug)]
struct Watched(Inotify);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// The directories that decide what the kubelet, certificate and CNI facts are.
#[must_use]
pub fn directories(facts: &Facts) -> BTreeSet<String> {
    let mut files: Vec<&str> = Vec::new();
    let mut found: BTreeSet<String> = ALWAYS.into_iter().map(str::to_owned).collect();
    for unit in facts.units.known().into_iter().flat_map(|units| CONFIGURING.iter().filter_map(|name| units.get(name))) {
        files.extend(unit.environment_files.iter().map(|file| file.path.as_str()));
    }
    if let Some(kubelet) = facts.kubelet.known() {
        files.extend(kubelet.config_files().map(|file| file.path.value.as_str()));
        found.extend(kubelet.config_dir.iter().map(|file| file.path.value.clone()));
        files.extend(kubelet.kubeconfig.iter().map(|kubeconfig| kubeconfig.file.path.value.as_str()));
        files.extend(kubelet.bootstrap_kubeconfig.iter().map(|file| file.path.value.as_str()));
        files.extend(kubelet.client_ca_file.iter().map(|file| file.path.value.as_str()));
        files.push(&kubelet.resolv_conf.value);
        files.extend(kubelet.surroundings.resolver.iter().flat_map(|resolver| &resolver.upstream).map(String::as_str));
        found.insert(kubelet.cert_dir.value.clone());
        found.extend(kubelet.static_pod_path.iter().map(|path| path.value.clone()));
    }
    if let Some(certificates) = facts.certificates.known() {
        files.extend(certificates.places.iter().map(|place| place.path.as_str()));
    }
    if let Some(cni) = facts.cni.known() {
        found.insert(cni.conf_dir.value.clone());
        found.extend(cni.bin_dirs.iter().map(|dir| dir.value.clone()));
        files.extend(cni.runtime_files.iter().map(|file| file.path.as_str()));
        // Every pod that comes or goes changes it: only where the next one may get no address.
        found.extend(cni.pools.iter().filter(|pool| pool.is_scarce()).map(|pool| pool.directory.clone()));
    }
    found.extend(files.into_iter().filter_map(|file| Some(file.rsplit_once('/')?.0.to_owned())));
    found.into_iter().filter(|dir| dir.starts_with('/')).collect()
}

impl FilesWatch {
    /// Watches `directories`, below the host's root. Of one that does not exist, its nearest ancestor, to see it made.
    ///
    /// # Errors
    /// If the kernel gives no inotify instance (`fs.inotify.max_user_instances`).
    pub fn new(host: &Host, directories: &BTreeSet<String>) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let ours = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let ancestor = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        for directory in directories {
            let mut path = directory.as_str();
            let mut flags = ours;
            // One that cannot be watched (no permission, no more watches) is seen by the resync.
            while let Err(missing) = watch(&inotify, host, path, flags) {
                if !missing || path.is_empty() {
                    break;
                }
                path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                flags = ancestor;
            }
        }
        #[expect(deprecated, reason = "its successor is unsafe; `Watched` owns its descriptor for as long as it lives, which is what that asks for")]
        AsyncFd::new(Watched(inotify)).map(|watch| Self(Some(watch)))
    }

    /// Returns once something has changed.
    pub async fn changed(&self) {
        loop {
            let Some(watch) = &self.0 else { return std::future::pending().await };
            let Ok(mut ready) = watch.readable().await else { return std::future::pending().await };
            match ready.get_inner().0.read_events() {
                Ok(events) if !events.is_empty() => return,
                _ => ready.clear_ready(),
            }
        }
    }
}

/// The kernel lets go of an instance only after a grace period, 15 ms as measured (`fs/notify/mark.c`, `synchronize_srcu`): another
/// thread waits for it.
impl Drop for FilesWatch {
    fn drop(&mut self) {
        let Some(inotify) = self.0.take().map(AsyncFd::into_inner) else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(inotify));
        }
    }
}

/// As [`FilesWatch::changed`]; never, where there is no watch.
pub async fn changed(watch: Option<&FilesWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Wakes when swap is switched on or off: the kernel tells whoever polls `/proc/swaps` (mm/swapfile.c `swaps_poll`: POLLPRI).
#[derive(Debug)]
pub struct SwapsWatch(AsyncFd<OwnedFd>);

impl SwapsWatch {
    /// # Errors
    /// If there is no such file, or it cannot be polled.
    pub fn new(host: &Host) -> io::Result<Self> {
        let swaps = host.open_at("/proc/swaps", OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        #[expect(deprecated, reason = "its successor is unsafe; an `OwnedFd` stays open for as long as it lives, which is what that asks for")]
        AsyncFd::with_interest(swaps, Interest::PRIORITY).map(Self)
    }

    /// Returns once swap has changed since this was made, or was asked last.
    pub async fn changed(&self) {
        match self.0.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// `Err(true)` if there is no such directory.
fn watch(inotify: &Inotify, host: &Host, path: &str, flags: AddWatchFlags) -> Result<(), bool> {
    let fd = host.open_at(path, OFlag::O_PATH | OFlag::O_DIRECTORY).map_err(|errno| matches!(errno, nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR))?;
    // By descriptor: the path is the node's, and resolved inside its root.
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    // Two names of one directory share a watch: the second adds to what the first asked for (inotify(7), IN_MASK_ADD).
    let flags = flags | AddWatchFlags::from_bits_retain(nix::libc::IN_MASK_ADD);
    inotify.add_watch(path.as_str(), flags).map(drop).map_err(|_| false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    use tokio::time::timeout;

    async fn wakes(watch: &FilesWatch) -> bool {
        timeout(Duration::from_secs(10), watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn it_wakes_for_files_replaced_links_moved_and_directories_made() {
        let root = std::env::temp_dir().join(format!("nodetriage-watch-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("etc/cni/net.d")).unwrap();
        fs::create_dir_all(root.join("var/lib")).unwrap();
        let host = Host::open(&root).unwrap();
        let directories = ["/etc/cni/net.d", "/var/lib/kubelet/pki"].map(str::to_owned).into();
        let watch = || FilesWatch::new(&host, &directories).unwrap();

        let now = watch();
        fs::write(root.join("etc/cni/net.d/10-a.conf"), "{}").unwrap();
        assert!(wakes(&now).await, "a file was written");
        let now = watch();
        std::os::unix::fs::symlink("nowhere", root.join("etc/cni/net.d/new")).unwrap();
        fs::rename(root.join("etc/cni/net.d/new"), root.join("etc/cni/net.d/current")).unwrap();
        assert!(wakes(&now).await, "a link was moved into place");
        let now = watch();
        fs::create_dir(root.join("var/lib/kubelet")).unwrap();
        assert!(wakes(&now).await, "a missing directory's parent was made");
        fs::create_dir(root.join("etc/cni/net.new")).unwrap();
        let now = watch();
        fs::rename(root.join("etc/cni/net.d"), root.join("etc/cni/net.old")).unwrap();
        fs::rename(root.join("etc/cni/net.new"), root.join("etc/cni/net.d")).unwrap();
        assert!(wakes(&now).await, "the whole directory was replaced");
        let now = watch();
        fs::remove_dir_all(root.join("etc/cni/net.d")).unwrap();
        assert!(wakes(&now).await, "the directory was removed");
        fs::remove_dir_all(&root).unwrap();
    }
}
