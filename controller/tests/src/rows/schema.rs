//! The schema.

use super::Rows;

impl Rows {
    /// Brings it up to date, as a controller does at its start.
    pub async fn migrate(&self) {
        supalove_core::database::migrate(&self.0).await.unwrap();
    }

    async fn texts(&self, query: &'static str) -> Vec<(String, String)> {
        sqlx::query_as(query).fetch_all(&self.0).await.unwrap()
    }

    /// Its tables, by name.
    pub async fn tables(&self) -> Vec<String> {
        let query = "SELECT tablename::text FROM pg_tables
            WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations' ORDER BY 1";
        sqlx::query_scalar(query).fetch_all(&self.0).await.unwrap()
    }

    /// Tables, columns and functions without a comment.
    pub async fn without_comment(&self) -> Vec<String> {
        let query = "SELECT c.relname::text FROM pg_class c
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> '_sqlx_migrations'
                AND obj_description(c.oid, 'pg_class') IS NULL
            UNION ALL
            SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> '_sqlx_migrations'
                AND a.attnum > 0 AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL
            UNION ALL
            SELECT p.proname || '()' FROM pg_proc p
            WHERE p.pronamespace = 'public'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL";
        sqlx::query_scalar(query).fetch_all(&self.0).await.unwrap()
    }

    /// Its columns of bytes, "table.column", also of lists of them.
    pub async fn columns_of_bytes(&self) -> Vec<String> {
        let query = "SELECT format('%s.%s', table_name, column_name) FROM information_schema.columns
            WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations' AND udt_name IN ('bytea', '_bytea') ORDER BY 1";
        sqlx::query_scalar(query).fetch_all(&self.0).await.unwrap()
    }

    /// How many values a column of bytes has that are not empty.
    pub async fn count_of_bytes(&self, table: &str, column: &str) -> i64 {
        let query = format!("SELECT count(*) FROM {table} WHERE octet_length({column}) > 0");
        sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&self.0).await.unwrap()
    }

    /// Its functions: name and definition. One of several with a name has the definitions of all.
    pub async fn functions(&self) -> Vec<(String, String)> {
        self.texts(
            "SELECT proname::text, string_agg(pg_get_functiondef(oid), E'\n') FROM pg_proc
             WHERE pronamespace = 'public'::regnamespace GROUP BY 1",
        )
        .await
    }

    /// Its triggers: table, function, and whether only new rows fire it (bits 3 and 4 of tgtype: deleted, updated ones).
    pub async fn triggers(&self) -> Vec<(String, String, bool)> {
        let query = "SELECT c.relname::text, p.proname::text, t.tgtype & 24 = 0
            FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
            WHERE NOT t.tgisinternal";
        sqlx::query_as(query).fetch_all(&self.0).await.unwrap()
    }

    /// Tables with rows that go, or change, when a row of another table is deleted: the other table and this one.
    pub async fn cascades(&self) -> Vec<(String, String)> {
        self.texts(
            "SELECT confrelid::regclass::text, conrelid::regclass::text FROM pg_constraint
             WHERE contype = 'f' AND confdeltype IN ('c', 'n', 'd')",
        )
        .await
    }

    /// Tables in which a row holds this text, as it is or in hex.
    pub async fn texts_like(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for table in self.tables().await {
            let query = format!(
                "SELECT count(*) FROM {table} t WHERE strpos(t::text, $1) > 0 OR strpos(t::text, $2) > 0"
            );
            let query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(query));
            let rows = query.bind(text).bind(hex::encode(text)).fetch_one(&self.0).await.unwrap();
            if rows > 0 {
                found.push(table);
            }
        }
        found
    }
}
