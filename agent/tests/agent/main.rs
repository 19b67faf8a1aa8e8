//! The agent as its controller sees it: the real program and a real Docker Engine against a small controller.

mod disk;
mod engine;
mod failures;
mod join;
mod life;
mod pulls;
mod removal;
mod support;
mod volumes;

// So that these tests take turns with those of the whole system.
#[allow(dead_code, reason = "agents and ports have fixed numbers here")]
#[path = "../../../controller/tests/src/machine.rs"]
mod machine;
#[path = "../../../controller/tests/src/turn.rs"]
mod turn;
