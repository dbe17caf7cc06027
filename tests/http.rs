//! What is answered over HTTP, by the router and the connections that the daemon has, on snapshots made of facts.

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nodetriage::config::Config;
use nodetriage::diagnose::diagnose;
use nodetriage::facts::Facts;
use nodetriage::finding::Severity;
use nodetriage::publish::{self, Latest, Snapshot, http, text};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// An agent, without the observers: snapshots are given to it.
struct Agent {
    address: SocketAddr,
    publish: watch::Sender<Option<Arc<Snapshot>>>,
    unwell: Arc<Mutex<Option<String>>>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// A problem of RFC 9457, with this status.
    fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string() && problem["type"] == "about:blank", "{problem}");
        problem
    }
}

fn snapshot(facts: &Value) -> Arc<Snapshot> {
    let facts: Facts = serde_json::from_value(facts.clone()).unwrap();
    Arc::new(Snapshot::new(diagnose(&facts, &Config::default()), facts))
}

/// A worker whose kubelet has failed and whose unit file has changed: a critical root and a warning.
fn broken(last_words: &str) -> Value {
    let mut facts = common::worker();
    common::fail_kubelet(&mut facts, last_words);
    facts["units"]["known"]["units"][0]["need_daemon_reload"] = json!(true);
    facts
}

