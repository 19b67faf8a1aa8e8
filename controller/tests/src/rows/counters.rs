//! Random acts on the counters of nodes, by the rooms' own statements: those of their `.sqlx`, so a changed statement is the one that is
//! tested. In: dice. Out: rows whose counters a test compares with the sums of what stands on the nodes.

use std::fs;

use rand::{RngExt as _, rngs::SmallRng};
use sqlx::{
    AssertSqlSafe, PgConnection, Postgres, Transaction, postgres::types::PgRange, types::ipnetwork::IpNetwork,
};
use supalove_controller::row_checks;
use uuid::Uuid;

use super::Rows;
use crate::root;

/// Amounts that a project may need: cpu, memory, disk.
const SIZES: [(i32, i32, i64); 4] =
    [(100, 256, 1024), (250, 448, 1280), (500, 1024, 4096), (2000, 4096, 20_000)];
/// Silence after which a node counts as not connected, in seconds.
const SILENT: f64 = 20.0;
/// Rules about counters and what they count.
const RULES: [&str; 3] = ["projects.node_reservations", "projects.slots", "projects.endpoints"];

/// How an act ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is committed.
    Done,
    /// There was nothing to do, or no room.
    Refused,
    /// Another act on the same rows was first; nothing is written.
    Lost,
}

/// A project as an act sees it before it writes, without a lock.
struct Seen {
    revision: i64,
    needs: (i32, i32, i64),
    /// Node, slot, and whether it holds cpu and memory.
    stands: Option<(Uuid, i32, bool)>,
    /// Operation that waits for room.
    waits: Option<Uuid>,
}

type SeenRow = (i64, i32, i32, i64, Option<Uuid>, Option<i32>, Option<bool>, Option<Uuid>);

/// The statements of the rooms that move counters.
#[derive(Debug, Clone)]
pub struct Statements(Vec<String>);

impl Statements {
    /// Reads all of the rooms that have nodes and placements.
    pub fn read() -> Self {
        let mut all = Vec::new();
        for room in ["fleet", "projects"] {
            for file in fs::read_dir(root().join("controller").join(room).join(".sqlx")).unwrap() {
                let query = fs::read(file.unwrap().path()).unwrap();
                let query: serde_json::Value = serde_json::from_slice(&query).unwrap();
                all.push(query["query"].as_str().unwrap().to_owned());
            }
        }
        Self(all)
    }

    /// The only one with all of these words.
    fn with(&self, words: &[&str]) -> AssertSqlSafe<String> {
        let fits = |text: &&String| words.iter().all(|word| text.contains(word));
        let found: Vec<&String> = self.0.iter().filter(fits).collect();
        assert_eq!(found.len(), 1, "statements with {words:?}: {found:#?}");
        AssertSqlSafe(found[0].clone())
    }
}

impl Rows {
    /// The cluster of every installation, and an organization, as the platform's own start and its first user make them.
    pub async fn add_cluster_and_organization(&self) {
        for insert in [
            "INSERT INTO clusters (id, name, kind) VALUES ($1, 'default', 'SHARED')",
            "INSERT INTO organizations (id, slug, name) VALUES ($1, 'acme', 'acme')",
        ] {
            sqlx::query(insert).bind(Uuid::now_v7()).execute(&self.0).await.unwrap();
        }
    }

    /// How much of anything is reserved on all nodes.
    pub async fn reserved(&self) -> i64 {
        self.one(
            "SELECT sum(cpu_used + memory_used + disk_used)::bigint + count(*) FILTER (WHERE taken_slots <> '{}') FROM node_capacity",
        )
        .await
    }

