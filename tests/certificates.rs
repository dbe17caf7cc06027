//! Certificates in every form that a node may hold them in, and what is made of them: found, parsed, checked against a CA, judged.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nodetriage::config::Config;
use nodetriage::diagnose::{Report, diagnose};
use nodetriage::facts::certificates::{Certificate, KeyState, Place, PlaceState, Role};
use nodetriage::facts::{Blind, Certificates, Facts, Node, Observed, Sourced, Timestamp};
use nodetriage::observe::host::Host;
use nodetriage::observe::{certificates, kubelet};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, SignatureAlgorithm,
};
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

const CURRENT: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
const NOW: &str = "2026-12-01T03:12:44Z";
const DAY: i64 = 86_400;

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW.parse::<Timestamp>().unwrap().unix_seconds()).unwrap()
}

/// A worker node's disk: its kubelet.conf names [`CURRENT`], its clientCAFile is pki/ca.crt.
struct Disk(PathBuf);

impl Disk {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("certificates-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let _ = fs::remove_dir_all(&dir);
        let disk = Self(dir);
        disk.write(
            "/var/lib/kubelet/config.yaml",
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nrotateCertificates: true\nauthentication: {x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}\n",
        );
        disk.kubeconfig(&format!("client-certificate: {CURRENT}, client-key: {CURRENT}"), "");
        disk
    }

    fn kubeconfig(&self, user: &str, cluster: &str) {
        self.kubeconfig_at("/etc/kubernetes/kubelet.conf", user, cluster);
    }

    fn kubeconfig_at(&self, path: &str, user: &str, cluster: &str) {
        self.write(
            path,
            format!(
                "apiVersion: v1\nkind: Config\nclusters:\n- {{name: c, cluster: {{server: 'https://192.0.2.1:6443'{cluster}}}}}\ncontexts:\n- {{name: x, context: {{cluster: c, user: u}}}}\ncurrent-context: x\nusers:\n- {{name: u, user: {{{user}}}}}\n"
            ),
        );
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.0.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(path), content).unwrap();
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Lays a recorded disk, or a part of it, over this one.
    fn unpack(&self, tree: &str, parts: &[&str]) {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/trees/{tree}.tar.gz"));
        assert!(Command::new("tar").arg("xzf").arg(tree).arg("-C").arg(&self.0).args(parts).status().unwrap().success());
    }

    /// No bus answers here: units are read from their files.
    fn observe(&self, paths: &[&str]) -> Facts {
        let host = Host::open(&self.0).unwrap();
        let units = Observed::Unknown(Blind::new("no units here"));
        let kubelet = kubelet::observe(&host, &units);
        let paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
        let certificates = certificates::observe(&host, &kubelet, &units, &paths);
        let name = Some(Sourced::new("node1".to_owned(), "--node-name"));
        let node = Node { name, root: "/".to_owned(), signs: vec!["/var/lib/kubelet".to_owned()], ..Node::default() };
        let mut facts = Facts::unobserved(NOW.parse().unwrap(), node);
        facts.kubelet = Observed::Known(kubelet);
        facts.certificates = Observed::Known(certificates);
        facts
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn places(facts: &Facts) -> &[Place] {
    let Observed::Known(Certificates { places, .. }) = &facts.certificates else { panic!("certificates were looked at") };
    places
}

fn place<'a>(facts: &'a Facts, path: &str) -> &'a Place {
    places(facts).iter().find(|place| place.path == path).unwrap_or_else(|| panic!("{path} is not among {:#?}", places(facts)))
}

fn leaf<'a>(facts: &'a Facts, path: &str) -> &'a Certificate {
    let place = place(facts, path);
    place.leaf().unwrap_or_else(|| panic!("{:?}", place.state))
}

/// The findings about certificates: `code subject`.
fn findings(report: &Report) -> Vec<String> {
    report.findings.iter().filter(|finding| finding.code.starts_with("certificate-")).map(|finding| format!("{} {}", finding.code, finding.subject)).collect()
}

fn judged(facts: &Facts) -> Vec<String> {
    findings(&diagnose(facts, &Config::default()))
}

struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn name(cn: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, DnValue::PrintableString(organization.try_into().unwrap()));
    }
    name.push(DnType::CommonName, DnValue::Utf8String(cn.to_owned()));
    name
}

fn life(params: &mut CertificateParams, from: Duration, to: Duration) {
    params.not_before = now() + from;
    params.not_after = now() + to;
}

fn ca_params(cn: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(cn, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    life(&mut params, Duration::days(-100), Duration::days(3000));
    params
}

fn ca_with(params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Ca {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Ca { pem, issuer: Issuer::new(params, key) }
}

fn ca(cn: &str) -> Ca {
    ca_with(ca_params(cn), &PKCS_ECDSA_P256_SHA256)
}

fn client_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("system:node:node1", Some("system:nodes"));
    life(&mut params, Duration::days(-10), Duration::days(355));
    params
}

struct Issued {
    pem: String,
    der: Vec<u8>,
    key: String,
}

impl Issued {
    /// As the kubelet writes it: the certificate, then its key.
    fn file(&self) -> String {
        format!("{}{}", self.pem, self.key)
    }
}

fn issue_with(params: &CertificateParams, ca: &Ca, algorithm: &'static SignatureAlgorithm) -> Issued {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = params.signed_by(&key, &ca.issuer).unwrap();
    Issued { pem: certificate.pem(), der: certificate.der().to_vec(), key: key.serialize_pem() }
}

fn issue(params: &CertificateParams, ca: &Ca) -> Issued {
    issue_with(params, ca, &PKCS_ECDSA_P256_SHA256)
}

#[test]
fn a_certificate_is_read_in_every_form_that_go_reads() {
    let ca = ca("kubernetes");
    let good = issue(&client_params(), &ca);
    let other = issue(&client_params(), &ca);
    let digits: String = good.pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let forms: BTreeMap<&str, String> = BTreeMap::from([
        ("certificate, key", good.file()),
        ("key, certificate", format!("{}{}", good.key, good.pem)),
        ("certificate, key, certificate", format!("{}{}", good.file(), good.pem)),
        ("no newline at the end", good.file().trim_end().to_owned()),
        ("text around", format!("Certificate:\n    Data: -----BEGIN nothing\n\n{}\nsubject=/CN=x\n", good.file())),
        ("CRLF", good.file().replace('\n', "\r\n")),
        ("base64 on one line", format!("-----BEGIN CERTIFICATE-----\n{digits}\n-----END CERTIFICATE-----\n{}", good.key)),
        ("with its CA after it", format!("{}{}", good.file(), ca.pem)),
        ("a broken one before it", format!("-----BEGIN CERTIFICATE-----\nMIIB\n{}", good.file())),
        ("a broken one after it", format!("{}-----BEGIN CERTIFICATE-----\nMIIB\n", good.file())),
        ("another after it", format!("{}{}", good.file(), other.pem)),
        ("an unknown block before it", format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}", good.file())),
        ("bytes that are no UTF-8 around", String::new()),
    ]);
    for (form, text) in forms {
        let disk = Disk::new();
        disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
        if text.is_empty() {
            disk.write(CURRENT, [b"\xff\xfe\n".as_slice(), good.file().as_bytes(), b"\xff"].concat());
        } else {
            disk.write(CURRENT, text);
        }
        let facts = disk.observe(&[]);
        let leaf = leaf(&facts, CURRENT);
        assert_eq!((leaf.common_name.as_str(), leaf.organizations.as_slice()), ("system:node:node1", ["system:nodes".to_owned()].as_slice()), "{form}");
        assert_eq!(leaf.trust.as_ref().unwrap().verified, Observed::Known(true), "{form}");
        assert_eq!(judged(&facts), Vec::<String>::new(), "{form}");
    }
}

#[test]
fn what_go_does_not_read_is_invalid_and_told_why() {
    let ca = ca("kubernetes");
    let good = issue(&client_params(), &ca);
    let forms: [(&[u8], &str); 9] = [
        (b"", "the file is empty"),
        (b"\n\n", "no PEM block"),
        (good.key.as_bytes(), "only PRIVATE KEY"),
        (&good.pem.as_bytes()[..300], "PEM block 1 is broken off"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "PEM block 1 is no X.509 certificate"),
        (b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "PEM block 1 is not base64"),
        (&good.der, "in DER, where PEM is needed"),
        (b"\xef\xbb\xbf-----BEGIN CERTIFICATE-----\n", "no PEM block"),
        (&[0; 4096], "no PEM block"),
    ];
    for (bytes, expected) in forms {
        let disk = Disk::new();
        disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
        disk.write(CURRENT, bytes);
        let facts = disk.observe(&[]);
        let PlaceState::Invalid(why) = &place(&facts, CURRENT).state else { panic!("{expected}: {:?}", place(&facts, CURRENT).state) };
        assert!(why.contains(expected), "{why:?} does not say {expected:?}");
        assert_eq!(judged(&facts), [format!("certificate-invalid {CURRENT}")]);
    }
}

#[test]
fn a_file_of_unknown_use_may_be_in_der() {
    let ca = ca("kubernetes");
    let disk = Disk::new();
    disk.write("/srv/one.der", &issue(&client_params(), &ca).der);
    assert_eq!(leaf(&disk.observe(&["/srv/one.der"]), "/srv/one.der").common_name, "system:node:node1");
}

#[test]
fn the_signature_is_checked_in_every_algorithm() {
    let algorithms = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519];
    for signs in algorithms {
        let (right, replaced, other) = (ca_with(ca_params("kubernetes"), signs), ca_with(ca_params("kubernetes"), signs), ca_with(ca_params("other"), signs));
        for presents in algorithms {
            let file = issue_with(&client_params(), &right, presents).file();
            for (trusted, verified, same_name) in [
                (right.pem.clone(), true, true),
                (replaced.pem.clone(), false, true),
                (other.pem.clone(), false, false),
                // A rotation: any of several.
                (format!("{}{}{}", other.pem, replaced.pem, right.pem), true, true),
                (format!("{}{}", other.pem, replaced.pem), false, true),
            ] {
                let disk = Disk::new();
                disk.write("/etc/kubernetes/pki/ca.crt", trusted);
                disk.write(CURRENT, &file);
                let facts = disk.observe(&[]);
                let trust = leaf(&facts, CURRENT).trust.as_ref().unwrap();
                assert_eq!((&trust.verified, trust.same_name), (&Observed::Known(verified), same_name), "{signs:?} {presents:?}");
                let expected = if verified { Vec::new() } else { vec![format!("certificate-untrusted-issuer {CURRENT}")] };
                assert_eq!(judged(&facts), expected);
            }
        }
    }
}

