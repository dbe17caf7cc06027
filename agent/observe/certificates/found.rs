//! The places found so far, each read, parsed, checked against its CA, and compared with its key.

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;
use zeroize::Zeroizing;

use super::key::{self, KeyAt};
use super::kubeconfig::Held;
use super::pem::{self, Ders, MOST};
use super::trust::{self, Authority};
use crate::facts::certificates::{Certificate, Place, PlaceState, Role};
use crate::facts::{Blind, Sourced, Timestamp};
use crate::observe::host::{Host, ReadError};

const LIMIT: u64 = 4 << 20;
/// Places listed, whatever the configured globs match.
const MOST_PLACES: usize = 2000;
/// Longest name kept of a subject, in characters.
const LONGEST_NAME: usize = 256;

/// A file to look at.
pub(super) struct Wanted<'a> {
    pub path: &'a str,
    pub role: Role,
    pub authority: Option<&'a Authority>,
    pub named_by: Option<String>,
    pub in_use: bool,
    /// It was named to a program; else it lies on some nodes only, and is not listed where it does not.
    pub must_exist: bool,
    pub key: KeyAt,
    pub called: Vec<Sourced<String>>,
}

impl<'a> Wanted<'a> {
    pub fn new(path: &'a str, role: Role, authority: Option<&'a Authority>) -> Self {
        Self { path, role, authority, named_by: None, in_use: true, must_exist: false, key: KeyAt::Nowhere, called: Vec::new() }
    }
}

pub(super) struct Found<'a> {
    pub host: &'a Host,
    pub places: Vec<Place>,
}

impl Found<'_> {
    fn add(&mut self, place: Place) {
        let key = |place: &Place| place.entry.as_ref().map(|entry| entry.key.clone());
        let listed = self.places.iter().any(|other| other.path == place.path && key(other) == key(&place));
        if !listed && self.places.len() < MOST_PLACES {
            self.places.push(place);
        }
    }

    pub fn file(&mut self, wanted: Wanted) {
        let place = self.look(wanted.path, wanted.role, wanted.authority, &wanted.key);
        if wanted.must_exist || place.state != PlaceState::Missing {
            self.add(Place { named_by: wanted.named_by, in_use: wanted.in_use, called: wanted.called, ..place });
        }
    }

    /// The client certificate or the CA that a kubeconfig holds, or the file it names.
    pub fn held(&mut self, kubeconfig: &str, held: Option<&Held>, key: &KeyAt, wanted: Wanted) {
        match held {
            Some(Held::Inline(entry, ders)) => {
                let state = ders.as_ref().map_or_else(|why| PlaceState::Invalid(why.clone()), |ders| judge(ders, wanted.role, wanted.authority));
                let key = ders.as_ref().ok().and_then(|ders| key::look(self.host, key, kubeconfig, ders.first()?));
                self.add(Place { entry: Some(entry.clone()), key, in_use: wanted.in_use, named_by: wanted.named_by, ..place(kubeconfig, wanted.role, state) });
            }
            Some(Held::File { path, named_by }) => self.file(Wanted { path, named_by: Some(named_by.clone()), key: key.clone(), ..wanted }),
            None => {}
        }
    }

    /// A path of the configuration; its last component may have one `*`. What a glob matches need not be a certificate, unless its
    /// name says that it is.
    pub fn configured(&mut self, pattern: &str) {
        let Some((dir, (before, after))) = pattern.rsplit_once('/').and_then(|(dir, name)| Some((dir, name.split_once('*')?))) else {
            return self.file(Wanted::new(pattern, Role::Other, None));
        };
        let names = self.host.list(if dir.is_empty() { "/" } else { dir }).ok().flatten().unwrap_or_default();
        for name in names.iter().filter(|name| name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)) {
            let says_so = [".crt", ".pem", ".cer", ".cert"].iter().any(|end| name.ends_with(end));
            let place = self.look(&format!("{dir}/{name}"), Role::Other, None, &KeyAt::Nowhere);
            if says_so || !matches!(place.state, PlaceState::Invalid(_) | PlaceState::Missing) {
                self.add(place);
            }
        }
    }

    fn look(&self, path: &str, role: Role, authority: Option<&Authority>, key: &KeyAt) -> Place {
        let parse = if role == Role::Other { pem::parse_any } else { pem::parse };
        let ders = read(self.host, path, parse);
        let key = ders.as_ref().ok().and_then(|ders| key::look(self.host, key, path, ders.first()?));
        let state = ders.map_or_else(|state| state, |ders| judge(&ders, role, authority));
        Place { target: self.host.link(path), key, ..place(path, role, state) }
    }
}

