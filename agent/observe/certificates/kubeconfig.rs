//! The certificates that a kubeconfig holds or names, as its current context resolves them (client-go `clientcmd`).

use base64::Engine as _;
use serde_json::Value;

use super::pem::{self, Ders};
use super::trust::Authority;
use crate::facts::certificates::Entry;
use crate::observe::host::Host;
use crate::observe::kubelet::{beside, line_of, named, yaml};

const LIMIT: u64 = 4 << 20;

/// A kubeconfig that could be read. What is wrong with the file itself is the kubelet domain's business.
pub(super) struct Kubeconfig {
    path: String,
    text: String,
    value: Value,
}

/// A certificate inside, or the file that is named instead.
pub(super) enum Held {
    Inline(Entry, Result<Ders, String>),
    File { path: String, named_by: String },
}

impl Kubeconfig {
    pub fn read(host: &Host, path: &str) -> Option<Self> {
        let text = host.read_text(path, LIMIT).ok()?;
        let value = yaml(&text).ok()?;
        Some(Self { path: path.to_owned(), text, value })
    }

    /// The current user's client certificate. As in clientcmd, inline data win over a file.
    pub fn client(&self) -> Option<Held> {
        self.held("user", "users", "client-certificate")
    }

    /// The CA of the current cluster: it signs the API server's serving certificate.
    pub fn cluster_ca(&self) -> Option<Held> {
        self.held("cluster", "clusters", "certificate-authority")
    }

    /// What this kubeconfig trusts.
    pub fn authority(&self, host: &Host) -> Option<Authority> {
        match self.cluster_ca()? {
            Held::Inline(entry, ders) => Some(Authority { source: format!("{} of {}", entry.key, self.path), ders: ders.ok()?, stand_in: false }),
            Held::File { path, .. } => Authority::file(host, &path),
        }
    }

    fn held(&self, kind: &str, list: &str, key: &str) -> Option<Held> {
        let context = named(&self.value, "contexts", self.value.get("current-context")?.as_str()?, "context")?;
        let of = context.get(kind)?.as_str()?;
        let entry = named(&self.value, list, of, kind)?;
        let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|value| !value.is_empty());
        let inline = format!("{key}-data");
        if let Some(data) = text(&inline) {
            let entry = Entry { line: line_of(&self.text, &inline), key: inline, of: of.to_owned() };
            let digits: String = data.split_whitespace().collect();
            let ders = match base64::engine::general_purpose::STANDARD.decode(digits) {
                Ok(bytes) => pem::parse(&bytes),
                Err(error) => Err(format!("{} is not base64: {error}", entry.key)),
            };
            return Some(Held::Inline(entry, ders));
        }
        let path = beside(&self.path, text(key)?);
        Some(Held::File { path, named_by: format!("{}:{}", self.path, line_of(&self.text, key)) })
    }
}