impl Agent {
    async fn start() -> Self {
        let (publish, latest): (_, Latest) = watch::channel(None);
        let unwell = Arc::new(Mutex::new(None));
        let said = Arc::clone(&unwell);
        let router = http::router(latest, Arc::new(move || said.lock().unwrap().clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(nodetriage::listen::serve(listener, router));
        Self { address, publish, unwell }
    }

    async fn with(facts: &Value) -> Self {
        let agent = Self::start().await;
        agent.publish.send_replace(Some(snapshot(facts)));
        agent
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: node1\r\nConnection: close\r\n{lines}\r\n")).await
    }

    async fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await.expect("an answer in 20 s").unwrap();
        let answer = String::from_utf8(bytes).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Answer { status, headers, body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    async fn browse(&self, path: &str) -> Answer {
        self.ask("GET", path, &[("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")]).await
    }
}

const OF_THE_NODE: [&str; 9] = [
    "/",
    "/node",
    "/api/v1/report",
    "/api/v1/findings",
    "/api/v1/findings?severity=critical",
    "/api/v1/findings/unit-failed",
    "/api/v1/facts",
    "/metrics",
    "/readyz",
];
const OF_THE_AGENT: [&str; 5] = ["/livez", "/healthz", "/api/v1/checks", "/api/v1/checks/unit-failed", "/explain/unit-failed"];

#[tokio::test]
async fn before_the_first_round_nothing_is_answered_as_if_all_were_well() {
    let agent = Agent::start().await;
    for path in OF_THE_NODE {
        let answer = agent.get(path).await;
        answer.problem(503);
        assert_eq!(answer.headers["retry-after"], "1", "{path}");
        assert_eq!(agent.browse(path).await.status, 503, "{path}");
    }
    let page = agent.browse("/").await.body;
    assert!(page.contains("has not been looked at completely yet") && page.contains("http-equiv=\"refresh\""), "{page}");
    for path in OF_THE_AGENT {
        assert_eq!(agent.get(path).await.status, 200, "{path}");
    }
    agent.publish.send_replace(Some(snapshot(&common::worker())));
    for path in OF_THE_NODE {
        assert_eq!(agent.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn curl_gets_the_text_a_browser_the_page_a_program_json() {
    let facts = broken("exit");
    let agent = Agent::with(&facts).await;
    let snapshot = snapshot(&facts);
    let curl = agent.ask("GET", "/", &[("Accept", "*/*"), ("User-Agent", "curl/8")]).await;
    assert_eq!(curl.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(curl.body, text::render(&snapshot.report, &snapshot.facts, Severity::Info, text::Style::PLAIN));
    let page = agent.browse("/").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers["vary"], "accept");
    assert!(page.body.starts_with("<!DOCTYPE html>"));
    let program = agent.ask("GET", "/", &[("Accept", "application/json")]).await;
    assert_eq!(program.json(), serde_json::to_value(&snapshot.report).unwrap());
    let article = agent.browse("/explain/unit-failed").await;
    assert!(article.body.contains("<h1>unit-failed</h1>"), "{}", article.body);
    assert!(agent.get("/explain/unit-failed").await.body.starts_with("# unit-failed\n"));
}

#[tokio::test]
async fn the_report_has_the_form_of_its_schema_and_an_unchanged_one_is_not_sent_again() {
    let agent = Agent::with(&broken("exit")).await;
    let first = agent.get("/api/v1/report").await;
    assert_eq!(first.headers["content-type"], "application/json");
    assert_eq!(common::faults(&first.json()), Vec::<String>::new());
    let tag = first.headers["etag"].clone();
    for known in [tag.as_str(), "*", &format!("W/\"other\", {tag}")] {
        let again = agent.ask("GET", "/api/v1/report", &[("If-None-Match", known)]).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""));
        assert_eq!(again.headers["etag"], tag);
    }
    let mut later = common::worker();
    later["now"] = json!("2026-12-01T03:12:45Z");
    agent.publish.send_replace(Some(snapshot(&later)));
    let changed = agent.ask("GET", "/api/v1/report", &[("If-None-Match", &tag)]).await;
    assert_eq!((changed.status, changed.json()["verdict"].clone()), (200, json!("healthy")));
}

#[tokio::test]
async fn facts_are_what_observe_prints() {
    let facts = common::worker();
    let agent = Agent::with(&facts).await;
    let served: Facts = serde_json::from_value(agent.get("/api/v1/facts").await.json()).unwrap();
    assert!(served == serde_json::from_value(facts).unwrap(), "what is served can be diagnosed elsewhere");
}

#[tokio::test]
async fn findings_are_filtered_by_what_they_are() {
    let agent = Agent::with(&broken("exit")).await;
    let found = async |path: &str| -> Vec<String> {
        let answer = agent.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found("/api/v1/findings").await, ["unit-failed", "unit-needs-daemon-reload"]);
    assert_eq!(found("/api/v1/findings?severity=critical").await, ["unit-failed"]);
    assert_eq!(found("/api/v1/findings?severity=warning&severity=critical").await.len(), 2);
    assert_eq!(found("/api/v1/findings?severity=info").await.len(), 0);
    assert_eq!(found("/api/v1/findings?code=unit-failed").await, ["unit-failed"]);
    assert_eq!(found("/api/v1/findings?subject=kubelet%2Eservice").await.len(), 2);
    assert_eq!(found("/api/v1/findings?subject=kubelet.service&severity=warning").await, ["unit-needs-daemon-reload"]);
    assert_eq!(found("/api/v1/findings?subject=nothing").await.len(), 0);
    assert_eq!(found("/api/v1/findings/unit-failed").await, ["unit-failed"]);
    assert_eq!(found("/api/v1/findings/unit-masked").await.len(), 0, "a known code that is not true here");
}

#[tokio::test]
async fn checks_are_listed_with_their_articles() {
    let agent = Agent::start().await;
    let all = agent.get("/api/v1/checks").await.json();
    assert_eq!(all.as_array().unwrap().len(), nodetriage::checks::ALL.len());
    let one = agent.get("/api/v1/checks/unit-failed").await.json();
    assert_eq!((one["code"].as_str(), one["severity"].as_str()), (Some("unit-failed"), Some("critical")));
    assert!(one["text"].as_str().unwrap().starts_with("# unit-failed\n"));
    assert!(one["explained_by"].as_array().unwrap().contains(&json!("unit-masked")));
}

#[tokio::test]
async fn what_cannot_be_answered_says_what_could_be() {
    let agent = Agent::with(&common::worker()).await;
    let unknown = agent.get("/api/v1/finding").await.problem(404);
    assert!(unknown["detail"].as_str().unwrap().ends_with("did you mean /api/v1/findings?"), "{unknown}");
    assert!(unknown["paths"].as_array().unwrap().contains(&json!("/api/v1/report")));
    for path in unknown["paths"].as_array().unwrap() {
        let path = path.as_str().unwrap().replace("{code}", "unit-failed");
        assert_eq!(agent.get(&path).await.status, 200, "{path}");
    }
    for path in ["/metrics/", "/api/v1/report/", "//", "/api/v1/findings/a/b", "/%ff", "/explain/%ff", "/explain/..%2f..%2fetc", "/favicon.ico"] {
        agent.get(path).await.problem(404);
    }
    let code = agent.get("/api/v1/checks/unit-faild").await.problem(404);
    assert!(code["detail"].as_str().unwrap().ends_with("did you mean unit-failed?"), "{code}");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let answer = agent.ask(method, "/api/v1/report", &[]).await;
        assert_eq!(answer.problem(405)["methods"], json!(["GET", "HEAD"]));
        assert_eq!(answer.headers["allow"], "GET, HEAD");
    }
    let parameter = agent.get("/api/v1/findings?severty=critical").await.problem(400);
    assert!(parameter["detail"].as_str().unwrap().ends_with("did you mean severity?"), "{parameter}");
    assert_eq!(parameter["parameters"], json!(["severity", "code", "subject"]));
    assert_eq!(agent.get("/api/v1/findings?severity=high").await.problem(400)["values"], json!(["critical", "warning", "info"]));
    agent.get("/api/v1/findings?code=nosuch").await.problem(400);
    for path in OF_THE_NODE.iter().chain(&OF_THE_AGENT).filter(|path| !path.starts_with("/api/v1/findings?") && **path != "/api/v1/findings") {
        agent.get(&format!("{path}?x=1")).await.problem(400);
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let agent = Agent::with(&broken("exit")).await;
    for path in OF_THE_NODE.iter().chain(&OF_THE_AGENT).chain(&["/nosuch", "/metrics?x"]) {
        let (get, head) = (agent.get(path).await, agent.ask("HEAD", path, &[]).await);
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        for header in ["content-type", "content-length", "cache-control"] {
            assert_eq!(head.headers.get(header), get.headers.get(header), "{header} of {path}");
        }
    }
}

#[tokio::test]
async fn the_node_in_one_line_by_its_verdict() {
    let agent = Agent::with(&common::worker()).await;
    let healthy = agent.get("/node").await;
    assert_eq!((healthy.status, healthy.body.as_str()), (200, "healthy: nothing is wrong\n"));
    agent.publish.send_replace(Some(snapshot(&broken("exit"))));
    let critical = agent.get("/node").await;
    assert_eq!((critical.status, critical.body.as_str()), (503, "critical: kubelet.service has failed: exit code 1 (and 1 other fault)\n"));
    let mut blind = common::worker();
    blind["cni"] = json!({ "unknown": { "reason": "permission denied" } });
    agent.publish.send_replace(Some(snapshot(&blind)));
    let unknown = agent.get("/node").await;
    assert_eq!((unknown.status, unknown.body.as_str()), (200, "unknown: nothing wrong was seen, but not everything could be seen\n"));
    let mut no_node = common::worker();
    no_node["node"]["signs"] = json!([]);
    no_node["units"]["known"]["units"] = json!([]);
    agent.publish.send_replace(Some(snapshot(&no_node)));
    let other = agent.get("/node").await;
    assert!(other.body.starts_with("healthy: this machine shows no sign of being a Kubernetes node"), "{}", other.body);
}

#[tokio::test]
async fn liveness_is_the_agents_own_and_not_the_nodes() {
    let agent = Agent::with(&broken("exit")).await;
    assert_eq!(agent.get("/livez").await.body, "ok\n", "a broken node does not end its doctor");
    *agent.unwell.lock().unwrap() = Some("the observer of units has died".to_owned());
    for path in ["/livez", "/healthz"] {
        assert_eq!(agent.get(path).await.problem(503)["detail"], "the observer of units has died");
    }
    assert_eq!(agent.get("/readyz").await.status, 200);
    assert_eq!(agent.get("/api/v1/report").await.status, 200);
}

#[tokio::test]
async fn a_log_line_is_text_on_the_page_whatever_it_contains() {
    let hostile = "</pre><script>alert(1)</script><img src=x onerror=alert(1)> \"quoted\" 'it' &amp; \x1b[2J \u{202e}";
    let agent = Agent::with(&broken(hostile)).await;
    let page = agent.browse("/").await;
    assert!(
        page.body.contains("&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt; &quot;quoted&quot; &#39;it&#39; &amp;amp;")
    );
    assert!(!page.body.contains("<script") && !page.body.contains("<img"));
    assert!(!page.body.contains('\x1b') && !page.body.contains('\u{202e}'));
    let policy = &page.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn the_page_has_each_certificate_s_days_and_the_cni_directory_as_the_runtime_reads_it() {
    let mut facts = common::worker();
    facts["cni"]["known"]["files"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "99-<b>.bak", "standing": "ignored: no such extension", "state": "other-extension" }));
    let agent = Agent::with(&facts).await;
    let page = agent.browse("/").await.body;
    assert!(page.contains("<td>in 357 d, 2027-11-23 18:10:00 UTC</td><td>/var/lib/kubelet/pki/kubelet-client-current.pem</td>"), "{page}");
    assert!(page.contains("/var/lib/kubelet/pki/kubelet-client-current.pem</td><td>kubelet-client</td><td>system:node:node1</td>"), "{page}");
    assert!(page.contains("CNI configuration in /etc/cni/net.d, as the runtime reads it (2)"), "{page}");
    assert!(page.contains("<td>99-&lt;b&gt;.bak</td><td>ignored: no such extension</td>"), "{page}");
}

#[tokio::test]
async fn the_page_says_what_the_text_says_and_needs_nothing_else() {
    let facts = broken("the last words");
    let agent = Agent::with(&facts).await;
    let page = agent.browse("/").await.body;
    let shown = page.replace("&#39;", "'").replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let snapshot = snapshot(&facts);
    for finding in &snapshot.report.findings {
        let said = [&finding.summary, &finding.code, &finding.subject].into_iter().chain(&finding.remedy).chain(finding.evidence.iter().map(|one| &one.saw));
        for said in said {
            assert!(shown.contains(said.as_str()), "the page does not say {said:?}");
        }
    }
    for elsewhere in ["http://", "https://", "src=", "url(", "@import", "<script", "<form", "onclick"] {
        assert!(!page.contains(elsewhere), "the page has {elsewhere}");
    }
    // Every link of the page leads somewhere: relative ones on this server, #anchors in the page.
    for link in page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).filter(|link| *link != "data:,") {
        match link.strip_prefix('#') {
            Some(anchor) => assert!(page.contains(&format!("id=\"{anchor}\"")), "no {link}"),
            None => assert_eq!(agent.get(&format!("/{}", link.trim_start_matches("./"))).await.status, 200, "{link}"),
        }
    }
}

#[tokio::test]
async fn an_article_begins_with_what_is_true_here() {
    let agent = Agent::with(&broken("exit")).await;
    let page = agent.browse("/explain/unit-failed").await.body;
    let (here, article) = page.split_once("<h1>unit-failed</h1>").unwrap();
    assert!(here.contains("kubelet.service has failed: exit code 1") && article.contains("Meaning"));
    let anchor = here.split("href=\"../#").nth(1).unwrap().split('"').next().unwrap();
    assert!(agent.browse("/").await.body.contains(&format!("id=\"{anchor}\"")), "{anchor}");
    assert!(!agent.browse("/explain/unit-masked").await.body.contains("on this node now"));
}

#[tokio::test]
async fn articles_link_to_what_is_there() {
    let agent = Agent::start().await;
    for check in nodetriage::checks::ALL {
        let page = agent.browse(&format!("/explain/{}", check.code)).await.body;
        for link in page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let here = link == "../" || link == "data:," || link.starts_with("https://") || nodetriage::checks::get(link).is_some();
            assert!(here, "{} links to {link}", check.code);
        }
    }
}

/// `name{labels}` → value, as it is written.
fn series(exposition: &str) -> BTreeMap<String, String> {
    let samples = exposition.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn a_healthy_worker_has_few_series_and_the_names_are_a_contract() {
    let agent = Agent::with(&common::worker()).await;
    let scrape = agent.get("/metrics").await;
    assert_eq!(scrape.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(scrape.body.len() < 24_000, "{} bytes", scrape.body.len());
    let series = series(&scrape.body);
    assert!(series.len() < 150, "{} series", series.len());
    let is = |name: &str, value: &str| assert_eq!(series.get(name).map(String::as_str), Some(value), "{name} of\n{}", scrape.body);
    is("nodetriage_findings{severity=\"critical\"}", "0");
    is("nodetriage_findings{severity=\"warning\"}", "0");
    is("nodetriage_findings{severity=\"info\"}", "0");
    is("nodetriage_verdict{verdict=\"healthy\"}", "1");
    is("nodetriage_verdict{verdict=\"critical\"}", "0");
    is("nodetriage_unit_active{unit=\"kubelet.service\"}", "1");
    is("nodetriage_eviction_signal_available{signal=\"memory.available\"}", "6442450944");
    is("nodetriage_eviction_signal_threshold{signal=\"memory.available\"}", "104857600");
    is("nodetriage_eviction_signal_available{signal=\"pid.available\"}", "32256");
    is(&format!("nodetriage_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), "1");
    for domain in nodetriage::facts::Domain::ALL {
        is(&format!("nodetriage_observation_success{{domain=\"{domain}\"}}"), "1");
    }
    assert!(!series.contains_key("nodetriage_unit_active{unit=\"etcd.service\"}"), "it is not installed");
    assert!(series.keys().any(|name| name.starts_with("nodetriage_observation_duration_seconds{domain=\"cni\"")));
    assert!(series.keys().any(|name| name.starts_with("nodetriage_observation_timestamp_seconds{domain=\"cni\"")));
    let certificate = "nodetriage_certificate_not_after_timestamp_seconds{path=\"/var/lib/kubelet/pki/kubelet-client-current.pem\",role=\"kubelet-client\"}";
    assert!(series[certificate].parse::<f64>().unwrap() > 1_700_000_000.0);
}

#[tokio::test]
async fn a_broken_node_shows_in_the_metrics_and_clears() {
    let mut facts = broken("exit");
    facts["cni"] = json!({ "unknown": { "reason": "permission denied" } });
    let agent = Agent::with(&facts).await;
    let before = series(&agent.get("/metrics").await.body);
    assert_eq!(before["nodetriage_finding{code=\"unit-failed\",severity=\"critical\",subject=\"kubelet.service\"}"], "1");
    assert_eq!(before["nodetriage_findings{severity=\"critical\"}"], "1");
    assert_eq!(before["nodetriage_findings{severity=\"warning\"}"], "1");
    assert_eq!(before["nodetriage_unit_active{unit=\"kubelet.service\"}"], "0");
    assert_eq!(before["nodetriage_verdict{verdict=\"critical\"}"], "1");
    assert_eq!(before["nodetriage_observation_success{domain=\"cni\"}"], "0", "blind is not well");
    agent.publish.send_replace(Some(snapshot(&common::worker())));
    let after = series(&agent.get("/metrics").await.body);
    assert!(!after.keys().any(|name| name.starts_with("nodetriage_finding{")));
    assert_eq!(after["nodetriage_unit_active{unit=\"kubelet.service\"}"], "1");
}

#[test]
fn a_snapshot_is_rendered_once_however_often_it_is_asked_for() {
    let snapshot = snapshot(&broken("exit"));
    for form in [Snapshot::metrics, Snapshot::json, Snapshot::facts_json, Snapshot::text, Snapshot::page] {
        assert_eq!(form(&snapshot).as_ptr(), form(&snapshot).as_ptr());
    }
    assert_eq!(snapshot.metrics(), publish::metrics::render(&snapshot.report, &snapshot.facts, false));
}

#[tokio::test]
async fn nonsense_on_the_wire_ends_that_connection_only() {
    let agent = Agent::with(&common::worker()).await;
    for nonsense in ["\r\n\r\n\0\x01garbage\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET http://[ HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(agent.address).await.unwrap();
        stream.write_all(nonsense.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("the connection ends");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&answer));
    }
    let body = agent.raw("GET /node HTTP/1.1\r\nHost: node1\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(body.status, 200, "a body is not waited for or read");
}
