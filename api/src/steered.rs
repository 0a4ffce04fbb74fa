//! What came of ending the wait of a delivery.

use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// What came of ending the wait of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = SteeredDelivery))]
pub struct Steered {
    /// The id of the order.
    #[cfg_attr(feature = "openapi", schema(format = Uuid))]
    pub order_id: String,
    /// The destination.
    pub destination: String,
    /// What happens to the delivery now, for people.
    pub detail: String,
}
