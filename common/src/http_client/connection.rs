//! Connections: whether one was made for a request, or had been used before; and requests that need a fresh one.

use std::{
    cell::Cell,
    task::{Context, Poll},
};

use tower::{Layer, Service};

tokio::task_local! {
    static CONNECTED: Cell<bool>;
    static FRESH: ();
}

/// Makes the calls of an attempt on fresh connections.
pub(crate) async fn fresh<T>(attempt: impl Future<Output = T>) -> T {
    FRESH.scope((), attempt).await
}

/// Whether a request needs a fresh connection.
pub(super) fn must_be_fresh() -> bool {
    FRESH.try_with(|()| ()).is_ok()
}

/// Sends a request, and also returns whether a connection was made for it.
pub(super) async fn watch<T>(request: impl Future<Output = T>) -> (T, bool) {
    CONNECTED.scope(Cell::new(false), async { (request.await, CONNECTED.with(Cell::get)) }).await
}

/// Takes note of each connection that the client makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched;

/// A connector that takes note.
#[derive(Clone, Debug)]
pub(super) struct Connector<S>(S);

impl<S> Layer<S> for Watched {
    type Service = Connector<S>;

    fn layer(&self, connector: S) -> Connector<S> {
        Connector(connector)
    }
}

impl<S: Service<R>, R> Service<R> for Connector<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: R) -> S::Future {
        // The client connects as part of the request that needs a connection.
        let _ = CONNECTED.try_with(|connected| connected.set(true));
        self.0.call(target)
    }
}
