//! One TLS handshake with a server of this node, to see which certificates it presents. Nothing is asked of the server, and no client
//! certificate is given.
//!
//! The handshake is carried through and the connection closed as TLS wants it (`close_notify`, then both sides' end): a Go server
//! logs `TLS handshake error from …: EOF` for one that is cut off (`net/http` `conn.serve`), and nothing for this one. A server
//! that insists on a client certificate (etcd) logs one line, for it refuses this as it has to.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

/// Longest wait for the server's half of the farewell: what was to be seen has been seen.
const FAREWELL: Duration = Duration::from_millis(500);
/// Read at most after the handshake, where a server that was asked nothing has nothing to say but its session tickets.
const MOST_READ: u64 = 64 << 10;

/// What a server presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// In DER, in the order of the server: the first is its own. Never empty.
    pub chain: Vec<Vec<u8>>,
    /// What a client that trusts the given roots would say; `None` if none were given.
    pub verdict: Option<Verdict>,
}

/// What a client says to a server's certificate (RFC 5280, as rustls-webpki checks it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Trusted,
    /// No chain leads to a root, or a signature in it is wrong.
    UnknownIssuer,
    /// It is made out to other names.
    OtherName,
    Expired,
    NotYetValid,
    /// Anything else, in rustls' words: another purpose, an algorithm that it does not know.
    Refused(String),
}

/// Why no certificate was seen.
#[derive(Debug)]
pub enum Failure {
    /// There is no connection: refused, no route.
    Connect(io::Error),
    /// Nothing came within the deadline.
    TimedOut,
    /// What answers is no TLS server, or one that presented no certificate; in words.
    Handshake(String),
}

/// Shakes hands with the server at `address` as a client that calls it `name`, a host name or an address, and trusts `roots`
/// (certificates in DER). Whatever the verdict, the chain is told.
///
/// # Errors
/// If no certificate was presented within the deadline.
pub async fn handshake(address: SocketAddr, name: &str, roots: Option<&[Vec<u8>]>, deadline: Duration) -> Result<Served, Failure> {
    let until = Instant::now() + deadline;
    let witness = Arc::new(Witness::new(roots));
    let name = ServerName::try_from(name.to_owned()).map_err(|error| Failure::Handshake(format!("{name} is no server's name: {error}")))?;
    let connected = timeout_at(until, TcpStream::connect(address)).await.map_err(|_| Failure::TimedOut)?.map_err(Failure::Connect)?;
    let config = config(&witness).map_err(|error| Failure::Handshake(error.to_string()))?;
    let shaken = timeout_at(until, TlsConnector::from(Arc::new(config)).connect(name, connected)).await;
    let failed = match shaken {
        Ok(Ok(mut stream)) => {
            let _ = timeout_at(until.min(Instant::now() + FAREWELL), async {
                // The server's session tickets are read as well: a socket closed with unread bytes is reset, which would be logged.
                stream.shutdown().await?;
                tokio::io::copy(&mut stream.take(MOST_READ), &mut tokio::io::sink()).await
            })
            .await;
            Failure::Handshake("no certificate was presented".to_owned())
        }
        Ok(Err(error)) => Failure::Handshake(error.to_string()),
        Err(_) => Failure::TimedOut,
    };
    // One that breaks off after it has shown its certificate (it wants one of ours) has been seen all the same.
    witness.seen().take().ok_or(failed)
}

fn config(witness: &Arc<Witness>) -> Result<ClientConfig, Error> {
    let verifier: Arc<dyn ServerCertVerifier> = Arc::clone(witness) as _;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&witness.provider)).with_safe_default_protocol_versions()?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Keeps what the server presents and what is to be said of it, and lets the handshake go on in any case.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    /// Roots were given.
    judges: bool,
    /// `None` without a usable root; then nothing is trusted.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    seen: Mutex<Option<Served>>,
}

