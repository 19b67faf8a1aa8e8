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
    let output =
        bench("scheduling,placing,requests,memory,session,growth,load,sign-ins", &beside("supalove-agent"));
    let table = String::from_utf8_lossy(&output.stdout);
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{progress}");
    assert!(table.contains("fsync on, synchronous_commit on"), "{table}");
    for row in [
        "| scheduler, 1,000 nodes, one core: decisions |",
        "| durable placements, 16 clients, 1,000 nodes |",
        "| durable placements, 16 clients, all on one node: conflicts |",
        "| CreateProject → durably placed, 100/s, 1,000 nodes (300 calls): p99 |",
        "| CreateProject → durably placed, 100/s, 1,000 nodes (300 calls): pending answers |",
        "| agent at rest: resident memory |",
        "| after 800 acts on 16 projects: audit_log |",
        "| unary call over the swapped session",
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

fn beside(program: &str) -> PathBuf {
    Path::new(BENCH).with_file_name(program)
}

fn bench(items: &str, agent: &Path) -> Output {
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
        .args(["--quick", "--items", items])
        .env("SUPALOVE_BENCH_DATABASE_URL", server)
        .output()
        .unwrap()
}
