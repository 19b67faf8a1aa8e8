//! Images and their content in PostgreSQL.

use std::time::Duration;

use chrono::{DateTime, Utc};
use supalove_core::{
    Write,
    database::{Db, violates},
    error::{Error, Result},
};
use supalove_proto::v1::ErrorReason;
use supalove_spec::image::{Blob, Digest, Manifest, Platform};

/// An image.
#[derive(Debug, Clone)]
pub struct Image {
    pub name: String,
    pub os: String,
    pub architecture: String,
    pub manifest_digest: String,
    pub manifest: String,
    pub config_digest: String,
    pub size_bytes: i64,
    pub own_bytes: i64,
    pub damaged: bool,
    pub pushed_at: DateTime<Utc>,
}

/// The key by which images are listed.
pub fn list_key(image: &Image) -> String {
    format!("{} {}/{}", image.name, image.os, image.architecture)
}

/// Lists images by name and platform.
pub async fn list(db: &Db, after: Option<&str>, limit: i64) -> Result<Vec<Image>> {
    let found = sqlx::query_as!(
        Image,
        "SELECT name, os, architecture, manifest_digest, manifest, config_digest, i.size_bytes, pushed_at,
             (SELECT coalesce(sum(c.size_bytes), 0)::bigint FROM image_needs n JOIN image_contents c USING (digest)
              WHERE (n.name, n.os, n.architecture) = (i.name, i.os, i.architecture)
                AND NOT EXISTS (SELECT FROM image_needs o WHERE o.digest = n.digest
                                AND (o.name, o.os, o.architecture) <> (i.name, i.os, i.architecture))) AS \"own_bytes!\",
             EXISTS (SELECT FROM image_needs n JOIN image_contents c USING (digest)
                     WHERE (n.name, n.os, n.architecture) = (i.name, i.os, i.architecture) AND c.damaged) AS \"damaged!\"
         FROM images i WHERE $1::text IS NULL OR (name || ' ' || os || '/' || architecture) COLLATE \"C\" > $1
         ORDER BY (name || ' ' || os || '/' || architecture) COLLATE \"C\" LIMIT $2",
        after,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(found)
}

/// Images of one name, of every platform.
pub async fn named(db: &Db, name: &str) -> Result<Vec<Image>> {
    let found = sqlx::query_as!(
        Image,
        "SELECT name, os, architecture, manifest_digest, manifest, config_digest, size_bytes, pushed_at,
             0::bigint AS \"own_bytes!\", false AS \"damaged!\"
         FROM images WHERE name = $1 ORDER BY os, architecture",
        name,
    )
    .fetch_all(db)
    .await?;
    Ok(found)
}

/// Bytes of all content.
pub async fn kept_bytes(db: &Db) -> Result<i64> {
    let sum =
        sqlx::query_scalar!("SELECT coalesce(sum(size_bytes), 0)::bigint AS \"sum!\" FROM image_contents");
    Ok(sum.fetch_one(db).await?)
}

/// How many projects are on one of these releases.
pub async fn projects_on(db: &Db, releases: &[String]) -> Result<i64> {
    let count = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM projects WHERE release = ANY($1) AND state <> 'REMOVED'",
        releases,
    );
    Ok(count.fetch_one(db).await?)
}

/// Complete content: its size in bytes, and the keys of its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub size_bytes: i64,
    pub parts: Vec<String>,
}

/// Notes that a node needs content now. A minute is exact enough, so nodes that ask often do not wait for each other's rows.
pub async fn touch_one(write: &mut impl Write, digest: &Digest) -> Result<()> {
    sqlx::query!(
        "UPDATE image_contents SET needed_at = now() WHERE digest = $1 AND needed_at < now() - interval '1 minute'",
        digest.as_str(),
    )
    .execute(write.connection().await?)
    .await?;
    Ok(())
}

/// Notes that content is needed now; returns the digests that are there and not damaged.
pub async fn touch(write: &mut impl Write, digests: &[String]) -> Result<Vec<String>> {
    let connection = write.connection().await?;
    let found = sqlx::query_scalar!(
        "UPDATE image_contents SET needed_at = now() WHERE digest = ANY($1) AND NOT damaged RETURNING digest",
        digests,
    )
    .fetch_all(connection)
    .await?;
    Ok(found)
}

/// Complete content.
pub async fn content(db: &Db, digest: &Digest) -> Result<Option<Content>> {
    let found = sqlx::query_as!(
        Content,
        "SELECT size_bytes, parts FROM image_contents WHERE digest = $1",
        digest.as_str(),
    );
    Ok(found.fetch_optional(db).await?)
}

