//! Asks the container runtime over the CRI: gRPC on the node's unix socket.
//!
//! Of the messages of `runtime.v1` (k8s.io/cri-api `pkg/apis/runtime/v1/api.proto`) only the fields that are read are declared.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use nix::fcntl::OFlag;
use prost::Message;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::host::Host;
use crate::facts::Blind;
use crate::facts::runtime::{Answer, CgroupDriver, Condition, LoadedCni, Reply, SandboxImage};

/// For all answers together. The kubelet itself waits 2 minutes (`runtimeRequestTimeout`), which is why it notices so late.
const DEADLINE: Duration = Duration::from_secs(3);
/// A verbose Status of a busy containerd has some 20 kB.
const MOST_BYTES: usize = 1 << 20;

/// Asks what runs behind the socket at `path`. `configured_image` is the sandbox image by the configuration files, for
/// runtimes that do not tell it themselves.
pub async fn ask(host: &Host, path: &str, configured_image: Option<&str>) -> Reply {
    let answer = async { questions(&mut dial(host, path).await?, configured_image).await };
    answer.await.map_or_else(|reply| reply, |answer| Reply::Answered(Box::new(answer)))
}

/// Only the conditions: one small question.
///
/// # Errors
/// What came instead.
pub async fn conditions(host: &Host, path: &str) -> Result<Vec<Condition>, Reply> {
    let mut runtime = dial(host, path).await?;
    let status: StatusResponse = runtime.call("RuntimeService/Status", StatusRequest { verbose: false }).await.map_err(|error| error.reply("Status"))?;
    Ok(told_conditions(status.status))
}

fn told_conditions(status: Option<RuntimeStatus>) -> Vec<Condition> {
    status.map(|status| status.conditions).unwrap_or_default().into_iter().map(Condition::from).collect()
}

async fn dial(host: &Host, path: &str) -> Result<Client, Reply> {
    let deadline = Instant::now() + DEADLINE;
    let stream = connect(host, path, deadline).await?;
    match timeout_at(deadline, Client::new(stream, deadline)).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(failed("connect", &Status::unavailable(error.to_string()))),
        Err(_) => Err(no_answer("connect")),
    }
}

/// Through the descriptor, so that a symlink inside the root cannot lead out of it, and no path is too long.
async fn connect(host: &Host, path: &str, deadline: Instant) -> Result<UnixStream, Reply> {
    if !host.exists(path).map_err(Reply::Unseen)? {
        return Err(Reply::NoSocket);
    }
    let socket = host.open_at(path, OFlag::O_PATH).map_err(|errno| Reply::Unseen(Blind::new(format!("{path}: {}", errno.desc()))))?;
    match timeout_at(deadline, UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd()))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(match error.kind() {
            ErrorKind::ConnectionRefused if is_socket(&socket) => Reply::Refused,
            ErrorKind::ConnectionRefused => Reply::NotASocket,
            // Its queue of connections is full: nobody takes them.
            ErrorKind::WouldBlock => no_answer("connect"),
            ErrorKind::PermissionDenied => Reply::Unseen(Blind::new(format!("may not connect to {path}: permission denied")).grant(
                "run with the group that may: supplementalGroups: [0] for the pod, SupplementaryGroups=root for the unit; on a node with SELinux also as a type that may (seLinuxOptions.type: spc_t)",
            )),
            _ => Reply::Unseen(Blind::new(format!("cannot connect to {path}: {error}"))),
        }),
        Err(_) => Err(no_answer("connect")),
    }
}

fn is_socket(fd: &std::os::fd::OwnedFd) -> bool {
    nix::sys::stat::fstat(fd).is_ok_and(|stat| stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFSOCK)
}

async fn questions(runtime: &mut Client, configured_image: Option<&str>) -> Result<Answer, Reply> {
    let version: VersionResponse = runtime.call("RuntimeService/Version", VersionRequest {}).await.map_err(|error| error.reply("Version"))?;
    let status: StatusResponse = runtime.call("RuntimeService/Status", StatusRequest { verbose: true }).await.map_err(|error| error.reply("Status"))?;
    let mut answer = Answer { name: version.runtime_name, version: version.runtime_version, ..Answer::default() };
    answer.conditions = told_conditions(status.status);
    answer.cni = loaded_cni(&status.info);
    // What follows is not needed for a verdict: where a runtime does not know it, it is left out.
    let told = match runtime.call::<_, RuntimeConfigResponse>("RuntimeService/RuntimeConfig", RuntimeConfigRequest {}).await {
        Ok(config) => config.linux.map(|linux| if linux.cgroup_driver == 0 { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs }),
        Err(Unanswered::Refused(_)) => None,
        Err(silent) => return Err(silent.reply("RuntimeConfig")),
    };
    answer.tells_cgroup_driver = told.is_some();
    answer.cgroup_driver = told.or_else(|| shown_cgroup_driver(&status.info));
    match runtime.call::<_, ImageFsInfoResponse>("ImageService/ImageFsInfo", ImageFsInfoRequest {}).await {
        Ok(filesystems) => {
            answer.image_filesystems = mount_points(filesystems.image_filesystems);
            answer.container_filesystems = mount_points(filesystems.container_filesystems);
        }
        Err(Unanswered::Refused(_)) => {}
        Err(silent) => return Err(silent.reply("ImageFsInfo")),
    }
    if let Some(name) = told_sandbox_image(&status.info).or_else(|| configured_image.map(str::to_owned)) {
        let request = ImageStatusRequest { image: Some(ImageSpec { image: name.clone() }) };
        answer.sandbox_image = match runtime.call::<_, ImageStatusResponse>("ImageService/ImageStatus", request).await {
            Ok(status) => Some(SandboxImage { name, present: status.image.is_some() }),
            Err(Unanswered::Refused(_)) => None,
            Err(silent) => return Err(silent.reply("ImageStatus")),
        };
    }
    Ok(answer)
}

