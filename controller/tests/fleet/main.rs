//! Projects on a real host: their lives, their database, their gateway, their walls, and what a killed process costs.

mod bulk;
mod database;
mod examples;
mod failing_create;
mod gateway;
mod isolation;
mod kills;
mod lifecycle;
mod secrets;
