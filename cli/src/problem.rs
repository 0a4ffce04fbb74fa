//! A refusal of the API (RFC 9457), in words.

use std::fmt;

use serde::Deserialize;

/// Most characters shown of an answer that is no problem document.
const MAX_SHOWN: usize = 300;

/// What was refused and why. Members that are not known are left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    title: String,
    detail: String,
    errors: Vec<Fault>,
    errors_omitted: u64,
    correlation_id: Option<String>,
    /// From the header `Retry-After`.
    #[serde(skip)]
    retry_after: Option<String>,
}

/// One fault in the request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Fault {
    pointer: Option<String>,
    header: Option<String>,
    parameter: Option<String>,
    detail: String,
}

impl Problem {
    /// From an answer that is no success: a problem document, or whatever a proxy in between has to say.
    pub(crate) fn read(status: reqwest::StatusCode, headers: &reqwest::header::HeaderMap, body: &str) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut problem: Self = serde_json::from_str(body).unwrap_or_else(|_| Self {
            detail: body.trim().chars().filter(|char| !char.is_control()).take(MAX_SHOWN).collect(),
            ..Self::default()
        });
        problem.status = status.as_u16();
        if problem.title.is_empty() {
            problem.title = format!("the API answered {status}");
        }
        problem.retry_after = text("retry-after");
        problem.correlation_id = problem.correlation_id.or_else(|| text("x-correlation-id"));
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.title, self.status)?;
        if !self.detail.is_empty() {
            write!(f, "\n  {}", self.detail)?;
        }
        for fault in &self.errors {
            let place = match (&fault.pointer, &fault.header, &fault.parameter) {
                (Some(pointer), _, _) if matches!(&**pointer, "" | "#") => "the whole body",
                (Some(place), _, _) | (_, Some(place), _) | (_, _, Some(place)) => place,
                _ => "the request",
            };
            write!(f, "\n  - {place}: {}", fault.detail)?;
        }
        if self.errors_omitted > 0 {
            write!(f, "\n  - and {} more", self.errors_omitted)?;
        }
        if let Some(seconds) = &self.retry_after {
            write!(f, "\n  Try again in {seconds} s.")?;
        }
        if let Some(id) = &self.correlation_id {
            write!(f, "\n  correlation id {id}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use reqwest::{
        StatusCode,
        header::{HeaderMap, HeaderValue},
    };

    use super::*;

    #[test]
    fn a_problem_is_told_with_every_fault_and_the_correlation_id_last() {
        let body = r#"{"type": "/problems/invalid-order", "title": "The order is not valid", "status": 422,
            "detail": "the order has 3 faults", "correlation_id": "c-1", "errors_omitted": 2, "new": {},
            "errors": [{"pointer": "/items/0/qty", "detail": "must be 1 to 9"}, {"pointer": "", "detail": "is no object"},
                       {"header": "Prefer", "detail": "is odd"}]}"#;
        let told = Problem::read(StatusCode::UNPROCESSABLE_ENTITY, &HeaderMap::new(), body).to_string();
        let wanted = "The order is not valid (422)\n  the order has 3 faults\n  - /items/0/qty: must be 1 to 9\n  \
                      - the whole body: is no object\n  - Prefer: is odd\n  - and 2 more\n  correlation id c-1";
        assert_eq!(told, wanted);
    }

    #[test]
    fn what_is_no_problem_document_is_shown_as_far_as_it_is_readable() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("7"));
        headers.insert("x-correlation-id", HeaderValue::from_static("c-2"));
        let told = Problem::read(StatusCode::BAD_GATEWAY, &headers, "<html>\x1b[31mno upstream</html>").to_string();
        let wanted = "the API answered 502 Bad Gateway (502)\n  <html>[31mno upstream</html>\n  Try again in 7 s.\n  \
                      correlation id c-2";
        assert_eq!(told, wanted);
    }
}
