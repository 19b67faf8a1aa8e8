//! The rules that the rows of projects keep at every time.

use supalove_core::{consistency::RowCheck, row_check};

/// Rules that the rows of projects keep.
pub const ROW_CHECKS: &[RowCheck] = &[
    row_check!(
        "projects.quotas",
        r#"SELECT 'org_' || replace(o.id::text, '-', '') AS "object!", format('%s projects', n) AS "expected!",
               format('%s projects', o.projects_used) AS "found!"
           FROM organizations o,
               LATERAL (SELECT count(*) AS n FROM projects p WHERE p.organization_id = o.id AND p.state <> 'REMOVED') c
           WHERE o.projects_used <> n"#
    ),
    row_check!(
        "projects.clusters",
        r#"SELECT p.ref AS "object!", format('a shared cluster, or a private one of org_%s', replace(p.organization_id::text, '-', ''))
                   AS "expected!",
               format('the private cluster %s of %s', c.name, coalesce('org_' || replace(c.organization_id::text, '-', ''), 'nobody'))
                   AS "found!"
           FROM projects p JOIN clusters c ON c.id = p.cluster_id
           WHERE p.state <> 'REMOVED' AND c.kind = 'PRIVATE' AND c.organization_id IS DISTINCT FROM p.organization_id"#
    ),
    row_check!(
        "projects.node_reservations",
        r#"SELECT 'nod_' || replace(a.node_id::text, '-', '') AS "object!",
               format('cpu %s, memory %s, disk %s, slots %s', s.cpu, s.memory, s.disk, s.slots) AS "expected!",
               format('cpu %s, memory %s, disk %s, slots %s', a.cpu_used, a.memory_used, a.disk_used, a.taken_slots) AS "found!"
           FROM node_capacity a,
               LATERAL (SELECT coalesce(sum(p.cpu_millis) FILTER (WHERE l.holds_compute), 0) AS cpu,
                   coalesce(sum(p.memory_mib) FILTER (WHERE l.holds_compute), 0) AS memory,
                   coalesce(sum(p.disk_mib), 0) AS disk,
                   coalesce(range_agg(int4range(l.slot, l.slot + 1)), '{}') AS slots
                   FROM placements l JOIN projects p ON p.ref = l.project_ref WHERE l.node_id = a.node_id) s
           WHERE (a.cpu_used, a.memory_used, a.disk_used, a.taken_slots) IS DISTINCT FROM (s.cpu, s.memory, s.disk, s.slots)"#
    ),
    row_check!(
        "projects.slots",
        r#"SELECT l.project_ref AS "object!",
               coalesce(format('ports from %s and network %s for slot %s of %s', a.port_base + 8 * l.slot,
                   slot_network(a.network_range, l.slot), l.slot, a.slots), 'a node with slots') AS "expected!",
               format('ports from %s and network %s', l.port_base, l.subnet) AS "found!"
           FROM placements l LEFT JOIN node_capacity a ON a.node_id = l.node_id
           WHERE a.node_id IS NULL OR l.slot NOT BETWEEN 0 AND a.slots - 1
               OR (l.port_base, l.subnet) IS DISTINCT FROM (a.port_base + 8 * l.slot, slot_network(a.network_range, l.slot))"#
    ),
    row_check!(
        "projects.endpoints",
        r#"SELECT e.project_ref AS "object!",
               coalesce(format('ports %s to %s of its slot', l.port_base, l.port_base + 7), 'no endpoint without a placement')
                   AS "expected!",
               format('port %s of %s', e.port, e.service) AS "found!"
           FROM project_endpoints e LEFT JOIN placements l ON l.project_ref = e.project_ref AND l.role = 'ACTIVE'
           WHERE e.kind = 'node_port' AND (l.project_ref IS NULL OR e.port NOT BETWEEN l.port_base AND l.port_base + 7)"#
    ),
    row_check!(
        "projects.placements",
        r#"SELECT p.ref AS "object!", format('%s and so a placement', p.state) AS "expected!", 'none' AS "found!"
           FROM projects p
           WHERE NOT EXISTS (SELECT 1 FROM placements l WHERE l.project_ref = p.ref)
               AND (p.state IN ('ACTIVE_HEALTHY', 'RESTARTING', 'RESIZING', 'UPGRADING', 'UNKNOWN')
                   OR p.state = 'COMING_UP' AND NOT EXISTS (
                       SELECT 1 FROM operations o WHERE o.project_ref = p.ref AND o.state = 'PENDING'))"#
    ),
    row_check!(
        "projects.compute",
        r#"SELECT p.ref AS "object!",
               format('%s and so cpu and memory reserved: %s', p.state, p.state = 'ACTIVE_HEALTHY') AS "expected!",
               format('%s and cpu and memory reserved: %s', p.state, l.holds_compute) AS "found!"
           FROM projects p JOIN placements l ON l.project_ref = p.ref
           WHERE p.state IN ('ACTIVE_HEALTHY', 'INACTIVE') AND l.holds_compute <> (p.state = 'ACTIVE_HEALTHY')"#
    ),
    row_check!(
        "projects.removed",
        r#"SELECT p.ref AS "object!", 'nothing is left of it' AS "expected!",
               format('%s placements, %s secrets and settings, %s specifications, %s endpoints, %s open operations', l.n, s.n,
                   c.n, e.n, o.n) AS "found!"
           FROM projects p, LATERAL (SELECT count(*) AS n FROM placements WHERE project_ref = p.ref) l,
               LATERAL (SELECT (SELECT count(*) FROM project_secrets WHERE project_ref = p.ref)
                   + (SELECT count(*) FROM project_settings WHERE project_ref = p.ref)
                   + (SELECT count(*) FROM function_secrets WHERE project_ref = p.ref) AS n) s,
               LATERAL (SELECT count(*) AS n FROM project_specs WHERE project_ref = p.ref) c,
               LATERAL (SELECT count(*) AS n FROM project_endpoints WHERE project_ref = p.ref) e,
               LATERAL (SELECT count(*) AS n FROM operations WHERE project_ref = p.ref AND state IN ('PENDING', 'RUNNING')) o
           WHERE p.state = 'REMOVED' AND l.n + s.n + c.n + e.n + o.n > 0"#
    ),
    row_check!(
        "projects.contents",
        r#"SELECT p.ref AS "object!", format('secrets, and a specification for generation %s', p.generation) AS "expected!",
               format('%s secrets, specifications since generations %s', s.n, coalesce(c.generations, '{}')) AS "found!"
           FROM projects p, LATERAL (SELECT count(*) AS n FROM project_secrets WHERE project_ref = p.ref) s,
               LATERAL (SELECT array_agg(generation ORDER BY generation) AS generations FROM project_specs
                   WHERE project_ref = p.ref) c
           WHERE p.state <> 'REMOVED'
               AND (s.n = 0 OR c.generations IS NULL OR c.generations[1] > p.generation
                   OR c.generations[cardinality(c.generations)] > p.generation)"#
    ),
    row_check!(
        "projects.operations",
        r#"SELECT p.ref AS "object!",
               CASE WHEN o.id IS NULL THEN format('an open operation, since it is %s', p.state)
                   ELSE format('no open operation, since it is %s', p.state) END AS "expected!",
               coalesce(format('%s is %s', o.kind, o.state), 'none') AS "found!"
           FROM projects p LEFT JOIN operations o ON o.project_ref = p.ref AND o.state IN ('PENDING', 'RUNNING')
           WHERE o.id IS NULL AND p.state IN ('COMING_UP', 'PAUSING', 'RESTARTING', 'RESIZING', 'UPGRADING')
               OR o.id IS NOT NULL
                   AND p.state IN ('ACTIVE_HEALTHY', 'ACTIVE_UNHEALTHY', 'INACTIVE', 'INIT_FAILED', 'PAUSE_FAILED', 'UNKNOWN')"#
    ),
    row_check!(
        "projects.deadlines",
        r#"SELECT project_ref AS "object!", format('%s ends by its deadline', kind) AS "expected!",
               coalesce(format('it has run since the deadline at %s', deadline), 'it runs and has no deadline') AS "found!"
           FROM operations WHERE state = 'RUNNING' AND (deadline IS NULL OR deadline < now() - interval '2 minutes')"#
    ),
    row_check!(
        "projects.ended_operations",
        r#"SELECT project_ref AS "object!", 'an end for each operation that has ended, and for no other' AS "expected!",
               format('%s is %s and ended at %s', kind, state, coalesce(ended_at::text, 'no time')) AS "found!"
           FROM operations WHERE (ended_at IS NULL) <> (state IN ('PENDING', 'RUNNING'))"#
    ),
    row_check!(
        "projects.desired",
        r#"SELECT ref AS "object!", format('a desired state that fits %s', state) AS "expected!",
               format('%s, removed at %s', desired, coalesce(removed_at::text, 'no time')) AS "found!"
           FROM projects p
           WHERE state = 'ACTIVE_HEALTHY' AND desired <> 'RUNNING' OR state = 'INACTIVE' AND desired <> 'STOPPED'
               OR state = 'GOING_DOWN' AND desired = 'RUNNING' OR state = 'REMOVED' AND desired <> 'REMOVED'
               OR (state = 'REMOVED') <> (removed_at IS NOT NULL)"#
    ),
    row_check!(
        "projects.applied_generations",
        r#"SELECT p.ref AS "object!", format('generation %s at the agent', p.generation) AS "expected!",
               format('generation %s', l.applied_generation) AS "found!"
           FROM placements l JOIN projects p ON p.ref = l.project_ref
           WHERE l.applied_generation > p.generation
               OR l.applied_generation < p.generation AND (p.desired <> 'RUNNING' OR l.holds_compute)
                   AND NOT EXISTS (SELECT 1 FROM operations o WHERE o.project_ref = p.ref AND o.state IN ('PENDING', 'RUNNING'))
                   AND EXISTS (SELECT 1 FROM node_sessions s JOIN controllers c ON c.id = s.controller_id
                       WHERE s.node_id = l.node_id AND c.seen_at > now() - interval '20 seconds')"#
    ),
    row_check!(
        "projects.changes",
        r#"SELECT u.project_ref AS "object!", 'no change whose operation has ended' AS "expected!",
               format('%s, which is %s', o.kind, o.state) AS "found!"
           FROM project_upgrades u JOIN operations o ON o.id = u.operation_id WHERE o.state NOT IN ('PENDING', 'RUNNING')"#
    ),
    row_check!(
        "projects.change_reservations",
        r#"SELECT p.ref AS "object!",
               format('while it changes, what either content needs: cpu %s, memory %s, disk %s', greatest(u.cpu_before, u.cpu_after),
                   greatest(u.memory_before, u.memory_after), greatest(u.disk_before, u.disk_after)) AS "expected!",
               format('cpu %s, memory %s, disk %s', p.cpu_millis, p.memory_mib, p.disk_mib) AS "found!"
           FROM project_upgrades u JOIN projects p ON p.ref = u.project_ref
           WHERE (p.cpu_millis, p.memory_mib, p.disk_mib) IS DISTINCT FROM (greatest(u.cpu_before, u.cpu_after),
               greatest(u.memory_before, u.memory_after), greatest(u.disk_before, u.disk_after))"#
    ),
    row_check!(
        "projects.versions",
        r#"SELECT v.project_ref AS "object!",
               format('one version of %s, and none that deletes it, since no change is in progress', v.name) AS "expected!",
               format('%s versions', v.versions) AS "found!"
           FROM (SELECT project_ref, 'the settings' AS name, count(*) AS versions, false AS deletes
                   FROM project_settings GROUP BY 1
               UNION ALL SELECT project_ref, 'the secret ' || name, count(*), bool_or(sealed IS NULL)
                   FROM function_secrets GROUP BY project_ref, name
               UNION ALL SELECT project_ref, 'the platform''s secret ' || name, count(*), false
                   FROM project_secrets GROUP BY project_ref, name) v
           WHERE (v.versions > 1 OR v.deletes)
               AND NOT EXISTS (SELECT 1 FROM project_upgrades u WHERE u.project_ref = v.project_ref)"#
    ),
    row_check!(
        "projects.event_numbers",
        r#"SELECT p.ref AS "object!", format('newest event %s', p.event_seq) AS "expected!",
               format('newest event %s', coalesce(e.newest, 0)) AS "found!"
           FROM projects p, LATERAL (SELECT max(seq) AS newest FROM project_events WHERE project_ref = p.ref) e
           WHERE e.newest IS DISTINCT FROM p.event_seq"#
    ),
];
