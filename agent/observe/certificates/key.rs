//! Whether a private key is a certificate's own, and who can read it. Only public halves are compared; what was read is wiped.

use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::ber::BerObject;
use x509_parser::der_parser::der::parse_der;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519, Oid};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use zeroize::Zeroizing;

use super::pem;
use crate::facts::certificates::{Key, KeyState};
use crate::facts::{Blind, Observed};
use crate::observe::host::{Host, ReadError};

const LIMIT: u64 = 1 << 20;

/// Where a certificate's private key is looked for.
#[derive(Clone, Debug)]
pub(super) enum KeyAt {
    /// It has none here.
    Nowhere,
    /// A file that somebody named.
    File(String),
    /// kubeadm's and the kubelet's habit: `ca.crt` and, if it is there, `ca.key`.
    Beside,
    /// The certificate's own file, as the kubelet's store keeps both.
    Same,
    /// Inside the kubeconfig at this path, base64.
    Inline(String, Zeroizing<String>),
}

/// What is known of the private key of the certificate at `certificate_path`.
pub(super) fn look(host: &Host, at: &KeyAt, certificate_path: &str, certificate: &[u8]) -> Option<Key> {
    let (path, optional) = match at {
        KeyAt::Nowhere => return None,
        KeyAt::File(path) => (path.clone(), false),
        KeyAt::Same => (certificate_path.to_owned(), false),
        KeyAt::Beside => (format!("{}.key", certificate_path.strip_suffix(".crt")?), true),
        KeyAt::Inline(path, _) => (path.clone(), false),
    };
    let bytes = match at {
        KeyAt::Inline(_, data) => pem::secret(data).ok_or_else(|| KeyState::Invalid("client-key-data is not base64".to_owned())),
        _ => host.read(&path, LIMIT).map(Zeroizing::new).map_err(|error| match error {
            ReadError::Missing => KeyState::Missing,
            ReadError::Blind(blind) => KeyState::Unreadable(blind),
            error => KeyState::Invalid(format!("it {error}")),
        }),
    };
    let state = match bytes {
        Ok(bytes) => state(host, &path, &bytes, certificate),
        Err(KeyState::Missing) if optional => return None,
        Err(state) => state,
    };
    Some(Key { path, state })
}

fn state(host: &Host, path: &str, bytes: &[u8], certificate: &[u8]) -> KeyState {
    let metadata = host.open_at(path, OFlag::O_PATH).and_then(|fd| fstat(&fd));
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(errno) => return KeyState::Unreadable(Blind::new(format!("{path}: {}", errno.desc()))),
    };
    match pem::private_key(bytes).and_then(|key| matches(&key, certificate)) {
        Ok(matches) => KeyState::Found { matches, mode: metadata.st_mode & 0o7777, gid: metadata.st_gid },
        Err(why) => KeyState::Invalid(why),
    }
}

/// Whether the public half of a key (PKCS#1, SEC 1 or PKCS#8) is the certificate's.
fn matches(key: &[u8], certificate: &[u8]) -> Result<Observed<bool>, String> {
    let damaged = || "its private key is damaged".to_owned();
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| damaged())?;
    let (_, object) = parse_der(key).map_err(|_| damaged())?;
    let items = object.as_sequence().map_err(|_| damaged())?;
    let (kind, inner) = match items.get(1..) {
        // PKCS#8: version, algorithm, key.
        Some([algorithm, key, ..]) if algorithm.as_sequence().is_ok() => {
            let algorithm = algorithm.as_sequence().map_err(|_| damaged())?;
            let oid = algorithm.first().and_then(|oid| oid.as_oid().ok()).ok_or_else(damaged)?;
            (oid.clone(), key.as_slice().map_err(|_| damaged())?)
        }
        // SEC 1: version, key, curve, public key.
        Some([number, ..]) if items.len() <= 4 && number.as_slice().is_ok() => (OID_KEY_TYPE_EC_PUBLIC_KEY, key),
        // PKCS#1: version, modulus, exponent, and six more.
        Some([_, _, ..]) => (OID_PKCS1_RSAENCRYPTION, key),
        _ => return Err(damaged()),
    };
    let spki = certificate.public_key();
    if kind != spki.algorithm.algorithm {
        return Ok(Observed::Known(false));
    }
    let public = &spki.subject_public_key.data;
    if kind == OID_PKCS1_RSAENCRYPTION {
        let Ok(PublicKey::RSA(certified)) = spki.parsed() else { return Err(damaged()) };
        return rsa(inner, certified.modulus, certified.exponent).map(Observed::Known).ok_or_else(damaged);
    }
    if kind == OID_SIG_ED25519 {
        let (_, seed) = parse_der(inner).map_err(|_| damaged())?;
        let seed = seed.as_slice().map_err(|_| damaged())?;
        return Ok(Observed::Known(belong_together(Kind::Ed25519, seed, public)));
    }
    let curve = spki.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
    if kind == OID_KEY_TYPE_EC_PUBLIC_KEY { ec(inner, curve.as_ref(), public).ok_or_else(damaged) } else { Ok(unknown(&kind)) }
}

