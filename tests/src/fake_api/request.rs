//! What the contract requires of a call.

use axum::http::{HeaderMap, Method, header};
use serde::{Deserialize, Serialize};

/// One of the two APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// `POST /api/deduct_stock`.
    Inventory,
    /// `POST /api/new_order`.
    Fulfillment,
}

/// A call as it arrived.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) api: Api,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: bytes::Bytes,
}

/// The parts of a body that the contract requires.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Body {
    pub(super) order_id: String,
    customer_id: Option<String>,
    pub(super) items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Item {
    pub(super) product_id: String,
    qty: u64,
}

/// A call that breaks the contract.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) reason: &'static str,
}

impl Api {
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/api/deduct_stock" => Some(Self::Inventory),
            "/api/new_order" => Some(Self::Fulfillment),
            _ => None,
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Inventory => "/api/deduct_stock",
            Self::Fulfillment => "/api/new_order",
        }
    }
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
    }

    /// The body, if it is one of the contract.
    pub(super) fn parse(&self) -> Option<Body> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The rules of the contract, in the order in which a real API would check them.
    pub(super) fn check(&self, body: Option<&Body>, token: Option<&str>) -> Result<(), Refusal> {
        let refuse = |status, reason| Err(Refusal { status, reason });
        if self.method != Method::POST {
            return refuse(405, "the method is not POST");
        }
        if self.api == Api::Fulfillment {
            let given = self.header("x-partner-auth");
            if given.is_none() || token.is_some_and(|token| given != Some(token)) {
                return refuse(401, "X-Partner-Auth is missing or wrong");
            }
        }
        let content_type = self.header(header::CONTENT_TYPE.as_str()).unwrap_or_default();
        if !content_type.starts_with("application/json") {
            return refuse(415, "the Content-Type is not application/json");
        }
        if self.header("idempotency-key").is_none() {
            return refuse(400, "Idempotency-Key is missing");
        }
        if self.header("x-correlation-id").is_none() {
            return refuse(400, "X-Correlation-ID is missing");
        }
        let Some(body) = body else { return refuse(400, "the body is not an order") };
        if body.items.is_empty() || body.items.iter().any(|item| item.qty == 0) {
            return refuse(400, "the items are empty, or one has no quantity");
        }
        if self.api == Api::Fulfillment && body.customer_id.is_none() {
            return refuse(400, "customer_id is missing");
        }
        Ok(())
    }
}
