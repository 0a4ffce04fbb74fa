//! What every route shares: the middleware around it, and how requests are read and responses written.
//!
//! In the order in which a request meets them: it is counted (`metrics`), its body is drained if it is
//! refused (`drain`), it gets its `correlation` id, and its handler extracts the id in its `path`, its
//! `query` with a `page`, its `headers` and what it would `prefer`, and its `body` as `json`, whose `faults`
//! are noted. A `response` may have an `etag`; a `problem` is the response to everything else.

pub(super) mod metrics;
pub(super) mod drain;
pub(super) mod correlation;
pub(super) mod path;
pub(super) mod query;
pub(super) mod page;
pub(super) mod headers;
pub(super) mod prefer;
pub(super) mod body;
pub(super) mod json;
pub(super) mod faults;
pub(super) mod response;
pub(super) mod etag;
pub(super) mod problem;
pub(super) mod openapi;
pub(super) mod sample;
