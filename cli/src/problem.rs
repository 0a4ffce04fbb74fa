//! A refusal by the API, in words.

use std::fmt;

use api::Fault;
use reqwest::{StatusCode, header::HeaderMap};

/// How much is shown of a response that is not a problem document, in characters.
const MAX_SHOWN: usize = 300;

/// What was refused, and why.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    document: api::Problem,
    /// The header `Retry-After`.
    retry_after: Option<String>,
}

impl Problem {
    /// From a response that is not a success: a problem document, or the words of a proxy in between.
    pub(crate) fn read(status: StatusCode, headers: &HeaderMap, body: &str) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut document: api::Problem = serde_json::from_str(body).unwrap_or_else(|_| api::Problem {
            title: format!("the API answered {status}"),
            detail: body.trim().chars().filter(|char| !char.is_control()).take(MAX_SHOWN).collect(),
            correlation_id: text("x-correlation-id").unwrap_or_default(),
            ..api::Problem::default()
        });
        document.status = status.as_u16();
        Self { document, retry_after: text("retry-after") }
    }

    /// Whether the same request may succeed later: the server failed, or has too much to do.
    pub(crate) fn is_temporary(&self) -> bool {
        self.document.status >= 500 || self.document.status == 429
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let api::Problem { title, status, detail, correlation_id, errors, errors_omitted, .. } = &self.document;
        write!(f, "{title} ({status})")?;
        if !detail.is_empty() {
            write!(f, "\n  {detail}")?;
        }
        for fault in errors {
            write!(f, "\n  - {}: {}", subject(fault), fault.detail)?;
        }
        if *errors_omitted > 0 {
            write!(f, "\n  - and {errors_omitted} more")?;
        }
        if let Some(seconds) = &self.retry_after {
            write!(f, "\n  Try again in {seconds} s.")?;
        }
        if !correlation_id.is_empty() {
            write!(f, "\n  correlation id {correlation_id}")?;
        }
        Ok(())
    }
}

/// The part of the request that is at fault.
fn subject(fault: &Fault) -> &str {
    match (&fault.pointer, &fault.header, &fault.parameter) {
        (Some(pointer), _, _) if matches!(&**pointer, "" | "#") => "the whole body",
        (Some(name), _, _) | (_, Some(name), _) | (_, _, Some(name)) => name,
        _ => "the request",
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn a_problem_is_shown_with_every_fault_and_the_correlation_id() {
        let body = r#"{"type": "/problems/invalid-order", "title": "The order is not valid", "status": 422,
            "detail": "the order has 3 faults", "correlation_id": "c-1", "errors_omitted": 2, "new": {},
            "errors": [{"pointer": "/items/0/qty", "detail": "must be 1 to 9"}, {"pointer": "", "detail": "is no object"},
                       {"header": "Prefer", "detail": "is odd"}]}"#;
        let shown = Problem::read(StatusCode::UNPROCESSABLE_ENTITY, &HeaderMap::new(), body).to_string();
        let wanted = "The order is not valid (422)\n  the order has 3 faults\n  - /items/0/qty: must be 1 to 9\n  \
                      - the whole body: is no object\n  - Prefer: is odd\n  - and 2 more\n  correlation id c-1";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_response_that_is_not_a_problem_is_shown_as_text() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("7"));
        headers.insert("x-correlation-id", HeaderValue::from_static("c-2"));
        let shown = Problem::read(StatusCode::BAD_GATEWAY, &headers, "<html>\x1b[31mno upstream</html>").to_string();
        let wanted = "the API answered 502 Bad Gateway (502)\n  <html>[31mno upstream</html>\n  Try again in 7 s.\n  \
                      correlation id c-2";
        assert_eq!(shown, wanted);
    }
}
