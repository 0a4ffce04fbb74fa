//! How many items of a list.

use clap::Args;

/// How many items of a list.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LimitArgs {
    /// Show at most this many items
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..),
          conflicts_with = "all")]
    limit: u64,
    /// Show every item, page by page
    #[arg(long)]
    all: bool,
}

impl LimitArgs {
    /// The limit; `None` with `--all`.
    pub(crate) fn limit(self) -> Option<u64> {
        (!self.all).then_some(self.limit)
    }
}
