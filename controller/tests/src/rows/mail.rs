//! The outbox of mails.

use super::Rows;

/// A mail of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct OutboxRow {
    /// WAITING and the like.
    pub state: String,
    /// How often it was claimed.
    pub attempts: i32,
    /// Why the last attempt failed.
    pub last_error: String,
    /// Whether its content is there.
    pub has_content: bool,
}

impl Rows {
    /// The mails to a recipient, in order.
    pub async fn mails_to(&self, recipient: &str) -> Vec<OutboxRow> {
        let query = "SELECT state, attempts, last_error, sealed IS NOT NULL AS has_content FROM mails
            WHERE recipient = $1 ORDER BY id";
        sqlx::query_as(query).bind(recipient).fetch_all(&self.0).await.unwrap()
    }

    /// How many mails are in this state.
    pub async fn mails_in(&self, state: &str) -> i64 {
        let query = "SELECT count(*) FROM mails WHERE state = $1";
        sqlx::query_scalar(query).bind(state).fetch_one(&self.0).await.unwrap()
    }

    /// Whether a text is in a row of the outbox, as text or as bytes.
    pub async fn outbox_holds(&self, text: &str) -> bool {
        let query = "SELECT count(*) > 0 FROM mails
            WHERE position(convert_to($1, 'UTF8') IN coalesce(sealed, '')) > 0 OR mails::text LIKE '%' || $1 || '%'";
        sqlx::query_scalar(query).bind(text).fetch_one(&self.0).await.unwrap()
    }

    /// Makes the mails that have ended older by so many days.
    pub async fn age_mails(&self, days: i32) {
        let update =
            "UPDATE mails SET ended_at = ended_at - make_interval(days => $1) WHERE ended_at IS NOT NULL";
        sqlx::query(update).bind(days).execute(&self.0).await.unwrap();
    }
}
