//! Kubeconfigs as client-go resolves them, with the place of every value. YAML or JSON.
//!
//! For every observer that reads a kubeconfig: [`load`] the file, [`current_context`] to resolve it, and
//! [`Node::find`](super::yaml::Node::find) on the cluster and user it returns: every value knows its line and column.
//! A loaded kubeconfig holds credentials: what is kept of it must be picked value by value, and the rest is wiped with it.

use std::ops::Deref;

use zeroize::Zeroizing;

use super::host::{Host, ReadError};
use super::yaml::{self, Node};
use crate::facts::kubelet::{Fault, File, FileState, Kubeconfig, endpoint};
use crate::facts::{Blind, Sourced};

const LIMIT: u64 = 4 << 20;

/// The current context, resolved.
pub(super) struct Context<'a> {
    pub cluster_name: String,
    pub cluster: &'a Node,
    pub user_name: String,
    pub user: &'a Node,
}

/// A kubeconfig with the credentials in it, which are wiped when it is dropped.
pub(super) struct Loaded(Node);

impl Deref for Loaded {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.0
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

/// Reads and parses a kubeconfig.
///
/// # Errors
/// Missing, unreadable, or no YAML with its line and column.
pub(super) fn load(host: &Host, path: &str) -> Result<Loaded, FileState> {
    let bytes = Zeroizing::new(host.read(path, LIMIT).map_err(state_of)?);
    let invalid = |fault: Fault| FileState::Invalid(vec![fault]);
    let loaded = Loaded(yaml::parse(&bytes, path).map_err(invalid)?.ok_or_else(|| invalid(Fault::new("the file is empty")))?);
    match &loaded.tree {
        yaml::Tree::Map(_) => Ok(loaded),
        _ => Err(invalid(loaded.at.fault(format!("{}, where a kubeconfig is expected", *loaded)))),
    }
}

/// What a failed read says of the file.
pub(super) fn state_of(error: ReadError) -> FileState {
    match error {
        ReadError::Missing => FileState::Missing,
        ReadError::Blind(blind) => FileState::Unreadable(blind),
        other => FileState::Invalid(vec![Fault::new(other.to_string())]),
    }
}

/// Follows current-context → context → cluster and user (client-go `tools/clientcmd`).
///
/// # Errors
/// The place where the chain breaks.
pub(super) fn current_context(config: &Node) -> Result<Context<'_>, Fault> {
    let wanted = config.find(&["current-context"]).ok_or_else(|| config.at.fault("no current-context"))?;
    let name = wanted.text().ok_or_else(|| wanted.at.fault(format!("current-context is {wanted}, where a name is expected")))?;
    let context = named(config, "contexts", name, "context").ok_or_else(|| wanted.at.fault(format!("current-context {name:?} is not in contexts")))?;
    let follow = |key: &str, list: &str| {
        let reference = context.find(&[key]).ok_or_else(|| context.at.fault(format!("the context {name:?} names no {key}")))?;
        let target = reference.text().unwrap_or_default();
        let found = named(config, list, target, key).ok_or_else(|| reference.at.fault(format!("the context's {key} {target:?} is not in {list}")))?;
        Ok((target.to_owned(), found))
    };
    let (cluster_name, cluster) = follow("cluster", "clusters")?;
    let (user_name, user) = follow("user", "users")?;
    Ok(Context { cluster_name, cluster, user_name, user })
}

/// The `inner` of the entry called `name` in a kubeconfig's list.
fn named<'a>(config: &'a Node, list: &str, name: &str, inner: &str) -> Option<&'a Node> {
    config.get(list)?.items().iter().find(|entry| entry.get("name").and_then(Node::text) == Some(name))?.get(inner)
}

/// A path in a kubeconfig; a relative one is relative to the kubeconfig.
pub(super) fn beside(kubeconfig: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", kubeconfig.rsplit_once('/').map_or("", |(dir, _)| dir)) }
}

/// What the kubelet would make of a kubeconfig.
pub(super) fn observe(host: &Host, path: Sourced<String>) -> Kubeconfig {
    let mut found = Kubeconfig { file: File { path, state: FileState::Valid }, server: None, user: None, client_certificate: None };
    let path = found.file.path.value.clone();
    match load(host, &path) {
        Err(state) => found.file.state = state,
        Ok(config) => {
            if let Err(state) = resolve(host, &path, &config, &mut found) {
                found.file.state = state;
            }
        }
    }
    found
}

fn resolve(host: &Host, path: &str, config: &Node, found: &mut Kubeconfig) -> Result<(), FileState> {
    let invalid = |fault: Fault| FileState::Invalid(vec![fault]);
    let context = current_context(config).map_err(invalid)?;
    found.user = Some(context.user_name.clone());
    let file = |node: &Node| node.text().filter(|file| !file.is_empty()).map(|file| beside(path, file));
    found.client_certificate = match (context.user.find(&["client-certificate-data"]), context.user.find(&["client-certificate"])) {
        (Some(data), _) => Some(data.sourced("inline".to_owned())),
        (None, Some(named)) => file(named).map(|file| named.sourced(file)),
        _ => None,
    };
    let server = context.cluster.find(&["server"]).ok_or_else(|| invalid(context.cluster.at.fault("the cluster has no server")))?;
    let url = server.text().unwrap_or_default();
    endpoint(url).map_err(|why| invalid(server.at.fault(format!("server {server} is no address of an API server: {why}"))))?;
    found.server = Some(server.sourced(url.to_owned()));
    // Inline data is preferred over a file (clientcmd/api: "overrides"), so the file does not matter then.
    let files = [(context.cluster, "certificate-authority"), (context.user, "client-certificate"), (context.user, "client-key"), (context.user, "tokenFile")];
    for (entry, key) in files.into_iter().filter(|(entry, key)| entry.find(&[&format!("{key}-data")]).is_none()) {
        let Some((node, file)) = entry.find(&[key]).and_then(|node| Some((node, file(node)?))) else { continue };
        match host.exists(&file) {
            Ok(true) => {}
            Ok(false) => return Err(invalid(node.at.fault(format!("{key} {file} does not exist")))),
            Err(blind) => return Err(FileState::Unreadable(blind_about(path, blind))),
        }
    }
    Ok(())
}

fn blind_about(path: &str, blind: Blind) -> Blind {
    Blind { reason: format!("a file that {path} names cannot be seen: {}", blind.reason), grant: blind.grant }
}
