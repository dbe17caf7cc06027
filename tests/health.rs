//! Who answers, who listens, how far the API server is reached: with real sockets on loopback, and with the lines that real programs wrote.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nodetriage::checks;
use nodetriage::config::{Config, Probes};
use nodetriage::facts::health::{Answer, Owner, Reach};
use nodetriage::facts::kube_proxy::Process;
use nodetriage::facts::kubelet::FileState;
use nodetriage::facts::{Facts, Health, KubeProxy, Node, Observed, Timestamp};
use nodetriage::observe::host::Host;
use nodetriage::observe::signals::Signals;
use nodetriage::observe::{health, kube_proxy, kubelet};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// What a loaded machine is given.
const DEADLINE: Duration = Duration::from_secs(20);
const NOWHERE: u16 = 1;

/// A node in a directory of its own, with this machine's /proc: its processes and its network are real.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str, kubelet: &str, kubeconfig: &str) -> Self {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("health-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let machine = Self(root);
        machine.write("var/lib/kubelet/config.yaml", &format!("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{kubelet}"));
        machine.write("etc/kubernetes/kubelet.conf", kubeconfig);
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A running node has a procfs, which only a mount or this machine's own root brings.
    fn facts(&self, probes: Probes) -> Facts {
        let disk = Host::open(&self.0).unwrap();
        let node = Node { live: true, signs: vec!["/etc/kubernetes/kubelet.conf".to_owned()], ..Node::default() };
        let mut facts = Facts::unobserved(Timestamp::from(std::time::SystemTime::now()), node);
        facts.kubelet = Observed::Known(kubelet::observe(&disk, &facts.units));
        // The kubeconfig is named by its path on this machine.
        if let Observed::Known(kubelet) = &mut facts.kubelet
            && let Some(kubeconfig) = &mut kubelet.kubeconfig
        {
            kubeconfig.file.path.value = self.0.join("etc/kubernetes/kubelet.conf").display().to_string();
        }
        let config = Config { probes, ..Config::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        facts.health = runtime.block_on(health::observe(&Arc::new(Host::open("/".as_ref()).unwrap()), &config, &facts)).into();
        runtime.shutdown_background();
        facts
    }

    fn health(&self) -> Health {
        self.facts(Probes::All).health.ok().unwrap().clone()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kubeconfig(server: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {{ server: \"{server}\"{more} }}\ncontexts:\n- name: x\n  context: {{ cluster: c, user: u }}\ncurrent-context: x\nusers:\n- name: u\n  user: {{}}\n"
    )
}

/// A server on a port of its own, that does this with each connection; how many there were.
fn server(answer: impl Fn(TcpStream) + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            answer(connection);
        }
    });
    (address, count)
}

fn says(reply: &'static [u8]) -> impl Fn(TcpStream) + Send + 'static {
    move |mut connection| {
        let mut question = [0; 1024];
        let length = connection.read(&mut question).unwrap_or(0);
        let question = String::from_utf8_lossy(&question[..length]).into_owned();
        assert!(question.starts_with("GET /healthz HTTP/1.1\r\n"), "{question}");
        assert!(!question.to_lowercase().contains("authorization"), "no credential is sent: {question}");
        let _ = connection.write_all(reply);
    }
}

/// A port on which nobody listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn asked(name: &str, address: SocketAddr) -> Answer {
    let machine = Machine::new(name, &format!("healthzPort: {}\n", address.port()), &kubeconfig("https://127.0.0.1:1", ""));
    machine.health().kubelet.unwrap().answer.ok().unwrap().clone()
}

