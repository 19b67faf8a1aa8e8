//! supalove-bench: measures the real programs and prints one Markdown table: name, value, aim, met or not.
//!
//! In: paths of the programs, a PostgreSQL server, a folder on its disk. Out: the table on standard output, what it is
//! doing on standard error. It never fails because something is slow. `make bench` runs it; see docs/bench.md.

mod agent;
mod api;
mod arguments;
mod controller;
mod database;
mod memory;
mod placing;
mod process;
mod requests;
mod scheduling;
mod session;
mod setup;
mod stack;
mod stats;
mod table;

use anyhow::Result;
use clap::Parser as _;

use arguments::{Arguments, Item};
use table::Table;

#[tokio::main]
async fn main() -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a crypto provider was installed twice"))?;
    let arguments = Arguments::parse();
    let mut table = Table::default();
    let facts = setup::facts(&arguments).await?;
    for item in &arguments.items {
        eprintln!("measuring: {item:?}");
        match item {
            Item::Scheduling => scheduling::measure(&arguments, &mut table),
            Item::Placing => placing::measure(&arguments, &mut table).await?,
            Item::Requests => requests::measure(&arguments, &mut table).await?,
            Item::Stack => stack::measure(&arguments, &mut table).await?,
            Item::Memory => memory::measure(&arguments, &mut table).await?,
            Item::Session => session::measure(&arguments, &mut table).await?,
        }
    }
    print!("{facts}\n{}", table.markdown());
    Ok(())
}
