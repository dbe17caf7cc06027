//! Real containerds, 1.7 and 2.x (`tests/lab/containerd`): which CNI configuration they load out of many odd directories, and
//! what is told of one that is stopped, paused, misconfigured.

#[path = "lab/mod.rs"]
mod lab;

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::{DEADLINE, Lab, folded, roots};
use nodetriage::facts::cni::ConfState;
use nodetriage::facts::runtime::{Answer, Reply};
use nodetriage::facts::{Blind, Cni, Observed};
use nodetriage::observe::host::Host;
use nodetriage::observe::{cni, cri};
use serde_json::Value;

/// Where `tests/lab/containerd` keeps them.
fn containerds() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/containerd");
    let output = Command::new(script).stderr(Stdio::inherit()).output().expect("tests/lab/containerd starts");
    assert!(output.status.success(), "tests/lab/containerd: {}", output.status);
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

/// As [`containerds`], asked once.
fn containerds_once() -> &'static Path {
    static KEPT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    KEPT.get_or_init(containerds)
}

/// A containerd of its own, whose CNI directory is that of a small tree.
struct Containerd {
    child: Child,
    dir: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Containerd {
    fn start(generation: u8, most: u32) -> Self {
        let dir = std::env::temp_dir().join(format!("nodetriage-containerd-{}-{generation}-{most}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        for path in ["tree/etc/cni/net.d", "tree/etc/containerd", "tree/opt/cni/bin"] {
            fs::create_dir_all(dir.join(path)).unwrap();
        }
        let at = dir.display();
        let cni = format!("[plugins.\"io.containerd.grpc.v1.cri\".cni]\nmax_conf_num = {most}\n");
        fs::write(dir.join("tree/etc/containerd/config.toml"), format!("version = 2\n{cni}")).unwrap();
        let config = format!(
            "version = 2\nroot = \"{at}/tree/var/lib/containerd\"\nstate = \"{at}/state\"\n[grpc]\naddress = \"{at}/c.sock\"\n[debug]\nlevel = \"debug\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{at}/opt\"\n{cni}conf_dir = \"{at}/tree/etc/cni/net.d\"\n"
        );
        fs::write(dir.join("config.toml"), config).unwrap();
        let log = fs::File::create(dir.join("log")).unwrap();
        let binary = containerds().join(format!("{generation}/usr/bin/containerd"));
        let mut command = Command::new(&binary);
        command.arg("--config").arg(dir.join("config.toml")).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let containerd = Self { child, dir, runtime };
        containerd.until("it answers", || matches!(containerd.ask(), Reply::Answered(_)));
        containerd
    }

    fn ask(&self) -> Reply {
        let host = Host::open(Path::new("/")).unwrap();
        self.runtime.block_on(cri::ask(&host, self.dir.join("c.sock").to_str().unwrap(), None))
    }

    fn answer(&self) -> Answer {
        match self.ask() {
            Reply::Answered(answer) => *answer,
            other => panic!("{other:?}"),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    fn until(&self, what: &str, so: impl Fn() -> bool) {
        let start = Instant::now();
        while !so() {
            assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes this the CNI directory, and waits until containerd has read it whole. It loads the directory at each event and
    /// logs the event before: the second of two files that mean nothing is logged after the first has made it load.
    fn read(&self, number: usize, entries: &[Entry]) -> (Answer, Cni) {
        let net = self.dir.join("tree/etc/cni/net.d");
        for entry in fs::read_dir(&net).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() && !entry.is_symlink() { fs::remove_dir_all(entry).unwrap() } else { fs::remove_file(entry).unwrap() }
        }
        for Entry { name, kind } in entries {
            let path = net.join(std::ffi::OsStr::from_bytes(name));
            match kind {
                Kind::File(content) => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, content).unwrap();
                }
                Kind::Directory => fs::create_dir(path).unwrap(),
                Kind::Link(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                Kind::Long => fs::File::create(path).unwrap().set_len(3 << 20).unwrap(),
            }
        }
        for sign in ["first", "second"] {
            fs::write(net.join(format!("{number}.{sign}")), "").unwrap();
            fs::write(net.join(format!("{number}.{sign}")), "x").unwrap();
        }
        let last = format!("/{number}.second");
        self.until("the directory is read", || {
            self.log().lines().any(|line| line.contains("receiving change event from cni conf dir") && line.contains(&last))
        });
        let host = Host::open(&self.dir.join("tree")).unwrap();
        let ours = cni::observe(&host, None, &Observed::Unknown(Blind::new("no units"))).unwrap();
        (self.answer(), ours)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[derive(Clone, Debug)]
struct Entry {
    name: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    File(Vec<u8>),
    Directory,
    Link(&'static str),
    /// Zeros, more than it takes.
    Long,
}

impl Kind {
    fn show(&self) -> String {
        match self {
            Self::File(content) => String::from_utf8_lossy(content).into_owned(),
            other => format!("{other:?}"),
        }
    }
}

/// What may stand in a file: what is good, what is odd, what is bad.
const CONTENTS: [&str; 65] = [
    r#"{"cniVersion":"0.3.1","name":"cbr0","plugins":[{"type":"flannel","delegate":{"isDefaultGateway":true}},{"type":"portmap","capabilities":{"portMappings":true}}]}"#,
    r#"{"cniVersion":"1.0.0","name":"bridged","plugins":[{"type":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"10.0.0.0/24"}]]}}]}"#,
    r#"{"cniVersion":"0.4.0","name":"single","type":"bridge","ipam":{"type":"host-local"}}"#,
    r#"{"name":"listed","cniVersion":"0.3.1","cniVersions":["0.3.1","1.0.0"],"plugins":[{"type":"ptp"}]}"#,
    "{\"name\":\"commented\", // mine\n\"plugins\":[{\"type\":\"ptp\"}]}",
    "\u{feff}{\"name\":\"marked\",\"plugins\":[{\"type\":\"ptp\"}]}",
    "",
    " \n",
    "{}",
    "[]",
    "null",
    "3",
    "\0\0\0",
    r#"{"name":"n"}"#,
    r#"{"name":"n","plugins":[]}"#,
    r#"{"name":"n","plugins":null}"#,
    r#"{"name":"n","plugins":{}}"#,
    r#"{"name":"n","plugins":[{}]}"#,
    r#"{"name":"n","plugins":[null]}"#,
    r#"{"name":"n","plugins":["ptp"]}"#,
    r#"{"name":"n","plugins":[{"type":""}]}"#,
    r#"{"name":"n","plugins":[{"type":3}]}"#,
    r#"{"name":"n","plugins":[{"type":"ptp"},{"name":"x"}]}"#,
    r#"{"plugins":[{"type":"ptp"}]}"#,
    r#"{"name":null,"plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"","plugins":[{"type":"ptp"}]}"#,
    r#"{"name":7,"plugins":[{"type":"ptp"}]}"#,
    r#"{"Name":"upper","Plugins":[{"Type":"ptp"}]}"#,
    r#"{"name":"typed","type":"ptp","plugins":[{"type":"ptp"}]}"#,
    r#"{"type":"ptp"}"#,
    r#"{"Type":"ptp","NAME":"loud"}"#,
    r#"{"type":"ptp","name":5}"#,
    r#"{"type":"ptp","name":"x","cniVersion":1}"#,
    r#"{"name":"x","cniVersion":1,"plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"old","cniVersion":"0.5.0","plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"odd","cniVersion":"latest","plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"x","cniVersions":"1.0.0","plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"x","cniVersions":["latest"],"plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"x","cniVersions":[],"plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"x","disableCheck":true,"plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"x","disableCheck":"true","plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"x","disableCheck":"maybe","plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"x","disableCheck":1,"plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"x","disableGC":"maybe","plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"x","loadOnlyInlinedPlugins":true}"#,
    r#"{"name":"x","loadOnlyInlinedPlugins":"yes","plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"x","plugins":[{"type":"ptp","ipam":"dhcp"}]}"#,
    r#"{"name":"x","plugins":[{"type":"ptp","ipam":{"type":4}}]}"#,
    r#"{"name":"x","plugins":[{"type":"ptp","dns":"10.0.0.1"}]}"#,
    r#"{"name":"x","plugins":[{"type":"ptp","dns":{"nameservers":"10.0.0.1"}}]}"#,
    r#"{"name":"x","plugins":[{"type":"ptp","capabilities":{"ips":"yes"}}]}"#,
    r#"{"name":"x","plugins":[{"type":"ptp","capabilities":["ips"]}]}"#,
    r#"{"name":"x","plugins":[{"type":"ptp","prevResult":"none"}]}"#,
    r#"{"name":"twice","name":"again","plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"x","plugins":[{"type":"ptp"}]} {"name":"y"}"#,
    r#"{"name":"x","plugins":[{"type":"ptp","mtu":1e400}]}"#,
    r#"{"name":"x","plugins":[{"type":"ptp","mtu":1500.0,"big":123456789012345678901234567890}]}"#,
    "{\"name\":\"x\ty\",\"plugins\":[{\"type\":\"ptp\"}]}",
    "{\t\"name\":\"tabs\",\r\n\t\"plugins\"\t:\t[{\"type\":\"ptp\"}]\r\n}\r\n",
    "{\"name\":\"nul\",\"plugins\":[{\"type\":\"ptp\"}]}\0",
    "{\"name\":\0\"nul\",\"plugins\":[{\"type\":\"ptp\"}]}",
    r#"{"name":"\u0000","plugins":[{"type":"ptp"}]}"#,
    r#"{"name":"\ud83d\ude00","plugins":[{"type":"ptp"}]}"#,
    "{'name':'x','plugins':[{'type':'ptp'}]}",
    r#"{"name":"x","plugins":[{"type":"ptp"},]}"#,
];

/// Plugins in files of their own, in a directory of the network's name: libcni 1.3 reads them, in a list's file only.
const WITH_FILES: [(&str, &[(&str, &str)]); 10] = [
    (r#"{"name":"own"}"#, &[("own/10.conf", r#"{"type":"ptp"}"#)]),
    (r#"{"name":"own","plugins":[{"type":"ptp"}]}"#, &[("own/10.conf", r#"{"type":"tuning"}"#)]),
    (r#"{"name":"own","plugins":[{"type":"ptp"}]}"#, &[("own/10.conf", "{")]),
    (r#"{"name":"own","plugins":[]}"#, &[("own/10.conf", r#"{"type":"ptp"}"#)]),
    (r#"{"name":"own"}"#, &[("own/10.conf", r#"{"type":"ptp"}"#), ("own/20.conf", r#"{"type":""}"#)]),
    (r#"{"name":"own"}"#, &[("own/10.conflist", r#"{"type":"ptp"}"#)]),
    (r#"{"name":"own","loadOnlyInlinedPlugins":true}"#, &[("own/10.conf", r#"{"type":"ptp"}"#)]),
    (r#"{"name":"own","loadOnlyInlinedPlugins":true,"plugins":[{"type":"ptp"}]}"#, &[("own/10.conf", "{")]),
    (r#"{"name":"own","loadOnlyInlinedPlugins":"TRUE","plugins":[{"type":"ptp"}]}"#, &[("own/10.conf", "{")]),
    (r#"{"name":"../own"}"#, &[("own/10.conf", r#"{"type":"ptp"}"#)]),
];

const NAMES: [&[u8]; 14] = [
    b"05-bad.conf",
    b"10-a.conflist",
    b"10-b.conf",
    b"10-a.conf",
    b"10-A.conflist",
    b"20-c.json",
    b"99-z.conflist",
    b".hidden.conf",
    b"100-crio.conflist",
    b"10-upper.CONFLIST",
    b"10-plain",
    b"10-saved.conflist.bak",
    b"10-\xff.conflist",
    b"87-podman-bridge.conflist",
];

fn file(name: &[u8], content: &[u8]) -> Entry {
    Entry { name: name.to_vec(), kind: Kind::File(content.to_vec()) }
}

/// Every content alone, in a list and in a single file; odd things by themselves and before a good file; and directories of
/// several files by chance, the same each time.
fn directories() -> Vec<Vec<Entry>> {
    let good = file(b"50-good.conflist", CONTENTS[1].as_bytes());
    let mut all = vec![vec![]];
    for content in CONTENTS {
        all.push(vec![file(b"10-a.conflist", content.as_bytes())]);
        all.push(vec![file(b"10-a.conf", content.as_bytes()), good.clone()]);
    }
    for (content, files) in WITH_FILES {
        for name in [b"10-a.conflist".as_slice(), b"10-a.conf"] {
            let own = files.iter().map(|(name, content)| file(name.as_bytes(), content.as_bytes()));
            all.push(own.chain([file(name, content.as_bytes())]).collect());
        }
    }
    all.push(vec![file(b"10-a.conflist", b"{\"name\":\"\xff\",\"plugins\":[{\"type\":\"ptp\"}]}")]);
    let odd = |name: &[u8], kind: Kind| vec![Entry { name: name.to_vec(), kind }, good.clone()];
    all.push(odd(b"10-directory.conflist", Kind::Directory));
    all.push(odd(b"10-long.conf", Kind::Long));
    all.push(odd(b"60-long.conf", Kind::Long));
    for target in ["/nowhere", "10-link.conf", "50-good.conflist", "/tmp"] {
        all.push(odd(b"10-link.conf", Kind::Link(target)));
        all.push(odd(b"10-link.conflist", Kind::Link(target)));
    }
    let mut state = 20_261_124_u64;
    let mut chance = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..60 {
        let mut entries: Vec<Entry> = Vec::new();
        for _ in 0..=chance(4) {
            let (name, content) = (NAMES[chance(NAMES.len())], CONTENTS[if chance(2) == 0 { chance(4) } else { chance(CONTENTS.len()) }]);
            if entries.iter().all(|entry| entry.name != name) {
                entries.push(file(name, content.as_bytes()));
            }
        }
        all.push(entries);
    }
    all
}

/// The networks we say it loads, or the file it stops at.
fn choice(cni: &Cni) -> Result<Vec<String>, String> {
    if cni.loads().next().is_none() {
        return Err("no network config found".to_owned());
    }
    cni.loads()
        .map(|file| match &file.state {
            ConfState::Network(network) => Ok(network.name.clone()),
            _ => Err(file.name.clone()),
        })
        .collect()
}

/// The real one is right: it loads what we say it loads, or stops at the file we say it stops at.
#[test]
fn the_cni_choice_is_that_of_the_real_containerds() {
    if std::env::var_os("NODETRIAGE_LAB").is_none() {
        // As Lab::boot says it.
        let _ = writeln!(std::io::stderr(), "left out: the real containerds, which need NODETRIAGE_LAB");
        return;
    }
    let directories = directories();
    let mut failures = Vec::new();
    for (generation, most) in [(1, 1), (1, 0), (2, 1), (2, 0)] {
        let containerd = Containerd::start(generation, most);
        let mut loaded = 0;
        for (number, entries) in directories.iter().enumerate() {
            let (answer, cni) = containerd.read(number, entries);
            let theirs = answer.cni.expect("containerd tells of its CNI");
            let theirs = theirs.error.map_or(Ok(theirs.networks), Err);
            let ours = choice(&cni);
            let same = match (&ours, &theirs) {
                (Ok(ours), Ok(theirs)) => ours == theirs,
                // By such a name we cannot open it, and say so.
                (Err(file), _) if file.contains(char::REPLACEMENT_CHARACTER) => true,
                (Err(file), Err(error)) => error.contains(file.as_str()),
                _ => false,
            };
            loaded += usize::from(theirs.is_ok());
            if !same {
                let shown: Vec<_> = entries.iter().map(|entry| format!("{} {}", String::from_utf8_lossy(&entry.name), entry.kind.show())).collect();
                let states: Vec<_> = cni.files.iter().map(|file| format!("{file:.300?}")).collect();
                failures.push(format!("containerd {} (max_conf_num {most}) {shown:#?}\n  it   {theirs:?}\n  ours {ours:?} {states:#?}", answer.version));
            }
        }
        eprintln!(
            "containerd generation {generation}, max_conf_num {most}: {} directories, {loaded} loaded, {} not",
            directories.len(),
            directories.len() - loaded
        );
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

/// host-local is right: what it gives out is what we count, and it has none left when we say so.
#[test]
fn addresses_are_counted_as_the_real_host_local_gives_them_out() {
    if std::env::var_os("NODETRIAGE_LAB").is_none() {
        let _ = writeln!(std::io::stderr(), "left out: the real host-local, which needs NODETRIAGE_LAB");
        return;
    }
    for (number, ipam) in [
        r#""subnet":"10.9.0.0/28""#,
        r#""subnet":"10.9.0.0/30""#,
        r#""ranges":[[{"subnet":"10.9.0.0/24","rangeStart":"10.9.0.10","rangeEnd":"10.9.0.14"}]]"#,
        r#""ranges":[[{"subnet":"10.9.0.0/24","rangeStart":"10.9.0.10","rangeEnd":"10.9.0.14","gateway":"10.9.0.12"}]]"#,
        r#""ranges":[[{"subnet":"10.9.0.0/29"},{"subnet":"10.9.8.0/29","gateway":"10.9.8.6"}]]"#,
        r#""ranges":[[{"subnet":"10.9.0.0/28"}],[{"subnet":"fd09::/125"}]]"#,
        r#""ranges":[[{"subnet":"fd09::/125"},{"subnet":"fd09::100/126"}],[{"subnet":"10.9.0.0/27"}]]"#,
        r#""subnet":"10.9.1.0/29","ranges":[[{"subnet":"10.9.2.0/28"}]]"#,
        r#""subnet":"fd09::10/124","rangeStart":"fd09::1c""#,
    ]
    .into_iter()
    .enumerate()
    {
        let tree = std::env::temp_dir().join(format!("nodetriage-host-local-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&tree);
        for dir in ["etc/cni/net.d", "opt/cni/bin", "var/lib/cni/networks"] {
            fs::create_dir_all(tree.join(dir)).unwrap();
        }
        let written = format!(r#"{{"cniVersion":"1.0.0","name":"own","plugins":[{{"type":"bridge","ipam":{{"type":"host-local",{ipam}}}}}]}}"#);
        fs::write(tree.join("etc/cni/net.d/10-own.conflist"), written).unwrap();
        let data = tree.join("var/lib/cni/networks");
        let asked = format!(r#"{{"cniVersion":"1.0.0","name":"own","type":"bridge","ipam":{{"type":"host-local","dataDir":"{}",{ipam}}}}}"#, data.display());
        let counted = || {
            let cni = cni::observe(&Host::open(&tree).unwrap(), None, &Observed::Unknown(Blind::new("no units"))).unwrap();
            let sets = &cni.pools.first().unwrap_or_else(|| panic!("{ipam}: no pool in {cni:?}")).sets;
            sets.iter().map(|set| (set.used, set.size)).collect::<Vec<_>>()
        };
        let mut given = 0;
        let refused = loop {
            let sets = counted();
            assert!(sets.iter().all(|(used, _)| *used == given), "{ipam}: host-local gave {given} of each, counted are {sets:?}");
            match host_local("ADD", &format!("pod{given}"), &asked) {
                Ok(_) => given += 1,
                Err(refused) => break refused,
            }
            assert!(given < 100, "{ipam}: it has no end");
        };
        assert!(refused.contains("no IP addresses available in range set"), "{ipam}: {refused}");
        assert_eq!(counted().iter().map(|(_, size)| *size).min(), Some(given), "{ipam}: {:?}", counted());
        host_local("DEL", "pod0", &asked).unwrap();
        assert!(counted().iter().all(|(used, _)| *used == given - 1), "{ipam}: one came back, counted are {:?}", counted());
        eprintln!("{ipam}: {given} addresses");
        fs::remove_dir_all(&tree).unwrap();
    }
}

/// Runs the plugin as a runtime does; what it says, if it refuses.
fn host_local(command: &str, id: &str, config: &str) -> Result<String, String> {
    let mut plugin = Command::new(containerds_once().join("1/usr/lib/cni/host-local"));
    plugin.envs([("CNI_COMMAND", command), ("CNI_CONTAINERID", id), ("CNI_NETNS", "/proc/self/ns/net"), ("CNI_IFNAME", "eth0"), ("CNI_PATH", "/none")]);
    let mut child = plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("host-local starts");
    child.stdin.take().expect("piped").write_all(config.as_bytes()).expect("host-local reads");
    let output = child.wait_with_output().expect("host-local ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// The last address is given out and a pod is refused; one comes back.
#[test]
fn exhausted_addresses_are_told_when_a_pod_is_refused_and_no_more_when_one_comes_back() {
    let Some(lab) = Lab::boot("trixie", "cni-addresses") else { return };
    let ipam = r#""subnet":"10.9.0.0/29""#;
    let plugin = |more: &str| format!(r#""type":"bridge","ipam":{{"type":"host-local",{more}{ipam}}}"#);
    lab.sh("rm /etc/cni/net.d/*; cd /opt/cni/bin; touch bridge host-local loopback; chmod 755 *");
    let own = format!(r#"{{"cniVersion":"1.0.0","name":"own","plugins":[{{{}}}]}}"#, plugin(""));
    fs::write(lab.root().join("etc/cni/net.d/10-own.conflist"), own).unwrap();
    let data = format!(r#""dataDir":"{}","#, lab.root().join("var/lib/cni/networks").display());
    let asked = format!(r#"{{"cniVersion":"1.0.0","name":"own",{}}}"#, plugin(&data));
    let daemon = lab.daemon_outside(&[]);
    let told = |what: &str, expected: &[&str]| wait_for(&daemon, what, |report| ours(roots(report)) == expected);
    told("addresses are left", &[]);
    for pod in 0..5 {
        host_local("ADD", &format!("pod{pod}"), &asked).unwrap();
    }
    let refused = host_local("ADD", "pod5", &asked).expect_err("it has no more");
    assert!(refused.contains("no IP addresses available in range set"), "{refused}");
    // The kubelet hands it on, in its own name.
    let line = "E1124 16:00:00.000000 612 pod_workers.go:1324] \"Error syncing pod, skipping\" err=\"failed to CreatePodSandbox: \
        plugin type=bridge failed (add): failed to allocate for range 0: no IP addresses available in range set: 10.9.0.1-10.9.0.6\"";
    fs::write(
        lab.root().join("root/say"),
        format!(
            "group=$(systemctl show -P ControlGroup kubelet)/cgroup.procs
            for at in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do [ ! -e $at$group ] || echo $$ > $at$group; done
            {{ echo '{line}'; sleep 0.5; }} | systemd-cat
            journalctl --sync; journalctl -u kubelet | grep -c 'no IP addresses available' || true"
        ),
    )
    .unwrap();
    // Whose line it is, journald sees only while who wrote it is there.
    lab.until(|| lab.sh("sh /root/say").trim() != "0", "the kubelet has said it");
    told("no address is left", &["cni-addresses-exhausted /var/lib/cni/networks/own"]);
    host_local("DEL", "pod3", &asked).unwrap();
    told("one came back", &[]);
}

/// Pods' addresses and a network of the node's own, in the kernel's tables; also for who is not in that network namespace.
#[test]
fn pods_addresses_collide_with_a_network_that_the_node_is_in() {
    let Some(lab) = Lab::boot("trixie", "cni-routes") else { return };
    let own = r#"{"cniVersion":"1.0.0","name":"own","plugins":[{"type":"bridge","bridge":"mine0","ipam":{"type":"host-local","ranges":[[{"subnet":"10.99.3.0/24"}],[{"subnet":"fd99:0:0:3::/64"}]]}}]}"#;
    lab.sh(&format!("rm /etc/cni/net.d/*; echo '{own}' > /etc/cni/net.d/10-own.conflist; cd /opt/cni/bin; touch bridge host-local loopback; chmod 755 *"));
    let pid = fs::read_to_string(lab.root().with_file_name("pid")).expect("tests/lab/boot writes it");
    let in_its_network = |command: &str| {
        let output = Command::new("nsenter").args(["--target", pid.trim(), "--net", "sh", "-euc", command]).output().expect("nsenter starts");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let collisions = |output: std::process::Output| -> Vec<String> {
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let cni = report["unknown"].as_array().expect("a list").iter().filter(|unknown| unknown["domain"] == "cni").map(|unknown| format!("blind: {unknown}"));
        roots(&report).into_iter().filter(|root| root.starts_with("pod-cidr-overlap")).chain(cni).collect()
    };
    let elsewhere = || Command::new(env!("CARGO_BIN_EXE_nodetriage")).args(["--output", "json", "--root"]).arg(lab.host_root()).output().expect("it starts");
    let json = ["--output", "json"];
    assert_eq!(collisions(lab.run(&json)), [""; 0]);
    // The pods' own bridge has just these addresses, and is no collision.
    in_its_network("ip link add mine0 type bridge; ip addr add 10.99.3.1/24 dev mine0; ip -6 addr add fd99:0:0:3::1/64 dev mine0 nodad; ip link set mine0 up");
    assert_eq!(collisions(lab.run(&json)), [""; 0]);
    in_its_network("ip link add eth7 type bridge; ip addr add 10.99.200.7/16 dev eth7; ip -6 addr add fd99::7/48 dev eth7 nodad; ip link set eth7 up");
    let expected = ["pod-cidr-overlap 10.99.0.0/16", "pod-cidr-overlap fd99::/48"];
    assert_eq!(collisions(lab.run(&json)), expected, "in the node's network");
    assert_eq!(collisions(elsewhere()), expected, "from another network namespace it is the node's that counts");
    in_its_network("ip link del eth7");
    assert_eq!(collisions(lab.run(&json)), [""; 0], "it is gone");
}

const POD: &str = "5ad1f5a2-1b2c-4d3e-8f90-0123456789ab";

/// kube-proxy as a DaemonSet's pod: its process in a file system of its own, with the volume that the kubelet made. `more` is done
/// there before it starts.
fn kube_proxy_in_a_pod(lab: &Lab, arguments: &str, more: &str) {
    let volume = format!("/var/lib/kubelet/pods/{POD}/volumes/kubernetes.io~configmap/kube-proxy");
    let task = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/proxy/rootfs";
    lab.sh(&format!(
        r"systemctl disable --now kube-proxy; rm /usr/lib/systemd/system/kube-proxy.service; systemctl daemon-reload
        mkdir -p {volume}/..2026_11_30 {task} /var/log/pods/kube-system_kube-proxy-x7k2p_{POD}/kube-proxy
        ln -s ..2026_11_30 {volume}/..data
        mv /var/lib/kube-proxy/config.conf {volume}/..2026_11_30; cp /etc/kubernetes/kubelet.conf {volume}/..2026_11_30/kubeconfig.conf
        sed -i 's#kubeconfig: .*#kubeconfig: /var/lib/kube-proxy/kubeconfig.conf#' {volume}/..2026_11_30/config.conf
        for file in config.conf kubeconfig.conf; do ln -s ..data/$file {volume}/$file; done
        mount -t tmpfs rootfs {task}; mkdir -p {task}/usr {task}/proc {task}/dev {task}/run {task}/old {task}/var/lib/kube-proxy
        for dir in bin lib lib64; do ln -s usr/$dir {task}/$dir; done
        cat > /root/container <<'X'
        mount --bind /usr {task}/usr; mount --bind {volume} {task}/var/lib/kube-proxy; mount --bind /dev {task}/dev; mount -t proc proc {task}/proc
        cd {task}; {more}
        pivot_root . old; exec chroot . sh -c 'umount -l /old; exec kube-proxy {arguments}'
X
        systemd-run --quiet --unit=proxy --slice=kubepods-besteffort-pod{} unshare --mount --pid --fork --propagation private sh -eu /root/container",
        POD.replace('-', "_")
    ));
    lab.until(|| lab.sh("cat /proc/[0-9]*/comm 2>/dev/null || true").lines().any(|comm| comm == "kube-proxy"), "kube-proxy runs");
}

/// The facts of kube-proxy and the root causes, as the pod's agent sees it or as root does.
fn kube_proxy_of(output: &std::process::Output) -> Value {
    serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))["kube_proxy"]["known"]
        .take()
}

#[test]
fn kube_proxy_in_a_container_is_read_where_its_files_lie_on_the_node() {
    let Some(lab) = Lab::boot("trixie", "cni-proxy") else { return };
    kube_proxy_in_a_pod(&lab, "--config=/var/lib/kube-proxy/config.conf --hostname-override=node1", ":");
    let volume = format!("/var/lib/kubelet/pods/{POD}/volumes/kubernetes.io~configmap/kube-proxy");
    // By the table of mounts: without the right to look into processes.
    let seen = kube_proxy_of(&lab.run(&["observe"]));
    assert_eq!(
        seen["config"],
        serde_json::json!({ "path": { "value": "/var/lib/kube-proxy/config.conf", "source": seen["config"]["path"]["source"] }, "state": "valid" })
    );
    assert!(seen["config"]["path"]["source"].as_str().unwrap().ends_with("/cmdline --config"), "{seen:#}");
    assert_eq!(seen["config_on_node"], format!("{volume}/config.conf"));
    assert_eq!((&seen["kubeconfig"]["file"]["state"], &seen["hostname_override"]["value"]), (&"valid".into(), &"node1".into()), "{seen:#}");
    assert!(seen["kubeconfig"]["server"]["value"].as_str().is_some_and(|server| server.starts_with("https://")), "{seen:#}");
    let daemon = lab.daemon_outside(&[]);
    let told = |what: &str, expected: &[&str]| wait_for(&daemon, what, |report| ours(roots(report)) == expected);
    told("kube-proxy in a container", &[]);
    // As the kubelet brings a changed ConfigMap to a volume (`pkg/volume/util/atomic_writer.go`).
    let changed = |to: &str, change: &str| {
        lab.sh(&format!("cd {volume}; cp -a $(readlink ..data) ..{to}; cd ..{to}; {change}; cd ..; ln -s ..{to} ..data_tmp; mv -T ..data_tmp ..data"));
    };
    changed("2026_12_01", "sed -i 's/^mode: .*/mode: iptable/' config.conf");
    let report = told("a mode that does not exist", &["kube-proxy-config-invalid /var/lib/kube-proxy/config.conf"]);
    let place = report["findings"][0]["evidence"][0]["source"].as_str().unwrap();
    assert!(place.starts_with(&format!("{volume}/config.conf:")), "the file's place on the node: {report:#}");
    changed("2026_12_02", "sed -i 's/^mode: .*/mode: iptables/' config.conf; rm kubeconfig.conf; rm ../kubeconfig.conf");
    told("its kubeconfig is gone", &["kube-proxy-config-missing /var/lib/kube-proxy/kubeconfig.conf"]);
}

#[test]
fn kube_proxys_files_that_only_its_container_has_are_read_through_its_root() {
    let Some(lab) = Lab::boot("trixie", "cni-proxy-root") else { return };
    let own =
        "mkdir own; mount -t tmpfs own own; cp /var/lib/kubelet/pods/*/volumes/*/kube-proxy/config.conf own; sed -i 's/^mode: .*/mode: ipvs/' own/config.conf";
    kube_proxy_in_a_pod(&lab, "--config=/own/config.conf", own);
    let seen = kube_proxy_of(&lab.run(&["observe"]));
    let blind = &seen["config"]["state"]["unreadable"];
    assert!(blind["reason"].as_str().is_some_and(|reason| reason.contains("mounted nowhere on the node")), "{seen:#}");
    assert!(blind["grant"].as_str().is_some_and(|grant| grant.contains("CAP_SYS_PTRACE")), "{seen:#}");
    let seen = kube_proxy_of(&lab.run_as_root(&["observe"]));
    assert_eq!((&seen["config"]["state"], &seen["mode"]["value"]), (&"valid".into(), &"ipvs".into()), "{seen:#}");
    let place = seen["config_on_node"].as_str().unwrap();
    assert!(place.starts_with("/proc/") && place.ends_with("/root/own/config.conf"), "{place}");
    assert_eq!(seen["kubeconfig"]["file"]["state"], "valid", "{seen:#}");
}

/// A node whose containerd is the real one, of Debian trixie.
fn node() -> Option<Lab> {
    let lab = Lab::boot("trixie", "cni")?;
    let real = containerds().join("1/usr");
    lab.sh("systemctl stop containerd");
    // What else such a kubelet would not like of this machine and of its flags.
    lab.sh("sed -i 's/--pod-infra-container-image=[^ \"]*//' /var/lib/kubelet/kubeadm-flags.env
        grep -q failCgroupV1 /var/lib/kubelet/config.yaml || printf '\nfailCgroupV1: false\n' >> /var/lib/kubelet/config.yaml
        systemctl restart kubelet");
    for (from, to) in [("bin/containerd", "usr/bin/containerd"), ("bin/ctr", "usr/bin/ctr")] {
        let to = lab.root().join(to);
        let _ = fs::remove_file(&to);
        fs::copy(real.join(from), to).unwrap();
    }
    // Of the node's disk, which is an overlay itself, nothing can be overlaid.
    lab.sh(&format!("mkdir -p /etc/containerd && printf '{CONFIG}' > /etc/containerd/config.toml && systemctl start containerd"));
    lab.until(|| lab.sh("ctr version >/dev/null 2>&1 && echo up || true").contains("up"), "containerd is up");
    Some(lab)
}

const CONFIG: &str = "version = 2\\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\\nsnapshotter = \"native\"\\n\
    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\\nruntime_type = \"io.containerd.runc.v2\"\\n\
    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\\nSystemdCgroup = true\\n";
const SOCKET: &str = "/run/containerd/containerd.sock";

/// Makes an image of nothing and imports it under a name.
const IMPORT: &str = r#"sh -euc '
    cd "$(mktemp -d)"; tar cf layer.tar -T /dev/null; sum=$(sha256sum < layer.tar | cut -d " " -f 1)
    arch=$(uname -m | sed s/x86_64/amd64/\;s/aarch64/arm64/)
    echo "{\"architecture\":\"$arch\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$sum\"]}}" > config.json
    echo "[{\"Config\":\"config.json\",\"RepoTags\":[\"$0\"],\"Layers\":[\"layer.tar\"]}]" > manifest.json
    tar cf image.tar manifest.json config.json layer.tar; ctr -n k8s.io images import image.tar'"#;

/// Asks for a pod in the node's network, as the kubelet does (RunPodSandbox of `runtime.v1`); the runtime refuses for want of an image.
fn run_pod_sandbox(lab: &Lab) {
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat();
    let metadata = [field(1, b"victim"), field(2, b"uid"), field(3, b"default")].concat();
    // linux.security_context.namespace_options.network = NODE
    let linux = field(2, &field(1, &[1 << 3, 2]));
    let request = field(1, &[field(1, &metadata), field(8, &linux)].concat());
    let message = [&[0, 0, 0, 0, u8::try_from(request.len()).unwrap()], request.as_slice()].concat();
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--max-time",
        "60",
        "--http2-prior-knowledge",
        "--unix-socket",
        "containerd.sock",
        "--dump-header",
        "-",
        "--output",
    ]);
    curl.args(["/dev/null", "--header", "content-type: application/grpc", "--header", "te: trailers", "--data-binary", "@-"]);
    // By a short name: a socket's path has 107 bytes at most.
    curl.arg("http://localhost/runtime.v1.RuntimeService/RunPodSandbox").current_dir(lab.host_root().join("run/containerd"));
    let mut child = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl starts");
    child.stdin.take().expect("piped").write_all(&message).expect("curl reads");
    let answer = String::from_utf8_lossy(&child.wait_with_output().expect("curl ends").stdout).into_owned();
    assert!(answer.contains("sandbox image"), "it was not refused for want of the image: {answer}");
}

/// But what the kernel did to others on this machine: its counts are those of the whole.
fn ours(findings: Vec<String>) -> Vec<String> {
    findings.into_iter().filter(|finding| !finding.starts_with("oom-kill ")).collect()
}

/// Until the report is as expected: a runtime is given some seconds before it is called hung.
fn wait_for(daemon: &lab::Daemon, what: &str, expected: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let report = daemon.report();
        if expected(&report) {
            eprintln!("{what}: in the report after {:.1} s", start.elapsed().as_secs_f64());
            return report;
        }
        assert!(start.elapsed() < 8 * DEADLINE, "{what}: not in the report:\n{report:#}\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A node with a real containerd that is asked, and well.
fn asked() -> Option<(Lab, lab::Daemon, Value)> {
    let lab = node()?;
    let daemon = lab.daemon_that_asks_the_runtime();
    healthy(&daemon, "a real containerd");
    let facts: Value = serde_json::from_str(&daemon.get("/api/v1/facts").expect("facts").1).expect("JSON");
    let answered = facts["runtime"]["known"]["reply"]["answered"].clone();
    Some((lab, daemon, answered))
}

fn healthy(daemon: &lab::Daemon, what: &str) {
    wait_for(daemon, what, |report| ours(roots(report)).is_empty() && report["unknown"] == serde_json::json!([]));
}

/// Does it in the node, and waits for the root cause and what it explains.
fn shows(lab: &Lab, daemon: &lab::Daemon, what: &str, root: &str, consequences: &[&str]) -> Value {
    lab.sh(what);
    wait_for(daemon, what, |report| ours(roots(report)) == [root] && consequences.iter().all(|folded| self::folded(report).iter().any(|code| code == folded)))
}

#[test]
fn a_real_containerd_stopped_and_paused() {
    let Some((lab, daemon, answered)) = asked() else { return };
    assert_eq!((&answered["name"], &answered["cgroup_driver"]), (&"containerd".into(), &"systemd".into()), "{answered}");
    assert!(answered["version"].as_str().is_some_and(|version| version.starts_with("1.7")), "{answered}");
    assert_eq!(answered["image_filesystems"], serde_json::json!(["/var/lib/containerd/io.containerd.snapshotter.v1.native"]));

    shows(&lab, &daemon, "systemctl stop containerd", "unit-inactive containerd.service", &["runtime-socket-missing /run/containerd/containerd.sock"]);
    lab.sh("systemctl start containerd");
    healthy(&daemon, "started again");

    let silent = format!("runtime-unresponsive {SOCKET}");
    // No event tells of that: it asks every 10 s.
    let report = shows(&lab, &daemon, "systemctl kill --signal=STOP --kill-whom=main containerd", &silent, &[]);
    let finding = &report["findings"][0];
    let pid = lab.sh("systemctl show -P MainPID containerd");
    assert_eq!(finding["remedy"], serde_json::json!([format!("kill -CONT {}", pid.trim())]), "{finding:#}");
    lab.sh(finding["remedy"][0].as_str().expect("a command"));
    healthy(&daemon, "it runs again");
}

#[test]
fn a_real_containerd_without_its_image_and_its_network_and_misconfigured() {
    let Some((lab, daemon, answered)) = asked() else { return };
    // A pod is asked for, whose sandbox image cannot be pulled here; then it is there.
    let image = answered["sandbox_image"].clone();
    assert_eq!(image["present"], false, "{answered}");
    let name = image["name"].as_str().expect("a name");
    run_pod_sandbox(&lab);
    wait_for(&daemon, "no sandbox image", |report| ours(roots(report)) == [format!("sandbox-image-missing {name}")]);
    lab.sh(&format!("{IMPORT} {name}"));
    healthy(&daemon, "the sandbox image was imported");
    let facts: Value = serde_json::from_str(&daemon.get("/api/v1/facts").expect("facts").1).expect("JSON");
    assert_eq!(facts["runtime"]["known"]["reply"]["answered"]["sandbox_image"], serde_json::json!({ "name": name, "present": true }));

    shows(&lab, &daemon, "mv /etc/cni/net.d/10-lab.conflist /root", "cni-config-missing /etc/cni/net.d", &["runtime-unresponsive NetworkReady"]);
    // A file that is moved into the directory is one that containerd 1.7 does not see: it waits for one that is written.
    lab.sh("mv /root/10-lab.conflist /etc/cni/net.d");
    let report = wait_for(&daemon, "its network's file is back", |report| ours(roots(report)) == ["runtime-unresponsive NetworkReady"]);
    lab.sh(report["findings"][0]["remedy"][0].as_str().expect("a command"));
    healthy(&daemon, "it was told to look again");

    let config = "/etc/containerd/config.toml";
    shows(
        &lab,
        &daemon,
        &format!(
            "cp {config} /root && echo 'disabled_plugins = [\"io.containerd.grpc.v1.cri\"]' | cat - /root/config.toml > {config} && systemctl restart containerd"
        ),
        &format!("runtime-cri-missing {config}"),
        &[],
    );
    let report = daemon.report();
    lab.sh(report["findings"][0]["remedy"][0].as_str().expect("a command"));
    healthy(&daemon, "its CRI is back");

    shows(
        &lab,
        &daemon,
        &format!("echo '[plugins' >> {config}; systemctl restart containerd || true"),
        &format!("runtime-config-invalid {config}"),
        &["runtime-socket-missing /run/containerd/containerd.sock"],
    );
}
