//! The rule that the rows of organizations' streams keep at every time.

use supalove_core::{consistency::RowCheck, row_check};

/// Rules that the rows of organizations keep.
pub const ROW_CHECKS: &[RowCheck] = &[row_check!(
    "organizations.event_numbers",
    r#"SELECT 'org_' || replace(e.organization_id::text, '-', '') AS "object!",
           format('events up to number %s', coalesce(max(s.event_seq), 0)) AS "expected!",
           format('number %s', max(e.seq)) AS "found!"
       FROM organization_events e LEFT JOIN organization_streams s ON s.organization_id = e.organization_id
       JOIN organizations o ON o.id = e.organization_id
       GROUP BY e.organization_id HAVING max(e.seq) > coalesce(max(s.event_seq), 0)"#
)];
