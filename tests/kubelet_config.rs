//! The kubelet's effective configuration, read from trees as nodes have them, from recorded files and from a live process.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

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
        ("tabs", &format!("{HEAD}authentication:\n\tx509: {{}}\n"), "4:"),
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
