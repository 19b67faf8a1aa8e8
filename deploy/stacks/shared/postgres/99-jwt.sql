-- Life of the user tokens in seconds, for SQL that asks for it. The signing secret is not kept in the
-- database: everyone who can read its settings could read it. Runs as postgres.
\getenv jwt_exp JWT_EXP
alter database postgres set "app.settings.jwt_exp" to :'jwt_exp';
