//! What the lease table needs of DynamoDB.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeAction, AttributeDefinition, AttributeValue, AttributeValueUpdate, BillingMode,
    CreateGlobalSecondaryIndexAction, ExpectedAttributeValue, GlobalSecondaryIndexUpdate, KeySchemaElement, KeyType,
    Projection, ProjectionType, ReturnValuesOnConditionCheckFailure, ScalarAttributeType,
};
use multilangd::local::connect::local_config;
use multilangd::local::{Backend, Options};

const TABLE: &str = "leases";

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn key(name: &str) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(KeyType::Hash).build().unwrap()
}

fn definition(name: &str) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build().unwrap()
}

/// A table with the lease `shard-0`, counter 7, of `alice`.
async fn with_lease() -> (Backend, Client) {
    let backend = Backend::start(Options::default()).await.unwrap();
    let client = Client::new(&local_config(&backend.dynamodb_url()));
    let create = client.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
    create.key_schema(key("leaseKey")).attribute_definitions(definition("leaseKey")).send().await.unwrap();
    let put = client.put_item().table_name(TABLE).item("leaseKey", text("shard-0"));
    put.item("leaseCounter", number(7)).item("leaseOwner", text("alice")).send().await.unwrap();
    (backend, client)
}

#[tokio::test]
async fn a_legacy_conditional_update_holds_only_for_the_expected_values() {
    let (_backend, client) = with_lease().await;
    let renew = |seen: u64| {
        let expected = ExpectedAttributeValue::builder().value(number(seen)).build();
        let value = AttributeValueUpdate::builder().value(number(seen + 1)).action(AttributeAction::Put).build();
        let update = client.update_item().table_name(TABLE).key("leaseKey", text("shard-0"));
        update.expected("leaseCounter", expected).attribute_updates("leaseCounter", value).send()
    };
    renew(7).await.unwrap();
    let refusal = renew(7).await.unwrap_err();
    assert!(refusal.as_service_error().unwrap().is_conditional_check_failed_exception());
    let read = client.get_item().table_name(TABLE).key("leaseKey", text("shard-0")).send().await.unwrap();
    assert_eq!(read.item().unwrap()["leaseCounter"], number(8));
}

#[tokio::test]
async fn a_refused_condition_returns_the_row_it_met() {
    let (_backend, client) = with_lease().await;
    let update = client.update_item().table_name(TABLE).key("leaseKey", text("shard-0"));
    let update = update.update_expression("SET leaseCounter = :next").condition_expression("leaseCounter = :seen");
    let update = update.expression_attribute_values(":next", number(4)).expression_attribute_values(":seen", number(3));
    let update = update.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let refusal = update.send().await.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(refusal) = refusal
    else {
        panic!("{refusal:?}");
    };
    assert_eq!(refusal.item().unwrap()["leaseOwner"], text("alice"));
}

#[tokio::test]
async fn an_index_added_later_finds_the_rows_that_were_there() {
    let (_backend, client) = with_lease().await;
    let action = CreateGlobalSecondaryIndexAction::builder()
        .index_name("byOwner")
        .key_schema(key("leaseOwner"))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .unwrap();
    let update = client.update_table().table_name(TABLE).attribute_definitions(definition("leaseOwner"));
    let update = update.global_secondary_index_updates(GlobalSecondaryIndexUpdate::builder().create(action).build());
    update.send().await.unwrap();
    let query = client.query().table_name(TABLE).index_name("byOwner").key_condition_expression("leaseOwner = :owner");
    let found = query.expression_attribute_values(":owner", text("alice")).send().await.unwrap();
    assert_eq!(found.items().iter().map(|item| &item["leaseKey"]).collect::<Vec<_>>(), [&text("shard-0")]);
}