#[test]
fn algorithms_of_openssl_are_checked_or_unknown_and_never_called_wrong() {
    for (pair, checked) in [
        ("rsa2048-sha256", true),
        ("rsa2048-sha384", true),
        ("rsa4096-sha512", true),
        ("rsa2048-pss", true),
        ("p384-sha256", true),
        ("rsa1024-sha256", false),
        ("p256-sha512", false),
        ("p521-sha512", false),
    ] {
        let data = |name: String| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates").join(name)).unwrap();
        let disk = Disk::new();
        disk.write("/etc/kubernetes/pki/ca.crt", data(format!("{pair}-ca.crt")));
        disk.write(CURRENT, data(format!("{pair}.pem")));
        let mut facts = disk.observe(&[]);
        facts.certificates_at = "2030-01-01T00:00:00Z".parse().unwrap();
        let trust = leaf(&facts, CURRENT).trust.as_ref().unwrap();
        let report = diagnose(&facts, &Config::default());
        assert!(!findings(&report).iter().any(|finding| finding.starts_with("certificate-untrusted")), "{pair}");
        if checked {
            assert_eq!(trust.verified, Observed::Known(true), "{pair}");
        } else {
            let blind = trust.verified.blind().unwrap_or_else(|| panic!("{pair}: {:?}", trust.verified));
            assert!(blind.reason.contains("cannot be checked"), "{blind}");
            assert!(report.unknown.iter().any(|unknown| unknown.reason == blind.reason), "{pair}: what cannot be checked is told");
        }
    }
}

#[test]
fn a_key_of_another_kind_cannot_have_signed_it() {
    let signer = ca_with(ca_params("kubernetes"), &PKCS_ED25519);
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates/rsa1024-sha256-ca.crt")).unwrap());
    disk.write(CURRENT, issue(&client_params(), &signer).file());
    // Both are called kubernetes, but in another encoding of the name.
    assert_eq!(leaf(&disk.observe(&[]), CURRENT).trust.as_ref().unwrap().verified, Observed::Known(false));
}

#[test]
fn a_chain_is_followed_through_the_file() {
    let root = ca("kubernetes");
    let middle_params = ca_params("intermediate");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let pem = middle_params.signed_by(&key, &root.issuer).unwrap().pem();
    let middle = Ca { pem, issuer: Issuer::new(middle_params, key) };
    let client = issue(&client_params(), &middle);
    for (file, verified) in [(format!("{}{}", client.pem, middle.pem), true), (client.pem.clone(), false)] {
        let disk = Disk::new();
        disk.write("/etc/kubernetes/pki/ca.crt", &root.pem);
        disk.write(CURRENT, file);
        assert_eq!(leaf(&disk.observe(&[]), CURRENT).trust.as_ref().unwrap().verified, Observed::Known(verified));
    }
}

#[test]
fn dates_are_judged_to_the_second() {
    let ca = ca("kubernetes");
    let life_of = |from: i64, to: i64| {
        let mut params = client_params();
        life(&mut params, Duration::seconds(from), Duration::seconds(to));
        params
    };
    let year = 365 * DAY;
    for (from, to, expected) in [
        (-year, -1, Some("certificate-expired")),
        // crypto/x509: expired after notAfter, not at it.
        (-year, 0, Some("certificate-expiring-soon")),
        (-year, DAY, Some("certificate-expiring-soon")),
        (-year, 7 * DAY - 1, Some("certificate-expiring-soon")),
        (-year, 7 * DAY, Some("certificate-rotation-overdue")),
        (-year, 30 * DAY - 1, Some("certificate-rotation-overdue")),
        (-year, 30 * DAY, Some("certificate-rotation-overdue")),
        (-year, 41 * DAY, None),
        // The kubelet rotates at 70 to 90 % of the life.
        (-89 * DAY, 11 * DAY, None),
        (-91 * DAY, 9 * DAY, Some("certificate-rotation-overdue")),
        (-DAY, 2 * 3600, Some("certificate-expiring-soon")),
        (-21 * 3600, 3 * 3600, None),
        (0, year, None),
        (1, year, Some("certificate-not-yet-valid")),
        (-year, 300 * year, None),
    ] {
        let disk = Disk::new();
        disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
        disk.write(CURRENT, issue(&life_of(from, to), &ca).file());
        let found: Vec<_> = expected.map(|code| format!("{code} {CURRENT}")).into_iter().collect();
        assert_eq!(judged(&disk.observe(&[])), found, "from {from} s to {to} s");
    }
}

#[test]
fn dates_past_2050_are_generalized_time() {
    let ca = ca("kubernetes");
    let mut params = client_params();
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let disk = Disk::new();
    disk.write(CURRENT, issue(&params, &ca).file());
    assert_eq!(leaf(&disk.observe(&[]), CURRENT).not_after.human(), "9999-12-31 00:00:00 UTC");
}

#[test]
fn groups_and_names_are_judged_in_every_encoding() {
    let ca = ca("kubernetes");
    let utf8 = |cn: &str, groups: &[&str]| {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, DnValue::PrintableString(cn.try_into().unwrap()));
        for group in groups {
            name.push(DnType::OrganizationName, DnValue::Utf8String((*group).to_owned()));
        }
        name
    };
    for (subject, expected) in [
        (utf8("system:node:node1", &["system:nodes"]), None),
        (utf8("system:node:node1", &["system:node"]), Some("certificate-wrong-group")),
        (utf8("system:node:node1", &["system:masters"]), Some("certificate-wrong-group")),
        (utf8("system:node:node1", &[]), Some("certificate-wrong-group")),
        (utf8("system:node:node2", &["system:nodes"]), Some("certificate-wrong-user")),
        (utf8("node1", &["system:nodes"]), Some("certificate-wrong-user")),
        (utf8("system:node:node1.example", &["system:nodes"]), Some("certificate-wrong-user")),
    ] {
        let disk = Disk::new();
        disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
        let mut params = client_params();
        params.distinguished_name = subject;
        disk.write(CURRENT, issue(&params, &ca).file());
        let found: Vec<_> = expected.map(|code| format!("{code} {CURRENT}")).into_iter().collect();
        assert_eq!(judged(&disk.observe(&[])), found);
    }
}

#[test]
fn another_name_counts_only_from_a_sure_source() {
    let ca = ca("kubernetes");
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
    disk.write(CURRENT, issue(&client_params(), &ca).file());
    let mut facts = disk.observe(&[]);
    facts.node.name = Some(Sourced::new("ip-10-0-0-1".to_owned(), "/etc/hostname"));
    assert_eq!(judged(&facts), Vec::<String>::new());
    facts.node.name = Some(Sourced::new("node9".to_owned(), "kubelet.service ExecStart --hostname-override"));
    assert_eq!(judged(&facts), [format!("certificate-wrong-user {CURRENT}")]);
}

#[test]
fn the_kubeconfigs_ca_only_stands_in() {
    use base64::Engine as _;
    let (clients, servers) = (ca("clients"), ca("servers"));
    let inline = format!(", certificate-authority-data: {}", base64::engine::general_purpose::STANDARD.encode(&servers.pem));
    let disk = Disk::new();
    disk.kubeconfig(&format!("client-certificate: {CURRENT}, client-key: {CURRENT}"), &inline);
    disk.write(CURRENT, issue(&client_params(), &clients).file());
    disk.write("/etc/kubernetes/pki/ca.crt", &clients.pem);
    assert_eq!(judged(&disk.observe(&[])), Vec::<String>::new(), "the CA of servers does not judge a client");
    fs::remove_file(disk.path("/etc/kubernetes/pki/ca.crt")).unwrap();
    let facts = disk.observe(&[]);
    assert!(leaf(&facts, CURRENT).trust.as_ref().unwrap().stand_in);
    let report = diagnose(&facts, &Config::default());
    let finding = report.findings.iter().find(|finding| finding.code == "certificate-untrusted-issuer").unwrap();
    assert!(finding.evidence.iter().any(|evidence| evidence.saw.contains("stands in")), "{finding:#?}");
}

