//! The inventory API, which deducts stock for every order.

use common::{
    config::{Faults, Setting, Settings},
    destination::{Call, Defaults, Destination},
    event::OrderCreated,
    http_client::{AttemptError, HttpClient},
    order::{Items, OrderId},
};
use reqwest::{StatusCode, Url};
use serde::Serialize;

const API_URL: Setting = Setting::required(
    "INVENTORY_API_URL",
    "The address of the inventory API, such as http://inventory.internal:9000; orders go to /api/deduct_stock below it.",
);

/// The inventory API, ready to call.
#[derive(Debug)]
pub struct Inventory {
    client: HttpClient,
    deduct_stock: Url,
}

/// The address of the API.
#[derive(Debug)]
pub struct Config {
    url: Url,
}

/// The body of `POST /api/deduct_stock`.
#[derive(Serialize)]
struct DeductStock<'a> {
    order_id: OrderId,
    items: &'a Items,
}

impl Destination for Inventory {
    const NAME: &'static str = "inventory";
    const BINARY: &'static str = "worker-inventory";
    const SETTINGS: &'static [Setting] = &[API_URL];
    const DEFAULTS: Defaults = Defaults { http_addr: "127.0.0.1:8081", max_attempts: "3", request_timeout: "5s" };

    type Config = Config;

    fn configure(settings: &mut Settings) -> Result<Config, Faults> {
        Ok(Config { url: settings.url(&API_URL)? })
    }

    fn url(config: &Config) -> &Url {
        &config.url
    }

    fn new(Config { url }: Config, client: HttpClient) -> Self {
        Self { client, deduct_stock: common::http_client::below(&url, "api/deduct_stock") }
    }

    async fn attempt(&self, order: &OrderCreated, call: &Call) -> Result<StatusCode, AttemptError> {
        let body = DeductStock { order_id: order.order_id, items: &order.items };
        let request = call.headers(order, self.client.post(self.deduct_stock.clone())).json(&body);
        self.client.send(request).await
    }
}
