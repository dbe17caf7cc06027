//! Where the runtime is told to look for networks: its own configuration, in a tree, through the real binary.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nodetriage::facts::kubelet::FileState;
use nodetriage::facts::{Blind, Cni, Domain, Facts, Node, Observed, Timestamp, Units};
use nodetriage::observe::host::Host;
use nodetriage::observe::{cni, runtime};
use serde_json::{Value, json};

struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cni").join(name);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("etc/kubernetes")).unwrap();
        Self(root)
    }

    fn write(self, path: &str, content: &str) -> Self {
        let path = self.0.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn kubelet(self, endpoint: &str) -> Self {
        let config = format!("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncontainerRuntimeEndpoint: {endpoint}\n");
        self.write("/var/lib/kubelet/config.yaml", &config)
    }

    fn cni(&self) -> Value {
        self.observe("cni")
    }

    fn runtime(&self) -> Value {
        self.observe("runtime")
    }

    /// The codes of the findings that begin so.
    fn findings(&self, of: &str) -> Vec<String> {
        let output = Command::new(env!("CARGO_BIN_EXE_nodetriage")).args(["--output", "json", "--root"]).arg(&self.0).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let codes = report["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap().to_owned());
        codes.filter(|code| code.starts_with(of)).collect()
    }

    fn observe(&self, domain: &str) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_nodetriage")).args(["observe", "--root"]).arg(&self.0).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()[domain]["known"].take()
    }
}

fn sourced(value: impl Into<Value>, source: &str) -> Value {
    json!({ "value": value.into(), "source": source })
}

#[test]
fn without_a_configuration_the_runtimes_defaults_hold() {
    let cni = Tree::new("defaults").cni();
    assert_eq!(cni["runtime"], "containerd");
    assert_eq!(cni["conf_dir"], sourced("/etc/cni/net.d", "default"));
    assert_eq!(cni["bin_dirs"], json!([sourced("/opt/cni/bin", "default")]));
    assert_eq!(cni["max_conf_num"], sourced(1, "default"));
    assert_eq!(cni["needs_loopback"], true);
    assert_eq!(cni["conf_dir_exists"], false);
    let runtime = Tree::new("defaults").runtime();
    assert_eq!(runtime["config"], Value::Null);
    assert_eq!(runtime["endpoint"], sourced("unix:///run/containerd/containerd.sock", "default"));
    assert_eq!(runtime["cgroup_driver"], sourced("cgroupfs", "default"));
    assert_eq!(runtime["reply"], "not-asked");
}

#[test]
fn every_format_of_containerds_configuration_names_the_directories_with_their_line() {
    for (name, text) in [
        ("v1", "[plugins]\n  [plugins.cri.cni]\n    conf_dir = \"/srv/net.d/\"\n    bin_dir = \"/usr/lib/cni\"\n"),
        ("v2", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\n    conf_dir = \"/srv/net.d\"\n    bin_dir = \"/usr/lib/cni\"\n"),
        ("v3", "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\n    conf_dir = '/srv/net.d'\n    bin_dirs = ['/usr/lib/cni']\n"),
    ] {
        let cni = Tree::new(name).write("/etc/containerd/config.toml", text).cni();
        assert_eq!(cni["conf_dir"], sourced("/srv/net.d", "/etc/containerd/config.toml:3"), "{name}");
        assert_eq!(cni["bin_dirs"], json!([sourced("/usr/lib/cni", "/etc/containerd/config.toml:4")]), "{name}");
    }
}

#[test]
fn a_section_of_another_versions_name_has_no_effect() {
    let text = "version = 3\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = \"/srv/net.d\"\n";
    assert_eq!(Tree::new("v3-old-name").write("/etc/containerd/config.toml", text).cni()["conf_dir"]["value"], "/etc/cni/net.d");
}

