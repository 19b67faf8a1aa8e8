//! The command line, and the amounts of measurements.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

/// Measures Supalove's programs and prints one Markdown table.
#[derive(Debug, Parser)]
pub struct Arguments {
    /// supalove-controller.
    #[arg(long)]
    pub controller: PathBuf,
    /// supalove-agent.
    #[arg(long)]
    pub agent: PathBuf,
    /// docker-compose.
    #[arg(long, default_value = "docker-compose")]
    pub compose: PathBuf,
    /// Superuser's URL of the PostgreSQL server; databases of our own are made and dropped there.
    #[arg(long, env = "SUPALOVE_BENCH_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Folder for state, keys and logs. Process ids are left there as *.pid.
    #[arg(long)]
    pub dir: PathBuf,
    /// What the programs were built from, to be printed.
    #[arg(long, default_value = "unknown")]
    pub commit: String,
    /// On which disk server and folder lie, to be printed.
    #[arg(long, default_value = "not given")]
    pub disk: String,
    /// Seconds per item instead of a minute: to try the bench, not for numbers.
    #[arg(long)]
    pub quick: bool,
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Item::ALL)]
    pub items: Vec<Item>,
}

/// An item of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Item {
    /// The scheduler's decisions alone.
    Scheduling,
    /// The placing path without gRPC.
    Placing,
    /// CreateProject through the real controller.
    Requests,
    /// Lists and capacity of a large fleet.
    Fleet,
    /// A stack up and down, against docker-compose.
    Stack,
    /// Resident memory of the programs at rest.
    Memory,
    /// A call over the swapped session.
    Session,
    /// An image, pushed to the controller and fetched by an agent.
    Images,
    /// Sizes of tables and memory after many acts.
    Growth,
    /// Load from anyone on both ports.
    Load,
    /// Sign-ins of many, and a signed-in user beside them.
    SignIns,
    /// A tenant's query while its neighbour on the host takes all that it can get.
    Tenants,
    /// Charts over 90 days of 500 projects, and the cost of sampling containers.
    Usage,
}

impl Item {
    const ALL: [Self; 13] = [
        Self::Scheduling,
        Self::Placing,
        Self::Requests,
        Self::Fleet,
        Self::Stack,
        Self::Memory,
        Self::Session,
        Self::Images,
        Self::Growth,
        Self::Load,
        Self::SignIns,
        Self::Tenants,
        Self::Usage,
    ];
}

/// Amounts of measurements.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// CreateProject at a constant rate.
    pub constant_rate: Duration,
    /// Each of the runs that go as fast as they can.
    pub full_speed: Duration,
    /// Decisions per fleet size.
    pub decisions: Duration,
    /// Rounds of the stack, after one that is not counted.
    pub rounds: usize,
    /// Idle time before reading memory.
    pub rest: Duration,
    /// Calls over the session.
    pub calls: usize,
    /// Bytes of an image.
    pub image: usize,
    /// Acts on projects before their rows are counted.
    pub acts: usize,
    /// Each attack of a tenant on its host, and the rest before.
    pub attack: Duration,
}

impl Arguments {
    /// Amounts of measurements.
    pub fn effort(&self) -> Effort {
        let s = Duration::from_secs;
        if self.quick {
            Effort {
                constant_rate: s(3),
                full_speed: s(2),
                decisions: s(1),
                rounds: 1,
                rest: s(3),
                calls: 1000,
                image: 32 << 20,
                acts: 800,
                attack: s(3),
            }
        } else {
            Effort {
                constant_rate: s(60),
                full_speed: s(15),
                decisions: s(5),
                rounds: 5,
                rest: s(30),
                calls: 20_000,
                image: 512 << 20,
                acts: 100_000,
                attack: s(30),
            }
        }
    }
}
