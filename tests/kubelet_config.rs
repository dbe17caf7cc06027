//! The kubelet's effective configuration, read from trees as nodes have them, from recorded files and from a live process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nodetriage::config::Config;
use nodetriage::diagnose::diagnose;
use nodetriage::facts::kubelet::{FileState, Oddity, ThresholdValue};
use nodetriage::facts::units::{Active, EnvironmentFile, Unit, UnitSource};
use nodetriage::facts::{Blind, Facts, Kubelet, Observed, Sourced, Units};
use nodetriage::observe::{self, host::Host, units};

const CONFIG: &str = "/var/lib/kubelet/config.yaml";
const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

/// A tree in a directory of its own, removed at the end.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kubelet-config-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let tree = Self(root);
        fs::create_dir_all(&tree.0).unwrap();
        for (path, content) in files {
            fs::create_dir_all(tree.path(path).parent().unwrap()).unwrap();
            fs::write(tree.path(path), content).unwrap();
        }
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    fn host(&self) -> Host {
        Host::open(&self.0).unwrap()
    }

    fn kubelet(&self) -> Kubelet {
        let host = self.host();
        observe::kubelet::observe(&host, &units::from_files(&host, &Config::default()).into())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Tree {
    /// The healthy worker of the fixture nodes, with one text of a file replaced by another.
    fn worker(name: &str, file: &str, old: &str, new: &str) -> Self {
        let tree = Self::new(name, &[]);
        let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/nodes/_worker/root/.");
        assert!(Command::new("cp").arg("-a").arg(base).arg(&tree.0).status().unwrap().success());
        let text = fs::read_to_string(tree.path(file)).unwrap();
        assert!(text.contains(old), "{file} has no {old:?}");
        fs::write(tree.path(file), text.replace(old, new)).unwrap();
        tree
    }

    /// What the program finds: code → its commands.
    fn findings(&self) -> BTreeMap<String, Vec<String>> {
        let output = Command::new(env!("CARGO_BIN_EXE_nodetriage")).args(["--output", "json", "--node-name", "node1", "--root"]).arg(&self.0).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let commands = |finding: &serde_json::Value| serde_json::from_value(finding["remedy"].clone()).unwrap();
        report["findings"].as_array().unwrap().iter().map(|finding| (finding["code"].as_str().unwrap().to_owned(), commands(finding))).collect()
    }

    /// Runs a command of a report on this tree: the paths that are words of it are the tree's.
    fn mend(&self, command: &str) {
        let mut here = command.trim_end_matches(" && systemctl restart kubelet").to_owned();
        for (before, dir) in [' ', '\''].into_iter().flat_map(|before| ["/etc/", "/var/lib/"].map(|dir| (before, dir))) {
            here = here.replace(&format!("{before}{dir}"), &format!("{before}{}{dir}", self.0.display()));
        }
        assert_ne!(here, command, "no path of the tree is in it, so it would be run on this machine");
        let command = here;
        let done = Command::new("sh").args(["-ec", &command]).output().unwrap();
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// A kubelet whose `--config` file is this.
fn configured(name: &str, config: &str) -> Kubelet {
    Tree::new(name, &[(CONFIG, config)]).kubelet()
}

/// What is said of the `--config` file: `line:column message`.
fn said(kubelet: &Kubelet) -> Vec<String> {
    let place = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    kubelet.config.as_ref().unwrap().faults().iter().map(|fault| format!("{}:{} {}", place(fault.line), place(fault.column), fault.message)).collect()
}

fn from<T>(value: &Sourced<T>) -> (&T, &str) {
    (&value.value, value.source.as_str())
}

fn hard(kubelet: &Kubelet) -> Vec<(&str, ThresholdValue, &str)> {
    kubelet.eviction_hard.iter().map(|threshold| (threshold.signal.as_str(), threshold.value, threshold.source.as_str())).collect()
}

#[test]
fn everything_that_a_real_kubelet_says_of_itself_is_accepted() {
    let kubelet = configured("configz", include_str!("data/kubelet/configz-1.36.2.json"));
    assert_eq!(said(&kubelet), Vec::<String>::new());
    assert_eq!(kubelet.ignored_fields, []);
    assert_eq!(kubelet.healthz_port.value, 10_248);
    assert_eq!(kubelet.resolv_conf.value, "/etc/resolv.conf");
    assert_eq!(kubelet.cluster_dns.value, ["10.96.0.10"]);
    assert_eq!((kubelet.image_gc_high_threshold_percent.value, kubelet.image_gc_low_threshold_percent.value), (85, 80));
    assert_eq!(kubelet.eviction_threshold("memory.available").unwrap().value, ThresholdValue::Quantity(100 << 20));
    assert!(hard(&kubelet).iter().all(|(_, _, source)| source.starts_with(&format!("{CONFIG}:"))), "{:?}", hard(&kubelet));
}

/// The kubelet's own words on these files are in their names: `yaml: line 3: did not find expected ',' or ']'`, `was empty`,
/// `no kind "KubeletConfiguration" is registered for version "kubelet.config.k8s.io/v1"`, and for the last that it goes on.
#[test]
fn recorded_files_are_judged_as_the_kubelet_judged_them() {
    let yaml = said(&configured("bad-yaml", include_str!("data/kubelet/config-bad-yaml.yaml")));
    assert!(yaml.len() == 1 && yaml[0].contains("not YAML") && yaml[0].starts_with(['3', '4']), "{yaml:?}");
    assert_eq!(said(&configured("empty", include_str!("data/kubelet/config-empty.yaml"))), ["-:- the file is empty"]);
    assert_eq!(
        said(&configured("wrong-kind", include_str!("data/kubelet/config-wrong-kind.yaml"))),
        ["1:13 apiVersion is \"kubelet.config.k8s.io/v1\", where kubelet.config.k8s.io/v1beta1 is expected"]
    );
    let lenient = configured("unknown-field", include_str!("data/kubelet/config-unknown-field.yaml"));
    assert_eq!(said(&lenient), Vec::<String>::new());
    let ignored: Vec<_> = lenient.ignored_fields.iter().map(|field| (field.field.as_str(), field.duplicate)).collect();
    assert_eq!(ignored, [("evictionHardd", false), ("kubeReserved", true)], "strict decoding error: unknown field \"evictionHardd\", duplicate field");
}

/// kubeadm's unit with what an administrator adds.
fn unit(extra: &str) -> Vec<(&'static str, String)> {
    vec![
        ("/usr/lib/systemd/system/kubelet.service", "[Service]\nExecStart=/usr/bin/kubelet\n[Install]\nWantedBy=multi-user.target\n".to_owned()),
        (
            "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf",
            "[Service]\nEnvironment=\"KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf\"\n\
             Environment=\"KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\"\nEnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\n\
             EnvironmentFile=-/etc/default/kubelet\nExecStart=\n\
             ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS\n"
                .to_owned(),
        ),
        ("/etc/default/kubelet", extra.to_owned()),
    ]
}

fn with_unit(name: &str, extra: &str, files: &[(&str, &str)]) -> Tree {
    let unit = unit(extra);
    let all: Vec<_> = unit.iter().map(|(path, text)| (*path, text.as_str())).chain(files.iter().copied()).collect();
    Tree::new(name, &all)
}

#[test]
fn a_flag_beats_a_drop_in_beats_the_file_beats_the_default() {
    let tree = with_unit(
        "precedence",
        "# local\nKUBELET_EXTRA_ARGS='--config-dir /etc/kubelet.d --healthz-port=10300 -v=2 --hostname-override=\" Node-A \"'\n",
        &[
            (CONFIG, &format!("{HEAD}healthzPort: 10100\ncgroupDriver: systemd\nresolvConf: /run/a\nclusterDNS: [10.0.0.1, 10.0.0.2]\n")),
            ("/etc/kubelet.d/90-b.conf", &format!("{HEAD}resolvConf: /run/b\n")),
            ("/etc/kubelet.d/10-a/50-c.conf", &format!("{HEAD}resolvConf: /run/c\nclusterDNS: [10.0.0.3]\n")),
            ("/etc/kubelet.d/README", "no configuration"),
        ],
    );
    let kubelet = tree.kubelet();
    assert_eq!(kubelet.command_line_source, "kubelet.service ExecStart");
    assert_eq!(from(&kubelet.healthz_port), (&10_300, "/etc/default/kubelet:2 --healthz-port"));
    assert_eq!(from(&kubelet.resolv_conf), (&"/run/b".to_owned(), "/etc/kubelet.d/90-b.conf:3"));
    assert_eq!(kubelet.cluster_dns.value, ["10.0.0.3"], "a list is replaced");
    assert_eq!(from(&kubelet.cgroup_driver), (&"systemd".to_owned(), "/var/lib/kubelet/config.yaml:4"));
    assert_eq!(from(&kubelet.port), (&10_250, "default"));
    let drop_ins: Vec<_> = kubelet.drop_ins.iter().map(|file| file.path.value.as_str()).collect();
    assert_eq!(drop_ins, ["/etc/kubelet.d/10-a/50-c.conf", "/etc/kubelet.d/90-b.conf"], "in lexical order, *.conf only");
    let node = observe::node::observe(&tree.host(), None, Some(&kubelet));
    assert_eq!(node.name, Some(Sourced::new("node-a".to_owned(), "/etc/default/kubelet:2 --hostname-override")));
    let told = observe::node::observe(&tree.host(), Some("told".to_owned()), Some(&kubelet));
    assert_eq!(told.name.unwrap().value, "told", "who starts nodetriage knows best");
}

#[test]
fn without_a_bus_the_unit_files_tell() {
    let tree = with_unit("no-bus", "KUBELET_EXTRA_ARGS=--config=/etc/kubelet.yaml\n", &[("/etc/kubelet.yaml", HEAD)]);
    let kubelet = observe::kubelet::observe(&tree.host(), &Observed::Unknown(Blind::new("no bus")));
    assert_eq!(kubelet.command_line_source, "kubelet.service ExecStart");
    assert_eq!(kubelet.config.unwrap().state, FileState::Valid);
}

#[test]
fn eviction_thresholds_replace_or_merge_as_the_kubelet_has_it() {
    let only = configured("evict-only", &format!("{HEAD}evictionHard:\n  nodefs.available: 1Gi\n  memory.available: 0%\n"));
    assert_eq!(hard(&only), [("nodefs.available", ThresholdValue::Quantity(1 << 30), "/var/lib/kubelet/config.yaml:4")]);
    let merged = configured("evict-merged", &format!("{HEAD}evictionHard:\n  nodefs.available: 5%\nmergeDefaultEvictionSettings: true\n"));
    assert_eq!(merged.eviction_hard.len(), 5);
    assert_eq!(merged.eviction_threshold("nodefs.available").unwrap().source, "/var/lib/kubelet/config.yaml:4");
    assert_eq!(merged.eviction_threshold("imagefs.available").unwrap().source, "default");
    let drop_in = with_unit(
        "evict-drop-in",
        "KUBELET_EXTRA_ARGS=--config-dir=/d\n",
        &[(CONFIG, HEAD), ("/d/1.conf", &format!("{HEAD}evictionHard: {{pid.available: 10%}}\n"))],
    );
    assert_eq!(drop_in.kubelet().eviction_hard.len(), 6, "a drop-in is laid over the defaults");
    let flag = with_unit(
        "evict-flag",
        "KUBELET_EXTRA_ARGS=\"--eviction-hard=memory.available<200Mi,pid.available<5% --eviction-soft=memory.available<1Gi --eviction-soft-grace-period=memory.available=1m30s\"\n",
        &[(CONFIG, &format!("{HEAD}evictionHard: {{nodefs.available: 5%}}\n"))],
    );
    let flag = flag.kubelet();
    assert_eq!(hard(&flag).iter().map(|(signal, ..)| *signal).collect::<Vec<_>>(), ["memory.available", "pid.available"]);
    assert_eq!((flag.eviction_soft[0].value, flag.eviction_soft[0].grace_seconds), (ThresholdValue::Quantity(1 << 30), Some(90)));
}

#[test]
fn a_live_process_tells_its_own_flags_and_the_unit_where_they_were_written() {
    let secret = kubeconfig("https://192.0.2.1:6443", "");
    let tree = Tree::new("live", &[("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--node-ip=192.0.2.7 --max-pods=many\n"), ("/kubelet.conf", &secret)]);
    let kubelet_conf = tree.path("/kubelet.conf");
    fs::set_permissions(&kubelet_conf, fs::Permissions::from_mode(0o640)).unwrap();
    let program = tree.path("kubelet");
    fs::write(&program, "#!/bin/sh\nread line\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = Command::new(&program)
        .arg(format!("--kubeconfig={}", kubelet_conf.display()))
        .args(["--config=/nowhere/live.yaml", "--node-ip=192.0.2.7", "--bootstrap-token", "abcdef.0123456789abcdef"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // Its command line is its own only once it has been started as a script.
    let cmdline = format!("/proc/{}/cmdline", child.id());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !fs::read_to_string(&cmdline).unwrap().contains("live.yaml") {
        assert!(std::time::Instant::now() < deadline, "{cmdline}");
        std::thread::yield_now();
    }
    let unit = Unit {
        name: "kubelet.service".to_owned(),
        load_state: "loaded".to_owned(),
        active: Some(Active { state: "active".to_owned(), main_pid: Some(child.id()), ..Active::default() }),
        exec_start: vec!["/usr/bin/kubelet".to_owned(), "--config=/nowhere/old.yaml".to_owned(), "$KUBELET_EXTRA_ARGS".to_owned()],
        environment: vec!["KUBELET_EXTRA_ARGS=--node-ip=192.0.2.7".to_owned()],
        environment_files: vec![EnvironmentFile { path: tree.path("/etc/default/kubelet").display().to_string(), optional: true }],
        ..Unit::default()
    };
    let host = Host::open("/".as_ref()).unwrap();
    let kubelet = observe::kubelet::observe(&host, &Observed::Known(Units { source: UnitSource::Systemd, units: vec![unit] }));
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(kubelet.command_line_source, cmdline);
    assert_eq!(from(&kubelet.flags["config"]), (&"/nowhere/live.yaml".to_owned(), format!("{cmdline} --config").as_str()));
    fs::set_permissions(tree.path("/etc/default/kubelet"), fs::Permissions::from_mode(0o644)).unwrap();
    let written = format!("{}:1 --node-ip", tree.path("/etc/default/kubelet").display());
    assert_eq!(from(&kubelet.flags["node-ip"]), (&"192.0.2.7".to_owned(), written.as_str()));
    assert_eq!(kubelet.config.as_ref().unwrap().state, FileState::Missing);
    assert_eq!(kubelet.kubeconfig.as_ref().unwrap().file.state, FileState::Valid);
    let seen: Vec<_> = kubelet.surroundings.permissions.iter().map(|file| (file.path.as_str(), file.mode, file.secret)).collect();
    let environment = tree.path("/etc/default/kubelet");
    assert_eq!(seen, [(environment.to_str().unwrap(), 0o644, false), (kubelet_conf.to_str().unwrap(), 0o640, true)], "and who can change its flags");
    // What it has been given, and what it would be given now.
    let odd: Vec<_> = kubelet.odd_flags.iter().map(|odd| (odd.name.as_str(), odd.live)).collect();
    assert_eq!(odd, [("bootstrap-token", true), ("max-pods", false)]);
    assert!(!serde_json::to_string(&kubelet).unwrap().contains("abcdef"), "a token is in the facts");
}

/// The flags that a kubelet prints of itself at `-v=2`, as words of a command line.
fn printed(flags: &str) -> Vec<String> {
    let value = |text: &str| text.trim_matches('"').trim_start_matches('[').trim_end_matches(']').to_owned();
    flags.lines().map(|line| line.split_once('=').map_or_else(|| line.to_owned(), |(name, text)| format!("{name}={}", value(text)))).collect()
}

/// What is odd about a command line, as facts tell it.
fn odd(name: &str, flags: &[String]) -> Vec<(String, Oddity)> {
    let quoted: Vec<String> = flags.iter().map(|flag| format!("\"{flag}\"")).collect();
    let unit = format!("[Service]\nExecStart=/usr/bin/kubelet {}\n[Install]\nWantedBy=multi-user.target\n", quoted.join(" "));
    let tree = Tree::new(name, &[("/usr/lib/systemd/system/kubelet.service", &unit)]);
    tree.kubelet().odd_flags.into_iter().map(|odd| (odd.name, odd.oddity)).collect()
}

#[test]
fn every_flag_that_real_kubelets_have_is_known_with_its_type() {
    let newest = printed(include_str!("data/kubelet/flags-1.36.2.txt"));
    assert_eq!(newest.len(), 150);
    assert_eq!(odd("flags-1.36.2", &newest), []);
    let oldest = printed(include_str!("data/kubelet/flags-1.20.2.txt"));
    assert_eq!(oldest.len(), 184);
    // Those that 1.36.2 does not print are gone by then, and no others; so many are shown.
    let has = |name: &str| newest.iter().any(|flag| flag.split_once('=').is_some_and(|(newer, _)| newer.trim_start_matches('-') == name));
    let removed: Vec<String> = oldest.iter().filter(|flag| !has(flag.split_once('=').unwrap().0.trim_start_matches('-'))).cloned().collect();
    assert_eq!(removed.len(), 47);
    for flag in &removed {
        let saw = odd("flags-1.20.2", std::slice::from_ref(flag));
        assert!(matches!(saw.as_slice(), [(_, Oddity::Gone { release: 21..=36 })]), "{flag}: {saw:?}");
    }
    let kept: Vec<String> = oldest.into_iter().filter(|flag| !removed.contains(flag)).collect();
    assert_eq!(odd("flags-both", &kept), []);
}

/// The words of kubelets 1.36.2 and 1.20.2 on what they would not start with, and what is said of the same here.
#[test]
fn what_real_kubelets_refused_is_refused() {
    // `failed to validate kubelet configuration, error: [invalid configuration: FIELD (--flag) VALUE must …, invalid configuration: …]`
    let words = "invalid configuration: healthzPort (--healthz-port) 70000 must be between 1 and 65535, inclusive, invalid configuration: \
                 imageGCLowThresholdPercent (--image-gc-low-threshold) 80 must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) 50";
    let faults = said(&configured("real-values", &format!("{HEAD}imageGCHighThresholdPercent: 50\nhealthzPort: 70000\n")));
    let fields = words.split("invalid configuration: ").filter(|part| !part.is_empty()).map(|part| part.split(' ').next().unwrap());
    for field in fields {
        assert!(faults.iter().any(|fault| fault.contains(field)), "{field}: {faults:?}");
    }
    assert_eq!(faults.len(), 2, "{faults:?}");
    // `failed to run Kubelet: unsupported eviction signal memory.free`
    let faults = said(&configured("real-signal", &format!("{HEAD}evictionHard:\n  memory.free: 100Mi\n")));
    assert!(faults.len() == 1 && faults[0].starts_with("4:3 evictionHard has the signal \"memory.free\""), "{faults:?}");
    // `failed to parse kubelet flag: unknown flag: --network-plugin`, of 1.36.2; and of 1.20.2 `unknown flag: --network-plugin-mtu-x`
    let flags = ["--network-plugin=cni", "--container-runtime=remote", "--network-plugin-mtu-x=1"].map(str::to_owned);
    let meant = Oddity::Unknown { did_you_mean: Some("network-plugin-mtu".to_owned()) };
    let expected = [("network-plugin", Oddity::Gone { release: 24 }), ("container-runtime", Oddity::Gone { release: 27 }), ("network-plugin-mtu-x", meant)];
    assert_eq!(odd("real-flags", &flags), expected.map(|(name, oddity)| (name.to_owned(), oddity)));
}

#[test]
fn flags_are_validated_together_with_the_file_that_they_override() {
    let tree = with_unit(
        "flags-and-file",
        "KUBELET_EXTRA_ARGS='--image-gc-low-threshold=90 --eviction-soft=memory.available<1Gi --kube-reserved=cpu=1 --feature-gates=A=false'\n",
        &[(
            CONFIG,
            &format!(
                "{HEAD}imageGCHighThresholdPercent: 88\nkubeReserved: {{ memory: 1GB }}\nfeatureGates: {{ A: true, B: true }}\nstaticPodURLHeader: {{ Authorization: [abcdef] }}\n"
            ),
        )],
    );
    let kubelet = tree.kubelet();
    let refused: Vec<_> = kubelet.odd_flags.iter().map(|odd| (odd.name.as_str(), odd.source.as_str(), &odd.oddity)).collect();
    let said = |message: &str| Oddity::Refused(message.to_owned());
    let expected = [
        (
            "image-gc-low-threshold",
            "/etc/default/kubelet:1 --image-gc-low-threshold",
            &said("imageGCLowThresholdPercent (90) must be less than imageGCHighThresholdPercent (88)"),
        ),
        (
            "eviction-soft",
            "/etc/default/kubelet:1 --eviction-soft",
            &said("evictionSoft.memory.available needs a grace period of the same name in evictionSoftGracePeriod"),
        ),
    ];
    assert_eq!(refused, expected);
    assert_eq!(kubelet.config.as_ref().unwrap().state, FileState::Valid, "kubeReserved is overridden, its mistake with it");
    let set: Vec<_> = kubelet.settings.iter().map(|(field, value)| (field.as_str(), value.value.as_str(), value.source.as_str())).collect();
    let flag = |name: &str| format!("/etc/default/kubelet:1 --{name}");
    assert_eq!(
        set,
        [
            ("evictionSoft.memory.available", "1Gi", flag("eviction-soft").as_str()),
            ("featureGates.A", "false", &flag("feature-gates")),
            ("featureGates.B", "true", "/var/lib/kubelet/config.yaml:5"),
            ("imageGCHighThresholdPercent", "88", "/var/lib/kubelet/config.yaml:3"),
            ("imageGCLowThresholdPercent", "90", &flag("image-gc-low-threshold")),
            ("kubeReserved.cpu", "1", &flag("kube-reserved")),
        ]
    );
    assert!(!serde_json::to_string(&kubelet).unwrap().contains("abcdef"), "a header may hold a token");
}

#[test]
fn the_installed_package_tells_the_version() {
    let status = |version: &str| {
        format!("Package: kubeadm\nVersion: 1.9.9-1\n\nPackage: kubelet\nStatus: install ok installed\nVersion: {version}\n\nPackage: zlib1g\nVersion: 2\n")
    };
    let version = |name: &str, version: &str| Tree::new(name, &[("/var/lib/dpkg/status", &status(version))]).kubelet().version;
    assert_eq!(version("dpkg", "1.36.2-1.1"), Some(Sourced::new("1.36.2".to_owned(), "/var/lib/dpkg/status:6")));
    assert_eq!(version("dpkg-epoch", "1:1.20.2-00").unwrap().value, "1.20.2");
    assert_eq!(Tree::new("dpkg-none", &[]).kubelet().version, None);
    let elsewhere = "[Service]\nExecStart=/opt/bin/kubelet --v=2\n[Install]\nWantedBy=multi-user.target\n";
    let tree = Tree::new("dpkg-elsewhere", &[("/var/lib/dpkg/status", &status("1.36.2")), ("/usr/lib/systemd/system/kubelet.service", elsewhere)]);
    assert_eq!(tree.kubelet().version, None, "the package's program is another one");
}

/// A file as a kubelet's program is to who only looks for words in it; no program.
fn program(version: &str, gates: &str) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    // Words lie where two pieces meet that are read one after the other, too.
    bytes.resize((256 << 10) - 8, 0);
    bytes.extend(format!("{version}\0 v1.9.9 go1.24.1 {gates} unrecognized feature gate: %s").bytes());
    bytes.resize(1 << 20, 0);
    bytes.extend(b"KubeletConfiguration v1.2.3\tdep");
    bytes
}

#[test]
fn the_program_itself_tells_its_version_and_its_gates() {
    let gates = |names: &str| format!("{HEAD}featureGates: {{{names}}}\n");
    let tree = with_unit(
        "program",
        "KUBELET_EXTRA_ARGS=--feature-gates=OldGate=true\n",
        &[(CONFIG, &gates("SidecarContainers: true, EventedPELG: true, AllBeta: false"))],
    );
    fs::create_dir_all(tree.path("/usr/bin")).unwrap();
    fs::write(tree.path("/usr/bin/kubelet"), program("v1.31.4-eks-a737599", "SidecarContainersEventedPLEGAllBeta")).unwrap();
    for _ in 0..2 {
        let kubelet = tree.kubelet();
        assert_eq!(kubelet.version, Some(Sourced::new("1.31.4".to_owned(), "/usr/bin/kubelet")));
        let expected = "3:41 featureGates has EventedPELG, which /usr/bin/kubelet does not know: it is misspelt, newer, or gone";
        assert_eq!(said(&kubelet), [expected]);
        let odd: Vec<_> = kubelet.odd_flags.iter().map(|odd| (odd.name.as_str(), odd.source.as_str())).collect();
        assert_eq!(odd, [("feature-gates", "/etc/default/kubelet:1 --feature-gates")], "and the flag's");
    }
    // A mend is seen, without the program being another.
    fs::write(tree.path(CONFIG), gates("EventedPLEG: true")).unwrap();
    assert_eq!(said(&tree.kubelet()), Vec::<String>::new());
    // Neither something else of that name, nor one that says two versions, tells anything.
    for other in [b"#!/bin/sh\nexec kubelet v1.31.4\0 unrecognized feature gate KubeletConfiguration\n".to_vec(), b"\x7fELF v1.31.4\0".to_vec(), Vec::new()] {
        fs::write(tree.path("/usr/bin/kubelet"), other).unwrap();
        fs::write(tree.path(CONFIG), gates("EventedPELG: true")).unwrap();
        let kubelet = tree.kubelet();
        assert_eq!((kubelet.version.clone(), said(&kubelet)), (None, Vec::new()));
    }
    fs::write(tree.path("/usr/bin/kubelet"), program("v1.31.4\0v1.30.1", "")).unwrap();
    assert_eq!(tree.kubelet().version, None);
}

#[test]
fn images_that_are_made_for_one_release_tell_it() {
    let version = |name: &str, files: &[(&str, &str)]| Tree::new(name, files).kubelet().version.map(|version| (version.value, version.source));
    let told = |version: &str, source: &str| Some((version.to_owned(), source.to_owned()));
    assert_eq!(version("kind", &[("/kind/version", "v1.34.0\n")]), told("1.34.0", "/kind/version"));
    let bottlerocket = "NAME=Bottlerocket\nID=bottlerocket\nVARIANT_ID=aws-k8s-1.31-nvidia\n";
    assert_eq!(version("bottlerocket", &[("/etc/os-release", bottlerocket)]), told("1.31", "/etc/os-release:3"));
    assert_eq!(version("no-bottlerocket", &[("/etc/os-release", "ID=debian\nVARIANT_ID=aws-k8s-1.31\n")]), None);
    let snap = ("/snap/microk8s/current/meta/snap.yaml", "name: microk8s\nversion: v1.31.3\n");
    assert_eq!(version("microk8s", &[snap, ("/var/snap/microk8s/current/x", "")]), told("1.31.3", "/snap/microk8s/current/meta/snap.yaml:2"));
    let minikube = "[Service]\nExecStart=/var/lib/minikube/binaries/v1.30.0/kubelet --v=2\n[Install]\nWantedBy=multi-user.target\n";
    assert_eq!(version("minikube", &[("/etc/systemd/system/kubelet.service", minikube)]), told("1.30.0", "/var/lib/minikube/binaries/v1.30.0/kubelet"));
}

#[test]
fn a_kubelet_in_a_shell_has_its_flags_and_where_they_were_written() {
    let unit = "[Service]\nEnvironmentFile=-/etc/default/kubelet\n\
                ExecStart=/bin/bash -c 'exec /usr/bin/kubelet --config=/etc/%N.yaml --hostname-override=$(hostname -f) $$EXTRA ${MORE}'\n[Install]\nWantedBy=multi-user.target\n";
    let tree = Tree::new(
        "shell",
        &[
            ("/usr/lib/systemd/system/kubelet.service", unit),
            ("/etc/default/kubelet", "EXTRA=\"--node-labels a=b --network-plugin=cni\"\nMORE=--max-pods=50\n"),
            ("/etc/kubelet.yaml", &format!("{HEAD}maxPods: 40\n")),
            ("/etc/hostname", "node1\n"),
        ],
    );
    let kubelet = tree.kubelet();
    assert_eq!(kubelet.config.as_ref().unwrap().path.value, "/etc/kubelet.yaml");
    assert_eq!(kubelet.config.as_ref().unwrap().state, FileState::Valid);
    assert_eq!(kubelet.settings["maxPods"].value, "50", "a flag beats the file");
    assert_eq!(from(&kubelet.flags["node-labels"]), (&"a=b".to_owned(), "/etc/default/kubelet:1 --node-labels"));
    assert_eq!(kubelet.settings["maxPods"].source, "kubelet.service ExecStart --max-pods");
    assert_eq!(kubelet.odd_flags.iter().map(|odd| (odd.name.as_str(), &odd.oddity)).collect::<Vec<_>>(), [("network-plugin", &Oddity::Gone { release: 24 })]);
    assert!(!kubelet.flags.contains_key("hostname-override"), "what only the shell can tell");
}

/// What is said of a manifest: the kubelet's own words for the same, and ours.
#[test]
#[rustfmt::skip] // one table
fn a_manifest_is_refused_as_the_kubelet_refuses_it() {
    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - {name: c, image: i}\n";
    let spec = |more: &str| format!("{POD}{more}\n");
    let container = |more: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n  - {more}\n");
    for (_the_kubelets, manifest, expected) in [
        ("yaml: line 3: did not find expected key", "apiVersion: v1\nkind: Pod\n  metadata: {name: a}\n".to_owned(), "3: not YAML: "),
        ("found character that cannot start any token", "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: a\n".to_owned(), "4: not YAML: a tab, where only spaces indent"),
        ("Object 'Kind' is missing in 'null'", String::new(), "the file is empty"),
        ("Object 'Kind' is missing", "apiVersion: v1\nmetadata: {name: a}\n".to_owned(), "1: kind is not set, where Pod is expected"),
        ("no kind \"Pod\" is registered for version \"v2\"", POD.replace("v1", "v2"), "1: apiVersion is \"v2\", where v1 is expected"),
        ("invalid pod: &core.PodList", POD.replace("Pod", "PodList"), "2: kind is \"PodList\", where Pod is expected"),
        ("json: cannot unmarshal", "- a\n- b\n".to_owned(), "1: a list, where a Pod is expected"),
        ("invalid pod: name is needed for the pod", POD.replace("name: a", "namespace: a"), "1: metadata.name is not set"),
        ("metadata.name: Invalid value", POD.replace("name: a", "name: My_Pod"), "3: metadata.name is \"My_Pod\""),
        ("spec.containers: Required value", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\n".to_owned(), "4: spec.containers holds no container"),
        ("spec.containers[0].image: Required value", container("{name: c}"), "6: the container \"c\" has no image"),
        ("spec.containers[0].name: Required value", container("{image: i}"), "6: a container has no name"),
        ("spec.containers[1].name: Duplicate value", container("{name: c, image: i}\n  - {name: c, image: i}"), "7: a container is called \"c\", and so is another one"),
        ("cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string", container("{name: c, image: i, env: [{name: A, value: true}]}"), "6: spec.containers[0].env[0].value is true or false, where a string is expected"),
        ("cannot unmarshal number into Go struct field Container.spec.containers.command of type string", container("{name: c, image: i, command: [sleep, 60]}"), "6: spec.containers[0].command[1] is a number, where a string is expected"),
        ("cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32", container("{name: c, image: i, ports: [{containerPort: \"80\"}]}"), "6: spec.containers[0].ports[0].containerPort is \"80\", where a whole number is expected"),
        ("spec.containers[0].ports[0].containerPort: Invalid value: 80000", container("{name: c, image: i, ports: [{containerPort: 80000}]}"), "6: the container \"c\" has a port whose containerPort is none from 1 to 65535"),
        ("spec.containers[0].volumeMounts[0].name: Not found", container("{name: c, image: i, volumeMounts: [{name: d, mountPath: /d}]}"), "6: the container \"c\" mounts the volume \"d\", which is not in spec.volumes"),
        ("spec.volumes[0].hostPath.path: Required value", spec("  volumes: [{name: v, hostPath: {type: File}}]"), "7: the volume \"v\" has a hostPath without a path"),
        ("spec.volumes[0].hostPath.type: Unsupported value", spec("  volumes: [{name: v, hostPath: {path: /etc, type: Folder}}]"), "7: the hostPath's type of the volume \"v\" is \"Folder\""),
        ("spec.containers[0].imagePullPolicy: Unsupported value", container("{name: c, image: i, imagePullPolicy: never}"), "6: imagePullPolicy of the container \"c\" is \"never\""),
        ("spec.restartPolicy: Unsupported value", spec("  restartPolicy: always"), "7: spec.restartPolicy is \"always\", where one of Always, OnFailure, Never is expected"),
    ] {
        let tree = Tree::new("manifest", &[(CONFIG, &format!("{HEAD}staticPodPath: /m\n")), ("/m/a.yaml", &manifest)]);
        let manifests = tree.kubelet().surroundings.manifests;
        let FileState::Invalid(faults) = &manifests[0].state else { panic!("{manifest} is taken") };
        let saw: Vec<_> = faults.iter().map(|fault| format!("{}{}", fault.line.map_or_else(String::new, |line| format!("{line}: ")), fault.message)).collect();
        assert!(saw.len() == 1 && saw[0].starts_with(expected), "{manifest}: {saw:?}, where {expected} is expected");
        assert!(faults[0].column.is_some() == faults[0].line.is_some(), "{manifest}");
    }
}

#[test]
fn manifests_are_read_as_the_kubelet_reads_them() {
    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i}]}\n";
    let account = POD.replace("spec: {", "spec: {serviceAccountName: robot, ");
    let files = [
        (CONFIG, &*format!("{HEAD}staticPodPath: /m/\n")),
        ("/m/.hidden.yaml", "a: ["),
        ("/m/README", "a: ["),
        ("/m/a.yaml", POD),
        ("/m/a.yaml~", POD),
        ("/m/account.yaml", &account),
        ("/m/below/a.yaml", "a: ["),
    ];
    let tree = Tree::new("manifests", &files);
    symlink("/gone", tree.path("/m/link.yaml")).unwrap();
    nix::unistd::mkfifo(&tree.path("/m/fifo.yaml"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::File::create(tree.path("/m/large.yaml")).unwrap().set_len(100 << 20).unwrap();
    fs::write(tree.path("/m/bytes.yaml"), b"apiVersion: v1\nkind: \xff\n").unwrap();
    let read = |tree: &Tree| {
        let manifests = tree.kubelet().surroundings.manifests;
        let told = |state: &FileState| match state {
            FileState::Invalid(faults) => format!("{}{}", faults[0].line.map_or_else(String::new, |line| format!("{line}: ")), faults[0].message),
            state => format!("{state:?}"),
        };
        manifests.iter().map(|manifest| (manifest.path.clone(), told(&manifest.state))).collect::<Vec<_>>()
    };
    let valid = |path: &str| (path.to_owned(), "Valid".to_owned());
    let large = format!("is {} bytes long, too long for what it should be", 100 << 20);
    let expected = [
        valid("/m/a.yaml"),
        valid("/m/a.yaml~"),
        valid("/m/account.yaml"),
        ("/m/bytes.yaml".to_owned(), "2: not YAML: a byte that is no UTF-8".to_owned()),
        ("/m/large.yaml".to_owned(), large),
        ("/m/link.yaml".to_owned(), "a symlink that leads nowhere".to_owned()),
    ];
    assert_eq!(read(&tree), expected);
    // From 1.34 on a service account is refused, unless the gate is off.
    let packages = |version: &str| fs::write(tree.path("/var/lib/dpkg/status"), format!("Package: kubelet\nVersion: {version}-1.1\n")).unwrap();
    fs::create_dir_all(tree.path("/var/lib/dpkg")).unwrap();
    packages("1.33.9");
    assert_eq!(read(&tree)[2], expected[2]);
    packages("1.34.1");
    assert!(read(&tree)[2].1.starts_with("4: it names a service account of the API"), "{:?}", read(&tree)[2]);
    fs::write(tree.path(CONFIG), format!("{HEAD}staticPodPath: /m/\nfeatureGates: {{PreventStaticPodAPIReferences: false}}\n")).unwrap();
    assert_eq!(read(&tree)[2], expected[2]);
    // One file instead of a directory, nothing, and a kubelet that has no static pods.
    fs::write(tree.path(CONFIG), format!("{HEAD}staticPodPath: /m/a.yaml\n")).unwrap();
    assert_eq!(read(&tree), [valid("/m/a.yaml")]);
    fs::write(tree.path(CONFIG), format!("{HEAD}staticPodPath: /none\n")).unwrap();
    assert_eq!(read(&tree), []);
    fs::write(tree.path(CONFIG), HEAD).unwrap();
    assert_eq!(read(&tree), []);
}

#[test]
fn what_a_manifest_needs_and_is_not_there_is_told() {
    let pod = |volume: &str, arguments: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: s}}\nspec:\n  volumes:\n  - {{name: k, hostPath: {volume}}}\n  containers:\n  - name: s\n    image: i\n\
             \x20   volumeMounts: [{{name: k, mountPath: /k}}]\n    command:\n    - kube-scheduler\n    - {arguments}\n"
        )
    };
    let missing = |name: &str, manifest: &str| {
        let files =
            [(CONFIG, &*format!("{HEAD}staticPodPath: /m\n")), ("/m/s.yaml", manifest), ("/etc/kubernetes/here.conf", "x"), ("/etc/kubernetes/empty.conf", "")];
        let manifests = Tree::new(name, &files).kubelet().surroundings.manifests;
        assert_eq!(manifests[0].state, FileState::Valid);
        manifests[0].missing.iter().map(|fault| format!("{}: {}", fault.line.unwrap(), fault.message)).collect::<Vec<_>>()
    };
    let directory = "{path: /etc/kubernetes, type: Directory}";
    assert_eq!(missing("needs-nothing", &pod(directory, "--kubeconfig=/k/here.conf")), Vec::<String>::new());
    assert_eq!(missing("needs-file", &pod(directory, "--kubeconfig=/k/gone.conf")), ["13: --kubeconfig names /etc/kubernetes/gone.conf, which does not exist"]);
    assert_eq!(missing("needs-content", &pod(directory, "--kubeconfig=/k/empty.conf")), ["13: --kubeconfig names /etc/kubernetes/empty.conf, which is empty"]);
    let unmounted = missing("needs-mount", &pod(directory, "--kubeconfig=/etc/kubernetes/here.conf"));
    assert_eq!(unmounted, ["13: --kubeconfig names /etc/kubernetes/here.conf, which is in no volume that the container mounts"]);
    let gone = missing("needs-directory", &pod("{path: /srv/keys, type: Directory}", "--v=2"));
    assert_eq!(gone, ["6: the volume \"k\" needs a Directory at /srv/keys, where there is nothing"]);
    assert_eq!(missing("makes-directory", &pod("{path: /srv/keys, type: DirectoryOrCreate}", "--v=2")), Vec::<String>::new());
    assert_eq!(missing("made-at-boot", &pod("{path: /run/keys, type: Directory}", "--v=2")), Vec::<String>::new(), "of a disk nobody knows");
}

#[test]
fn bad_files_get_a_bounded_answer() {
    let large = format!("{HEAD}# {}\n", "x".repeat(5 << 20));
    let bomb: String = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |bomb, level| bomb + &format!("a{level}: &a{level} [*a{0}, *a{0}, *a{0}]\n", level - 1));
    for (name, content, expected) in [
        ("large", large.as_str(), "too long"),
        ("list", "- a\n- b\n", "a list, where a KubeletConfiguration is expected"),
        ("word", "hello", "\"hello\", where a KubeletConfiguration is expected"),
        ("no-kind", "apiVersion: kubelet.config.k8s.io/v1beta1\n", "kind is not set"),
        ("nul", "apiVersion: \0\n", "not YAML"),
        ("tabs", &format!("{HEAD}authentication:\n\tx509: {{}}\n"), "4:1 not YAML: a tab, where only spaces indent"),
        ("tab-in-the-middle", &format!("{HEAD}authentication:\n  x509: {{}}\n  \tanonymous: {{}}\n"), "5:3 not YAML: a tab, where only spaces indent"),
        ("bomb", &format!("{HEAD}{bomb}"), "not YAML"),
        ("tower", &"[".repeat(10_000), "not YAML"),
        ("json-comment", "{ // kubelet\n  \"kind\": \"KubeletConfiguration\" }", "1:"),
        ("no-alias", &format!("{HEAD}maxPods: *nowhere\n"), "3:"),
    ] {
        let said = said(&configured(name, content));
        assert!(said.len() == 1 && said[0].contains(expected) && said[0].len() < 400, "{name}: {said:?}");
    }
    for (name, content) in [
        ("bom", format!("\u{feff}{HEAD}maxPods: 5\n")),
        ("anchors", format!("{HEAD}x-common: &five 5\nmaxPods: *five\n")),
        ("windows", format!("{HEAD}maxPods: 5\n").replace('\n', "\r\n")),
        ("json", "{\"apiVersion\": \"kubelet.config.k8s.io/v1beta1\", \"kind\": \"KubeletConfiguration\", \"maxPods\": 5.0}".to_owned()),
    ] {
        let kubelet = configured(name, &content);
        assert_eq!(kubelet.config.as_ref().unwrap().state, FileState::Valid, "{name}");
        assert!(["5", "5.0"].contains(&kubelet.settings["maxPods"].value.as_str()), "{name}: {:?}", kubelet.settings["maxPods"]);
    }
    // Nothing takes long, or grows, with what is written again and again.
    for (name, content) in [
        ("unknown-fields", (0..18_000).fold(HEAD.to_owned(), |text, index| text + &format!("evictionHord{index}: 1\n"))),
        ("one-field-again", (0..18_000).fold(HEAD.to_owned(), |text, _| text + "maxPods: 5\n")),
    ] {
        let kubelet = configured(name, &content);
        assert_eq!(kubelet.config.as_ref().unwrap().state, FileState::Valid, "{name}");
        assert!((1..=100).contains(&kubelet.ignored_fields.len()), "{name}");
    }
    let twice = configured("twice", &format!("{HEAD}maxPods: 5\nmaxPods: 6\n"));
    assert_eq!(twice.settings["maxPods"].value, "6");
    assert_eq!((twice.ignored_fields[0].field.as_str(), twice.ignored_fields[0].line, twice.ignored_fields[0].duplicate), ("maxPods", 3, true));

    let tree = Tree::new("kinds", &[(CONFIG, "")]);
    let path = tree.path(CONFIG);
    fs::File::options().write(true).open(&path).unwrap().set_len(100 << 20).unwrap();
    assert!(said(&tree.kubelet())[0].contains("too long"), "100 MiB of nothing");
    fs::write(&path, b"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: \xff\xfe\n").unwrap();
    assert_eq!(said(&tree.kubelet()), ["2:7 not YAML: a byte that is no UTF-8"]);
    fs::remove_file(&path).unwrap();
    symlink("config.yaml", &path).unwrap();
    assert!(said(&tree.kubelet())[0].contains("loop of symlinks"));
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(said(&tree.kubelet())[0].contains("a FIFO"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(said(&tree.kubelet())[0].contains("a directory"));
}

fn kubeconfig(server: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters:\n- name: c\n  cluster:\n    server: {server}\n{more}contexts:\n- name: x\n  context: {{cluster: c, user: u}}\n\
         users:\n- name: u\n  user: {{token: abcdef.0123456789abcdef}}\n"
    )
}

#[test]
fn a_kubeconfig_is_followed_to_where_it_breaks() {
    let path = "/etc/kubernetes/kubelet.conf";
    let broken = |name: &str, text: &str| {
        let kubelet = Tree::new(name, &[(path, text)]).kubelet();
        let file = kubelet.kubeconfig.unwrap().file;
        file.faults().first().map_or_else(|| format!("{:?}", file.state), |fault| format!("{} {}", fault.place(path), fault.message))
    };
    let good = kubeconfig("https://192.0.2.1:6443", "");
    assert_eq!(broken("kc-good", &good), "Valid");
    assert_eq!(broken("kc-json", &serde_json::to_string(&serde_saphyr::from_str::<serde_json::Value>(&good).unwrap()).unwrap()), "Valid");
    assert_eq!(
        broken("kc-context", &good.replace("current-context: x", "current-context: z")),
        format!("{path}:3:18 current-context \"z\" is not in contexts")
    );
    let yes = broken("kc-yes", &good.replace("current-context: x", "current-context: yes"));
    assert_eq!(yes, format!("{path}:3:18 current-context is true, where a name is expected"));
    assert_eq!(broken("kc-user", &good.replace("user: u}", "user: v}")), format!("{path}:10:31 the context's user \"v\" is not in users"));
    assert_eq!(broken("kc-cluster", &good.replace("cluster: c,", "cluster: d,")), format!("{path}:10:22 the context's cluster \"d\" is not in clusters"));
    let no_server = broken("kc-server", &good.replace("server: https://192.0.2.1:6443", "insecure-skip-tls-verify: true"));
    assert_eq!(no_server, format!("{path}:7:5 the cluster has no server"));
    let port = broken("kc-port", &kubeconfig("https://192.0.2.1:64430", ""));
    assert_eq!(port, "Valid");
    let port = broken("kc-no-port", &kubeconfig("https://192.0.2.1:644300", ""));
    assert_eq!(port, format!("{path}:7:13 server \"https://192.0.2.1:644300\" is no address of an API server: the port is no number from 1 to 65535"));
    let ca = broken("kc-ca", &kubeconfig("https://192.0.2.1:6443", "    certificate-authority: pki/ca.crt\n"));
    assert_eq!(ca, format!("{path}:8:28 certificate-authority /etc/kubernetes/pki/ca.crt does not exist"));
    assert_eq!(broken("kc-empty", ""), format!("{path} the file is empty"));
    let tree = Tree::new("kc-secret", &[(path, &good)]);
    assert!(!serde_json::to_string(&tree.kubelet()).unwrap().contains("abcdef"), "a token is in the facts");
}

/// Each file of the kubelet's that cannot be read is told with what to grant, and nothing is said of what may stand in it.
#[test]
fn what_cannot_be_read_is_unknown_with_its_grant() {
    /// Puts a state in the place of what was read.
    type Hide = fn(&mut Kubelet, FileState);
    let files = [
        (CONFIG, &*format!("{HEAD}staticPodPath: /m\nauthentication: {{x509: {{clientCAFile: /ca.crt}}}}\nclusterDNS: [10.96.0.10]\n")),
        ("/d/1.conf", HEAD),
        ("/etc/kubernetes/kubelet.conf", &kubeconfig("https://192.0.2.1:6443", "")),
        ("/m/a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i}]}\n"),
    ];
    let tree = with_unit("blind", "KUBELET_EXTRA_ARGS=--config-dir=/d\n", &files);
    let whole = tree.kubelet();
    let blind = |what: &str| FileState::Unreadable(Blind::new(format!("{what}: permission denied")).grant("run as root, or grant CAP_DAC_READ_SEARCH"));
    let hidden: [(&str, Hide); 6] = [
        ("config", |kubelet, state| kubelet.config.as_mut().unwrap().state = state),
        ("config-dir", |kubelet, state| kubelet.config_dir.as_mut().unwrap().state = state),
        ("drop-in", |kubelet, state| kubelet.drop_ins[0].state = state),
        ("kubeconfig", |kubelet, state| kubelet.kubeconfig.as_mut().unwrap().file.state = state),
        ("client CA", |kubelet, state| kubelet.client_ca_file.as_mut().unwrap().state = state),
        ("manifest", |kubelet, state| kubelet.surroundings.manifests[0].state = state),
    ];
    for (what, hide) in hidden {
        let mut kubelet = whole.clone();
        kubelet.client_ca_file.as_mut().unwrap().state = FileState::Valid;
        hide(&mut kubelet, blind(what));
        let mut facts = Facts::unobserved("2026-12-01T00:00:00Z".parse().unwrap(), observe::node::observe(&tree.host(), None, Some(&kubelet)));
        facts.kubelet = Observed::Known(kubelet);
        let report = diagnose(&facts, &Config::default());
        let told: Vec<_> = report.unknown.iter().filter(|unknown| unknown.reason == format!("{what}: permission denied")).collect();
        assert_eq!(told.len(), 1, "{what}: {:?}", report.unknown);
        assert_eq!(told[0].grant.as_deref(), Some("run as root, or grant CAP_DAC_READ_SEARCH"), "{what}");
        assert_eq!(report.findings, [], "{what}: blindness is no finding");
    }
}

/// What kubeadm wrote is judged clean, by the kubelet's rules and by those of static pods.
#[test]
fn what_kubeadm_wrote_is_judged_clean() {
    for name in ["kubeadm-control-plane-healthy", "kubeadm-control-plane-expired"] {
        let tree = Tree::new(name, &[]);
        let archive = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/trees/{name}.tar.gz"));
        assert!(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(&tree.0).status().unwrap().success());
        for release in ["1.31.14", "1.34.9", "1.36.2"] {
            fs::create_dir_all(tree.path("/var/lib/dpkg")).unwrap();
            fs::write(tree.path("/var/lib/dpkg/status"), format!("Package: kubelet\nVersion: {release}-1.1\n")).unwrap();
            let kubelet = tree.kubelet();
            assert_eq!(kubelet.release(), Some(release.split('.').nth(1).unwrap().parse().unwrap()));
            assert_eq!(said(&kubelet), Vec::<String>::new(), "{name}");
            assert_eq!((&kubelet.ignored_fields, &kubelet.odd_flags), (&Vec::new(), &Vec::new()), "{name}");
            assert_eq!(kubelet.kubeconfig.as_ref().unwrap().file.state, FileState::Valid, "{name}");
            let manifests = &kubelet.surroundings.manifests;
            let stems: Vec<_> = manifests.iter().map(nodetriage::facts::kubelet::Manifest::stem).collect();
            // The second tree was recorded without its manifests.
            let expected = if name.ends_with("healthy") { &["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"][..] } else { &[] };
            assert_eq!(stems, expected, "{name}");
            assert!(manifests.iter().all(|manifest| manifest.state == FileState::Valid && manifest.missing.is_empty()), "{name}: {manifests:?}");
            let codes = tree.findings().into_keys().filter(|code| code.starts_with("kubelet-") || code.starts_with("static-pod-"));
            let codes: Vec<String> = codes.filter(|code| code != "static-pod-path-missing" || !stems.is_empty()).collect();
            assert_eq!(codes, Vec::<String>::new(), "{name}");
        }
    }
}

/// The running daemon answers each setting with where it was written.
#[test]
fn settings_and_their_sources_are_answered_over_http() {
    let tree = with_unit(
        "http",
        "KUBELET_EXTRA_ARGS='--config-dir=/d --max-pods=50'\n",
        &[(CONFIG, &format!("{HEAD}maxPods: 40\nclusterDNS: [10.96.0.10]\n")), ("/d/1.conf", &format!("{HEAD}port: 10260\n"))],
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_nodetriage"))
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "text", "--node-name", "node1", "--root"])
        .arg(&tree.0)
        .arg("--state-dir")
        .arg(tree.path("/state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (send, lines) = std::sync::mpsc::channel();
    for pipe in [Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>, Box::new(child.stderr.take().unwrap())] {
        let send = send.clone();
        std::thread::spawn(move || BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| drop(send.send(line))));
    }
    let deadline = Instant::now() + Duration::from_mins(1);
    let address = loop {
        let line = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).expect("it does not say where it listens");
        if let Some((_, rest)) = line.split_once("listening on http://") {
            break rest.split('/').next().unwrap().to_owned();
        }
    };
    let known = loop {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /api/v1/facts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let facts: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        if facts["kubelet"]["known"].is_object() {
            break facts["kubelet"]["known"].clone();
        }
        assert!(Instant::now() < deadline, "no kubelet in {answer}");
        std::thread::sleep(Duration::from_millis(50));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    for (setting, value, source) in [
        ("maxPods", "50", "/etc/default/kubelet:1 --max-pods"),
        ("port", "10260", "/d/1.conf:3"),
        ("clusterDNS", "10.96.0.10", "/var/lib/kubelet/config.yaml:4"),
    ] {
        assert_eq!(known["settings"][setting], serde_json::json!({ "value": value, "source": source }), "{setting}");
    }
    assert_eq!(known["healthz_port"], serde_json::json!({ "value": 10_248, "source": "default" }));
    assert_eq!(known["command_line_source"], "kubelet.service ExecStart");
}

#[test]
fn distributions_that_keep_their_kubelet_elsewhere_are_nodes_without_faults() {
    let agent = "/var/lib/rancher/k3s/agent";
    let tree = Tree::new(
        "k3s",
        &[
            (&format!("{agent}/etc/kubelet.conf.d/00-k3s-defaults.conf"), &format!("{HEAD}evictionHard: {{imagefs.available: 5%, nodefs.available: 5%}}\n")),
            (&format!("{agent}/kubelet.kubeconfig"), &kubeconfig("https://127.0.0.1:6444", "")),
        ],
    );
    let kubelet = tree.kubelet();
    assert_eq!(kubelet.drop_ins.len(), 1);
    assert_eq!(kubelet.container_runtime_endpoint.as_ref().unwrap().value, "unix:///run/k3s/containerd/containerd.sock");
    let host = tree.host();
    let mut facts = Facts::unobserved("2026-12-01T00:00:00Z".parse().unwrap(), observe::node::observe(&host, None, Some(&kubelet)));
    facts.kubelet = Observed::Known(kubelet);
    assert!(facts.is_kubernetes_node());
    assert_eq!(diagnose(&facts, &Config::default()).findings, []);
    facts.kubelet = Observed::Unknown(Blind::new("not looked at"));
    assert_eq!(diagnose(&facts, &Config::default()).findings, [], "blindness is no finding");
}

#[test]
fn what_others_on_the_node_call_the_api_server_is_known_with_its_place() {
    let manifest = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: kube-apiserver\n    command:\n    - kube-apiserver\n    - --advertise-address=2001:db8::1\n\
                    \x20   - --secure-port=7443\n";
    let tree = Tree::new(
        "api-servers",
        &[
            ("/etc/kubernetes/kubelet.conf", &kubeconfig("https://192.0.2.1:6443", "")),
            ("/etc/kubernetes/admin.conf", &kubeconfig("https://api.example.com", "")),
            ("/etc/kubernetes/scheduler.conf", "damaged: ["),
            ("/etc/kubernetes/manifests/kube-apiserver.yaml", manifest),
        ],
    );
    let found = tree.kubelet().surroundings.api_servers;
    let expected = [
        Sourced::new("https://api.example.com".to_owned(), "/etc/kubernetes/admin.conf:7"),
        Sourced::new("https://[2001:db8::1]:7443".to_owned(), "/etc/kubernetes/manifests/kube-apiserver.yaml:9"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_disk_does_not_tell_what_only_a_running_node_knows() {
    let tree = Tree::new("disk", &[(CONFIG, HEAD), ("/etc/hostname", "Node1\n")]);
    symlink("../run/systemd/resolve/stub-resolv.conf", tree.path("/etc/resolv.conf")).unwrap();
    let around = tree.kubelet().surroundings;
    assert_eq!((around.swap, around.cgroup_version, around.resolver), (None, None, None), "a resolv.conf below /run is made at boot");
    assert_eq!(around.node_name, Some(Sourced::new("node1".to_owned(), "/etc/hostname")));
}

#[test]
fn a_running_node_tells_its_swap_and_cgroups() {
    let host = Host::open("/".as_ref()).unwrap();
    let around = observe::kubelet::observe(&host, &Observed::Unknown(Blind::new("no bus"))).surroundings;
    let rows = fs::read_to_string("/proc/swaps").unwrap().lines().count() - 1;
    assert_eq!(around.swap.unwrap().len(), rows);
    assert!(matches!(around.cgroup_version, Some(1 | 2)));
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_lowercase();
    assert!(around.node_name.is_some_and(|name| name.value == hostname || name.source.ends_with("--hostname-override")));
}

#[test]
fn the_commands_of_the_report_mend_what_they_are_for() {
    let stub = "/run/systemd/resolve/stub-resolv.conf";
    let resolved = |tree: &Tree| {
        fs::create_dir_all(tree.path("/run/systemd/resolve")).unwrap();
        fs::write(tree.path("/run/systemd/resolve/resolv.conf"), "nameserver 192.0.2.53\n").unwrap();
        fs::write(tree.path(stub), "nameserver 127.0.0.53\n").unwrap();
    };
    let path = Tree::worker("mend-ca-path", CONFIG, "pki/ca.crt", "pki/CA (old).crt");
    let file = Tree::worker("mend-ca-file", "/etc/kubernetes/pki/ca.crt", "-----BEGIN CERTIFICATE-----", "-----BEGIN NOTHING-----");
    let plain = Tree::worker("mend-ca-plain", CONFIG, "pki/ca.crt", "pki/WRONG.crt");
    let pods = Tree::worker("mend-static-pods", CONFIG, "/etc/kubernetes/manifests", "/etc/kubernetes/static pods");
    let dns = Tree::worker("mend-dns", "/etc/resolv.conf", "192.0.2.53", "127.0.0.53");
    let set = Tree::worker("mend-dns-set", CONFIG, "rotateCertificates", &format!("resolvConf: {stub}\nrotateCertificates"));
    resolved(&dns);
    resolved(&set);
    let port = Tree::worker("mend-port", "/etc/kubernetes/kubelet.conf", ":6443", ":6553");
    fs::write(port.path("/etc/kubernetes/admin.conf"), kubeconfig("https://192.0.2.1:6443", "")).unwrap();
    for (tree, code) in [
        (&file, "kubelet-client-ca-missing"),
        (&plain, "kubelet-client-ca-missing"),
        (&pods, "static-pod-path-missing"),
        (&dns, "dns-forwarding-loop"),
        (&set, "dns-forwarding-loop"),
        (&port, "api-server-endpoint-mismatch"),
    ] {
        let before = tree.findings();
        let commands = before.get(code).unwrap_or_else(|| panic!("{}: {code} is not among {before:?}", tree.0.display()));
        tree.mend(&commands[0]);
        assert!(!tree.findings().contains_key(code), "{code} is not mended by {}", commands[0]);
    }
    // A path that a shell or sed would take for something else is left to the editor.
    let careful = &path.findings()["kubelet-client-ca-missing"][0];
    assert_eq!(careful, "vi +9 /var/lib/kubelet/config.yaml && systemctl restart kubelet");
}

#[test]
fn the_command_for_fstab_switches_off_swap_and_nothing_else() {
    let fstab = "# /etc/fstab\nUUID=1 / ext4 defaults 0 1\n/swap.img\tnone\tswap\tsw\t0\t0\n#/old none swap sw 0 0\n/dev/sdb1 /swap ext4 defaults 0 2\n";
    let tree = Tree::new("fstab", &[("/etc/fstab", fstab)]);
    let golden = include_str!("nodes/kubelet-swap-blocks/report.json");
    let report: serde_json::Value = serde_json::from_str(golden).unwrap();
    let commands = report["findings"][0]["remedy"].as_array().unwrap();
    let command = commands.iter().filter_map(|command| command.as_str()).find(|command| command.contains("fstab")).unwrap();
    tree.mend(command);
    let expected = fstab.replace("/swap.img", "# /swap.img");
    assert_eq!(fs::read_to_string(tree.path("/etc/fstab")).unwrap(), expected);
    tree.mend(command);
    assert_eq!(fs::read_to_string(tree.path("/etc/fstab")).unwrap(), expected, "twice is once");
}

/// Lines of real kubelets (1.36.2 and 1.20.2), and a healthy kubelet's whole log.
#[test]
fn the_kubelets_own_words_are_recognised_and_a_healthy_kubelets_are_not() {
    let counts = |code: &str, line: &str| {
        let signals = nodetriage::checks::get(code).unwrap().signals;
        assert!(!signals.is_empty(), "{code}");
        signals.iter().any(|signal| regex::bytes::RegexBuilder::new(signal.pattern).unicode(false).build().unwrap().is_match(line.as_bytes()))
    };
    for (code, line) in [
        (
            "kubelet-port-in-use",
            r#"E1123 18:06:56.534130     507 server.go:209] "Failed to listen and serve" err="listen tcp 0.0.0.0:10250: bind: address already in use""#,
        ),
        (
            "kubelet-port-in-use",
            r#"E1123 18:07:00.127901     524 server.go:951] "Failed to start healthz server" err="listen tcp 127.0.0.1:10248: bind: address already in use""#,
        ),
        (
            "cgroup-v1-refused",
            r#"E1123 18:06:37.528763     469 run.go:72] "command failed" err="failed to validate kubelet configuration, error: kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported and will be removed in a future release, path: &TypeMeta{Kind:,APIVersion:,}""#,
        ),
        (
            "kubelet-flag-unknown",
            r#"E1123 18:02:38.105541     280 run.go:72] "command failed" err="failed to parse kubelet flag: unknown flag: --network-plugin""#,
        ),
        ("kubelet-flag-unknown", "F1123 18:50:31.929758    8710 server.go:156] unknown flag: --network-plugin-mtu-x"),
    ] {
        assert!(counts(code, line), "{code}: {line}");
        let healthy = include_str!("data/logs/kubelet-1.36.2-healthy-v0.log");
        assert_eq!(healthy.lines().find(|line| counts(code, line)), None, "{code}");
    }
}