#[test]
fn bad_files_are_bounded_and_the_others_unaffected() {
    let ca = ca("kubernetes");
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
    disk.write(CURRENT, issue(&client_params(), &ca).file());
    fs::File::create(disk.path("/srv/huge.crt")).unwrap().set_len(2 << 30).unwrap();
    nix::unistd::mkfifo(&disk.path("/srv/fifo.crt"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::create_dir_all(disk.path("/srv/directory.crt")).unwrap();
    symlink("/srv/loop.crt", disk.path("/srv/loop.crt")).unwrap();
    symlink("/srv/nowhere", disk.path("/srv/dangling.crt")).unwrap();
    symlink("/etc/kubernetes/pki/ca.crt", disk.path("/srv/absolute.crt")).unwrap();
    symlink("../../../../../../etc/kubernetes/pki/ca.crt", disk.path("/srv/above.crt")).unwrap();
    disk.write("/srv/begin.crt", "-----BEGIN CERTIFICATE-----\n".repeat(100_000));
    disk.write("/srv/dashes.crt", "-----BEGIN ".repeat(300_000));
    disk.write("/srv/bundle.crt", ca.pem.repeat(5_000));
    disk.write("/srv/tls.key", "no certificate, and it does not say that it is one");
    let facts = disk.observe(&["/srv/*"]);
    for (path, expected) in [
        ("/srv/huge.crt", "it is 2147483648 bytes long"),
        ("/srv/fifo.crt", "it is a FIFO"),
        ("/srv/directory.crt", "it is a directory"),
        ("/srv/loop.crt", "loop of symlinks"),
        ("/srv/begin.crt", "PEM block 1 is broken off"),
        ("/srv/dashes.crt", "no PEM block"),
    ] {
        let PlaceState::Invalid(why) = &place(&facts, path).state else { panic!("{path}: {:?}", place(&facts, path).state) };
        assert!(why.contains(expected), "{path}: {why}");
    }
    let PlaceState::Unreadable(blind) = &place(&facts, "/srv/bundle.crt").state else { panic!("{:?}", place(&facts, "/srv/bundle.crt").state) };
    assert!(blind.reason.contains("more than 1000 certificates"), "{blind}");
    assert_eq!(leaf(&facts, "/srv/absolute.crt").common_name, "kubernetes", "an absolute symlink leads inside the root");
    assert_eq!(leaf(&facts, "/srv/above.crt").common_name, "kubernetes", "no symlink leads out of the root");
    assert!(!places(&facts).iter().any(|place| place.path == "/srv/tls.key"), "a glob takes what is a certificate");
    assert_eq!(leaf(&facts, CURRENT).trust.as_ref().unwrap().verified, Observed::Known(true), "the others are unaffected");
}

/// Not random, so that a failure can be repeated: an xorshift.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

#[test]
fn damaged_bytes_are_invalid_or_parsed_but_never_a_panic() {
    use base64::Engine as _;
    let ca = ca("kubernetes");
    let good = issue(&client_params(), &ca);
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
    disk.write(CURRENT, &good.pem);
    let whole = leaf(&disk.observe(&[]), CURRENT).clone();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for round in 0..500 {
        let mut der = good.der.clone();
        for _ in 0..=noise.next(3) {
            let at = noise.next(der.len());
            match noise.next(3) {
                0 => der[at] = u8::try_from(noise.next(256)).unwrap(),
                1 => der.truncate(at.max(1)),
                _ => der[at] ^= 0x80,
            }
        }
        disk.write(CURRENT, format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64::engine::general_purpose::STANDARD.encode(&der)));
        let facts = disk.observe(&[]);
        // Around what is signed a byte may change without harm (unused bits of the signature); what is said must be what was signed.
        let said = place(&facts, CURRENT).leaf().filter(|leaf| leaf.trust.as_ref().is_some_and(|trust| trust.verified == Observed::Known(true)));
        assert!(said.is_none_or(|said| said == &whole), "round {round}: a damaged certificate verifies: {said:?}");
        let _ = judged(&facts);
    }
}

#[test]
fn each_certificate_of_a_ca_file_is_judged_unless_a_longer_one_replaces_it() {
    let ended = |cn: &str| {
        let mut params = ca_params(cn);
        life(&mut params, Duration::days(-4000), Duration::days(-3));
        ca_with(params, &PKCS_ECDSA_P256_SHA256).pem
    };
    let ca = ca("kubernetes");
    let client = issue(&client_params(), &ca).file();
    for (bundle, expected) in [
        (format!("{}{}", ca.pem, ended("kubernetes")), None),
        (format!("{}{}", ca.pem, ended("older")), Some("certificate-expired /etc/kubernetes/pki/ca.crt")),
    ] {
        let disk = Disk::new();
        disk.write("/etc/kubernetes/pki/ca.crt", bundle);
        disk.write(CURRENT, &client);
        assert_eq!(judged(&disk.observe(&[])), expected.into_iter().map(str::to_owned).collect::<Vec<_>>());
    }
}

#[test]
fn a_static_pods_manifest_says_which_certificates_are_in_use() {
    let ca = ca("kubernetes");
    let mut params = client_params();
    life(&mut params, Duration::days(-400), Duration::days(-30));
    let ended = issue(&params, &ca).file();
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
    disk.write(CURRENT, issue(&client_params(), &ca).file());
    disk.write(
        "/etc/kubernetes/manifests/kube-apiserver.yaml",
        "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - command: [/usr/local/bin/kube-apiserver]\n    args: ['--tls-cert-file', /certs/tls.crt, --client-ca-file=/etc/kubernetes/pki/ca.crt]\n    volumeMounts:\n    - {name: tls, mountPath: /certs/}\n  volumes:\n  - {name: tls, hostPath: {path: /srv/tls}}\n",
    );
    let mut params = CertificateParams::new(vec!["192.0.2.1".to_owned()]).unwrap();
    params.distinguished_name = name("kube-apiserver", None);
    life(&mut params, Duration::days(-10), Duration::days(355));
    disk.write("/srv/tls/tls.crt", issue(&params, &ca).pem);
    disk.write("/etc/kubernetes/pki/apiserver.crt", &ended);
    let facts = disk.observe(&[]);
    let used = place(&facts, "/srv/tls/tls.crt");
    assert_eq!((used.role, used.in_use), (Role::ApiServer, true));
    assert_eq!(used.named_by.as_deref(), Some("/etc/kubernetes/manifests/kube-apiserver.yaml --tls-cert-file"));
    assert!(!place(&facts, "/etc/kubernetes/pki/apiserver.crt").in_use);
    assert_eq!(judged(&facts), Vec::<String>::new(), "what is not used is listed and never alarmed on");
}

#[test]
fn a_workers_leftover_ca_is_listed_and_never_alarmed_on() {
    let ca = ca("kubernetes");
    let mut params = ca_params("older");
    life(&mut params, Duration::days(-4000), Duration::days(-3));
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", ca_with(params, &PKCS_ECDSA_P256_SHA256).pem);
    disk.write("/srv/ca.crt", &ca.pem);
    disk.write(
        "/var/lib/kubelet/config.yaml",
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication: {x509: {clientCAFile: /srv/ca.crt}}\n",
    );
    disk.write(CURRENT, issue(&client_params(), &ca).file());
    let facts = disk.observe(&[]);
    assert!(!place(&facts, "/etc/kubernetes/pki/ca.crt").in_use);
    assert_eq!(judged(&facts), Vec::<String>::new());
}

#[test]
fn a_kubeconfigs_inline_certificate_is_told_with_its_line() {
    use base64::Engine as _;
    let ca = ca("kubernetes");
    let mut params = client_params();
    life(&mut params, Duration::days(-400), Duration::hours(-3));
    let ended = issue(&params, &ca);
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
    disk.kubeconfig(&format!("client-certificate-data: {}, client-key-data: {}, client-certificate: /nowhere", encode(&ended.pem), encode(&ended.key)), "");
    let report = diagnose(&disk.observe(&[]), &Config::default());
    assert_eq!(findings(&report), ["certificate-expired /etc/kubernetes/kubelet.conf"]);
    assert_eq!(report.findings[0].evidence[0].source, "/etc/kubernetes/kubelet.conf:9");
    assert!(report.findings[0].summary.contains("expired 3 h ago, so the API server refuses the kubelet"), "{}", report.findings[0].summary);
    disk.kubeconfig("client-certificate-data: '!', client-key-data: '!'", "");
    assert_eq!(judged(&disk.observe(&[])), ["certificate-invalid /etc/kubernetes/kubelet.conf"]);
}

/// PKCS#8, as rcgen writes it, as the forms that OpenSSL and Go write: SEC 1 for EC.
fn sec1(pkcs8: &str) -> String {
    use base64::Engine as _;
    use x509_parser::der_parser::der::parse_der;
    let engine = base64::engine::general_purpose::STANDARD;
    let der = engine.decode(pkcs8.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap();
    let (_, object) = parse_der(&der).unwrap();
    let inner = object.as_sequence().unwrap()[2].as_slice().unwrap();
    format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n", engine.encode(inner))
}

#[test]
fn a_key_is_compared_by_its_public_half_in_every_kind() {
    let ca = ca("kubernetes");
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let (one, two) = (issue_with(&client_params(), &ca, algorithm), issue_with(&client_params(), &ca, algorithm));
        let mut keys = vec![(one.key.clone(), true), (two.key.clone(), false)];
        if !std::ptr::eq(algorithm, &raw const PKCS_ED25519) {
            keys.extend([(sec1(&one.key), true), (sec1(&two.key), false)]);
        }
        for (key, matches) in keys {
            let disk = Disk::new();
            disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
            disk.write(CURRENT, format!("{}{key}", one.pem));
            let facts = disk.observe(&[]);
            let found = place(&facts, CURRENT).key.as_ref().unwrap();
            assert!(matches!(&found.state, KeyState::Found { matches: Observed::Known(known), .. } if *known == matches), "{algorithm:?}: {found:?}");
            let expected = if matches { Vec::new() } else { vec![format!("certificate-key-mismatch {CURRENT}")] };
            assert_eq!(judged(&facts), expected);
        }
    }
}

/// kubeadm's own keys are PKCS#1, and a certificate and its key lie in two files.
#[test]
fn an_rsa_key_beside_its_certificate_is_compared() {
    let disk = Disk::new();
    disk.unpack("kubeadm-control-plane-healthy", &[]);
    let check = |file: &str, expected: bool| {
        let facts = disk.observe(&[]);
        let key = place(&facts, file).key.as_ref().unwrap_or_else(|| panic!("{file} has a key"));
        assert!(matches!(&key.state, KeyState::Found { matches: Observed::Known(known), .. } if *known == expected), "{file}: {key:?}");
    };
    for file in ["ca.crt", "apiserver.crt", "etcd/server.crt", "front-proxy-client.crt"] {
        check(&format!("/etc/kubernetes/pki/{file}"), true);
    }
    check("/etc/kubernetes/kubelet.conf", true);
    check("/etc/kubernetes/admin.conf", true);
    fs::copy(disk.path("/etc/kubernetes/pki/sa.key"), disk.path("/etc/kubernetes/pki/apiserver.key")).unwrap();
    check("/etc/kubernetes/pki/apiserver.crt", false);
}

#[test]
fn a_key_that_no_program_could_use_is_told() {
    let ca = ca("kubernetes");
    let client = issue(&client_params(), &ca);
    for (key, expected) in [
        ("", "no whole PEM block PRIVATE KEY"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
        ("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n", "not base64"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "encrypted"),
        (&client.key[..60], "no whole PEM block PRIVATE KEY"),
    ] {
        let disk = Disk::new();
        disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
        disk.write(CURRENT, format!("{}{key}", client.pem));
        let facts = disk.observe(&[]);
        let KeyState::Invalid(why) = &place(&facts, CURRENT).key.as_ref().unwrap().state else { panic!("{expected}") };
        assert!(why.contains(expected), "{why}");
        assert_eq!(judged(&facts), [format!("certificate-key-mismatch {CURRENT}")]);
    }
}

#[test]
fn a_key_that_others_can_read_is_told() {
    let ca = ca("kubernetes");
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
    disk.write(CURRENT, issue(&client_params(), &ca).file());
    for (mode, exposed) in [(0o600, false), (0o400, false), (0o604, true), (0o602, true), (0o644, true)] {
        fs::set_permissions(disk.path(CURRENT), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(!judged(&disk.observe(&[])).is_empty(), exposed, "{mode:o}");
    }
}

#[test]
fn usages_are_judged_by_role() {
    use rcgen::ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth};
    let ca = ca("kubernetes");
    for (usages, expected) in [
        (vec![], None),
        (vec![ClientAuth], None),
        (vec![ServerAuth, ClientAuth], None),
        (vec![Any], None),
        (vec![ServerAuth], Some("certificate-wrong-usage")),
        (vec![CodeSigning], Some("certificate-wrong-usage")),
    ] {
        let mut params = client_params();
        params.extended_key_usages = usages;
        let disk = Disk::new();
        disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
        disk.write(CURRENT, issue(&params, &ca).file());
        let found: Vec<_> = expected.map(|code| format!("{code} {CURRENT}")).into_iter().collect();
        assert_eq!(judged(&disk.observe(&[])), found);
    }
}

#[test]
fn an_api_servers_certificate_names_what_it_is_called_by() {
    let ca = ca("kubernetes");
    for (names, called, missing) in [
        (vec!["192.0.2.1", "10.0.0.1"], "10.0.0.1", false),
        (vec!["192.0.2.1", "fd00::1"], "fd00:0:0:0:0:0:0:1", false),
        (vec!["192.0.2.1"], "10.0.0.1", true),
        (vec!["10.0.0.1"], "10.0.0.1", true),
        (vec!["192.0.2.1", "node1"], "10.0.0.1", true),
    ] {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = name("kube-apiserver", None);
        life(&mut params, Duration::days(-10), Duration::days(355));
        let disk = Disk::new();
        disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
        disk.write(CURRENT, issue(&client_params(), &ca).file());
        disk.write("/etc/kubernetes/pki/apiserver.crt", issue(&params, &ca).pem);
        disk.write(
            "/etc/kubernetes/manifests/kube-apiserver.yaml",
            format!("spec: {{containers: [{{command: [kube-apiserver, --advertise-address={called}, --tls-cert-file=/etc/kubernetes/pki/apiserver.crt]}}]}}"),
        );
        let expected: Vec<_> = missing.then(|| "certificate-address-missing /etc/kubernetes/pki/apiserver.crt".to_owned()).into_iter().collect();
        assert_eq!(judged(&disk.observe(&[])), expected, "{names:?} called {called}");
    }
}

#[test]
fn a_control_plane_whose_certificates_have_all_expired_gets_one_answer() {
    let disk = Disk::new();
    disk.unpack("kubeadm-control-plane-expired", &[]);
    let leftover = disk.observe(&[]);
    assert!(places(&leftover).len() > 12);
    assert!(!places(&leftover).iter().any(|place| place.in_use && place.path.contains("/pki/etcd/")), "without a manifest nothing of kubeadm's is in use");
    assert_eq!(judged(&leftover), ["certificate-expired /etc/kubernetes/kubelet.conf"]);
    disk.unpack("kubeadm-control-plane-healthy", &["./etc/kubernetes/manifests"]);
    let report = diagnose(&disk.observe(&[]), &Config::default());
    assert_eq!(findings(&report), ["certificate-expired /etc/kubernetes/kubelet.conf"]);
    let finding = report.findings.iter().find(|finding| finding.code == "certificate-expired").unwrap();
    assert_eq!(finding.evidence.len(), 12, "{:#?}", finding.evidence);
    let order: Vec<_> = ["kubeadm certs renew all", "kubeadm kubeconfig user", "systemctl restart kubelet", "crictl stopp"]
        .iter()
        .map(|step| finding.remedy.iter().position(|command| command.contains(step)))
        .collect();
    assert_eq!(order, [Some(0), Some(1), Some(2), Some(3)], "{:#?}", finding.remedy);
}

#[test]
fn k3s_keeps_its_certificates_elsewhere_and_renews_them_at_a_restart() {
    let (clients, servers) = (ca("k3s-client-ca"), ca("k3s-server-ca"));
    let mut params = client_params();
    life(&mut params, Duration::days(-365), Duration::days(-1));
    let disk = Disk::new();
    fs::remove_file(disk.path("/etc/kubernetes/kubelet.conf")).unwrap();
    let base = "/var/lib/rancher/k3s";
    disk.write(&format!("{base}/agent/client-ca.crt"), &clients.pem);
    disk.write(&format!("{base}/agent/server-ca.crt"), &servers.pem);
    disk.write(&format!("{base}/agent/client-kubelet.crt"), issue(&params, &clients).pem);
    params.distinguished_name = name("node1", None);
    params.subject_alt_names = vec![rcgen::SanType::DnsName("node1".try_into().unwrap())];
    disk.write(&format!("{base}/agent/serving-kubelet.crt"), issue(&params, &servers).pem);
    let report = diagnose(&disk.observe(&[]), &Config::default());
    assert_eq!(findings(&report), [format!("certificate-expired {base}/agent/client-kubelet.crt")], "one restart mends both");
    let finding = report.findings.iter().find(|finding| finding.code == "certificate-expired").unwrap();
    assert_eq!(finding.remedy, ["systemctl restart k3s-agent"]);
    assert!(finding.summary.starts_with("the kubelet's client certificate expired 24 h ago, with another of this node"), "{}", finding.summary);
}

#[test]
fn no_key_is_in_the_facts() {
    let ca = ca("kubernetes");
    let client = issue(&client_params(), &ca);
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
    disk.write(CURRENT, client.file());
    let facts = serde_json::to_string(&disk.observe(&[])).unwrap();
    assert!(facts.contains("system:node:node1"));
    for line in client.key.lines().filter(|line| !line.starts_with("-----")) {
        assert!(!facts.contains(line), "a line of the private key is in the facts");
    }
}

/// A certificate of a kubeadm control plane: where it lies, whom it names, what for, and whose CA signs it.
struct Kind {
    path: &'static str,
    /// Inline in the kubeconfig at that path.
    inline: bool,
    cn: &'static str,
    group: Option<&'static str>,
    server: bool,
    client: bool,
    /// `ca`, `etcd/ca`, `front-proxy-ca`.
    ca: &'static str,
}

const fn kind(path: &'static str, cn: &'static str, group: Option<&'static str>, server: bool, client: bool, ca: &'static str) -> Kind {
    Kind { path, inline: false, cn, group, server, client, ca }
}

/// Where kubeadm puts its certificates and what it writes into them (`cmd/kubeadm/app/phases/certs/certlist.go`), and the kubelet's.
const KINDS: [Kind; 13] = [
    kind(CURRENT, "system:node:node1", Some("system:nodes"), false, true, "ca"),
    kind("/var/lib/kubelet/pki/kubelet.crt", "node1", None, true, false, "ca"),
    kind("/etc/kubernetes/pki/apiserver.crt", "kube-apiserver", None, true, false, "ca"),
    kind("/etc/kubernetes/pki/apiserver-kubelet-client.crt", "kube-apiserver-kubelet-client", Some("kubeadm:cluster-admins"), false, true, "ca"),
    kind("/etc/kubernetes/pki/apiserver-etcd-client.crt", "kube-apiserver-etcd-client", None, false, true, "etcd/ca"),
    kind("/etc/kubernetes/pki/front-proxy-client.crt", "front-proxy-client", None, false, true, "front-proxy-ca"),
    kind("/etc/kubernetes/pki/etcd/server.crt", "node1", None, true, true, "etcd/ca"),
    kind("/etc/kubernetes/pki/etcd/peer.crt", "node1", None, true, true, "etcd/ca"),
    kind("/etc/kubernetes/pki/etcd/healthcheck-client.crt", "kube-etcd-healthcheck-client", None, false, true, "etcd/ca"),
    Kind { inline: true, ..kind("/etc/kubernetes/admin.conf", "kubernetes-admin", Some("kubeadm:cluster-admins"), false, true, "ca") },
    Kind { inline: true, ..kind("/etc/kubernetes/super-admin.conf", "kubernetes-super-admin", Some("system:masters"), false, true, "ca") },
    Kind { inline: true, ..kind("/etc/kubernetes/controller-manager.conf", "system:kube-controller-manager", None, false, true, "ca") },
    Kind { inline: true, ..kind("/etc/kubernetes/scheduler.conf", "system:kube-scheduler", None, false, true, "ca") },
];

impl Kind {
    fn params(&self) -> CertificateParams {
        use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let mut params = CertificateParams::new(vec!["node1".to_owned(), "10.99.0.2".to_owned(), "192.0.2.1".to_owned()]).unwrap();
        params.distinguished_name = name(self.cn, self.group);
        params.extended_key_usages = [(self.server, ServerAuth), (self.client, ClientAuth)].into_iter().filter(|(is, _)| *is).map(|(_, usage)| usage).collect();
        life(&mut params, Duration::days(-10), Duration::days(355));
        params
    }

    fn put(&self, disk: &Disk, certificate: &str, key: &str) {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        if self.inline {
            disk.kubeconfig_at(self.path, &format!("client-certificate-data: {}, client-key-data: {}", encode(certificate), encode(key)), "");
        } else if self.path == CURRENT {
            disk.write(CURRENT, format!("{certificate}{key}"));
        } else {
            disk.write(self.path, certificate);
            disk.write(&self.path.replace(".crt", ".key"), key);
        }
    }
}

/// What can be wrong with any certificate, how it comes about, and what it is called: of one that nothing renews, and of the kubelet's.
type Fault = (&'static str, fn(&Kind, &mut CertificateParams), &'static str, &'static str);

const FAULTS: [Fault; 8] = [
    ("nothing", |_, _| {}, "", ""),
    ("it has ended", |_, params| life(params, Duration::days(-365), Duration::seconds(-1)), "certificate-expired", "certificate-expired"),
    ("three days left", |_, params| life(params, Duration::days(-362), Duration::days(3)), "certificate-expiring-soon", "certificate-expiring-soon"),
    ("twenty days left", |_, params| life(params, Duration::days(-345), Duration::days(20)), "certificate-expiring", "certificate-rotation-overdue"),
    ("fifty days left", |_, params| life(params, Duration::days(-315), Duration::days(50)), "", ""),
    ("it begins in an hour", |_, params| life(params, Duration::hours(1), Duration::days(365)), "certificate-not-yet-valid", "certificate-not-yet-valid"),
    ("it ends past 2050", |_, params| params.not_after = rcgen::date_time_ymd(2100, 1, 1), "", ""),
    (
        "made for signing code",
        |_, params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning],
        "certificate-wrong-usage",
        "certificate-wrong-usage",
    ),
];

#[test]
fn every_fault_of_every_certificate_of_a_control_plane_has_its_name() {
    let disk = Disk::new();
    disk.unpack("kubeadm-control-plane-healthy", &["./etc/kubernetes/manifests"]);
    let long = |cn: &str| {
        let mut params = ca_params(cn);
        life(&mut params, Duration::days(-400), Duration::days(40_000));
        ca_with(params, &PKCS_ECDSA_P256_SHA256)
    };
    let names = ["ca", "etcd/ca", "front-proxy-ca"];
    let [right, replaced]: [BTreeMap<&str, Ca>; 2] = [(), ()].map(|()| names.into_iter().map(|name| (name, long(name))).collect());
    for (name, ca) in &right {
        disk.write(&format!("/etc/kubernetes/pki/{name}.crt"), &ca.pem);
    }
    let stranger = long("stranger");
    for kind in &KINDS {
        let good = issue(&kind.params(), &right[kind.ca]);
        kind.put(&disk, &good.pem, &good.key);
    }
    assert_eq!(judged(&disk.observe(&[])), Vec::<String>::new(), "a healthy control plane");
    let mut count = 0;
    for kind in &KINDS {
        let check = |why: &str, certificate: &Issued, key: &str, code: &str| {
            kind.put(&disk, &certificate.pem, key);
            let expected: Vec<_> = (!code.is_empty()).then(|| format!("{code} {}", kind.path)).into_iter().collect();
            assert_eq!(judged(&disk.observe(&[])), expected, "{}: {why}", kind.path);
        };
        for (why, spoil, code, of_kubelet) in FAULTS {
            let mut params = kind.params();
            spoil(kind, &mut params);
            let certificate = issue(&params, &right[kind.ca]);
            check(why, &certificate, &certificate.key, if kind.path == CURRENT { of_kubelet } else { code });
            count += 1;
        }
        // Nothing on the node tells who has to have issued a kubelet's serving certificate.
        let untrusted = if kind.path.ends_with("/kubelet.crt") { "" } else { "certificate-untrusted-issuer" };
        for (why, ca) in [("of another CA", &stranger), ("of a CA of this name, with another key", &replaced[kind.ca])] {
            let certificate = issue(&kind.params(), ca);
            check(why, &certificate, &certificate.key, untrusted);
            count += 1;
        }
        for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let certificate = issue_with(&kind.params(), &right[kind.ca], algorithm);
            check("another kind of key", &certificate, &certificate.key, "");
            let other = issue_with(&kind.params(), &right[kind.ca], algorithm);
            check("the key of another", &certificate, &other.key, "certificate-key-mismatch");
            count += 2;
        }
        let good = issue(&kind.params(), &right[kind.ca]);
        kind.put(&disk, &good.pem, &good.key);
    }
    assert_eq!(count, 13 * 14, "certificates were judged");
}

#[test]
fn a_certificate_outlives_a_ca_that_ends_within_a_year() {
    let disk = Disk::new();
    let mut params = ca_params("kubernetes");
    life(&mut params, Duration::days(-3550), Duration::days(100));
    let ending = ca_with(params, &PKCS_ECDSA_P256_SHA256);
    disk.write("/etc/kubernetes/pki/ca.crt", &ending.pem);
    disk.write(CURRENT, issue(&client_params(), &ending).file());
    let report = diagnose(&disk.observe(&[]), &Config::default());
    assert_eq!(findings(&report), [format!("certificate-outlives-issuer {CURRENT}")]);
    let finding = report.findings.iter().find(|finding| finding.code == "certificate-outlives-issuer").unwrap();
    assert!(finding.summary.contains("outlives its CA, which ends in 100 d"), "{}", finding.summary);
}

/// Ended a day ago.
fn ended() -> CertificateParams {
    let mut params = client_params();
    life(&mut params, Duration::days(-365), Duration::days(-1));
    params
}

#[test]
fn distributions_keep_their_certificates_elsewhere_and_mend_them_in_their_own_way() {
    let ca = ca("their-ca");
    let k3s = "/var/lib/rancher/k3s";
    let rke2 = "/var/lib/rancher/rke2";
    let microk8s = "/var/snap/microk8s/current/certs";
    for (path, ca_path, others, remedy) in [
        (format!("{k3s}/agent/client-kubelet.crt"), format!("{k3s}/agent/client-ca.crt"), "", "systemctl restart k3s-agent"),
        (format!("{k3s}/server/tls/serving-kube-apiserver.crt"), format!("{k3s}/server/tls/server-ca.crt"), "", "systemctl restart k3s"),
        (format!("{rke2}/agent/client-kubelet.crt"), format!("{rke2}/agent/client-ca.crt"), "", "systemctl restart rke2-agent"),
        (format!("{rke2}/server/tls/etcd/server-client.crt"), format!("{rke2}/server/tls/etcd/server-ca.crt"), "", "systemctl restart rke2-server"),
        (format!("{microk8s}/server.crt"), format!("{microk8s}/ca.crt"), "", "microk8s refresh-certs --cert server.crt"),
        (format!("{microk8s}/front-proxy-client.crt"), format!("{microk8s}/front-proxy-ca.crt"), "", "microk8s refresh-certs --cert server.crt"),
        // Bottlerocket: the files that its kubelet's configuration names.
        (
            "/etc/kubernetes/pki/kubelet-server.crt".to_owned(),
            "/etc/kubernetes/pki/ca.crt".to_owned(),
            "tlsCertFile: /etc/kubernetes/pki/kubelet-server.crt\ntlsPrivateKeyFile: /etc/kubernetes/pki/private/kubelet-server.key\n",
            "openssl x509 -noout -subject -issuer -dates -in /etc/kubernetes/pki/kubelet-server.crt",
        ),
    ] {
        let disk = Disk::new();
        fs::remove_file(disk.path("/etc/kubernetes/kubelet.conf")).unwrap();
        if !others.is_empty() {
            fs::remove_file(disk.path("/var/lib/kubelet/config.yaml")).unwrap();
            let config =
                "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication: {x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}\n";
            disk.write("/etc/kubernetes/kubelet/config", format!("{config}{others}"));
        }
        let issued = issue(&ended(), &ca);
        disk.write(&ca_path, &ca.pem);
        disk.write(&path, &issued.pem);
        disk.write("/etc/kubernetes/pki/private/kubelet-server.key", &issued.key);
        let report = diagnose(&disk.observe(&[]), &Config::default());
        let finding = report.findings.iter().find(|finding| finding.code == "certificate-expired").unwrap_or_else(|| panic!("{path}: {:?}", findings(&report)));
        assert_eq!(finding.subject, path);
        assert!(finding.remedy.iter().any(|command| command.starts_with(remedy)), "{path}: {:?}", finding.remedy);
    }
}

#[test]
fn what_cannot_be_renewed_is_made_anew_in_the_distributions_own_way() {
    let client = {
        let mut params = client_params();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        issue(&params, &ca("their-ca")).pem
    };
    let ending = {
        let mut params = ca_params("their-ca");
        life(&mut params, Duration::days(-3649), Duration::days(1));
        ca_with(params, &PKCS_ECDSA_P256_SHA256).pem
    };
    for (path, pem, code, remedy) in [
        (
            "/var/lib/rancher/k3s/server/tls/serving-kube-apiserver.crt",
            &client,
            "certificate-wrong-usage",
            "systemctl stop k3s && k3s certificate rotate && systemctl start k3s",
        ),
        (
            "/var/lib/rancher/k3s/server/tls/server-ca.crt",
            &ending,
            "certificate-expiring-soon",
            "test -d /var/lib/rancher/k3s/server/rotate-ca && k3s certificate rotate-ca",
        ),
        (
            "/var/lib/rancher/rke2/server/tls/server-ca.crt",
            &ending,
            "certificate-expiring-soon",
            "test -d /var/lib/rancher/rke2/server/rotate-ca && rke2 certificate rotate-ca",
        ),
        ("/var/snap/microk8s/current/certs/ca.crt", &ending, "certificate-expiring-soon", "microk8s refresh-certs --cert ca.crt"),
    ] {
        let disk = Disk::new();
        fs::remove_file(disk.path("/etc/kubernetes/kubelet.conf")).unwrap();
        disk.write(path, pem);
        let report = diagnose(&disk.observe(&[]), &Config::default());
        let finding = report.findings.iter().find(|finding| finding.code == code).unwrap_or_else(|| panic!("{path}: {:?}", findings(&report)));
        assert!(finding.remedy.iter().any(|command| command.starts_with(remedy)), "{path}: {:?}", finding.remedy);
    }
}

#[test]
fn a_control_plane_of_units_names_its_certificates_in_their_flags() {
    let ca = ca("Kubernetes");
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
    disk.write(CURRENT, issue(&client_params(), &ca).file());
    disk.write("/var/lib/kubernetes/ca.crt", &ca.pem);
    let unit = |name: &str, flags: &str| {
        let path = format!("/etc/systemd/system/{name}.service");
        disk.write(
            &path,
            format!("[Service]\nEnvironmentFile=-/etc/default/{name}\nExecStart=/usr/local/bin/{name} {flags}\n[Install]\nWantedBy=multi-user.target\n"),
        );
        let wants = disk.path(&format!("/etc/systemd/system/multi-user.target.wants/{name}.service"));
        symlink(path, wants).unwrap();
    };
    unit(
        "kube-apiserver",
        "\\\n  --client-ca-file=/var/lib/kubernetes/ca.crt \\\n  --tls-cert-file=/var/lib/kubernetes/kube-api-server.crt \\\n  --tls-private-key-file /var/lib/kubernetes/kube-api-server.key $MORE",
    );
    unit("kube-scheduler", "--kubeconfig=/var/lib/kubernetes/kube-scheduler.kubeconfig");
    // Debian's etcd is configured by its environment.
    unit("etcd", "$DAEMON_ARGS");
    disk.write(
        "/etc/default/etcd",
        "# etcd\nETCD_CERT_FILE=/etc/etcd/server.crt\nETCD_KEY_FILE=\"/etc/etcd/server.key\"\nETCD_TRUSTED_CA_FILE=/etc/etcd/ca.crt\n",
    );
    disk.write("/etc/etcd/ca.crt", &ca.pem);
    let files = ["/var/lib/kubernetes/kube-api-server", "/etc/etcd/server"];
    for file in files {
        let issued = issue(&ended(), &ca);
        disk.write(&format!("{file}.crt"), &issued.pem);
        disk.write(&format!("{file}.key"), &issued.key);
    }
    Kind { inline: true, ..kind("/var/lib/kubernetes/kube-scheduler.kubeconfig", "system:kube-scheduler", None, false, true, "ca") }.put(
        &disk,
        &issue(&ended(), &ca).pem,
        "",
    );
    let mut facts = disk.observe(&[]);
    facts.units = Observed::Known(nodetriage::observe::units::from_files(&Host::open(&disk.0).unwrap(), &Config::default()).unwrap());
    let server = place(&facts, "/var/lib/kubernetes/kube-api-server.crt");
    assert_eq!((server.role, server.named_by.as_deref()), (Role::ApiServer, Some("kube-apiserver.service ExecStart --tls-cert-file")));
    assert!(matches!(&server.key.as_ref().unwrap().state, KeyState::Found { matches: Observed::Known(true), .. }));
    let etcd = place(&facts, "/etc/etcd/server.crt");
    assert_eq!((etcd.role, etcd.named_by.as_deref()), (Role::EtcdServer, Some("/etc/default/etcd:2 --cert-file")));
    let report = diagnose(&facts, &Config::default());
    let found: Vec<_> = findings(&report).into_iter().filter(|finding| finding.starts_with("certificate-expired")).collect();
    assert_eq!(
        found,
        ["/var/lib/kubernetes/kube-api-server.crt", "/etc/etcd/server.crt", "/var/lib/kubernetes/kube-scheduler.kubeconfig"]
            .map(|path| format!("certificate-expired {path}"))
    );
    let finding = report.findings.iter().find(|finding| finding.subject == "/etc/etcd/server.crt").unwrap();
    assert_eq!(finding.remedy.last().unwrap(), "# once whoever made it has renewed it: systemctl restart etcd.service");
}

#[test]
fn each_kind_of_bad_file_is_named_and_bounded_and_hides_nothing() {
    let ca = ca("kubernetes");
    let many = ca.pem.repeat(10_000);
    let garbage = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", "MIIC".repeat(1000));
    let text = |content: &str| -> Option<Vec<u8>> { Some(content.as_bytes().to_vec()) };
    for (kind, content, expected) in [
        ("empty", text(""), "the file is empty"),
        ("truncated", text(&ca.pem[..200]), "PEM block 1 is broken off"),
        ("garbage DER", text(&garbage), "is no X.509 certificate"),
        ("10,000 certificates", text(&many), "bytes long, too long"),
        ("2 GB", None, "it is 2147483648 bytes long"),
        ("FIFO", None, "it is a FIFO"),
        ("directory", None, "it is a directory"),
        ("device", None, "it is a device"),
        ("symlink loop", None, "loop of symlinks"),
        ("nowhere", None, "the file does not exist"),
    ] {
        let disk = Disk::new();
        disk.write(CURRENT, issue(&client_params(), &ca).file());
        let path = disk.path("/etc/kubernetes/pki/apiserver.crt");
        let node = |kind| nix::sys::stat::mknod(&path, kind, nix::sys::stat::Mode::S_IRUSR, nix::sys::stat::makedev(1, 5));
        match kind {
            "2 GB" => fs::File::create(&path).unwrap().set_len(2 << 30).unwrap(),
            "FIFO" => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap(),
            "directory" => fs::create_dir(&path).unwrap(),
            // /dev/zero, which never ends; only root may make one.
            "device" if node(nix::sys::stat::SFlag::S_IFCHR).is_err() => continue,
            "device" => {}
            "symlink loop" => symlink("apiserver.crt", &path).unwrap(),
            "nowhere" => symlink("/nowhere", &path).unwrap(),
            _ => fs::write(&path, content.unwrap()).unwrap(),
        }
        disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
        disk.write(
            "/etc/kubernetes/manifests/kube-apiserver.yaml",
            "spec: {containers: [{command: [kube-apiserver, --tls-cert-file=/etc/kubernetes/pki/apiserver.crt]}]}",
        );
        let report = diagnose(&disk.observe(&[]), &Config::default());
        assert_eq!(findings(&report), ["certificate-invalid /etc/kubernetes/pki/apiserver.crt"], "{kind}");
        let finding = report.findings.iter().find(|finding| finding.code == "certificate-invalid").unwrap();
        assert!(finding.evidence[0].saw.contains(expected), "{kind}: {:?}", finding.evidence);
    }
}

#[test]
fn metrics_have_the_exporters_names_where_they_are_asked_for() {
    let ca = ca("kubernetes");
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
    disk.write(CURRENT, issue(&ended(), &ca).file());
    let facts = disk.observe(&[]);
    let report = diagnose(&facts, &Config::default());
    let ours = nodetriage::publish::metrics::render(&report, &facts, false);
    assert!(!ours.contains("x509_"));
    let serial = &leaf(&facts, CURRENT).serial;
    let now = NOW.parse::<Timestamp>().unwrap().unix_seconds();
    let labels = format!(
        "{{embedded_key=\"\",embedded_kind=\"\",filename=\"kubelet-client-current.pem\",filepath=\"{CURRENT}\",issuer_CN=\"kubernetes\",serial_number=\"{serial}\",subject_CN=\"system:node:node1\"}}"
    );
    let theirs = nodetriage::publish::metrics::render(&report, &facts, true);
    for line in [
        format!("x509_cert_not_after{labels} {}", now - DAY),
        format!("x509_cert_not_before{labels} {}", now - 365 * DAY),
        format!("x509_cert_expired{labels} 1"),
        "x509_read_errors 0".to_owned(),
        format!("nodetriage_certificate_not_before_timestamp_seconds{{path=\"{CURRENT}\",role=\"kubelet-client\"}} {}", now - 365 * DAY),
    ] {
        assert!(theirs.lines().any(|have| have == line), "{line} is not in\n{theirs}");
    }
}

/// A process that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A TLS server of Python's, which tells of every connection.
struct Server {
    _process: Running,
    says: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start(pem: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates/serve.py");
        let mut process = Command::new("python3").arg(script).arg(pem).stdout(Stdio::piped()).spawn().expect("python3 is here");
        let mut says = BufReader::new(process.stdout.take().unwrap());
        let mut port = String::new();
        says.read_line(&mut port).unwrap();
        Self { port: port.trim().parse().unwrap(), _process: Running(process), says }
    }

    /// Waits for the end of the next connection.
    fn connection(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

/// nodetriage on a disk that looks as if it ran: with this machine's /proc. Only root may mount it.
fn live(disk: &Disk, args: &[&str]) -> Option<Command> {
    if !nix::unistd::geteuid().is_root() {
        let _ = writeln!(std::io::stderr(), "left out: what servers really present, which needs root to mount /proc");
        return None;
    }
    fs::create_dir_all(disk.0.join("proc")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", "mount --bind /proc \"$0/proc\"; exec \"$@\" --root \"$0\""]).arg(&disk.0).arg(env!("CARGO_BIN_EXE_nodetriage"));
    command.args(args);
    Some(command)
}

#[test]
fn what_a_server_presents_is_compared_with_its_file() {
    let ca = ca("kubernetes");
    let serving = |from: i64, to: i64| {
        let mut params = CertificateParams::new(vec!["node1".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = name("system:node:node1", Some("system:nodes"));
        params.not_before = OffsetDateTime::now_utc() + Duration::days(from);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(to) + Duration::hours(12);
        issue(&params, &ca)
    };
    let (old, new) = (serving(-360, 5), serving(-1, 364));
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
    disk.write("/srv/old.pem", old.file());
    let mut server = Server::start(&disk.path("/srv/old.pem"));
    let file = "/var/lib/kubelet/pki/serving.pem";
    disk.write(file, new.file());
    disk.write(
        "/var/lib/kubelet/config.yaml",
        format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nport: {}\ntlsCertFile: {file}\ntlsPrivateKeyFile: {file}\nauthentication: {{x509: {{clientCAFile: /etc/kubernetes/pki/ca.crt}}}}\n",
            server.port
        ),
    );
    let Some(mut check) = live(&disk, &["check", "--output", "json"]) else { return };
    let report: Report = serde_json::from_slice(&check.output().unwrap().stdout).unwrap();
    let finding = report.findings.iter().find(|finding| finding.code == "certificate-served-differs").unwrap();
    assert_eq!(server.connection(), "read b''", "nothing was sent, and the connection was ended in order");
    assert_eq!(finding.subject, file);
    let address = format!("127.0.0.1:{}", server.port);
    assert_eq!(finding.summary, format!("the kubelet's serving certificate was replaced, and {address} still presents the old one, which ends in 5 d"));
    let serial = |der: &[u8]| X509Certificate::from_der(der).unwrap().1.raw_serial_as_string().replace(':', "").to_uppercase();
    for (source, der) in [(address.as_str(), &old.der), (file, &new.der)] {
        let evidence = finding.evidence.iter().find(|evidence| evidence.source == source).unwrap();
        assert!(evidence.saw.starts_with(&format!("serial {}, notAfter ", serial(der))), "{evidence:?}");
    }
    assert_eq!(finding.remedy, ["systemctl restart kubelet"]);

    // The daemon asks at its start, and again at once when the file has changed.
    let mut serve = live(&disk, &["serve", "--listen", "127.0.0.1:0", "--state-dir", "none"]).unwrap();
    let mut daemon = Running(serve.stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(daemon.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("listening on http://")), "the daemon starts");
    std::thread::spawn(move || log.for_each(drop));
    assert_eq!(server.connection(), "read b''");
    disk.write("/var/lib/kubelet/pki/new.pem", old.file());
    fs::rename(disk.path("/var/lib/kubelet/pki/new.pem"), disk.path(file)).unwrap();
    assert_eq!(server.connection(), "read b''", "it asks when the file was replaced");
    drop(daemon);

    let report: Report = serde_json::from_slice(&live(&disk, &["check", "--output", "json"]).unwrap().output().unwrap().stdout).unwrap();
    assert!(!findings(&report).iter().any(|finding| finding.starts_with("certificate-served-differs")), "what is served is the file again");
}

/// A machine with a network and processes of its own on a disk that kubeadm made: openssl serves what the API server and etcd would,
/// the latter to nobody without a client certificate. Both certificates are renewed, and then the servers are started again.
const CONTROL_PLANE: &str = r#"
root=$1; agent=$2; . "$3/tests/openssl-ca.sh"; ca_begin "$root/ca" DNS:node1
ip link set lo up
mount --make-rprivate /; mkdir "$root/proc"; mount -t proc proc /proc; mount --bind /proc "$root/proc"
cd "$root/etc/kubernetes/pki"
serve() { # PORT CERTIFICATE CA OPTIONS...
    openssl s_server -quiet -accept "127.0.0.1:$1" -cert "$2.crt" -key "$2.key" -CAfile "$3" "${@:4}" < /dev/null > "$root/$1.log" 2>&1 &
    servers+=($!)
    for _ in $(seq 400); do
        if ss --no-header --listening --tcp --numeric "sport = :$1" | grep -q .; then return; fi
        sleep 0.05
    done
    echo "nobody listens on $1" >&2; exit 1
}
serve_all() { servers=(); serve 6443 apiserver ca.crt; serve 2379 etcd/server etcd/ca.crt -Verify 3 -verify_return_error; }
look() { "$agent" check --at 2026-12-01T03:12:44Z --node-name node1 --output json --root "$root" > "$root/$1.json" || [ $? -le 2 ]; }
renew() { # CERTIFICATE CA
    ca_request_again "$1.crt" "$1.key"
    ca_sign "$root/renewed" 20261130000000Z 20271130000000Z reissue "$2.key" "$2.crt"
    mv "$1.crt" "$1.old"; mv "$root/renewed" "$1.crt"
}
serve_all; look healthy
renew apiserver ca; renew etcd/server etcd/ca; look renewed
kill "${servers[@]}"; wait "${servers[@]}" || true
serve_all; look restarted
# What it says of the connection it may say after it has closed it.
for _ in $(seq 400); do ! grep -q 'peer did not return' "$root/2379.log" || break; sleep 0.05; done
"#;

#[test]
fn the_api_server_and_etcd_are_asked_for_what_they_present() {
    if !nix::unistd::geteuid().is_root() {
        let _ = writeln!(std::io::stderr(), "left out: what the API server and etcd present, which needs root for namespaces of their own");
        return;
    }
    let disk = Disk::new();
    fs::remove_dir_all(&disk.0).unwrap();
    fs::create_dir(&disk.0).unwrap();
    disk.unpack("kubeadm-control-plane-healthy", &[]);
    let mut machine = Command::new("unshare");
    machine.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "bash", "-euo", "pipefail", "-c", CONTROL_PLANE, "machine"]);
    let output = machine.arg(&disk.0).arg(env!("CARGO_BIN_EXE_nodetriage")).arg(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report = |name: &str| serde_json::from_slice::<Report>(&fs::read(disk.path(&format!("{name}.json"))).unwrap()).unwrap();
    for name in ["healthy", "restarted"] {
        assert_eq!(findings(&report(name)), [""; 0], "{name}");
    }
    let report = report("renewed");
    let differs = |file: &str| format!("certificate-served-differs /etc/kubernetes/pki/{file}");
    assert_eq!(findings(&report), [differs("apiserver.crt"), differs("etcd/server.crt")]);
    let serial = |path: &str| {
        let output = Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(disk.path(path)).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().replace("serial=", "serial ")
    };
    for (file, name, address, pod) in [
        ("apiserver", "the API server's serving certificate", "127.0.0.1:6443", "kube-apiserver"),
        ("etcd/server", "etcd's serving certificate", "127.0.0.1:2379", "etcd"),
    ] {
        let path = format!("/etc/kubernetes/pki/{file}.crt");
        let finding = report.findings.iter().find(|finding| finding.subject == path).unwrap();
        assert_eq!(finding.summary, format!("{name} was replaced, and {address} still presents the old one, which ends in 357 d"));
        for (source, of) in [(address, path.replace(".crt", ".old")), (path.as_str(), path.clone())] {
            let evidence = finding.evidence.iter().find(|evidence| evidence.source == source).unwrap();
            assert!(evidence.saw.starts_with(&format!("{}, notAfter ", serial(&of))), "{evidence:?}");
        }
        assert_eq!(finding.remedy, [format!("crictl pods --namespace kube-system --label component={pod} --quiet | xargs -r crictl stopp")]);
    }
    let refused = fs::read_to_string(disk.path("2379.log")).unwrap();
    assert!(refused.contains("peer did not return a certificate"), "etcd's stand-in lets nobody in: {refused}");
}

/// The daemon's report about certificates, at once and without a pause until it is as expected; how long that took.
fn until(address: &str, expected: &[&str]) -> std::time::Duration {
    let start = std::time::Instant::now();
    loop {
        let mut answer = String::new();
        let mut connection = std::net::TcpStream::connect(address).unwrap();
        connection.write_all(b"GET /api/v1/report HTTP/1.1\r\nHost: node1\r\nConnection: close\r\n\r\n").unwrap();
        connection.read_to_string(&mut answer).unwrap();
        let report = answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str::<Report>(body).ok());
        let said = report.as_ref().map(findings);
        if said.as_deref().is_some_and(|said| said == expected) {
            return start.elapsed();
        }
        // The resync comes after minutes: only an event can have told it.
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "{said:?} instead of {expected:?}");
    }
}

