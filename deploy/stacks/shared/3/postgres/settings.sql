-- Settings of the project that SQL reads, at each start. It calls no function and names no object that a tenant could have
-- made, so it may run before start.sql has brought about the rules.
\set ON_ERROR_STOP on
\set QUIET on
-- What the database's or the role's settings could have changed for this session.
set role none;
set default_transaction_read_only = off;
set statement_timeout = '60s';
set lock_timeout = '20s';
alter database postgres set "app.settings.jwt_exp" to '{{ settings.jwt_exp_seconds }}';
