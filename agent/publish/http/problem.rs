use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

/// Why there is no answer, as RFC 9457 has it.
#[derive(Debug)]
pub(super) struct Problem {
    pub status: StatusCode,
    pub detail: String,
    /// Members beside the RFC's own: what would have been answered.
    allowed: Map<String, Value>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), allowed: Map::new() }
    }

    pub fn not_ready() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the node has not been looked at completely yet")
    }

    /// With what could have been asked for.
    pub fn allowing<'a>(mut self, what: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        self.allowed.insert(what.to_owned(), values.into_iter().collect());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut body = json!({ "type": "about:blank", "title": self.status.canonical_reason(), "status": self.status.as_u16(), "detail": self.detail });
        if let Some(object) = body.as_object_mut() {
            object.extend(self.allowed);
        }
        let mut response = super::answer(self.status, "application/problem+json", crate::publish::json(&body));
        let headers = response.headers_mut();
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
