//! Certificates out of a file's bytes, as the programs of Kubernetes read them (Go's `encoding/pem`, client-go `util/cert`).

use base64::Engine as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

/// Certificates judged in one file; a bundle of all public CAs has about 150.
pub(super) const MOST: usize = 1000;
const BEGIN: &str = "-----BEGIN ";

/// Certificates in DER, as they stand in a file; one more than [`MOST`] where there are too many.
pub(crate) type Ders = Vec<Vec<u8>>;

/// The certificates of a file: PEM with any text around its blocks, as the programs of Kubernetes take nothing else. Other blocks are
/// passed over without being decoded: a private key in the same file is not looked at.
///
/// # Errors
/// Why a program would not take the file: what is wrong, and in which block.
pub(crate) fn parse(bytes: &[u8]) -> Result<Ders, String> {
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    let text = text(bytes);
    let mut ders = Vec::new();
    let mut fault = None;
    let mut others: Vec<String> = Vec::new();
    for (index, block) in blocks(&text).enumerate() {
        let number = index + 1;
        match block {
            Block::Broken => fault = fault.or_else(|| Some(format!("PEM block {number} is broken off: it has no END line"))),
            Block::Whole { label: "CERTIFICATE", body } => match decode(body) {
                Ok(der) => ders.push(der),
                Err(why) if ders.is_empty() => return Err(format!("PEM block {number} {why}")),
                // The first certificate is the one presented; a damaged one after it decides nothing.
                Err(_) => {}
            },
            Block::Whole { label, .. } if others.len() < 3 => others.push(label.chars().take(40).collect()),
            Block::Whole { .. } => {}
        }
        if ders.len() > MOST {
            break;
        }
    }
    match (ders.is_empty(), fault) {
        (false, _) => Ok(ders),
        (true, Some(fault)) => Err(fault),
        (true, None) if is_der(bytes) => Err("it is in DER, where PEM is needed: openssl x509 -inform der".to_owned()),
        (true, None) if others.is_empty() => Err("there is no PEM block in it".to_owned()),
        (true, None) => Err(format!("there is no PEM block CERTIFICATE in it, only {}", others.join(", "))),
    }
}

/// As [`parse`]; a file of unknown use may be in DER, too.
///
/// # Errors
/// As [`parse`].
pub(super) fn parse_any(bytes: &[u8]) -> Result<Ders, String> {
    if is_der(bytes) { Ok(vec![bytes.to_vec()]) } else { parse(bytes) }
}

fn is_der(bytes: &[u8]) -> bool {
    X509Certificate::from_der(bytes).is_ok()
}

/// The first private key of a file in DER; wiped when it is dropped.
///
/// # Errors
/// Why there is none that a program could use.
pub(super) fn private_key(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let text = text(bytes);
    let is_key = |label: &str| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY");
    let key = blocks(&text).find_map(|block| match block {
        Block::Whole { label, body } if is_key(label) => Some((label, body)),
        _ => None,
    });
    match key {
        Some(("ENCRYPTED PRIVATE KEY", _)) => Err("it is encrypted, and nobody is there to give the passphrase".to_owned()),
        Some((_, body)) => secret(body).ok_or_else(|| "its private key is not base64".to_owned()),
        None => Err("there is no whole PEM block PRIVATE KEY in it".to_owned()),
    }
}

/// The file as text. Wiped when it is dropped: there may be a key in it.
fn text(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(String::from_utf8_lossy(bytes).into_owned())
}

/// What base64 says, with any blanks in it, in one buffer of the right size and one that is wiped: one that grows leaves copies behind.
pub(super) fn secret(base64: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut digits = Zeroizing::new(String::with_capacity(base64.len()));
    digits.extend(base64.split_whitespace());
    base64::engine::general_purpose::STANDARD.decode(digits.as_bytes()).map(Zeroizing::new).ok()
}

/// A certificate's DER; the words after "PEM block 1" otherwise.
fn decode(body: &str) -> Result<Vec<u8>, String> {
    let digits: String = body.split_whitespace().collect();
    let der = base64::engine::general_purpose::STANDARD.decode(digits).map_err(|error| format!("is not base64: {error}"))?;
    X509Certificate::from_der(&der).map_err(|error| format!("is no X.509 certificate: {error}"))?;
    Ok(der)
}

enum Block<'a> {
    Whole {
        label: &'a str,
        /// Between the BEGIN and the END line.
        body: &'a str,
    },
    Broken,
}

/// The PEM blocks of a text. One that is broken off does not swallow the next (as in Go). Linear in the text.
fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (label, after) = next_begin(rest)?;
        let until = begin_at(after).unwrap_or(after.len());
        let own = after.get(..until).unwrap_or_default();
        rest = after.get(until..).unwrap_or_default();
        Some(own.find(&format!("-----END {label}-----")).map_or(Block::Broken, |stop| Block::Whole { label, body: own.get(..stop).unwrap_or_default() }))
    })
}

/// The label of the next BEGIN line, and what follows that line.
fn next_begin(text: &str) -> Option<(&str, &str)> {
    let mut text = text;
    loop {
        let after = text.get(begin_at(text)? + BEGIN.len()..)?;
        let line = after.lines().next().unwrap_or_default();
        match line.trim_end().strip_suffix("-----") {
            Some(label) => return Some((label, after.get(line.len()..)?)),
            None => text = after.get(line.len()..)?,
        }
    }
}

/// Where a line begins with `-----BEGIN `.
fn begin_at(text: &str) -> Option<usize> {
    text.match_indices(BEGIN).map(|(at, _)| at).find(|at| *at == 0 || text.as_bytes().get(at - 1) == Some(&b'\n'))
}
