//! Tools for testing a destination: the conformance suite, and the request of a single call.
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
//! The suite starts its own API on loopback, configures the destination as its worker does, and makes it
//! call that API in every way that has gone wrong somewhere before. The contract consists of sentences; a
//! test that fails lists every sentence that does not hold, with what was expected and what was found.

mod api;
mod orders;
mod report;
mod request;
mod subject;

// The sentences, in the order in which they are checked.
mod identity;
mod configuration;
mod call;
mod answers;
mod network;

#[cfg(test)]
mod flawed;

use std::{fmt::Debug, io};

pub use orders::sample_order;
pub use report::{BrokenSentence, ConformanceReport};
pub use request::Request;

use crate::{destination::Destination, event::OrderCreated};
use api::Api;
use subject::{Subject, a_call};

/// The settings that a test gives to its destination.
pub type Env = Vec<(&'static str, String)>;

/// Checks that a destination keeps its contract.
///
/// `env_for` takes the base address of the suite's API and returns the destination's own settings, at least
/// the required ones. A secret among them should be a text that occurs nowhere else, because the suite
/// searches for it wherever it must not appear.
///
/// Takes about a second. Call it from a plain `#[test]`: it has its own runtime. It prints all sentences,
/// which `cargo test -- --nocapture` shows.
///
/// # Panics
/// With the [`ConformanceReport`], if a sentence does not hold.
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

/// Like [`conformance`], but returns the report.
///
/// # Panics
/// If the suite cannot run because it gets no port or no runtime.
#[must_use]
pub fn check<D>(env_for: impl Fn(&str) -> Env) -> ConformanceReport
where
    D: Destination + Debug,
    D::Config: Debug,
{
    on_runtime(async {
        let subject = Subject::<D>::new(Api::start().await?, &env_for);
        let mut report = ConformanceReport::new(D::NAME);
        identity::check(&subject, &mut report);
        // Without a destination or a call, every further sentence would fail for the same reason.
        if configuration::check(&subject, &mut report) && call::check(&subject, &mut report).await {
            answers::check(&subject, &mut report).await?;
            network::check(&subject, &mut report).await?;
        }
        Ok(report)
    })
}

/// The request that a destination sends for `order`, for a test of its exact content.
///
/// # Panics
/// If it makes no call or several.
#[must_use]
pub fn call_for<D: Destination>(order: &OrderCreated, env_for: impl Fn(&str) -> Env) -> Request {
    on_runtime(async {
        let subject = Subject::<D>::new(Api::start().await?, &env_for);
        let called = match subject.made(subject.api.base()) {
            Ok(destination) => subject.one_call(&destination, order, &a_call()).await,
            Err(fault) => Err(fault),
        };
        called.map(|(_, request)| request).map_err(io::Error::other)
    })
}

fn on_runtime<T>(work: impl Future<Output = io::Result<T>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(work)) {
        Ok(value) => value,
        Err(fault) => panic!("the destination cannot be tested: {fault}"),
    }
}
