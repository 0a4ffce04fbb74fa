use anyhow::Result;
use tests::{order::Order, queues::Queues, system::System};

#[tokio::test]
async fn a_system_carries_an_order_to_both_apis_and_leaves_nothing_on_the_broker() -> Result<()> {
    let mut names = None;
    let mut broker = String::new();
    System::builder()
        .run(async |system| {
            let placed = system.place(&Order::healthy()).await?;
            system.inventory_api.wait_for_calls(&placed.order_id, 1).await?;
            system.fulfillment_api.wait_for_calls(&placed.order_id, 1).await?;
            let order = system.wait_settled(&placed.order_id).await?;
            assert_eq!(order["status"], "delivered");
            assert!(system.queues().await?.exists(&system.names.inventory()).await?);
            names = Some(system.names.clone());
            broker = tests::broker::shared().await?.amqp_url().to_owned();
            Ok(())
        })
        .await?;
    let (names, queues) = (names.unwrap(), Queues::connect(&broker).await?);
    for queue in [names.inventory(), names.outcomes(), names.dead_letters("fulfillment")] {
        assert!(!queues.exists(&queue).await?, "{queue}");
    }
    Ok(())
}