impl Witness {
    fn new(roots: Option<&[Vec<u8>]>) -> Self {
        let provider = Arc::new(ring::default_provider());
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.unwrap_or_default().iter().map(|der| CertificateDer::from(der.as_slice())));
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider)).build().ok();
        Self { provider, judges: roots.is_some(), verifier, seen: Mutex::new(None) }
    }

    fn seen(&self) -> MutexGuard<'_, Option<Served>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server that cannot show that the key is its own is not trusted.
    fn signed(&self, verified: Result<HandshakeSignatureValid, Error>) -> HandshakeSignatureValid {
        if let Err(error) = verified
            && let Some(Served { verdict: Some(verdict @ Verdict::Trusted), .. }) = self.seen().as_mut()
        {
            *verdict = Verdict::Refused(error.to_string());
        }
        HandshakeSignatureValid::assertion()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.judges.then(|| match &self.verifier {
            Some(verifier) => verdict(verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now)),
            None => Verdict::UnknownIssuer,
        });
        let chain = std::iter::once(end_entity).chain(intermediates).map(|der| der.to_vec()).collect();
        *self.seen() = Some(Served { chain, verdict });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        Ok(self.signed(verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)))
    }

    fn verify_tls13_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        Ok(self.signed(verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)))
    }

    /// With those that cannot be checked here: a server that has no other would end the handshake before it shows its certificate.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.provider.signature_verification_algorithms.supported_schemes();
        schemes.push(SignatureScheme::ECDSA_NISTP521_SHA512);
        schemes
    }
}