#[test]
fn a_replaced_file_link_or_directory_is_seen_at_once() {
    let ca = ca("kubernetes");
    let client = |from: i64, to: i64| {
        let mut params = client_params();
        (params.not_before, params.not_after) = (OffsetDateTime::now_utc() + Duration::days(from), OffsetDateTime::now_utc() + Duration::days(to));
        issue(&params, &ca)
    };
    let (good, ended) = (client(-1, 364), client(-365, -1));
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
    for (dir, first, second) in [("pki", &good, &ended), ("pki.new", &ended, &good)] {
        disk.write(&format!("/var/lib/kubelet/{dir}/1.pem"), first.file());
        disk.write(&format!("/var/lib/kubelet/{dir}/2.pem"), second.file());
        symlink("1.pem", disk.path(&format!("/var/lib/kubelet/{dir}/kubelet-client-current.pem"))).unwrap();
    }
    let mut serve = Command::new(env!("CARGO_BIN_EXE_nodetriage"));
    serve.arg("serve").arg("--root").arg(&disk.0).args(["--node-name", "node1", "--listen", "127.0.0.1:0", "--state-dir", "none"]);
    let mut daemon = Running(serve.stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(daemon.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = log
        .find_map(|line| Some(line.split_once("listening on http://")?.1.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect::<String>()))
        .expect("the daemon starts");
    std::thread::spawn(move || log.for_each(drop));
    let expired = ["certificate-expired /var/lib/kubelet/pki/kubelet-client-current.pem"];
    let told = |what: &str, expected: &[&str]| println!("{what}: told after {:?}", until(&address, expected));
    told("at first", &[]);

    symlink("2.pem", disk.path("/var/lib/kubelet/pki/next")).unwrap();
    fs::rename(disk.path("/var/lib/kubelet/pki/next"), disk.path(CURRENT)).unwrap();
    told("a link that leads elsewhere", &expired);
    disk.write("/var/lib/kubelet/pki/next", good.file());
    fs::rename(disk.path("/var/lib/kubelet/pki/next"), disk.path("/var/lib/kubelet/pki/2.pem")).unwrap();
    told("another file behind it", &[]);
    for (what, expected) in [("another directory", &expired[..]), ("and back", &[])] {
        for (from, to) in [("pki", "pki.old"), ("pki.new", "pki"), ("pki.old", "pki.new")] {
            fs::rename(disk.path(&format!("/var/lib/kubelet/{from}")), disk.path(&format!("/var/lib/kubelet/{to}"))).unwrap();
        }
        told(what, expected);
    }
}

#[test]
fn a_file_that_may_not_be_read_is_unknown_and_no_fault_of_the_certificate() {
    let ca = ca("kubernetes");
    let disk = Disk::new();
    disk.write("/etc/kubernetes/pki/ca.crt", &ca.pem);
    disk.write(CURRENT, issue(&client_params(), &ca).file());
    for path in ["/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/config.yaml"] {
        fs::set_permissions(disk.path(path), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(disk.path(CURRENT), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(disk.path(CURRENT)).is_ok() {
        // Root reads all: as somebody else.
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]).arg(env!("CARGO_BIN_EXE_nodetriage"));
        let facts = nobody.args(["observe", "--node-name", "node1", "--root"]).arg(&disk.0).output().unwrap();
        let facts: Facts = serde_json::from_slice(&facts.stdout).unwrap_or_else(|error| panic!("{error}: {facts:?}"));
        unreadable(&facts);
    } else {
        unreadable(&disk.observe(&[]));
    }
}

fn unreadable(facts: &Facts) {
    assert_eq!(judged(facts), [""; 0]);
    let report = diagnose(facts, &Config::default());
    assert!(report.unknown.iter().any(|spot| format!("{spot:?}").contains(CURRENT)), "{:#?}", report.unknown);
}

/// Which of these bytes lie in the memory that a process can write.
fn in_memory(pid: u32, wanted: &[(String, Vec<u8>)]) -> Vec<String> {
    use std::os::unix::fs::FileExt as _;
    let patterns = wanted.iter().map(|(_, bytes)| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>());
    let patterns = regex::bytes::RegexSetBuilder::new(patterns).unicode(false).build().unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found: Vec<String> = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let mut bytes = vec![0; usize::try_from(u64::from_str_radix(to, 16).unwrap() - from).unwrap()];
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            found.extend(patterns.matches(&bytes).into_iter().map(|at| format!("{} {}", wanted[at].0, line.split(' ').next_back().unwrap())));
        }
    }
    found
}

/// A part of a private key in each form in which it passes through the process: as text in its file, decoded, and decoded again.
fn forms_of_key(name: &str, base64: &str) -> Vec<(String, Vec<u8>)> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let middle = |bytes: &[u8]| bytes[bytes.len() / 2..bytes.len() / 2 + 24].to_vec();
    let mut forms = vec![(format!("{name}, base64"), middle(base64.as_bytes()))];
    let mut text = base64.to_owned();
    while let Ok(bytes) = engine.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()) {
        forms.push((format!("{name}, decoded {} times", forms.len()), middle(&bytes)));
        text = String::from_utf8_lossy(&bytes).into_owned();
    }
    forms
}

