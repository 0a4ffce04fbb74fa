//! Lists, page by page.

use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// One page of a list, as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct List<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// What `cursor` must be for the next page; null after the last.
    pub next_cursor: Option<String>,
}