fn verdict(verified: Result<ServerCertVerified, Error>) -> Verdict {
    use CertificateError as Said;
    match verified {
        Ok(_) => Verdict::Trusted,
        Err(Error::InvalidCertificate(Said::Expired | Said::ExpiredContext { .. })) => Verdict::Expired,
        Err(Error::InvalidCertificate(Said::NotValidYet | Said::NotValidYetContext { .. })) => Verdict::NotYetValid,
        Err(Error::InvalidCertificate(Said::NotValidForName | Said::NotValidForNameContext { .. })) => Verdict::OtherName,
        Err(Error::InvalidCertificate(Said::UnknownIssuer | Said::BadSignature)) => Verdict::UnknownIssuer,
        Err(error) => Verdict::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::{Child, ChildStdout, Command, Stdio};

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm};
    use time::{Duration as Span, OffsetDateTime};

    const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/certificates/serve.py");
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A TLS server of Python's `ssl` (OpenSSL) that tells of every connection how it ended.
    struct Server {
        process: Child,
        says: BufReader<ChildStdout>,
        address: SocketAddr,
        dir: std::path::PathBuf,
    }

    impl Server {
        fn start(pem: &str, options: &[&str]) -> Self {
            use std::sync::atomic::{AtomicU32, Ordering};
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let dir = std::env::temp_dir().join(format!("nodetriage-tls-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
            std::fs::create_dir_all(&dir).unwrap();
            let file = dir.join("server.pem");
            std::fs::write(&file, pem).unwrap();
            let mut process = Command::new("python3").arg(SERVER).arg(file).args(options).stdout(Stdio::piped()).spawn().expect("python3 is here");
            let mut says = BufReader::new(process.stdout.take().unwrap());
            let mut port = String::new();
            says.read_line(&mut port).unwrap();
            let address = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap()));
            Self { process, says, address, dir }
        }

        fn next_line(&mut self) -> String {
            let mut line = String::new();
            self.says.read_line(&mut line).unwrap();
            line.trim().to_owned()
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    struct Ca(Issuer<'static, KeyPair>, Vec<u8>);

    fn ca() -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Ca(Issuer::new(params, key), der)
    }

    /// Certificate and key in PEM, and the certificate in DER.
    fn leaf(ca: &Ca, algorithm: &'static SignatureAlgorithm, days: std::ops::Range<i64>) -> (String, Vec<u8>) {
        let mut params = CertificateParams::new(vec!["node1".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_before = OffsetDateTime::now_utc() + Span::days(days.start);
        params.not_after = OffsetDateTime::now_utc() + Span::days(days.end);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &ca.0).unwrap();
        (format!("{}{}", certificate.pem(), key.serialize_pem()), certificate.der().to_vec())
    }

    #[tokio::test]
    async fn whatever_is_served_is_seen_judged_and_parted_from_cleanly() {
        let (right, wrong) = (ca(), ca());
        let year = || -1..365;
        for (algorithm, days, name, root, options, expected) in [
            (&PKCS_ECDSA_P256_SHA256, year(), "127.0.0.1", &right, &[][..], Verdict::Trusted),
            (&PKCS_ECDSA_P256_SHA256, year(), "node1", &right, &["tls12"][..], Verdict::Trusted),
            (&PKCS_ECDSA_P384_SHA384, year(), "node1", &right, &[][..], Verdict::Trusted),
            (&PKCS_ECDSA_P256_SHA256, year(), "node1", &wrong, &[][..], Verdict::UnknownIssuer),
            (&PKCS_ECDSA_P256_SHA256, year(), "node2", &right, &[][..], Verdict::OtherName),
            (&PKCS_ECDSA_P256_SHA256, year(), "192.0.2.1", &right, &[][..], Verdict::OtherName),
            (&PKCS_ECDSA_P256_SHA256, -9..-2, "node1", &right, &[][..], Verdict::Expired),
            (&PKCS_ECDSA_P256_SHA256, 2..9, "node1", &right, &["tls12"][..], Verdict::NotYetValid),
        ] {
            let (pem, der) = leaf(&right, algorithm, days);
            let mut server = Server::start(&pem, options);
            let roots = [root.1.clone()];
            let served = handshake(server.address, name, Some(&roots), PATIENCE).await.unwrap();
            assert_eq!(served, Served { chain: vec![der], verdict: Some(expected) });
            assert_eq!(server.next_line(), "read b''", "nothing is sent, and the end is announced");
        }
    }

    #[tokio::test]
    async fn without_roots_there_is_no_verdict_and_with_none_usable_no_trust() {
        let ca = ca();
        let (pem, der) = leaf(&ca, &PKCS_ECDSA_P256_SHA256, -1..365);
        let server = Server::start(&pem, &[]);
        assert_eq!(handshake(server.address, "node1", None, PATIENCE).await.unwrap(), Served { chain: vec![der], verdict: None });
        for roots in [vec![], vec![b"no certificate".to_vec()]] {
            assert_eq!(handshake(server.address, "node1", Some(&roots), PATIENCE).await.unwrap().verdict, Some(Verdict::UnknownIssuer));
        }
    }

    #[tokio::test]
    async fn a_server_that_wants_a_client_certificate_is_seen_all_the_same() {
        let ca = ca();
        let (pem, der) = leaf(&ca, &PKCS_ECDSA_P256_SHA256, -1..365);
        for options in [&["client"][..], &["client", "tls12"]] {
            let mut server = Server::start(&pem, options);
            assert_eq!(handshake(server.address, "node1", None, PATIENCE).await.unwrap().chain, std::slice::from_ref(&der));
            assert!(server.next_line().contains("PEER_DID_NOT_RETURN_A_CERTIFICATE"));
        }
    }

    #[tokio::test]
    async fn what_is_no_tls_server_is_told_within_the_deadline() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        assert!(matches!(handshake(address, "node1", None, Duration::from_millis(100)).await, Err(Failure::TimedOut)));
        let http = std::thread::spawn(move || {
            // The first is the connection that timed out.
            for connection in silent.incoming().take(2).flatten() {
                let mut connection = connection;
                let _ = connection.read(&mut [0; 16]);
                let _ = io::Write::write_all(&mut connection, b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request");
            }
        });
        let failed = handshake(address, "node1", None, PATIENCE).await;
        assert!(matches!(&failed, Err(Failure::Handshake(why)) if !why.is_empty()), "{failed:?}");
        http.join().unwrap();
        assert!(matches!(handshake(address, "node1", None, PATIENCE).await, Err(Failure::Connect(_))));
        assert!(matches!(handshake(address, "no name!", None, PATIENCE).await, Err(Failure::Handshake(_))));
    }
}
