//! Images that the operator pushes to the controller.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use crate::support::World;

/// What `docker save` of an old engine writes: two images with one layer.
fn archive(dir: &TempDir) -> PathBuf {
    let index = r#"[{"Config":"a.json","RepoTags":["supalove/a:1"],"Layers":["one/layer.tar"]},
        {"Config":"b.json","RepoTags":["supalove/b:1"],"Layers":["one/layer.tar"]}]"#;
    let layer = "x".repeat(300_000);
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text) in
        [("a.json", "{}"), ("b.json", "{ }"), ("one/layer.tar", layer.as_str()), ("manifest.json", index)]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let path = dir.path().join("images.tar");
    fs::write(&path, archive.into_inner().unwrap()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_a_file_are_pushed_and_what_is_there_is_not_sent_again() {
    let world = World::signed_in().await;
    let dir = TempDir::new().unwrap();
    let file = archive(&dir).display().to_string();
    // The first upload breaks in the middle of its first chunk.
    world.fake.state().cut_upload = true;
    let pushed = world.run(&["images", "push", "--file", &file]).await;
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert_eq!(world.fake.calls_of("PushImage"), ["supalove/a:1", "supalove/b:1"]);
    assert!(pushed.stderr.contains("supalove/a:1: 0 of 2 parts are there"), "{}", pushed.stderr);
    assert!(pushed.stderr.contains("supalove/b:1: 1 of 2 parts are there"), "{}", pushed.stderr);
    assert!(pushed.stderr.contains("going on"), "{}", pushed.stderr);
    let from = world.fake.calls_of("UploadContent from");
    assert_eq!(from, ["0", "1", "0", "0"], "the broken one goes on where it ended");
    let sizes: Vec<usize> = world.fake.state().uploaded.values().map(Vec::len).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 300_005, "nothing arrived twice");

    let one = world.json(&["images", "push", "--file", &file, "supalove/b:1"]).await;
    assert_eq!(one["images"][0]["name"], "supalove/b:1");
    assert_eq!(world.fake.calls_of("UploadContent from").len(), 4);
    let quiet = world.run(&["images", "push", "--file", &file, "--quiet"]).await;
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pushed_is_named() {
    let world = World::signed_in().await;
    let dir = TempDir::new().unwrap();
    let file = archive(&dir).display().to_string();
    for (arguments, code, says) in [
        (
            &["images", "push", "--file", &file, "supalove/c:1"][..],
            2,
            "there are: supalove/a:1, supalove/b:1",
        ),
        (&["images", "push", "--file", "/nowhere.tar"], 1, "/nowhere.tar"),
        (&["images", "push", "--file", "/etc/hostname"], 1, "/etc/hostname"),
        (&["images", "push"], 2, "NAME:TAG"),
        (&["images", "push", "a:1", "--docker-host", "unix:///nowhere.sock"], 2, "gives no images"),
    ] {
        let ran = world.run(arguments).await;
        assert!(ran.code == code && ran.stderr.contains(says), "{arguments:?}: {ran:?}");
    }
    assert!(world.fake.calls_of("PushImage").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_listed_deleted_and_collected() {
    let world = World::signed_in().await;
    let listed = world.run(&["images", "list"]).await;
    for words in ["supalove/postgres:15-2", "linux/amd64", "core-3", "push it again", "3.00 MiB are kept"] {
        assert!(listed.stdout.contains(words), "{}", listed.stdout);
    }
    assert!(world.run(&["image", "ls", "-o", "wide"]).await.stdout.contains("sha256:cc"));

    let unsure = world.run(&["images", "delete", "supalove/postgres:15-2"]).await;
    assert_eq!(unsure.code, 2, "{unsure:?}");
    let deleted = world
        .run(&[
            "images",
            "rm",
            "supalove/postgres:15-2",
            "--architecture",
            "amd64",
            "--allow-in-use",
            "--yes",
        ])
        .await;
    assert!(deleted.stdout.contains("is deleted"), "{deleted:?}");
    assert_eq!(world.fake.calls_of("DeleteImage"), ["supalove/postgres:15-2 amd64 true"]);

    let dry_run = world.run(&["images", "gc", "--dry-run"]).await;
    assert!(
        dry_run.stdout.contains("would be removed") && dry_run.stdout.contains("3 parts"),
        "{}",
        dry_run.stdout
    );
    let gone = world.json(&["images", "gc"]).await;
    assert_eq!(gone["removedBytes"], (1 << 20).to_string());
    assert_eq!(world.fake.calls_of("CollectImageGarbage"), ["true", "false"]);
}