fn unknown(kind: &Oid) -> Observed<bool> {
    Observed::Unknown(Blind::new(format!("a private key of the kind {kind} cannot be compared with its certificate")))
}

fn rsa(key: &[u8], modulus: &[u8], exponent: &[u8]) -> Option<bool> {
    let (_, object) = parse_der(key).ok()?;
    let number = |index: usize| object.as_sequence().ok()?.get(index)?.as_slice().ok();
    Some(significant(number(1)?) == significant(modulus) && significant(number(2)?) == significant(exponent))
}

fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn ec(key: &[u8], curve: Option<&Oid>, public: &[u8]) -> Option<Observed<bool>> {
    let (_, object) = parse_der(key).ok()?;
    let items: &[BerObject] = object.as_sequence().ok()?;
    let secret = items.get(1)?.as_slice().ok()?;
    let kind = match curve {
        Some(oid) if *oid == OID_EC_P256 => Kind::P256,
        Some(oid) if *oid == OID_NIST_EC_P384 => Kind::P384,
        _ => return Some(unknown(&OID_KEY_TYPE_EC_PUBLIC_KEY)),
    };
    Some(Observed::Known(belong_together(kind, secret, public)))
}

#[derive(Clone, Copy)]
enum Kind {
    P256,
    P384,
    Ed25519,
}

/// Private and public halves that everybody knows: 1 with the generator of the curve (FIPS 186-4 D.1.2), and a seed of zeros.
const KNOWN_P256: ([u8; 32], &str) =
    (one(), "046B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C2964FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5");
const KNOWN_P384: ([u8; 48], &str) = (
    one(),
    "04AA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB73617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F",
);
const KNOWN_ED25519: ([u8; 32], &str) = ([0; 32], "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29");

const fn one<const N: usize>() -> [u8; N] {
    let mut one = [0; N];
    if let Some(last) = one.last_mut() {
        *last = 1;
    }
    one
}

/// ring makes a key pair only of halves that belong together. It leaves what it works with on the stack; the same work with halves
/// that are no secret writes over it.
fn belong_together(kind: Kind, secret: &[u8], public: &[u8]) -> bool {
    let (known, its_public): (&[u8], _) = match kind {
        Kind::P256 => (&KNOWN_P256.0, KNOWN_P256.1),
        Kind::P384 => (&KNOWN_P384.0, KNOWN_P384.1),
        Kind::Ed25519 => (&KNOWN_ED25519.0, KNOWN_ED25519.1),
    };
    let its_public = hex(its_public);
    let they_do = make_pair(kind, secret, public);
    std::hint::black_box(make_pair(kind, known, &its_public));
    they_do
}

/// Never inlined, so that two calls in a row use the same stack.
#[inline(never)]
fn make_pair(kind: Kind, secret: &[u8], public: &[u8]) -> bool {
    let ecdsa = |algorithm| EcdsaKeyPair::from_private_key_and_public_key(algorithm, secret, public, &SystemRandom::new()).is_ok();
    match kind {
        Kind::P256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
        Kind::P384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
        Kind::Ed25519 => Ed25519KeyPair::from_seed_and_public_key(secret, public).is_ok(),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else ring stops half-way through them, and writes over less.
    #[test]
    fn the_halves_that_everybody_knows_belong_together() {
        for (kind, secret, public) in [
            (Kind::P256, &KNOWN_P256.0[..], KNOWN_P256.1),
            (Kind::P384, &KNOWN_P384.0[..], KNOWN_P384.1),
            (Kind::Ed25519, &KNOWN_ED25519.0[..], KNOWN_ED25519.1),
        ] {
            assert!(belong_together(kind, secret, &hex(public)));
            assert!(!belong_together(kind, secret, &hex(&public.replace('1', "2"))));
        }
    }
}
