//! The statement that makes a project durable: quota, node, project, placement, secrets, sealed spec, operation, first
//! events, request key and audit row, all or nothing, in one round trip.
//!
//! Lock order everywhere: organization, node, its capacity, placements, project. The capacity's row counts its reservations, and its UPDATE also
//! takes the slot: a sibling CTE would see the statement's snapshot and collide. If something does not fit, the
//! function `placement_conflict` raises, and PostgreSQL undoes the whole statement.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgDatabaseError;

use crate::endpoints::ServiceEndpoint;
use crate::{
    capacity::AdoptedPlace,
    store::{certificates::Certificate, secrets::SealedSecrets},
    types::{OperationKind, OperationState},
};
use supalove_core::{
    Write,
    database::Db,
    error::{Error, Result},
    ids::{NodeId, OperationId, OrganizationId, ProjectRef, UserId},
    mutation::OneStatement,
    requests,
};
use supalove_fleet::clusters::Target;
use supalove_plans::ProjectSize;
use supalove_scheduler::Resources;

/// SQLSTATE of `placement_conflict`.
const CONFLICT: &str = "SL001";

/// A project to create.
pub struct NewProject<'a> {
    pub project: &'a ProjectRef,
    pub organization: OrganizationId,
    pub cluster: &'a Target,
    pub name: &'a str,
    pub release: &'a str,
    /// Resources that it reserves.
    pub needs: Resources,
    /// Its size, and what that gives its database.
    pub size: &'a ProjectSize,
    /// Operation that creates it.
    pub operation: OperationId,
    /// Caller who creates it.
    pub by: UserId,
    pub secrets: &'a SealedSecrets,
    /// Spec of generation 1.
    pub spec: &'a [u8],
    /// Ports that the release publishes.
    pub endpoints: &'a [ServiceEndpoint],
    /// Of its database, if the release has TLS.
    pub certificate: Option<&'a Certificate>,
}

/// Endpoints as columns, for `unnest`.
struct EndpointColumns {
    services: Vec<String>,
    schemes: Vec<String>,
    offsets: Vec<i32>,
    loopback: Vec<bool>,
}

impl EndpointColumns {
    fn new(endpoints: &[ServiceEndpoint]) -> Self {
        Self {
            services: endpoints.iter().map(|e| e.service.clone()).collect(),
            schemes: endpoints.iter().map(|e| e.scheme.to_owned()).collect(),
            offsets: endpoints.iter().map(|e| e.port_offset).collect(),
            loopback: endpoints.iter().map(|e| e.loopback).collect(),
        }
    }
}

/// The values that the statement chose.
#[derive(Debug)]
pub struct Written {
    pub at: DateTime<Utc>,
    /// Deadline of the operation; `None` while it waits for capacity.
    pub deadline: Option<DateTime<Utc>>,
    /// Place of the project; `None` while it is pending.
    pub place: Option<Place>,
    /// Why it is pending.
    pub pending_reason: String,
}

/// A place on a node.
#[derive(Debug)]
pub struct Place {
    pub node: NodeId,
    pub node_name: String,
    /// Address at which users reach published ports.
    pub host: String,
    /// First port of the slot.
    pub first_port: i32,
}

/// How a placing statement ended.
#[derive(Debug)]
pub enum Outcome<T> {
    Done(T),
    /// The node no longer has the capacity.
    NodeRefused,
    /// The organization has used up its quota of projects.
    QuotaExceeded,
    /// The organization's projects may not have the size.
    SizeRefused,
}

