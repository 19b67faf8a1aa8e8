//! Rights of the controller's role on a schema that another role owns.
//!
//! A statement that is not checked at compile time: GRANT takes no parameters.

use sqlx::{AssertSqlSafe, PgPool};

use crate::error::Result;

/// What the controller's role may do, as the schema's owner grants it. `%s` is the role. The audit log takes new rows from it, with
/// neither a place in the chain nor a time of its choice, signed heads, checkpoints, digests and notes of breaks, and decisions on the
/// retention at the time of the database; the functions of 0022 and 0030 do the rest.
const GRANTS: &str = "
    GRANT USAGE ON SCHEMA public TO %s;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO %s;
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO %s;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO %s;
    REVOKE ALL ON public.audit_log, public.audit_chains, public.audit_checkpoints, public._sqlx_migrations FROM %s;
    GRANT SELECT ON public.audit_log, public.audit_chains, public.audit_checkpoints, public._sqlx_migrations TO %s;
    GRANT INSERT (id, actor, method, target, outcome, client, trace_id, chain, credential) ON public.audit_log TO %s;
    GRANT INSERT, UPDATE ON public.audit_chains TO %s;
    GRANT INSERT ON public.audit_checkpoints TO %s;
    REVOKE ALL ON public.audit_digests, public.audit_retentions, public.audit_repairs FROM %s;
    GRANT SELECT ON public.audit_digests, public.audit_retentions, public.audit_repairs TO %s;
    GRANT INSERT (digest, part, parts, content, signature) ON public.audit_digests TO %s;
    GRANT INSERT (id, chain, kept_seconds, plan) ON public.audit_retentions TO %s;
    GRANT INSERT ON public.audit_repairs TO %s;
";

/// Lets the controller's role use each table that a migration makes, from then on.
const NEW_TABLES: &str =
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %s";
/// Takes that back; [`grant`] decides on each table.
const NO_NEW_TABLES: &str = "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM %s";

/// Grants new tables while migrations run. In: the role's name as an SQL identifier, quoted by the server.
pub(super) async fn grant_new_tables(pool: &PgPool, quoted_role: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(NEW_TABLES.replace("%s", quoted_role))).execute(pool).await?;
    Ok(())
}

/// The opposite.
pub(super) async fn revoke_new_tables(pool: &PgPool, quoted_role: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(NO_NEW_TABLES.replace("%s", quoted_role))).execute(pool).await?;
    Ok(())
}

/// Grants them. In: the role's name as an SQL identifier, quoted by the server.
pub(super) async fn grant(pool: &PgPool, quoted_role: &str) -> Result<()> {
    let mut transaction = pool.begin().await?;
    let grants = AssertSqlSafe(GRANTS.replace("%s", quoted_role));
    sqlx::raw_sql(grants).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}