#[test]
fn what_the_kubelet_says_of_itself_is_told_in_its_words() {
    assert_eq!(asked("well", server(says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")).0), Answer::Http { status: 200, body: "ok".to_owned() });
    let ill = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 40\r\n\r\n[-]syncloop failed: sync Loop took longer\n";
    assert_eq!(asked("ill", server(says(ill)).0), Answer::Http { status: 500, body: "[-]syncloop failed: sync Loop took longer".to_owned() });
    assert!(matches!(asked("ssh", server(says(b"SSH-2.0-OpenSSH_9.2\r\n")).0), Answer::NotHttp(_)));
    assert!(matches!(asked("hangs-up", server(says(b"")).0), Answer::NotHttp(_)));
    assert_eq!(asked("refused", SocketAddr::from(([127, 0, 0, 1], free_port()))), Answer::Refused);
}

#[test]
fn a_hang_is_told_as_one_and_an_endless_answer_has_an_end() {
    let start = Instant::now();
    // Taken by the kernel, and by nobody else.
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(asked("hung", hung.local_addr().unwrap()), Answer::Silent(2));
    let drips = server(|mut connection| {
        while connection.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(asked("drips", drips.0), Answer::Silent(2));
    let floods = server(|mut connection| {
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while connection.write_all(&[b'x'; 16384]).is_ok() {}
    });
    let Answer::Http { status: 200, body } = asked("floods", floods.0) else { panic!("it answers") };
    assert!(body.len() <= Answer::MOST);
    assert!(start.elapsed() < DEADLINE);
}

#[test]
fn switched_off_nobody_is_asked() {
    let (address, count) = server(says(b"HTTP/1.1 200 OK\r\n\r\n"));
    let config = format!("healthzPort: {}\n", address.port());
    let machine = Machine::new("off", &config, &kubeconfig(&format!("http://{address}"), ""));
    let facts = machine.facts(Probes::None);
    let health = facts.health.ok().unwrap();
    let blind = health.kubelet.as_ref().unwrap().answer.blind().unwrap().clone();
    assert!(blind.reason.contains("probes is none"), "{blind}");
    assert!(health.api_server.as_ref().unwrap().reach.blind().unwrap().reason.contains("probes is none"));
    assert_eq!(count.load(Ordering::SeqCst), 0, "nobody was asked");
    assert!(facts.blind_spots().iter().any(|(_, spot)| spot.reason.contains("probes is none")), "and that is said");
    // Loopback alone.
    let machine = Machine::new("loopback", &config, &kubeconfig("https://192.0.2.1:6443", ""));
    let health = machine.facts(Probes::Loopback).health.ok().unwrap().clone();
    assert!(health.kubelet.unwrap().answer.known().unwrap().is_well());
    assert_eq!(health.api_server.unwrap().reach.blind().unwrap().reason, "192.0.2.1:6443 is not asked: probes is loopback");
}

#[test]
fn a_disk_is_never_asked() {
    let (address, count) = server(says(b"HTTP/1.1 200 OK\r\n\r\n"));
    let machine = Machine::new("disk", &format!("healthzPort: {}\n", address.port()), &kubeconfig(&format!("http://{address}"), ""));
    let output = Command::new(env!("CARGO_BIN_EXE_nodetriage")).args(["observe", "--root"]).arg(&machine.0).output().unwrap();
    let facts: Facts = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(*facts.health.ok().unwrap(), Health { listeners: Observed::Known(Vec::new()), ..Health::default() });
    assert_eq!(facts.kube_proxy.ok().unwrap().process, Observed::Known(Process::NotAsked));
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

fn reached(name: &str, server: &str, more: &str) -> Reach {
    let machine = Machine::new(name, "healthzPort: 0\n", &kubeconfig(server, more));
    machine.health().api_server.unwrap().reach.ok().unwrap().clone()
}

struct Ca(Issuer<'static, KeyPair>, String);

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Ca(Issuer::new(params, key), pem)
}

/// A TLS server of Python's `ssl`, stopped when this is dropped.
struct Tls {
    process: Child,
    address: SocketAddr,
    dir: PathBuf,
}

impl Tls {
    fn start(name: &str, by: &Ca) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &by.0).unwrap();
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("health-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("server.pem"), format!("{}{}", certificate.pem(), key.serialize_pem())).unwrap();
        let program = "import socket, ssl, sys\n\
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
            context.load_cert_chain(sys.argv[1])\n\
            server = socket.create_server(('127.0.0.1', 0))\n\
            print(server.getsockname()[1], flush=True)\n\
            while True:\n    try:\n        with context.wrap_socket(server.accept()[0], server_side=True) as tls: tls.recv(100)\n    except OSError: pass\n";
        let mut process = Command::new("python3").args(["-c", program]).arg(dir.join("server.pem")).stdout(Stdio::piped()).spawn().expect("python3 is here");
        let mut port = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(process.stdout.as_mut().unwrap()), &mut port).unwrap();
        Self { process, address: SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap())), dir }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn trusting(ca: &Ca) -> String {
    use base64::Engine as _;
    format!(", certificate-authority-data: {}", base64::engine::general_purpose::STANDARD.encode(&ca.1))
}

#[test]
fn an_api_server_is_reached_refused_silent_or_not_to_be_trusted() {
    let (right, wrong) = (ca("kubernetes"), ca("another-cluster"));
    let tls = Tls::start("good", &right);
    let url = format!("https://{}", tls.address);
    assert_eq!(reached("trusted", &url, &trusting(&right)), Reach::Answered { address: tls.address });
    let Reach::Untrusted { error, issuer, .. } = reached("untrusted", &url, &trusting(&wrong)) else { panic!("it is signed by another CA") };
    assert!(error.contains("another CA"), "{error}");
    assert_eq!(issuer, "CN=kubernetes");
    assert_eq!(reached("skips", &url, ", insecure-skip-tls-verify: true"), Reach::Answered { address: tls.address });
    let called = reached("renamed", &url, &format!("{}, tls-server-name: kubernetes.default", trusting(&right)));
    assert!(matches!(called, Reach::Untrusted { ref error, .. } if error.contains("not made out to kubernetes.default")), "{called:?}");

    let port = free_port();
    assert_eq!(reached("refused", &format!("https://127.0.0.1:{port}"), ""), Reach::Refused { address: SocketAddr::from(([127, 0, 0, 1], port)) });
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hung.local_addr().unwrap();
    assert_eq!(reached("hung", &format!("https://{address}"), ""), Reach::Silent { address, seconds: 2 });
    let (address, _) = server(|mut connection| _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    assert!(matches!(reached("plain", &format!("https://{address}"), ""), Reach::NotTls { .. }));
}

#[test]
fn a_connection_of_the_nodes_own_is_witness_enough() {
    // A server that would not begin TLS, and a connection to it that stands.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _stands = TcpStream::connect(address).unwrap();
    assert_eq!(reached("stands", &format!("https://{address}"), ""), Reach::Connected);
    let machine = Machine::new("stands-quietly", "healthzPort: 0\n", &kubeconfig(&format!("https://{address}"), ""));
    let health = machine.facts(Probes::None).health.ok().unwrap().clone();
    assert_eq!(health.api_server.unwrap().reach, Observed::Known(Reach::Connected), "nobody needs to be asked");
}

#[test]
fn a_black_hole_has_an_end() {
    let start = Instant::now();
    // TEST-NET-1 (RFC 5737): routed nowhere, or dropped.
    let reach = reached("black-hole", "https://192.0.2.1:6443", "");
    assert!(matches!(reach, Reach::NoConnection { .. } | Reach::NoRoute { .. } | Reach::Refused { .. }), "{reach:?}");
    assert!(start.elapsed() < DEADLINE);
}

#[test]
fn who_holds_the_kubelets_port_is_named() {
    let holder = Command::new("python3")
        .args(["-c", "import socket, sys\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\nsys.stdin.read()"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut holder = holder.expect("python3 is here");
    let mut port = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.as_mut().unwrap()), &mut port).unwrap();
    let port: u16 = port.trim().parse().unwrap();
    let machine = Machine::new("holder", &format!("port: {port}\nhealthzPort: 0\n"), &kubeconfig(&format!("https://127.0.0.1:{NOWHERE}"), ""));
    let mut facts = machine.facts(Probes::All);
    let listener = facts.health.ok().unwrap().listener(port).unwrap().clone();
    let found = listener.holder.known().unwrap();
    assert_eq!(found.pid, holder.id());
    assert!(found.command.starts_with("python3"), "{found:?}");
    let told = &checks::kubelet_port_in_use::CHECK;
    let findings = (told.examine)(&facts, &Config::default()).unwrap();
    assert_eq!(findings.len(), 1);
    assert!(findings[0].summary.contains(&format!("{} (pid {}) holds the kubelet's port {port}", found.command, found.pid)), "{findings:?}");
    assert!(!matches!(found.of, Some(Owner::Pod(_))));
    drop(holder.stdin.take());
    holder.wait().unwrap();
    facts = machine.facts(Probes::All);
    assert_eq!(facts.health.ok().unwrap().listener(port), None, "it has gone");
    assert_eq!((told.examine)(&facts, &Config::default()).unwrap(), []);
}

/// What a disk tells of kube-proxy.
fn disk(name: &str, files: &[(&str, &str)]) -> KubeProxy {
    let machine = Machine::new(name, "", &kubeconfig("https://192.0.2.1:6443", ""));
    for (path, text) in files {
        machine.write(path, text);
    }
    let host = Host::open(&machine.0).unwrap();
    let units = nodetriage::observe::units::from_files(&host, &Config::default()).into();
    let kubelet = kubelet::observe(&host, &units);
    kube_proxy::observe(&host, Some(&kubelet), &units)
}

const UNIT: &str =
    "[Service]\nExecStart=/usr/local/bin/kube-proxy --config=/var/lib/kube-proxy/kube-proxy-config.yaml\n[Install]\nWantedBy=multi-user.target\n";
const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
const POD: &str = "5ad1f5a2-1b2c-4d3e-8f90-0123456789ab";

#[test]
fn kube_proxy_as_a_unit() {
    let unit = ("etc/systemd/system/kube-proxy.service", UNIT);
    let config = "clientConnection:\n  kubeconfig: /var/lib/kube-proxy/kubeconfig\nmode: ipvs\nhealthzBindAddress: 127.0.0.1\nhostnameOverride: node1\n";
    let config = format!("{HEAD}{config}");
    let path = "var/lib/kube-proxy/kube-proxy-config.yaml";
    let found = disk("unit", &[unit, (path, &config), ("var/lib/kube-proxy/kubeconfig", &kubeconfig("https://192.0.2.1:6443", ""))]);
    assert_eq!(found.config.unwrap().state, FileState::Valid);
    assert_eq!((found.mode.value.as_str(), found.mode.source.as_str()), ("ipvs", "/var/lib/kube-proxy/kube-proxy-config.yaml:5"));
    assert_eq!(found.healthz_bind_address.value, "127.0.0.1:10256", "a port is added");
    assert_eq!(found.hostname_override.unwrap().value, "node1");
    let kubeconfig = found.kubeconfig.unwrap();
    assert_eq!((kubeconfig.file.state, kubeconfig.server.unwrap().value.as_str()), (FileState::Valid, "https://192.0.2.1:6443"));

    assert_eq!(disk("unit-missing", &[unit]).config.unwrap().state, FileState::Missing);
    let found = disk("unit-kubeconfig-missing", &[unit, (path, &config)]);
    assert_eq!(found.kubeconfig.unwrap().file.state, FileState::Missing);
    for (name, text, told) in [
        ("no-yaml", "mode: [ipvs\n", "not YAML"),
        ("empty", "", "empty"),
        ("other-kind", "kind: Pod\napiVersion: v1\n", "apiVersion is"),
        (
            "bomb",
            &format!("a: &a [x,x,x,x,x,x,x,x,x]\n{}", (0..30).map(|n| format!("b{n}: &b{n} [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n")).collect::<String>()),
            "expected",
        ),
        ("deep", &"[".repeat(100_000), "not YAML"),
        ("binary", "\0\u{1}\u{2}", ""),
    ] {
        let state = disk(name, &[unit, (path, text)]).config.unwrap().state;
        let FileState::Invalid(faults) = &state else { panic!("{name}: {state:?}") };
        assert!(faults[0].message.contains(told), "{name}: {faults:?}");
    }
    let long = "#".repeat(2 << 20);
    assert!(matches!(disk("long", &[unit, (path, &long)]).config.unwrap().state, FileState::Invalid(_)));
}

/// As the packages of old did it, and as people do: the command line is made of variables.
#[test]
fn kube_proxy_as_a_unit_that_is_started_by_variables() {
    let config = ("srv/kube-proxy.yaml", format!("{HEAD}mode: ipvs\n"));
    let unit = "[Service]\nEnvironment=KUBE_DIR=/srv\nEnvironmentFile=-/etc/kubernetes/config\nEnvironmentFile=-/etc/kubernetes/proxy\n\
        ExecStart=/usr/bin/kube-proxy $KUBE_LOG --config=${KUBE_DIR}/kube-proxy.yaml $KUBE_PROXY_ARGS\n[Install]\nWantedBy=multi-user.target\n";
    let files = |arguments: &'static str| {
        vec![
            ("etc/systemd/system/kube-proxy.service", unit),
            ("etc/kubernetes/config", "# all\nKUBE_LOG=\"--logtostderr=true --v=0\"\n"),
            ("etc/kubernetes/proxy", arguments),
            (config.0, config.1.as_str()),
        ]
    };
    let found = disk("variables", &files("\n###\nKUBE_PROXY_ARGS=\"--hostname-override=other --healthz-bind-address=[::]:10256\"\n"));
    let path = found.config.unwrap();
    assert_eq!((path.path.value.as_str(), path.path.source.as_str()), ("/srv/kube-proxy.yaml", "kube-proxy.service Environment --config"));
    assert_eq!((path.state, found.mode.value.as_str()), (FileState::Valid, "ipvs"));
    let name = found.hostname_override.unwrap();
    assert_eq!((name.value.as_str(), name.source.as_str()), ("other", "/etc/kubernetes/proxy:3 --hostname-override"));
    // The last one counts, wherever it stands.
    let found = disk("variables-later", &files("KUBE_PROXY_ARGS='--config /srv/none.yaml'\n"));
    let path = found.config.unwrap();
    assert_eq!((path.path.source.as_str(), path.state), ("/etc/kubernetes/proxy:1 --config", FileState::Missing));
    // Not all that it is started with is known: nothing is said of it.
    assert_eq!(disk("variables-unknown", &files("OTHER=x\n")).config, None);
}

#[test]
fn kube_proxy_as_a_pod_that_has_exited() {
    let logs = format!("var/log/pods/kube-system_kube-proxy-x7k2p_{POD}/kube-proxy/7.log");
    let volume = format!("var/lib/kubelet/pods/{POD}/volumes/kubernetes.io~configmap/kube-proxy/config.conf");
    let said = "2026-12-01T03:12:22.000000000Z stderr F I1201 03:12:22.1       1 server.go:1] \"Version info\"\n\
        2026-12-01T03:12:22.440129000Z stderr F E1201 03:12:22.440129       1 run.go:72] \"command failed\" err=\"failed validate: KubeProxyConfiguration.Mode.ProxyMode: Invalid value: \\\"iptable\\\"\"\n";
    let found = disk("pod", &[(&logs, said), (&volume, &format!("{HEAD}mode: iptable\n"))]);
    assert_eq!(found.pod_logs.unwrap(), format!("/var/log/pods/kube-system_kube-proxy-x7k2p_{POD}"));
    assert_eq!(found.last_words.len(), 1);
    assert!(found.last_words[0].value.starts_with("E1201 03:12:22.440129"), "{:?}", found.last_words);
    assert_eq!(found.config_on_node.unwrap(), format!("/{volume}"));
    let config = found.config.unwrap();
    assert_eq!(config.path.value, "/var/lib/kube-proxy/config.conf");
    assert_eq!(config.faults()[0].place("/c"), "/c:3:7");
    // The same as Docker writes it.
    let docker = |line: &str| format!("{}\n", serde_json::json!({"log": format!("{}\n", &line[40..]), "stream": "stderr", "time": &line[..30]}));
    let said_by_docker: String = said.lines().map(docker).collect();
    assert_eq!(disk("pod-of-docker", &[(&logs, &said_by_docker), (&volume, "")]).last_words, found.last_words);
    // A pod of which the kubelet knows nothing more is gone.
    assert_eq!(disk("gone", &[(&logs, said)]).pod_logs, None);
}

#[test]
fn within_k3s_it_is_not_missed() {
    let found =
        disk("k3s", &[("etc/systemd/system/k3s-agent.service", "[Service]\nExecStart=/usr/local/bin/k3s agent\n[Install]\nWantedBy=multi-user.target\n")]);
    assert_eq!(found.replaced_by.unwrap().value, "k3s-agent");
}

/// The codes that count any line of a recording.
fn counted(recording: &str, unit: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/logs").join(recording);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let signals = Signals::new(&checks::signals());
    let set = signals.unit(unit).unwrap();
    let mut codes: Vec<String> = text
        .lines()
        .flat_map(|line| set.matching(line.as_bytes()))
        .filter(|code| code.starts_with("api-server-") || code.ends_with("port-in-use"))
        .map(str::to_owned)
        .collect();
    codes.sort();
    codes.dedup();
    codes
}

#[test]
fn what_real_kubelets_wrote_is_counted_for_what_it_means() {
    let kubelet = |recording: &str| counted(recording, "kubelet.service");
    assert_eq!(kubelet("kubelet-1.36.2-healthy-v0.log"), [""; 0]);
    assert_eq!(kubelet("kubelet-1.36.2-port-10250-in-use.log"), ["kubelet-port-in-use"]);
    assert_eq!(kubelet("kubelet-1.36.2-apiserver-refused.log"), ["api-server-refused"]);
    assert_eq!(kubelet("kubelet-1.36.2-apiserver-dns-refused.log"), ["api-server-name-unresolvable"]);
    assert_eq!(kubelet("kubelet-1.36.2-apiserver-timeout-then-recovers.log"), ["api-server-unreachable"]);
    assert_eq!(kubelet("kubelet-1.36.2-apiserver-unknown-ca.log"), ["api-server-untrusted"]);
    assert_eq!(kubelet("kubelet-1.36.2-cert-wrong-ca.log"), ["api-server-unauthorized"]);
    let kube_proxy = |recording: &str| counted(recording, "kube-proxy.service");
    assert_eq!(kube_proxy("kube-proxy-1.36.2-healthy.log"), [""; 0]);
    assert_eq!(kube_proxy("kube-proxy-1.36.2-healthz-port-in-use.log"), ["kube-proxy-port-in-use"]);
    assert_eq!(kube_proxy("kube-proxy-1.36.2-metrics-port-in-use.log"), ["kube-proxy-port-in-use"]);
}
