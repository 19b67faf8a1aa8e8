//! Images that the controller keeps.

use super::Rows;

impl Rows {
    /// Nobody has pushed or fetched content for two hours, and no upload has gone on for two days.
    pub async fn age_images(&self) {
        for statement in [
            "UPDATE image_contents SET needed_at = needed_at - interval '2 hours'",
            "UPDATE image_uploads SET updated_at = updated_at - interval '2 days'",
        ] {
            sqlx::query(statement).execute(&self.0).await.unwrap();
        }
    }

    /// As in the database of another installation: no row names an image.
    pub async fn forget_images(&self) {
        let statement = "TRUNCATE images, image_needs, image_contents, image_uploads";
        sqlx::query(statement).execute(&self.0).await.unwrap();
    }

    /// Objects of the image store that a row names.
    pub async fn image_objects(&self) -> Vec<String> {
        let query =
            "SELECT unnest(parts) FROM image_contents UNION ALL SELECT unnest(parts) FROM image_uploads";
        sqlx::query_scalar(query).fetch_all(&self.0).await.unwrap()
    }
}