#[test]
fn no_private_key_stays_in_memory_and_no_core_is_written() {
    use std::os::unix::process::ExitStatusExt as _;
    if !nix::unistd::geteuid().is_root() {
        let _ = writeln!(std::io::stderr(), "left out: what stays in memory, which only root may read");
        return;
    }
    let disk = Disk::new();
    disk.unpack("kubeadm-control-plane-healthy", &[]);
    let mut keys = Vec::new();
    for kubeconfig in ["kubelet.conf", "admin.conf", "controller-manager.conf"] {
        let text = fs::read_to_string(disk.path(&format!("/etc/kubernetes/{kubeconfig}"))).unwrap();
        let data = text.lines().find_map(|line| line.trim().strip_prefix("client-key-data: ")).unwrap();
        keys.extend(forms_of_key(kubeconfig, data));
    }
    for file in ["/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/apiserver.key", "/etc/kubernetes/pki/etcd/server.key"] {
        keys.extend(forms_of_key(file, &fs::read_to_string(disk.path(file)).unwrap()));
    }
    // Of RSA, which lies in PKCS#1 here, and decoded once; a kubeconfig's twice.
    assert_eq!(keys.len(), 3 * 3 + 3 * 2);
    let ca = ca("kubernetes");
    let (rotated, beside) = (issue_with(&client_params(), &ca, &PKCS_ED25519), issue_with(&client_params(), &ca, &PKCS_ECDSA_P256_SHA256));
    fs::remove_file(disk.path(CURRENT)).unwrap();
    disk.write(CURRENT, rotated.file());
    disk.write("/var/lib/kubelet/pki/kubelet.crt", &beside.pem);
    disk.write("/var/lib/kubelet/pki/kubelet.key", &beside.key);
    keys.extend(forms_of_key("Ed25519", &rotated.key));
    keys.extend(forms_of_key("P-256", &beside.key));
    // The number itself, behind its version in PKCS#8, as it stands there and as a processor reads it.
    let der = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(beside.key.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
    };
    let at = der.windows(5).position(|bytes| bytes == [2, 1, 1, 4, 32]).unwrap() + 5;
    let number = der[at..at + 32].to_vec();
    keys.push(("P-256, reversed".to_owned(), number.iter().rev().copied().collect()));
    keys.push(("P-256, the number".to_owned(), number));
    let with_cores = |program: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh", program]).current_dir(&disk.0);
        command
    };
    let abort = |child: &mut Running| {
        assert!(Command::new("kill").args(["-ABRT", &child.0.id().to_string()]).status().unwrap().success());
        child.0.wait().unwrap().core_dumped()
    };
    let mut serve = with_cores(env!("CARGO_BIN_EXE_nodetriage"));
    serve.args(["serve", "--listen", "127.0.0.1:0", "--state-dir", "none", "--root"]).arg(&disk.0);
    let mut daemon = Running(serve.stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(daemon.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    // What is told once the certificates have been judged.
    assert!(log.any(|line| line.contains("certificate-untrusted-issuer")), "the certificates are judged");
    let name = ("the certificates' name".to_owned(), b"kube-apiserver-kubelet-client".to_vec());
    assert_ne!(in_memory(daemon.0.id(), &[name]), Vec::<String>::new(), "what is looked for is found");
    assert_eq!(in_memory(daemon.0.id(), &keys), Vec::<String>::new());
    let other = abort(&mut Running(with_cores("sleep").arg("60").spawn().unwrap()));
    eprintln!("another program leaves a core here: {other}");
    assert!(!abort(&mut daemon), "it leaves no core");
}
