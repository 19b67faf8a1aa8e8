//! Each table, column and function of the control database says what it is.

use supalove_system_tests::Database;

#[tokio::test]
async fn each_table_column_and_function_has_a_comment() {
    let rows = Database::create().await.rows().await;
    rows.migrate().await;
    let missing = rows.without_comment().await;
    assert!(missing.is_empty(), "COMMENT ON is missing for {missing:?}");
}
