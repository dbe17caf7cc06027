//! The observer of units against real systemds: what it tells, how fast, and what it makes of every fault of the bus.

#[path = "lab/mod.rs"]
mod lab;

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant, SystemTime};

use futures_core::Stream as _;
use lab::{DEADLINE, Lab, roots};
use nix::poll::{PollFd, PollFlags, poll};
use nodetriage::config::Config;
use nodetriage::facts::units::Unit;
use nodetriage::facts::{Facts, Node, Observed, Timestamp, Units};
use nodetriage::observe::board::Board;
use nodetriage::observe::host::Host;
use nodetriage::observe::units;
use serde_json::Value;
use tokio::sync::oneshot;

const BINARY: &str = env!("CARGO_BIN_EXE_nodetriage");
const KUBELET: &str = "kubelet.service";
/// More than the whole daemon may use.
const LONG_REPLY: usize = 64 << 20;

/// systemd 252, 257 and 262, each with dbus-daemon, and 257 with dbus-broker.
const NODES: [(&str, &str); 4] = [("bookworm", "daemon"), ("trixie", "daemon"), ("forky", "daemon"), ("trixie", "broker")];

/// On all of [`NODES`] at once: most of the time is spent waiting.
fn on_each(name: &str, test: impl Fn(&Lab, bool) + Sync) {
    let test = &test;
    std::thread::scope(|scope| {
        for (suite, bus) in NODES {
            std::thread::Builder::new()
                .name(format!("{name}-{suite}-{bus}"))
                .spawn_scoped(scope, move || {
                    let name = if bus == "broker" { format!("{name}-broker") } else { name.to_owned() };
                    let Some(lab) = Lab::boot_with(suite, &name, &[("BUS", bus)]) else { return };
                    test(&lab, bus == "broker");
                })
                .unwrap();
        }
    });
}

/// The observer, as the daemon runs it.
struct Watch {
    board: Arc<Board>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn of(root: PathBuf) -> Self {
        Self::with(root, Config::default())
    }

