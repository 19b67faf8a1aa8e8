-- Prints docs/schema.md from a database with the current migrations. For psql without headers, unaligned.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET search_path = public;

SELECT $$# The schema

`deploy/dev/sqlx.sh` generates this page from a database with all migrations; `make test` checks that it is current. The diagram shows
the tables with their keys, and the references between them: a line ends at the table whose rows are referenced (`||`) and at the one
that references them (`o{` many, `o|` at most one). Below it is every column. Which room writes which table: [tables.md](tables.md).

```mermaid
erDiagram$$;

CREATE TEMP VIEW shown AS
    SELECT c.oid AS table_oid, c.relname AS table_name, a.attname AS column_name, a.attnum AS position,
        regexp_replace(format_type(a.atttypid, NULL), 'timestamp with time zone', 'timestamptz') AS type,
        a.attnotnull AS required,
        EXISTS (SELECT 1 FROM pg_constraint p WHERE p.conrelid = c.oid AND p.contype = 'p' AND a.attnum = ANY (p.conkey)) AS pk,
        EXISTS (SELECT 1 FROM pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f' AND a.attnum = ANY (f.conkey)) AS fk,
        col_description(c.oid, a.attnum) AS comment
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> '_sqlx_migrations'
        AND a.attnum > 0 AND NOT a.attisdropped;

-- Mermaid takes no spaces in a type.
SELECT format(E'  %s {\n%s\n  }', table_name,
    string_agg(format('    %s %s%s', replace(type, ' ', '_'), column_name,
            CASE WHEN pk AND fk THEN ' PK, FK' WHEN pk THEN ' PK' WHEN fk THEN ' FK' ELSE '' END), E'\n' ORDER BY position)
        FILTER (WHERE pk OR fk))
FROM shown GROUP BY table_name ORDER BY table_name COLLATE "C";

SELECT format('  %s %s--%s %s : "%s"', parent.relname,
    CASE WHEN bool_and(a.attnotnull) THEN '||' ELSE '|o' END,
    -- At most one row references another if the referencing columns are unique.
    CASE WHEN EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = f.conrelid AND i.indisunique AND i.indpred IS NULL
            AND (i.indkey::smallint[])[0:i.indnkeyatts - 1] <@ f.conkey) THEN 'o|' ELSE 'o{' END,
    child.relname, string_agg(a.attname, ', ' ORDER BY a.attnum))
FROM pg_constraint f JOIN pg_class parent ON parent.oid = f.confrelid JOIN pg_class child ON child.oid = f.conrelid
    JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = ANY (f.conkey)
WHERE f.contype = 'f' AND f.connamespace = 'public'::regnamespace
GROUP BY f.oid, f.conrelid, f.conkey, parent.relname, child.relname
ORDER BY parent.relname COLLATE "C", child.relname COLLATE "C", string_agg(a.attname, ', ' ORDER BY a.attnum) COLLATE "C";

SELECT '```';

SELECT format(E'\n## %s\n\n%s\n\n| column | type | |\n|---|---|---|\n%s', table_name, obj_description(table_oid, 'pg_class'),
    string_agg(format('| %s | %s%s | %s |', column_name, type, CASE WHEN required THEN '' ELSE ', may be null' END,
        replace(comment, '|', '\|')), E'\n' ORDER BY position))
FROM shown GROUP BY table_oid, table_name ORDER BY table_name COLLATE "C";
