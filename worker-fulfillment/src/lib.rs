//! The fulfillment API, through which a partner ships every order.

use common::{
    config::{Faults, Setting, Settings},
    destination::{Call, Defaults, Destination},
    event::OrderCreated,
    http_client::{AttemptError, HttpClient},
    order::{CustomerId, Items, OrderId},
};
use reqwest::{StatusCode, Url, header::HeaderValue};
use serde::Serialize;

const API_URL: Setting = Setting::required(
    "FULFILLMENT_API_URL",
    "The address of the fulfillment API, such as https://partner.example; orders go to /api/new_order below it.",
);
const API_TOKEN: Setting =
    Setting::required("FULFILLMENT_API_TOKEN", "The token that the fulfillment API expects in X-Partner-Auth.")
        .secret();

/// The fulfillment API, ready to call.
#[derive(Debug)]
pub struct Fulfillment {
    client: HttpClient,
    new_order: Url,
    /// Marked as sensitive, so that debug output hides it.
    partner_auth: HeaderValue,
}

/// The address of the API, and what authorises the calls.
#[derive(Debug)]
pub struct Config {
    url: Url,
    partner_auth: HeaderValue,
}

/// The body of `POST /api/new_order`.
#[derive(Serialize)]
struct NewOrder<'a> {
    order_id: OrderId,
    customer_id: &'a CustomerId,
    items: &'a Items,
}

impl Destination for Fulfillment {
    const NAME: &'static str = "fulfillment";
    const BINARY: &'static str = "worker-fulfillment";
    const SETTINGS: &'static [Setting] = &[API_URL, API_TOKEN];
    const DEFAULTS: Defaults = Defaults { http_addr: "127.0.0.1:8082", max_attempts: "5", request_timeout: "10s" };

    type Config = Config;

    fn configure(settings: &mut Settings) -> Result<Config, Faults> {
        let url = settings.url(&API_URL);
        let partner_auth = settings.secret_header(&API_TOKEN, "");
        let (url, partner_auth) = (url?, partner_auth?);
        Ok(Config { url, partner_auth })
    }

    fn url(config: &Config) -> &Url {
        &config.url
    }

    fn new(Config { url, partner_auth }: Config, client: HttpClient) -> Self {
        Self { client, new_order: common::http_client::below(&url, "api/new_order"), partner_auth }
    }

    async fn attempt(&self, order: &OrderCreated, call: &Call) -> Result<StatusCode, AttemptError> {
        let body = NewOrder { order_id: order.order_id, customer_id: &order.customer_id, items: &order.items };
        let request = call
            .headers(order, self.client.post(self.new_order.clone()))
            .header("X-Partner-Auth", self.partner_auth.clone())
            .json(&body);
        self.client.send(request).await
    }
}
