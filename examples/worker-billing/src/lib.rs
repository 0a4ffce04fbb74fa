//! The billing API, which makes an invoice for every order.

use common::{
    config::{Faults, Setting, Settings},
    destination::{Call, Defaults, Destination},
    event::OrderCreated,
    http_client::{AttemptError, HttpClient, below},
    order::{CustomerId, Items, OrderId},
};
use reqwest::{
    StatusCode, Url,
    header::{AUTHORIZATION, HeaderValue},
};
use serde::Serialize;

const API_URL: Setting =
    Setting::required("BILLING_API_URL", "The address of the billing API; invoices go to /api/invoices below it.");
const API_TOKEN: Setting =
    Setting::required("BILLING_API_TOKEN", "The bearer token that the billing API expects.").secret();

/// The billing API, ready to call.
#[derive(Debug)]
pub struct Billing {
    client: HttpClient,
    invoices: Url,
    authorization: HeaderValue,
}

/// The address of the API, and what authorises the calls.
#[derive(Debug)]
pub struct Config {
    url: Url,
    authorization: HeaderValue,
}

/// The body of `POST /api/invoices`, with the API's names.
#[derive(Serialize)]
struct Invoice<'a> {
    reference: OrderId,
    customer: &'a CustomerId,
    lines: &'a Items,
}

impl Destination for Billing {
    const NAME: &'static str = "billing";
    const BINARY: &'static str = "worker-billing";
    const SETTINGS: &'static [Setting] = &[API_URL, API_TOKEN];
    const DEFAULTS: Defaults = Defaults { http_addr: "127.0.0.1:8083", max_attempts: "4", request_timeout: "5s" };

    type Config = Config;

    fn configure(settings: &mut Settings) -> Result<Config, Faults> {
        let url = settings.url(&API_URL);
        let authorization = settings.secret_header(&API_TOKEN, "Bearer ");
        let (url, authorization) = (url?, authorization?);
        Ok(Config { url, authorization })
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
