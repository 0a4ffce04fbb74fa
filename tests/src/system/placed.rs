//! The producer's answers.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Any answer of the producer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, by their names in lower case; of several with one name, the last.
    pub headers: BTreeMap<String, String>,
    /// The body; null if it is not JSON.
    pub body: Value,
}

/// An order that was accepted.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The order's id.
    pub order_id: String,
    /// The id that follows it through everything.
    pub correlation_id: String,
    /// The order's status in the answer.
    pub status: String,
    /// The header `Location`.
    pub location: String,
    /// The whole body.
    pub body: Value,
}

impl Answer {
    pub(super) async fn read(response: reqwest::Response) -> Result<Self> {
        let status = response.status().as_u16();
        let header = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let headers = response.headers().iter().map(header).collect();
        let bytes = response.bytes().await.context("the answer's body")?;
        Ok(Self { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() })
    }

    /// A header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl Placed {
    /// Reads an answer to `POST /v1/orders`.
    ///
    /// # Errors
    /// It is not 202, or not in the contract's form.
    pub fn from_answer(answer: &Answer) -> Result<Self> {
        if answer.status != 202 {
            bail!("the order was not accepted: {} {}", answer.status, answer.body);
        }
        let field = |name: &str| {
            let value = answer.body[name].as_str().map(str::to_owned);
            value.with_context(|| format!("the answer has no {name}: {}", answer.body))
        };
        Ok(Self {
            order_id: field("order_id")?,
            correlation_id: field("correlation_id")?,
            status: field("status")?,
            location: answer.header("location").context("the answer has no Location")?.to_owned(),
            body: answer.body.clone(),
        })
    }
}
