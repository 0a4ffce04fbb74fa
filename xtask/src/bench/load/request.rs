//! The order that is placed.

use std::{fmt::Write as _, net::SocketAddr};

use super::protocol::Target;

/// Makes requests that differ in their numbers only, into one buffer.
#[derive(Debug)]
pub(super) struct Requests {
    host: SocketAddr,
    /// Sets the keys of this run apart from those of any other.
    run: Option<u128>,
    body: String,
    request: String,
}

impl Requests {
    /// Requests to this producer.
    pub(super) fn new(target: Target) -> Self {
        let run = target.keys.then(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.unwrap_or_default().as_nanos()
        });
        Self { host: target.producer, run, body: String::new(), request: String::new() }
    }

    /// The bytes of the order with this number.
    pub(super) fn order(&mut self, number: u64) -> &[u8] {
        self.body.clear();
        // Two lines, as a small order has; the event made of it has about 400 bytes. Writing to a String cannot fail.
        let _ = write!(
            self.body,
            r#"{{"customer_id":"customer-{:05}","items":[{{"product_id":"product-{:04}","qty":{}}},{{"product_id":"product-{:04}","qty":1}}]}}"#,
            number % 50_000,
            number % 1_000,
            number % 9 + 1,
            number * 7 % 1_000,
        );
        self.request.clear();
        let _ = write!(
            self.request,
            "POST /v1/orders HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            self.host,
            self.body.len(),
        );
        if let Some(run) = self.run {
            let _ = write!(self.request, "idempotency-key: \"{run:x}-{number}\"\r\n");
        }
        self.request.push_str("\r\n");
        self.request.push_str(&self.body);
        self.request.as_bytes()
    }
}
