//! Projects on a real host: life cycle, database, gateway, isolation, and crashes of processes.

mod bulk;
mod command_line;
mod consistency;
mod database;
mod escalation;
mod examples;
mod failing_create;
mod functions;
mod gateway;
mod images;
mod isolation;
mod joining_host;
mod kills;
mod lifecycle;
mod logs;
mod onboarding;
mod platform_roles;
mod private_cluster;
mod registries;
mod secrets;
mod settings;
mod size_limits;
mod sizes;
mod upgrade;
mod usage;
