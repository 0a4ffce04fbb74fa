use anyhow::Result;
use tests::{
    order::Order,
    system::{Role, System},
};

#[tokio::test]
async fn a_system_delivers_an_order_and_can_be_removed_from_the_broker() -> Result<()> {
    System::builder()
        .run(async |system| {
            let placed = system.place(&Order::healthy()).await?;
            system.inventory_api.wait_for_calls(&placed.order_id, 1).await?;
            system.fulfillment_api.wait_for_calls(&placed.order_id, 1).await?;
            let order = system.wait_settled(&placed.order_id).await?;
            assert_eq!(order.status, api::OrderStatus::Delivered);
            for role in [Role::Inventory, Role::Producer, Role::Fulfillment] {
                system.kill9(role).await?;
            }
            let (names, queues) = (&system.names, system.queues().await?);
            let left = [names.inventory(), names.outcomes(), names.dead_letters("fulfillment")];
            for queue in &left {
                assert!(queues.exists(queue).await?, "{queue}");
            }
            names.delete(queues, &["inventory", "fulfillment"]).await?;
            for queue in &left {
                assert!(!queues.exists(queue).await?, "{queue}");
            }
            Ok(())
        })
        .await
}
