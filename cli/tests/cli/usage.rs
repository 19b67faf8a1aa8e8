//! What projects use.

use crate::support::World;

const PROJECT: &str = "abcdefghijklmnopqrst";

#[tokio::test(flavor = "multi_thread")]
async fn the_usage_of_a_project_is_shown_with_a_line_of_its_last_day() {
    let world = World::signed_in().await;
    let shown = world.run(&["usage", "project", PROJECT]).await;
    for part in [
        "1.25 cores",
        "512.0 MiB",
        "400.0 MiB of 500.0 MiB (80 %): near the limit",
        "2.0 core-h",
        "cpu, last 24h",
        "█ ▄",
    ] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    assert!(!shown.stdout.contains('\u{1b}'), "a name steers no terminal");
    assert_eq!(world.fake.calls_of("GetProjectUsageSeries"), [format!("{PROJECT} true 1800")]);
    let json = world.json(&["usage", "project", PROJECT]).await;
    assert_eq!(json["usage"]["current"]["cpuMillis"], "1250");
    assert_eq!(json["usage"]["sizes"][0]["entitlement"], "ENTITLEMENT_DATABASE_SIZE");

    let steps = ["usage", "project", PROJECT, "--series", "--since", "7d", "--step", "1d"];
    let series = world.run(&steps).await;
    assert!(
        series.code == 0 && series.stdout.contains("CPU-S") && series.stdout.contains("8.00"),
        "{series:?}"
    );
    assert_eq!(world.json(&steps).await["points"][1]["cpuSeconds"], 4.0);
    let asked = world.fake.calls_of("GetProjectUsageSeries");
    assert_eq!(asked.last(), Some(&format!("{PROJECT} true 86400")));
    assert_eq!(world.run(&["usage", "project", PROJECT, "--since", "0"]).await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usage_of_organizations_and_clusters_is_a_table() {
    let world = World::signed_in().await;
    let shown = world.run(&["usage", "organization", "org-1"]).await;
    for part in [
        "PROJECT",
        "1.25 cores",
        "█ ▄",
        "zzzzzzzzzzzzzzzzzzzz",
        "plan free; this month: 2.0 core-h, 3.5 GiB-h",
    ] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    assert_eq!(world.json(&["usage", "org", "org-1"]).await["plan"], "free");
    let series = world.run(&["usage", "org", "org-1", "--series"]).await;
    assert!(series.stdout.contains(PROJECT) && series.stdout.contains("NET OUT"), "{series:?}");

    let shown = world.run(&["usage", "cluster"]).await;
    for part in
        ["host-7", "dropped 3 records", "2 reports were refused: the node reports on a project", "█ ▄"]
    {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    assert_eq!(world.fake.calls_of("GetClusterUsage"), ["default"]);
    let json = world.json(&["usage", "cluster", "eu"]).await;
    assert_eq!(json["nodes"][0]["droppedRecords"], "3");
    let json = world.json(&["usage", "cluster", "--series", "--since", "30d"]).await;
    assert_eq!(json["nodes"][0]["points"][0]["cpuSeconds"], 8.0);
    assert_eq!(world.fake.calls_of("GetClusterUsageSeries").last().unwrap(), "default true 54000");
}
