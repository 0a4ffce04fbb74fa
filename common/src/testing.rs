//! Tools for those who write a destination: the conformance suite, and a look at one call.
//!
//! ```text
//! #[test]
//! fn keeps_the_contract_of_a_destination() {
//!     common::testing::conformance::<Billing>(|url| vec![
//!         ("BILLING_API_URL", url.to_owned()),
//!         ("BILLING_API_KEY", "conformance-key".to_owned()),
//!     ]);
//! }
//! ```
//!
//! The suite starts an API of its own on loopback, configures the destination as its worker does, and
//! has it called in every way that has gone wrong somewhere before. What a destination must do is
//! said in sentences; a test that fails lists every sentence that is broken, with what was wanted and
//! what was found.

mod api;
mod orders;
mod report;
mod request;
mod subject;

// The sentences, in the order in which they are looked at.
mod identity;
mod configuration;
mod call;
mod answers;
mod network;

#[cfg(test)]
mod flawed;

use std::{fmt::Debug, io};

pub use orders::sample_order;
pub use report::{Broken, Report};
pub use request::Request;

use crate::{destination::Destination, event::OrderCreated};
use api::Api;
use subject::{Subject, a_call};

/// The settings that a test gives to its destination.
pub type Env = Vec<(&'static str, String)>;

/// Looks whether a destination keeps its contract.
///
/// `env_for` is given the base address of the suite's API and returns the destination's own settings,
/// the required ones at least. A secret among them should be a text that is found nowhere else, because it
/// is searched for wherever it must not be.
///
/// Takes about a second. Call it from a plain `#[test]`: it brings its own runtime. All sentences are
/// printed, for `cargo test -- --nocapture`.
///
/// # Panics
/// With the [`Report`], when a sentence is broken.
#[track_caller]
pub fn conformance<D>(env_for: impl Fn(&str) -> Env)
where
    D: Destination + Debug,
    D::Config: Debug,
{
    let report = check::<D>(env_for);
    assert!(report.broken().is_empty(), "{report}");
    println!("{report}");
}

/// Like [`conformance`], for those who want to look at the report themselves.
///
/// # Panics
/// When the suite cannot run: no port, no runtime.
#[must_use]
pub fn check<D>(env_for: impl Fn(&str) -> Env) -> Report
where
    D: Destination + Debug,
    D::Config: Debug,
{
    on_runtime(async {
        let subject = Subject::<D>::new(Api::start().await?, &env_for);
        let mut report = Report::new(D::NAME);
        identity::check(&subject, &mut report);
        // Without a destination, or without a call, every further sentence would be broken for the same reason.
        if configuration::check(&subject, &mut report) && call::check(&subject, &mut report).await {
            answers::check(&subject, &mut report).await?;
            network::check(&subject, &mut report).await?;
        }
        Ok(report)
    })
}

/// The call by which a destination tells its API of `order`, for a test of its exact words.
///
/// # Panics
/// When there is no such call, or more than one.
#[must_use]
pub fn call_for<D: Destination>(order: &OrderCreated, env_for: impl Fn(&str) -> Env) -> Request {
    on_runtime(async {
        let subject = Subject::<D>::new(Api::start().await?, &env_for);
        let told = match subject.made(subject.api.base()) {
            Ok(destination) => subject.one_call(&destination, order, &a_call()).await,
            Err(fault) => Err(fault),
        };
        told.map(|(_, request)| request).map_err(io::Error::other)
    })
}

fn on_runtime<T>(work: impl Future<Output = io::Result<T>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(work)) {
        Ok(value) => value,
        Err(fault) => panic!("the destination cannot be looked at: {fault}"),
    }
}
