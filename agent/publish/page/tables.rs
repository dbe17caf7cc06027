//! What the node has, below what is wrong with it: folded, for who looks further.

use std::fmt::Write as _;

use super::escape;
use crate::facts::certificates::{Certificate, Place};
use crate::facts::cni::{Binary, Cni, ConfFile, ConfState};
use crate::facts::timestamp::human_span;
use crate::facts::{Facts, Timestamp};

/// The certificates in use, those that end first before the others; and the CNI directory as the runtime sees it.
pub(super) fn render(out: &mut String, facts: &Facts) {
    let places = facts.certificates.known().into_iter().flat_map(|certificates| &certificates.places);
    let mut leaves: Vec<_> = places.filter(|place| place.in_use).filter_map(|place| Some((place, place.leaf()?))).collect();
    leaves.sort_by_key(|(_, leaf)| leaf.not_after);
    let rows = leaves.iter().map(|(place, leaf)| certificate(place, leaf, facts.certificates_at)).collect::<Vec<_>>();
    table(out, "certificates", &["ends", "file", "for", "name"], &rows);
    let rows = facts.cni.known().map(|cni| cni.files.iter().map(|file| conf(cni, file)).collect::<Vec<_>>()).unwrap_or_default();
    let title = facts.cni.known().map_or_else(String::new, |cni| format!("CNI configuration in {}, as the runtime reads it", cni.conf_dir.value));
    table(out, &title, &["file", "what the runtime does with it", "what it is", "plugins"], &rows);
}

fn table<const N: usize>(out: &mut String, title: &str, head: &[&str; N], rows: &[[String; N]]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, "<section>\n<details>\n<summary>{} ({})</summary>\n<table>\n<tr>", escape(title), rows.len());
    for cell in head {
        let _ = write!(out, "<th>{cell}</th>");
    }
    for row in rows {
        out.push_str("</tr>\n<tr>");
        for cell in row {
            let _ = write!(out, "<td>{}</td>", escape(cell));
        }
    }
    out.push_str("</tr>\n</table>\n</details>\n</section>\n");
}

fn certificate(place: &Place, leaf: &Certificate, now: Timestamp) -> [String; 4] {
    let left = leaf.not_after.seconds_since(now);
    let ends = if left < 0 { format!("{} ago", human_span(-left)) } else { format!("in {}", human_span(left)) };
    let file = match &place.entry {
        Some(entry) => format!("{}:{}", place.path, entry.line),
        None => place.path.clone(),
    };
    [format!("{ends}, {}", leaf.not_after.human()), file, place.role.name().to_owned(), leaf.common_name.clone()]
}

fn conf(cni: &Cni, file: &ConfFile) -> [String; 4] {
    let (what, plugins) = match &file.state {
        ConfState::Network(network) => {
            let kinds = network.plugins.iter().flat_map(|plugin| [Some(&plugin.kind), plugin.ipam.as_ref()]).flatten();
            let binary = |kind: &String| match cni.binaries.get(kind) {
                Some(Binary::Found(path)) => path.clone(),
                Some(Binary::NotExecutable(path)) => format!("{path} (cannot be run)"),
                Some(Binary::Elsewhere(path)) => format!("{kind} (only in {path})"),
                Some(Binary::Missing) => format!("{kind} (missing)"),
                Some(Binary::Unreadable(_)) | None => kind.clone(),
            };
            (format!("{} ({})", network.name, network.provider), kinds.map(binary).collect::<Vec<_>>().join(", "))
        }
        // Its standing says what is wrong.
        ConfState::Invalid(_) | ConfState::OtherExtension | ConfState::Unreadable(_) => (String::new(), String::new()),
    };
    [file.name.clone(), file.standing.clone(), what, plugins]
}
