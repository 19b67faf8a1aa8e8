-- Silence of a node counts only while a controller was there to hear it: each replica says since when it has been there.

ALTER TABLE controllers ADD COLUMN watching_since timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN controllers.watching_since IS 'Since when its heartbeats have come without a break: it would have heard the nodes. A replica whose heartbeat comes late begins anew.';

CREATE FUNCTION watched_for(p_replica_gone double precision) RETURNS double precision LANGUAGE sql STABLE AS $$
    SELECT coalesce(max(extract(epoch FROM now() - watching_since)), 0)::double precision FROM controllers
    WHERE seen_at > now() - make_interval(secs => p_replica_gone)
$$;
COMMENT ON FUNCTION watched_for IS 'For how many seconds a replica that is alive has been there without a break to hear the nodes; 0 if none is.';