#[test]
fn imports_override_in_their_order_and_never_go_round_in_circles() {
    let section = "[plugins.'io.containerd.cri.v1.runtime'.cni]";
    let tree = Tree::new("imports")
        .write(
            "/etc/containerd/config.toml",
            &format!("version = 3\nimports = ['conf.d/*.toml', '/etc/containerd/config.toml']\n{section}\nconf_dir = '/a'\nbin_dirs = ['/x']\n"),
        )
        .write("/etc/containerd/conf.d/10-first.toml", &format!("version = 3\nimports = ['../config.toml']\n{section}\nconf_dir = '/b'\n"))
        .write("/etc/containerd/conf.d/20-second.toml", &format!("version = 3\n{section}\nconf_dir = '/c'\nmax_conf_num = 0\nuse_internal_loopback = true\n"))
        .write("/etc/containerd/conf.d/30-not.conf", &format!("version = 3\n{section}\nconf_dir = '/d'\n"));
    let cni = tree.cni();
    assert_eq!(cni["conf_dir"], sourced("/c", "/etc/containerd/conf.d/20-second.toml:3"));
    assert_eq!(cni["bin_dirs"], json!([sourced("/x", "/etc/containerd/config.toml:5")]));
    assert_eq!(cni["max_conf_num"]["value"], 0);
    assert_eq!(cni["needs_loopback"], false);
    let runtime = tree.runtime();
    let read: Vec<_> = runtime["config"].as_array().unwrap().iter().map(|file| file["path"]["value"].as_str().unwrap()).collect();
    assert_eq!(read[0], "/etc/containerd/config.toml");
    assert!(read.contains(&"/etc/containerd/conf.d/20-second.toml") && !read.contains(&"/etc/containerd/conf.d/30-not.conf"), "{read:?}");
}

/// containerd 1 replaced the sections of a plugin that an import has, containerd 2 merges them key by key. Which one it is, its
/// data tell.
#[test]
fn an_import_replaces_a_section_or_adds_to_it_by_the_generation() {
    let section = "[plugins.\"io.containerd.grpc.v1.cri\".cni]";
    for (mark, conf_dir, driver) in
        [("io.containerd.runtime.v1.linux", "/etc/cni/net.d", "cgroupfs"), ("io.containerd.sandbox.controller.v1.shim", "/a", "systemd")]
    {
        let tree = Tree::new(mark)
            .write(&format!("/var/lib/containerd/{mark}/.keep"), "")
            .write(
                "/etc/containerd/config.toml",
                &format!(
                    "version = 2\nimports = ['own.toml']\n{section}\nconf_dir = '/a'\n\
                     [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = true\n"
                ),
            )
            .write("/etc/containerd/own.toml", &format!("version = 2\n{section}\nmax_conf_num = 2\n"));
        let cni = tree.cni();
        assert_eq!((&cni["conf_dir"]["value"], &cni["max_conf_num"]["value"]), (&conf_dir.into(), &2.into()), "{mark}");
        assert_eq!(tree.runtime()["cgroup_driver"]["value"], driver, "{mark}");
    }
}

/// Each refused with its line, as the real ones refuse it.
#[test]
fn what_containerd_refuses_to_start_with_is_told_with_its_line() {
    for (name, text, line, message) in [
        ("short", "version = 2\ndisabled_plugins = ['cri']\n", 2, "disabled_plugins names \"cri\""),
        ("newer", "version = 9\n", 1, "version 9 is newer than this containerd knows, 4 at most"),
        ("import", "version = 2\nimports = ['/etc/containerd/none.toml']\n", 2, "imports /etc/containerd/none.toml, which does not exist"),
        ("root", "root = 5\n", 1, "root is a number, where a string is expected"),
        ("dir", "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.cni]\nconf_dir = ['/x']\n", 3, "conf_dir is a list, where a string is expected"),
    ] {
        let runtime = Tree::new(&format!("refused-{name}")).write("/etc/containerd/config.toml", text).runtime();
        let fault = &runtime["config"][0]["state"]["invalid"][0];
        assert_eq!(fault["line"], line, "{name}: {runtime}");
        assert!(fault["message"].as_str().unwrap().starts_with(message), "{name}: {fault}");
    }
    for good in
        ["disabled_plugins = ['cri']\n", "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nnosuch = 5\n", "version = 2\nimports = ['/none/*.toml']\n"]
    {
        assert_eq!(Tree::new("taken").write("/etc/containerd/config.toml", good).runtime()["config"][0]["state"], "valid", "{good}");
    }
}

