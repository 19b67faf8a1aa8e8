-- Projects move from one organization to another.
CREATE FUNCTION plan_move_project(p_from uuid, p_to uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE organizations SET projects_used = projects_used + 1, revision = revision + 1
    WHERE id = p_to AND deleted_at IS NULL AND projects_used < projects_limit;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE organizations SET projects_used = projects_used - 1, revision = revision + 1 WHERE id = p_from;
    RETURN true;
END
$$;
COMMENT ON FUNCTION plan_move_project IS 'Counts a project of one organization as one of another. False, with nothing changed, if that one has all that it may have. The caller has locked both, in the order of their ids.';
