//! Images that the controller keeps: pushed in parts, checked, listed with who uses them, and removed when nobody needs them.

use std::{collections::BTreeSet, path::Path, time::Duration};

use supalove_proto::v1::{
    CollectImageGarbageRequest, CollectImageGarbageResponse, DeleteImageRequest, ErrorReason, Image,
    ImageContent, ListImagesRequest, PushImageRequest,
};
use supalove_spec::image::{Compression, Manifest};
use supalove_system_tests::{
    Api, Controller, SmallImage, digest_of, find_missing, random_bytes, upload, upload_as,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const MIB: usize = 1024 * 1024;

fn bytes(number: usize) -> i64 {
    i64::try_from(number).unwrap()
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

async fn list(api: &Api) -> Vec<Image> {
    api.images().list_images(ListImagesRequest::default()).await.unwrap().into_inner().images
}

async fn collect(api: &Api, dry_run: bool) -> CollectImageGarbageResponse {
    let request = CollectImageGarbageRequest { dry_run };
    api.images().collect_image_garbage(request).await.unwrap().into_inner()
}

async fn delete(api: &Api, name: &str, allow_in_use: bool) -> Result<(), Status> {
    let request = DeleteImageRequest { name: name.into(), architecture: String::new(), allow_in_use };
    api.images().delete_image(request).await.map(drop)
}

/// Objects of the image store.
fn objects(controller: &Controller) -> BTreeSet<String> {
    let folder = controller.dir.path().join("images/content");
    if !folder.exists() {
        return BTreeSet::new();
    }
    let name = |path: &Path| format!("content/{}", path.file_name().unwrap().to_str().unwrap());
    std::fs::read_dir(folder).unwrap().map(|entry| name(&entry.unwrap().path())).collect()
}

#[tokio::test]
async fn a_push_goes_on_where_it_ended_also_after_the_controller_was_killed() {
    let mut controller = Controller::start().await;
    let operator = controller.operator().await;
    let image = SmallImage::with_layer("test/large:1", "amd64", random_bytes(21 * MIB + 7));
    let layer = &image.layer;
    let first = upload(&operator, layer, 0, 12 * MIB).await.unwrap();
    assert_eq!((first.received_bytes, first.complete), (bytes(12 * MIB), false));
    controller.kill_and_restart().await;
    let missing = find_missing(&operator, &[layer]).await;
    assert_eq!(missing[0].offset, bytes(12 * MIB), "what had arrived is there");
    let elsewhere = upload(&operator, layer, 0, 100).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::Aborted);
    let last = upload(&operator, layer, 12 * MIB, layer.len()).await.unwrap();
    assert!(last.complete && last.received_bytes == bytes(layer.len()));
    assert!(find_missing(&operator, &[layer]).await.is_empty());
    let again = upload(&operator, layer, 0, 100).await.unwrap();
    assert!(again.complete, "what is there is not taken again");

    let kept = image.push(&operator).await.unwrap();
    assert_eq!((kept.os.as_str(), kept.architecture.as_str()), ("linux", "amd64"));
    assert_eq!(kept.config_digest, digest_of(&image.config).to_string());
    assert_eq!(list(&operator).await.len(), 1);
    let named: BTreeSet<String> =
        controller.database.rows().await.image_objects().await.into_iter().collect();
    assert_eq!(objects(&controller), named, "nothing is left over");
}

#[tokio::test]
async fn a_controller_does_not_start_on_the_images_of_another_fleet() {
    let mut controller = Controller::start().await;
    let operator = controller.operator().await;
    SmallImage::new("test/small:1", "amd64").push(&operator).await.unwrap();
    let kept = objects(&controller);
    let owner = controller.dir.path().join("images/fleet");
    let fleet = std::fs::read_to_string(&owner).unwrap();

    controller.process.kill();
    std::fs::write(&owner, "another\n").unwrap();
    let said = controller.refused_start();
    assert!(said.contains("belongs to the fleet another") && said.contains("--images-dir"), "{said}");
    // Of before there was such a file: the database knows what is there.
    std::fs::remove_file(&owner).unwrap();
    controller.restart().await;
    assert_eq!(std::fs::read_to_string(&owner).unwrap(), fleet);
    // The database of another installation does not.
    controller.process.kill();
    std::fs::remove_file(&owner).unwrap();
    controller.database.rows().await.forget_images().await;
    let said = controller.refused_start();
    let remedy = format!("write the fleet's id {} into", fleet.trim());
    assert!(said.contains(&remedy), "{said}");
    assert_eq!(objects(&controller), kept, "nothing was removed");
    std::fs::write(&owner, fleet).unwrap();
    controller.restart().await;
}

#[tokio::test]
async fn what_is_not_what_it_says_is_refused() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let (right, wrong) = (random_bytes(2 * MIB), random_bytes(2 * MIB));
    let says = |size: i64| ImageContent { digest: digest_of(&right).to_string(), size_bytes: size };
    let size = bytes(right.len());
    let refused = upload_as(&operator, says(size), &wrong, 0).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::ImageContentWrong.text());
    assert!(refused.message().contains(digest_of(&wrong).hex()), "{}", refused.message());
    assert_eq!(find_missing(&operator, &[&right]).await[0].offset, 0, "it was dropped");
    assert!(objects(&controller).is_empty());

    let longer = upload_as(&operator, says(size - 1), &right, 0).await.unwrap_err();
    assert_eq!(longer.code(), Code::InvalidArgument, "{longer:?}");
    let huge = upload_as(&operator, says(i64::MAX), &[], 0).await.unwrap_err();
    assert_eq!(huge.code(), Code::InvalidArgument);
    let no_digest = ImageContent { digest: "sha256:../../etc/passwd".into(), size_bytes: 1 };
    assert_eq!(upload_as(&operator, no_digest, b"x", 0).await.unwrap_err().code(), Code::InvalidArgument);

    let image = SmallImage::new("test/a:1", "amd64");
    let incomplete = image.name_it(&operator).await.unwrap_err();
    assert_eq!(reason(&incomplete), ErrorReason::ImageIncomplete.text());
    image.upload(&operator).await;
    let with_name = async |name: &str, manifest: &str| {
        let request = PushImageRequest { name: name.into(), manifest: manifest.into() };
        operator.images().push_image(request).await.map(drop).unwrap_err()
    };
    let by_digest = format!("test/a@{}", digest_of(b""));
    for (name, manifest, says) in [
        (by_digest.as_str(), image.manifest().as_str(), "no digest"),
        ("--privileged", &image.manifest(), "name and tag"),
        ("test/a:1", r#"{"schemaVersion":2,"manifests":[]}"#, "manifest"),
    ] {
        let refused = with_name(name, manifest).await;
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(says), "{}", refused.message());
    }
    // A size that is not that of the content.
    let of = |bytes: &[u8], more: u64| (digest_of(bytes), bytes.len() as u64 + more);
    let (layer, size) = of(&image.layer, 1);
    let other = Manifest::new(of(&image.config, 0), [(layer, size, Compression::None)]);
    let refused = with_name("test/a:1", std::str::from_utf8(&other.to_json()).unwrap()).await;
    assert_eq!(reason(&refused), ErrorReason::ImageIncomplete.text());
    assert!(list(&operator).await.is_empty());
    image.name_it(&operator).await.unwrap();
}

