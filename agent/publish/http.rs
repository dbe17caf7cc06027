//! What is answered over HTTP. A request never touches the node: it reads the last snapshot.
//!
//! Everything is GET (and HEAD). What cannot be answered is a problem of RFC 9457 that says what could have been.

mod accept;
mod problem;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::routing::get;
use serde_json::json;

use super::{Latest, Snapshot, Unwell, metrics, page, view};
use crate::checks;
use crate::config::nearest;
use crate::diagnose::Verdict;
use crate::finding::{Check, Finding, Severity};
use accept::Form;
use problem::Problem;

/// Every path there is, for whoever asks for another.
const PATHS: [&str; 13] = [
    "/",
    "/node",
    "/explain/{code}",
    "/api/v1/report",
    "/api/v1/findings",
    "/api/v1/findings/{code}",
    "/api/v1/checks",
    "/api/v1/checks/{code}",
    "/api/v1/facts",
    "/metrics",
    "/livez",
    "/healthz",
    "/readyz",
];
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

type Answer = Result<Response<Body>, Problem>;

struct Served {
    latest: Latest,
    unwell: Unwell,
}

/// Answers from the last snapshot. `unwell` is the agent's own state, for `/livez`.
pub fn router(latest: Latest, unwell: Unwell) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/node", get(node))
        .route("/explain/{code}", get(explain))
        .route("/api/v1/report", get(report))
        .route("/api/v1/findings", get(findings))
        .route("/api/v1/findings/{code}", get(findings_of))
        .route("/api/v1/checks", get(catalogue))
        .route("/api/v1/checks/{code}", get(check))
        .route("/api/v1/facts", get(facts))
        .route("/metrics", get(scrape))
        .route("/livez", get(livez))
        .route("/healthz", get(livez))
        .route("/readyz", get(readyz))
        .fallback(unknown_path)
        .method_not_allowed_fallback(other_method)
        .with_state(Arc::new(Served { latest, unwell }))
}

impl Served {
    /// Before the first round of observation is complete nothing is answered, or what is not known yet would look healthy.
    fn snapshot(&self) -> Result<Arc<Snapshot>, Problem> {
        self.latest.borrow().clone().ok_or_else(Problem::not_ready)
    }
}

async fn front(State(served): State<Arc<Served>>, _: NoParameters, headers: HeaderMap) -> Answer {
    let form = accept::preferred(&headers);
    let snapshot = match served.snapshot() {
        Ok(snapshot) => snapshot,
        Err(problem) if form == Form::Html => return Ok(page_headers(answer(problem.status, HTML, page::not_ready(&problem.detail)))),
        Err(problem) => return Err(problem),
    };
    Ok(match form {
        Form::Html => page_headers(snapshot_answer(&headers, &snapshot, HTML, Snapshot::page)),
        Form::Json => snapshot_answer(&headers, &snapshot, JSON, Snapshot::json),
        Form::Text => snapshot_answer(&headers, &snapshot, TEXT, Snapshot::text),
    })
}

/// For load balancers and scripts: one line, and the status says it all.
async fn node(State(served): State<Arc<Served>>, _: NoParameters) -> Answer {
    let snapshot = served.snapshot()?;
    let report = &snapshot.report;
    let status = if report.verdict == Verdict::Critical { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok(answer(status, TEXT, format!("{}: {}\n", report.verdict.name(), view::headline(report))))
}

async fn report(State(served): State<Arc<Served>>, _: NoParameters, headers: HeaderMap) -> Answer {
    Ok(snapshot_answer(&headers, &*served.snapshot()?, JSON, Snapshot::json))
}

async fn facts(State(served): State<Arc<Served>>, _: NoParameters, headers: HeaderMap) -> Answer {
    Ok(snapshot_answer(&headers, &*served.snapshot()?, JSON, Snapshot::facts_json))
}

async fn scrape(State(served): State<Arc<Served>>, _: NoParameters) -> Answer {
    Ok(answer(StatusCode::OK, metrics::CONTENT_TYPE, served.snapshot()?.metrics()))
}

async fn findings(State(served): State<Arc<Served>>, filter: Filter) -> Answer {
    Ok(found(&*served.snapshot()?, |finding| filter.accepts(finding)))
}

/// A known code that nothing on this node has is an empty list, not an error.
async fn findings_of(State(served): State<Arc<Served>>, _: NoParameters, Known(check): Known) -> Answer {
    Ok(found(&*served.snapshot()?, |finding| finding.code == check.code))
}

fn found(snapshot: &Snapshot, wanted: impl Fn(&Finding) -> bool) -> Response<Body> {
    let report = &snapshot.report;
    let findings: Vec<&Finding> = report.findings.iter().filter(|finding| wanted(finding)).collect();
    let body = json!({ "schema": report.schema, "time": report.time, "verdict": report.verdict, "findings": findings });
    answer(StatusCode::OK, JSON, super::json(&body))
}

async fn catalogue(_: NoParameters) -> Answer {
    Ok(answer(StatusCode::OK, JSON, super::json(&super::catalogue())))
}

async fn check(_: NoParameters, Known(check): Known) -> Answer {
    let mut row = json!(super::row(check));
    row["text"] = check.article.into();
    Ok(answer(StatusCode::OK, JSON, super::json(&row)))
}

/// An article is true before anything has been seen, too.
async fn explain(State(served): State<Arc<Served>>, _: NoParameters, Known(check): Known, headers: HeaderMap) -> Answer {
    let snapshot = served.latest.borrow().clone();
    Ok(match accept::preferred(&headers) {
        Form::Html => page_headers(vary(answer(StatusCode::OK, HTML, page::article(check, snapshot.as_deref().map(|last| &last.report))))),
        Form::Text | Form::Json => vary(answer(StatusCode::OK, TEXT, check.article)),
    })
}

/// Whether the agent does its work. It says nothing about the node: a broken node must not end its doctor.
async fn livez(State(served): State<Arc<Served>>, _: NoParameters) -> Answer {
    match (served.unwell)() {
        None => Ok(answer(StatusCode::OK, TEXT, "ok\n")),
        Some(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}

async fn readyz(State(served): State<Arc<Served>>, _: NoParameters) -> Answer {
    served.snapshot().map(|_| answer(StatusCode::OK, TEXT, "ok\n"))
}

async fn unknown_path(uri: Uri) -> Problem {
    let path = uri.path();
    let near = nearest(path.trim_end_matches('/'), PATHS.into_iter().filter(|known| !known.contains('{')));
    let detail = near.map_or_else(|| format!("nothing is at {path}"), |near| format!("nothing is at {path}; did you mean {near}?"));
    Problem::new(StatusCode::NOT_FOUND, detail).allowing("paths", PATHS)
}

async fn other_method(method: Method) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not answered: nothing can be changed here")).allowing("methods", ["GET", "HEAD"])
}

/// The check whose code the path names.
struct Known(&'static Check);

impl<S: Send + Sync> FromRequestParts<S> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(code) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|rejection| Problem::new(StatusCode::NOT_FOUND, rejection.body_text()))?;
        checks::get(&code).map(Self).ok_or_else(|| unknown_code(StatusCode::NOT_FOUND, &code))
    }
}

