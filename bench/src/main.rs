//! supalove-bench: measures the real programs and prints one Markdown table: name, value, aim, met or not.
//!
//! Input: paths of the programs, a PostgreSQL server, a folder on its disk. Output: the table on standard output, progress on
//! standard error. It never fails because something is slow; an item that cannot be measured becomes a row with the error,
//! and the exit code is 1. `make bench` runs it; see docs/bench.md.

mod agent;
mod api;
mod arguments;
mod controller;
mod database;
mod fleet;
mod growth;
mod images;
mod load;
mod memory;
mod placing;
mod process;
mod requests;
mod scheduling;
mod session;
mod setup;
mod sign_ins;
mod stack;
mod stats;
mod table;
mod tenants;
mod usage;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use arguments::{Arguments, Item};
use table::Table;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a crypto provider was installed twice"))?;
    let arguments = Arguments::parse();
    let mut table = Table::default();
    let facts = setup::facts(&arguments).await?;
    let mut code = ExitCode::SUCCESS;
    for item in &arguments.items {
        eprintln!("measuring: {item:?}");
        // Keep the rows of the other items, which took minutes.
        if let Err(error) = measure(*item, &arguments, &mut table).await {
            eprintln!("not measured: {error:?}");
            table.not_measured(&format!("{item:?}").to_lowercase(), &error);
            code = ExitCode::FAILURE;
        }
    }
    print!("{facts}\n{}", table.markdown());
    Ok(code)
}

async fn measure(item: Item, arguments: &Arguments, table: &mut Table) -> Result<()> {
    match item {
        Item::Scheduling => scheduling::measure(arguments, table),
        Item::Placing => placing::measure(arguments, table).await?,
        Item::Requests => requests::measure(arguments, table).await?,
        Item::Stack => stack::measure(arguments, table).await?,
        Item::Memory => memory::measure(arguments, table).await?,
        Item::Fleet => fleet::measure(arguments, table).await?,
        Item::Growth => growth::measure(arguments, table).await?,
        Item::Images => images::measure(arguments, table).await?,
        Item::Session => session::measure(arguments, table).await?,
        Item::Load => load::measure(arguments, table).await?,
        Item::SignIns => sign_ins::measure(arguments, table).await?,
        Item::Tenants => tenants::measure(arguments, table).await?,
        Item::Usage => usage::measure(arguments, table).await?,
    }
    Ok(())
}