#[tokio::test]
async fn content_goes_when_no_image_needs_it_and_nobody_pushes_or_fetches_it() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let shared = random_bytes(5000);
    let one = SmallImage::with_layer("test/one:1", "amd64", shared.clone());
    let other = SmallImage::with_layer("test/other:1", "amd64", shared.clone());
    for image in [&one, &other] {
        image.push(&operator).await.unwrap();
    }
    let listed = list(&operator).await;
    assert_eq!(listed[0].own_bytes, bytes(one.config.len()), "the layer is the other one's, too");
    assert_eq!(listed[0].size_bytes, bytes(one.config.len() + shared.len()));

    delete(&operator, "test/one:1", false).await.unwrap();
    let recent = collect(&operator, false).await;
    assert_eq!((recent.removed.len(), recent.recent), (0, 1), "it was pushed just now");
    rows.age_images().await;
    let would = collect(&operator, true).await;
    assert_eq!(would.removed.len(), 1);
    assert_eq!(would.removed[0].digest, digest_of(&one.config).to_string());
    // Whoever asks what is missing is about to push.
    assert!(find_missing(&operator, &[&one.config]).await.is_empty());
    assert!(collect(&operator, false).await.removed.is_empty());
    one.name_it(&operator).await.unwrap();

    delete(&operator, "test/one:1", false).await.unwrap();
    delete(&operator, "test/other:1", false).await.unwrap();
    upload(&operator, &random_bytes(100), 0, 50).await.unwrap();
    rows.age_images().await;
    let gone = collect(&operator, false).await;
    assert_eq!((gone.removed.len(), gone.uploads), (3, 1));
    assert!(objects(&controller).is_empty());
    assert_eq!(delete(&operator, "test/one:1", false).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn garbage_is_collected_while_images_are_pushed() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let pushes = async {
        let mut named = Vec::new();
        for round in 0..30 {
            let image = SmallImage::with_layer(&format!("test/{round}:1"), "amd64", vec![7; 4000]);
            // Content that was collected between upload and name has to be uploaded again, and nothing else may happen.
            for attempt in 0.. {
                assert!(attempt < 100, "garbage always wins");
                match image.push(&operator).await {
                    Ok(_) => break,
                    Err(status) => {
                        assert_eq!(reason(&status), ErrorReason::ImageIncomplete.text(), "{status:?}");
                    }
                }
            }
            if round % 2 == 0 {
                delete(&operator, &image.name, false).await.unwrap();
            } else {
                named.push(image.name);
            }
        }
        named
    };
    let garbage = async {
        loop {
            rows.age_images().await;
            collect(&operator, false).await;
            // Hours pass in between otherwise: a push must not be late each time.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let named = tokio::select! {
        named = pushes => named,
        () = garbage => unreachable!(),
    };
    let listed: BTreeSet<String> = list(&operator).await.into_iter().map(|image| image.name).collect();
    assert_eq!(listed, named.into_iter().collect());
    let present = objects(&controller);
    for object in rows.image_objects().await {
        assert!(present.contains(&object), "{object} is gone, and a row names it");
    }
}

#[tokio::test]
async fn two_that_upload_the_same_do_not_spoil_it() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let image = SmallImage::with_layer("test/twice:1", "amd64", random_bytes(20 * MIB));
    let both = [
        upload(&operator, &image.layer, 0, image.layer.len()),
        upload(&operator, &image.layer, 0, image.layer.len()),
    ];
    let both = futures::future::join_all(both).await;
    assert!(
        both.iter().any(|one| one.as_ref().is_ok_and(|answer| answer.complete))
            || both.iter().all(Result::is_err)
    );
    for refused in both.into_iter().filter_map(Result::err) {
        assert_eq!(refused.code(), Code::Aborted, "{refused:?}");
    }
    image.push(&operator).await.unwrap();
    let named: BTreeSet<String> =
        controller.database.rows().await.image_objects().await.into_iter().collect();
    assert_eq!(objects(&controller), named, "nothing is left over");
}