/// Places a project on `node`, or without a node stores it as pending with the reason.
pub async fn insert_project(
    one: &OneStatement<'_>,
    new: &NewProject<'_>,
    node: Option<NodeId>,
    pending_reason: &str,
    silent_after: Duration,
    deadline: Duration,
) -> Result<Outcome<Written>> {
    let columns = EndpointColumns::new(new.endpoints);
    let result = sqlx::query!(
        r#"
        WITH org AS (
            SELECT WHERE plan_take_project($1)
        ), sized AS (
            SELECT plan_take_size($1, $38) AS allowed FROM org
        ), node AS (
            SELECT r.* FROM node_reserve($2, $3, $4, $5, $6) AS r WHERE EXISTS (SELECT 1 FROM org)
        ), cluster AS (
            SELECT 1 FROM clusters WHERE id = $8 AND deleted_at IS NULL FOR KEY SHARE
        ), guard AS (
            SELECT CASE
                WHEN NOT EXISTS (SELECT 1 FROM org) THEN placement_conflict('quota')
                WHEN NOT EXISTS (SELECT 1 FROM cluster) THEN placement_conflict('cluster')
                WHEN NOT (SELECT allowed FROM sized) THEN placement_conflict('size')
                WHEN $2::uuid IS NOT NULL AND NOT EXISTS (SELECT 1 FROM node) THEN placement_conflict('node')
            END AS conflict
        ), project AS (
            INSERT INTO projects (ref, organization_id, cluster_id, name, release, state, state_reason, desired, generation,
                event_seq, cpu_millis, memory_mib, disk_mib, size, size_cpu_millis, size_memory_mib, size_disk_mib,
                size_connections)
            SELECT $7, $1, $8, $9, $10, 'COMING_UP', $11, 'RUNNING', 1, 2, $3, $4, $5, $38, $39, $40, $41, $42 FROM guard
        ), placement AS (
            INSERT INTO placements (project_ref, node_id, role, slot, port_base, subnet, host)
            SELECT $7, $2, 'ACTIVE', slot, first_port, subnet, host FROM node
        ), endpoints AS (
            INSERT INTO project_endpoints (project_ref, service, scheme, host, port, kind, loopback)
            SELECT $7, e.service, e.scheme, CASE WHEN e.loopback THEN '127.0.0.1' ELSE host END, first_port + e.port_offset,
                'node_port', e.loopback
            FROM node, unnest($12::text[], $13::text[], $14::int[], $15::bool[]) AS e (service, scheme, port_offset, loopback)
        ), secrets AS (
            INSERT INTO project_secrets (project_ref, name, version, sealed)
            SELECT $7, s.name, 1, s.sealed FROM unnest($16::text[], $17::bytea[]) AS s (name, sealed)
        ), certificate AS (
            INSERT INTO project_certificates (project_ref, serial, names, issued_at, ends_at, renew_at)
            SELECT $7, $31, $32, $33, $34, $35 WHERE $31::text IS NOT NULL
        ), spec AS (
            INSERT INTO project_specs (project_ref, generation, sealed) VALUES ($7, 1, $18)
        ), operation AS (
            INSERT INTO operations (id, project_ref, kind, state, generation, status_message, created_by, deadline)
            SELECT $19, $7, $20, CASE WHEN $2::uuid IS NULL THEN 'PENDING' ELSE 'RUNNING' END, 1,
                CASE WHEN $2::uuid IS NULL THEN $11 ELSE 'placed' END, $21,
                CASE WHEN $2::uuid IS NULL THEN NULL ELSE now() + make_interval(secs => $22) END
        ), events AS (
            INSERT INTO project_events (project_ref, seq, type, message, state, operation_id)
            SELECT $7, 1, 'project.created', 'project created', 'COMING_UP', $19
            UNION ALL
            SELECT $7, 2, 'project.placed', 'placed on ' || node.node_name, 'COMING_UP', $19 FROM node
            UNION ALL
            SELECT $7, 2, 'project.pending', $11, 'COMING_UP', $19 WHERE $2::uuid IS NULL
        ), request AS (
            INSERT INTO requests (user_id, method, request_id, body_sha256, resource, operation)
            SELECT $21, $23, $24, $25, $7, $19 WHERE $24::uuid IS NOT NULL
        ), audited AS (
            INSERT INTO audit_log (id, actor, method, target, outcome, client, trace_id, chain, credential)
            VALUES ($26, $27, $28, $7, 'OK', $29, $30, $36, $37)
        )
        SELECT conflict, now() AS "at!",
            CASE WHEN $2::uuid IS NULL THEN NULL ELSE now() + make_interval(secs => $22) END AS "deadline?",
            node_name AS "node_name?", host AS "host?", first_port AS "first_port?"
        FROM guard LEFT JOIN node ON true
        "#,
        new.organization.0,
        node.map(|n| n.0),
        new.needs.cpu_millis,
        new.needs.memory_mib,
        new.needs.disk_mib,
        silent_after.as_secs_f64(),
        new.project.as_str(),
        new.cluster.id.0,
        new.name,
        new.release,
        pending_reason,
        &columns.services,
        &columns.schemes,
        &columns.offsets,
        &columns.loopback,
        &new.secrets.names,
        &new.secrets.values,
        new.spec,
        new.operation.0,
        OperationKind::Create.as_sql(),
        new.by.0,
        deadline.as_secs_f64(),
        one.request.map(|r| r.method),
        one.request.map(|r| r.id),
        one.request.map(|r| r.body.as_slice()),
        one.entry.id,
        one.entry.actor,
        one.entry.method,
        one.entry.client,
        one.entry.trace_id,
        new.certificate.map(|one| one.serial.as_str()),
        new.certificate.map_or(&[][..], |one| one.names.as_slice()),
        new.certificate.map(|one| one.issued_at),
        new.certificate.map(|one| one.ends_at),
        new.certificate.map(|one| one.renew_at),
        one.entry.chain.id(),
        one.entry.shown.as_sql(),
        new.size.name,
        new.size.cpu_millis,
        new.size.memory_mib,
        new.size.disk_mib,
        new.size.connections,
    )
    .fetch_one(one.db)
    .await;
    let row = match result {
        Ok(row) => row,
        Err(error) => return refused(error, new.name),
    };
    let place = match (node, row.node_name, row.host, row.first_port) {
        (Some(node), Some(node_name), Some(host), Some(first_port)) => {
            Some(Place { node, node_name, host, first_port })
        }
        _ => None,
    };
    let pending_reason = pending_reason.to_owned();
    Ok(Outcome::Done(Written { at: row.at, deadline: row.deadline, place, pending_reason }))
}

