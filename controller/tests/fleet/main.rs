//! Projects on a real host: life cycle, database, gateway, isolation, and crashes of processes.

mod bulk;
mod consistency;
mod database;
mod escalation;
mod examples;
mod failing_create;
mod functions;
mod gateway;
mod isolation;
mod kills;
mod lifecycle;
mod secrets;
mod settings;
mod upgrade;