pub(super) fn place(path: &str, role: Role, state: PlaceState) -> Place {
    Place { path: path.to_owned(), target: None, entry: None, named_by: None, role, in_use: true, state, key: None, called: Vec::new() }
}

/// The certificates of a file, or what lies there instead.
pub(super) fn read(host: &Host, path: &str, parse: fn(&[u8]) -> Result<Ders, String>) -> Result<Ders, PlaceState> {
    match host.read(path, LIMIT) {
        // There may be a key in it.
        Ok(bytes) => parse(&Zeroizing::new(bytes)).map_err(PlaceState::Invalid),
        Err(ReadError::Missing) => Err(PlaceState::Missing),
        Err(ReadError::Blind(blind)) => Err(PlaceState::Unreadable(blind)),
        Err(error) => Err(PlaceState::Invalid(format!("it {error}"))),
    }
}

fn judge(ders: &Ders, role: Role, authority: Option<&Authority>) -> PlaceState {
    if ders.len() > MOST {
        return PlaceState::Unreadable(Blind::new(format!("a file of more than {MOST} certificates is not judged")));
    }
    let parsed: Vec<_> = ders.iter().filter_map(|der| X509Certificate::from_der(der).ok()).map(|(_, certificate)| certificate).collect();
    let mut certificates: Vec<_> = parsed.iter().filter_map(fact).collect();
    match (certificates.first_mut(), parsed.first()) {
        (Some(first), Some(leaf)) if !role.is_ca() => {
            first.trust = authority.map(|authority| trust::trust(leaf, parsed.get(1..).unwrap_or_default(), authority));
        }
        (Some(_), _) => {}
        (None, _) => return PlaceState::Invalid("its dates lie outside any calendar".to_owned()),
    }
    PlaceState::Certificates(certificates)
}

pub(super) fn fact(certificate: &X509Certificate) -> Option<Certificate> {
    Some(Certificate {
        common_name: name_of(certificate.subject()),
        organizations: certificate.subject().iter_organization().map(|value| words(value.as_slice())).collect(),
        issuer_common_name: name_of(certificate.issuer()),
        serial: certificate.raw_serial_as_string().replace(':', "").to_uppercase().chars().take(LONGEST_NAME).collect(),
        not_before: Timestamp::from_unix_seconds(certificate.validity().not_before.timestamp())?,
        not_after: Timestamp::from_unix_seconds(certificate.validity().not_after.timestamp())?,
        is_ca: certificate.is_ca(),
        usages: usages(certificate),
        names: names(certificate),
        trust: None,
    })
}

fn usages(certificate: &X509Certificate) -> Option<Vec<String>> {
    let usage = certificate.extended_key_usage().ok()??.value;
    let known = [(usage.any, "any"), (usage.client_auth, "clientAuth"), (usage.server_auth, "serverAuth")];
    let others = usage.other.iter().map(ToString::to_string);
    Some(known.into_iter().filter(|(is, _)| *is).map(|(_, name)| name.to_owned()).chain(others).take(Certificate::MOST_NAMES).collect())
}

fn names(certificate: &X509Certificate) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName| match name {
        GeneralName::DNSName(name) => Some(words(name.as_bytes())),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(IpAddr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|v6| IpAddr::from(v6).to_string()),
        },
        _ => None,
    };
    extension.value.general_names.iter().filter_map(text).take(Certificate::MOST_NAMES).collect()
}

/// The common name; of several the last, which is the user's name to the API server (Go `pkix.Name.FillFromRDNSequence`).
pub(super) fn name_of(name: &X509Name) -> String {
    name.iter_common_name().last().map_or_else(String::new, |cn| words(cn.as_slice()))
}

/// What a name says, on one line.
fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(LONGEST_NAME).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
