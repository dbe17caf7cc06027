//! Any bytes as a file of certificates and keys, taken apart as the certificates' observer takes them.
#![no_main]
#![allow(clippy::disallowed_types)] // of the macro

use libfuzzer_sys::fuzz_target;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::der::parse_der;
use x509_parser::prelude::FromDer;

#[allow(dead_code)] // what the rest of the package uses of it
#[path = "../../../agent/observe/certificates/pem.rs"]
mod pem;

fuzz_target!(|bytes: &[u8]| {
    let parsed = pem::parse(bytes);
    if let Ok(ders) = &parsed {
        assert!(!ders.is_empty() && ders.len() <= pem::MOST + 1);
        let around = pem::parse(&[b"Certificate:\n    Data:\n", bytes].concat());
        assert_eq!(around.as_ref(), Ok(ders), "text before the first block changes nothing");
    }
    for der in pem::parse_any(bytes).iter().flatten() {
        let (_, certificate) = X509Certificate::from_der(der).expect("what was taken for a certificate is one");
        look(&certificate);
    }
    if let Ok(key) = pem::private_key(bytes) {
        let _ = parse_der(&key);
    }
});

/// Everything that is read of a certificate.
fn look(certificate: &X509Certificate) {
    let _ = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    let _ = (certificate.is_ca(), certificate.raw_serial_as_string(), certificate.public_key().parsed().is_ok());
    for name in [certificate.subject(), certificate.issuer()] {
        let _ = (name.iter_common_name().count(), name.iter_organization().count());
    }
    let _ = certificate.extended_key_usage().map(|usage| usage.map(|usage| usage.value.other.len()));
    let _ = certificate.subject_alternative_name().map(|names| names.map(|names| names.value.general_names.len()));
    let _ = certificate.verify_signature(None);
}
