//! Events of organizations.

use super::Rows;

impl Rows {
    /// Appends two events to an organization's stream in two transactions, of which the second commits first, with a numbering
    /// after each commit. Returns the kinds of the numbered events in their order, after either commit.
    pub async fn append_events_out_of_order(&self, slug: &str) -> [Vec<String>; 2] {
        let id = self.organization_id(slug).await;
        let append = "INSERT INTO organization_events (organization_id, type) VALUES ($1, $2)";
        let number = "SELECT organization_number_events($1)";
        let numbered =
            "SELECT type FROM organization_events WHERE organization_id = $1 AND type LIKE 'operation.%'
            AND seq IS NOT NULL ORDER BY seq";
        let mut first = self.0.begin().await.unwrap();
        sqlx::query(append).bind(id).bind("operation.started").execute(&mut *first).await.unwrap();
        sqlx::query(append).bind(id).bind("operation.failed").execute(&self.0).await.unwrap();
        sqlx::query(number).bind(id).execute(&self.0).await.unwrap();
        let before = sqlx::query_scalar(numbered).bind(id).fetch_all(&self.0).await.unwrap();
        first.commit().await.unwrap();
        sqlx::query(number).bind(id).execute(&self.0).await.unwrap();
        [before, sqlx::query_scalar(numbered).bind(id).fetch_all(&self.0).await.unwrap()]
    }

    /// Deletes an organization's events up to a number, as if they were too old.
    pub async fn forget_organization_events(&self, slug: &str, up_to: i64) {
        let delete = "DELETE FROM organization_events e USING organizations o
            WHERE o.id = e.organization_id AND o.slug = $1 AND e.seq <= $2";
        sqlx::query(delete).bind(slug).bind(up_to).execute(&self.0).await.unwrap();
    }

    /// Kinds of the events about the sizes of a project, oldest first.
    pub async fn size_events(&self, project_ref: &str) -> Vec<String> {
        let query = "SELECT type FROM organization_events WHERE project_ref = $1 AND type LIKE 'project.size_%' ORDER BY id";
        sqlx::query_scalar(query).bind(project_ref).fetch_all(&self.0).await.unwrap()
    }
}