    fn with(root: PathBuf, config: Config) -> Self {
        let board = Arc::new(Board::new(Facts::unobserved(Timestamp::from(SystemTime::now()), Node::default())));
        let (stop, stopped) = oneshot::channel();
        let watched = Arc::clone(&board);
        let thread = spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let host = Arc::new(Host::open(&root).unwrap());
            runtime.block_on(async {
                tokio::select! {
                    never = units::watch(host, Arc::new(config), watched) => match never {},
                    _ = stopped => {}
                }
            });
        });
        Self { board, stop: Some(stop), thread: Some(thread) }
    }

    /// Waits until the board says so; how long that took.
    fn wait(&self, within: Duration, what: &str, expected: impl Fn(&Observed<Units>) -> bool) -> Duration {
        let start = Instant::now();
        while !self.board.read(|facts| expected(&facts.units)) {
            assert!(start.elapsed() < within, "{what}: not on the board after {within:?}: {:#?}", self.board.read(|facts| facts.units.clone()));
            sleep(Duration::from_millis(1));
        }
        eprintln!("{what}: {} ms", start.elapsed().as_millis());
        start.elapsed()
    }

    fn sees(&self, what: &str, expected: impl Fn(&Unit) -> bool) {
        self.sees_unit(KUBELET, what, expected);
    }

    fn sees_unit(&self, name: &str, what: &str, expected: impl Fn(&Unit) -> bool) {
        self.wait(DEADLINE, what, |units| units.known().and_then(|units| units.get(name)).is_some_and(&expected));
    }

    fn end(mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn state(state: &str) -> impl Fn(&Unit) -> bool {
    move |unit| unit.active.as_ref().is_some_and(|active| active.state == state)
}

/// What one look sees now, without what only a watch can know.
fn look(lab: &Lab) -> Units {
    let host = Host::open(&lab.host_root()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // A look that falls into a daemon-reexec is told that systemd has left the bus; the next one sees.
    let start = Instant::now();
    loop {
        match runtime.block_on(units::observe(&host, &Config::default())) {
            Ok(units) => return without_memory(units),
            Err(blind) => assert!(blind.reason.contains("bus") && start.elapsed() < DEADLINE, "{blind}"),
        }
    }
}

fn without_memory(mut units: Units) -> Units {
    for active in units.units.iter_mut().filter_map(|unit| unit.active.as_mut()) {
        active.restarts_seen.clear();
        active.last_failure = None;
        active.restarts_forgiven = None;
        active.job_since = None;
    }
    units
}

/// Sends a signal to the node's PID 1, from outside; the moment before.
fn kill_pid_1(lab: &Lab, signal: &str) -> Instant {
    let before = Instant::now();
    let pid = std::fs::read_to_string(lab.host_root().parent().unwrap().join("pid")).unwrap();
    assert!(Command::new("kill").args([signal, pid.trim()]).status().unwrap().success());
    before
}

/// What this systemd knows of states is judged, each of them: `tests/unit_states.rs`.
#[test]
fn every_state_is_known() {
    on_each("states", |lab, _| {
        for state in states(&lab.sh("systemctl --no-pager --state=help")) {
            assert!(include_str!("data/unit-states.txt").contains(&format!("{state} ")), "{state} is not in tests/data/unit-states.txt");
        }
    });
}

/// The states of the sections of `systemctl --state=help` that concern services, as the golden begins its lines with them.
fn states(help: &str) -> Vec<String> {
    let mut states = Vec::new();
    let mut of = None;
    for line in help.lines() {
        match line {
            "Available unit load states:" => of = Some("LoadState="),
            "Available unit active states:" => of = Some("ActiveState="),
            "Available unit file states:" => of = Some("UnitFileState="),
            "Available service unit substates:" => of = Some("SubState="),
            "" => of = None,
            state => states.extend(of.map(|property| format!("{property}{}", state.trim()))),
        }
    }
    assert!(states.len() > 40, "{help}");
    states
}

/// Signals carry what they change: a unit that is followed by signals alone is as a look sees it, in every state.
#[test]
fn signals_tell_what_a_look_tells() {
    on_each("signals", |lab, _| {
        let watch = Watch::of(lab.host_root());
        watch.sees("first look", state("active"));
        for change in [
            "systemctl stop kubelet",
            "systemctl start kubelet",
            "systemctl kill --signal=KILL kubelet; sleep 0.5",
            "systemctl restart kubelet",
            "systemctl disable kubelet",
            "systemctl enable kubelet",
            "systemctl mask kubelet",
            "systemctl unmask kubelet",
            "echo '# edited' >> /usr/lib/systemd/system/kubelet.service",
            "systemctl daemon-reload",
            "mv /usr/lib/systemd/system/kube-proxy.service /root; systemctl stop kube-proxy; systemctl daemon-reload",
            "mv /root/kube-proxy.service /usr/lib/systemd/system/; systemctl daemon-reload; systemctl start kube-proxy",
            "systemctl daemon-reexec",
        ] {
            lab.sh(change);
            let start = Instant::now();
            loop {
                let (followed, looked_at) = (watch.board.read(|facts| facts.units.known().cloned().map(without_memory)), look(lab));
                if followed.as_ref() == Some(&looked_at) {
                    eprintln!("{change}: {} ms", start.elapsed().as_millis());
                    break;
                }
                let differing =
                    looked_at.units.iter().map(|unit| (unit, followed.as_ref().and_then(|units| units.get(&unit.name)))).find(|(a, b)| Some(*a) != *b);
                assert!(start.elapsed() < DEADLINE, "{change}: a look tells this, the signals that: {differing:#?}");
            }
        }
        watch.end();
    });
}

#[test]
fn a_crash_loop_is_told_with_its_time_line() {
    on_each("loop", |lab, _| {
        let watch = Watch::of(lab.host_root());
        watch.sees("first look", state("active"));
        lab.sh("mkdir -p /etc/systemd/system/kubelet.service.d
             printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\nRestartSec=200ms\\n' > /etc/systemd/system/kubelet.service.d/99-false.conf
             systemctl daemon-reload; systemctl restart kubelet");
        watch.sees("three restarts", |unit| unit.active.as_ref().is_some_and(|active| active.restarts >= Some(3)));
        let start = Instant::now();
        let mut news = watch.board.news();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        while start.elapsed() < Duration::from_secs(2) {
            let seen = watch.board.read(|facts| facts.units.known().and_then(|units| units.get(KUBELET)?.active.clone())).unwrap();
            assert!(!matches!(seen.state.as_str(), "failed") || seen.sub_state.contains("auto-restart"), "a run of a crash loop is no failure: {seen:#?}");
            let _ = runtime.block_on(async { tokio::time::timeout(Duration::from_millis(100), news.changed()).await });
        }
        watch.sees("each was seen, with how it ended", |unit| {
            let active = unit.active.as_ref().unwrap();
            let ending = active.ending().map(|ending| (ending.result, ending.code, ending.status));
            active.restarts_seen.len() >= 3 && ending == Some(("exit-code".to_owned(), 1, 1)) && active.restarts_seen.is_sorted()
        });
        // Not in the moment in which systemd restarts it by itself, which makes one start of both.
        lab.sh("sed -i s/200ms/1h/ /etc/systemd/system/kubelet.service.d/99-false.conf; systemctl daemon-reload; sleep 0.3
             until [ $(systemctl show -P SubState kubelet) = auto-restart ]; do :; done
             rm /etc/systemd/system/kubelet.service.d/99-false.conf; systemctl daemon-reload; systemctl restart kubelet");
        watch.sees("mended, and forgotten", |unit| {
            unit.active.as_ref().is_some_and(|active| active.state == "active" && active.restarts() == 0 && active.ending().is_none())
        });
        watch.end();
    });
}

/// Every fault of the bus and of systemd: in the report with its reason, what was found before is kept as stale, and it heals by itself.
#[test]
fn faults_of_the_bus_are_named_and_heal() {
    on_each("faults", |lab, _| {
        let daemon = lab.daemon_outside(&[]);
        let blind = |what: &str, commands: &str, reason: &str| {
            daemon.wait_for(lab.event(commands), what, |report| unseen(report).is_some_and(|saw| saw.contains(reason)) && keeps_as_stale(report));
        };
        let sees = |what: &str, commands: &str, stopped: bool| {
            let expected: &[&str] = if stopped { &["unit-inactive kubelet.service"] } else { &[] };
            daemon.wait_for(lab.event(commands), what, |report| unseen(report).is_none() && !keeps_as_stale(report) && unit_roots(report) == expected);
        };
        sees("the kubelet was stopped", "systemctl stop kubelet", true);
        sees("the bus was restarted, and the kubelet started since", "systemctl restart dbus; systemctl start kubelet", false);
        sees("systemd was re-executed, and the kubelet stopped since", "systemctl daemon-reexec; systemctl stop kubelet", true);

        blind("the bus was stopped", "systemctl stop dbus.socket dbus.service", "the system bus has stopped: nothing listens on");
        blind(
            "its socket was removed",
            "rm -f /run/dbus/system_bus_socket",
            "systemd runs, but the system bus does not: there is no /run/dbus/system_bus_socket",
        );
        sees("the bus was started, at another inode", "systemctl start dbus.socket dbus.service", true);

        blind("the bus hangs", "systemctl kill --signal=STOP dbus.service", "the system bus gives no answer");
        sees("the bus goes on", "systemctl kill --signal=CONT dbus.service", true);

        daemon.wait_for(kill_pid_1(lab, "-STOP"), "systemd hangs", |report| {
            unseen(report).is_some_and(|saw| saw.contains("systemd (PID 1) gives no answer")) && keeps_as_stale(report)
        });
        daemon.wait_for(kill_pid_1(lab, "-CONT"), "systemd goes on", |report| unseen(report).is_none() && !keeps_as_stale(report));
        sees("and is followed as before", "systemctl start kubelet", false);
    });
}

/// The root causes that are units.
fn unit_roots(report: &Value) -> Vec<String> {
    roots(report).into_iter().filter(|root| root.starts_with("unit-")).collect()
}

/// Why the units are not seen.
fn unseen(report: &Value) -> Option<&str> {
    report["unknown"].as_array()?.iter().find(|blind| blind["domain"] == "units")?["reason"].as_str()
}

fn keeps_as_stale(report: &Value) -> bool {
    report["findings"].as_array().is_some_and(|findings| findings.iter().any(|finding| finding["subject"] == KUBELET && finding["stale"] == true))
}

/// To root, systemd answers on a socket of its own, whatever becomes of the bus.
/// The container of a pod in namespaces of its own, that is root, holds no capability, and has nothing of the node's /run but /run/systemd.
const POD: &str = "
mkdir -p /pod; mount -t tmpfs pod /pod; cd /pod
mkdir -p usr proc host/run/systemd host/etc host/usr/lib/systemd host/proc
for link in bin lib lib64 sbin; do ln -s usr/$link $link; done
mount --bind /usr usr; mount --rbind /proc host/proc; mount -t proc proc proc
for path in etc usr/lib/systemd run/systemd; do mount --bind /$path host/$path; done
exec chroot /pod setpriv --bounding-set=-all --inh-caps=-all --no-new-privs nodetriage observe --root /host";

#[test]
fn root_sees_without_the_bus() {
    on_each("private", |lab, _| {
        let daemon = lab.daemon_as_root();
        let sees = |what: &str, commands: &str, expected: &[&str]| {
            daemon.wait_for(lab.event(commands), what, |report| unseen(report).is_none() && unit_roots(report) == expected);
        };
        sees("the kubelet was stopped without a bus", "systemctl stop dbus.socket dbus.service; systemctl stop kubelet", &["unit-inactive kubelet.service"]);
        sees("and disabled", "systemctl disable kubelet", &["unit-inactive kubelet.service"]);
        sees("and mended", "systemctl enable --now kubelet", &[]);
        lab.sh("systemctl start dbus.socket dbus.service; systemctl daemon-reexec");
        sees("with the bus again", "systemctl stop kubelet", &["unit-inactive kubelet.service"]);
        sees("while the bus hangs", "systemctl kill --signal=STOP dbus.service; systemctl start kubelet", &[]);
        lab.sh("systemctl kill --signal=CONT dbus.service");
        assert!(daemon.log().contains("systemd was asked over its private socket"), "{}", daemon.log());

        lab.sh("systemctl stop dbus.socket dbus.service");
        let facts = lab.sh(&format!("unshare --mount --pid --fork --ipc --net --uts sh -euc '{POD}'"));
        let units = serde_json::from_str::<Value>(&facts).unwrap()["units"].clone();
        assert_eq!(units["known"]["source"], "systemd", "a pod's root is root: {units}");
    });
}

/// A unit that a pattern finds is followed from the moment that it is there, whether it is installed or comes by itself.
#[test]
fn patterns_find_units_as_they_come() {
    on_each("patterns", |lab, _| {
        let mut config = Config::default();
        config.units.watch = vec!["extra-*.service".to_owned(), "extra?.[st]*".to_owned()];
        let watch = Watch::with(lab.host_root(), config);
        watch.sees("first look", state("active"));
        lab.sh("printf '[Service]\\nExecStart=/bin/sleep 1000\\n' > /etc/systemd/system/extra-installed.service
             printf '[Service]\\nExecStart=/bin/sleep 1000\\n' > /etc/systemd/system/extra-template@.service; systemctl daemon-reload");
        watch.sees_unit("extra-installed.service", "a unit was installed", state("inactive"));
        lab.sh("systemctl start extra-installed extra-template@one; systemd-run --quiet --unit=extra-transient sh -c 'sleep 1; exit 7'");
        watch.sees_unit("extra-installed.service", "and started", state("active"));
        watch.sees_unit("extra-template@one.service", "an instance of a template was started", state("active"));
        let failed = |unit: &Unit| unit.active.as_ref().is_some_and(|active| (active.state.as_str(), active.exec_main_status) == ("failed", 7));
        watch.sees_unit("extra-transient.service", "a transient unit was started, and failed", failed);
        lab.sh("systemd-run --quiet --unit=extra1 --on-active=1h true");
        watch.sees_unit("extra1.timer", "a timer, which is no service", state("active"));
        lab.sh("systemctl stop extra1.timer; systemctl reset-failed extra-transient");
        watch.wait(DEADLINE, "and is no longer told when it is gone", |units| {
            units.known().is_some_and(|units| units.get("extra1.timer").is_none_or(state("inactive")))
        });
        let told = |units: &Observed<Units>| units.known().map(|units| units.units.iter().filter(|unit| unit.name.contains("template@.")).count());
        assert_eq!(watch.board.read(|facts| told(&facts.units)), Some(0), "a template is no unit");
        watch.end();
    });
}

/// A kubelet that was not started because of another unit: the report says of which, and what is not in its way is told beside it.
#[test]
fn what_a_stopped_unit_hangs_on_is_named() {
    on_each("dependencies", |lab, _| {
        let daemon = lab.daemon_outside(&[]);
        let says = |event: Instant, what: &str, expected_roots: &[&str], summary: &str| {
            daemon.wait_for(event, what, |report| {
                let findings = report["findings"].as_array().expect("findings").iter();
                let said = findings.filter(|finding| finding["subject"] == KUBELET).any(|finding| finding["summary"] == summary);
                said && unit_roots(report) == expected_roots
            });
        };
        let event = lab.event(
            "mkdir -p /etc/systemd/system/kubelet.service.d
             printf '[Mount]\\nWhat=disk\\nWhere=/disk\\nType=nosuchfs\\n' > /etc/systemd/system/disk.mount
             printf '[Unit]\\nRequires=disk.mount\\nAfter=disk.mount\\n' > /etc/systemd/system/kubelet.service.d/99-disk.conf
             systemctl daemon-reload; systemctl stop kubelet; systemctl start kubelet 2>&1 || true",
        );
        let stopped = ["unit-inactive kubelet.service"];
        says(event, "a mount that it requires has failed", &stopped, "kubelet.service is stopped, and requires disk.mount, which has failed");

        let event = lab.event(
            "printf '[Service]\\nType=oneshot\\nExecStart=/bin/false\\n' > /etc/systemd/system/check.service
             printf '[Unit]\\nRequires=check.service\\nAfter=check.service\\n[Mount]\\nWhat=tmpfs\\nWhere=/disk\\nType=tmpfs\\n' > /etc/systemd/system/disk.mount
             systemctl daemon-reload; systemctl reset-failed; systemctl start kubelet 2>&1 || true",
        );
        let chain = "kubelet.service is stopped, and requires disk.mount, which requires check.service, which has failed";
        says(event, "the mount requires a service that has failed", &stopped, chain);

        let event = lab.event("rm /etc/systemd/system/kubelet.service.d/99-disk.conf; systemctl daemon-reload; systemctl stop containerd");
        let both = ["unit-inactive containerd.service", "unit-inactive kubelet.service"];
        says(event, "the runtime was stopped besides", &both, "kubelet.service is stopped");

        lab.sh("mkdir -p /etc/systemd/system/containerd.service.d
             printf '[Service]\\nExecStartPre=/bin/sleep 1000\\n' > /etc/systemd/system/containerd.service.d/99-slow.conf
             printf '[Unit]\\nAfter=containerd.service\\n' > /etc/systemd/system/kubelet.service.d/99-after.conf
             systemctl daemon-reload; systemctl start --no-block containerd kubelet");
        // A start may wait for ten seconds, and by the clock alone that is noticed within another ten.
        says(Instant::now() + 2 * DEADLINE, "it waits for the runtime", &stopped, "kubelet.service waits for containerd.service, which is activating");
    });
}

/// A bus that answers with more than systemd can have to say: it is not taken, and costs no memory.
#[test]
fn a_reply_that_is_too_long_is_refused() {
    let directory = std::env::temp_dir().join(format!("nodetriage-bus-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let socket = directory.join("bus");
    let listener = UnixListener::bind(&socket).unwrap();
    spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for client in listener.incoming().map_while(Result::ok) {
            let _ = runtime.block_on(talk_too_much(client));
        }
    });
    // Where it needed the memory, it would not get it: prlimit(1) leaves it less than the reply is long.
    let output = Command::new("prlimit")
        .args([&format!("--data={LONG_REPLY}"), BINARY, "observe", "--root", "/"])
        .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", socket.display()))
        .output()
        .unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let reason = facts["units"]["unknown"]["reason"].as_str().unwrap_or_else(|| panic!("{}", facts["units"]));
    assert!(reason.contains("nothing that systemd has to say is longer than"), "{reason}");
}

/// Plays the bus and systemd at once, up to a unit's properties, which begin as if they were very long.
async fn talk_too_much(client: UnixStream) -> zbus::Result<()> {
    let mut raw = client.try_clone()?;
    let bus = zbus::connection::Builder::unix_stream(client).server(zbus::Guid::generate()).p2p().build().await?;
    let mut messages = zbus::MessageStream::from(&bus);
    while let Some(message) = std::future::poll_fn(|context| Pin::new(&mut messages).poll_next(context)).await {
        let message = message?;
        let header = message.header();
        let reply = zbus::Message::method_return(&header);
        let reply = match header.member().map_or("", |member| member.as_str()) {
            "Hello" => reply.build(&":1.1")?,
            "Get" => reply.build(&zbus::Variant::from("loaded"))?,
            "GetAll" => {
                let mut bytes = reply.build(&std::collections::HashMap::from([("Description", zbus::Variant::from("x"))]))?.data().to_vec();
                // The length of the body, as the D-Bus specification has it.
                bytes[4..8].copy_from_slice(&u32::try_from(LONG_REPLY).unwrap().to_ne_bytes());
                raw.write_all(&bytes)?;
                continue;
            }
            _ => reply.build(&())?,
        };
        bus.send(&reply).await?;
    }
    Ok(())
}

/// The node where users without rights reach it; the lab may lie in somebody's home.
struct Mount(PathBuf);

impl Mount {
    fn of(root: &Path) -> Self {
        let at = std::env::temp_dir().join(format!("nodetriage-{}-{}", std::process::id(), root.parent().unwrap().file_name().unwrap().display()));
        std::fs::create_dir(&at).unwrap();
        assert!(Command::new("mount").arg("--rbind").args([root, &at]).status().unwrap().success());
        Self(at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--recursive", "--lazy"]).arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn observed(command: &mut Command) -> serde_json::Value {
    let output = command.output().expect("starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["units"].clone()
}

fn as_user(user: &str, command: &[&str]) -> Command {
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid", user, "--regid", "65534", "--clear-groups"]).args(command);
    setpriv
}

/// Whoever may not ask is told so, and what to do about it.
#[test]
fn who_may_not_see_is_told_why() {
    on_each("rights", |lab, broker| {
        let mount = Mount::of(&lab.host_root());
        let observe = [BINARY, "observe", "--root", mount.0.to_str().unwrap()];
        let refused = |units: &serde_json::Value, reason: &str, grant: &str| {
            let blind = &units["unknown"];
            assert!(blind["reason"].as_str().is_some_and(|saw| saw.contains(reason)), "expected {reason:?}: {units}");
            assert!(blind["grant"].as_str().is_some_and(|saw| saw.contains(grant)), "expected {grant:?}: {units}");
        };
        assert!(observed(&mut as_user("65534", &observe))["known"].is_object(), "nobody may ask");

        let stranger = observed(&mut as_user("4711", &observe));
        if broker {
            assert!(stranger["known"].is_object(), "dbus-broker takes everybody: {stranger}");
        } else {
            refused(&stranger, "dbus-daemon drops the connections of user 4711, whom the node's /etc/passwd does not name", "runAsUser: 0");
        }

        // Root of a user namespace, which the bus sees as nobody.
        let mut namespaced = as_user("65534", &["unshare", "--user", "--map-root-user"]);
        assert!(observed(namespaced.args(observe))["known"].is_object(), "the namespace's root may ask as nobody");

        lab.sh("chmod 600 /run/dbus/system_bus_socket");
        refused(&observed(&mut as_user("65534", &observe)), "may not connect to /run/dbus/system_bus_socket: permission denied", "run as root");
        lab.sh("chmod 666 /run/dbus/system_bus_socket");

        lab.sh("cat > /etc/dbus-1/system.d/deny.conf <<'X'
<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\" \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">
<busconfig><policy user=\"nobody\"><deny send_destination=\"org.freedesktop.systemd1\"/></policy></busconfig>
X
             systemctl reload dbus");
        refused(&observed(&mut as_user("65534", &observe)), "the bus forbids to ask systemd", "/etc/dbus-1/system.d");
    });
}

/// Ten thousand messages in a burst, with forged news among them: nothing is believed, and what really happens is seen meanwhile.
#[test]
fn a_flood_neither_starves_nor_deceives() {
    on_each("flood", |lab, _| {
        let watch = Watch::of(lab.host_root());
        watch.sees("first look", state("active"));
        let socket = format!("unix:path={}", lab.host_root().join("run/dbus/system_bus_socket").display());
        let flood = spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(forge(&socket, 10_000));
        });
        lab.sh("systemctl stop kubelet; systemctl start kubelet; systemctl stop kubelet");
        watch.sees("stopped in the middle of a flood", state("inactive"));
        flood.join().unwrap();
        assert_eq!(watch.board.read(|facts| facts.units.known().cloned().map(without_memory)), Some(look(lab)), "nothing forged is believed");
        watch.end();
    });
}

/// Tells everybody on the bus, one by one, that the kubelet has failed.
async fn forge(address: &str, count: usize) {
    let bus = zbus::connection::Builder::address(address).build().await.unwrap();
    let names = bus.call_method(Some("org.freedesktop.DBus"), "/", Some("org.freedesktop.DBus"), "ListNames", &()).await.unwrap();
    let names: Vec<String> = names.body().deserialize().unwrap();
    let peers: Vec<&String> = names.iter().filter(|name| name.starts_with(':')).collect();
    let changed = std::collections::HashMap::from([("ActiveState", zbus::Variant::from("failed"))]);
    let body = ("org.freedesktop.systemd1.Unit", changed, Vec::<String>::new());
    for round in 0..count {
        let peer = peers[round % peers.len()].as_str();
        let path = "/org/freedesktop/systemd1/unit/kubelet_2eservice";
        let _ = bus.emit_signal(Some(peer), path, "org.freedesktop.DBus.Properties", "PropertiesChanged", &body).await;
    }
}

/// A bus that drops its clients as soon as they are quiet: what each connection held is given back. A thousand times on one
/// node, and some hundreds on the others: it is this machine's processors that set the pace.
#[test]
fn a_thousand_reconnects_leak_nothing() {
    on_each("again", |lab, broker| reconnect(lab, if lab.name().contains("trixie") && !broker { 1000 } else { 300 }));
}

fn reconnect(lab: &Lab, times: usize) {
    let bus = lab.host_root().join("run/dbus");
    std::fs::rename(bus.join("system_bus_socket"), bus.join("real")).unwrap();
    let listener = UnixListener::bind(bus.join("system_bus_socket")).unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // The node is gone when the test is over.
            let Ok(server) = UnixStream::connect(bus.join("real")) else { return };
            serve_until_quiet(&client, &server);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut daemon = Command::new(BINARY)
        .args(["serve", "--listen", "127.0.0.1:0", "--root", lab.host_root().to_str().unwrap()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let process = PathBuf::from(format!("/proc/{}", daemon.id()));
    let use_of = |process: &Path| {
        let files = std::fs::read_dir(process.join("fd")).unwrap().count();
        let status = std::fs::read_to_string(process.join("status")).unwrap();
        let number = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse::<usize>().ok()).unwrap();
        (files, number("VmRSS:"), number("Threads:"))
    };
    let reach = |reconnects: usize| {
        let start = Instant::now();
        while served.load(Ordering::SeqCst) < reconnects {
            assert!(start.elapsed() < Duration::from_mins(5), "{} of {reconnects} reconnects", served.load(Ordering::SeqCst));
            sleep(Duration::from_millis(5));
        }
        use_of(&process)
    };
    let before = reach(100);
    let after = reach(times);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    eprintln!("after 100 and {times} reconnects: descriptors, RSS kB, threads {before:?} and {after:?}");
    assert!(after.0 <= before.0 + 2, "descriptors leak");
    // What a connection holds is more than 8 kB.
    assert!(after.1 <= before.1 + 2048, "memory leaks");
}

/// Carries bytes to and fro, and hangs up after 25 ms without any.
fn serve_until_quiet(client: &UnixStream, server: &UnixStream) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let mut both = [PollFd::new(client.as_fd(), PollFlags::POLLIN), PollFd::new(server.as_fd(), PollFlags::POLLIN)];
        if poll(&mut both, 25_u8).unwrap_or(0) == 0 {
            return;
        }
        let ready = both.map(|fd| fd.any().unwrap_or(false));
        for (_, mut from, mut to) in [(ready[0], client, server), (ready[1], server, client)].into_iter().filter(|(ready, ..)| *ready) {
            match from.read(&mut buffer) {
                Ok(length) if length > 0 && to.write_all(&buffer[..length]).is_ok() => {}
                _ => return,
            }
        }
    }
}