fn unknown_code(status: StatusCode, code: &str) -> Problem {
    let codes = || checks::ALL.iter().map(|check| check.code);
    let detail = match nearest(code, codes()) {
        Some(near) => format!("no check has the code {code:?}; did you mean {near}?"),
        None => format!("no check has the code {code:?}"),
    };
    Problem::new(status, detail).allowing("codes", codes())
}

/// For paths that take no parameter: one that is given was meant to do something, and does not.
struct NoParameters;

impl<S: Sync> FromRequestParts<S> for NoParameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parameters(&parts.uri)?.first() {
            None => Ok(Self),
            Some((name, _)) => Err(unknown_parameter(name, &[])),
        }
    }
}

/// Which findings are wanted: equal to one of the values given for each parameter.
#[derive(Debug, Default)]
struct Filter {
    wanted: BTreeMap<&'static str, Vec<String>>,
}

impl Filter {
    const PARAMETERS: [&'static str; 3] = ["severity", "code", "subject"];

    fn accepts(&self, finding: &Finding) -> bool {
        self.wanted.iter().all(|(name, values)| {
            values.iter().any(|value| match *name {
                "severity" => value == finding.severity.name(),
                "code" => *value == finding.code,
                _ => *value == finding.subject,
            })
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Filter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut filter = Self::default();
        for (name, value) in parameters(&parts.uri)? {
            let known = Self::PARAMETERS.into_iter().find(|known| *known == name).ok_or_else(|| unknown_parameter(&name, &Self::PARAMETERS))?;
            let severities = Severity::ALL.map(Severity::name);
            if known == "severity" && !severities.contains(&value.as_str()) {
                let detail = format!("{value:?} is no severity");
                return Err(Problem::new(StatusCode::BAD_REQUEST, detail).allowing("values", severities));
            }
            if known == "code" && checks::get(&value).is_none() {
                return Err(unknown_code(StatusCode::BAD_REQUEST, &value));
            }
            filter.wanted.entry(known).or_default().push(value);
        }
        Ok(filter)
    }
}

fn parameters(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    let bad = |error| Problem::new(StatusCode::BAD_REQUEST, format!("the query cannot be read: {error}"));
    Query::try_from_uri(uri).map(|Query(pairs)| pairs).map_err(bad)
}

fn unknown_parameter(name: &str, known: &[&'static str]) -> Problem {
    let detail = match nearest(name, known.iter().copied()) {
        Some(near) => format!("no parameter is called {name:?}; did you mean {near}?"),
        None => format!("no parameter is called {name:?}"),
    };
    Problem::new(StatusCode::BAD_REQUEST, detail).allowing("parameters", known.iter().copied())
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A form of the snapshot; nothing but "unchanged" for a client that has this one already.
fn snapshot_answer(headers: &HeaderMap, snapshot: &Snapshot, content_type: &'static str, body: fn(&Snapshot) -> Bytes) -> Response<Body> {
    // No two snapshots of a process are made in the same microsecond. Weak, for one tag stands for every form of it.
    let tag = format!("W/\"{:x}\"", snapshot.report.time.unix_micros());
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let unchanged = known.flat_map(|list| list.split(',')).any(|one| one.trim() == tag || one.trim() == "*");
    let mut response =
        if unchanged { answer(StatusCode::NOT_MODIFIED, content_type, Bytes::new()) } else { answer(StatusCode::OK, content_type, body(snapshot)) };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    vary(response)
}

fn vary(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn page_headers(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