    /// Projects that wait for room, of the only organization; their refs are numbered from `first` on.
    pub async fn add_waiting(&self, first: usize, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        for number in first..first + count {
            let digits = format!("{number:020}");
            let project: String = digits.bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
            let insert = "WITH project AS (
                     INSERT INTO projects (ref, organization_id, cluster_id, name, release, state, desired, generation, event_seq,
                         cpu_millis, memory_mib, disk_mib)
                     SELECT $1, o.id, c.id, $1, 'core', 'COMING_UP', 'RUNNING', 1, 0, $3, $4, $5
                     FROM organizations o, clusters c WHERE c.name = 'default'
                     RETURNING ref)
                 INSERT INTO operations (id, project_ref, kind, state, generation) SELECT $2, ref, 'CREATE_PROJECT', 'PENDING', 1 FROM project";
            let (cpu, memory, disk) = SIZES[number % SIZES.len()];
            let insert = sqlx::query(insert).bind(&project).bind(Uuid::now_v7());
            insert.bind(cpu).bind(memory).bind(disk).execute(&self.0).await.unwrap();
            all.push(project);
        }
        all
    }

    /// One random act on one of these projects or nodes.
    pub async fn random_act(
        &self,
        statements: &Statements,
        dice: &mut SmallRng,
        projects: &[String],
        nodes: &[Uuid],
    ) -> Outcome {
        let project = projects[dice.random_range(0..projects.len())].clone();
        let node = nodes[dice.random_range(0..nodes.len())];
        let mut transaction = self.0.begin().await.unwrap();
        let act = Act { statements, transaction: &mut transaction, project };
        let done = match dice.random_range(0..100) {
            0..30 => act.place(node).await,
            30..42 => act.stop().await,
            42..56 => act.start().await,
            56..70 => act.resize(SIZES[dice.random_range(0..SIZES.len())]).await,
            70..82 => act.remove().await,
            82..88 => act.lose_and_adopt().await,
            88..92 => act.block(node, dice).await,
            other => act.change_node(node, other).await,
        };
        let outcome = match done {
            Ok(outcome) => outcome,
            Err(error) => {
                let database = error.as_database_error().unwrap_or_else(|| panic!("{error}"));
                let code = database.code().unwrap_or_default().into_owned();
                match code.as_str() {
                    // `placement_conflict`: no room, or another one has placed it.
                    "SL001" => Outcome::Refused,
                    // Two acts on one project met, and one of them was given up; or both have placed it.
                    // Or what one gives back, by what it has seen, is no longer reserved.
                    "40P01" | "23505" | "23514" => Outcome::Lost,
                    _ => panic!("{error}"),
                }
            }
        };
        if outcome == Outcome::Done {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
        outcome
    }

    /// Gives a node up with all that stands on it: revokes it, and releases each project. Returns how many.
    pub async fn forget_with_all(&self, statements: &Statements, node: Uuid) -> usize {
        let mut transaction = self.0.begin().await.unwrap();
        for words in [
            &["AS \"revoked!\" FROM nodes WHERE id = $1 FOR UPDATE"][..],
            &["SET revoked_at = now(), schedulable = false"],
            &["SET forgotten_at = coalesce(forgotten_at, now())"],
        ] {
            sqlx::query(statements.with(words)).bind(node).execute(&mut *transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
        let mut released = 0;
        let standing = "SELECT project_ref FROM placements WHERE node_id = $1";
        let standing: Vec<String> = sqlx::query_scalar(standing).bind(node).fetch_all(&self.0).await.unwrap();
        for project in standing {
            let mut transaction = self.0.begin().await.unwrap();
            let act = Act { statements, transaction: &mut transaction, project };
            assert_eq!(act.remove().await.unwrap(), Outcome::Done);
            transaction.commit().await.unwrap();
            released += 1;
        }
        released
    }

    /// Where counters are not the sums of what they count, in words. True at any time: each act is one transaction.
    pub async fn miscounts(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for check in row_checks().into_iter().filter(|check| RULES.contains(&check.name)) {
            let rows = sqlx::query_as::<_, (String, String, String)>(check.query);
            for (object, expected, found) in rows.fetch_all(&self.0).await.unwrap() {
                wrong.push(format!("{} {object}: expected {expected}; found {found}", check.name));
            }
        }
        let full = self.overcommitted_nodes().await;
        if full > 0 {
            wrong.push(format!("{full} nodes reserve more than they have"));
        }
        wrong
    }
}

struct Act<'a, 'c> {
    statements: &'a Statements,
    transaction: &'a mut Transaction<'c, Postgres>,
    project: String,
}

type Done = Result<Outcome, sqlx::Error>;

impl Act<'_, '_> {
    fn connection(&mut self) -> &mut PgConnection {
        self.transaction
    }

    async fn seen(&mut self) -> Result<Option<Seen>, sqlx::Error> {
        let query =
            "SELECT p.revision, p.cpu_millis, p.memory_mib, p.disk_mib, l.node_id, l.slot, l.holds_compute, o.id
             FROM projects p LEFT JOIN placements l ON l.project_ref = p.ref
             LEFT JOIN operations o ON o.project_ref = p.ref AND o.state = 'PENDING' WHERE p.ref = $1 AND p.removed_at IS NULL";
        let project = self.project.clone();
        let row: Option<SeenRow> =
            sqlx::query_as(query).bind(project).fetch_optional(self.connection()).await?;
        Ok(row.map(|(revision, cpu, memory, disk, node, slot, holds, waits)| {
            let stands = node.zip(slot).zip(holds).map(|((node, slot), holds)| (node, slot, holds));
            Seen { revision, needs: (cpu, memory, disk), stands, waits }
        }))
    }

    /// As each decision ends: only if the project is still as it was seen.
    async fn guarded(&mut self, seen: &Seen, needs: (i32, i32, i64)) -> Done {
        let update =
            "UPDATE projects SET revision = revision + 1, cpu_millis = $3, memory_mib = $4, disk_mib = $5
             WHERE ref = $1 AND revision = $2";
        let update = sqlx::query(update).bind(self.project.clone()).bind(seen.revision);
        let update = update.bind(needs.0).bind(needs.1).bind(needs.2);
        let done = update.execute(self.connection()).await?;
        Ok(if done.rows_affected() == 1 { Outcome::Done } else { Outcome::Lost })
    }

    /// The placer's statement.
    async fn place(mut self, node: Uuid) -> Done {
        let Some(Seen { needs, waits: Some(operation), .. }) = self.seen().await? else {
            return Ok(Outcome::Refused);
        };
        let place = sqlx::query(self.statements.with(&["WITH waiting AS"]));
        let place = place.bind(node).bind(needs.0).bind(needs.1).bind(needs.2).bind(SILENT);
        let place = place.bind(operation).bind("RUNNING").bind(60.0_f64).bind(self.project.clone());
        let [services, schemes] =
            [["gateway", "postgres"], ["http", "postgresql"]].map(|two| two.map(str::to_owned).to_vec());
        let place = place.bind(services).bind(schemes).bind(vec![0, 1]).bind(vec![false, true]);
        place.execute(self.connection()).await?;
        Ok(Outcome::Done)
    }

    /// What a report that it is stopped writes.
    async fn stop(mut self) -> Done {
        let Some(seen) = self.seen().await? else { return Ok(Outcome::Refused) };
        let Some((node, _, true)) = seen.stands else { return Ok(Outcome::Refused) };
        let free = sqlx::query(self.statements.with(&["SET holds_compute = false WHERE project_ref"]));
        let freed = free.bind(self.project.clone()).bind(node).execute(self.connection()).await?;
        if freed.rows_affected() == 1 {
            let release = sqlx::query(self.statements.with(&["node_release($1, $2, $3, 0, NULL)"]));
            let release = release.bind(node).bind(seen.needs.0).bind(seen.needs.1);
            release.execute(self.connection()).await?;
        }
        self.guarded(&seen, seen.needs).await
    }

    /// A stopped project starts.
    async fn start(mut self) -> Done {
        let Some(seen) = self.seen().await? else { return Ok(Outcome::Refused) };
        let Some((node, _, false)) = seen.stands else { return Ok(Outcome::Refused) };
        let reserve = self.statements.with(&["node_reserve_compute($1, $2, $3, $4) AS"]);
        let reserve = sqlx::query_scalar::<_, bool>(reserve).bind(node).bind(seen.needs.0);
        let reserve = reserve.bind(seen.needs.1).bind(SILENT);
        if !reserve.fetch_one(self.connection()).await? {
            return Ok(Outcome::Refused);
        }
        let take = sqlx::query(self.statements.with(&["SET holds_compute = true WHERE project_ref"]));
        let taken = take.bind(self.project.clone()).bind(node).execute(self.connection()).await?;
        if taken.rows_affected() != 1 {
            return Ok(Outcome::Lost);
        }
        self.guarded(&seen, seen.needs).await
    }

    /// A larger size takes what it needs more, a smaller one gives back, both at once as the case may be.
    async fn resize(mut self, to: (i32, i32, i64)) -> Done {
        let Some(seen) = self.seen().await? else { return Ok(Outcome::Refused) };
        let Some((node, _, holds)) = seen.stands else { return Ok(Outcome::Refused) };
        let held = i32::from(holds);
        let more = (held * (to.0 - seen.needs.0), held * (to.1 - seen.needs.1), to.2 - seen.needs.2);
        let grows = to.1 >= seen.needs.1;
        if grows {
            let grow = sqlx::query_scalar::<_, bool>(self.statements.with(&["SELECT node_grow($1"]));
            let grow = grow.bind(node).bind(more.0).bind(more.1).bind(more.2);
            if !grow.fetch_one(self.connection()).await? {
                return Ok(Outcome::Refused);
            }
        }
        let outcome = self.guarded(&seen, to).await?;
        if outcome == Outcome::Done && !grows {
            let shrink = sqlx::query(self.statements.with(&["node_release($1, $2, $3, $4, NULL)"]));
            let shrink = shrink.bind(node).bind(-more.0).bind(-more.1).bind(-more.2);
            shrink.execute(self.connection()).await?;
        }
        Ok(outcome)
    }

    /// The project leaves its node; then it waits again, so that it may come elsewhere.
    async fn remove(mut self) -> Done {
        let Some(seen) = self.seen().await? else { return Ok(Outcome::Refused) };
        if seen.stands.is_none() {
            return Ok(Outcome::Refused);
        }
        self.release(&seen).await?;
        self.guarded(&seen, seen.needs).await
    }

    async fn release(&mut self, seen: &Seen) -> Result<(), sqlx::Error> {
        let Some((node, slot, holds)) = seen.stands else { return Ok(()) };
        let (cpu, memory) = if holds { (seen.needs.0, seen.needs.1) } else { (0, 0) };
        let release = sqlx::query(self.statements.with(&["node_release($1, $2, $3, $4, $5)"]));
        let release = release.bind(node).bind(cpu).bind(memory).bind(seen.needs.2).bind(slot);
        release.execute(self.connection()).await?;
        for words in [
            "DELETE FROM placements WHERE project_ref = $1",
            "DELETE FROM project_endpoints WHERE project_ref = $1",
        ] {
            let delete = sqlx::query(self.statements.with(&[words]));
            delete.bind(self.project.clone()).execute(self.connection()).await?;
        }
        let again = "UPDATE operations SET state = 'PENDING' WHERE project_ref = $1";
        sqlx::query(again).bind(self.project.clone()).execute(self.connection()).await?;
        Ok(())
    }

    /// Its placement is lost, and the leftover is adopted in its slot.
    async fn lose_and_adopt(mut self) -> Done {
        let Some(seen) = self.seen().await? else { return Ok(Outcome::Refused) };
        let Some((node, slot, holds)) = seen.stands else { return Ok(Outcome::Refused) };
        self.release(&seen).await?;
        let (cpu, memory) = if holds { (seen.needs.0, seen.needs.1) } else { (0, 0) };
        let adopt = self.statements.with(&["FROM node_adopt("]);
        let adopt = sqlx::query_as::<_, (String, String, i32, i32, IpNetwork)>(adopt);
        let adopt = adopt.bind(node).bind(self.project.clone()).bind(cpu).bind(memory).bind(seen.needs.2);
        let place = adopt.bind(slot).bind(SILENT).fetch_optional(self.connection()).await?;
        let Some((_, host, slot, first_port, subnet)) = place else { return Ok(Outcome::Refused) };
        let insert = self.statements.with(&["INSERT INTO placements", "holds_compute, applied_generation"]);
        let insert = sqlx::query(insert).bind(self.project.clone()).bind(node).bind(slot).bind(first_port);
        insert.bind(subnet).bind(host).bind(holds).bind(1_i64).execute(self.connection()).await?;
        let begun = "UPDATE operations SET state = 'RUNNING' WHERE project_ref = $1";
        sqlx::query(begun).bind(self.project.clone()).execute(self.connection()).await?;
        self.guarded(&seen, seen.needs).await
    }

    /// Other programs hold some slots of a host.
    async fn block(mut self, node: Uuid, dice: &mut SmallRng) -> Done {
        let from = dice.random_range(0..12);
        let ranges = vec![PgRange::from(from..from + dice.random_range(1..4))];
        let block =
            self.statements.with(&["SET blocked_slots = range_agg_or_empty($2)", "blocked_reasons <> $3"]);
        let block = sqlx::query(block).bind(node).bind(ranges).bind(vec![format!("slot {from}: taken")]);
        block.execute(self.connection()).await?;
        Ok(Outcome::Done)
    }

    /// Cordons or drains a node, or lets it take projects again.
    async fn change_node(mut self, node: Uuid, which: u32) -> Done {
        let lock =
            sqlx::query(self.statements.with(&["AS \"revoked!\" FROM nodes WHERE id = $1 FOR UPDATE"]));
        lock.bind(node).execute(self.connection()).await?;
        match which {
            92 | 93 => {
                let drain = self.statements.with(&["draining_since = coalesce(draining_since, now())"]);
                sqlx::query(drain).bind(node).execute(self.connection()).await?;
            }
            _ => {
                let set = self.statements.with(&["SET schedulable = $2, draining_since = NULL"]);
                sqlx::query(set).bind(node).bind(which > 94).execute(self.connection()).await?;
            }
        }
        Ok(Outcome::Done)
    }
}
