//! The billing API: every order becomes an invoice.

use common::{
    config::{Faults, Setting, Settings},
    destination::{AttemptError, Call, Defaults, Destination},
    event::OrderCreated,
    http_client::{HttpClient, below},
    order::{CustomerId, Items, OrderId},
};
use reqwest::{
    StatusCode, Url,
    header::{AUTHORIZATION, HeaderValue},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

/// The billing API, ready to call.
#[derive(Debug)]
pub struct Billing {
    client: HttpClient,
    invoices: Url,
    authorization: HeaderValue,
}

/// Where the API is, and what it wants to see.
#[derive(Debug)]
pub struct Config {
    url: Url,
    authorization: HeaderValue,
}

/// The body of `POST /api/invoices`, in the API's own words.
#[derive(Serialize)]
struct Invoice<'a> {
    reference: OrderId,
    customer: &'a CustomerId,
    lines: &'a Items,
}

impl Destination for Billing {
    const NAME: &'static str = "billing";
    const BINARY: &'static str = "worker-billing";
    const SETTINGS: &'static [Setting] = &[
        Setting::required("BILLING_API_URL", "The billing API; invoices go to /api/invoices below it."),
        Setting::required("BILLING_API_TOKEN", "What the billing API expects as a bearer token.").secret(),
    ];
    const DEFAULTS: Defaults = Defaults { http_addr: "127.0.0.1:8083", max_attempts: "4", request_timeout: "5s" };

    type Config = Config;

    fn configure(settings: &mut Settings) -> Result<Config, Faults> {
        let url = settings.url("BILLING_API_URL");
        let token = settings.secret("BILLING_API_TOKEN");
        let (url, token) = (url?, token?);
        match bearer(&token) {
            Some(authorization) => Ok(Config { url, authorization }),
            None => Err(settings.fault("BILLING_API_TOKEN", "must consist of visible ASCII characters")),
        }
    }

    fn url(config: &Config) -> &Url {
        &config.url
    }

    fn new(Config { url, authorization }: Config, client: HttpClient) -> Self {
        Self { client, invoices: below(&url, "api/invoices"), authorization }
    }

    async fn attempt(&self, order: &OrderCreated, call: &Call) -> Result<StatusCode, AttemptError> {
        let invoice = Invoice { reference: order.order_id, customer: &order.customer_id, lines: &order.items };
        let request = call
            .headers(order, self.client.post(self.invoices.clone()))
            .header(AUTHORIZATION, self.authorization.clone())
            .json(&invoice);
        self.client.send(request).await
    }
}

/// Marked sensitive, so that no debug text shows it.
fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}