fn mount_points(filesystems: Vec<FilesystemUsage>) -> Vec<String> {
    filesystems.into_iter().filter_map(|usage| usage.fs_id).map(|id| id.mountpoint).filter(|path| path.starts_with('/')).take(8).collect()
}

/// containerd 1.x shows how its default runtime is configured.
fn shown_cgroup_driver(info: &HashMap<String, Vec<u8>>) -> Option<CgroupDriver> {
    let config: Value = serde_json::from_str(&text(info.get("config")?)).ok()?;
    let containerd = config.get("containerd")?;
    let name = containerd.get("defaultRuntimeName").and_then(Value::as_str).unwrap_or("runc");
    let systemd = containerd.get("runtimes")?.get(name)?.pointer("/options/SystemdCgroup").and_then(Value::as_bool).unwrap_or(false);
    Some(if systemd { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs })
}

/// containerd 1.x tells its whole CRI configuration; 2.x keeps the image in another plugin's.
fn told_sandbox_image(info: &HashMap<String, Vec<u8>>) -> Option<String> {
    let config: Value = serde_json::from_str(&text(info.get("config")?)).ok()?;
    config.get("sandboxImage")?.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// `cniconfig` is go-cni's `ConfigResult`, `lastCNILoadStatus` the last error or `OK` (`internal/cri/server/status.go`).
fn loaded_cni(info: &HashMap<String, Vec<u8>>) -> Option<LoadedCni> {
    let config: Value = serde_json::from_str(&text(info.get("cniconfig")?)).ok()?;
    let networks = config.get("Networks").and_then(Value::as_array).into_iter().flatten();
    let names = networks.filter(|network| network.get("IFName").and_then(Value::as_str) != Some("lo"));
    let names = names.filter_map(|network| Some(network.pointer("/Config/Name")?.as_str()?.to_owned())).take(16).collect();
    let status = info.get("lastCNILoadStatus.default").or_else(|| info.get("lastCNILoadStatus"));
    let string = |value: &Value| value.as_str().map(str::to_owned);
    let conf_dir = config.get("PluginConfDir").and_then(string).unwrap_or_default();
    let bin_dirs = config.get("PluginDirs").and_then(Value::as_array).into_iter().flatten().filter_map(string).take(16).collect();
    Some(LoadedCni { conf_dir, bin_dirs, networks: names, error: status.map(|status| short(status)).filter(|status| status != "OK") })
}

/// Why a call gave no result.
enum Unanswered {
    TimedOut,
    /// It answered with an error, or not in gRPC.
    Refused(Status),
}

impl Unanswered {
    fn reply(self, call: &str) -> Reply {
        match self {
            Self::TimedOut => no_answer(call),
            Self::Refused(status) => failed(call, &status),
        }
    }
}

fn no_answer(call: &str) -> Reply {
    Reply::NoAnswer { call: call.to_owned(), seconds: DEADLINE.as_secs(), process: None }
}

fn failed(call: &str, status: &Status) -> Reply {
    let message: String = status.message().chars().take(300).collect();
    Reply::Failed { call: call.to_owned(), code: format!("{:?}", status.code()), message }
}

/// One connection. What it runs beside itself ends with it, also against a peer that hangs.
struct Client {
    grpc: Grpc<Connection>,
    deadline: Instant,
    tasks: Tasks,
}

impl Client {
    async fn new(stream: UnixStream, deadline: Instant) -> Result<Self, hyper::Error> {
        let tasks = Tasks::default();
        let builder = http2::Builder::new(tasks.clone()).max_header_list_size(16 << 10).clone();
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        hyper::rt::Executor::execute(&tasks, async move { _ = connection.await });
        let grpc = Grpc::with_origin(Connection(sender), hyper::Uri::from_static("http://localhost")).max_decoding_message_size(MOST_BYTES);
        Ok(Self { grpc, deadline, tasks })
    }

    async fn call<Q, A>(&mut self, method: &'static str, question: Q) -> Result<A, Unanswered>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = format!("/runtime.v1.{method}").parse().map_err(|_| Unanswered::Refused(Status::new(Code::Internal, "no path")))?;
        let answer = async {
            self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            self.grpc.unary(Request::new(question), path, ProstCodec::default()).await
        };
        match timeout_at(self.deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Unanswered::Refused(status)),
            Err(_) => Err(Unanswered::TimedOut),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// Where hyper's own tasks run.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move { drop(task.await) });
    }
}

/// hyper's connection, as tonic asks for one.
struct Connection(SendRequest<Body>);

impl GrpcService<Body> for Connection {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<hyper::Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: hyper::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

impl From<RuntimeCondition> for Condition {
    fn from(condition: RuntimeCondition) -> Self {
        Self { kind: short(&condition.kind), status: condition.status, reason: short(&condition.reason), message: short(&condition.message) }
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// As much of it as anybody reads.
fn short(bytes: &[u8]) -> String {
    text(bytes).chars().take(500).collect()
}

#[derive(Clone, PartialEq, Message)]
struct VersionRequest {}

#[derive(Clone, PartialEq, Message)]
struct VersionResponse {
    #[prost(string, tag = "2")]
    runtime_name: String,
    #[prost(string, tag = "3")]
    runtime_version: String,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {
    #[prost(bool, tag = "1")]
    verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
    #[prost(map = "string, bytes", tag = "2")]
    info: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<RuntimeCondition>,
}

/// Go puts strings into a message as they are: a CNI file's bytes that are no UTF-8, too. So these are read as bytes.
#[derive(Clone, PartialEq, Message)]
struct RuntimeCondition {
    #[prost(bytes = "vec", tag = "1")]
    kind: Vec<u8>,
    #[prost(bool, tag = "2")]
    status: bool,
    #[prost(bytes = "vec", tag = "3")]
    reason: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    message: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeConfigRequest {}

#[derive(Clone, PartialEq, Message)]
struct RuntimeConfigResponse {
    #[prost(message, optional, tag = "1")]
    linux: Option<LinuxRuntimeConfiguration>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxRuntimeConfiguration {
    /// SYSTEMD = 0, CGROUPFS = 1.
    #[prost(int32, tag = "1")]
    cgroup_driver: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ImageFsInfoRequest {}

#[derive(Clone, PartialEq, Message)]
struct ImageFsInfoResponse {
    #[prost(message, repeated, tag = "1")]
    image_filesystems: Vec<FilesystemUsage>,
    #[prost(message, repeated, tag = "2")]
    container_filesystems: Vec<FilesystemUsage>,
}

#[derive(Clone, PartialEq, Message)]
struct FilesystemUsage {
    #[prost(message, optional, tag = "2")]
    fs_id: Option<FilesystemIdentifier>,
}

#[derive(Clone, PartialEq, Message)]
struct FilesystemIdentifier {
    #[prost(string, tag = "1")]
    mountpoint: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageStatusRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageStatusResponse {
    /// Absent where the image is not there.
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(string, tag = "1")]
    id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    /// What is made of a peer that does this with its first connection.
    async fn asked(name: &str, peer: impl FnOnce(std::os::unix::net::UnixStream) + Send + 'static) -> Reply {
        let root: PathBuf = std::env::temp_dir().join(format!("nodetriage-cri-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("run")).unwrap();
        // An absolute link leads where it leads on the node.
        std::os::unix::fs::symlink("/run", root.join("link")).unwrap();
        let listener = UnixListener::bind(root.join("run/c.sock")).unwrap();
        std::thread::spawn(move || peer(listener.accept().unwrap().0));
        let reply = ask(&Host::open(&root).unwrap(), "/link/c.sock", None).await;
        std::fs::remove_dir_all(&root).unwrap();
        reply
    }

    #[tokio::test]
    async fn whatever_listens_there_the_answer_is_bounded_and_named() {
        let garbage = asked("garbage", |mut stream| _ = stream.write_all(&[b'x'; 4096])).await;
        assert!(matches!(garbage, Reply::Failed { .. }), "{garbage:?}");
        let closed = asked("closed", drop).await;
        assert!(matches!(closed, Reply::Failed { .. }), "{closed:?}");
        let endless = asked("endless", |mut stream| {
            // SETTINGS, then frames of an unknown type for ever.
            let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
            let mut frame = vec![0, 0x40, 0, 0xf0, 0, 0, 0, 0, 0];
            frame.resize(9 + 0x4000, 0);
            while stream.write_all(&frame).is_ok() {}
        })
        .await;
        assert!(matches!(endless, Reply::NoAnswer { .. } | Reply::Failed { .. }), "{endless:?}");
        let silent = asked("silent", |mut stream| _ = stream.read_to_end(&mut Vec::new())).await;
        assert!(matches!(silent, Reply::NoAnswer { .. }), "{silent:?}");
    }

    #[tokio::test]
    async fn what_is_not_there_and_what_is_no_socket_are_told_apart() {
        let root = std::env::temp_dir().join(format!("nodetriage-cri-{}-none", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        drop(UnixListener::bind(root.join("left")).unwrap());
        let host = Host::open(&root).unwrap();
        assert_eq!(ask(&host, "/none", None).await, Reply::NoSocket);
        assert_eq!(ask(&host, "/file", None).await, Reply::NotASocket);
        assert_eq!(ask(&host, "/left", None).await, Reply::Refused);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
