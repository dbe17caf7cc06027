//! The certificates that a kubeconfig holds or names, as its current context resolves them (client-go `clientcmd`).

use base64::Engine as _;
use zeroize::Zeroizing;

use super::key::KeyAt;
use super::pem::{self, Ders};
use super::trust::Authority;
use crate::facts::certificates::Entry;
use crate::observe::host::Host;
use crate::observe::kubeconfig::{beside, current_context, load};
use crate::observe::yaml::Node;

/// What is wrong with the file itself is the kubelet domain's business: then there is nothing here.
pub(super) struct Kubeconfig {
    pub client: Option<Held>,
    pub client_key: KeyAt,
    /// It signs the API server's serving certificate.
    pub cluster_ca: Option<Held>,
    path: String,
}

/// A certificate inside, or the file that is named instead.
pub(super) enum Held {
    Inline(Entry, Result<Ders, String>),
    File { path: String, named_by: String },
}

impl Kubeconfig {
    pub fn read(host: &Host, path: &str) -> Option<Self> {
        let config = load(host, path).ok()?;
        let context = current_context(&config).ok()?;
        Some(Self {
            client: held(path, context.user, &context.user_name, "client-certificate"),
            client_key: client_key(path, context.user),
            cluster_ca: held(path, context.cluster, &context.cluster_name, "certificate-authority"),
            path: path.to_owned(),
        })
    }

    /// What this kubeconfig trusts.
    pub fn authority(&self, host: &Host) -> Option<Authority> {
        match self.cluster_ca.as_ref()? {
            Held::Inline(entry, ders) => Some(Authority { source: format!("{} of {}", entry.key, self.path), ders: ders.clone().ok()?, stand_in: false }),
            Held::File { path, .. } => Authority::file(host, path),
        }
    }
}

fn client_key(path: &str, user: &Node) -> KeyAt {
    let given = |key: &str| user.find(&[key]).and_then(Node::text).filter(|text| !text.is_empty());
    match (given("client-key-data"), given("client-key")) {
        (Some(data), _) => KeyAt::Inline(path.to_owned(), Zeroizing::new(data.to_owned())),
        (None, Some(file)) => KeyAt::File(beside(path, file)),
        (None, None) => KeyAt::Nowhere,
    }
}

/// As in clientcmd, inline data win over a file.
fn held(path: &str, entry: &Node, of: &str, key: &str) -> Option<Held> {
    let given = |key: &str| entry.find(&[key]).filter(|node| node.text().is_some_and(|text| !text.is_empty()));
    let inline = format!("{key}-data");
    if let Some(node) = given(&inline) {
        let digits: String = node.text()?.split_whitespace().collect();
        let ders = match base64::engine::general_purpose::STANDARD.decode(digits) {
            Ok(bytes) => pem::parse(&bytes),
            Err(error) => Err(format!("{inline} is not base64: {error}")),
        };
        return Some(Held::Inline(Entry { key: inline, of: of.to_owned(), line: node.at.line }, ders));
    }
    let node = given(key)?;
    Some(Held::File { path: beside(path, node.text()?), named_by: node.at.to_string() })
}
