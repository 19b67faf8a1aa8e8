//! The bench itself, in its quick mode: it must run through and fill its table. Nothing is said about speed.
//!
//! The stack's comparison is left out: it needs docker-compose, which only `make bench` installs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

const BENCH: &str = env!("CARGO_BIN_EXE_supalove-bench");

#[test]
fn the_bench_fills_its_table() {
    let output = bench(
        "scheduling,placing,requests,memory,session,images,growth,load,sign-ins,usage",
        &beside("supalove-agent"),
    );
    let table = String::from_utf8_lossy(&output.stdout);
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{progress}");
    assert!(table.contains("quick: too short for numbers") && table.contains(", fsync "), "{table}");
    for row in [
        "| scheduler, 1,000 nodes, one core: decisions |",
        "| durable placements, 16 clients, 1,000 nodes |",
        "| durable placements, 16 clients, all on one node: conflicts |",
        "| CreateProject → durably placed, 100/s, 1,000 nodes (300 calls): p99 |",
        "| CreateProject → durably placed, 100/s, 1,000 nodes (300 calls): pending answers |",
        "| agent at rest: resident memory |",
        "| after 800 acts on 16 projects: audit_log |",
        "| unary call over the swapped session",
        "| a month's chart of one of 20 projects, in hours: p99 |",
        "| sampling of 10 containers each 15 s: of a core |",
        ": fetch by an agent | ",
        "| 200 parallel sign-ins from 40 addresses: another user's GetMe, p99 |",
        "sessions of 2 agents kept | 2.00 | ≥ 2.00 | met |",
    ] {
        assert!(table.contains(row), "{row} is missing:\n{table}");
    }
}

#[test]
fn an_item_that_fails_is_a_row_and_keeps_the_others() {
    let output = bench("memory,scheduling", Path::new("/nonexistent/agent"));
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(table.contains("| memory | not measured: "), "{table}");
    assert!(table.contains("| scheduler, 1,000 nodes, one core: decisions |"), "{table}");
}

#[test]
fn a_server_that_is_not_durable_is_refused() {
    let output =
        bench_with(&[], "scheduling", &beside("supalove-agent"), "?options=-c%20synchronous_commit%3Doff");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("nothing measured here is durable"), "{said}");
}

fn beside(program: &str) -> PathBuf {
    Path::new(BENCH).with_file_name(program)
}

fn bench(items: &str, agent: &Path) -> Output {
    bench_with(&["--quick"], items, agent, "")
}

/// Runs the bench; `options` is appended to the address of the tests' server.
fn bench_with(mode: &[&str], items: &str, agent: &Path, options: &str) -> Output {
    let server = std::env::var("SUPALOVE_TEST_DATABASE_URL")
        .expect("SUPALOVE_TEST_DATABASE_URL is not set; run the tests with `make test`");
    let dir = tempfile::tempdir().unwrap();
    Command::new(BENCH)
        .arg("--controller")
        .arg(beside("supalove-controller"))
        .arg("--agent")
        .arg(agent)
        .arg("--dir")
        .arg(dir.path())
        .args(mode)
        .args(["--items", items])
        .env("SUPALOVE_BENCH_DATABASE_URL", server + options)
        .output()
        .unwrap()
}