#[tokio::test]
async fn an_image_that_projects_need_is_deleted_only_on_request() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let name = supalove_system_tests::core_image("postgres");
    let image = SmallImage::new(&name, "amd64");
    let arm = SmallImage::new(&name, "arm64");
    image.push(&operator).await.unwrap();
    arm.push(&operator).await.unwrap();
    rows.add_node("roomy", 10, 10).await;
    operator.create("one", supalove_system_tests::CORE).await;
    let listed = list(&operator).await;
    assert_eq!(
        listed.iter().map(|image| image.architecture.as_str()).collect::<Vec<_>>(),
        ["amd64", "arm64"]
    );
    assert!(
        listed[0].projects == 1 && listed[0].releases.iter().any(|name| name == supalove_system_tests::CORE)
    );
    let refused = delete(&operator, &name, false).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::ImageInUse.text());
    assert!(refused.message().contains("1 projects"), "{}", refused.message());
    delete(&operator, &format!("docker.io/{name}"), true).await.unwrap();
    assert!(list(&operator).await.is_empty());
}

#[tokio::test]
async fn a_name_gets_another_image_and_pages_are_whole() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let old = SmallImage::new("test/b:1", "amd64");
    let new = SmallImage::new("test/b:1", "amd64");
    old.push(&operator).await.unwrap();
    new.upload(&operator).await;
    let request = PushImageRequest { name: "test/b:1".into(), manifest: new.manifest().into_bytes() };
    let answer = operator.images().push_image(request.clone()).await.unwrap().into_inner();
    assert!(answer.replaced);
    assert!(!operator.images().push_image(request).await.unwrap().into_inner().replaced, "it is the same");
    for name in ["test/a:1", "test/c:1", "test/c:2"] {
        SmallImage::new(name, "amd64").push(&operator).await.unwrap();
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListImagesRequest { page_size: 2, page_token };
        let page = operator.images().list_images(request).await.unwrap().into_inner();
        assert!(page.images.len() <= 2 && page.kept_bytes > 0);
        names.extend(page.images.into_iter().map(|image| image.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["test/a:1", "test/b:1", "test/c:1", "test/c:2"]);
    let audited = controller.database.rows().await.audited("PushImage").await;
    assert!(audited.iter().any(|row| row.target.starts_with("test/b:1 linux/amd64 sha256:")), "{audited:?}");
}