/// A project that waits for capacity.
pub struct Waiting<'a> {
    pub project: &'a ProjectRef,
    pub operation: OperationId,
    /// Resources that it reserves.
    pub needs: Resources,
    /// Ports that its specification publishes.
    pub endpoints: &'a [ServiceEndpoint],
}

/// Places a pending project: writes node, placement and endpoints, and starts the operation's deadline.
pub async fn place_pending(
    db: &Db,
    waiting: &Waiting<'_>,
    node: NodeId,
    silent_after: Duration,
    deadline: Duration,
) -> Result<Outcome<()>> {
    let Waiting { project, operation, needs, endpoints } = waiting;
    let columns = EndpointColumns::new(endpoints);
    let result = sqlx::query!(
        r#"
        WITH waiting AS (
            SELECT 1 FROM operations WHERE id = $6 AND state = 'PENDING' AND NOT EXISTS (
                SELECT FROM node_leftovers k JOIN nodes n ON n.id = k.node_id JOIN projects p ON p.ref = k.project_ref
                WHERE k.project_ref = $9 AND k.generation > 0 AND k.delete_requested_at IS NULL
                    AND n.cluster_id = p.cluster_id AND n.revoked_at IS NULL)
        ), node AS (
            SELECT r.* FROM node_reserve($1, $2, $3, $4, $5) AS r WHERE EXISTS (SELECT 1 FROM waiting)
        ), project AS (
            UPDATE projects SET state_reason = '', revision = revision + 1, event_seq = event_seq + 1
            WHERE ref = $9 AND EXISTS (SELECT 1 FROM node)
            RETURNING event_seq
        ), operation AS (
            UPDATE operations SET state = $7, status_message = 'placed', deadline = now() + make_interval(secs => $8)
            WHERE id = $6 AND state = 'PENDING' AND EXISTS (SELECT 1 FROM project)
            RETURNING id
        ), guard AS (
            SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM operation) THEN placement_conflict('node') END AS conflict
        ), placement AS (
            INSERT INTO placements (project_ref, node_id, role, slot, port_base, subnet, host)
            SELECT $9, $1, 'ACTIVE', slot, first_port, subnet, host FROM node
        ), endpoints AS (
            INSERT INTO project_endpoints (project_ref, service, scheme, host, port, kind, loopback)
            SELECT $9, e.service, e.scheme, CASE WHEN e.loopback THEN '127.0.0.1' ELSE host END, first_port + e.port_offset,
                'node_port', e.loopback
            FROM node, unnest($10::text[], $11::text[], $12::int[], $13::bool[]) AS e (service, scheme, port_offset, loopback)
        ), event AS (
            INSERT INTO project_events (project_ref, seq, type, message, state, operation_id)
            SELECT $9, event_seq, 'project.placed', 'placed on ' || node.node_name, 'COMING_UP', $6 FROM node, project
        )
        SELECT conflict FROM guard
        "#,
        node.0,
        needs.cpu_millis,
        needs.memory_mib,
        needs.disk_mib,
        silent_after.as_secs_f64(),
        operation.0,
        OperationState::Running.as_sql(),
        deadline.as_secs_f64(),
        project.as_str(),
        &columns.services,
        &columns.schemes,
        &columns.offsets,
        &columns.loopback,
    )
    .fetch_one(db)
    .await;
    match result {
        Ok(_) => Ok(Outcome::Done(())),
        Err(error) => refused(error, project.as_str()),
    }
}

