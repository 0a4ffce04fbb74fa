//! Responses of the producer.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use api::Accepted;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Any response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, by their names in lower case; of several with one name, the last.
    pub headers: BTreeMap<String, String>,
    /// The body; null if it is not JSON.
    pub body: Value,
}

/// An order that was accepted.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The id of the order.
    pub order_id: String,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// The header `Location`.
    pub location: String,
}

impl Response {
    pub(super) async fn read(response: reqwest::Response) -> Result<Self> {
        let status = response.status().as_u16();
        let header = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let headers = response.headers().iter().map(header).collect();
        let bytes = response.bytes().await.context("the body of the response")?;
        Ok(Self { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() })
    }

    /// A header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The body as a type of the API.
    ///
    /// # Errors
    /// It is another one.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.body).with_context(|| format!("{} {}", self.status, self.body))
    }

    /// The body of a response with this status.
    ///
    /// # Errors
    /// It has another status or type.
    pub fn expect<T: DeserializeOwned>(&self, status: u16) -> Result<T> {
        if self.status != status {
            bail!("{} instead of {status}: {}", self.status, self.body);
        }
        self.json()
    }
}

impl Placed {
    /// Reads a response to `POST /v1/orders`.
    ///
    /// # Errors
    /// The order was not accepted.
    pub fn from_response(response: &Response) -> Result<Self> {
        let Accepted { order_id, correlation_id, .. } = response.expect(202)?;
        let location = response.header("location").context("the response has no Location")?.to_owned();
        Ok(Self { order_id, correlation_id, location })
    }
}