#[test]
fn a_configuration_that_is_no_toml_is_told_with_its_place() {
    let tree = Tree::new("broken").write("/etc/containerd/config.toml", "version = 2\n[plugins\n");
    let fault = &tree.runtime()["config"][0]["state"]["invalid"][0];
    assert_eq!(fault["line"], 2, "{fault}");
    assert!(fault["message"].as_str().unwrap().starts_with("not TOML: "), "{fault}");
    assert_eq!(tree.cni()["conf_dir"]["value"], "/etc/cni/net.d");
}

#[test]
fn a_configuration_file_named_by_the_unit_is_the_one_that_counts() {
    let tree = Tree::new("unit")
        .write("/usr/lib/systemd/system/containerd.service", "[Service]\nExecStart=/usr/bin/containerd\n")
        .write(
            "/etc/systemd/system/containerd.service.d/10-own.conf",
            "[Service]\nExecStart=\nExecStart=/usr/bin/containerd \\\n  --config /srv/containerd.toml\n",
        )
        .write("/etc/containerd/config.toml", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = '/wrong'\n")
        .write("/srv/containerd.toml", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = '/right'\n");
    assert_eq!(tree.cni()["conf_dir"], sourced("/right", "/srv/containerd.toml:3"));
    assert_eq!(tree.runtime()["config"][0]["path"]["source"], "containerd.service --config");
}

#[test]
fn rancher_has_its_own_directories() {
    let k3s = "/var/lib/rancher/k3s";
    let tree = Tree::new("k3s").kubelet("unix:///run/k3s/containerd/containerd.sock").write(&format!("{k3s}/agent/.keep"), "");
    assert_eq!(tree.cni()["conf_dir"], sourced(format!("{k3s}/agent/etc/cni/net.d"), "default"));
    let config = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\n  bin_dir = \"/var/lib/rancher/k3s/data/cni\"\n  conf_dir = \"/srv\"\n";
    let cni = tree.write(&format!("{k3s}/agent/etc/containerd/config.toml"), config).cni();
    assert_eq!(cni["conf_dir"], sourced("/srv", &format!("{k3s}/agent/etc/containerd/config.toml:4")));
}

#[test]
fn crio_drop_ins_override_its_file_and_the_old_plugin_dir_is_added() {
    let cni = Tree::new("crio")
        .kubelet("unix:///var/run/crio/crio.sock")
        .write("/etc/crio/crio.conf", "[crio.network]\nnetwork_dir = \"/a/\"\nplugin_dir = \"/old\"\nplugin_dirs = [\"/x\"]\n")
        .write(
            "/etc/crio/crio.conf.d/20-net.conf",
            "[crio.network]\ncni_default_network = \"mynet\"\nplugin_dirs = [\"/usr/libexec/cni/\", \"/opt/cni/bin/\"]\n",
        )
        .write("/etc/crio/crio.conf.d/10-net.conf", "[crio.network]\nnetwork_dir = \"/b\"\nplugin_dirs = [\"/y\"]\n")
        .cni();
    let drop_in = "/etc/crio/crio.conf.d/20-net.conf";
    assert_eq!(cni["runtime"], "cri-o");
    assert_eq!(cni["conf_dir"], sourced("/b", "/etc/crio/crio.conf.d/10-net.conf:2"));
    assert_eq!(cni["default_network"], sourced("mynet", &format!("{drop_in}:2")));
    let dirs = [("/usr/libexec/cni", format!("{drop_in}:3")), ("/opt/cni/bin", format!("{drop_in}:3")), ("/old", "/etc/crio/crio.conf:3".to_owned())];
    assert_eq!(cni["bin_dirs"], Value::Array(dirs.iter().map(|(dir, source)| sourced(*dir, source)).collect()));
    assert_eq!(cni["needs_loopback"], false);
}

/// As its packages' unit has them, from the file that Fedora's and Debian's name.
#[test]
fn crios_flags_override_its_files() {
    let unit = "[Service]\nEnvironmentFile=-/etc/sysconfig/crio\nExecStart=/usr/bin/crio \\\n    $CRIO_CONFIG_OPTIONS \\\n    $CRIO_NETWORK_OPTIONS\n";
    let tree = |name: &str| {
        Tree::new(name)
            .kubelet("unix:///var/run/crio/crio.sock")
            .write("/usr/lib/systemd/system/crio.service", unit)
            .write("/srv/drop-ins/10-net.conf", "[crio.network]\nnetwork_dir = \"/b\"\ncni_default_network = \"file\"\n")
            .write("/etc/crio/crio.conf.d/10-net.conf", "[crio.network]\nnetwork_dir = \"/wrong\"\n")
    };
    let options = "CRIO_CONFIG_OPTIONS=\"--config-dir /srv/drop-ins\"\n";
    let cni = tree("crio-config-dir").write("/etc/sysconfig/crio", options).cni();
    assert_eq!(cni["conf_dir"], sourced("/b", "/srv/drop-ins/10-net.conf:2"));
    assert_eq!(cni["default_network"]["value"], "file");
    let options = format!("{options}# mine\nCRIO_NETWORK_OPTIONS='--cni-config-dir=/srv/net.d --cni-plugin-dir=/x,/y/ --cni-default-network=flag'\n");
    let cni = tree("crio-flags").write("/etc/sysconfig/crio", &options).cni();
    assert_eq!(cni["conf_dir"], sourced("/srv/net.d", "/etc/sysconfig/crio:3 --cni-config-dir"));
    assert_eq!(cni["default_network"], sourced("flag", "/etc/sysconfig/crio:3 --cni-default-network"));
    let dirs = ["/x", "/y"].map(|dir| sourced(dir, "/etc/sysconfig/crio:3 --cni-plugin-dir"));
    assert_eq!(cni["bin_dirs"], Value::Array(dirs.into()));
}

/// Its older packages' unit: pods get Docker's own bridge, and an empty directory is no fault.
#[test]
fn cri_dockerd_without_cni_needs_no_configuration_of_it() {
    let tree = |name: &str, flag: &str| {
        let unit = format!("[Service]\nExecStart=/usr/bin/cri-dockerd --container-runtime-endpoint fd://{flag}\n");
        Tree::new(name).kubelet("unix:///run/cri-dockerd.sock").write("/usr/lib/systemd/system/cri-docker.service", &unit)
    };
    let without = tree("cri-dockerd-bridge", " --network-plugin=");
    assert_eq!(without.cni()["unused"], sourced("", "cri-docker.service --network-plugin"));
    assert_eq!(without.findings("cni-"), [""; 0]);
    for (name, flag) in [("cri-dockerd-default", ""), ("cri-dockerd-cni", " --network-plugin cni")] {
        assert_eq!(tree(name, flag).findings("cni-"), ["cni-config-missing"], "{name}");
    }
}

#[test]
fn cri_dockerds_flags_are_in_its_unit() {
    let cni = Tree::new("cri-dockerd")
        .kubelet("unix:///run/cri-dockerd.sock")
        .write("/etc/systemd/system/cri-docker.service", "[Service]\nExecStart=/usr/bin/cri-dockerd --cni-bin-dir=/a,/b --cni-conf-dir /srv/net.d\n")
        .cni();
    assert_eq!(cni["runtime"], "cri-dockerd");
    assert_eq!(cni["conf_dir"]["value"], "/srv/net.d");
    assert_eq!(cni["bin_dirs"].as_array().unwrap().iter().map(|dir| dir["value"].as_str().unwrap()).collect::<Vec<_>>(), ["/a", "/b"]);
}

/// Odd things in the directory: each is bounded, and told as the runtime takes it.
#[test]
fn odd_files_are_told_as_the_runtime_takes_them() {
    let good = "{\"name\":\"n\",\"plugins\":[{\"type\":\"bridge\"}]}";
    let tree = Tree::new("odd").write("/opt/cni/bin/.keep", "").write("/etc/cni/net.d/50-good.conflist", good).write("/etc/cni/net.d/README", "");
    let dir = tree.0.join("etc/cni/net.d");
    fs::create_dir_all(dir.join("10-directory.conflist")).unwrap();
    std::os::unix::fs::symlink("10-directory.conflist", dir.join("11-link-to-directory.conflist")).unwrap();
    std::os::unix::fs::symlink("/nowhere", dir.join("12-dangling.conf")).unwrap();
    std::os::unix::fs::symlink("13-loop.conf", dir.join("13-loop.conf")).unwrap();
    nix::unistd::mkfifo(&dir.join("14-fifo.conf"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::File::create(dir.join("15-huge.conf")).unwrap().set_len(100 << 20).unwrap();
    fs::write(dir.join("16-nul.conf"), b"\0\0\0").unwrap();
    fs::write(dir.join("17-comment.json"), b"// mine\n{}").unwrap();
    fs::write(dir.join(std::ffi::OsStr::new("18-x.conf")), good).unwrap();
    fs::write(dir.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"19-\xff.conflist")), good).unwrap();
    let cni = tree.cni();
    let told: Vec<_> = cni["files"].as_array().unwrap().iter().map(|file| format!("{} {}", file["name"].as_str().unwrap(), told(&file["state"]))).collect();
    assert_eq!(
        told,
        [
            "11-link-to-directory.conflist is a directory, not a regular file",
            "12-dangling.conf a symlink to /nowhere, which does not exist",
            "13-loop.conf is a loop of symlinks",
            "14-fifo.conf is a FIFO, not a regular file",
            "15-huge.conf is 104857600 bytes long, too long for what it should be",
            "16-nul.conf not JSON: expected value",
            "17-comment.json not JSON: expected value",
            "18-x.conf it has no \"type\": \"plugins\" belongs in a .conflist",
            "19-\u{fffd}.conflist unreadable",
            "50-good.conflist bridge",
            "README other-extension",
        ]
    );
}

/// The directory as the runtime sees it: in its order, what is in effect, what is passed over and why.
#[test]
fn each_file_says_what_the_runtime_does_with_it() {
    let network = |name: &str, kind: &str| format!("{{\"name\":\"{name}\",\"cniVersion\":\"1.0.0\",\"plugins\":[{{\"type\":\"{kind}\"}}]}}");
    let tree = |name: &str| {
        Tree::new(name)
            .write("/opt/cni/bin/.keep", "")
            .write("/etc/cni/net.d/05-gone.conflist", &network("gone", "calico"))
            .write("/etc/cni/net.d/10-mine.conflist", &network("mine", "bridge"))
            .write("/etc/cni/net.d/20-late.conf", "{")
            .write("/etc/cni/net.d/README", "")
            .write("/opt/cni/bin/bridge", "")
    };
    let standings = |tree: &Tree| -> Vec<String> {
        fs::set_permissions(tree.0.join("opt/cni/bin/bridge"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        tree.cni()["files"].as_array().unwrap().iter().map(|file| file["standing"].as_str().unwrap().to_owned()).collect()
    };
    let not_looked_at = "not looked at: no .conf, .conflist or .json";
    let containerd = tree("standing-containerd");
    assert_eq!(standings(&containerd), ["in effect", "ignored", "invalid: not JSON: EOF while parsing an object", not_looked_at]);
    let crio = tree("standing-crio").kubelet("unix:///var/run/crio/crio.sock");
    assert_eq!(standings(&crio), ["skipped, its plugin is missing", "in effect", "skipped: not JSON: EOF while parsing an object", not_looked_at]);
}

/// The report for a person: the directory, its plugins, and nothing of it that a finding has told already.
#[test]
fn the_report_shows_the_directory_as_the_runtime_sees_it() {
    let network = |name: &str, plugins: &str| format!("{{\"name\":\"{name}\",\"cniVersion\":\"1.0.0\",\"plugins\":[{plugins}]}}");
    let tree = Tree::new("report")
        .write("/var/lib/kubelet/.keep", "")
        .write("/etc/cni/net.d/10-mine.conflist", &network("mine", "{\"type\":\"bridge\",\"ipam\":{\"type\":\"host-local\"}},{\"type\":\"portmap\"}"))
        .write("/etc/cni/net.d/README", "")
        .write("/usr/lib/cni/portmap", "");
    for (plugin, mode) in [("bridge", 0o755), ("host-local", 0o644), ("loopback", 0o755)] {
        let path = tree.0.join("opt/cni/bin").join(plugin);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let section = |arguments: &[&str]| -> Vec<String> {
        let output = Command::new(env!("CARGO_BIN_EXE_nodetriage")).args(["--color", "never", "--root"]).arg(&tree.0).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let from = text.lines().skip_while(|line| !line.starts_with("/etc/cni/net.d as"));
        from.take_while(|line| !line.is_empty()).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let chain = "10-mine.conflist in effect: bridge (network mine: bridge with host-local, portmap)";
    let odd = "README not looked at: no .conf, .conflist or .json";
    // The finding says what is missing.
    assert_eq!(section(&[]), ["/etc/cni/net.d as containerd reads it", chain, odd, "plugins bridge, loopback in /opt/cni/bin"]);
    fs::set_permissions(tree.0.join("opt/cni/bin/host-local"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::rename(tree.0.join("usr/lib/cni/portmap"), tree.0.join("opt/cni/bin/portmap")).unwrap();
    fs::set_permissions(tree.0.join("opt/cni/bin/portmap"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(section(&[]), [""; 0], "where nothing is wrong with it nobody reads it");
    assert_eq!(section(&["--verbose"]), ["/etc/cni/net.d as containerd reads it", chain, odd, "plugins bridge, host-local, loopback, portmap in /opt/cni/bin"]);
}

/// What people's editors and disks make of a file.
#[test]
fn contents_are_taken_or_refused_as_the_runtime_does() {
    let good = "{\"name\":\"n\",\"plugins\":[{\"type\":\"bridge\"}]}";
    for (name, content, expected) in [
        ("tabs", good.replace(',', ",\t\r\n\t").into_bytes(), "bridge"),
        ("bom", format!("\u{feff}{good}").into_bytes(), "not JSON: expected value (the file begins with a byte order mark)"),
        ("utf-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect(), "not JSON: key must be a string"),
        ("not-utf-8", good.replace("bridge", "br\u{1}idge").bytes().map(|byte| if byte == 1 { 0xff } else { byte }).collect(), "br\u{fffd}idge"),
        ("nul-within", good.replace(':', ":\0").into_bytes(), "not JSON: expected value"),
        ("nul-after", format!("{good}\0\0").into_bytes(), "not JSON: trailing characters"),
        ("twice", good.replace("\"name\":\"n\"", "\"name\":\"m\",\"name\":\"n\"").into_bytes(), "bridge"),
        ("comments", format!("/* mine */ {good}").into_bytes(), "not JSON: expected value"),
        ("just-short-enough", (good.to_owned() + &" ".repeat((2 << 20) - good.len())).into_bytes(), "bridge"),
        ("too-long", (good.to_owned() + &" ".repeat((2 << 20) + 1 - good.len())).into_bytes(), "is 2097153 bytes long, too long for what it should be"),
        ("many-plugins", good.replace("{\"type\":\"bridge\"}", &vec!["{\"type\":\"bridge\"}"; 50_000].join(",")).into_bytes(), "bridge"),
    ] {
        let tree = Tree::new(&format!("content-{name}")).write("/opt/cni/bin/.keep", "").write("/etc/cni/net.d/.keep", "");
        fs::write(tree.0.join("etc/cni/net.d/10-x.conflist"), content).unwrap();
        let state = &tree.cni()["files"][1]["state"];
        assert_eq!(told(state), expected, "{name}");
    }
}

/// What may not be looked at is no health and no fault: it is named, with what to grant. One case for each place that a look depends on.
#[test]
fn what_may_not_be_seen_is_unknown_with_what_to_grant() {
    let conf = "{\"name\":\"n\",\"plugins\":[{\"type\":\"flannel\",\"ipam\":{\"type\":\"host-local\",\"subnet\":\"10.1.0.0/24\"}}]}";
    let calico = "{\"name\":\"c\",\"plugins\":[{\"type\":\"calico\",\"kubernetes\":{\"kubeconfig\":\"/srv/cni/kubeconfig\"}}]}";
    for (hidden, path) in [
        ("/etc/cni/net.d", "/etc/cni/net.d"),
        ("/etc/cni/net.d/10-n.conflist", "/etc/cni/net.d/10-n.conflist"),
        ("/opt/cni/bin", "/opt/cni/bin/flannel"),
        ("/run/flannel", "/run/flannel/subnet.env"),
        ("/run/flannel/subnet.env", "/run/flannel/subnet.env"),
        ("/var/lib/calico", "/var/lib/calico/nodename"),
        ("/run/cilium", "/run/cilium/cilium.sock"),
        ("/var/lib/weave", "/var/lib/weave/weave-netdata.db"),
        ("/run/antrea", "/run/antrea/cni.sock"),
        ("/run/aws-node", "/run/aws-node/ipam.json"),
        ("/var/log/pods", "/var/log/pods"),
        ("/srv/cni", "/srv/cni/kubeconfig"),
        ("/var/lib/cni/networks", "/var/lib/cni/networks/n"),
    ] {
        let tree = Tree::new(&format!("hidden-{}", hidden.replace('/', "-")))
            .write("/etc/cni/net.d/10-n.conflist", conf)
            .write("/etc/cni/net.d/20-c.conflist", calico)
            .write("/opt/cni/bin/flannel", "")
            .write("/run/flannel/subnet.env", "FLANNEL_SUBNET=10.1.0.1/24\n")
            .write("/srv/cni/kubeconfig", "");
        let at = tree.0.join(hidden.trim_start_matches('/'));
        if !at.exists() {
            fs::create_dir_all(&at).unwrap();
        }
        let seen = |mode: u32| {
            fs::set_permissions(&at, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            let seen = somebody(&tree, |host, units| cni::observe(host, None, units));
            fs::set_permissions(&at, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            seen
        };
        let blind = |seen: Result<Cni, Blind>| -> Vec<Blind> {
            let mut facts = Facts::unobserved(Timestamp::from_unix_seconds(1_800_000_000).unwrap(), Node::default());
            facts.cni = seen.into();
            facts.blind_spots().into_iter().filter(|(domain, _)| *domain == Domain::Cni).map(|(_, blind)| blind).collect()
        };
        assert_eq!(blind(seen(0o755)), [], "{hidden} can be seen");
        let told = blind(seen(0));
        assert!(told.iter().any(|blind| blind.reason.contains(path) && blind.grant.is_some()), "{hidden}: nothing of {path} in {told:?}");
    }
}

/// As a user looks who owns none of it: as root in a test, by another file system user id, which is the thread's own (setfsuid(2)).
fn somebody<T: Send + 'static>(tree: &Tree, look: impl FnOnce(&Host, &Observed<Units>) -> T + Send + 'static) -> T {
    let host = Host::open(&tree.0).unwrap();
    let units = Observed::Unknown(Blind::new("no units"));
    let look = move || {
        if nix::unistd::geteuid().is_root() {
            nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
        }
        look(&host, &units)
    };
    std::thread::spawn(look).join().unwrap()
}

/// Of the runtimes' own configuration.
#[test]
fn a_runtimes_configuration_that_is_odd_is_bounded_and_named() {
    for (name, content, told) in [
        ("nul", b"\0\0\0".to_vec(), "not TOML"),
        ("binary", vec![0xff, 0xfe, 0x80], "not TOML"),
        ("tabs", b"version = 2\n\t[plugins.\"io.containerd.grpc.v1.cri\"]\n\t\tsandbox_image = \"x\"\n".to_vec(), ""),
        ("twice", b"version = 2\nversion = 2\n".to_vec(), "not TOML: duplicate key"),
        ("deep", "[a]\nx = ".bytes().chain("[".repeat(100_000).bytes()).collect(), "not TOML"),
        ("long-line", format!("x = \"{}\"", "y".repeat(900_000)).into_bytes(), ""),
        ("yaml", b"version: 2\nplugins:\n  cri: {}\n".to_vec(), "not TOML"),
    ] {
        let tree = Tree::new(&format!("toml-{name}")).write("/etc/containerd/config.toml", "");
        fs::write(tree.0.join("etc/containerd/config.toml"), content).unwrap();
        let state = &tree.runtime()["config"][0]["state"];
        let message = state["invalid"][0]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with(told) && message.len() < 400 && (message.is_empty() == told.is_empty()), "{name}: {state}");
    }
    // As large as a disk: not read, and nobody knows what it says.
    let tree = Tree::new("toml-huge").write("/etc/containerd/config.toml", "");
    fs::File::options().write(true).open(tree.0.join("etc/containerd/config.toml")).unwrap().set_len(100 << 20).unwrap();
    let state = tree.runtime()["config"][0]["state"].clone();
    assert!(state["unreadable"]["reason"].as_str().unwrap().contains("104857600 bytes"), "{state}");
    let tree = Tree::new("toml-directory").write("/etc/containerd/config.toml/.keep", "");
    assert_eq!(tree.runtime()["config"][0]["state"]["invalid"][0]["message"], "is a directory, not a regular file");
    // dockerd's is JSON, and dockerd is who refuses it.
    let docker =
        Tree::new("daemon-json").kubelet("unix:///run/cri-dockerd.sock").write("/etc/docker/daemon.json", "{\n  // mine\n  \"data-root\": \"/srv\"\n}");
    let state = docker.runtime()["config"][0]["state"].clone();
    assert_eq!((&state["invalid"][0]["message"], &state["invalid"][0]["line"]), (&"not JSON: key must be a string".into(), &2.into()));
    assert_eq!(docker.findings("runtime-config"), ["runtime-config-invalid"]);
}

/// What is not seen of the runtime's configuration decides where its networks are.
#[test]
fn a_runtimes_configuration_that_may_not_be_seen_is_unknown_with_what_to_grant() {
    for (runtime, hidden, path) in [
        ("containerd", "/etc/containerd", "/etc/containerd/config.toml"),
        ("containerd", "/etc/containerd/config.toml", "/etc/containerd/config.toml"),
        ("containerd", "/srv/conf.d", "/srv/conf.d"),
        ("crio", "/etc/crio", "/etc/crio/crio.conf"),
        ("crio", "/etc/crio/crio.conf.d", "/etc/crio/crio.conf.d"),
        ("crio", "/etc/crio/crio.conf.d/10-a.conf", "/etc/crio/crio.conf.d/10-a.conf"),
        ("cri-dockerd", "/etc/docker/daemon.json", "/etc/docker/daemon.json"),
    ] {
        let tree = Tree::new(&format!("hidden-runtime{}", hidden.replace('/', "-")))
            .write(&format!("/usr/bin/{runtime}"), "")
            .write("/etc/containerd/config.toml", "version = 2\nimports = [\"/srv/conf.d/*.toml\"]\n")
            .write("/srv/conf.d/a.toml", "version = 2\n")
            .write("/etc/crio/crio.conf", "")
            .write("/etc/crio/crio.conf.d/10-a.conf", "")
            .write("/etc/docker/daemon.json", "{}");
        let seen = |mode: u32| {
            let at = tree.0.join(hidden.trim_start_matches('/'));
            fs::set_permissions(&at, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            let facts = somebody(&tree, |host, units| runtime::observe(host, None, units)).unasked();
            fs::set_permissions(&at, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            let blind: Vec<Blind> =
                facts.config.into_iter().filter_map(|file| if let FileState::Unreadable(blind) = file.state { Some(blind) } else { None }).collect();
            blind
        };
        assert_eq!(seen(0o755), [], "{hidden} can be seen");
        let told = seen(0);
        assert!(told.iter().any(|blind| blind.reason.contains(path) && blind.grant.is_some()), "{hidden}: nothing of {path} in {told:?}");
    }
}

fn told(state: &Value) -> String {
    match state {
        Value::String(word) => word.clone(),
        state if state["network"].is_object() => state["network"]["provider"].as_str().unwrap().to_owned(),
        state if state["invalid"].is_object() => state["invalid"]["message"].as_str().unwrap().to_owned(),
        _ => "unreadable".to_owned(),
    }
}