/// What was read is not what had been written. False if it is another upload's meanwhile, or known.
pub async fn note_damage(write: &mut impl Write, digest: &Digest, parts: &[String]) -> Result<bool> {
    let connection = write.connection().await?;
    let done = sqlx::query!(
        "UPDATE image_contents SET damaged = true WHERE digest = $1 AND parts = $2 AND NOT damaged",
        digest.as_str(),
        parts,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Content that has arrived in part.
#[derive(Debug, Clone)]
pub struct Upload {
    pub digest: String,
    pub size_bytes: i64,
    pub received_bytes: i64,
    pub parts: Vec<String>,
}

/// Uploads of these digests.
pub async fn uploads(db: &Db, digests: &[String]) -> Result<Vec<Upload>> {
    let found = sqlx::query_as!(
        Upload,
        "SELECT digest, size_bytes, received_bytes, parts FROM image_uploads WHERE digest = ANY($1)",
        digests,
    );
    Ok(found.fetch_all(db).await?)
}

/// Begins an upload, or returns what has arrived of it.
pub async fn begin_upload(write: &mut impl Write, digest: &Digest, size: i64) -> Result<Upload> {
    let connection = write.connection().await?;
    let upload = sqlx::query_as!(
        Upload,
        "INSERT INTO image_uploads (digest, size_bytes) VALUES ($1, $2)
         ON CONFLICT (digest) DO UPDATE SET updated_at = now()
         RETURNING digest, size_bytes, received_bytes, parts",
        digest.as_str(),
        size,
    )
    .fetch_one(connection)
    .await?;
    Ok(upload)
}

/// Adds a part. False if the upload is not where the caller left it: another one goes on with it, or it was given up.
pub async fn add_part(
    write: &mut impl Write,
    digest: &Digest,
    received: i64,
    length: i64,
    key: &str,
) -> Result<bool> {
    let connection = write.connection().await?;
    let done = sqlx::query!(
        "UPDATE image_uploads SET received_bytes = received_bytes + $3, parts = parts || $4::text, updated_at = now()
         WHERE digest = $1 AND received_bytes = $2",
        digest.as_str(),
        received,
        length,
        key,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Ends an upload; false if it is not there as the caller knows it.
pub async fn end_upload(write: &mut impl Write, digest: &Digest, parts: &[String]) -> Result<bool> {
    let connection = write.connection().await?;
    let done =
        sqlx::query!("DELETE FROM image_uploads WHERE digest = $1 AND parts = $2", digest.as_str(), parts,)
            .execute(connection)
            .await?;
    Ok(done.rows_affected() > 0)
}

/// Keeps complete content. Returns the objects that nobody needs then: those of content that is there already, or of the damaged
/// content that this one replaces.
pub async fn keep(write: &mut impl Write, digest: &Digest, content: &Content) -> Result<Vec<String>> {
    let connection = write.connection().await?;
    let before = sqlx::query!(
        "SELECT parts, damaged FROM image_contents WHERE digest = $1 FOR UPDATE",
        digest.as_str(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(before) = &before
        && !before.damaged
    {
        return Ok(content.parts.clone());
    }
    sqlx::query!(
        "INSERT INTO image_contents (digest, size_bytes, parts) VALUES ($1, $2, $3)
         ON CONFLICT (digest) DO UPDATE SET parts = excluded.parts, damaged = false, needed_at = now()",
        digest.as_str(),
        content.size_bytes,
        &content.parts,
    )
    .execute(connection)
    .await?;
    Ok(before.map(|before| before.parts).unwrap_or_default())
}

/// A name, and what it is to have.
#[derive(Debug)]
pub struct NewImage<'a> {
    pub name: &'a str,
    pub platform: &'a Platform,
    pub manifest: &'a Manifest,
    pub json: &'a str,
    pub digest: &'a Digest,
}

/// Gives an image its name. Returns whether the name had another image for this platform before.
pub async fn put_image(write: &mut impl Write, image: &NewImage<'_>) -> Result<bool> {
    let Platform { os, architecture } = image.platform;
    let connection = write.connection().await?;
    let before = sqlx::query_scalar!(
        "SELECT manifest_digest FROM images WHERE (name, os, architecture) = ($1, $2, $3) FOR UPDATE",
        image.name,
        os,
        architecture,
    )
    .fetch_optional(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO images (name, os, architecture, manifest_digest, manifest, config_digest, size_bytes)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (name, os, architecture) DO UPDATE SET manifest_digest = excluded.manifest_digest,
             manifest = excluded.manifest, config_digest = excluded.config_digest, size_bytes = excluded.size_bytes,
             pushed_at = now()",
        image.name,
        os,
        architecture,
        image.digest.as_str(),
        image.json,
        image.manifest.config.digest.as_str(),
        i64::try_from(image.manifest.size()).unwrap_or(i64::MAX),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM image_needs WHERE (name, os, architecture) = ($1, $2, $3)",
        image.name,
        os,
        architecture,
    )
    .execute(&mut *connection)
    .await?;
    let digests: Vec<String> = image.manifest.blobs().iter().map(|blob| blob.digest.to_string()).collect();
    sqlx::query!(
        "INSERT INTO image_needs (name, os, architecture, digest) SELECT $1, $2, $3, unnest($4::text[])",
        image.name,
        os,
        architecture,
        &digests,
    )
    .execute(connection)
    .await
    .map_err(|error| {
        if violates(&error, "image_needs_digest_fkey") { incomplete(None) } else { error.into() }
    })?;
    Ok(before.is_some_and(|before| before != image.digest.as_str()))
}

/// The error for an image whose content is not there, or is other than its manifest says.
pub fn incomplete(what: Option<&Blob>) -> Error {
    let what = what.map_or_else(|| "content".to_owned(), |blob| format!("the content {}", blob.digest));
    Error::FailedPrecondition {
        reason: ErrorReason::ImageIncomplete,
        message: format!(
            "{what} of the image is not in the image store with the size of the manifest; upload it first (`supalove images \
             push` does)"
        ),
    }
}

/// Takes names away; returns the images that had them.
pub async fn delete(write: &mut impl Write, name: &str, architecture: Option<&str>) -> Result<Vec<Image>> {
    let connection = write.connection().await?;
    let gone = sqlx::query_as!(
        Image,
        "DELETE FROM images WHERE name = $1 AND ($2::text IS NULL OR architecture = $2)
         RETURNING name, os, architecture, manifest_digest, manifest, config_digest, size_bytes, pushed_at,
             0::bigint AS \"own_bytes!\", false AS \"damaged!\"",
        name,
        architecture,
    )
    .fetch_all(connection)
    .await?;
    Ok(gone)
}

/// Content without an image.
#[derive(Debug, Clone)]
pub struct Unneeded {
    pub digest: String,
    pub size_bytes: i64,
    pub parts: Vec<String>,
}

/// Content that no image needs, and that nobody has pushed or fetched for so long.
pub async fn unneeded(db: &Db, recent: Duration) -> Result<Vec<Unneeded>> {
    let found = sqlx::query_as!(
        Unneeded,
        "SELECT digest, size_bytes, parts FROM image_contents c
         WHERE needed_at < now() - make_interval(secs => $1)
           AND NOT EXISTS (SELECT FROM image_needs n WHERE n.digest = c.digest) ORDER BY digest",
        recent.as_secs_f64(),
    );
    Ok(found.fetch_all(db).await?)
}

/// How much content no image needs that somebody has pushed or fetched since.
pub async fn recent(db: &Db, recent: Duration) -> Result<i64> {
    let count = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM image_contents c
         WHERE needed_at >= now() - make_interval(secs => $1)
           AND NOT EXISTS (SELECT FROM image_needs n WHERE n.digest = c.digest)",
        recent.as_secs_f64(),
    );
    Ok(count.fetch_one(db).await?)
}

/// Removes the rows of content that no image needs. An image that is pushed meanwhile has locked what it names, or finds it gone.
pub async fn remove_unneeded(write: &mut impl Write, recent: Duration) -> Result<Vec<Unneeded>> {
    let connection = write.connection().await?;
    let locked = sqlx::query_scalar!(
        "SELECT digest FROM image_contents c
         WHERE needed_at < now() - make_interval(secs => $1)
           AND NOT EXISTS (SELECT FROM image_needs n WHERE n.digest = c.digest)
         ORDER BY digest LIMIT 1000 FOR UPDATE",
        recent.as_secs_f64(),
    )
    .fetch_all(&mut *connection)
    .await?;
    // A statement of its own: it sees what was committed until the rows were locked.
    let gone = sqlx::query_as!(
        Unneeded,
        "DELETE FROM image_contents c
         WHERE digest = ANY($1) AND needed_at < now() - make_interval(secs => $2)
           AND NOT EXISTS (SELECT FROM image_needs n WHERE n.digest = c.digest)
         RETURNING digest, size_bytes, parts",
        &locked,
        recent.as_secs_f64(),
    )
    .fetch_all(connection)
    .await?;
    Ok(gone)
}

/// Uploads to which nothing was added for so long.
pub async fn given_up(db: &Db, after: Duration) -> Result<i64> {
    let count = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM image_uploads WHERE updated_at < now() - make_interval(secs => $1)",
        after.as_secs_f64(),
    );
    Ok(count.fetch_one(db).await?)
}

/// Removes those uploads; returns the objects of each.
pub async fn remove_given_up(write: &mut impl Write, after: Duration) -> Result<Vec<Vec<String>>> {
    let connection = write.connection().await?;
    let gone = sqlx::query_scalar!(
        "DELETE FROM image_uploads WHERE updated_at < now() - make_interval(secs => $1) RETURNING parts",
        after.as_secs_f64(),
    )
    .fetch_all(connection)
    .await?;
    Ok(gone)
}

/// Objects that a row names.
pub async fn named_objects(db: &Db) -> Result<Vec<String>> {
    let found = sqlx::query_scalar!(
        "SELECT unnest(parts) AS \"key!\" FROM image_contents UNION ALL SELECT unnest(parts) FROM image_uploads"
    );
    Ok(found.fetch_all(db).await?)
}
