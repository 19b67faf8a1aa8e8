-- The log of a deleted organization is found by the slug that it had.
ALTER TABLE organizations ADD COLUMN deleted_slug text;
COMMENT ON COLUMN organizations.deleted_slug IS 'The slug that it had when it was deleted; others may have it since. Null before, and for those that were deleted before this column.';
