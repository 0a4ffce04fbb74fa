//! The shared broker behind a fault proxy.

use anyhow::Result;
use tests::{
    broker::shared,
    proxy::FaultProxy,
    system::{Role, SystemBuilder},
    url::{address, through},
};

/// A proxy in front of the shared broker, and the broker's URL through it.
pub(crate) async fn broker_proxy() -> Result<(FaultProxy, String)> {
    let url = shared().await?.url();
    let proxy = FaultProxy::start(&address(&url)?)?;
    let through = through(&url, proxy.address())?;
    Ok((proxy, through))
}

/// Every process connects through this URL.
pub(crate) fn all_through(builder: SystemBuilder, url: &str) -> SystemBuilder {
    [Role::Producer, Role::Inventory, Role::Fulfillment]
        .iter()
        .fold(builder, |builder, role| builder.amqp_url(*role, url))
}