/// A project to place where its leftover is.
pub struct Adopted<'a> {
    pub project: &'a ProjectRef,
    pub node: NodeId,
    /// Its room there, which is taken.
    pub place: &'a AdoptedPlace,
    /// It holds cpu and memory.
    pub runs: bool,
    /// Generation that the agent has.
    pub applied: i64,
    /// Ports that its specification publishes.
    pub endpoints: &'a [ServiceEndpoint],
}

/// Writes placement and endpoints of an adopted project.
pub async fn insert_adopted(write: &mut impl Write, adopted: &Adopted<'_>) -> Result<()> {
    let Adopted { project, node, place, runs, applied, endpoints } = adopted;
    let columns = EndpointColumns::new(endpoints);
    sqlx::query!(
        "INSERT INTO placements (project_ref, node_id, role, slot, port_base, subnet, host, holds_compute, applied_generation)
         VALUES ($1, $2, 'ACTIVE', $3, $4, $5, $6, $7, $8)",
        project.as_str(),
        node.0,
        place.slot,
        place.first_port,
        place.subnet,
        place.host,
        *runs,
        *applied,
    )
    .execute(write.connection().await?)
    .await?;
    sqlx::query!(
        "INSERT INTO project_endpoints (project_ref, service, scheme, host, port, kind, loopback)
         SELECT $1, e.service, e.scheme, CASE WHEN e.loopback THEN '127.0.0.1' ELSE $2 END, $3 + e.port_offset, 'node_port', e.loopback
         FROM unnest($4::text[], $5::text[], $6::int[], $7::bool[]) AS e (service, scheme, port_offset, loopback)",
        project.as_str(),
        place.host,
        place.first_port,
        &columns.services,
        &columns.schemes,
        &columns.offsets,
        &columns.loopback,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Converts the error of a placing statement.
fn refused<T>(error: sqlx::Error, name: &str) -> Result<Outcome<T>> {
    let Some(database) = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>())
    else {
        return Err(error.into());
    };
    match (database.code(), database.message(), database.constraint()) {
        (CONFLICT, "quota", _) => Ok(Outcome::QuotaExceeded),
        (CONFLICT, "cluster", _) => Err(Error::Aborted("the cluster was deleted at the same time")),
        (CONFLICT, "size", _) => Ok(Outcome::SizeRefused),
        (CONFLICT, _, _) => Ok(Outcome::NodeRefused),
        (_, _, Some("projects_name")) => Err(Error::AlreadyExists { kind: "project", name: name.to_owned() }),
        _ => Err(requests::lost_race(error)),
    }
}
