//! cargo bench --bench certificates: 1,000 certificates found, read, parsed, checked against their CA and judged, beside what
//! `openssl x509` takes for one. x509-certificate-exporter 4.2 needs 194 ms to see 1,000 (35 ms with 10), parsing alone.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nodetriage::config::Config;
use nodetriage::diagnose::diagnose;
use nodetriage::facts::{Blind, Facts, Node, Observed, Timestamp};
use nodetriage::observe::host::Host;
use nodetriage::observe::{certificates, kubelet};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};

const COUNT: u32 = 1000;
const OPENSSL: u32 = 50;

fn main() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-certificates");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(root.join("srv")).expect("a directory for the certificates");
    std::fs::create_dir_all(root.join("var/lib/rancher/k3s/agent")).expect("a directory for the CA");
    let file = |name: u32| root.join(format!("srv/{name:04}.pem"));
    let (params, key) = (CertificateParams::default(), KeyPair::generate().expect("a key"));
    let ca = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().expect("a key");
    for number in 0..COUNT {
        let mut params = CertificateParams::new(vec![format!("host{number}.example"), "192.0.2.1".to_owned()]).expect("names");
        params.distinguished_name.push(DnType::CommonName, format!("certificate {number}"));
        std::fs::write(file(number), params.signed_by(&leaf_key, &ca).expect("a certificate").pem()).expect("its file");
    }
    let host = Host::open(&root).expect("the directory");
    let units = Observed::Unknown(Blind::new("not asked"));
    let kubelet = kubelet::observe(&host, &units);
    let paths = ["/srv/*".to_owned()];
    let look = || {
        let start = Instant::now();
        let found = certificates::observe(&host, &kubelet, &units, &paths);
        let seen = start.elapsed();
        let mut facts = Facts::unobserved(Timestamp::from(std::time::SystemTime::now()), Node::default());
        facts.certificates = Observed::Known(found);
        let report = diagnose(&facts, &Config::default());
        assert_eq!(facts.certificates.known().map(|found| found.places.len()), Some(COUNT as usize));
        assert!(report.findings.iter().all(|finding| !finding.code.starts_with("certificate-")));
        (seen, start.elapsed())
    };
    look();
    let best = (0..10).map(|_| look()).min_by_key(|(_, all)| *all).expect("ten looks");
    let each = |time: Duration, count: u32| time.as_secs_f64() * 1e6 / f64::from(count);
    println!(
        "nodetriage, {COUNT} certificates      {:>9.1} µs each to see, {:.1} µs to judge",
        each(best.0, COUNT),
        each(best.1.saturating_sub(best.0), COUNT)
    );
    let start = Instant::now();
    for number in 0..OPENSSL {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-subject", "-issuer", "-dates", "-in"]).arg(file(number)).stdout(Stdio::null());
        if !openssl.status().is_ok_and(|status| status.success()) {
            println!("openssl x509                       is not here");
            return;
        }
    }
    println!("openssl x509, a process each       {:>9.1} µs each", each(start.elapsed(), OPENSSL));
    println!("x509-certificate-exporter 4.2          194.0 µs each, of 194 ms to see 1,000 (measured once, on such a machine)");
    let _ = std::fs::remove_dir_all(&root);
}
