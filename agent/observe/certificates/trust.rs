//! Whether the CA that must have issued a certificate really did: by its signature, never by a name alone.

use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::oid_registry::{
    OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA,
    OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, OID_SIG_ED25519, Oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::found::name_of;
use super::pem::{Ders, MOST};
use crate::facts::certificates::Trust;
use crate::facts::{Blind, Timestamp};
use crate::observe::host::Host;

/// The CA certificates that a program would check a certificate with, and where they were read.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    pub source: String,
    pub ders: Ders,
    /// See [`Trust::stand_in`].
    pub stand_in: bool,
}

impl Authority {
    /// The CA file at `path`, if it holds any certificate.
    pub fn file(host: &Host, path: &str) -> Option<Self> {
        Some(Self { source: path.to_owned(), ders: super::found::read(host, path, super::parse).ok()?, stand_in: false })
    }

    pub fn stand_in(mut self) -> Self {
        self.stand_in = true;
        self
    }

    /// Both are trusted: either may have issued it.
    pub fn or(self, other: Option<Self>) -> Self {
        let Some(other) = other.filter(|other| other.ders != self.ders) else { return self };
        Self {
            source: format!("{} and {}", self.source, other.source),
            ders: self.ders.into_iter().chain(other.ders).collect(),
            stand_in: self.stand_in && other.stand_in,
        }
    }
}

/// Goes from the leaf, through the intermediates in its own file, to one of the authority's certificates.
pub(super) fn trust(leaf: &X509Certificate, intermediates: &[X509Certificate], authority: &Authority) -> Trust {
    let authorities: Vec<_> = authority.ders.iter().filter_map(|der| X509Certificate::from_der(der).ok()).map(|(_, certificate)| certificate).collect();
    let mut current = leaf;
    let mut verified = Ok(None);
    for _ in 0..=intermediates.len() {
        verified = signed_by_any(current, &authorities);
        let next = intermediates.iter().find(|ca| named_as_issuer(ca, current) && matches!(signed_by(current, ca), Ok(true)));
        match (&verified, next) {
            (Ok(None), Some(ca)) => current = ca,
            _ => break,
        }
    }
    if authority.ders.len() > MOST {
        verified = Err(Blind::new(format!("{} holds more than {MOST} certificates", authority.source)));
    }
    let mut names: Vec<_> = authorities.iter().map(|ca| name_of(ca.subject())).collect();
    names.dedup();
    names.truncate(3);
    Trust {
        authority: format!("{} (CN={})", authority.source, names.join(", ")),
        stand_in: authority.stand_in,
        same_name: authorities.iter().any(|ca| name_of(ca.subject()) == name_of(current.issuer())),
        authority_not_after: verified.as_ref().ok().copied().flatten(),
        verified: verified.map(|signer| signer.is_some()).into(),
    }
}

/// Go compares the encoded names byte by byte (`crypto/x509` `findPotentialParents`), and so do the API server and the kubelet.
fn named_as_issuer(ca: &X509Certificate, certificate: &X509Certificate) -> bool {
    ca.subject().as_raw() == certificate.issuer().as_raw()
}

/// When the one ends that lasts longest of those that signed it; none of them did, if there is none.
fn signed_by_any(certificate: &X509Certificate, authorities: &[X509Certificate]) -> Result<Option<Timestamp>, Blind> {
    let mut signer: Option<Timestamp> = None;
    let mut unchecked = None;
    for ca in authorities.iter().filter(|ca| named_as_issuer(ca, certificate)) {
        match signed_by(certificate, ca) {
            Ok(true) => signer = signer.max(Timestamp::from_unix_seconds(ca.validity().not_after.timestamp())),
            Ok(false) => {}
            Err(blind) => unchecked = Some(blind),
        }
    }
    match (signer, unchecked) {
        (None, Some(blind)) => Err(blind),
        (signer, _) => Ok(signer),
    }
}

/// Blind for algorithms and key sizes that cannot be checked here.
fn signed_by(certificate: &X509Certificate, ca: &X509Certificate) -> Result<bool, Blind> {
    let by = &certificate.signature_algorithm.algorithm;
    let key = &ca.public_key().algorithm.algorithm;
    if let (Some(by), Some(key)) = (signature_family(by), key_family(key))
        && by != key
    {
        return Ok(false);
    }
    let blind = |what: String| Err(Blind::new(format!("whether CN={} signed CN={}: {what}", name_of(ca.subject()), name_of(certificate.subject()))));
    if let Ok(PublicKey::RSA(rsa)) = ca.public_key().parsed() {
        let bits = rsa.key_size();
        // ring checks no other sizes.
        if !(2048..=8192).contains(&bits) {
            return blind(format!("its RSA key of {bits} bits cannot be checked"));
        }
    }
    match certificate.verify_signature(Some(ca.public_key())) {
        Ok(()) => Ok(true),
        Err(X509Error::SignatureUnsupportedAlgorithm) => blind(format!("the signature algorithm {by} cannot be checked")),
        Err(_) => Ok(false),
    }
}

#[derive(PartialEq, Eq)]
enum Family {
    Rsa,
    Ec,
    Ed25519,
}

fn signature_family(oid: &Oid) -> Option<Family> {
    let is = |oids: &[Oid]| oids.contains(oid);
    if is(&[OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_PKCS1_RSASSAPSS]) {
        Some(Family::Rsa)
    } else if is(&[OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512]) {
        Some(Family::Ec)
    } else {
        (*oid == OID_SIG_ED25519).then_some(Family::Ed25519)
    }
}

fn key_family(oid: &Oid) -> Option<Family> {
    if *oid == OID_PKCS1_RSAENCRYPTION {
        Some(Family::Rsa)
    } else if *oid == OID_KEY_TYPE_EC_PUBLIC_KEY {
        Some(Family::Ec)
    } else {
        (*oid == OID_SIG_ED25519).then_some(Family::Ed25519)
    }
}
