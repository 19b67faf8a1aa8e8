//! The rule that the rows of plans keep at every time.

use supalove_core::{consistency::RowCheck, row_check};

/// Rules that the rows of plans keep.
pub const ROW_CHECKS: &[RowCheck] = &[row_check!(
    "plans.limits",
    r#"SELECT 'org_' || replace(o.id::text, '-', '') AS "object!",
           coalesce(format('a limit of %s projects', plan_limit(o.id, 'PROJECTS')), 'a plan') AS "expected!",
           format('a limit of %s projects', o.projects_limit) AS "found!"
       FROM organizations o
       WHERE o.deleted_at IS NULL AND o.projects_limit IS DISTINCT FROM plan_limit(o.id, 'PROJECTS')"#
)];
